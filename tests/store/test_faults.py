"""Connections that break at any statement of an insert, and writers that race: all or nothing, and no gap."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg2
import pytest
from eventsourcing.persistence import OperationalError, PersistenceError, StoredEvent

from ledger.store import journal as log
from ledger.store.database import Database, PgCursor, connect
from ledger.store.recorders import ApplicationJournal, JournalApplicationRecorder
from tests.store.test_journal import append, assert_consistent, new_journal, record
from tests.waiting import PATIENCE_SECONDS

STATEMENTS_OF_AN_INSERT = 3
WRITERS = 4
TRANSACTIONS_PER_WRITER = 60


def terminate(dsn: str, pid: int) -> None:
    """Kill a server process and wait until it is gone."""
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, %s)", (pid, int(PATIENCE_SECONDS * 1000)))
            assert cursor.fetchone() == (True,)
    finally:
        connection.close()


class DoomedCursor(PgCursor):
    """A cursor whose connection is killed, from another one, before its nth statement or in the middle of its COPY."""

    dsn: ClassVar[str]
    statements_left: ClassVar[int]
    dies_within_copy: ClassVar[bool]

    def execute(self, query: Any, vars: Any = None) -> None:
        self._count_down()
        super().execute(query, vars)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        self._count_down()
        super().copy_expert(sql, DoomedFile(self, file) if self.dies_within_copy else file, size)

    def _count_down(self) -> None:
        cls = type(self)
        cls.statements_left -= 1
        if cls.statements_left == 0:
            terminate(cls.dsn, self.connection.info.backend_pid)


class DoomedFile:
    """A file that kills the connection when it has been read half."""

    def __init__(self, cursor: DoomedCursor, file: Any) -> None:
        self._cursor = cursor
        self._file = file
        self._half = len(file.getbuffer()) // 2

    def read(self, size: int) -> bytes:
        if 0 <= self._half <= self._file.tell():
            self._half = -1
            terminate(self._cursor.dsn, self._cursor.connection.info.backend_pid)
        return bytes(self._file.read(min(size, 4096)))


class DoomedDatabase(Database):
    """A database whose cursors are doomed."""

    @contextmanager
    def connection(self) -> Iterator[PgCursor]:
        with super().connection() as cursor, cursor.connection.cursor(cursor_factory=DoomedCursor) as doomed:
            yield doomed


def events(count: int) -> list[StoredEvent]:
    stream = uuid4()
    return [StoredEvent(stream, version, "a.v1", b"x" * 400) for version in range(1, count + 1)]


@pytest.mark.parametrize("statement", [*range(1, STATEMENTS_OF_AN_INSERT + 1), "copy"])
def test_a_connection_killed_before_any_statement_writes_nothing(
    statement: int | str, database: Database, database_dsn: str
) -> None:
    """The insert raises, nothing is recorded, the head is consistent, and the same recorder works on."""
    journal = ApplicationJournal(database, "a")
    JournalApplicationRecorder(database, journal).insert_events(events(5))
    number = journal.number()
    doomed = DoomedDatabase(database_dsn)
    DoomedCursor.dsn = database_dsn
    DoomedCursor.statements_left = statement if isinstance(statement, int) else -1
    DoomedCursor.dies_within_copy = statement == "copy"
    recorder = JournalApplicationRecorder(doomed, ApplicationJournal(doomed, "a", number))
    with pytest.raises(PersistenceError):
        recorder.insert_events(events(1000))
    assert assert_consistent(database, number) == 5
    DoomedCursor.dies_within_copy = False
    DoomedCursor.statements_left = -1
    assert recorder.insert_events(events(7)) == list(range(6, 13))
    assert assert_consistent(database, number) == 12
    doomed.close()


def test_an_insert_has_as_many_statements_as_are_killed_here(database: Database, database_dsn: str) -> None:
    """The test above covers every statement: an insert sends exactly that many."""
    doomed = DoomedDatabase(database_dsn)
    DoomedCursor.statements_left, DoomedCursor.dies_within_copy = 0, False
    number = ApplicationJournal(database, "a").number()
    JournalApplicationRecorder(doomed, ApplicationJournal(doomed, "a", number)).insert_events(events(3))
    assert -DoomedCursor.statements_left == STATEMENTS_OF_AN_INSERT
    doomed.close()


def test_a_killed_holder_of_the_lock_lets_the_next_writer_in(database: Database, database_dsn: str) -> None:
    """The lock of a writer that died is free, and what it had not committed is gone."""
    journal = new_journal(database)
    holder = connect(database_dsn, "loyalty_writer")
    with holder.cursor() as cursor:
        head = log.lock_head(cursor, journal, begin=True)
        log.append(cursor, head, [record("s", 1)])
    terminate(database_dsn, holder.info.backend_pid)
    append(database, journal, [record("s", 1)])
    assert assert_consistent(database, journal) == 1
    with pytest.raises(psycopg2.OperationalError), holder.cursor() as cursor:
        log.store_head(cursor, head, commit=True)
    holder.close()


def test_reads_are_repeated_on_a_new_connection(database: Database, database_dsn: str) -> None:
    """Every pooled connection is killed; the next read finds that out and succeeds on a new one."""
    recorder = JournalApplicationRecorder(database, ApplicationJournal(database, "a"))
    recorder.insert_events(events(2))
    with database.connection() as cursor:
        terminate(database_dsn, cursor.connection.info.backend_pid)
    assert recorder.max_notification_id() == 2


def write_and_sometimes_fail(dsn: str, journal: int, writer: int) -> None:
    """One writer process: transactions of growing size, every fifth rolled back after its COPY."""
    database = Database(dsn)
    version = 0
    for number in range(TRANSACTIONS_PER_WRITER):
        batch = [record(f"writer-{writer}", version + 1 + event) for event in range(number % 7 + 1)]
        with database.connection() as cursor:
            head = log.lock_head(cursor, journal, begin=True)
            log.append(cursor, head, batch)
            if number % 5 == 4:
                cursor.execute("ROLLBACK")
                continue
            log.store_head(cursor, head, commit=True)
        version += len(batch)
    database.close()


def test_a_tailing_reader_misses_nothing_while_processes_write(database: Database, database_dsn: str) -> None:
    """Four writer processes, some transactions rolled back; a reader that tails sees each position once, in order."""
    journal = new_journal(database)
    expected = WRITERS * sum(n % 7 + 1 for n in range(TRANSACTIONS_PER_WRITER) if n % 5 != 4)
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_and_sometimes_fail, args=(database_dsn, journal, writer))
        for writer in range(WRITERS)
    ]
    for process in writers:
        process.start()
    seen: list[log.LightRow] = []
    reads_with_events = 0
    with database.connection() as cursor:
        while len(seen) < expected:
            writing = any(process.is_alive() for process in writers)
            rows = log.read_light(cursor, journal, after=seen[-1][0] if seen else 0, limit=50)
            reads_with_events += bool(rows)
            seen += rows
            assert rows or writing, f"the writers ended after {len(seen)} of {expected} events"
    for process in writers:
        process.join()
        assert process.exitcode == 0
    assert [row[0] for row in seen] == list(range(1, expected + 1))
    assert reads_with_events > 10, "the reader did not tail: it read everything at once"
    for writer in range(WRITERS):
        versions = [row[2] for row in seen if row[1] == f"writer-{writer}"]
        assert versions == list(range(1, expected // WRITERS + 1))
    assert assert_consistent(database, journal) == expected


def test_a_server_that_cannot_be_reached_is_an_operational_error() -> None:
    """The error is the persistence interface's own, whatever the driver."""
    with pytest.raises(OperationalError), Database("postgresql://127.0.0.1:1/none").connection():
        pass


def test_originator_ids_keep_their_type(database: Database) -> None:
    """UUIDs come back as UUIDs although the store keeps text."""
    recorder = JournalApplicationRecorder(database, ApplicationJournal(database, "a"))
    recorder.insert_events(events(1))
    (notification,) = recorder.select_notifications(None, 1)
    assert isinstance(notification.originator_id, UUID)
