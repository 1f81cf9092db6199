"""Events of the log as they are read over HTTP: a stream, and what was recorded since a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Raw, Struct

from ledger.store.database import PgCursor
from service.http.problems import invalid
from service.http.reading import is_number

EVENTS_MAX: Final = 1_000


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
        "SELECT journal, position, originator_id, originator_version, topic, recorded_at, state FROM events"
        " WHERE journal = %s AND originator_id = %s AND originator_version > %s ORDER BY originator_version LIMIT %s",
        (journal, stream, after, limit),
    )
    return [_event(*row) for row in cursor.fetchall()]


def read_changes(cursor: PgCursor, cursors: dict[int, int], limit: int) -> list[LogEvent]:
    """Events of several journals after a position of each, at most `limit`: journal by journal, each in its order.

    One query of one index range a journal, each of at most `limit` rows.
    """
    cursor.execute(
        "SELECT event.* FROM unnest(%s::integer[], %s::bigint[]) AS wanted (journal, after),"
        " LATERAL (SELECT journal, position, originator_id, originator_version, topic, recorded_at, state FROM events"
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


def cursors_of(text: str | None, journals: Sequence[int]) -> dict[int, int]:
    """A cursor as journal → position; "" or None is the beginning. Raises Problem where it is no cursor of these."""
    cursors = dict.fromkeys(journals, 0)
    for part in text.split(",") if text else ():
        journal, _, position = part.partition(":")
        if not (is_number(journal) and is_number(position)) or int(journal) not in cursors:
            raise invalid("after", "must be the `next` of a page, or the id of an event of the stream", text or "")
        cursors[int(journal)] = int(position)
    return cursors


def cursor_text(cursors: dict[int, int]) -> str:
    """A cursor as text: `1:42,2:17`."""
    return ",".join(f"{journal}:{position}" for journal, position in cursors.items())


def moved(cursors: dict[int, int], events: Sequence[LogEvent]) -> dict[int, int]:
    """A cursor beyond events that were read from it."""
    return cursors | {event.journal: event.position for event in events}
