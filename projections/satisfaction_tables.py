"""The tables of satisfaction: how a batch reads what it needs of them, and how its changes are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.copying import copy_rows

_COLUMNS: Final = {
    "survey_answers": "member, position, day, occurred_at, instrument, survey, score, satisfied, weighted, lowest,"
    " highest, answers, touchpoint, channel, store, purchase",
    "complaints": "member, complaint, position, source, category, touchpoint, channel, store, purchase, opened_at,"
    " opened_day",
    "follow_ups": "member, follow_up, position, source, reason, touchpoint, channel, scheduled_at, due_at, due_day",
    "baselines": "chart, version, kind, figure, period, per, value, from_on, until_on, points, centre, sigma,"
    " frozen_at",
}
TABLES: Final = (*_COLUMNS, "latest_answers", "satisfaction_days", "service_days", "satisfaction_members")

_STAGED: Final = {
    "staged_latest_answers": "LIKE latest_answers",
    "staged_satisfaction_days": "LIKE satisfaction_days",
    "staged_service_days": "LIKE service_days",
    "staged_satisfaction_ends": 'member text COLLATE "C", id text COLLATE "C", position bigint, at timestamptz,'
    " day date, outcome text",
    "staged_satisfaction_members": 'member text COLLATE "C", status text, ended_at timestamptz,'
    ' merged_into text COLLATE "C", last_purchase_at timestamptz',
}
_STAGING: Final = "SET LOCAL client_min_messages = warning;" + "".join(
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({columns}) ON COMMIT DELETE ROWS; DELETE FROM {table};"
    for table, columns in _STAGED.items()
)


def prepare(cur: PgCursor) -> None:
    """Make the tables, empty, that changes are staged in."""
    cur.execute(_STAGING)


# --- reading --------------------------------------------------------------------------------------------------------


def read_complaints(
    cur: PgCursor, batch: Batch, wanted: Sequence[tuple[str, str]]
) -> list[tuple[str, str, int, str, str, str]]:
    """Of each member and id: member, id, position, channel, store and touchpoint of the newest complaint."""
    return _read_newest(cur, batch, wanted, "complaints", "complaint", "store")


def read_follow_ups(
    cur: PgCursor, batch: Batch, wanted: Sequence[tuple[str, str]]
) -> list[tuple[str, str, int, str, str, str]]:
    """As `read_complaints`; a follow-up has no store."""
    return _read_newest(cur, batch, wanted, "follow_ups", "follow_up", "''")


def _read_newest(
    cur: PgCursor, batch: Batch, wanted: Sequence[tuple[str, str]], table: str, id: str, store: str
) -> list[tuple[str, str, int, str, str, str]]:
    if not wanted or not batch.after:
        return []
    cur.execute(
        "SELECT wanted.member, wanted.id, newest.*"
        " FROM unnest(%s::text[], %s::text[]) AS wanted (member, id), LATERAL ("
        f" SELECT position, channel, {store}, touchpoint FROM {table} found"
        f" WHERE journal = %s AND found.member = wanted.member AND {id} = wanted.id ORDER BY position DESC LIMIT 1"
        ") newest",
        (*(list(column) for column in zip(*wanted, strict=True)), batch.journal),
    )
    return cur.fetchall()


# --- writing --------------------------------------------------------------------------------------------------------


def write_rows(cur: PgCursor, journal: int, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows to a table."""
    copy_rows(cur, table, _COLUMNS[table], rows, journal=journal)


def end_rows(cur: PgCursor, journal: int, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Set when complaints were resolved or follow-ups completed: member, id, position, at, day, outcome."""
    if not rows:
        return
    id, end = ("complaint", "resolved") if table == "complaints" else ("follow_up", "completed")
    cur.execute("DELETE FROM staged_satisfaction_ends")
    copy_rows(cur, "staged_satisfaction_ends", "member, id, position, at, day, outcome", rows)
    cur.execute(
        f"UPDATE {table} ended SET {end}_at = staged.at, {end}_day = staged.day, outcome = staged.outcome"
        " FROM staged_satisfaction_ends staged"
        f" WHERE journal = %s AND ended.member = staged.member AND {id} = staged.id"
        " AND ended.position = staged.position",
        (journal,),
    )


def put_latest(cur: PgCursor, journal: int, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put answers in the place of older ones."""
    staged = list(rows)
    if not staged:
        return
    columns = "member, instrument, position, day, occurred_at, score, satisfied, lowest, highest"
    copy_rows(cur, "staged_latest_answers", columns, staged, journal=journal)
    cur.execute(_PUT_LATEST)


def add_days(
    cur: PgCursor, journal: int, answer_days: Iterable[tuple[Any, ...]], service_days: Iterable[tuple[Any, ...]]
) -> None:
    """Add counts to days."""
    for staged, key, sums, rows in (
        ("staged_satisfaction_days", _ANSWER_DAYS_KEY, _ANSWER_DAYS_SUMS, answer_days),
        ("staged_service_days", _SERVICE_DAYS_KEY, _SERVICE_DAYS_SUMS, service_days),
    ):
        copy_rows(cur, staged, ", ".join((*key[1:], *sums)), list(rows), journal=journal)
    cur.execute(_ADD_ANSWER_DAYS)
    cur.execute(_ADD_SERVICE_DAYS)


def merge_members(cur: PgCursor, journal: int, rows: Iterable[tuple[Any, ...]]) -> None:
    """Set what changed of members: member, status, ended_at, merged_into, last_purchase_at."""
    columns = "member, status, ended_at, merged_into, last_purchase_at"
    copy_rows(cur, "staged_satisfaction_members", columns, list(rows))
    cur.execute(_MERGE_MEMBERS, (journal, journal))


_PUT_LATEST: Final = """
INSERT INTO latest_answers AS latest SELECT * FROM staged_latest_answers
ON CONFLICT (journal, member, instrument) DO UPDATE SET
    position = excluded.position, day = excluded.day, occurred_at = excluded.occurred_at, score = excluded.score,
    satisfied = excluded.satisfied, lowest = excluded.lowest, highest = excluded.highest
WHERE (excluded.occurred_at, excluded.position) > (latest.occurred_at, latest.position)
"""

_ANSWER_DAYS_KEY: Final = ("journal", "per", "value", "day", "instrument", "lowest", "highest")
_ANSWER_DAYS_SUMS: Final = (
    "answers",
    "scored",
    "promoters",
    "detractors",
    "satisfied",
    "weighted",
    "score_sum",
    "score_squares",
)
_SERVICE_DAYS_KEY: Final = ("journal", "per", "value", "day")
_SERVICE_DAYS_SUMS: Final = (
    "purchases",
    "complaints",
    "resolved",
    "resolution_seconds",
    "follow_ups",
    "follow_ups_in_time",
    "follow_ups_late",
)


def _adding(table: str, key: Sequence[str], sums: Sequence[str]) -> str:
    """Add staged counts. ON CONFLICT finds each row by the key: a MERGE may read all days to join the few staged."""
    return f"""
INSERT INTO {table} AS days ({", ".join((*key, *sums))}) SELECT {", ".join((*key, *sums))} FROM staged_{table}
ON CONFLICT ({", ".join(key)}) DO UPDATE SET {", ".join(f"{name} = days.{name} + excluded.{name}" for name in sums)}
"""


_ADD_ANSWER_DAYS: Final = _adding("satisfaction_days", _ANSWER_DAYS_KEY, _ANSWER_DAYS_SUMS)
_ADD_SERVICE_DAYS: Final = _adding("service_days", _SERVICE_DAYS_KEY, _SERVICE_DAYS_SUMS)

_MERGE_MEMBERS: Final = """
MERGE INTO satisfaction_members members USING staged_satisfaction_members staged
ON members.journal = %s AND members.member = staged.member
WHEN MATCHED THEN UPDATE SET
    status = coalesce(staged.status, members.status),
    ended_at = CASE WHEN staged.status IS NULL THEN members.ended_at ELSE staged.ended_at END,
    merged_into = nullif(coalesce(staged.merged_into, members.merged_into), ''),
    last_purchase_at = greatest(members.last_purchase_at, staged.last_purchase_at)
WHEN NOT MATCHED THEN INSERT VALUES (%s, staged.member, coalesce(staged.status, 'unknown'),
    staged.ended_at, nullif(staged.merged_into, ''), staged.last_purchase_at)
"""
