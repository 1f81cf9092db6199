"""Whatever is changed in an export, by accident or by somebody who hashes files anew, is found and named."""

from __future__ import annotations

import json
import os
import random
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.export import export
from audit.export_check import check_export
from audit.import_ledger import import_ledger
from audit.manifest import (
    MANIFEST,
    CheckpointFile,
    ExportError,
    Manifest,
    checkpoint_path,
    encoded,
    hashed,
    read_manifest,
)
from audit.segments import framed, leaf_hashes
from ledger.engine import Ledger
from ledger.hashing import Frontier
from ledger.store.database import Database, connect
from ledger.store.migrations import migrate
from tests.audit.ledgers import build
from tests.conftest import create_database, drop_database

SEGMENT = 7
NUMBER = 1
"""The segment of the first journal that is tampered with: it holds the positions 8 to 14."""


@pytest.fixture(scope="module")
def original(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    name = f"loyalty_test_{os.getpid()}_exported"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    build(ledger)
    ledger.close()
    database.close()
    folder = tmp_path_factory.mktemp("original") / "export"
    export(dsn, folder, segment_events=SEGMENT)
    yield folder
    drop_database(server_dsn, name)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of an export, to tamper with."""
    shutil.copytree(original, tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture(scope="module")
def target_dsn(server_dsn: str) -> Iterator[str]:
    """A migrated database that no import may get anything into."""
    name = f"loyalty_test_{os.getpid()}_target"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    yield dsn
    drop_database(server_dsn, name)


def found(folder: Path) -> str:
    """What the check says is wrong."""
    with pytest.raises(ExportError) as error:
        check_export(folder)
    return str(error.value)


def rewrite(folder: Path, change: Callable[[Manifest], Manifest]) -> None:
    """A manifest that was changed, with the hash of itself that it should have."""
    manifest = change(read_manifest(folder))
    (folder / MANIFEST).write_bytes(encoded(hashed(manifest)))


def with_segment(manifest: Manifest, number: int, **changes: Any) -> Manifest:
    """The manifest with changes to a segment of the first journal."""
    journal = manifest.programmes[0].journals[0]
    segments = list(journal.segments)
    segments[number] = msgspec.structs.replace(segments[number], **changes)
    return with_journal(manifest, segments=segments)


def with_journal(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with changes to its first journal."""
    first, *others = manifest.programmes
    journals = [msgspec.structs.replace(first.journals[0], **changes), *first.journals[1:]]
    return msgspec.structs.replace(manifest, programmes=[msgspec.structs.replace(first, journals=journals), *others])


def doctor(folder: Path, change: Callable[[pa.Table], pa.Table], *, rehash: bool = False) -> Path:
    """Rewrite a segment, and what the manifest has of its file; with `rehash`, the leaf hashes of its rows."""
    path = folder / read_manifest(folder).programmes[0].journals[0].segments[NUMBER].path
    table = change(pq.read_table(path)).combine_chunks()
    if rehash:
        (page,) = table.to_batches()
        leaves = pa.array(leaf_hashes(page, framed(page), 1), pa.binary(32))
        table = table.set_column(table.schema.get_field_index("leaf_hash"), table.schema.field("leaf_hash"), leaves)
    pq.write_table(table, path)
    data = path.read_bytes()
    rewrite(folder, lambda one: with_segment(one, NUMBER, sha256=sha256(data).hexdigest(), bytes=len(data)))
    return path


def replaced(table: pa.Table, row: int, column: str, value: Any) -> pa.Table:
    values = table.column(column).to_pylist()
    values[row] = value(values[row])
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))


# --- files -----------------------------------------------------------------------------------------------------------


def test_any_byte_of_a_segment(folder: Path) -> None:
    rng = random.Random(5)
    for segment in rng.sample(read_manifest(folder).segments, 8):
        path = folder / segment.path
        data = path.read_bytes()
        for at in (0, rng.randrange(len(data)), len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
            assert found(folder) == f"{path} was changed: its SHA-256 is not that of the manifest"
        path.write_bytes(data)
    check_export(folder)


def test_any_byte_of_the_manifest(folder: Path) -> None:
    path = folder / MANIFEST
    data = path.read_bytes()
    rng = random.Random(6)
    for at in {*rng.sample(range(len(data)), 300), 0, len(data) - 1}:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        assert found(folder).startswith(str(path))
    for changed in (data + b"\n", data[:-1], data.replace(b" ", b"", 1), b"", b"{}"):
        path.write_bytes(changed)
        assert found(folder).startswith(str(path))
    path.write_bytes(data)
    check_export(folder)


def test_a_segment_missing_swapped_truncated_or_added(folder: Path) -> None:
    one, other = (folder / segment.path for segment in read_manifest(folder).segments[:2])
    data = one.read_bytes()
    one.unlink()
    assert found(folder) == f"{one} is missing"
    one.write_bytes(other.read_bytes())
    assert found(folder) == f"{one} was changed: its SHA-256 is not that of the manifest"
    one.write_bytes(data[: len(data) // 2])
    assert found(folder) == f"{one} was changed: its SHA-256 is not that of the manifest"
    one.write_bytes(data)
    extra = one.with_name("000000000090-000000000091.parquet")
    extra.write_bytes(data)
    assert found(folder) == f"{extra} is no part of the export: the manifest does not have it"


def test_a_segment_left_out_of_the_manifest(folder: Path) -> None:
    def leave_out(number: int) -> Callable[[Manifest], Manifest]:
        def change(manifest: Manifest) -> Manifest:
            segments = list(manifest.programmes[0].journals[0].segments)
            del segments[number]
            return with_journal(manifest, segments=segments)

        return change

    data = (folder / MANIFEST).read_bytes()
    last = read_manifest(folder).programmes[0].journals[0].segments[-1]
    rewrite(folder, leave_out(NUMBER))
    assert "journal 1: positions 8 to 14 must come where it has" in found(folder)
    (folder / MANIFEST).write_bytes(data)
    rewrite(folder, leave_out(-1))
    assert f"a segment is missing: the positions {last.first} to {last.last} are in none" in found(folder)


def commit(folder: Path) -> Path:
    """Put a checkpoint of the whole first journal into an export, as one that was signed would be."""
    journal = read_manifest(folder).programmes[0].journals[0]
    root = b64encode(bytes.fromhex(journal.root)).decode()
    data = f"example.org/coffee/1\n{journal.size}\n{root}\n\n— example.org AAAA\n".encode()
    digest = sha256(data).hexdigest()
    file = CheckpointFile(path=checkpoint_path(1, journal.size, digest), journal=1, size=journal.size, sha256=digest)
    (folder / file.path).parent.mkdir(parents=True)
    (folder / file.path).write_bytes(data)
    rewrite(folder, lambda one: msgspec.structs.replace(one, checkpoints=[file]))
    return folder / file.path


@pytest.mark.parametrize("committed", [False, True])
def test_a_tail_cut_off_everywhere(folder: Path, committed: bool) -> None:
    """A shorter export that agrees with itself is good by itself; a checkpoint tells that there was more."""
    path = commit(folder) if committed else None
    segments = read_manifest(folder).programmes[0].journals[0].segments
    cut = {"segments": segments[:-1], "size": segments[-2].last, "root": segments[-2].root}
    rewrite(folder, lambda one: with_journal(one, **cut, frontier=segments[-2].frontier))
    (folder / segments[-1].path).unlink()
    if path is None:
        check_export(folder)
    else:
        assert found(folder).endswith(f"checkpoints/journal=1/{path.name} is no checkpoint of what it holds")


@pytest.mark.parametrize("committed", [False, True])
def test_everything_hashed_anew(folder: Path, committed: bool) -> None:
    """A forger who made every hash and root anew is found by the checkpoint that was signed before, and only by it."""
    path = commit(folder) if committed else None
    doctor(folder, lambda table: replaced(table, 2, "stream_version", lambda value: value + 1), rehash=True)
    tree = Frontier()
    segments = []
    for segment in read_manifest(folder).programmes[0].journals[0].segments:
        tree.append_all(pq.read_table(folder / segment.path).column("leaf_hash").to_pylist())
        ends = {"root": tree.root().hex(), "frontier": tree.to_bytes().hex()}
        segments.append(msgspec.structs.replace(segment, **ends))
    rewrite(folder, lambda one: with_journal(one, segments=segments, **ends))
    if path is None:
        check_export(folder)
    else:
        assert found(folder) == f"{path}: the positions 1 to {tree.size} of journal 1 are not what it committed to"


def test_files_of_another_export_under_this_manifest(folder: Path, original: Path) -> None:
    """A manifest of another programme names other events."""
    manifest = json.loads((folder / MANIFEST).read_text())
    names = [one["programme"] for one in manifest["programmes"]]
    assert names == ["coffee", "grocery"]

    def rename(one: Manifest) -> Manifest:
        first, *others = one.programmes
        return msgspec.structs.replace(one, programmes=[msgspec.structs.replace(first, programme="tea"), *others])

    rewrite(folder, rename)
    assert found(folder).endswith("row 1: position 1 is an event of the programme 'coffee', not of 'tea'")


def test_journals_exchanged_in_the_manifest(folder: Path) -> None:
    def exchange(one: Manifest) -> Manifest:
        coffee, grocery = one.programmes
        second, first = (msgspec.structs.replace(journal, ordinal=1 - journal.ordinal) for journal in grocery.journals)
        return msgspec.structs.replace(
            one, programmes=[coffee, msgspec.structs.replace(grocery, journals=[first, second])]
        )

    rewrite(folder, exchange)
    assert "belongs in another journal" in found(folder)


def test_a_journal_left_out_of_the_manifest(folder: Path) -> None:
    def leave_out(one: Manifest) -> Manifest:
        coffee, grocery = one.programmes
        for segment in grocery.journals[1].segments:
            (folder / segment.path).unlink()
        return msgspec.structs.replace(
            one, programmes=[coffee, msgspec.structs.replace(grocery, journals=grocery.journals[:1])]
        )

    rewrite(folder, leave_out)
    assert found(folder).endswith("row 1: position 1 creates 2 journals; the manifest has 1")


# --- rows, in files that were hashed anew ----------------------------------------------------------------------------


CHANGES: dict[str, Callable[[Any], Any]] = {
    "stream": lambda value: value + "x",
    "stream_version": lambda value: value + 1,
    "topic": lambda value: value + "x",
    "state": lambda value: value.replace("occurred", "Occurred") if "occurred" not in value else value + " ",
    "recorded_at": lambda value: value.replace(year=value.year + 1),
    "leaf_hash": lambda value: bytes([value[0] ^ 1]) + value[1:],
    "command_key": lambda value: bytes(16),
    "command_hash": lambda value: bytes(16),
    "command_events": lambda value: value + 1,
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_recorded_value(folder: Path, column: str) -> None:
    path = doctor(folder, lambda table: replaced(table, 0, column, CHANGES[column]))
    assert found(folder).startswith(f"{path}, row 1: position 8 differs from its leaf_hash")


@pytest.mark.parametrize("column", [name for name in CHANGES if name != "leaf_hash"])
def test_a_recorded_value_hashed_anew(folder: Path, column: str) -> None:
    """The rows are good by themselves; the root at the end of the segment is not."""
    path = doctor(folder, lambda table: replaced(table, 0, column, CHANGES[column]), rehash=True)
    words = found(folder)
    assert words.startswith(str(path))
    assert {
        "stream": "row 1: position 8 has the member 'M0000', where 'M0000x' must stand",
        "recorded_at": "row 2: position 9 has a recorded_at before that of the position before it",
    }.get(column, "one or more of the positions 8 to 14 are not what the manifest committed to") in words


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("journal", lambda _: 2, "position 11 has the journal 2, where 1 must stand"),
        ("position", lambda _: 99, "position 11 is missing: position 99 stands in its place"),
        ("programme", lambda _: "tea", "position 11 has the programme 'tea', where 'coffee' must stand"),
        ("member", lambda _: "M9", "position 11 has the member 'M9', where 'M0001' must stand"),
        ("member", lambda _: None, "position 11 has the member None, where 'M0001' must stand"),
        ("occurred_at", lambda at: at.replace(year=1999), "position 11 has the occurred_at datetime.datetime(1999"),
        ("source", lambda _: "x", "position 11 has the source 'x', where 'test' must stand"),
        ("id", lambda value: value + "x", "position 11 has the id"),
        ("command_events", lambda value: 1 if value is None else None, "has some of the columns of a command, but not"),
    ],
)
def test_a_value_that_no_leaf_hash_covers_or_that_is_none(
    folder: Path, column: str, change: Callable[[Any], Any], words: str
) -> None:
    path = doctor(folder, lambda table: replaced(table, 3, column, change))
    assert found(folder).startswith(f"{path}, row 4: ")
    assert words in found(folder)


def test_a_state_that_is_no_event(folder: Path) -> None:
    path = doctor(folder, lambda table: replaced(table, 3, "state", lambda _: "{}"), rehash=True)
    assert found(folder).startswith(f"{path}, row 4: position 11 has a state that is no event's")


def test_a_row_removed_inserted_or_swapped(folder: Path, original: Path) -> None:
    def move(order: list[int]) -> Callable[[pa.Table], pa.Table]:
        return lambda table: table.take(order)

    for order, words in {
        (0, 1, 3, 4, 5, 6): "row 3: position 10 is missing: position 11 stands in its place",
        (0, 1, 2, 2, 3, 4, 5, 6): "row 4: position 11 is missing: position 10 stands in its place",
        (1, 0, 2, 3, 4, 5, 6): "row 1: position 8 is missing: position 9 stands in its place",
        (0, 1, 2, 3, 4, 5): "ends at position 13, 14 must be its last",
        (0, 1, 2, 3, 4, 5, 6, 6): "row 8: position 15 is missing: position 14 stands in its place",
    }.items():
        shutil.rmtree(folder)
        shutil.copytree(original, folder)
        path = doctor(folder, move(list(order)))
        assert found(folder).removeprefix(f"{path}").lstrip(", ") == words


def test_a_row_of_the_next_segment_in_this_one(folder: Path) -> None:
    """Good by itself, at its position, but the manifest has it in the file after."""
    following = folder / read_manifest(folder).programmes[0].journals[0].segments[NUMBER + 1].path
    path = doctor(folder, lambda table: pa.concat_tables([table, pq.read_table(following).slice(0, 1)]))
    assert found(folder) == f"{path}, row 8: position 15 is one too many: 14 is the last"


def test_rows_swapped_with_positions_and_hashes_made_anew(folder: Path) -> None:
    """A forger who thought of all but the root."""

    def swap(table: pa.Table) -> pa.Table:
        swapped = table.take([1, 0, 2, 3, 4, 5, 6])
        return swapped.set_column(1, table.schema.field("position"), table.column("position"))

    path = doctor(folder, swap, rehash=True)
    assert "one or more of the positions 8 to 14 are not what the manifest committed to" in found(folder)
    assert found(folder).startswith(str(path))


def test_a_column_of_another_type_or_missing(folder: Path, original: Path) -> None:
    path = doctor(folder, lambda table: table.drop_columns(["member"]))
    assert found(folder) == f"{path} has other columns than an export: member is missing"
    shutil.rmtree(folder)
    shutil.copytree(original, folder)
    path = doctor(folder, lambda table: table.set_column(9, "command_hash", table.column("leaf_hash")))
    assert found(folder).startswith(f"{path} has other columns than an export: command_hash is")


def test_what_is_no_parquet_at_all(folder: Path) -> None:
    path = folder / read_manifest(folder).segments[0].path
    path.write_bytes(b"PAR1 and nothing else")
    data = path.read_bytes()
    rewrite(folder, lambda one: with_segment(one, 0, sha256=sha256(data).hexdigest(), bytes=len(data)))
    assert found(folder).startswith(f"{path} cannot be read as Parquet")


# --- the same, at an import ------------------------------------------------------------------------------------------


def test_an_import_refuses_what_the_check_refuses(folder: Path, target_dsn: str) -> None:
    """The segment before the bad one is in; nothing of the bad one is, and no programme is there for writers."""
    path = doctor(folder, lambda table: replaced(table, 5, "state", lambda value: value.replace("M0", "M1")))
    with pytest.raises(ExportError) as error:
        import_ledger(target_dsn, folder)
    assert str(error.value).startswith(f"{path}, row 6: position 13 differs from its leaf_hash")
    connection = connect(target_dsn)
    with connection.cursor() as cur:
        cur.execute("SELECT max(position), (SELECT count(*) FROM programmes) FROM events WHERE journal = 1")
        assert cur.fetchone() == (SEGMENT, 0)
    connection.close()
