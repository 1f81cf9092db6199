"""Releases: what is left of a hold goes back to its lots."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldReleased
from tests.decider.scenario import (
    accrue,
    capture,
    given,
    happened,
    hold,
    layer,
    part,
    refusals,
    release,
    terms,
    unless_open,
)


def test_points_go_back_available_from_the_release_on_with_their_expiry() -> None:
    """As of the days in between they were held.

    before  000001 2 available 0 expires 9, 8 of it held
    apply   release on day 1
    after   000001 2 available 0, 000001 8 available 1, both expire 9
    """
    given(accrue(10), hold(8), terms=terms(expiry="9D")).when(release(day=1)).then(
        happened(HoldReleased, points=8, allocations=[part(1, 8, 0, 9)], why="requested")
    ).layers(layer(1, 2, 0, 0, 9), layer(1, 8, 1, 1, 9)).leaves(active=10, held=0)


def test_only_what_is_left_goes_back() -> None:
    """5 of 8 were captured."""
    given(accrue(10), hold(8), capture(points=5, day=1)).when(release(day=1)).then(happened(HoldReleased, points=3))


def test_points_that_expired_while_held_go_back_expired() -> None:
    """A hold does not lengthen their life."""
    given(accrue(10), hold(8), terms=terms(expiry="1D")).when(release(day=1)).leaves(active=0, held=0, expired=10)


def test_a_hold_that_timed_out_unnoticed_can_still_be_released() -> None:
    """It comes to the same."""
    given(accrue(10), hold(8)).when(release(day=5)).then(happened(HoldReleased, points=8, why="requested"))


PAIR = [accrue(10), hold(4), hold(4, source="shop")]


@refusals(
    *unless_open(release()),
    ("HOLD_NOT_FOUND", [], release()),
    ("HOLD_NOT_FOUND", [accrue(10), hold(8), release()], release(id="again")),
    ("HOLD_AMBIGUOUS", PAIR, release(source="desk", day=-1)),
    ("OCCURRED_BEFORE_HOLD", PAIR, release(day=-1)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A hold is released once."""
    given(*history, terms=under).when(refused).then(code)
