"""The narrow reading of events beside the postings of the ledger and the layers of its evolver."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.events import TOPICS
from ledger.evolver import evolve
from ledger.member import clone, initial
from ledger.postings import ACCOUNTS, Posting, postings
from ledger.steering_state import STEERING_EVENTS
from projections.batch import Batch, Row
from projections.movements import MOVEMENT_TOPICS, NEVER, later, movements, utc
from tests.projections.histories import History


def moved(event, position: int = 1):
    """The movement of one event, None if it has none."""
    row = Row(position, event.member, 1, type(event).topic, encode(event).decode(), "2026-01-01 00:00:00+00")
    found = movements(Batch(1, position - 1, [row]))
    return found[0] if found else None


@settings(max_examples=40)
@given(seed=st.integers(0, 10**9))
def test_movements_book_the_postings_of_the_ledger(seed: int) -> None:
    """Whatever the event, the accounts and points are those of ledger.postings, which sum to zero."""
    for event in History(seed, 120).events:
        movement = moved(event)
        booked = [] if movement is None else [Posting(ACCOUNTS[account], points) for account, points in movement.booked]
        assert sorted(booked) == sorted(postings(event)), event
        assert movement is None or sum(points for _, points in movement.booked) == 0


@settings(max_examples=40)
@given(seed=st.integers(0, 10**9))
def test_movements_change_the_layers_that_the_evolver_changes(seed: int) -> None:
    """The sums of layers before and after evolving differ by just what the movement names."""
    history = History(seed, 120)
    for member in history.members:
        state = initial(member)
        for event in history.of(member):
            before = layers_of(state)
            after = layers_of(evolve(clone(state), event))
            state = evolve(state, event)
            for lot, points, _, available_at, expires_at in getattr(moved(event), "layers", ()):
                key = (lot, instant(available_at), None if expires_at == NEVER else instant(expires_at))
                before[key] = before.get(key, 0) + points
            assert {key: points for key, points in before.items() if points} == after, event


def layers_of(state) -> dict:
    return {
        (layer.lot, layer.available_at, None if layer.expires_at.year == 9999 else layer.expires_at): layer.points
        for layer in state.layers()
    }


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_every_topic_that_can_book_points_is_read() -> None:
    """A new event that moves points must be added to the movements, or read models would miss it."""
    silent = {
        "member-profile-changed.v1", "purchase-recorded.v1", "purchase-returned.v1", "survey-answered.v1",
        "complaint-opened.v1", "complaint-resolved.v1", "follow-up-scheduled.v1", "follow-up-completed.v1",
        "cost-attributed.v1", "wallet-share-surveyed.v1", "programme-created.v1", "terms-published.v1",
    }  # fmt: skip
    silent |= {event.topic for event in STEERING_EVENTS}
    assert set(TOPICS) == MOVEMENT_TOPICS | silent


def test_instants_with_an_offset_are_made_utc() -> None:
    """One instant has one spelling, so that a layer is not taken for two."""
    assert utc("2026-03-01T08:00:00+08:00") == "2026-03-01T00:00:00Z"
    assert utc("2026-03-01T00:00:00.500000Z") == "2026-03-01T00:00:00.500000Z"
    assert instant(utc("2026-03-01T05:30:00.25+05:30")) == datetime(2026, 3, 1, 0, 0, 0, 250000, tzinfo=UTC)


def test_a_fraction_of_a_second_is_later_than_the_whole_second() -> None:
    """As text with its Z it would sort before it."""
    whole, fraction = "2026-03-01T00:00:00Z", "2026-03-01T00:00:00.000001Z"
    assert later(whole, fraction) == later(fraction, whole) == fraction
