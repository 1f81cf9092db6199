"""The ledger that the settings point to: opened, checked, and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from ledger.engine import Ledger
from ledger.measures import Observer
from ledger.store.database import Database, connect
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import MigrationError, migrate, published_migrations
from service.settings import DATABASE_URL, Settings


class Workspace(Struct, frozen=True):
    """An open ledger: its door and the database behind it."""

    ledger: Ledger
    database: Database


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The DSN of the server: the one configured, or an embedded one that is started for as long as it is used.

    Raises EmbeddedPostgresError, OSError when the data directory cannot be made.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    settings.data_directory.mkdir(parents=True, exist_ok=True)
    server = EmbeddedPostgres(settings.data_directory / "postgres")
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def opened(settings: Settings, on_transaction: Observer | None = None) -> Iterator[Workspace]:
    """The ledger, ready for use. An embedded database is migrated by the way; a server's must have been.
    `on_transaction` is the ledger's.

    Raises MigrationError when it was not; EmbeddedPostgresError, OSError and errors of eventsourcing.persistence when
    the database cannot be reached.
    """
    with database_url(settings) as dsn:
        if settings.database_url is None:
            migrate(dsn)
        else:
            check_migrated(dsn)
        database = Database(dsn)
        ledger = Ledger(database, on_transaction=on_transaction)
        try:
            yield Workspace(ledger, database)
        finally:
            ledger.close()
            database.close()


def check_migrated(dsn: str) -> None:
    """Raise MigrationError unless the database is at the version of this code."""
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
            applied = 0
            if cursor.fetchone() == (True,):
                cursor.execute("SELECT count(*) FROM schema_migrations")
                (applied,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    wanted = len(published_migrations())
    if applied != wanted:
        raise MigrationError(
            f"the database that {DATABASE_URL} names is at migration {applied}, this code at {wanted}:"
            + (" run: loyalty migrate" if applied < wanted else " it needs newer code")
        )
