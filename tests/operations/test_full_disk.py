"""The disk of the database is full: what cannot be recorded is refused, nothing is half done, and it goes on by itself
when there is room again.

The disk is a small tmpfs, which takes root's right to mount; elsewhere these tests are left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from eventsourcing.persistence import PersistenceError
from psycopg2.extensions import make_dsn, parse_dsn

from ledger.engine import Ledger
from ledger.store.database import Database, sqlstate
from ledger.store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from ledger.store.migrations import migrate
from projections.runner import Runner
from service.read_models import projection_lags, read_models
from tests.cli.running import Loyalty, rows
from tests.conftest import execute_on
from tests.engine.clubs import Club, assert_sound, statuses, submissions
from tests.http.conftest import create_programmes
from tests.http.serving import Api, Server, a_key, enrolled, purchase
from tests.http.test_commands import problem
from tests.waiting import PATIENCE_SECONDS, wait_for

DISK_FULL = "53100"
DISK_MIB = 40
SERVER_DISK_MIB = 160
LEAVE_BYTES = 1 << 20
MEMBERS = [f"m{n}" for n in range(50)]


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A file system of that size."""
    folder = Path(tempfile.mkdtemp(prefix="loyalty-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0777", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path, leave: int) -> Path:
    """Take all but so many bytes of a file system."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(shutil.disk_usage(folder).free - leave))
    return ballast


@pytest.fixture
def full_soon(server_dsn: str) -> Iterator[tuple[str, Path]]:
    """A migrated database whose tables are on a small disk, and that disk; the log of the server is elsewhere."""
    if "LOYALTY_TEST_DATABASE_URL" in os.environ:
        pytest.skip("the disk must be the server's")
    name = f"loyalty_small_{os.getpid()}"
    with small_disk(DISK_MIB) as disk:
        place = disk / "tables"
        place.mkdir(mode=0o777)
        own = Path(parse_dsn(server_dsn)["host"]).stat()
        os.chown(place, own.st_uid, own.st_gid)
        execute_on(server_dsn, f"CREATE TABLESPACE {name} LOCATION '{place}'")
        execute_on(
            server_dsn, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' TABLESPACE {name}"
        )
        dsn = make_dsn(**{**parse_dsn(server_dsn), "dbname": name})
        try:
            migrate(dsn)
            yield dsn, disk
        finally:
            execute_on(server_dsn, f"DROP DATABASE {name} WITH (FORCE)")
            execute_on(server_dsn, f"DROP TABLESPACE {name}")


def test_tables_that_cannot_grow(full_soon: tuple[str, Path]) -> None:
    """Refused as the database says it, batch after batch; then the same batches are posted, each once; and a projector
    that was at work waits and catches up.
    """
    dsn, disk = full_soon
    with closing(Database(dsn)) as database, closing(Ledger(database)) as ledger:
        club = Club(database, 1).open(ledger)
        ledger.handle(submissions([club.enrol(name) for name in MEMBERS]))
        runner, stop = Runner(database, read_models()), Event()
        projector = Thread(target=runner.follow, args=(stop,))
        projector.start()
        try:
            ballast = fill(disk, LEAVE_BYTES)
            posted, refused = write_until_full(ledger, club)
            told = [sqlstate(error) for error in refused]
            assert told == [DISK_FULL] * len(told)
            assert [id for source, id in club.commands() if id.startswith("a-")] == sorted(posted)
            assert_sound(club, ledger)
            ballast.unlink()
            again = [batch(club, number) for number in range(len(posted) // len(MEMBERS) + 3)]
            found = [status for each in again for status in statuses(ledger.handle(submissions(each)))]
            assert found.count("duplicate") == len(posted)
            assert set(found) == {"posted", "duplicate"}
            assert_sound(club, ledger)
            wait_for(lambda: behind(database) == 0)
        finally:
            stop.set()
            projector.join(PATIENCE_SECONDS)


def batch(club: Club, number: int) -> list[object]:
    return [club.accrue(name, f"a-{name}-{number}", 1) for name in MEMBERS]


def write_until_full(ledger: Ledger, club: Club) -> tuple[list[str], list[PersistenceError]]:
    """Batches until three were refused (others may give back room between): what was posted, and the errors."""
    posted: list[str] = []
    errors: list[PersistenceError] = []
    number = 0
    while len(errors) < 3:
        commands = batch(club, number)
        try:
            assert set(statuses(ledger.handle(submissions(commands)))) == {"posted"}  # type: ignore[arg-type]
        except PersistenceError as error:
            errors.append(error)
            continue
        posted += [command.id for command in commands]  # type: ignore[attr-defined]
        number += 1
        assert number < 5_000, "it never filled up"
    return posted, errors


def behind(database: Database) -> int:
    with database.connection() as cur:
        return sum(each.lag for each in projection_lags(cur))


def test_over_http(full_soon: tuple[str, Path]) -> None:
    """Refused with a problem that says why; what was acknowledged is there, and nothing is half done; then the same
    requests are recorded, each once.
    """
    dsn, disk = full_soon
    with closing(Database(dsn)) as database:
        key = a_key(database, "admin", None)
    with Server(dsn) as server, closing(Api(server.url, key)) as api:
        create_programmes(server.url, key)
        member = enrolled(api)
        api.read(f"members/{member}/balance")  # who connects later may be refused: PostgreSQL may write a file then
        ballast = fill(disk, LEAVE_BYTES)
        sent, acknowledged, refused = [], set(), 0
        while refused < 3:
            bodies = [purchase(member) for _ in range(100)]
            answer = api.post("purchase-batches", {"purchases": bodies})
            sent.append(bodies)
            assert len(sent) < 1_000, "it never filled up"
            if answer.status_code == 200:
                acknowledged |= {body["id"] for body in bodies}
                continue
            assert "no room" in problem(answer, 503, "DATABASE_FULL")["detail"]
            assert answer.headers["Retry-After"] == "10"
            refused += 1
        single = purchase(member)
        while (answer := api.post("purchases", single)).status_code == 201:  # the last pages have room for some
            acknowledged.add(single["id"])
            sent.append([single])
            single = purchase(member)
        problem(answer, 503, "DATABASE_FULL")
        answer = api.get(f"members/{member}/balance")
        assert answer.status_code == 200, answer.text
        ballast.unlink()
        assert acknowledged <= set(purchases_of(dsn))
        assert api.post("purchases", single).status_code == 201
        for bodies in sent:
            answer = api.post("purchase-batches", {"purchases": bodies})
            assert answer.json()["rejected"] == 0
        ids = [body["id"] for bodies in sent for body in bodies]
        assert sorted(purchases_of(dsn)) == sorted([*ids, single["id"]])
        assert "Traceback" not in server.log()
    Loyalty(LOYALTY_DATABASE_URL=dsn)("audit", "verify")


def purchases_of(dsn: str) -> list[str]:
    found = rows(
        dsn, "SELECT convert_from(state, 'UTF8')::json ->> 'id' FROM events WHERE topic LIKE 'purchase-recorded.%'"
    )
    return [id for (id,) in found]


def starts(server: EmbeddedPostgres) -> bool:
    """Whether it could be started: not while it still ends."""
    try:
        server.start()
    except (EmbeddedPostgresError, PersistenceError):
        return False
    return True


def test_a_log_of_the_server_that_cannot_grow() -> None:
    """PostgreSQL stops where it cannot write its log. What was acknowledged before is there, once, when it is started
    again with room, and the same batches go on.
    """
    with small_disk(SERVER_DISK_MIB) as disk:
        server = EmbeddedPostgres(disk / "postgres")
        dsn = server.start()
        try:
            migrate(dsn)
            with closing(Database(dsn)) as database, closing(Ledger(database)) as ledger:
                club = Club(database, 1).open(ledger)
                ledger.handle(submissions([club.enrol(name) for name in MEMBERS]))
                ballast = fill(disk, LEAVE_BYTES)
                posted, _ = write_until_full(ledger, club)
                ballast.unlink()
                wait_for(lambda: starts(server))
                there = {id for _, id in club.commands() if id.startswith("a-")}
                assert there >= set(posted)
                assert len(there) - len(posted) in (0, len(MEMBERS))  # the answer to one commit may have been lost
                numbers = range(len(posted) // len(MEMBERS) + 2)
                found = [status for n in numbers for status in statuses(ledger.handle(submissions(batch(club, n))))]
                assert found.count("duplicate") == len(there)
                assert set(found) == {"duplicate", "posted"}
                assert_sound(club, ledger)
        finally:
            server.stop()
