"""Expiry: recognises what time has done."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldReleased, PointsExpired
from tests.decider.scenario import (
    accrue,
    expire,
    given,
    happened,
    hold,
    layer,
    part,
    purchase,
    refusals,
    release,
    terms,
    unless_open,
)

TEN_DAYS = terms(expiry="10D")


def test_every_layer_that_ended_is_expired_soonest_first() -> None:
    """At the instant of expiry a layer is expired; recognising it changes no figure.

    before  000002 5 until 9, 000001 10 until 10, 000003 3 until 11
    apply   expire on day 10
    after   000003 3 until 11
    """
    scenario = given(accrue(10, "a"), accrue(5, "b", day=-1), accrue(3, "c", day=1), terms=TEN_DAYS)
    scenario.when(expire(day=10)).then(
        happened(PointsExpired, points=15, allocations=[part(2, 5, -1, 9), part(1, 10, 0, 10)])
    ).leaves(expired=15, active=3).layers(layer(3, 3, 1, 1, 11))


def test_time_expires_points_whether_or_not_it_is_recognised() -> None:
    """The figures do not wait for the event."""
    given(accrue(10), terms=TEN_DAYS).when(accrue(1, "b", day=10)).leaves(active=1, expired=10)


def test_holds_that_timed_out_are_released_and_what_expired_in_them_expires() -> None:
    """Released at the instant of the command."""
    given(accrue(10), hold(8), terms=TEN_DAYS).when(expire(day=10)).then(
        happened(HoldReleased, points=8, why="timed_out"),
        happened(PointsExpired, points=10, allocations=[part(1, 2, 0, 10), part(1, 8, 10, 10)]),
    ).layers().leaves(held=0, expired=10)


def test_a_hold_that_timed_out_is_enough_to_do() -> None:
    """Nothing expired, and the hold is released all the same."""
    given(accrue(10), hold(8)).when(expire(day=2)).then(happened(HoldReleased, why="timed_out")).leaves(active=10)


def test_a_layer_given_back_later_is_not_expired_before_it_was_there() -> None:
    """As of day 11 the points were still held; expired then, the past would be overdrawn."""
    given(accrue(10), hold(8, day=9), release(day=12), terms=terms(expiry="10D", hold_timeout="9D")).when(
        expire(day=11)
    ).then(happened(PointsExpired, points=2, allocations=[part(1, 2, 0, 10)])).layers(layer(1, 8, 12, 12, 10))


@refusals(
    *unless_open(expire()),
    ("NOTHING_TO_EXPIRE", [], expire()),
    ("NOTHING_TO_EXPIRE", [accrue(10), hold(5, day=9)], expire(day=9.9), TEN_DAYS),
    ("NOTHING_TO_EXPIRE", [accrue(10), expire(day=10)], expire("again", day=10), TEN_DAYS),
    ("NOTHING_TO_EXPIRE", [purchase()], expire(day=10_000)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Nothing is recorded where nothing ended."""
    given(*history, terms=under).when(refused).then(code)
