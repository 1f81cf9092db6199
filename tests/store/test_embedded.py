"""The embedded server: durable settings, shared by processes, stopped by the last, clear when it cannot start."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.store.database import connect
from ledger.store.embedded import SETTINGS, EmbeddedPostgres, EmbeddedPostgresError

START = """
import sys
from ledger.store.embedded import EmbeddedPostgres
print(EmbeddedPostgres(sys.argv[1]).start(), flush=True)
"""
START_AND_WAIT = START + "sys.stdin.read()"


@pytest.fixture
def directory() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="loyalty-embedded-"))
    yield parent / "postgres"
    shutil.rmtree(parent, ignore_errors=True)


def start_and_be_killed(directory: Path) -> str:
    """Start or join the server in another process, which must warn of nothing, and kill that; the DSN it got."""
    command = [sys.executable, "-W", "error", "-c", START_AND_WAIT, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        dsn = process.stdout.readline().strip()
        process.kill()
    return dsn


def test_a_shared_server_survives_a_killed_process_and_stops_with_the_last(directory: Path) -> None:
    """A second process joins the server and is killed; the first goes on, and its stop ends the server."""
    server = EmbeddedPostgres(directory)
    dsn = server.start()
    assert start_and_be_killed(directory) == dsn
    connection = connect(dsn)
    with connection.cursor() as cursor:
        for name, value in SETTINGS.items():
            cursor.execute("SELECT current_setting(%s)", (name,))
            assert cursor.fetchone() == ("pglz" if name == "wal_compression" else value,)
    connection.close()
    server.stop()
    assert not (directory / "postmaster.pid").exists()
    assert (directory / "PG_VERSION").exists()


def test_a_server_left_by_a_killed_process_stops_with_the_next_that_exits(directory: Path) -> None:
    """The handle of a process that was killed alone with its server does not keep the server running for ever."""
    dsn = start_and_be_killed(directory)
    assert (directory / "postmaster.pid").exists()
    output = subprocess.run([sys.executable, "-c", START, str(directory)], check=True, capture_output=True, text=True)
    assert output.stdout.strip() == dsn
    assert not (directory / "postmaster.pid").exists()


def test_a_directory_that_cannot_be_used_is_named(directory: Path) -> None:
    """The message has the directory and where the server's log is."""
    directory.write_text("a file, not a directory")
    with pytest.raises(EmbeddedPostgresError, match=str(directory)):
        EmbeddedPostgres(directory).start()


def test_stopping_what_was_not_started_does_nothing(directory: Path) -> None:
    """`stop` may be called on any exit path."""
    EmbeddedPostgres(directory).stop()
    assert not directory.exists()
