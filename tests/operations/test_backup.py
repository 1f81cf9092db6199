"""A backup taken under load, by the commands of the documentation: restored, it has what was acknowledged by then."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from ledger.engine import Ledger
from ledger.store.database import Database, connect
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from service.read_models import read_models
from tests.engine.clubs import Club, assert_sound, statuses, submissions
from tests.operations.documented import run
from tests.waiting import PATIENCE_SECONDS, wait_for

MEMBERS = [f"m{n}" for n in range(12)]
WRITES = 400


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="loyalty-backup-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Writer:
    """Writes from a thread, and notes for each command that was acknowledged where the log of the server was then."""

    def __init__(self, ledger: Ledger, club: Club, dsn: str) -> None:
        self.acknowledged: dict[str, int] = {}
        self._ledger, self._club, self._dsn = ledger, club, dsn
        self._stop = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)

    def wait_for_more(self, number: int) -> None:
        wanted = len(self.acknowledged) + number

        def has_more() -> bool:
            if len(self.acknowledged) >= wanted:
                return True
            assert self._thread.is_alive()
            return False

        wait_for(has_more)

    def _run(self) -> None:
        number = 0
        with closing(connect(self._dsn)) as connection, connection.cursor() as cursor:
            while not self._stop.is_set():
                batch = [self._club.accrue(name, f"{name}-{number}", 1) for name in MEMBERS]
                assert set(statuses(self._ledger.handle(submissions(batch)))) == {"posted"}
                cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
                (place,) = cursor.fetchone() or (0,)
                self.acknowledged |= dict.fromkeys((command.id for command in batch), int(place))
                number += 1


def test_backup_and_restore(folder: Path) -> None:
    """While a writer and a projector are at work. What is restored verifies, and a rebuild changes no read model."""
    with served(folder / "live") as dsn, closing(Database(dsn)) as database, closing(Ledger(database)) as ledger:
        migrate(dsn)
        club = Club(database, 2).open(ledger)
        ledger.handle(submissions([club.enrol(name) for name in MEMBERS]))
        with Writer(ledger, club, dsn) as writer, projecting(database):
            writer.wait_for_more(WRITES)
            run("Backup", folder, LOYALTY_DATABASE_URL=dsn, BACKUP=str(folder / "backup"))
            writer.wait_for_more(WRITES)
        live = club.rows()
        give_to_the_server(folder)

    restoring = run("Restore", folder, BACKUP=str(folder / "backup"), RESTORED=str(folder / "restored"))
    assert "Everything is as it was recorded" in restoring
    end = end_of_backup(folder / "backup" / "postgres")
    by_then = {id for id, place in writer.acknowledged.items() if place <= end}
    assert WRITES <= len(by_then) < len(writer.acknowledged)
    with served(folder / "restored") as dsn, closing(Database(dsn)) as database:
        club.database = database
        assert by_then <= {id for _, id in club.commands()}
        for was, now in zip(live, club.rows(), strict=True):
            assert now == was[: len(now)]
        assert_sound(club)
        before = digests(database)
        rebuild(dsn, read_models())
        assert digests(database) == before


def give_to_the_server(folder: Path) -> None:
    """To whom the server runs as, which is another user where these tests run as root."""
    owner = (folder / "live" / "postgres").stat()
    for path in (folder / "backup", *(folder / "backup").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """An embedded server on the data in a folder, which is made where it is not there."""
    folder.mkdir(exist_ok=True)
    server = EmbeddedPostgres(folder / "postgres")
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def projecting(database: Database) -> Iterator[None]:
    """A projector beside."""
    stop = Event()
    thread = Thread(target=Runner(database, read_models()).follow, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)


def digests(database: Database) -> dict[str, tuple[int, str]]:
    """Of the tables of all read models."""
    with database.connection() as cur:
        return table_digests(cur, read_models())


def end_of_backup(data: Path) -> int:
    """Up to where a backup has the log of the server."""
    (stretch,) = json.loads((data / "backup_manifest").read_text())["WAL-Ranges"]
    high, low = (int(part, 16) for part in stretch["End-LSN"].split("/"))
    return high << 32 | low
