"""Events of the log as they are read: a stream, and what was recorded since a cursor."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Raw, Struct

from ledger.store.database import PgCursor

EVENTS_MAX: Final = 1_000

_COLUMNS: Final = "journal, position, originator_id, originator_version, topic, recorded_at, state"


class LogEvent(Struct, frozen=True, kw_only=True):
    """An event as it was recorded. `topic` names its type and version; `data` is what schemas/events says of that."""

    journal: int
    position: int
    stream: str
    version: int
    topic: str
    recorded_at: datetime
    data: Raw


def read_stream(cursor: PgCursor, journal: int, stream: str, *, after: int, limit: int) -> list[LogEvent]:
    """Events of a stream after a version, in order."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM events WHERE journal = %s AND originator_id = %s AND originator_version > %s"
        " ORDER BY originator_version LIMIT %s",
        (journal, stream, after, limit),
    )
    return [_event(*row) for row in cursor.fetchall()]


def read_stream_from(cursor: PgCursor, journal: int, stream: str, *, position: int, limit: int) -> list[LogEvent]:
    """Events of a stream from a position of its journal on, in order."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM events WHERE journal = %s AND originator_id = %s AND position >= %s"
        " ORDER BY position LIMIT %s",
        (journal, stream, position, limit),
    )
    return [_event(*row) for row in cursor.fetchall()]


def read_changes(cursor: PgCursor, cursors: dict[int, int], limit: int) -> list[LogEvent]:
    """Events of several journals after a position of each, at most `limit`: journal by journal, each in its order.

    One query of one index range a journal, each of at most `limit` rows.
    """
    cursor.execute(
        "SELECT event.* FROM unnest(%s::integer[], %s::bigint[]) AS wanted (journal, after),"
        f" LATERAL (SELECT {_COLUMNS} FROM events"
        " WHERE journal = wanted.journal AND position > wanted.after ORDER BY position LIMIT %s) AS event"
        " ORDER BY journal, position LIMIT %s",
        (list(cursors), list(cursors.values()), limit, limit),
    )
    return [_event(*row) for row in cursor.fetchall()]


def _event(
    journal: int, position: int, stream: str, version: int, topic: str, recorded_at: datetime, state: memoryview
) -> LogEvent:
    return LogEvent(
        journal=journal,
        position=position,
        stream=stream,
        version=version,
        topic=topic,
        recorded_at=recorded_at,
        data=Raw(bytes(state)),
    )
