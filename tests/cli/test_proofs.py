"""`loyalty audit key`, `checkpoint`, `cosign` and `proof` as an operator, a witness and an auditor use them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from audit.verify_proof import check_proof, parse_key
from ledger.store.database import connect
from tests.audit.test_checkpoints import Witness
from tests.cli.running import Loyalty, rows
from tests.conftest import execute_on
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def signing(loyalty: Loyalty, tmp_path: Path) -> Loyalty:
    """The program with a key, in the environment, and a member with points."""
    loyalty.settings["LOYALTY_CHECKPOINT_KEY_FILE"] = str(tmp_path / "key")
    loyalty.settings["LOYALTY_VERIFIER_KEYS"] = None
    loyalty("audit", "key", "new", "--name", "loyalty.example")
    loyalty("enrol", "M1", "--key", "enrol-1", "--source", "till")
    return loyalty


def vkey(signing: Loyalty) -> str:
    return signing("audit", "key", "show").stdout.strip()


def dsn(signing: Loyalty) -> str:
    return str(signing.settings["LOYALTY_DATABASE_URL"])


def test_a_key_is_made_once_and_its_secret_is_shown_nowhere(loyalty: Loyalty, tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = loyalty("audit", "key", "new", "--name", "loyalty.example", "--key-file", str(path))
    assert made.stdout.startswith("loyalty.example+")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text().strip().split("+", 4)[4]
    assert secret not in made.output
    assert loyalty("audit", "key", "show", "--key-file", str(path)).stdout == made.stdout
    again = loyalty("audit", "key", "new", "--name", "loyalty.example", "--key-file", str(path), exit_code=1)
    assert "exists already" in again.output
    path.write_text("nonsense " + secret)
    broken = loyalty("audit", "key", "show", "--key-file", str(path), exit_code=1)
    assert "not a private key" in broken.output
    assert secret not in broken.output
    loyalty("audit", "key", "new", "--name", "a b", "--key-file", str(tmp_path / "other"), exit_code=2)
    assert not (tmp_path / "other").exists()
    assert "LOYALTY_CHECKPOINT_KEY_FILE" in loyalty("audit", "key", "show", exit_code=2).output


def test_heads_are_signed_shown_and_exported(signing: Loyalty) -> None:
    assert "the checkpoint of 3 events signed" in signing("audit", "checkpoint").stdout
    assert "was signed already" in signing("audit", "checkpoint", "--programme", "demo").stdout
    heads = signing.json("audit", "checkpoint")["heads"]
    assert [(head["journal"], head["size"], head["signed"], head["refusal"]) for head in heads] == [(1, 3, False, None)]
    (shown,) = signing.json("audit", "checkpoint", "--show")["checkpoints"]
    assert (shown["journal"], shown["name"], shown["size"]) == (1, "demo", 3)
    listed = signing("audit", "checkpoint", "--show").stdout.splitlines()
    assert listed[0].split("\t") == ["journal", "name", "events", "signed at", "signed by", "root"]
    assert listed[1].split("\t")[4] == "loyalty.example"
    note = signing("audit", "checkpoint", "--export").stdout
    assert note == shown["note"] == signing("audit", "checkpoint", "--export", "--size", "3").stdout
    assert note.startswith("loyalty.example/demo/1\n3\n")
    for wrong, code in (
        (["--export", "--size", "2"], 1),
        (["--journal", "7"], 1),
        (["--programme", "none"], 1),
        (["--show", "--export"], 2),
    ):
        signing("audit", "checkpoint", *wrong, exit_code=code)


def test_it_goes_on_until_it_is_stopped(signing: Loyalty) -> None:
    """Again and again what grew is signed; Ctrl-C ends it in order."""
    process = signing.start("audit", "checkpoint", "--every", "0.1")
    try:
        for number in (1, 2):
            wait_for(lambda: len(rows(dsn(signing), "SELECT 1 FROM checkpoints")) == number)  # noqa: B023
            signing("enrol", f"M-more-{number}")
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert "the checkpoint of 3 events signed" in out


def test_a_rewritten_history_is_not_signed(signing: Loyalty) -> None:
    signing("audit", "checkpoint")
    connection = connect(dsn(signing))
    with connection.cursor() as cur:
        cur.execute(
            "ALTER TABLE events DISABLE TRIGGER ALL; UPDATE events SET leaf_hash = sha256('') WHERE position = 2"
        )
    connection.close()
    refused = signing("audit", "checkpoint", exit_code=1)
    assert "NOT signed: positions 1 to 3 are not what the checkpoint of 3 events" in refused.stderr
    assert signing.json("audit", "checkpoint", exit_code=1)["heads"][0]["refusal"]


def test_proofs_are_written_and_checked_elsewhere(signing: Loyalty, tmp_path: Path) -> None:
    signing("audit", "checkpoint")
    signing("enrol", "M2")
    signing("audit", "checkpoint")
    event, command, consistency, program = (tmp_path / name for name in ("e.json", "c.json", "p.json", "verify.py"))
    signing("audit", "proof", "event", "2", "--to", str(event))
    found = signing("audit", "proof", "event", "--source", "till", "--id", "enrol-1", "--to", str(command))
    assert "The command recorded positions 3 to 3 of journal 1." in found.stderr
    assert json.loads(command.read_text())["event"]["topic"] == "member-enrolled.v1"
    assert json.loads(signing("audit", "proof", "event", "2").stdout) == json.loads(event.read_text())
    signing("audit", "proof", "consistency", "--from", "3", "--to-size", "4", "--to", str(consistency))
    newest = signing("audit", "proof", "consistency", "--from", "3").stdout
    assert newest == consistency.read_text(), "the newest checkpoint where none is named"
    signing("audit", "proof", "verifier", str(program))
    for file in (event, command, consistency):
        ended = subprocess.run(
            [sys.executable, "-I", program, file, "--key", vkey(signing)], capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
        assert ended.stdout.startswith("PROVEN.")


def test_what_cannot_be_proven_is_said(signing: Loyalty, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    for arguments, code, words in (
        (["event", "1"], 1, "is not in a checkpoint yet: nothing of it is signed"),
        (["event", "99"], 1, "journal 1 has no position 99"),
        (["event"], 2, "by POSITION or by --id"),
        (["event", "1", "--id", "x"], 2, "by POSITION or by --id"),
        (["event", "--id", "x"], 1, "nothing is recorded of a command"),
        (["consistency", "--from", "1", "--to-size", "2"], 1, "has no checkpoint of 1 events"),
    ):
        assert words in signing("audit", "proof", *arguments, "--to", str(file), exit_code=code).output
    assert not file.exists()


@pytest.mark.skipif("LOYALTY_TEST_DATABASE_URL" in os.environ, reason="a new login role needs a server that trusts it")
def test_an_auditor_who_may_only_read_proves_and_verifies(signing: Loyalty) -> None:
    """Logged in as somebody who is in the reader's role and in no other."""
    signing("audit", "checkpoint")
    owner, auditor = dsn(signing), f"{parse_dsn(dsn(signing))['dbname']}_auditor"
    execute_on(owner, f"CREATE ROLE {auditor} LOGIN IN ROLE loyalty_reader")
    try:
        reading = Loyalty(LOYALTY_DATABASE_URL=make_dsn(owner, user=auditor))
        check_proof(json.loads(reading("audit", "proof", "event", "3").stdout), [parse_key(vkey(signing))])
        reading("audit", "checkpoint", "--show")
        reading("audit", "verify", "--key", vkey(signing))
    finally:
        execute_on(owner, f"DROP ROLE {auditor}")


def test_verification_checks_signatures_with_keys(signing: Loyalty, tmp_path: Path) -> None:
    assert "heckpoints" not in signing("audit", "verify").stdout
    signing("audit", "checkpoint")
    unsigned = signing("audit", "verify").stdout
    assert "Checkpoints that agree: 1; who signed them was not checked (--key)." in unsigned
    signed = signing("audit", "verify", "--key", vkey(signing)).stdout
    assert "Checkpoints that agree: 1, signed by keys that are trusted." in signed
    other = signing("audit", "key", "new", "--name", "loyalty.example", "--key-file", str(tmp_path / "other")).stdout
    signing.settings["LOYALTY_VERIFIER_KEYS"] = other.strip()
    report = signing.json("audit", "verify", exit_code=1)
    assert "no key that you trust signed the checkpoint" in report["journals"][0]["problem"]
    signing.settings["LOYALTY_VERIFIER_KEYS"] = f"{other.strip()} {vkey(signing)}"
    signing("audit", "verify")
    signing("audit", "verify", "--key", "nonsense", exit_code=2)


def test_an_export_is_checked_with_keys(signing: Loyalty, tmp_path: Path) -> None:
    """Whoever made an export anew, hashes and all, cannot sign its checkpoints."""
    folder, trusted = str(tmp_path / "export"), vkey(signing)
    signing("export", "--to", folder)
    assert "heckpoints" not in signing("export", "--check", folder).stdout
    assert "Checkpoints that agree: 0" in signing("export", "--check", folder, "--key", trusted).stdout
    signing("audit", "checkpoint")
    signing("export", "--to", folder)
    assert "Checkpoints that agree: 1; who signed" in signing("export", "--check", folder).stdout
    assert "Checkpoints that agree: 1, signed" in signing("export", "--check", folder, "--key", trusted).stdout
    other = signing("audit", "key", "new", "--name", "loyalty.example", "--key-file", str(tmp_path / "other")).stdout
    refused = signing("export", "--check", folder, "--key", other.strip(), exit_code=1).stderr
    assert ".txt: no key that you trust signed the checkpoint of 3 entries" in refused


def test_witnesses_cosign(signing: Loyalty, tmp_path: Path) -> None:
    signing("audit", "checkpoint")
    witness, file = Witness("witness.example/w1"), tmp_path / "note"
    note = signing("audit", "checkpoint", "--export").stdout
    file.write_text(witness.cosigned(note), encoding="utf-8")
    assert "no keys of witnesses" in signing("audit", "cosign", str(file), exit_code=2).output
    said = signing("audit", "cosign", str(file), "--key", str(witness.key)).stdout
    assert "is cosigned by witness.example/w1" in said
    assert signing("audit", "checkpoint", "--export").stdout == witness.cosigned(note)
    assert json.loads(signing("audit", "proof", "event", "1").stdout)["checkpoint"] == witness.cosigned(note)
    file.write_text(witness.cosigned(note).replace("/demo/", "/other/"), encoding="utf-8")
    assert "did not sign" in signing("audit", "cosign", str(file), "--key", str(witness.key), exit_code=1).output
