"""The schema is upgraded while writers append and readers read: nothing is lost, and nobody waits for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread

import pytest

from ledger.engine import Ledger
from ledger.store.database import Database, connect
from ledger.store.migrations import Migration, MigrationError, migrate, published_migrations
from projections.runner import Runner
from service.read_models import read_models
from tests.cli.running import rows
from tests.engine.clubs import Club, assert_sound, statuses, submissions
from tests.waiting import PATIENCE_SECONDS, wait_for

OLDEST = 7
"""The first migration that today's writers can write to."""
NEWEST = len(published_migrations())
MEMBERS = [f"m{n}" for n in range(8)]


class Traffic:
    """A writer and a reader, each in a thread of its own, until the end of the block."""

    def __init__(self, dsn: str, journals: int) -> None:
        self._database = Database(dsn)
        self.ledger = Ledger(self._database)
        self.club = Club(self._database, journals).open(self.ledger)
        self.acknowledged: list[str] = []
        self.slowest_seconds = 0.0
        self.errors: list[BaseException] = []
        self._stop = Event()
        self.ledger.handle(submissions([self.club.enrol(name) for name in MEMBERS]))

    @contextmanager
    def flowing(self) -> Iterator[None]:
        threads = [Thread(target=self._run, args=(step,)) for step in (self._write, self._read)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
        assert self.errors == []

    def close(self) -> None:
        self.ledger.close()
        self._database.close()

    def _run(self, step: object) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                step(number)  # type: ignore[operator]
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
                number += 1
        except BaseException as error:  # noqa: BLE001 - raised by the end of the block
            self.errors.append(error)

    def _write(self, number: int) -> None:
        batch = submissions([self.club.accrue(name, f"{name}-{number}", 1) for name in MEMBERS])
        assert set(statuses(self.ledger.handle(batch))) == {"posted"}
        self.acknowledged += [f"{name}-{number}" for name in MEMBERS]

    def _read(self, number: int) -> None:
        """What was acknowledged before is there, without a gap."""
        acknowledged = len(self.acknowledged)
        with self._database.connection() as cur:
            cur.execute(
                "SELECT count(*), sum(position - place) FROM (SELECT position, topic, row_number() OVER"
                " (PARTITION BY journal ORDER BY position) AS place FROM events) e WHERE topic = 'points-accrued.v1'"
            )
            count, off = cur.fetchone() or (0, 0)
        assert count >= acknowledged
        assert off in (0, None)

    def wait_for_more(self, writes: int = 40) -> None:
        wanted = len(self.acknowledged) + writes

        def has_more() -> bool:
            if len(self.acknowledged) >= wanted:
                return True
            assert not self.errors, self.errors
            return False

        wait_for(has_more)


@pytest.fixture
def traffic(empty_database_dsn: str) -> Iterator[Traffic]:
    """On a database of an earlier version."""
    migrate(empty_database_dsn, published_migrations()[:OLDEST])
    traffic = Traffic(empty_database_dsn, journals=2)
    yield traffic
    traffic.close()


def test_an_upgrade_under_load(traffic: Traffic, empty_database_dsn: str) -> None:
    """From an earlier migration to the newest, with writers and readers that never stop."""
    with traffic.flowing():
        traffic.wait_for_more()
        applied = migrate(empty_database_dsn, lock_seconds_max=PATIENCE_SECONDS)
        assert applied == list(range(OLDEST + 1, NEWEST + 1))
        traffic.wait_for_more()
    ids = [id for source, id in traffic.club.commands() if source == "pos" and not id.startswith("enrol-")]
    assert sorted(ids) == sorted(traffic.acknowledged)
    assert_sound(traffic.club, traffic.ledger)
    database = Database(empty_database_dsn)
    events = sum(len(rows) for rows in traffic.club.rows())
    assert Runner(database, read_models()).run_once() == events
    database.close()


NEEDS_A_TABLE = Migration(number=NEWEST + 1, name="needs_a_table", sql="ALTER TABLE events ADD COLUMN note text")


def test_a_long_reader_does_not_stop_the_writers(traffic: Traffic, empty_database_dsn: str) -> None:
    """A migration needs a table for itself, and a transaction that reads it stays open. Writers go on while it tries;
    when the reader has ended, it is applied.
    """
    migrate(empty_database_dsn)
    with closing(connect(empty_database_dsn)) as reader, reader.cursor() as cursor, traffic.flowing():
        cursor.execute("BEGIN; SELECT count(*) FROM events")
        applied: list[list[int]] = []
        wanted = [*published_migrations(), NEEDS_A_TABLE]
        migrating = Thread(
            target=lambda: applied.append(migrate(empty_database_dsn, wanted, lock_seconds_max=2 * PATIENCE_SECONDS))
        )
        migrating.start()
        wait_for(lambda: waiting_for_events(empty_database_dsn) > 0)
        for _ in range(5):
            traffic.wait_for_more()
        assert applied == []
        cursor.execute("COMMIT")
        migrating.join(PATIENCE_SECONDS)
        assert applied == [[NEEDS_A_TABLE.number]]
        traffic.wait_for_more()
    assert_sound(traffic.club, traffic.ledger)


def waiting_for_events(dsn: str) -> int:
    """How many wait for the table."""
    ((number,),) = rows(dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass")
    return int(number)


def test_a_table_that_cannot_be_had_is_told(database_dsn: str) -> None:
    """Nothing of the migration stays, and it can be tried again."""
    wanted = [*published_migrations(), NEEDS_A_TABLE]
    with closing(connect(database_dsn)) as reader, reader.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM events")
        with pytest.raises(MigrationError, match=rf"migration {NEEDS_A_TABLE.number} \(needs_a_table\) could not have"):
            migrate(database_dsn, wanted, lock_seconds_max=0)
        cursor.execute("COMMIT")
    assert migrate(database_dsn, wanted, lock_seconds_max=0) == [NEEDS_A_TABLE.number]
