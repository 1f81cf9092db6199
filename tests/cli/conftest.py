"""A ledger for the command line: a programme with terms on a database of its own."""

from __future__ import annotations

import pytest

from tests.cli.running import COFFEE, Loyalty


@pytest.fixture
def empty(database_dsn: str) -> Loyalty:
    """The program on a fresh migrated database without any programme."""
    return Loyalty(LOYALTY_DATABASE_URL=database_dsn)


@pytest.fixture
def loyalty(empty: Loyalty) -> Loyalty:
    """The program on a database with the programme `demo` and the terms of the coffee club."""
    empty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    empty("terms", "publish", str(COFFEE), "--at", "2026-01-01T00:00:00Z")
    return empty
