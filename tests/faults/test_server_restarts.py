"""A server that stops and starts again while a writer is at work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from eventsourcing.persistence import PersistenceError

from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from tests.engine.clubs import Club, J, assert_sound, statuses, submissions

BATCHES = 40


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[EmbeddedPostgres, str]]:
    """A server of these tests alone, migrated."""
    directory = Path(tempfile.mkdtemp(prefix="loyalty-restart-"))
    server = EmbeddedPostgres(directory / "postgres")
    dsn = server.start()
    migrate(dsn)
    yield server, dsn
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("journals", J)
def test_a_restart_is_waited_out_or_told(journals: int, own_server: tuple[EmbeddedPostgres, str]) -> None:
    """Calls during the restart succeed late or raise the persistence interface's error; the same calls again go on, and
    everything is there once.
    """
    server, dsn = own_server
    database = Database(dsn)
    ledger = Ledger(database)
    club = Club(database, journals).open(ledger)
    names = [f"m{n}" for n in range(10)]
    ledger.handle(submissions([club.enrol(name) for name in names]))
    errors = 0
    for number in range(BATCHES):
        if number == BATCHES // 2:
            restarting = Thread(target=restart, args=(server,))
            restarting.start()
        batch = submissions([club.accrue(name, f"{name}-{number}", 2) for name in names])
        while True:
            try:
                outcomes = statuses(ledger.handle(batch))
            except PersistenceError:
                errors += 1
                continue
            break
        assert set(outcomes) <= {"posted", "duplicate"}
        assert errors or "duplicate" not in outcomes
        if number == BATCHES // 2:
            restarting.join()
    assert {each.active for each in club.figures().values()} == {2 * BATCHES}
    assert_sound(club, ledger)
    ledger.close()
    database.close()


def restart(server: EmbeddedPostgres) -> None:
    """Stop it at once, whoever is connected, and start it again."""
    server.stop()
    server.start()
