"""Holds: points set aside, in spending order, until captured, released or timed out."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldReleased, PointsHeld
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    close,
    given,
    happened,
    hold,
    on,
    part,
    redeem,
    refusals,
    terms,
    unless_open,
)


def test_held_points_are_set_aside() -> None:
    """They stay in the balance, and cannot be spent."""
    given(accrue(10), accrue(10, "b", day=1), terms=terms(hold_timeout="30m")).when(hold(12, day=2)).then(
        happened(PointsHeld, points=12, allocations=[part(1, 10), part(2, 2, 1)], times_out_at=on(2 + 30 / 1440))
    ).leaves(active=8, held=12, balance=20, spent=0)


def test_no_minimum_and_no_step_apply() -> None:
    """They bind the redemption that may follow, not the hold."""
    given(accrue(10), terms=terms(minimum=10, step=5)).when(hold(3)).then(happened(PointsHeld, points=3))


def test_holds_that_timed_out_are_released_first() -> None:
    """A hold that nobody used does not stand in the way of the next."""
    given(accrue(10), hold(10)).when(hold(10, "next", day=2)).then(
        happened(HoldReleased, hold="hold", why="timed_out"),
        happened(PointsHeld, allocations=[part(1, 10, 2)]),
    )


@refusals(
    ("TERMS_MISSING", [close()], hold(1), NOT_YET),
    *unless_open(hold(1)),
    ("INSUFFICIENT_POINTS", [], hold(1)),
    ("INSUFFICIENT_POINTS", [accrue(10), hold(6)], hold(5, "next", day=1.9)),
    ("INSUFFICIENT_POINTS", [accrue(10), redeem(6)], hold(5)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Only available points can be held."""
    given(*history, terms=under).when(refused).then(code)
