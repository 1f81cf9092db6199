"""Certificates hold what an independent recomputation of the certified read models came to."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from audit.certificate_check import check_certificate, read_certificate
from audit.certificates import _signed as signed
from audit.certificates import certify, result_sha256
from audit.certified_recomputation import RebuiltRecomputation
from audit.checkpoints import sign_heads
from audit.export import export
from audit.import_ledger import import_ledger
from audit.notes import SigningKey, write_key
from audit.recompute.duckdb_engine import duckdb_engine
from ledger import earning
from ledger.commands import AccruePoints
from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.store.migrations import migrate
from projections import balances
from projections.movements import Movement
from service import cli_certificates
from service.cli_certificates import certify_command
from service.cli_recompute import recompute_command
from service.read_models import catch_up, read_models
from service.settings import Settings
from tests.audit.ledgers import AT, build, handle

FROM_ON, UNTIL_ON = date(2026, 1, 1), date(2026, 2, 1)
KEY = SigningKey.generate("loyalty.example")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    write_key(tmp_path / "key", KEY)
    return tmp_path / "key"


def recorded(database: Database, ledger: Ledger) -> None:
    """Two programmes with their read models, and signed heads."""
    build(ledger)
    catch_up(database)
    sign_heads(database, KEY)


def made(dsn: str, work: Path) -> str:
    work.mkdir()
    recomputing = RebuiltRecomputation(dsn, work, duckdb_engine)
    return certify(dsn, "grocery", FROM_ON, UNTIL_ON, read_models(), KEY, recomputing=recomputing)


def held(certificate: str) -> Any:
    return json.loads(certificate)["certificate"]["recomputation"]


def run(command: Any, dsn: str, *arguments: object, exit_code: int = 0) -> Result:
    settings = Settings(database_url=dsn, data_directory=Path("unused"), programme="")
    result = CliRunner().invoke(command, [str(one) for one in arguments], obj=settings)
    assert result.exit_code == exit_code, result.output
    return result


def test_from_an_export_the_result_is_the_same_elsewhere(
    ledger: Ledger, database: Database, empty_database_dsn: str, tmp_path: Path
) -> None:
    """However far the ledgers and their live tables are by then."""
    recorded(database, ledger)
    first = made(database.dsn, tmp_path / "first")
    result = held(first)["result"]
    sizes = {str(one["journal"]): one["size"] for one in json.loads(first)["certificate"]["journals"]}
    assert (result["positions"], result["events"]) == (sizes, sum(sizes.values()))
    assert (result["engine"], result["judged_at"]) == ("duckdb", "2026-02-01T05:00:00Z")
    assert result["rows_compared"]["balances"] == result["totals"]["grocery"]["members"] > 0
    assert set(result["rows_differing"].values()) == {0}
    assert (result["differences"], result["findings"]) == ([], [])

    export(database.dsn, tmp_path / "export", ["grocery"])
    more = [
        AccruePoints(id=f"more-{number}", source="test", programme="grocery", occurred_at=AT, member=f"M{number:04d}",
                     points=7, reason="x")
        for number in range(8)
    ]  # fmt: skip
    handle(ledger, more)
    assert held(made(database.dsn, tmp_path / "later")) == held(first)

    migrate(empty_database_dsn)
    import_ledger(empty_database_dsn, tmp_path / "export")
    work = tmp_path / "elsewhere"
    work.mkdir()
    recomputing = RebuiltRecomputation(empty_database_dsn, work, duckdb_engine)
    checked = check_certificate(empty_database_dsn, first, [KEY.verifier_key], read_models(), recomputing=recomputing)
    assert (checked.problems, checked.is_recomputed) == ([], True)


def test_a_result_that_is_another_is_named_even_if_it_is_signed(
    ledger: Ledger, database: Database, tmp_path: Path
) -> None:
    recorded(database, ledger)
    certificate, _ = read_certificate(made(database.dsn, tmp_path / "made"), [KEY.verifier_key])
    right = certificate.recomputation
    assert right.result is not None
    forged = {**right.result, "totals": {"grocery": {**right.result["totals"]["grocery"], "active": 1}}}

    def problems(result: dict[str, Any], sha256: str | None, number: int) -> list[str]:
        recomputation = msgspec.structs.replace(right, result=result, sha256=sha256)
        text = signed(msgspec.structs.replace(certificate, recomputation=recomputation), KEY)
        work = tmp_path / f"check-{number}"
        work.mkdir()
        recomputing = RebuiltRecomputation(database.dsn, work, duckdb_engine)
        return check_certificate(
            database.dsn, text, [KEY.verifier_key], read_models(), recomputing=recomputing
        ).problems

    assert problems({**right.result, "engine": "spark"}, right.sha256, 1) == []
    assert problems(forged, right.sha256, 2) == [
        "the hash of the recomputation that it holds is not that of its result"
    ]
    assert problems(forged, result_sha256(forged), 3) == [
        "the recomputation that it holds is not what comes out here: totals"
    ]


def test_a_bug_in_decide_is_certified_as_found(
    ledger: Ledger, database: Database, tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are what the log gives, and so are certified; that the log is not what the rules give is said."""
    earn = earning.EarningRules.earn

    def one_too_many(*of: Any, **at: Any) -> earning.Earning:
        earned = earn(*of, **at)
        return msgspec.structs.replace(earned, points=earned.points + 1) if earned.points else earned

    monkeypatch.setattr(earning.EarningRules, "earn", one_too_many)
    recorded(database, ledger)
    out = tmp_path / "january.json"
    given = ("--period", "2026-01", "--programme", "coffee", "--key-file", key_file, "--out", out)
    said = run(certify_command, database.dsn, *given, exit_code=1).output
    result = held(out.read_text())["result"]
    assert set(result["rows_differing"].values()) == {0}
    assert result["findings_count"] == len(result["findings"]) > 0
    assert {one["kind"] for one in result["findings"]} == {"accrual"}
    words = f"made {result['findings_count']} findings in what was decided"
    assert f"The recomputation {words}: the certificate says so." in said
    check = ("--check", out, "--key", KEY.verifier_key)
    assert f"the recomputation that it holds {words}" in run(certify_command, database.dsn, *check, exit_code=1).output


def test_a_bug_in_a_projection_is_certified_as_found(
    ledger: Ledger, database: Database, tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, spent, forfeited = balances._add, balances._TOTALS.index("spent"), balances._TOTALS.index("forfeited")

    def spent_is_forfeited(changes: balances.Changes, movement: Movement) -> None:
        add(changes, movement)
        totals = changes.members[movement.row[1]].totals
        totals[spent], totals[forfeited] = 0, totals[forfeited] + totals[spent]

    monkeypatch.setattr(balances, "_add", spent_is_forfeited)
    recorded(database, ledger)
    out = tmp_path / "january.json"
    given = ("--period", "2026-01", "--programme", "coffee", "--key-file", key_file, "--out", out)
    said = run(certify_command, database.dsn, *given, exit_code=1).output
    result = held(out.read_text())["result"]
    assert result["rows_differing"]["balances"] > 0
    assert {(one["model"], one["column"]) for one in result["differences"]} >= {
        ("balances", "spent"),
        ("balances", "forfeited"),
    }
    assert all(one["events"] for one in result["differences"] if one["column"] == "spent")
    assert "of the rows of balances to be other than their events give: the certificate says so." in said


def test_the_result_of_an_earlier_recomputation_is_certified_at_its_positions_alone(
    ledger: Ledger, database: Database, tmp_path: Path, key_file: Path
) -> None:
    recorded(database, ledger)
    (tmp_path / "coffee.json").write_text(
        run(recompute_command, database.dsn, "--programme", "coffee", "--json").stdout
    )
    (tmp_path / "all.json").write_text(run(recompute_command, database.dsn, "--json").stdout)

    def given(name: str, number: int) -> tuple[object, ...]:
        return (
            "--period", "2026-01", "--programme", "coffee", "--key-file", key_file,
            "--out", tmp_path / f"certified-{number}.json", "--recomputation", tmp_path / name,
        )  # fmt: skip

    run(certify_command, database.dsn, *given("coffee.json", 1))
    document = json.loads((tmp_path / "coffee.json").read_text())
    assert held((tmp_path / "certified-1.json").read_text())["result"] == {
        name: value for name, value in document.items() if name != "ok"
    }
    check = ("--check", tmp_path / "certified-1.json", "--key", KEY.verifier_key)
    assert "Its recomputation was repeated." in run(certify_command, database.dsn, *check).output
    said = run(certify_command, database.dsn, *given("all.json", 2), exit_code=1).output
    assert "nothing was certified: the recomputation given is of 1:" in said
    (tmp_path / "none.json").write_text(json.dumps({**document, "positions": 7}))
    assert (
        "none.json: Expected `object`" in run(certify_command, database.dsn, *given("none.json", 3), exit_code=1).output
    )
    (tmp_path / "no.json").write_text("[]")
    assert (
        "not the output of loyalty audit recompute --json"
        in run(certify_command, database.dsn, *given("no.json", 4), exit_code=1).output
    )
    assert not (tmp_path / "certified-2.json").exists()


def test_a_certificate_without_one_says_why(
    ledger: Ledger, database: Database, tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(database, ledger)
    out = tmp_path / "january.json"
    given = ("--period", "2026-01", "--programme", "coffee", "--key-file", key_file, "--out", out)
    run(certify_command, database.dsn, *given, "--no-recompute")
    assert held(out.read_text()) == {
        "result": None,
        "sha256": None,
        "reason": "loyalty audit certify was asked to leave it out (--no-recompute)",
    }
    check = ("--check", out, "--key", KEY.verifier_key)
    assert "It holds no recomputation: " in run(certify_command, database.dsn, *check).output
    run(certify_command, database.dsn, *given, "--no-recompute", "--recomputation", key_file, exit_code=2)
    run(certify_command, database.dsn, *check, "--recomputation", key_file, exit_code=2)
    out.unlink()
    monkeypatch.setattr(cli_certificates, "find_spec", lambda name: None)
    run(certify_command, database.dsn, *given)
    assert held(out.read_text())["reason"].startswith("duckdb, which recomputes, is not installed")
