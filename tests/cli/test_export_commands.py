"""`loyalty export` and `loyalty import-ledger`, on servers' databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from audit.verify import verify
from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.store.migrations import migrate
from service.cli_export import export_command, import_command
from service.settings import Settings
from tests.audit.ledgers import build


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    writer = Ledger(database)
    build(writer)
    yield writer
    writer.close()


def run(command: object, dsn: str, *arguments: object, exit_code: int = 0) -> Result:
    settings = Settings(database_url=dsn, data_directory=Path("unused"), programme="")
    result = CliRunner().invoke(command, [str(one) for one in arguments], obj=settings)  # type: ignore[arg-type]
    assert result.exit_code == exit_code, result.output
    return result


def test_export_check_and_import(ledger: Ledger, database_dsn: str, empty_database_dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    total = sum(one.events for one in verify(database_dsn).journals)
    written = run(export_command, database_dsn, "--to", folder).stdout
    assert f"Exported {total} events; {folder} holds {total} events.\n" in written
    digest = written.rpartition(": ")[2].strip()
    assert len(digest) == 64
    assert json.loads((folder / "manifest.json").read_text())["sha256"] == digest
    assert "Exported 0 events" in run(export_command, database_dsn, "--to", folder).stdout
    checked = run(export_command, "postgresql://nowhere", "--check", folder).stdout
    assert f"The export is whole and unchanged: {total} events, manifest " in checked
    migrate(empty_database_dsn)
    assert f"Imported {total} events." in run(import_command, empty_database_dsn, folder).stdout
    again = run(import_command, empty_database_dsn, folder, exit_code=1).output
    assert "the database has the programme 'coffee' already: nothing was imported" in again


def test_the_check_tells_programs_and_people(ledger: Ledger, database_dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    exported = json.loads(run(export_command, database_dsn, "--to", folder, "--programme", "coffee", "--json").stdout)
    (coffee,) = exported["programmes"]
    assert coffee["programme"] == "coffee"
    assert exported["written"] == exported["events"] == coffee["journals"][0]["size"] > 0
    good = json.loads(run(export_command, "", "--check", folder, "--json").stdout)
    assert good["ok"] is True
    assert good["manifest_sha256"] == exported["manifest_sha256"]
    path = next(folder.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    bad = json.loads(run(export_command, "", "--check", folder, "--json", exit_code=1).stdout)
    assert (bad["ok"], bad["problem"]) == (False, f"{path} was changed: its SHA-256 is not that of the manifest")
    assert bad["problem"] in run(export_command, "", "--check", folder, exit_code=1).output


def test_wrong_usage(database_dsn: str, tmp_path: Path) -> None:
    assert "either --to DIR or --check DIR" in run(export_command, database_dsn, exit_code=2).output
    wrong = run(export_command, database_dsn, "--check", tmp_path, "--from-scratch", exit_code=2).output
    assert "belong to --to" in wrong
    assert "the ledger has no programme" in run(export_command, database_dsn, "--to", tmp_path, exit_code=1).output
    assert "manifest.json is missing" in run(import_command, database_dsn, tmp_path, exit_code=1).output
