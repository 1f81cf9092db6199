"""Checkpoints that go with a ledger into another database: what trusted keys signed, and the log there has."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audit.checkpoints import SignedElsewhere, add_cosignatures, newest_checkpoint, sign_heads, take_in
from audit.export import export
from audit.import_ledger import import_ledger
from audit.manifest import MANIFEST, ExportError, encoded, hashed, read_manifest
from audit.notes import SigningKey
from audit.verify import verify
from audit.verify_proof import Refused
from ledger.engine import Ledger
from ledger.store.database import Database
from tests.audit.ledgers import build
from tests.audit.test_checkpoints import Witness
from tests.audit.test_export import SEGMENT, grow, rows

KEY, NEXT, OTHER = (SigningKey.generate(name) for name in ("loyalty.example", "loyalty.example", "else.example"))
WITNESS = Witness("witness.example")
STORED = (
    "SELECT journal, size, encode(root, 'hex'), note, signed_at,"
    " (SELECT string_agg(name || cosigned_at || line, '|') FROM cosignatures"
    " WHERE cosignatures.checkpoint = checkpoints.checkpoint) FROM checkpoints ORDER BY checkpoint"
)


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """A ledger with checkpoints of two times, one of them with a witness."""
    writer = Ledger(database)
    build(writer)
    sign_heads(database, KEY)
    with database.transaction() as cur:
        first = newest_checkpoint(cur, 1)
        assert first is not None
        add_cosignatures(cur, WITNESS.cosigned(first.note), [WITNESS.key])
    grow(writer, 1)
    sign_heads(database, KEY)
    yield writer
    writer.close()


@pytest.fixture
def folder(ledger: Ledger, database: Database, tmp_path: Path) -> Path:
    export(database.dsn, tmp_path / "export", segment_events=SEGMENT)
    return tmp_path / "export"


def test_checkpoints_are_those_of_the_ledger_they_come_from(
    folder: Path, database: Database, target: Database, tmp_path: Path
) -> None:
    """With the instants at which they were signed and with their witnesses; the next one continues them."""
    stored = rows(database.dsn, STORED)
    assert len(stored) > 3
    assert sum(row[-1] is not None for row in stored) == 1
    report = import_ledger(target.dsn, folder, keys=[KEY.verifier_key])
    assert report.checkpoints == len(stored)
    assert rows(target.dsn, STORED) == stored
    assert verify(target.dsn, keys=[KEY.verifier_key, WITNESS.key]).problems == []
    again = export(target.dsn, tmp_path / "again").manifest
    assert again.checkpoints == read_manifest(folder).checkpoints
    writer = Ledger(target)
    grow(writer, 2)
    writer.close()
    refused = sign_heads(target, NEXT)
    assert all("no key that you trust signed" in (one.refusal or "") for one in refused)
    assert {one.refusal for one in sign_heads(target, NEXT, trusted=[KEY.verifier_key])} == {None}
    assert verify(target.dsn, keys=[KEY.verifier_key, NEXT.verifier_key]).problems == []


def test_without_a_key_they_stay_in_the_export(folder: Path, target: Database) -> None:
    """What nobody vouches for may not stand in the way of the next checkpoint, for ever."""
    assert import_ledger(target.dsn, folder).checkpoints == 0
    assert rows(target.dsn, STORED) == []
    assert {one.refusal for one in sign_heads(target, NEXT)} == {None}


def test_another_key_ends_the_import_before_it_begins(folder: Path, target: Database) -> None:
    with pytest.raises(ExportError, match="no key that you trust signed the checkpoint"):
        import_ledger(target.dsn, folder, keys=[OTHER.verifier_key])
    assert rows(target.dsn, "SELECT journal FROM journals") == []


def test_those_of_an_export_that_does_not_say_when_stay_in_it(folder: Path, target: Database) -> None:
    """As exports were, and they are read as before."""
    manifest = read_manifest(folder)
    bare = [msgspec.structs.replace(one, signed_at=None) for one in manifest.checkpoints]
    (folder / MANIFEST).write_bytes(encoded(hashed(msgspec.structs.replace(manifest, checkpoints=bare))))
    assert b"signed_at" not in (folder / MANIFEST).read_bytes()
    assert import_ledger(target.dsn, folder, keys=[KEY.verifier_key]).checkpoints == 0
    assert rows(target.dsn, STORED) == []


@pytest.mark.parametrize(
    ("origin", "size", "wrong", "words"),
    [
        ("loyalty.example/coffee/1", 5, bytes(32), "positions 1 to 5 of journal 1 are not what was signed"),
        ("loyalty.example/coffee/2", 5, None, "it was signed for another journal"),
        ("else.example/coffee/1", 5, None, "which loyalty.example does not sign for"),
        ("loyalty.example/coffee/1", 10**6, bytes(32), "do not have a leaf_hash"),
    ],
)
def test_what_the_log_does_not_have_is_refused(
    ledger: Ledger, database: Database, origin: str, size: int, wrong: Any, words: str
) -> None:
    """Though a trusted key signed it; and nothing of it is stored."""
    before = rows(database.dsn, STORED)
    text = f"{origin}\n{size}\n{b64encode(wrong or bytes(32)).decode()}\n"
    found = SignedElsewhere(journal=1, name="coffee", note=KEY.sign(text), signed_at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(Refused, match=words), database.transaction() as cur:
        take_in(cur, [found], [KEY.verifier_key])
    assert rows(database.dsn, STORED) == before
