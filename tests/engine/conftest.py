"""A ledger on a fresh database, and a programme in it with one journal and with sixteen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.engine import Ledger
from ledger.store.database import Database
from tests.engine.clubs import Club, J, assert_sound


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    writer = Ledger(database)
    yield writer
    writer.close()


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
