"""The program that checks proofs: by itself, on any machine, and refusing whatever was changed in a file."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import verify_proof
from audit.checkpoints import sign_heads
from audit.notes import SigningKey
from audit.proofs import event_document, prove_consistency, prove_event
from audit.verify_proof import Refused, canonical_bytes, check_proof, main, parse_document
from ledger import hashing
from ledger.engine import Ledger
from ledger.store.database import Database, connect
from ledger.store.journal import EventRow, read
from ledger.store.migrations import migrate
from tests.audit.ledgers import build, handle, purchase
from tests.conftest import create_database, drop_database

FILE = Path(verify_proof.__file__)
KEY, OTHER = SigningKey.generate("loyalty.example"), SigningKey.generate("loyalty.example")
VKEY = str(KEY.verifier_key)
Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def documents(server_dsn: str) -> Iterator[Documents]:
    """A proof of an event that begins a command, of one that does not, and of consistency."""
    name = f"loyalty_test_{os.getpid()}_verify_proof"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    build(ledger)
    sign_heads(database, KEY, [1])
    handle(ledger, [purchase("more", "M0001", "CNY", {"source": "test", "programme": "coffee"})])
    sign_heads(database, KEY, [1])
    connection = connect(dsn, "loyalty_reader")
    with connection.cursor() as cur:
        cur.execute("SELECT DISTINCT size FROM checkpoints ORDER BY 1")
        sizes = [size for (size,) in cur.fetchall()]
        cur.execute(
            "SELECT min(position) FILTER (WHERE position > 3 AND command_key IS NOT NULL),"
            " min(position) FILTER (WHERE command_key IS NULL) FROM events WHERE journal = 1"
        )
        ((begins, later),) = cur.fetchall()
        found = {
            "first": prove_event(cur, 1, begins),
            "later": prove_event(cur, 1, later),
            "consistency": prove_consistency(cur, 1, *sizes),
        }
        for row in read(cur, 1, after=0, limit=1000):
            assert verify_proof.leaf_hash(canonical_bytes(event_document(row))) == row.leaf_hash
    connection.close()
    ledger.close()
    database.close()
    yield found
    drop_database(server_dsn, name)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def written(document: dict[str, Any]) -> Path:
        path = tmp_path / "proof.json"
        path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        return path

    return written


# --- by itself ------------------------------------------------------------------------------------------------------


def test_it_imports_the_standard_library_and_cryptography_only() -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(FILE.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}


@pytest.mark.parametrize("name", ["first", "later", "consistency"])
def test_a_copy_of_it_proves_with_cryptography_alone(name: str, documents: Documents, tmp_path: Path) -> None:
    """Nothing but the standard library, cryptography and what that needs is on its path."""
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for package in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            source = origin.parent if origin.name == "__init__.py" else origin
            (libraries / source.name).symlink_to(source)
    copy, proof = tmp_path / "verify_proof.py", tmp_path / "proof.json"
    copy.write_bytes(FILE.read_bytes())
    proof.write_text(json.dumps(documents[name]), encoding="utf-8")
    program = (
        "import runpy, sys; sys.path.append(sys.argv.pop(1)); sys.argv.pop(0);"
        " runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    ended = run("-S", "-c", program, str(libraries), str(copy), str(proof), "--key", VKEY)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("PROVEN.\n")
    assert ended.stdout.endswith("Signed by loyalty.example.\n")


def test_exit_codes_tell_what_came_of_it(documents: Documents, write: Callable[..., Path], tmp_path: Path) -> None:
    good = write(documents["first"])
    assert run(str(FILE), str(good), "--key", VKEY).returncode == 0
    foreign = run(str(FILE), str(good), "--key", str(OTHER.verifier_key))
    assert (foreign.returncode, foreign.stderr) == (1, "")
    assert foreign.stdout.startswith("NOT PROVEN: no key that you trust signed the checkpoint")
    for wrong in (
        [str(good)],
        [str(good), "--key", VKEY[:-1]],
        [str(tmp_path / "none.json"), "--key", VKEY],
        [str(tmp_path), "--key", VKEY],
        ["--key", VKEY],
    ):
        ended = run(str(FILE), *wrong)
        assert ended.returncode == 2
        assert ended.stderr
        assert "Traceback" not in ended.stderr


def test_it_says_what_is_proven(documents: Documents) -> None:
    sentences = check_proof(documents["first"], [KEY.verifier_key])
    event = documents["first"]["event"]
    assert (
        f"The event {event['topic']} at position {event['position']}, version {event['originator_version']}"
        in sentences[0]
    )
    assert "entries of loyalty.example/coffee/1" in sentences[1]


# --- changed files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bit"),
    [("first", 0x01), ("first", 0x20), ("first", 0x80), ("later", 0x01), ("consistency", 0x01), ("consistency", 0x20)],
)
def test_any_byte_changed_is_refused(
    name: str, bit: int, documents: Documents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it is: an event's field, a name, a hash, the checkpoint's lines or signature. Never a traceback."""
    data = json.dumps(documents[name], ensure_ascii=False, separators=(",", ":")).encode()
    path = tmp_path / "proof.json"
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        assert main([str(path), "--key", VKEY]) == 1, (at, data[max(0, at - 20) : at + 20])
        assert capsys.readouterr().out.startswith("NOT PROVEN: ")
    path.write_bytes(data)
    assert main([str(path), "--key", VKEY]) == 0


def changed(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of a document with another value somewhere; without it, if the value is `...`."""
    copy = found = json.loads(json.dumps(document))
    *parents, last = path
    for step in parents:
        found = found[step]
    if value is ...:
        del found[last]
    else:
        found[last] = value
    return copy


LEAF = "the leaf_hash is not that of the event"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), "other/v1", "the format is 'other/v1'"),
        (("format",), ..., "the format is None"),
        (("event",), [], "event must be an object"),
        (("event", "journal"), 2, LEAF),
        (("event", "position"), 9, LEAF),
        (("event", "position"), "7", "position must be a whole number of 64 bits"),
        (("event", "position"), True, "position must be a whole number of 64 bits"),
        (("event", "position"), 1 << 63, "position must be a whole number of 64 bits"),
        (("event", "position"), None, "the event lacks a value"),
        (("event", "originator_id"), "member-M0009", LEAF),
        (("event", "originator_id"), None, "originator_id must be a text"),
        (("event", "originator_version"), 99, LEAF),
        (("event", "topic"), "points-redeemed.v1", LEAF),
        (("event", "recorded_at"), "2026-01-05T04:00:00.000000Z", LEAF),
        (("event", "recorded_at"), "2026-01-05", "recorded_at must be a time"),
        (("event", "recorded_at"), "2026-02-30T04:00:00.000000Z", "recorded_at must be a time"),
        (("event", "command_key"), "00" * 16, LEAF),
        (("event", "command_key"), "0", "command_key must be 32 hexadecimal digits"),
        (("event", "command_key"), None, "command_key, command_hash and command_events are null, together"),
        (("event", "command_hash"), "00" * 16, LEAF),
        (("event", "command_events"), 7, LEAF),
        (("event", "command_events"), 1 << 15, "command_events must be a whole number of 16 bits"),
        (("event", "state"), "{}", LEAF),
        (("event", "state"), ..., "the event has no state"),
        (("event", "state_base64"), "e30=", "the event has 'state', which is not part of one"),
        (("event", "note"), "hello", "the event has 'note', which is not part of one"),
        (("leaf_hash",), "00" * 32, LEAF),
        (("leaf_hash",), "00", "the leaf_hash must be 32 bytes"),
        (("leaf_hash",), 7, "leaf_hash must be a text"),
        (("inclusion_path",), [], "the inclusion path ends below the root"),
        (("inclusion_path", 0), "00" * 32, "the inclusion path does not lead from the event to the root"),
        (("inclusion_path", 0), "zz", "hash 1 of inclusion_path must be 32 bytes"),
        (("inclusion_path",), ["00" * 32] * 99, "more hashes than the tree has levels"),
        (("inclusion_path",), {}, "inclusion_path must be a list"),
        (("checkpoint",), "", "the note is not a text, a blank line and lines of signatures"),
        (("checkpoint",), 7, "checkpoint must be a text"),
        (("remark",), 1, "the proof has 'remark', which is not part of one"),
    ],
)
def test_a_changed_proof_is_refused_in_words(
    path: tuple[str | int, ...], value: Any, words: str, documents: Documents
) -> None:
    with pytest.raises(Refused) as caught:
        check_proof(changed(documents["first"], path, value), [KEY.verifier_key])
    assert words in str(caught.value)


def test_the_proof_of_another_event_or_checkpoint_is_refused(documents: Documents) -> None:
    first, later, consistency = documents["first"], documents["later"], documents["consistency"]
    keys = [KEY.verifier_key]
    with pytest.raises(Refused, match="does not lead from the event"):
        check_proof({**first, "inclusion_path": later["inclusion_path"]}, keys)
    with pytest.raises(Refused, match="inclusion path"):
        check_proof({**first, "checkpoint": consistency["first"]}, keys)
    with pytest.raises(Refused, match="cannot continue"):
        check_proof({**consistency, "first": consistency["second"], "second": consistency["first"]}, keys)
    with pytest.raises(Refused, match="need none"):
        check_proof({**consistency, "first": consistency["second"]}, keys)
    with pytest.raises(Refused, match="empty"):
        check_proof({**consistency, "consistency_path": []}, keys)


def test_forged_and_foreign_signatures_are_refused(documents: Documents) -> None:
    """Under the right name with the wrong key, with another checkpoint's signature, or by nobody known."""
    first, consistency = documents["first"], documents["consistency"]
    keys = [KEY.verifier_key]
    text, _, _ = first["checkpoint"].rpartition("\n\n")
    signature = consistency["first"].rpartition("\n\n")[2]
    with pytest.raises(Refused, match="it is forged, or the text was changed"):
        check_proof({**first, "checkpoint": f"{text}\n\n{signature}"}, keys)
    with pytest.raises(Refused, match="no key that you trust"):
        check_proof({**first, "checkpoint": OTHER.sign(text + "\n")}, keys)
    with pytest.raises(Refused, match="the event is of journal 1, the checkpoint of"):
        check_proof({**first, "checkpoint": KEY.sign(text.replace("/coffee/1", "/coffee/2") + "\n")}, keys)
    second = KEY.sign(text.replace("/coffee/1", "/coffee/2") + "\n")
    with pytest.raises(Refused, match="of two logs"):
        check_proof({**consistency, "second": second}, keys)
    check_proof({**first, "checkpoint": KEY.sign(text + "\n") + signature.replace("loyalty", "royalty")}, keys)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"format":"a","format":"b"}',
        b'{"format":' + b"9" * 5000 + b"}",
        b'{"format":"\\ud800"}',
        b'{"format":NaN}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_proof_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        check_proof(parse_document(data), [KEY.verifier_key])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_values_of_any_kind_anywhere_are_refused(value: Any) -> None:
    for name in ("event", "leaf_hash", "inclusion_path", "checkpoint", "format"):
        document = {"event": {}, "leaf_hash": "", "inclusion_path": [], "checkpoint": ""}
        document["format"] = verify_proof.EVENT_PROOF
        with pytest.raises(Refused):
            check_proof({**document, name: value}, [])


@given(
    st.builds(
        dict,
        journal=st.integers(-(1 << 31), (1 << 31) - 1),
        position=st.integers(1, (1 << 63) - 1),
        originator_id=st.text(),
        originator_version=st.integers(-(1 << 63), (1 << 63) - 1),
        topic=st.text(),
        state=st.binary(max_size=50),
    ),
    st.none() | st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(1, 9)),
    st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_canonical_bytes_are_those_of_the_ledger(event: dict[str, Any], command: Any, recorded_at: Any) -> None:
    """Written twice, by the two programs, they agree for every event."""
    key, digest, count = command or (None, None, None)
    command_columns = {"command_key": key, "command_hash": digest, "command_events": count}
    row = EventRow(**event, **command_columns, recorded_at=recorded_at, leaf_hash=b"")
    us = (recorded_at - verify_proof.EPOCH) // timedelta(microseconds=1)
    assert canonical_bytes(event_document(row)) == hashing.canonical_bytes(
        row.journal,
        row.position,
        row.originator_id,
        row.originator_version,
        row.topic,
        us,
        key,
        digest,
        count,
        row.state,
    )
