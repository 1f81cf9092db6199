"""Rebuild: read models filled again from position 0, beside the live ones, and put in their place all at once.

Shadow tables have the same names in a schema of their own, so that projections write to them unchanged.

1. Make the shadow tables like the live ones, and fold every journal into them while appends and live runners go on.
2. Lock the checkpoints of all projections: runners wait from here on. Appends and readers go on.
3. Fold what was recorded meanwhile: the shadow is now as of one position in each journal.
4. Lock the live tables, drop them, move the shadow tables to their place and set the checkpoints. Commit, once.
   Views that read them, ours or an operator's, are made again as they were.

Killed before the commit, a rebuild leaves nothing but the shadow, which the next one clears away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from msgspec import Struct
from psycopg2 import sql

from ledger.store.database import SCHEMA, PgCursor, connect, translated
from projections.batch import BATCH_EVENTS_MAX, read_batch
from projections.protocol import Projection
from projections.runner import fold_batch
from projections.views import MaterializedViewInTheWay, put_up_views, take_down_views

SHADOW_SCHEMA = "loyalty_rebuild"
SWAP_ATTEMPTS_MAX = 100
SWAP_PAUSE_SECONDS_MAX = 1.0
TURN_TIMEOUT_MS = 2_000
RUNNERS_LOCK_TIMEOUT_MS = 60_000
READERS_LOCK_TIMEOUT_MS = 100
"""For each table. A reader may hold one and wait for another that the swap has locked. The swap gives way before the
server looks for deadlocks (`deadlock_timeout`, a second), so that it is never the reader who is cancelled."""

_REBUILD_LOCK_KEY = 0x6C6F79616C747903


class RebuildRefused(RuntimeError):
    """The rebuild cannot go on: another one runs, or readers would not let go of the live tables."""


class RebuildReport(Struct, frozen=True, kw_only=True):
    """What a rebuild did: where each journal was when the tables were swapped, and the seconds it took."""

    positions: dict[int, int]
    fill_seconds: float
    swap_seconds: float

    @property
    def events_count(self) -> int:
        """Events folded."""
        return sum(self.positions.values())


class Shadow(Struct):
    """How far the shadow tables are in a journal, as committed, and what the projections remember of it."""

    journal: int
    position: int = 0
    kept: dict[str, dict[str, Any]] = {}


def rebuild(
    dsn: str, projections: Sequence[Projection], *, threads: int = 2, batch_events_max: int = BATCH_EVENTS_MAX
) -> RebuildReport:
    """Rebuild the tables of projections from the log and swap them in. Readers see the old rows, then the new ones.

    `dsn` logs in as the owner of the tables; `threads` journals are folded at a time. Rights granted on the live tables
    are granted on the new ones. A transaction that reads at REPEATABLE READ across the swap may find them empty.

    Raises RebuildRefused, and eventsourcing.persistence errors when the database fails: the live tables are then as
    before.
    """
    started = time.monotonic()
    try:
        with shadow_connection(dsn) as cur:
            take_turn(cur)
            make_shadow(cur, projections)
            shadows: dict[int, Shadow] = {}
            _fill(dsn, cur, projections, shadows, threads, batch_events_max)
            analyze_shadow(cur, projections)
            _fill(dsn, cur, projections, shadows, threads, batch_events_max)  # what came meanwhile
            filled = time.monotonic()
            positions = _swap(cur, projections, shadows, batch_events_max)
            cur.execute(f"DROP SCHEMA {SHADOW_SCHEMA} CASCADE")
    except psycopg2.Error as error:
        raise translated(error) from error
    return RebuildReport(positions=positions, fill_seconds=filled - started, swap_seconds=time.monotonic() - filled)


@contextmanager
def shadow_connection(dsn: str) -> Iterator[PgCursor]:
    """A cursor in autocommit mode that finds the shadow tables before the live ones."""
    connection = connect(dsn, schema=f"{SHADOW_SCHEMA},{SCHEMA}")
    try:
        with connection.cursor() as cur:
            yield cur
    finally:
        connection.close()


def take_turn(cur: PgCursor) -> None:
    """Let no other rebuild in until the connection is closed. One that has just ended may take a moment to let go."""
    cur.execute(f"SET lock_timeout = {TURN_TIMEOUT_MS}")
    try:
        cur.execute("SELECT pg_advisory_lock(%s)", (_REBUILD_LOCK_KEY,))
    except psycopg2.errors.LockNotAvailable as error:
        raise RebuildRefused("another rebuild is running on this database") from error
    cur.execute("RESET lock_timeout")


# --- the shadow tables ----------------------------------------------------------------------------------------------


def make_shadow(cur: PgCursor, projections: Sequence[Projection]) -> None:
    """Empty tables like the live ones, with their checks, indexes and storage parameters."""
    cur.execute(f"SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SHADOW_SCHEMA} CASCADE")
    cur.execute(f"CREATE SCHEMA {SHADOW_SCHEMA}")
    for table in tables_of(projections):
        cur.execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(_shadow(table), sql.Identifier(SCHEMA, table))
        )
        cur.execute(
            "SELECT option_name, option_value FROM pg_class, pg_options_to_table(reloptions) WHERE oid = %s::regclass",
            (f"{SCHEMA}.{table}",),
        )
        for name, value in cur.fetchall():  # LIKE leaves these out
            cur.execute(
                sql.SQL("ALTER TABLE {} SET ({} = {})").format(_shadow(table), sql.Identifier(name), sql.Literal(value))
            )


def analyze_shadow(cur: PgCursor, projections: Sequence[Projection]) -> None:
    """Let the server plan by what is in the shadow tables."""
    for table in tables_of(projections):
        cur.execute(sql.SQL("ANALYZE {}").format(_shadow(table)))


def tables_of(projections: Sequence[Projection]) -> list[str]:
    """The tables that projections write."""
    return [table for projection in projections for table in projection.tables]


def _shadow(table: str) -> sql.Identifier:
    return sql.Identifier(SHADOW_SCHEMA, table)


# --- filling them ---------------------------------------------------------------------------------------------------


def _fill(
    dsn: str,
    cur: PgCursor,
    projections: Sequence[Projection],
    shadows: dict[int, Shadow],
    threads: int,
    batch_events_max: int,
) -> None:
    """Fold every journal up to where it is now, a few at a time; each batch is committed on its own."""
    wanted = [shadows.setdefault(journal, Shadow(journal)) for journal in programme_journals(cur)]

    def fill(shadow: Shadow) -> None:
        with shadow_connection(dsn) as own:
            own.execute("SET synchronous_commit = off")  # a crash loses the whole shadow anyway
            more = True
            while more:
                own.execute("BEGIN")
                more = _fold_next(own, projections, shadow, batch_events_max)
                own.execute("COMMIT")
        shadow.kept = {}

    with ThreadPoolExecutor(threads, thread_name_prefix="rebuild") as pool:
        for _ in pool.map(fill, wanted):
            pass


def programme_journals(cur: PgCursor) -> list[int]:
    """The journals that projections fold."""
    cur.execute("SELECT journal FROM journals WHERE kind = 'programme' ORDER BY journal")
    return [journal for (journal,) in cur.fetchall()]


def _fold_next(cur: PgCursor, projections: Sequence[Projection], shadow: Shadow, batch_events_max: int) -> bool:
    """Fold the next batch of a journal into the shadow; whether it was a full one."""
    topics = frozenset[str]().union(*(projection.topics for projection in projections))
    batch = read_batch(cur, shadow.journal, after=shadow.position, limit=batch_events_max, topics=topics)
    for projection in projections:
        fold_batch(cur, projection, batch, shadow.kept.setdefault(projection.name, {}))
    shadow.position = batch.last
    return len(batch.rows) == batch_events_max


# --- swapping them in -----------------------------------------------------------------------------------------------


def _swap(
    cur: PgCursor, projections: Sequence[Projection], shadows: dict[int, Shadow], batch_events_max: int
) -> dict[int, int]:
    """Catch up and swap in one transaction, tried again where a long read holds a live table; the positions reached."""
    committed = {journal: shadow.position for journal, shadow in shadows.items()}
    for number in range(SWAP_ATTEMPTS_MAX):
        attempt = {journal: Shadow(journal, position) for journal, position in committed.items()}
        cur.execute("BEGIN")
        try:
            _catch_up_and_swap(cur, projections, attempt, batch_events_max)
            cur.execute("COMMIT")
        except psycopg2.errors.LockNotAvailable:
            cur.execute("ROLLBACK")
            time.sleep(min(0.02 * (1 + number), SWAP_PAUSE_SECONDS_MAX))
            continue
        except MaterializedViewInTheWay as error:
            raise RebuildRefused(str(error)) from error
        return {journal: shadow.position for journal, shadow in attempt.items()}
    raise RebuildRefused(f"the live tables were in use at {SWAP_ATTEMPTS_MAX} attempts to swap them: try again later")


def _catch_up_and_swap(
    cur: PgCursor, projections: Sequence[Projection], shadows: dict[int, Shadow], batch_events_max: int
) -> None:
    # EXCLUSIVE conflicts with the row locks of runners and not with readers. The table, not its rows: a runner might
    # otherwise begin with a journal that did not exist a moment ago, in tables that are about to be dropped.
    cur.execute(f"SET LOCAL lock_timeout = {RUNNERS_LOCK_TIMEOUT_MS}; LOCK TABLE projections IN EXCLUSIVE MODE")
    for journal in programme_journals(cur):
        shadow = shadows.setdefault(journal, Shadow(journal))
        while _fold_next(cur, projections, shadow, batch_events_max):
            pass
    live = sql.SQL(", ").join(sql.Identifier(SCHEMA, table) for table in tables_of(projections))
    cur.execute(f"SET LOCAL lock_timeout = {READERS_LOCK_TIMEOUT_MS}")
    cur.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(live))
    views = take_down_views(cur, [f"{SCHEMA}.{table}" for table in tables_of(projections)])
    for table in tables_of(projections):
        _replace(cur, table)
    put_up_views(cur, views)
    for projection in projections:
        _set_checkpoints(cur, projection, shadows)


def _replace(cur: PgCursor, table: str) -> None:
    live, shadow = sql.Identifier(SCHEMA, table), _shadow(table)
    cur.execute(
        "SELECT CASE WHEN grantee = 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type"
        " FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass AND grantee <> relowner",
        (f"{SCHEMA}.{table}",),
    )
    for grantee, privilege in cur.fetchall():
        cur.execute(sql.SQL(f"GRANT {privilege} ON {{}} TO {grantee}").format(shadow))
    cur.execute(sql.SQL("DROP TABLE {}").format(live))
    cur.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(shadow, sql.Identifier(SCHEMA)))


def _set_checkpoints(cur: PgCursor, projection: Projection, shadows: dict[int, Shadow]) -> None:
    cur.execute("DELETE FROM projections WHERE projection = %s", (projection.name,))
    cur.execute(
        "INSERT INTO projections (projection, version, journal, position)"
        " SELECT %s, %s, * FROM unnest(%s::integer[], %s::bigint[])",
        (
            projection.name,
            projection.version,
            list(shadows),
            [shadow.position for shadow in shadows.values()],
        ),
    )


def table_digests(cur: PgCursor, projections: Sequence[Projection]) -> dict[str, tuple[int, str]]:
    """Number and digest of the rows of each table, whatever their order in storage: equal if the rows are equal."""
    digests = {}
    for table in tables_of(projections):
        cur.execute(
            sql.SQL(
                "SELECT count(*), md5(coalesce(string_agg(digest, '' ORDER BY digest), ''))"
                " FROM (SELECT md5(t::text) AS digest FROM {} t) rows"
            ).format(sql.Identifier(SCHEMA, table))
        )
        count, digest = cur.fetchone() or (0, "")
        digests[table] = (count, digest)
    return digests
