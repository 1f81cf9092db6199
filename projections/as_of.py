"""Balances and statements of the past, from the log itself: what had happened by `as_of`, as far as was known by then.

`as_of` is business time (`occurred_at`), `as_known_at` the ledger's own (`recorded_at`). Late messages make them
differ: an event that occurred before `as_of` but was recorded after `as_known_at` was not known. Both are inclusive.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from ledger.codec import MEMBER_STREAM, decode_member_event
from ledger.events import AnyMemberEvent
from ledger.evolver import fold
from ledger.figures import figures
from ledger.member import initial
from ledger.store.database import PgCursor
from ledger.store.journal import LightRow, read_streams
from ledger.upcasters import upcast_event
from ledger.values import FAR
from projections.balances import Balance, OpenLot
from projections.batch import Batch, Row
from projections.movements import MOVEMENT_TOPICS, movements
from projections.statement import StatementEntry, folded_entries


class KnownEvent(Struct, frozen=True, gc=False):
    """An event of a member's stream beside where and when it was recorded."""

    row: LightRow
    event: AnyMemberEvent


def balance_as_of(cur: PgCursor, journal: int, member: str, as_of: datetime, as_known_at: datetime) -> Balance:
    """The balance at `as_of` by the events that had occurred by then and were recorded by `as_known_at`.

    `version` is the number of those events and `position` that of the newest of them.
    """
    known = list(known_events(cur, journal, member, as_of, as_known_at))
    state = fold(initial(member), [entry.event for entry in known])
    found = figures(state, as_of)
    return Balance(
        member=member,
        status=state.status,
        version=len(known),
        position=known[-1].row[0] if known else 0,
        active=found.active,
        pending=found.pending,
        held=found.held,
        spent=found.spent,
        expired=found.expired,
        arrears=found.arrears,
        balance=found.balance,
        next_expiry_at=found.next_expiry_at,
        next_expiry_points=found.next_expiry_points,
    )


def lots_as_of(cur: PgCursor, journal: int, member: str, as_of: datetime, as_known_at: datetime) -> list[OpenLot]:
    """The lots that were open at `as_of`, in the order in which a redemption takes them, by the same events."""
    state = fold(initial(member), [entry.event for entry in known_events(cur, journal, member, as_of, as_known_at)])
    layers = [layer for lot in state.lots.values() for layer in lot if layer.points]
    return [
        OpenLot(
            lot=layer.lot,
            points=layer.points,
            opened_at=layer.opened_at,
            available_at=layer.available_at,
            expires_at=None if layer.expires_at == FAR else layer.expires_at,
        )
        for layer in sorted(layers, key=lambda layer: (layer.expires_at, layer.available_at, layer.lot))
    ]


def statement_as_of(
    cur: PgCursor, journal: int, member: str, as_of: datetime, as_known_at: datetime
) -> list[StatementEntry]:
    """All movements that had occurred by `as_of` and were recorded by `as_known_at`, in the order of recording."""
    rows = [
        Row(position, member, version, topic, state.decode(), recorded_at.isoformat())
        for position, _, version, topic, state, recorded_at in (
            entry.row for entry in known_events(cur, journal, member, as_of, as_known_at)
        )
        if topic in MOVEMENT_TOPICS
    ]
    return folded_entries(movements(Batch(journal, 0, rows)))


def known_events(
    cur: PgCursor, journal: int, member: str, as_of: datetime, as_known_at: datetime
) -> Iterator[KnownEvent]:
    """A member's events that had occurred by `as_of` and were recorded by `as_known_at`, in the order of recording; old
    spellings upcast.
    """
    for position, stream, version, stored_topic, stored_state, recorded_at in read_streams(
        cur, journal, [(MEMBER_STREAM + member, 0)]
    ):
        if recorded_at <= as_known_at:
            topic, state = upcast_event(stored_topic, stored_state)
            event = decode_member_event(topic, state)
            if event.occurred_at <= as_of:
                yield KnownEvent((position, stream, version, topic, state, recorded_at), event)
