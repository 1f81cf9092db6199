"""A database to import into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.store.database import Database
from ledger.store.migrations import migrate


@pytest.fixture
def target(empty_database_dsn: str) -> Iterator[Database]:
    """Another database than that of the ledger, migrated and empty."""
    migrate(empty_database_dsn)
    pool = Database(empty_database_dsn)
    yield pool
    pool.close()
