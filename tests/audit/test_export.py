"""Exports: what they hold, how they go on, and that an import of one is the ledger that was exported."""

from __future__ import annotations

import json
import resource
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import export as exporting
from audit import import_ledger as importing
from audit import segments
from audit.export import export
from audit.export_check import check_export
from audit.import_ledger import import_ledger
from audit.manifest import MANIFEST, PROGRESS, ExportError, read_manifest
from audit.segments import SCHEMA
from audit.verify import verify
from ledger.commands import (
    AnyCommand,
    ChangeProfile,
    CreateProgramme,
    DefineSurvey,
    EnrolMember,
    PublishTerms,
    RedeemPoints,
)
from ledger.engine import Ledger, Submission
from ledger.store.database import Database, PgCursor, connect
from ledger.store.journal import create_journals
from tests.audit.ledgers import AT, PROGRAMMES, build, handle, history, purchase, terms

SEGMENT = 7
"""Events a segment here, so that a journal has many, and the last is not full."""
EVENTS = (
    "SELECT journal, position, originator_id, originator_version, topic, encode(state, 'hex'), recorded_at,"
    " encode(leaf_hash, 'hex'), command_key, command_hash, command_events FROM events ORDER BY journal, position"
)
HEADS = (
    "SELECT journal, kind, name, ordinal, position, encode(root, 'hex'), encode(frontier, 'hex'), recorded_at"
    " FROM journals ORDER BY journal"
)
PROGRAMME_ROWS = (
    "SELECT programme, name, currency, time_zone, journals, terms_versions, revision FROM programmes ORDER BY 1"
)
TERMS_ROWS = "SELECT programme, version, effective_from, encode(document, 'hex') FROM terms ORDER BY 1, 2"
SURVEY_ROWS = "SELECT * FROM surveys ORDER BY programme, survey, version"


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    writer = Ledger(database)
    build(writer)
    yield writer
    writer.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "export"


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    connection = connect(dsn)
    try:
        with connection.cursor() as cur:
            cur.execute(statement)
            return cur.fetchall()
    finally:
        connection.close()


def assert_same_ledger(one: str, other: str) -> None:
    """All that is recorded, and all that writers look up, is equal."""
    for statement in (EVENTS, HEADS, PROGRAMME_ROWS, TERMS_ROWS, SURVEY_ROWS):
        assert rows(one, statement) == rows(other, statement)
    assert verify(other).problems == []


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table_of(folder: Path) -> pa.Table:
    """The rows of all segments of an export, as its manifest lists them."""
    return pa.concat_tables([pq.read_table(folder / one.path, schema=SCHEMA) for one in read_manifest(folder).segments])


# --- what an export holds --------------------------------------------------------------------------------------------


def test_every_column_of_every_event_is_exported(ledger: Ledger, database: Database, folder: Path) -> None:
    """Each value is compared with what a plain query reads, and what is taken out of states with a JSON parser's."""
    report = export(database.dsn, folder, segment_events=SEGMENT)
    exported = table_of(folder).to_pylist()
    recorded = rows(database.dsn, EVENTS)
    assert report.written == report.manifest.events == len(recorded)
    for row, found in zip(recorded, exported, strict=True):
        journal, position, stream, version, topic, state, recorded_at, leaf, key, digest, count = row
        text = bytes.fromhex(state).decode()
        said = json.loads(text)
        assert found == {
            "journal": journal,
            "position": position,
            "stream": stream,
            "stream_version": version,
            "topic": topic,
            "state": text,
            "recorded_at": recorded_at,
            "leaf_hash": bytes.fromhex(leaf),
            "command_key": key and bytes.fromhex(key.replace("-", "")),
            "command_hash": digest and bytes.fromhex(digest.replace("-", "")),
            "command_events": count,
            "programme": said["programme"],
            "member": said.get("member"),
            "occurred_at": datetime.fromisoformat(said["occurred_at"]),
            "source": said["source"],
            "id": said["id"],
        }


def test_postgresql_sends_a_page_in_rows(
    ledger: Ledger, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many events each row has, the segments are the same, byte for byte."""
    found = export(database.dsn, folder).manifest.segments
    assert max(segment.rows for segment in found) > 3
    for size in (1, 3):
        monkeypatch.setattr(segments, "ROW_EVENTS", size)
        assert export(database.dsn, folder.with_name(f"of-{size}")).manifest.segments == found


def test_the_manifest_has_heads_and_segments_of_a_fixed_size(ledger: Ledger, database: Database, folder: Path) -> None:
    manifest = export(database.dsn, folder, segment_events=SEGMENT).manifest
    assert manifest == read_manifest(folder) == check_export(folder)
    heads = rows(database.dsn, HEADS)
    assert [
        (one.journal, one.ordinal, one.size, one.root, one.frontier, one.recorded_at) for one in manifest.journals
    ] == [(head[0], head[3], *head[4:]) for head in heads]
    for journal in manifest.journals:
        assert [one.rows for one in journal.segments[:-1]] == [SEGMENT] * (len(journal.segments) - 1)
        assert journal.segments[0].path == f"events/journal={journal.journal}/000000000001-000000000007.parquet"
    assert set(files(folder)) == {MANIFEST, *manifest.paths}


def test_personal_data_and_its_keys_are_in_no_file(ledger: Ledger, database: Database, folder: Path) -> None:
    export(database.dsn, folder)
    keys = rows(database.dsn, "SELECT key FROM member_keys")
    assert len(keys) == 16
    states = "".join(table_of(folder).column("state").to_pylist())
    for data in (*files(folder).values(), states.encode()):
        assert b"Name of" not in data
        assert not any(bytes(key) in data or bytes(key).hex().encode() in data for (key,) in keys)


def test_only_the_programmes_asked_for_are_exported(ledger: Ledger, database: Database, folder: Path) -> None:
    """Journals of applications of the event-sourcing library are of no programme."""
    with database.transaction() as cur:
        create_journals(cur, "application", "shop", 1)
    manifest = export(database.dsn, folder, ["grocery"]).manifest
    assert [journal.journal for journal in manifest.journals] == [2, 3]
    with pytest.raises(ExportError, match="no programme 'tea'"):
        export(database.dsn, folder / "other", ["tea"])
    with pytest.raises(ExportError, match="programme 'grocery', journal 2, which is none of those"):
        export(database.dsn, folder, ["coffee"])
    assert export(database.dsn, folder).manifest.programmes[0].programme == "coffee"
    check_export(folder)


def test_nothing_to_export_is_refused(database: Database, folder: Path) -> None:
    with pytest.raises(ExportError, match="the ledger has no programme"):
        export(database.dsn, folder)


# --- going on --------------------------------------------------------------------------------------------------------


def grow(ledger: Ledger, number: int) -> None:
    for programme, (currency, _, _) in PROGRAMMES.items():
        handle(ledger, history(f"N{number:04d}", currency, {"source": "test", "programme": programme}))


def test_a_later_export_adds_segments_and_replaces_the_last(ledger: Ledger, database: Database, folder: Path) -> None:
    """It ends as an export from scratch does."""
    first = export(database.dsn, folder, segment_events=SEGMENT)
    before = files(folder)
    for number in range(3):
        grow(ledger, number)
    second = export(database.dsn, folder)
    full = {one.path for one in first.manifest.segments if one.rows == SEGMENT}
    after = files(folder)
    assert {path: before[path] for path in full} == {path: after[path] for path in full}
    assert second.written < second.manifest.events - len(full)
    whole = export(database.dsn, folder.with_name("whole"), segment_events=SEGMENT).manifest
    assert [one.sha256 for one in whole.segments] == [one.sha256 for one in second.manifest.segments]
    assert set(files(folder)) == {MANIFEST, *second.manifest.paths}
    assert check_export(folder) == second.manifest


def test_an_export_with_nothing_new_writes_no_segment(ledger: Ledger, database: Database, folder: Path) -> None:
    export(database.dsn, folder, segment_events=SEGMENT)
    before = files(folder)
    assert export(database.dsn, folder).written == 0
    assert {path: data for path, data in files(folder).items() if path != MANIFEST} == {
        path: data for path, data in before.items() if path != MANIFEST
    }


def test_a_full_disk_ends_an_export_that_goes_on_later(ledger: Ledger, database: Database, folder: Path) -> None:
    """The thread that writes fails: the error is the system's, and no segment that is not whole has a name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            export(database.dsn, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.rglob("*.parquet")) == []
    report = export(database.dsn, folder)
    assert report.written == report.manifest.events == check_export(folder).events


def test_a_damaged_segment_is_not_built_upon(ledger: Ledger, database: Database, folder: Path) -> None:
    manifest = export(database.dsn, folder, segment_events=SEGMENT).manifest
    path = folder / manifest.segments[1].path
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ExportError, match=f"{path.name} is not what was exported"):
        export(database.dsn, folder)
    path.unlink()
    with pytest.raises(ExportError, match=f"{path.name} is missing"):
        export(database.dsn, folder)
    export(database.dsn, folder, from_scratch=True)
    check_export(folder)


def test_an_export_of_another_ledger_is_not_built_upon(
    ledger: Ledger, database: Database, target: Database, folder: Path
) -> None:
    """The journals have the same names and numbers, but not the same events."""
    export(database.dsn, folder, segment_events=SEGMENT)
    other = Ledger(target)
    build(other)
    grow(other, 1)
    with pytest.raises(ExportError, match="journal 1 does not give the root of its head"):
        export(target.dsn, folder)
    other.close()
    assert check_export(folder).events == len(rows(database.dsn, EVENTS))


def test_a_folder_with_something_else_in_it_is_refused(ledger: Ledger, database: Database, folder: Path) -> None:
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    for from_scratch in (False, True):
        with pytest.raises(ExportError, match="what it holds is no export"):
            export(database.dsn, folder, from_scratch=from_scratch)
    assert files(folder) == {"letter.txt": b"mine"}


def test_two_exports_to_one_folder_at_once_are_refused(ledger: Ledger, database: Database, folder: Path) -> None:
    def again(done: int, total: int) -> None:
        with pytest.raises(ExportError, match="another process exports there now"):
            export(database.dsn, folder)

    export(database.dsn, folder, on_progress=again)
    check_export(folder)


def test_writers_append_meanwhile(ledger: Ledger, database: Database, folder: Path) -> None:
    """The heads are one cut: no transfer between journals is half in it, and what comes later is not in it."""
    before = sum(head[4] for head in rows(database.dsn, HEADS))
    numbers = iter(range(100, 200))

    def write(done: int, total: int) -> None:
        grow(ledger, next(numbers))

    manifest = export(database.dsn, folder, segment_events=SEGMENT, on_progress=write).manifest
    assert manifest.events == before < sum(head[4] for head in rows(database.dsn, HEADS))
    check_export(folder)

    stopped = threading.Event()

    def keep_writing() -> None:
        for number in range(200, 400):
            if stopped.is_set():
                break
            grow(ledger, number)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        sizes = [export(database.dsn, folder).manifest.events for _ in range(3)]
    finally:
        stopped.set()
        writer.join()
    assert sizes == sorted(sizes)
    check_export(folder)


def test_a_changed_ledger_is_not_exported(ledger: Ledger, database_dsn: str, folder: Path) -> None:
    connection = connect(database_dsn)
    cur = connection.cursor()
    cur.execute("ALTER TABLE events DISABLE TRIGGER ALL")
    cur.execute("UPDATE events SET state = state || ' ' WHERE journal = 2 AND position = 9")
    with pytest.raises(ExportError, match=r"journal 2 \(grocery\): position 9 differs from its leaf_hash"):
        export(database_dsn, folder, segment_events=SEGMENT)
    assert not (folder / MANIFEST).exists()
    with pytest.raises(ExportError, match=f"{MANIFEST} is missing: the export was not finished"):
        check_export(folder)
    assert not list(folder.rglob("*.parquet"))
    cur.execute("DELETE FROM events WHERE journal = 2 AND position = 9")
    with pytest.raises(ExportError, match="position 9 is missing"):
        export(database_dsn, folder, segment_events=SEGMENT)
    cur.execute("UPDATE journals SET root = sha256('') WHERE journal = 1")
    with pytest.raises(ExportError, match="journal 1 does not give the root of its head"):
        export(database_dsn, folder, segment_events=SEGMENT)
    connection.close()


def survey(id: str, highest: int) -> DefineSurvey:
    """A survey, or another version of it."""
    named: dict[str, Any] = {"source": "test", "programme": "coffee", "id": id, "occurred_at": AT}
    return DefineSurvey(survey="shop", instrument="CSAT", scale=(1, highest), questions=["q1"], **named)


# --- importing -------------------------------------------------------------------------------------------------------


def test_an_import_is_the_ledger_that_was_exported(
    ledger: Ledger, database: Database, target: Database, folder: Path
) -> None:
    """Every row is equal; and after it, both ledgers give the same answers to the same commands."""
    handle(ledger, [survey("shop-1", 10), survey("shop-2", 5)])
    manifest = export(database.dsn, folder, segment_events=SEGMENT).manifest
    assert import_ledger(target.dsn, folder).imported == manifest.events
    assert_same_ledger(database.dsn, target.dsn)
    other = Ledger(target)
    for programme, (currency, _, _) in PROGRAMMES.items():
        named: dict[str, Any] = {"source": "test", "programme": programme}
        later = AT + timedelta(days=60)
        commands: list[AnyCommand] = [
            *(one for one in history("M0003", currency, named) if not isinstance(one, ChangeProfile)),  # known
            purchase("order-new", "M0004", currency, named),
            RedeemPoints(
                id="redeem-M0003", occurred_at=later, member="M0003", points=1, **named
            ),  # known, not the same
            RedeemPoints(id="too-much", occurred_at=later, member="M0005", points=10**9, **named),
            EnrolMember(id="new", occurred_at=later, member="M0100", **named),
            msgspec.structs.replace(survey("shop-3", 7), programme=programme),
            PublishTerms(id="terms-3", occurred_at=later, document=terms(programme, "Third"), **named),
        ]
        outcomes = [one.handle([Submission(command) for command in commands]) for one in (ledger, other)]
        assert outcomes[0] == outcomes[1]
        assert {outcome.status for outcome in outcomes[0]} == {"duplicate", "posted", "rejected"}
    other.close()
    unlike = (
        "SELECT journal, position, originator_id, topic, encode(state, 'hex'), command_key FROM events ORDER BY 1, 2"
    )
    assert rows(database.dsn, unlike) == rows(target.dsn, unlike)
    assert verify(target).problems == []


def test_keys_are_carried_over_apart_if_at_all(
    ledger: Ledger, database: Database, target: Database, folder: Path
) -> None:
    """Without a member's key the hash of a message with personal data cannot be compared: it is refused, not posted."""
    export(database.dsn, folder)
    import_ledger(target.dsn, folder)
    other = Ledger(target)
    named: dict[str, Any] = {"source": "test", "programme": "coffee"}
    (profile,) = [one for one in history("M0001", "CNY", named) if isinstance(one, ChangeProfile)]
    assert [one.status for one in other.handle([Submission(profile)])] == ["rejected"]
    keys = rows(database.dsn, "SELECT journal, member, key FROM member_keys")
    with target.transaction() as cur:
        for key in keys:
            cur.execute("INSERT INTO member_keys (journal, member, key) VALUES (%s, %s, %s)", key)
    assert [one.status for one in other.handle([Submission(profile)])] == ["duplicate"]
    other.close()


def test_an_export_of_an_import_is_equal(ledger: Ledger, database: Database, target: Database, folder: Path) -> None:
    first = export(database.dsn, folder, segment_events=SEGMENT).manifest
    import_ledger(target.dsn, folder)
    second = export(target.dsn, folder.with_name("again"), segment_events=SEGMENT).manifest
    assert (first.programmes, first.checkpoints) == (second.programmes, second.checkpoints)


def test_an_import_beside_another_programme(ledger: Ledger, database: Database, target: Database, folder: Path) -> None:
    """Other journals do not matter; any of its own does."""
    export(database.dsn, folder, ["grocery"])
    other = Ledger(target)
    create = CreateProgramme(
        source="test", id="c", programme="tea", occurred_at=AT, currency="GBP", time_zone="UTC", journals=1
    )
    handle(other, [create])
    import_ledger(target.dsn, folder)
    assert [head[:2] + head[2:4] for head in rows(target.dsn, HEADS)] == [
        (1, "programme", "tea", 0), (2, "programme", "grocery", 0), (3, "programme", "grocery", 1),
    ]  # fmt: skip
    other.close()
    with pytest.raises(ExportError, match="has the programme 'grocery' already: nothing was imported"):
        import_ledger(target.dsn, folder)
    everything = folder.with_name("everything")
    export(database.dsn, everything)
    with pytest.raises(ExportError, match="has the programme 'grocery' already"):
        import_ledger(target.dsn, everything)
    export(database.dsn, everything, ["coffee"], from_scratch=True)
    with pytest.raises(ExportError, match=r"has journal 1 \(programme 'tea', ordinal 0, position 1\) already"):
        import_ledger(target.dsn, everything)


def test_nobody_writes_to_a_half_imported_programme(
    ledger: Ledger, database: Database, target: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(database.dsn, folder, segment_events=SEGMENT)
    monkeypatch.setattr(importing._Importer, "_end", lambda self: None)
    import_ledger(target.dsn, folder)
    monkeypatch.undo()
    other = Ledger(target)
    named: dict[str, Any] = {"source": "test", "programme": "coffee"}
    (outcome,) = other.handle([Submission(EnrolMember(id="new", occurred_at=AT, member="M9", **named))])
    assert outcome.rejection is not None
    assert outcome.rejection.code == "PROGRAMME_UNKNOWN"
    create = CreateProgramme(id="other", occurred_at=AT, currency="CNY", time_zone="Asia/Shanghai", journals=1, **named)
    with pytest.raises(Exception, match="events_stream_version"):
        other.handle([Submission(create)])
    with pytest.raises(ExportError, match="programme 'coffee' is not whole: it is being imported"):
        export(target.dsn, folder.with_name("half"))
    other.close()
    assert import_ledger(target.dsn, folder).imported == 0
    assert_same_ledger(database.dsn, target.dsn)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def sign(cur: PgCursor, journal: int, size: int, root: bytes) -> None:
    """A note as a signer leaves it; who signed it is not looked at here."""
    note = f"example.org/coffee/{journal}\n{size}\n{b64encode(root).decode()}\n\n— example.org AAAA\n"
    cur.execute(
        "INSERT INTO checkpoints (journal, size, root, note) VALUES (%s, %s, %s, %s)", (journal, size, root, note)
    )


@pytest.fixture
def signer(database_dsn: str) -> Iterator[PgCursor]:
    connection = connect(database_dsn)
    cur = connection.cursor()
    cur.execute(
        "CREATE TABLE IF NOT EXISTS checkpoints (checkpoint bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " journal integer, size bigint, root bytea, note text);"
        " CREATE TABLE IF NOT EXISTS cosignatures (checkpoint bigint, name text, key_id bytea, cosigned_at bigint,"
        " line text); GRANT SELECT ON checkpoints, cosignatures TO loyalty_reader"
    )
    yield cur
    connection.close()


def test_signed_checkpoints_are_exported_and_compared(
    ledger: Ledger, database: Database, signer: PgCursor, folder: Path
) -> None:
    """Wherever they were signed, also within a segment; one that commits to other events is found."""
    manifest = export(database.dsn, folder, segment_events=SEGMENT).manifest
    coffee = manifest.programmes[0].journals[0]
    tree = coffee.segments[0].tree()
    leaves = table_of(folder).column("leaf_hash").to_pylist()
    tree.append_all(leaves[SEGMENT : SEGMENT + 2])
    sign(signer, 1, coffee.size, bytes.fromhex(coffee.root))
    sign(signer, 1, SEGMENT + 2, tree.root())
    signer.execute("INSERT INTO cosignatures SELECT checkpoint, 'w', '\\x01020304', 5, '— w BBBB\n' FROM checkpoints")
    manifest = export(database.dsn, folder).manifest
    assert [(one.journal, one.size) for one in manifest.checkpoints] == [(1, SEGMENT + 2), (1, coffee.size)]
    assert (folder / manifest.checkpoints[1].path).read_text().endswith("\n— example.org AAAA\n— w BBBB\n")
    assert check_export(folder) == manifest
    sign(signer, 1, SEGMENT + 3, bytes(32))
    manifest = export(database.dsn, folder).manifest
    with pytest.raises(
        ExportError, match=f"the positions 1 to {SEGMENT + 3} of journal 1 are not what it committed to"
    ):
        check_export(folder)
    path = folder / manifest.checkpoints[0].path
    path.write_text(path.read_text().replace("AAAA", "AAAB"))
    with pytest.raises(ExportError, match=f"{path.name} was changed"):
        check_export(folder)
    path.unlink()
    with pytest.raises(ExportError, match=f"{path.name} is missing"):
        check_export(folder)


def test_files_are_written_whole_or_not_at_all(
    ledger: Ledger, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure while a segment is being written leaves those before it, which the next export uses."""
    settle = exporting.settle
    settled: list[Path] = []

    def full(part: Path, path: Path) -> None:
        if len(settled) == 3:
            raise OSError(28, "No space left on device", str(part))
        settled.append(path)
        settle(part, path)

    monkeypatch.setattr(exporting, "settle", full)
    with pytest.raises(OSError, match="No space left"):
        export(database.dsn, folder, segment_events=SEGMENT)
    monkeypatch.undo()
    assert sorted(path for path in folder.rglob("*.parquet")) == settled
    assert (folder / PROGRESS).exists()
    report = export(database.dsn, folder, segment_events=SEGMENT)
    assert report.written == report.manifest.events - 3 * SEGMENT
    assert check_export(folder) == report.manifest
    assert not list(folder.rglob("*.part"))
