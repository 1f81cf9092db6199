"""PostgreSQL for tests: one server a session, and a fresh migrated database for each test that asks for one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from psycopg2.extensions import make_dsn, parse_dsn

from ledger.engine import Ledger
from ledger.store.database import Database, connect
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate

# What these checks find depends on the machine and on the seed, not on the ledger: how long an example took.
_unchecked = [
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.function_scoped_fixture,  # databases, which every example uses in its own way
]
settings.register_profile("the same", deadline=None, suppress_health_check=_unchecked, derandomize=True)
settings.register_profile("new", deadline=None, suppress_health_check=_unchecked, print_blob=True)
settings.load_profile("the same")  # so that a change fails for what it changes; `make explore` looks for what is new

_numbers = count(1)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A database of a server where tests may create others: LOYALTY_TEST_DATABASE_URL or an embedded server."""
    configured = os.environ.get("LOYALTY_TEST_DATABASE_URL")
    if configured:
        yield configured
        return
    directory = Path(tempfile.mkdtemp(prefix="loyalty-test-"))
    server = EmbeddedPostgres(directory / "postgres")
    try:
        dsn = server.start()
        for setting in ("fsync", "full_page_writes"):  # this server need not outlive a crash of the machine
            execute_on(dsn, f"ALTER SYSTEM SET {setting} = off")
        execute_on(dsn, "SELECT pg_reload_conf()")
        yield dsn
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(server_dsn: str) -> Iterator[str]:
    """The name of a migrated database that the databases of tests are copied from."""
    name = f"loyalty_test_{os.getpid()}_template"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    yield name
    drop_database(server_dsn, name)


@pytest.fixture
def empty_database_dsn(server_dsn: str) -> Iterator[str]:
    """The DSN, as its owner, of a fresh database without any migration."""
    name = f"loyalty_test_{os.getpid()}_{next(_numbers)}"
    yield create_database(server_dsn, name)
    drop_database(server_dsn, name)


@pytest.fixture
def database_dsn(server_dsn: str, template_database: str) -> Iterator[str]:
    """The DSN, as its owner, of a fresh migrated database."""
    name = f"loyalty_test_{os.getpid()}_{next(_numbers)}"
    yield create_database(server_dsn, name, template=template_database)
    drop_database(server_dsn, name)


@pytest.fixture
def database(database_dsn: str) -> Iterator[Database]:
    """A pool of writers on a fresh migrated database."""
    pool = Database(database_dsn)
    yield pool
    pool.close()


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """A writer on it that nothing disturbs."""
    writer = Ledger(database)
    yield writer
    writer.close()


def create_database(server_dsn: str, name: str, template: str = "template0") -> str:
    """Create a database on the server; its DSN."""
    execute_on(server_dsn, f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' LOCALE 'C' STRATEGY FILE_COPY")
    return make_dsn(**{**parse_dsn(server_dsn), "dbname": name})


def drop_database(server_dsn: str, name: str) -> None:
    """Drop a database, whoever is still connected to it."""
    execute_on(server_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def execute_on(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own, as who logs in."""
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
