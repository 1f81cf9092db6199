"""`loyalty audit recompute`, on a server's database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit.export import export
from ledger.engine import Ledger
from ledger.store.database import Database
from service.read_models import catch_up
from tests.audit.ledgers import build
from tests.cli.running import Loyalty, rows

RECOMPUTE = ("audit", "recompute")


@pytest.fixture
def loyalty(database: Database) -> Loyalty:
    writer = Ledger(database)
    build(writer)
    writer.close()
    catch_up(database)
    return Loyalty(LOYALTY_DATABASE_URL=database.dsn)


def test_it_tells_programs_and_people(loyalty: Loyalty, database: Database, tmp_path: Path) -> None:
    said = loyalty(*RECOMPUTE).stdout
    assert "coffee: 8 members at " in said
    assert "balances: 16 rows recomputed, none differs\n" in said
    assert "decisions: nothing found\nEverything is as the events give it: " in said
    folder = tmp_path / "export"
    total = export(database.dsn, folder).manifest.events
    report = loyalty.json(*RECOMPUTE, "--from", str(folder))
    assert (report["ok"], report["engine"], report["events"]) == (True, "duckdb", total)
    one = loyalty.json(*RECOMPUTE, "--from", str(folder), "--programme", "coffee")
    assert list(one["totals"]) == ["coffee"]
    assert list(one["positions"]) == ["1"]


def test_a_difference_is_told_and_ends_with_an_exit_code(loyalty: Loyalty, database: Database) -> None:
    (position,) = rows(
        database.dsn,
        "UPDATE lifetime SET units = 1002 WHERE member = 'M0003' AND journal = 1 RETURNING (SELECT position FROM events"
        " WHERE journal = 1 AND originator_id = 'member-M0003' AND topic = 'purchase-recorded.v1')",
    )[0]
    said = loyalty(*RECOMPUTE, exit_code=1).stdout
    assert (
        "lifetime (journal 1, member M0003) units: 2 recomputed, 1,002 in the read model;"
        f" events 1:{position}\n" in said
    )
    assert "lifetime: 16 rows recomputed, 1 DIFFER\n" in said
    assert "NOT everything is as the events give it" in said
    report = json.loads(loyalty(*RECOMPUTE, "--json", exit_code=1).stdout)
    assert report["ok"] is False
    assert report["differences"] == [
        {
            "model": "lifetime", "key": {"journal": 1, "member": "M0003"}, "column": "units", "recomputed": 2,
            "found": 1002, "events": [f"1:{position}"], "events_count": 1,
        }
    ]  # fmt: skip


def test_what_cannot_be_compared_is_refused(loyalty: Loyalty, database: Database, tmp_path: Path) -> None:
    assert "there is no programme 'tea'" in loyalty(*RECOMPUTE, "--programme", "tea", exit_code=1).output
    folder = tmp_path / "export"
    export(database.dsn, folder)
    path = next(folder.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    assert "was changed: its SHA-256" in loyalty(*RECOMPUTE, "--from", str(folder), exit_code=1).output


def test_an_embedded_ledger_is_brought_up_to_date_first(tmp_path: Path) -> None:
    loyalty = Loyalty(LOYALTY_DATA_DIR=str(tmp_path / "data"))
    loyalty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    assert "Everything is as the events give it: 1 event, read models at 1:1." in loyalty(*RECOMPUTE).stdout
