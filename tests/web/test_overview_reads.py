"""Counting what came lately by probing, against counting rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from ledger.store.database import Database
from ledger.store.journal import create_journals
from service.web.overview_reads import read_growth
from tests.conftest import execute_on

NOW = datetime(2099, 6, 1, tzinfo=UTC)


def test_what_came_lately_is_counted_exactly(database: Database, database_dsn: str) -> None:
    for seed in range(6):
        journals, ages = random_journals(database, database_dsn, seed)
        with database.connection() as cursor:
            growth = read_growth(cursor, journals, NOW)
            assert read_growth(cursor, journals[:1], NOW).last_hour == 0
        assert growth.events == len(ages)
        assert growth.last_minute == sum(age < 60 for age in ages)
        assert growth.last_hour == sum(age < 3_600 for age in ages)


def random_journals(database: Database, dsn: str, seed: int) -> tuple[list[int], list[int]]:
    """Journals of a programme, the first of them empty, and the ages of their events in seconds."""
    random = Random(seed)
    with database.transaction() as cursor:
        journals = create_journals(cursor, "programme", f"club{seed}", 4)
    ages: list[int] = []
    for journal in journals[1:]:
        number = random.randint(1, 40)
        found = sorted(random.choices([0, 30, 59, 60, 61, 1_800, 3_600, 3_601, 90_000], k=number), reverse=True)
        ages += found
        rows = ", ".join(
            f"({journal}, {position}, 's', {position}, 't', '{{}}', '{NOW - timedelta(seconds=age)}', '\\x00')"
            for position, age in enumerate(found, 1)
        )
        newest = NOW - timedelta(seconds=found[-1])
        execute_on(
            dsn,
            "INSERT INTO loyalty.events (journal, position, originator_id, originator_version, topic, state,"
            f" recorded_at, leaf_hash) VALUES {rows};"
            f"UPDATE loyalty.journals SET position = {number}, recorded_at = '{newest}' WHERE journal = {journal}",
        )
    return journals, ages
