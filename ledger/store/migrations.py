"""Numbered SQL files applied in order, each once and in one transaction, and recorded with their hash.

Writers and readers may be at work meanwhile. A statement that waits for a table holds up everybody who comes after it,
so it gives up after a moment, lets them pass, and the file is tried again.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

import msgspec
import psycopg2

from ledger.store.database import SCHEMA, PgConnection, PgCursor, connect, translated

_FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>\w+)\.sql")
_MIGRATION_LOCK_KEY = 0x6C6F79616C747902

LOCK_WAIT_MS_MAX = 500
"""For so long a migration holds up those who come after it, while it waits for those before it."""
LOCK_SECONDS_MAX = 60.0
"""For so long it is tried again."""
_PAUSE_SECONDS_MAX = 2.0


class MigrationError(RuntimeError):
    """The database cannot be brought to the version of this code."""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One SQL file. `number` counts from 1 without gaps."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hash of the file's text, in hexadecimal."""
        return sha256(self.sql.encode()).hexdigest()


def published_migrations() -> list[Migration]:
    """The migrations of this code, `schemas/sql/NNNN_name.sql`, in order.

    Raises MigrationError when the numbers are not 1, 2, 3 … or a file is named otherwise.
    """
    entries = [entry for entry in files("schemas").joinpath("sql").iterdir() if entry.name.endswith(".sql")]
    migrations = sorted((_parsed(entry.name, entry.read_text("utf-8")) for entry in entries), key=lambda m: m.number)
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise MigrationError(f"migrations are not numbered 1, 2, 3 …: {[m.number for m in migrations]}")
    return migrations


def _parsed(file_name: str, sql: str) -> Migration:
    match = _FILE_NAME.fullmatch(file_name)
    if match is None:
        raise MigrationError(f"migration {file_name!r} is not named NNNN_name.sql")
    return Migration(number=int(match["number"]), name=match["name"], sql=sql)


def migrate(
    dsn: str, migrations: Sequence[Migration] | None = None, *, lock_seconds_max: float = LOCK_SECONDS_MAX
) -> list[int]:
    """Bring the database to the version of this code; the numbers applied now, an empty list if it was up to date.

    Whoever `dsn` logs in as owns the tables and needs the right to create schemas and roles. Concurrent calls wait for
    each other. `migrations` defaults to the published ones; `lock_seconds_max` is for how long each is tried where
    somebody keeps a table.

    Raises MigrationError when an applied file has changed since, the database is newer than this code, or a table could
    not be had: what was applied before that stays, and calling it again goes on. Errors of eventsourcing.persistence
    when the database refuses.
    """
    wanted = published_migrations() if migrations is None else migrations
    connection = connect(dsn)
    try:
        return _migrate_under_lock(connection, wanted, lock_seconds_max)
    except psycopg2.Error as error:
        raise translated(error) from error
    finally:
        connection.close()


def _migrate_under_lock(connection: PgConnection, wanted: Sequence[Migration], lock_seconds_max: float) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK_KEY,))  # released with the connection
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (number integer NOT NULL PRIMARY KEY, name text NOT NULL,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        applied = _check_applied(cursor, wanted)
        pending = wanted[applied:]
        for migration in pending:
            _apply_between_others(cursor, migration, time.monotonic() + lock_seconds_max)
    return [migration.number for migration in pending]


def _check_applied(cursor: PgCursor, wanted: Sequence[Migration]) -> int:
    """How many migrations the database has; raises MigrationError unless they are the first of the wanted ones."""
    cursor.execute("SELECT number, sha256 FROM schema_migrations ORDER BY number")
    applied: list[tuple[int, str]] = cursor.fetchall()
    if len(applied) > len(wanted):
        raise MigrationError(f"the database is at migration {applied[-1][0]}, newer than this code ({len(wanted)})")
    for (number, recorded), migration in zip(applied, wanted, strict=False):
        if (number, recorded) != (migration.number, migration.sha256):
            raise MigrationError(f"migration {number} ({migration.name}) has changed since it was applied")
    return len(applied)


def _apply_between_others(cursor: PgCursor, migration: Migration, deadline: float) -> None:
    """Apply it as soon as its tables can be had without anybody waiting long for it."""
    while True:
        try:
            _apply(cursor, migration)
            return
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected) as error:
            cursor.execute("ROLLBACK")
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"migration {migration.number} ({migration.name}) could not have a table that somebody keeps:"
                    " end long transactions (pg_stat_activity shows them), and run it again"
                ) from error
            time.sleep(random.uniform(0.1, 1) * _PAUSE_SECONDS_MAX)


def _apply(cursor: PgCursor, migration: Migration) -> None:
    cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {LOCK_WAIT_MS_MAX}")
    cursor.execute(migration.sql)
    cursor.execute(
        "INSERT INTO schema_migrations (number, name, sha256) VALUES (%s, %s, %s)",
        (migration.number, migration.name, migration.sha256),
    )
    cursor.execute("COMMIT")
