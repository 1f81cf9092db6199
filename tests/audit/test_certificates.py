"""Certificates: the same hashes wherever they are computed, and a refusal in words of all that does not agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from audit.certificate_check import check_certificate, read_certificate
from audit.certificates import CertificateRefused, certify
from audit.certificates import _signed as signed
from audit.checkpoints import sign_heads
from audit.export import export
from audit.import_ledger import import_ledger
from audit.notes import SigningKey, write_key
from audit.verify_proof import Signature
from ledger.commands import AccruePoints
from ledger.engine import Ledger
from ledger.hashing import Frontier
from ledger.store.database import Database, connect
from ledger.store.migrations import migrate
from projections.balances import Balances
from projections.rebuilt import Rebuilt, session
from projections.runner import Runner
from service.cli_certificates import certify_command
from service.read_models import catch_up, read_models
from service.settings import Settings
from tests.audit.ledgers import AT, Superuser, build, handle
from tests.conftest import execute_on
from tests.lifetime.events import enrolled, purchased
from tests.replay.recording import record_at

FROM_ON, UNTIL_ON = date(2026, 1, 1), date(2026, 2, 1)
KEY = SigningKey.generate("loyalty.example")
OTHER = SigningKey.generate("loyalty.example")


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """Two programmes with their read models, and signed heads."""
    writer = Ledger(database)
    build(writer)
    catch_up(database)
    sign_heads(database, KEY)
    yield writer
    writer.close()


def made(dsn: str, programme: str = "grocery", key: SigningKey = KEY, **more: Any) -> str:
    return certify(dsn, programme, FROM_ON, UNTIL_ON, read_models(), key, **more)


class Recomputed:
    """Says that a recomputation found nothing."""

    def prepare(self, *certified: Any) -> None: ...

    def take(self, *rebuilt: Any) -> None: ...

    def result(self) -> dict[str, Any]:
        return {"engine": "none", "findings_count": 0, "rows_differing": {"balances": 0}}


def hashes(certificate: str) -> Any:
    return json.loads(certificate)["certificate"]["projections"]


def problems(dsn: str, certificate: str) -> list[str]:
    return check_certificate(dsn, certificate, [KEY.verifier_key], read_models()).problems


def test_from_an_export_the_hashes_are_the_same_elsewhere(
    ledger: Ledger, database: Database, empty_database_dsn: str, tmp_path: Path
) -> None:
    """Wherever the live tables are by then, and whoever signs there."""
    first = made(database.dsn)
    export(database.dsn, tmp_path / "export", ["grocery"])
    more = AccruePoints(
        id="more", source="test", programme="grocery", occurred_at=AT, member="M0001", points=7, reason="x"
    )
    handle(ledger, [more])
    Runner(database, [Balances()]).run_once()
    assert hashes(made(database.dsn)) == hashes(first)
    catch_up(database)

    migrate(empty_database_dsn)
    import_ledger(empty_database_dsn, tmp_path / "export")
    elsewhere = Database(empty_database_dsn)
    unfilled = check_certificate(empty_database_dsn, first, [KEY.verifier_key], read_models())
    assert not unfilled.problems
    assert "balances is at position 0 of journal 2" in unfilled.behind[0]
    Runner(elsewhere, read_models(), batch_events_max=7).run_once()
    sign_heads(elsewhere, OTHER)
    again = made(empty_database_dsn, key=OTHER)
    assert hashes(again) == hashes(first)
    assert [one["rows"] for one in hashes(first)[0]["journals"]["3"].values()] > [0, 0]
    checked = check_certificate(empty_database_dsn, first, [KEY.verifier_key], read_models())
    assert (checked.problems, checked.behind, checked.signed_by) == ([], [], ["loyalty.example"])
    assert "this ledger has no programme 'coffee'" in problems(empty_database_dsn, made(database.dsn, "coffee"))[0]
    elsewhere.close()


def test_a_digest_can_be_computed_again_from_its_description(ledger: Ledger, database: Database) -> None:
    with session(database.dsn) as cur:
        rebuilt = Rebuilt(cur, 1, [Balances()])
        cur.execute("SELECT position FROM projections WHERE projection = 'balances' AND journal = 1")
        rebuilt.fold_to(cur.fetchone()[0])  # type: ignore[index]
        digest = rebuilt.digests()["balances"]["lots"]
        columns = "available_at,expires_at,journal,lot,member,opened_at,points"
        cur.execute(f"SELECT ROW({columns})::text FROM loyalty.lots WHERE journal = 1 ORDER BY points, lot DESC")
        rows = [sha256(line.encode()).digest() for (line,) in cur.fetchall()]
        assert digest.sha256 == sha256(f"lots\n{columns}\n".encode() + b"".join(sorted(rows))).hexdigest()
        assert digest.rows == len(rows) > 0


def test_it_is_of_the_first_checkpoint_that_covers_the_period(database: Database) -> None:
    """Positions recorded in it are named; what was signed before its end, or later than need be, is not used."""
    empty = Frontier()
    with database.transaction() as cur:
        cur.execute(
            "INSERT INTO journals (journal, kind, name, ordinal, root, frontier, recorded_at)"
            " VALUES (1, 'programme', 'club', 0, %s, %s, '2000-01-01T00:00:00Z')",
            (empty.root(), empty.to_bytes()),
        )
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals)"
            " VALUES ('club', '', 'CNY', 'Asia/Shanghai', 1)"
        )
    versions: dict[str, int] = {}
    for recorded_at in ("2025-12-31T15:59:59Z", "2025-12-31T16:00:00Z", "2026-01-31T15:59:59Z", "2026-01-31T16:00:00Z"):
        event = purchased("ann", 1, (1, 500, 200)) if versions else enrolled("ann", 0)
        record_at(database, [1], [event], versions, datetime.fromisoformat(recorded_at))
    catch_up(database)
    with pytest.raises(CertificateRefused, match="has no checkpoint that was signed after the period, which ends at"):
        made(database.dsn, "club")
    sign_heads(database, KEY)
    record_at(database, [1], [purchased("ann", 2, (1, 1, 1))], versions, datetime.now(UTC))
    catch_up(database)
    sign_heads(database, KEY)
    (journal,) = json.loads(made(database.dsn, "club"))["certificate"]["journals"]
    assert (journal["size"], journal["recorded_in_period"]) == (4, [2, 3])
    tomorrow = datetime.now(UTC).date() + timedelta(days=2)
    with pytest.raises(CertificateRefused, match="has no checkpoint that was signed after the period"):
        certify(database.dsn, "club", FROM_ON, tomorrow, read_models(), KEY)


def test_an_edited_row_of_a_read_model_is_found_and_named(ledger: Ledger, database: Database) -> None:
    good = made(database.dsn, "coffee")
    execute_on(database.dsn, "UPDATE lots SET points = points + 1 WHERE journal = 1 AND lot = 'M0003.000002'")
    execute_on(database.dsn, "DELETE FROM trade_days WHERE journal = 1 AND member = 'M0004'")
    execute_on(database.dsn, "INSERT INTO cohorts VALUES (1, '1999-01-01', 5)")
    found = problems(database.dsn, good)
    assert len(found) == 3
    assert "in the live table lots, journal 1, the row of member M0003, lot M0003.000002" in found[0]
    assert found[0].endswith("is not what the log gives")
    assert found[1].startswith(
        "in the live table trade_days, journal 1, the row of member M0004, day 2026-01-05 is miss"
    )
    assert found[2] == "in the live table cohorts, journal 1, the row of cohort 1999-01-01 is one too many"
    with pytest.raises(CertificateRefused, match="the live read models are not what would be certified: in the live"):
        made(database.dsn, "coffee")
    assert not problems(database.dsn, made(database.dsn, "grocery"))


def test_read_models_that_are_behind_are_not_certified(ledger: Ledger, database: Database) -> None:
    execute_on(database.dsn, "UPDATE projections SET position = 3 WHERE projection = 'steering' AND journal = 1")
    with pytest.raises(CertificateRefused, match="steering is at position 3 of journal 1, before"):
        made(database.dsn, "coffee")


def test_events_that_are_not_those_of_the_checkpoint_are_refused(ledger: Ledger, database: Database) -> None:
    good = made(database.dsn, "coffee")
    connection = connect(database.dsn)
    with connection.cursor() as cur:
        superuser = Superuser(cur)
        superuser.execute("UPDATE events SET state = state || ' ' WHERE journal = 1 AND position = 9")
        (found,) = problems(database.dsn, good)
        assert found.startswith("journal 1: position 9 differs from its leaf_hash")
        with pytest.raises(CertificateRefused, match="position 9 differs"):
            made(database.dsn, "coffee")
        superuser.recommit(1)
        (found,) = problems(database.dsn, good)
        assert found.endswith("of journal 1 are not what the checkpoint committed to")
    connection.close()


def test_a_false_hash_is_named_even_if_it_is_signed(ledger: Ledger, database: Database) -> None:
    certificate, _ = read_certificate(made(database.dsn, "coffee"), [KEY.verifier_key])
    balances = certificate.projections[0]
    lots = msgspec.structs.replace(balances.journals["1"]["lots"], sha256="0" * 64)
    tables = {"1": {**balances.journals["1"], "lots": lots}}
    canonical = json.dumps(msgspec.to_builtins(tables), sort_keys=True, separators=(",", ":"))
    for digest, words in (
        (balances.sha256, "the hash of the projection balances is not that of its tables"),
        (sha256(canonical.encode()).hexdigest(), "lots of the projection balances, journal 1: the log gives 9 rows, "),
    ):
        forged = msgspec.structs.replace(balances, journals=tables, sha256=digest)
        text = signed(msgspec.structs.replace(certificate, projections=[forged, *certificate.projections[1:]]), KEY)
        (found,) = problems(database.dsn, text)
        assert found.startswith(words)
    older = msgspec.structs.replace(balances, version=9)
    text = signed(msgspec.structs.replace(certificate, projections=[older]), KEY)
    assert problems(database.dsn, text) == ["the projection balances is of version 9, this program has version 1"]


def test_a_certificate_with_anything_changed_is_refused(ledger: Ledger, database: Database) -> None:
    """Every value that it has, every key and the order of lists; and what is added to it."""
    text = made(database.dsn, "coffee", recomputing=Recomputed())
    document = json.loads(text)
    read_certificate(text, [KEY.verifier_key])
    read_certificate(json.dumps(document), [KEY.verifier_key])  # how it is laid out is not what is signed
    changed = list(changes(document))
    assert len(changed) > 100
    for one in changed:
        with pytest.raises(CertificateRefused):
            read_certificate(json.dumps(one), [KEY.verifier_key])
    with pytest.raises(CertificateRefused, match="'programme' is there twice"):
        read_certificate(text.replace('"programme"', '"programme": "other", "programme"', 1), [KEY.verifier_key])
    with pytest.raises(CertificateRefused, match="this is not JSON"):
        read_certificate(text[:-3], [KEY.verifier_key])


def changes(value: Any) -> Iterator[Any]:
    """Copies of a document, each with one thing changed."""
    if isinstance(value, dict):
        yield {**value, "added": 1}
        for name in value:
            yield {key: one for key, one in value.items() if key != name}
            for changed in changes(value[name]):
                yield {**value, name: changed}
    elif isinstance(value, list):
        yield [*value, 1]
        for index, one in enumerate(value):
            for changed in changes(one):
                yield [*value[:index], changed, *value[index + 1 :]]
    elif isinstance(value, str):
        yield value.replace("a", "b", 1) if "a" in value else value + "0"
    elif isinstance(value, int):
        yield value + 1
    else:
        yield 0


def test_another_key_is_refused(ledger: Ledger, database: Database) -> None:
    good = made(database.dsn, "coffee")
    with pytest.raises(CertificateRefused, match="signed by none of the keys that you trust, but by loyalty"):
        read_certificate(good, [OTHER.verifier_key])
    document = json.loads(good)
    name, _, _ = document["signature"].removeprefix("— ").partition(" ")
    document["signature"] = str(Signature(name, KEY.verifier_key.key_id, bytes(64)))
    with pytest.raises(CertificateRefused, match="is not of this text: it is forged"):
        read_certificate(json.dumps(document), [KEY.verifier_key])
    with pytest.raises(CertificateRefused, match="journal 1"):  # whose checkpoint the key did not sign
        made(database.dsn, "coffee", key=OTHER)
    mixed = made(database.dsn, "coffee", key=OTHER, trusted=[KEY.verifier_key])
    with pytest.raises(CertificateRefused, match="the checkpoint of journal 1"):
        read_certificate(mixed, [OTHER.verifier_key])
    read_certificate(mixed, [OTHER.verifier_key, KEY.verifier_key])


def run(dsn: str, *arguments: object, exit_code: int = 0) -> Result:
    settings = Settings(database_url=dsn, data_directory=Path("unused"), programme="")
    result = CliRunner().invoke(certify_command, [str(one) for one in arguments], obj=settings)
    assert result.exit_code == exit_code, result.output
    return result


def test_the_command(ledger: Ledger, database: Database, tmp_path: Path) -> None:
    key_file, out = tmp_path / "key", tmp_path / "january.json"
    write_key(key_file, KEY)
    given = ("--period", "2026-01", "--programme", "coffee", "--key-file", key_file, "--out", out, "--no-recompute")
    assert f"Wrote {out}: coffee, 2026-01-01 until before 2026-02-01" in run(database.dsn, *given).stdout
    certificate = json.loads(out.read_text())["certificate"]
    assert certificate["programme"] == "coffee"
    assert "never overwritten" in run(database.dsn, *given, exit_code=1).output
    check = ("--check", out, "--key", KEY.verifier_key)
    assert "Every hash agrees with this ledger" in run(database.dsn, *check).stdout
    assert json.loads(run(database.dsn, *check, "--json").stdout)["ok"] is True
    execute_on(database.dsn, "DELETE FROM balances WHERE journal = 1 AND member = 'M0002'")
    said = run(database.dsn, *check, exit_code=1).output
    assert "in the live table balances, journal 1, the row of member M0002 is missing" in said
    assert json.loads(run(database.dsn, *check, "--json", exit_code=1).stdout)["ok"] is False
    out.write_text(out.read_text().replace('"size": ', '"size": 1'))
    assert "is not of this text: it is forged, or the text was changed" in run(database.dsn, *check, exit_code=1).output
    assert "no keys that are trusted" in run(database.dsn, "--check", out, exit_code=2).output
    for wrong in ("2026-13", "2026-02-01..2026-01-01", "x"):
        run(database.dsn, "--period", wrong, "--out", out, exit_code=2)
    run(database.dsn, "--period", "2026-01", exit_code=2)
