"""Captures: a hold, or part of it, is spent."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldCaptured, HoldReleased
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    capture,
    given,
    happened,
    hold,
    layer,
    on,
    part,
    refusals,
    unless_open,
)

HELD = [accrue(10, "a"), accrue(10, "b", day=1), hold(14, day=2)]


def test_a_capture_spends_all_that_is_left_of_a_hold() -> None:
    """Nothing of it stays held."""
    scenario = (
        given(*HELD)
        .when(capture(day=3))
        .then(
            happened(
                HoldCaptured,
                points=14,
                allocations=[part(1, 10), part(2, 4, 1)],
                reversible_until=on(23),
                keep_until=on(28),
            )
        )
    )
    scenario.leaves(spent=14, held=0, active=6).when(capture(id="again", day=3)).then("HOLD_NOT_FOUND")


def test_a_part_is_captured_in_the_order_of_the_allocations() -> None:
    """The rest stays held."""
    scenario = (
        given(*HELD)
        .when(capture(points=12, day=3))
        .then(happened(HoldCaptured, allocations=[part(1, 10), part(2, 2, 1)]))
    )
    scenario.leaves(spent=12, held=2).when(capture(id="rest", day=3)).then(
        happened(HoldCaptured, points=2, allocations=[part(2, 2, 1)])
    )


def test_the_rest_is_released_where_the_message_says_so() -> None:
    """Back in its lots, available from the capture on."""
    given(*HELD).when(capture(points=9, release_rest=True, day=3)).then(
        happened(HoldCaptured, points=9),
        happened(HoldReleased, points=5, allocations=[part(1, 1), part(2, 4, 1)], why="rest_of_capture"),
    ).leaves(held=0, spent=9, active=11).layers(layer(2, 6, 1), layer(1, 1, 3), layer(2, 4, 3))


def test_there_is_nothing_to_release_after_all_of_it_was_captured() -> None:
    """No event of no points."""
    given(*HELD).when(capture(release_rest=True, day=3)).then(happened(HoldCaptured, points=14))


PAIR = [accrue(10), hold(4), hold(4, source="shop")]


@refusals(
    ("TERMS_MISSING", [], capture(), NOT_YET),
    *unless_open(capture()),
    ("HOLD_NOT_FOUND", [], capture()),
    ("HOLD_NOT_FOUND", PAIR, capture(hold_source="desk")),
    ("HOLD_AMBIGUOUS", PAIR, capture(source="desk", day=-1)),
    ("OCCURRED_BEFORE_HOLD", PAIR, capture(points=5, day=-1)),
    ("HOLD_TIMED_OUT", PAIR, capture(points=5, day=2)),
    ("CAPTURE_EXCEEDS_HOLD", PAIR, capture(points=5, day=1.9)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A hold is captured while it stands, and no more than it holds."""
    given(*history, terms=under).when(refused).then(code)
