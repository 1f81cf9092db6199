"""Batches: a stretch of a journal without a gap, as projections read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

from ledger.codec import MEMBER_STREAM
from ledger.store.database import PgCursor
from ledger.upcasters import EVENTS, upcast_event

T = TypeVar("T")

BATCH_EVENTS_MAX: Final = 25_000
"""Events folded in a transaction, about 50 MiB. Fewer would write the rows of busy members more often."""


class HistoryGap(RuntimeError):
    """Positions of a journal are missing: its events were tampered with, or are read from a copy that is not whole."""


class Row(NamedTuple):
    """One event; read from the database it is a plain tuple.

    `member` is empty for an event of no member's stream. `state` (JSON text) and `recorded_at` (text, UTC) are None for
    topics that no projection of the batch asked for.
    """

    position: int
    member: str
    version: int
    topic: str
    state: str | None
    recorded_at: str | None


class Batch:
    """The events of a journal at positions after < position <= last, all of them and in order."""

    def __init__(self, journal: int, after: int, rows: Sequence[Row]) -> None:
        self.journal = journal
        self.after = after
        self.rows = rows
        self._views: dict[Any, Any] = {}

    @property
    def last(self) -> int:
        """The newest position of the batch; `after` if it is empty."""
        return self.after + len(self.rows)

    def since(self, position: int) -> Batch:
        """What of the batch lies after a position; the batch itself where that is all of it."""
        if position <= self.after:
            return self
        return Batch(self.journal, position, self.rows[position - self.after :])

    def view(self, make: Callable[[Batch], T]) -> T:
        """What `make` makes of the batch, made once for all projections that share it."""
        if make not in self._views:
            self._views[make] = make(self)
        return cast(T, self._views[make])


def read_batch(cur: PgCursor, journal: int, *, after: int, limit: int, topics: Iterable[str]) -> Batch:
    """The next events of a journal, at most `limit`; states only of the given topics, old spellings of them upcast.

    Raises HistoryGap where a position is missing.
    """
    cur.execute(
        "SELECT position, CASE WHEN starts_with(originator_id, %s) THEN substr(originator_id, %s) ELSE '' END,"
        " originator_version, topic, CASE WHEN topic = ANY (%s) THEN convert_from(state, 'UTF8') END,"
        " CASE WHEN topic = ANY (%s) THEN recorded_at::text END"
        " FROM events WHERE journal = %s AND position > %s AND position <= %s ORDER BY position",
        (MEMBER_STREAM, len(MEMBER_STREAM) + 1, *[_spellings(topics)] * 2, journal, after, after + limit),
    )
    rows = cast("list[Row]", cur.fetchall())
    if rows and rows[-1][0] != after + len(rows):
        raise HistoryGap(f"journal {journal}: {rows[-1][0] - after - len(rows)} events after {after} are missing")
    return Batch(journal, after, [_current(row) for row in rows] if EVENTS else rows)


def _spellings(topics: Iterable[str]) -> list[str]:
    """The topics and all old topics that are upcast to one of them."""
    wanted = set(topics)
    while older := {old for old, (newer, _) in EVENTS.items() if newer in wanted} - wanted:
        wanted |= older
    return sorted(wanted)


def _current(row: Row) -> Row:
    position, member, version, topic, state, recorded_at = row
    if state is None or topic not in EVENTS:
        return row
    topic, upcast = upcast_event(topic, state.encode())
    return Row(position, member, version, topic, upcast.decode(), recorded_at)
