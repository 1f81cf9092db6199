"""What the first page of a programme shows, each read bounded whatever the size of the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from msgspec import Struct

from ledger.store.database import PgCursor

REJECTED_COUNTED_MAX: Final = 10_000
MONTHS_SHOWN: Final = 24


class Growth(Struct, frozen=True, kw_only=True):
    """How the log of a programme grows."""

    events: int
    newest_at: datetime | None
    last_minute: int
    last_hour: int


class NewEvent(Struct, frozen=True, kw_only=True):
    """An event, where it is and when it was recorded."""

    journal: int
    position: int
    stream: str
    topic: str
    recorded_at: datetime


class MonthOfPoints(Struct, frozen=True, kw_only=True):
    """What happened to points in a month by business time; each is positive."""

    month: date
    issued: int
    redeemed: int
    expired: int


# How much of a journal is older than an instant: `recorded_at` never goes back, so about 20 probes of the primary key
# find it, however long the journal is. Positions up to `low` are older, those beyond `high` are not.
_COUNT_NEW: Final = """
WITH RECURSIVE search (journal, newest, since, low, high) AS (
    SELECT journal, position, since, CASE WHEN recorded_at <= since THEN position ELSE 0 END, position
    FROM journals, unnest(%s::timestamptz[]) AS since WHERE journal = ANY (%s)
    UNION ALL
    SELECT journal, newest, since, CASE WHEN is_older THEN middle ELSE low END,
        CASE WHEN is_older THEN high ELSE middle - 1 END
    FROM search, LATERAL (
        SELECT position AS middle, recorded_at <= since AS is_older FROM events
        WHERE events.journal = search.journal AND position = (low + high + 1) / 2
    ) AS probe
    WHERE low < high
)
SELECT coalesce(sum(newest - low), 0)::bigint FROM search WHERE low = high GROUP BY since ORDER BY since DESC
"""


def read_growth(cursor: PgCursor, journals: Sequence[int], now: datetime) -> Growth:
    """Events of all journals, and how many came lately."""
    cursor.execute(
        "SELECT coalesce(sum(position), 0)::bigint, max(recorded_at) FILTER (WHERE position > 0)"
        " FROM journals WHERE journal = ANY (%s)",
        (list(journals),),
    )
    events, newest_at = cursor.fetchone() or (0, None)
    cursor.execute(_COUNT_NEW, ([now - timedelta(minutes=1), now - timedelta(hours=1)], list(journals)))
    (last_minute,), (last_hour,) = cursor.fetchall()
    return Growth(events=events, newest_at=newest_at, last_minute=last_minute, last_hour=last_hour)


def read_newest(cursor: PgCursor, journals: Sequence[int], limit: int) -> list[NewEvent]:
    """The newest events of all journals, newest first: one index range a journal."""
    cursor.execute(
        "SELECT journal, position, originator_id, topic, recorded_at FROM unnest(%s::integer[]) AS wanted (of_journal),"
        " LATERAL (SELECT * FROM events WHERE journal = wanted.of_journal ORDER BY position DESC LIMIT %s) AS event"
        " ORDER BY recorded_at DESC, journal, position DESC LIMIT %s",
        (list(journals), limit, limit),
    )
    return [NewEvent(**dict(zip(NewEvent.__struct_fields__, row, strict=True))) for row in cursor.fetchall()]


def read_outstanding(cursor: PgCursor, journals: Sequence[int]) -> int:
    """Points that are open or held, of all members."""
    cursor.execute(
        "SELECT coalesce(sum(points), 0)::bigint FROM liability_activity WHERE journal = ANY (%s)", (list(journals),)
    )
    (points,) = cursor.fetchone() or (0,)
    return int(points)


def read_months(cursor: PgCursor, journals: Sequence[int]) -> list[MonthOfPoints]:
    """The newest months in which points moved, oldest first."""
    cursor.execute(
        "SELECT occurred_in, coalesce(sum(points) FILTER (WHERE flow = 'earned'), 0)::bigint,"
        " coalesce(-sum(points) FILTER (WHERE flow IN ('redeemed', 'reversed')), 0)::bigint,"
        " coalesce(-sum(points) FILTER (WHERE flow = 'expired'), 0)::bigint"
        " FROM liability_cells WHERE journal = ANY (%s) GROUP BY occurred_in ORDER BY occurred_in DESC LIMIT %s",
        (list(journals), MONTHS_SHOWN),
    )
    rows = cursor.fetchall()[::-1]
    return [MonthOfPoints(**dict(zip(MonthOfPoints.__struct_fields__, row, strict=True))) for row in rows]


def count_open_rejected(cursor: PgCursor, programme: str) -> int:
    """Refused messages that are open; `REJECTED_COUNTED_MAX` stands for that many or more."""
    cursor.execute(
        "SELECT count(*) FROM (SELECT FROM rejected WHERE status = 'open' AND programme = %s LIMIT %s) AS open",
        (programme, REJECTED_COUNTED_MAX),
    )
    (number,) = cursor.fetchone() or (0,)
    return int(number)
