"""Closure: open → closed; everything is forfeited, arrears are written off."""

from __future__ import annotations

from typing import Any

from ledger.events import MemberClosed
from tests.decider.scenario import (
    accrue,
    claw_back,
    close,
    given,
    happened,
    hold,
    part,
    purchase,
    refusals,
    terms,
    unless_open,
)


def test_every_layer_is_forfeited() -> None:
    """Pending, available and expired layers alike.

    before  000002 5 expired, 000001 30 available, 000003 10 pending
    after   nothing
    """
    given(
        accrue(30, "a"),
        accrue(5, "b", day=-60),
        purchase(day=19),
        terms=[terms(day=-100, expiry="50D"), terms(day=-1), terms(day=18, activation="9D")],
    ).when(close(day=20)).then(
        happened(
            MemberClosed,
            forfeited=[part(2, 5, -60, -10), part(1, 30), part(3, 10, 28)],
            arrears_written_off=0,
        )
    ).layers().leaves(balance=0, expired=0, spent=0)


def test_arrears_are_written_off() -> None:
    """Nobody is left who could repay them."""
    given(accrue(4), claw_back(10), terms=terms(policy="arrears")).when(close(day=1)).then(
        happened(MemberClosed, forfeited=[], arrears_written_off=6)
    ).leaves(arrears=0)


@refusals(
    *unless_open(close()),
    ("OPEN_HOLDS", [accrue(5), hold(5, day=5)], close(day=4)),
    ("OPEN_HOLDS", [accrue(5), hold(5, day=5)], close(day=50)),  # timed out, but nothing has recognised it
    ("OCCURRED_BEFORE_LATEST", [accrue(5, day=5)], close(day=4.9)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A membership ends settled, and not before something that already happened."""
    given(*history, terms=under).when(refused).then(code)
