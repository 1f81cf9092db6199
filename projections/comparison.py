"""Comparison: the live read models against the same rows folded again from the log, difference by difference.

The rows are folded into shadow tables, as for a rebuild, up to where the live ones are: the checkpoints and the rows of
the live tables are read in one snapshot, so that runners, appends and readers go on meanwhile and nothing is locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
from msgspec import Struct
from psycopg2 import sql

from ledger.store.database import SCHEMA, PgCursor, translated
from projections.batch import HistoryGap, read_batch
from projections.checkpoints import refuse_other_version
from projections.protocol import Projection
from projections.rebuild import (
    BATCH_EVENTS_MAX,
    SHADOW_SCHEMA,
    analyze_shadow,
    make_shadow,
    programme_journals,
    shadow_connection,
    tables_of,
    take_turn,
)
from projections.runner import fold_batch

DIFFERENCES_MAX = 100

Positions = dict[tuple[str, int], int]
"""(projection, journal) → the position that its rows are of."""


class RowDifference(Struct, frozen=True, kw_only=True):
    """A row of a read model that is not what the log gives. `key` are the columns of the primary key; `live` and
    `folded` have the columns that differ, None where there is no such row in the table or none by the log.
    """

    table: str
    key: dict[str, Any]
    live: dict[str, Any] | None
    folded: dict[str, Any] | None

    def __str__(self) -> str:
        where = f"{self.table}: the row of {', '.join(f'{name} {value}' for name, value in self.key.items())}"
        if self.live is None:
            return f"{where} is missing"
        if self.folded is None:
            return f"{where} is one too many: no event gives it"
        changed = (f"{name} {value!r}, where the log gives {self.folded[name]!r}" for name, value in self.live.items())
        return f"{where} has {'; '.join(changed)}"


class Comparison(Struct, frozen=True, kw_only=True):
    """What a comparison found: rows compared by table, how many differ, and the first of them of each table."""

    rows: dict[str, int]
    differing: dict[str, int]
    differences: list[RowDifference]

    @property
    def ok(self) -> bool:
        """Whether every row is what the log gives."""
        return not any(self.differing.values())


def compare(
    dsn: str,
    projections: Sequence[Projection],
    *,
    threads: int = 2,
    batch_events_max: int = BATCH_EVENTS_MAX,
    differences_max: int = DIFFERENCES_MAX,
) -> Comparison:
    """Compare the tables of projections, row by row, with what the log gives at the positions where they stand.

    `dsn` logs in as the owner of the tables; `threads` journals are folded at a time. At most `differences_max` rows of
    each table are told. Nothing of the live tables is changed.

    Raises RebuildRefused while a rebuild or another comparison runs, ProjectionOutdated where rows are of another
    version, HistoryGap where the log has one, and eventsourcing.persistence errors when the database fails.
    """
    try:
        with shadow_connection(dsn) as cur:
            take_turn(cur)
            make_shadow(cur, projections)
            together = _fold_together(dsn, projections, _live_positions(cur, projections), threads, batch_events_max)
            analyze_shadow(cur, projections)
            cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            live = _live_positions(cur, projections)
            for projection in projections:
                for journal, reached in together.items():
                    _fold(cur, journal, [projection], reached, live[projection.name, journal], batch_events_max)
            found = {table: _compared(cur, table, differences_max) for table in tables_of(projections)}
            cur.execute(f"COMMIT; DROP SCHEMA {SHADOW_SCHEMA} CASCADE")
    except psycopg2.Error as error:
        raise translated(error) from error
    return Comparison(
        rows={table: rows for table, (rows, _, _) in found.items()},
        differing={table: differing for table, (_, differing, _) in found.items()},
        differences=[difference for _, _, differences in found.values() for difference in differences],
    )


# --- folding to where the live rows are -----------------------------------------------------------------------------


def _live_positions(cur: PgCursor, projections: Sequence[Projection]) -> Positions:
    for projection in projections:
        refuse_other_version(cur, projection)
    journals = programme_journals(cur)
    cur.execute("SELECT projection, journal, position FROM projections")
    known = {(name, journal): position for name, journal, position in cur.fetchall()}
    return {(one.name, journal): known.get((one.name, journal), 0) for one in projections for journal in journals}


def _fold_together(
    dsn: str, projections: Sequence[Projection], positions: Positions, threads: int, batch_events_max: int
) -> dict[int, int]:
    """Fold each journal, a few at a time, as far as all projections have come; how far that is."""
    ends: dict[int, int] = {}
    for (_, journal), position in positions.items():
        ends[journal] = min(position, ends.get(journal, position))

    def fold(journal: int) -> None:
        with shadow_connection(dsn) as cur:
            cur.execute("BEGIN; SET LOCAL synchronous_commit = off")
            _fold(cur, journal, projections, 0, ends[journal], batch_events_max)
            cur.execute("COMMIT")

    with ThreadPoolExecutor(threads, thread_name_prefix="comparison") as pool:
        for _ in pool.map(fold, ends):
            pass
    return ends


def _fold(
    cur: PgCursor, journal: int, projections: Sequence[Projection], after: int, upto: int, batch_events_max: int
) -> None:
    topics = frozenset[str]().union(*(projection.topics for projection in projections))
    kept: dict[str, dict[str, Any]] = {}
    while after < upto:
        batch = read_batch(cur, journal, after=after, limit=min(batch_events_max, upto - after), topics=topics)
        if not batch.rows:
            raise HistoryGap(f"journal {journal}: the events after {after} are missing, read models are at {upto}")
        for projection in projections:
            fold_batch(cur, projection, batch, kept.setdefault(projection.name, {}))
        after = batch.last


# --- comparing ------------------------------------------------------------------------------------------------------


def _compared(cur: PgCursor, table: str, differences_max: int) -> tuple[int, int, list[RowDifference]]:
    """The rows of a table, how many differ, and the first of those by primary key."""
    cur.execute(
        "SELECT attname, attnum = ANY (indkey) FROM pg_attribute JOIN pg_index ON indrelid = attrelid AND indisprimary"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"{SCHEMA}.{table}",),
    )
    columns = cur.fetchall()
    names = [name for name, _ in columns]
    key = [name for name, is_key in columns if is_key]
    live_table, folded_table = sql.Identifier(SCHEMA, table), sql.Identifier(SHADOW_SCHEMA, table)
    cur.execute(
        sql.SQL(_DIFFERING).format(
            live=live_table,
            folded=folded_table,
            key=_listed(key),
            names=sql.Literal(names),
            live_values=_listed(names, "live", "::text"),
            folded_values=_listed(names, "folded", "::text"),
            most=sql.Literal(differences_max),
        )
    )
    found = cur.fetchall()
    differences = [_difference(table, key, live, folded) for _, live, folded in found]
    cur.execute(sql.SQL("SELECT count(*) FROM {}").format(live_table))
    ((rows,),) = cur.fetchall()
    return rows, found[0][0] if found else 0, differences


def _difference(
    table: str, key: Sequence[str], live: dict[str, Any] | None, folded: dict[str, Any] | None
) -> RowDifference:
    either = live or folded or {}
    changed = [name for name in either if live is None or folded is None or live[name] != folded[name]]
    return RowDifference(
        table=table,
        key={name: either[name] for name in key},
        live=live and {name: live[name] for name in changed},
        folded=folded and {name: folded[name] for name in changed},
    )


def _listed(names: Sequence[str], of: str = "", cast: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*filter(None, (of, name))) + sql.SQL(cast) for name in names)


_DIFFERING = """
SELECT count(*) OVER (),
    CASE WHEN live.journal IS NOT NULL THEN jsonb_object({names}, ARRAY[{live_values}]) END,
    CASE WHEN folded.journal IS NOT NULL THEN jsonb_object({names}, ARRAY[{folded_values}]) END
FROM {live} live FULL JOIN {folded} folded USING ({key})
WHERE live::text IS DISTINCT FROM folded::text ORDER BY {key} LIMIT {most}
"""
