"""A writer whose connections lead through a proxy, beside one whose connections do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.engine import Ledger
from ledger.store.database import Database
from tests.faults.proxy import Proxy


@pytest.fixture
def proxy(database_dsn: str) -> Iterator[Proxy]:
    with Proxy(database_dsn) as running:
        yield running


@pytest.fixture
def disturbed(proxy: Proxy) -> Iterator[Ledger]:
    """A writer through the proxy."""
    database = Database(proxy.dsn)
    writer = Ledger(database)
    yield writer
    writer.close()
    database.close()
