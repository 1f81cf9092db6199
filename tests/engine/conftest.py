"""A ledger on a fresh database, and a programme in it with one journal and with sixteen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from ledger.engine import Ledger
from ledger.store.database import Database
from tests.conftest import create_database, drop_database
from tests.engine.clubs import Club, J, assert_sound

_numbers = count(1)


@pytest.fixture(scope="module")
def database_dsn(server_dsn: str, template_database: str) -> Iterator[str]:
    """A migrated database that the tests of a file share: each has programmes of its own in it."""
    name = f"{template_database}_engine_{next(_numbers)}"
    yield create_database(server_dsn, name, template=template_database)
    drop_database(server_dsn, name)


@pytest.fixture
def other(database_dsn: str) -> Iterator[Ledger]:
    """A second writer, with connections and caches of its own, as another process has."""
    database = Database(database_dsn)
    writer = Ledger(database)
    yield writer
    writer.close()
    database.close()


@pytest.fixture(params=J, ids=lambda count: f"J{count}")
def club(request: pytest.FixtureRequest, database: Database, ledger: Ledger) -> Iterator[Club]:
    """A programme with its terms; after the test its ledger must be sound."""
    opened = Club(database, request.param).open(ledger)
    yield opened
    assert_sound(opened, ledger)
