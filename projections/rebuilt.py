"""Projections rebuilt up to a position, in temporary tables of one session: digested, and compared with the live ones.

The tables have the names of the live ones and are found before them, so that projections write to them unchanged. They
are nobody else's and are gone with the session: the role that may only read is enough (with the right TEMPORARY on the
database, which everybody has unless it was taken away), several may be made at once, and nothing is left to clear away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import Any

import psycopg2
from msgspec import Struct
from psycopg2 import sql

from ledger.store.database import IDLE, SCHEMA, PgCursor, connect, translated
from projections.batch import BATCH_EVENTS_MAX, HistoryGap, read_batch
from projections.protocol import Projection
from projections.rebuild import tables_of
from projections.runner import fold_batch

DIGESTS_AT_ONCE = 10_000
DIFFERENCES_NAMED_MAX = 3

_AS_TEXT = (  # on which the text of a row depends; the time zone of a connection is UTC
    "SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'"
)
_TEMPORARY_BUFFERS = "64MB"


class TableDigest(Struct, frozen=True, kw_only=True):
    """The rows of a table for one journal: how many, and SHA-256, in hexadecimal.

    The hash is over a first line, the name of the table, a second, the names of its columns in order and with commas
    between them, and the SHA-256 of each row, in ascending order. A row is hashed as PostgreSQL writes a row of its
    columns, in the order of their names, as text (UTC, ISO 8601) in UTF-8. So neither the order of rows or columns in
    storage nor the database matters.
    """

    rows: int
    sha256: str


class LiveTables(Struct, frozen=True, kw_only=True):
    """How the live tables of a journal compare with the log. All good: both are empty.

    `differences` name rows that are not what the log gives; `behind` the projections that could not be compared,
    because they are not as far as the rebuilt ones, or of another version.
    """

    differences: list[str]
    behind: list[str]


class Rebuilt:
    """The projections of one journal, folded as far as was asked for. `cur` is that of `session`."""

    def __init__(self, cur: PgCursor, journal: int, projections: Sequence[Projection]) -> None:
        self.journal = journal
        self._cur = cur
        self._projections = projections
        self._positions = {projection.name: 0 for projection in projections}
        self._kept: dict[str, dict[str, Any]] = {projection.name: {} for projection in projections}
        self._analyzed = 0
        with self._step():
            for table in tables_of(projections):
                cur.execute(
                    sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {} INCLUDING ALL)").format(
                        sql.Identifier(table), sql.Identifier(SCHEMA, table)
                    )
                )

    def fold_to(self, position: int, on_events: Callable[[int], None] = lambda _: None) -> None:
        """Fold all projections up to a position; `on_events` is called with the number of further events.

        Raises HistoryGap where the journal does not have all positions up to it.
        """
        for number in self._fold(self._projections, position):
            on_events(number)

    def _fold(self, projections: Sequence[Projection], position: int) -> Iterator[int]:
        """Fold projections that are equally far; the number of events of each batch."""
        topics = frozenset[str]().union(*(projection.topics for projection in projections))
        after = self._positions[projections[0].name]
        while after < position:
            limit = min(BATCH_EVENTS_MAX, position - after)
            with self._step():
                batch = read_batch(self._cur, self.journal, after=after, limit=limit, topics=topics)
                if not batch.rows:
                    raise HistoryGap(f"journal {self.journal} ends at position {after}, before {position}")
                for projection in projections:
                    fold_batch(self._cur, projection, batch, self._kept[projection.name])
                    self._positions[projection.name] = batch.last
            after = batch.last
            if after < position and after >= 2 * self._analyzed:
                self._analyze()
                self._analyzed = after
            yield len(batch.rows)

    @contextmanager
    def _step(self) -> Iterator[None]:
        """A transaction, or a part of the one that is open."""
        inside = self._cur.connection.info.transaction_status != IDLE
        self._cur.execute("SAVEPOINT step" if inside else "BEGIN")
        yield
        self._cur.execute("RELEASE step" if inside else "COMMIT")

    def _analyze(self) -> None:
        """Nobody else gives the planner statistics of temporary tables."""
        for table in tables_of(self._projections):
            self._cur.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))

    def digests(self) -> dict[str, dict[str, TableDigest]]:
        """Of each projection, the digest of each of its tables."""
        return {
            projection.name: {table: self._digest(sql.Identifier(table), table) for table in projection.tables}
            for projection in self._projections
        }

    def _digest(self, where: sql.Composable, table: str) -> TableDigest:
        columns = self._columns(table)
        count, digest = 0, sha256(f"{table}\n{','.join(columns)}\n".encode())
        with self._step():
            self._cur.execute(
                sql.SQL(
                    "DECLARE digested NO SCROLL CURSOR FOR SELECT sha256(convert_to(ROW({})::text, 'UTF8')) FROM {}"
                    " WHERE journal = {} ORDER BY 1"
                ).format(_identifiers(columns), where, sql.Literal(self.journal))
            )
            while True:
                self._cur.execute(f"FETCH {DIGESTS_AT_ONCE} FROM digested")
                rows = self._cur.fetchall()
                count += len(rows)
                for (row,) in rows:
                    digest.update(row)
                if len(rows) < DIGESTS_AT_ONCE:
                    break
            self._cur.execute("CLOSE digested")
        return TableDigest(rows=count, sha256=digest.hexdigest())

    def _columns(self, table: str) -> list[str]:
        self._cur.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            ' ORDER BY attname COLLATE "C"',
            (f"{SCHEMA}.{table}",),
        )
        return [name for (name,) in self._cur.fetchall()]

    # --- the live tables ----------------------------------------------------------------------------------------------

    def compare_live(self) -> LiveTables:
        """Fold on to where each live projection is, and compare its rows; the digests are of a later position then.

        One state of the live tables and their checkpoints is compared, which neither waits for runners nor stops them.
        """
        self._fold_to_live()  # the most of it, in transactions that end
        tables = sql.SQL(", ").join(sql.Identifier(SCHEMA, table) for table in tables_of(self._projections))
        self._cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self._cur.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(tables))  # before the snapshot is taken
        live = self._fold_to_live()
        behind, differences = [], []
        for projection in self._projections:
            reached, here = live[projection.name], self._positions[projection.name]
            if reached < here:
                behind.append(f"{projection.name} is at position {reached} of journal {self.journal}, before {here}")
                continue
            for table in projection.tables:
                if self._digest(sql.Identifier(SCHEMA, table), table) != self._digest(sql.Identifier(table), table):
                    differences += self._differences(table)
        self._cur.execute("COMMIT")
        return LiveTables(differences=differences, behind=behind)

    def _fold_to_live(self) -> dict[str, int]:
        """Fold on to where the live projections are, those together that are equally far; where that is."""
        self._cur.execute("SELECT projection, version, position FROM projections WHERE journal = %s", (self.journal,))
        known = {(name, version): position for name, version, position in self._cur.fetchall()}
        live = {one.name: known.get((one.name, one.version), 0) for one in self._projections}
        here = self._positions
        for way in sorted({(here[name], position) for name, position in live.items()}):
            together = [one for one in self._projections if (here[one.name], live[one.name]) == way]
            for _ in self._fold(together, way[1]):
                pass
        return live

    def _differences(self, table: str) -> list[str]:
        key = sql.SQL("concat_ws(', ', {})").format(
            sql.SQL(", ").join(
                sql.SQL("{} || ' ' || {}::text").format(sql.Literal(name), sql.Identifier(name))
                for name in self._key(table)
            )
        )
        rows = sql.SQL("SELECT {} AS key, ROW({})::text AS line FROM {} WHERE journal = {}")
        columns, journal = _identifiers(self._columns(table)), sql.Literal(self.journal)
        self._cur.execute(
            sql.SQL(
                "WITH live AS ({}), rebuilt AS ({})"
                " SELECT key, live.line IS NULL, rebuilt.line IS NULL, count(*) OVER ()"
                " FROM live FULL JOIN rebuilt USING (key) WHERE live.line IS DISTINCT FROM rebuilt.line"
                " ORDER BY 1 LIMIT {}"
            ).format(
                rows.format(key, columns, sql.Identifier(SCHEMA, table), journal),
                rows.format(key, columns, sql.Identifier(table), journal),
                sql.Literal(DIFFERENCES_NAMED_MAX),
            )
        )
        found = self._cur.fetchall()
        words = []
        for name, missing, extra, _ in found:
            what = "is missing" if missing else "is one too many" if extra else "is not what the log gives"
            words.append(f"in the live table {table}, journal {self.journal}, the row of {name} {what}")
        if found and (more := found[0][3] - len(found)):
            words.append(f"in the live table {table}, journal {self.journal}, so are {more} more rows")
        return words

    def _key(self, table: str) -> list[str]:
        """The columns of the primary key after the journal, or the journal where there are none."""
        self._cur.execute(
            "SELECT attname FROM pg_index, unnest(indkey) WITH ORDINALITY AS key (attnum, number)"
            " JOIN pg_attribute USING (attnum) WHERE indrelid = %s::regclass AND attrelid = indrelid AND indisprimary"
            " ORDER BY number",
            (f"{SCHEMA}.{table}",),
        )
        first, *others = [name for (name,) in self._cur.fetchall()]
        return others or [first]


@contextmanager
def session(dsn: str) -> Iterator[PgCursor]:
    """A cursor of a session, as the role that may only read, in which tables that it makes stand before the live ones.

    Errors of the database are raised as those of eventsourcing.persistence.
    """
    connection = connect(dsn, "loyalty_reader", schema=f"pg_temp,{SCHEMA}")
    try:
        with closing(connection), connection.cursor() as cur:
            cur.execute(f"{_AS_TEXT}; SET temp_buffers = '{_TEMPORARY_BUFFERS}'; SET synchronous_commit = off")
            yield cur
    except psycopg2.Error as error:
        raise translated(error) from error


def _identifiers(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
