"""Appending to a journal and reading it back: positions, times, hashes, keys, and all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import psycopg2
import pytest
from eventsourcing.persistence import IntegrityError, ProgrammingError, StoredEvent

from ledger.hashing import canonical_bytes, leaf_hash
from ledger.store import journal as log
from ledger.store.database import Database, sqlstate
from ledger.store.listener import Listener
from ledger.store.recorders import ApplicationJournal, JournalApplicationRecorder
from tests.store.test_hashing import merkle_tree_hash
from tests.waiting import PATIENCE_SECONDS


def record(
    stream: str, version: int, *, topic: str = "a.v1", state: bytes = b"{}", key: bytes | None = None
) -> log.Record:
    return (stream, version, topic, state, key, key and bytes(reversed(key)), None if key is None else 1)


def new_journal(database: Database, count: int = 1) -> int:
    with database.transaction() as cursor:
        return log.create_journals(cursor, "programme", f"programme-{uuid4()}", count)[0]


def append(database: Database, journal: int, records: Sequence[log.Record]) -> log.Head:
    with database.connection() as cursor:
        head = log.lock_head(cursor, journal, begin=True)
        log.append(cursor, head, records)
        log.store_head(cursor, head, commit=True)
        return head


def stored(database: Database, journal: int) -> list[log.EventRow]:
    with database.connection() as cursor:
        return log.read(cursor, journal, after=0, limit=10_000_000)


def stored_head(database: Database, journal: int) -> tuple[int, bytes, datetime]:
    with database.connection() as cursor:
        cursor.execute("SELECT position, root, recorded_at FROM journals WHERE journal = %s", (journal,))
        ((position, root, recorded_at),) = cursor.fetchall()
        return position, bytes(root), recorded_at


def canonical(row: log.EventRow) -> bytes:
    microseconds = (row.recorded_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return canonical_bytes(
        row.journal,
        row.position,
        row.originator_id,
        row.originator_version,
        row.topic,
        microseconds,
        row.command_key,
        row.command_hash,
        row.command_events,
        row.state,
    )


def assert_consistent(database: Database, journal: int) -> int:
    """Positions are 1, 2, 3 …, every hash covers its row, and the head is the root over them; the number of events."""
    rows = stored(database, journal)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert [row.leaf_hash for row in rows] == [leaf_hash(canonical(row)) for row in rows]
    position, root, recorded_at = stored_head(database, journal)
    assert position == len(rows)
    assert root == merkle_tree_hash([canonical(row) for row in rows])
    assert all(earlier.recorded_at <= later.recorded_at for earlier, later in pairwise(rows))
    assert not rows or rows[-1].recorded_at == recorded_at
    return len(rows)


def test_root_can_be_recomputed_from_the_rows(database: Database) -> None:
    """After batches of many sizes, hashes and root recomputed from what was read equal what was stored."""
    journal = new_journal(database)
    for batch, size in enumerate((1, 2, 3, 5, 8, 13, 64, 100)):
        events = [record(f"é-{batch}", version, state=bytes([batch]) * version) for version in range(size)]
        append(database, journal, events)
    append(database, journal, [record("keyed", 1, key=uuid4().bytes), record("", 1, topic="", state=b"")])
    assert assert_consistent(database, journal) == 198


def test_rows_come_back_as_they_were_appended(database: Database) -> None:
    """Every field of a record survives, with the head's time."""
    key = uuid4().bytes
    journal = new_journal(database)
    head = append(database, journal, [record("s", 7, topic="t.v2", state=b"\x00\xff", key=key)])
    (row,) = stored(database, journal)
    assert row[:7] == (journal, 1, "s", 7, "t.v2", b"\x00\xff", head.now)
    assert row[8:] == (key, key[::-1], 1)


def test_appending_nothing_changes_nothing(database: Database) -> None:
    """An empty append leaves position and time."""
    journal = new_journal(database)
    before = stored_head(database, journal)
    append(database, journal, [])
    assert stored_head(database, journal) == before


def test_wrong_expected_version_writes_nothing(database: Database) -> None:
    """A batch with one version the stream already has is refused whole, and the head stays."""
    journal = new_journal(database)
    append(database, journal, [record("s", 1)])
    with pytest.raises(IntegrityError) as caught:
        append(database, journal, [record("other", 1), record("s", 1), record("s", 2)])
    assert sqlstate(caught.value) == "23505"
    assert vars(caught.value)["constraint"] == "events_stream_version"
    assert assert_consistent(database, journal) == 1


def test_an_idempotency_key_is_recorded_once_a_journal(database: Database) -> None:
    """The same key again is refused in its journal and free in another."""
    first, second = new_journal(database), new_journal(database)
    key = uuid4().bytes
    append(database, first, [record("s", 1, key=key)])
    append(database, second, [record("s", 1, key=key)])
    with pytest.raises(IntegrityError) as caught:
        append(database, first, [record("s", 2, key=key)])
    assert vars(caught.value)["constraint"] == "events_command_key"
    assert assert_consistent(database, first) == 1


def test_the_head_stays_after_a_refused_append(database: Database) -> None:
    """The head in memory is as it was when the append raised, so no wrong position can follow from it."""
    journal = new_journal(database)
    append(database, journal, [record("s", 1)])
    with database.connection() as cursor:
        head = log.lock_head(cursor, journal, begin=True)
        before = (head.position, head.frontier.to_bytes(), head.recorded_at)
        with pytest.raises(psycopg2.errors.UniqueViolation):
            log.append(cursor, head, [record("s", 1)])
        assert (head.position, head.frontier.to_bytes(), head.recorded_at) == before


def test_several_appends_under_one_lock(database: Database) -> None:
    """A save larger than one COPY is appended in parts and committed once."""
    journal = new_journal(database)
    with database.transaction() as cursor:
        head = log.lock_head(cursor, journal)
        for part in range(3):
            log.append(cursor, head, [record("s", part * 10 + number) for number in range(10)])
        log.store_head(cursor, head)
    assert assert_consistent(database, journal) == 30


def test_time_never_goes_backwards(database: Database, database_dsn: str) -> None:
    """Events after one from a server whose clock was ahead get that one's time, not an earlier one."""
    journal = new_journal(database)
    ahead = datetime.now(UTC) + timedelta(days=1)
    with database.transaction() as cursor:
        head = log.lock_head(cursor, journal)
        head.now = ahead
        log.append(cursor, head, [record("s", 1)])
        log.store_head(cursor, head)
    assert append(database, journal, [record("s", 2)]).now == ahead
    assert assert_consistent(database, journal) == 2


def test_sixteen_mebibytes_in_one_insert(database: Database) -> None:
    """One large event and many middling ones go through one insert_events call."""
    recorder = JournalApplicationRecorder(database, ApplicationJournal(database, "large"))
    states = [b"x" * (8 * 2**20), *(bytes([number]) * 2**16 for number in range(128))]
    events = [StoredEvent(uuid4(), 1, "large.v1", state) for state in states]
    assert recorder.insert_events(events) == list(range(1, 130))
    assert [notification.state for notification in recorder.select_notifications(1, 200)] == states


def test_journals_are_created_once(database: Database) -> None:
    """Creating the same journals from several threads gives everyone the same contiguous numbers."""

    def create(name: str) -> list[int]:
        with database.transaction() as cursor:
            return log.create_journals(cursor, "programme", name, 4)

    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(create, ["first", "second"] * 8))
    assert len({tuple(numbers) for numbers in created}) == 2
    assert sorted(set().union(*created)) == list(range(1, 9))
    assert all(numbers == list(range(numbers[0], numbers[0] + 4)) for numbers in created)
    with database.connection() as cursor:
        assert log.find_journals(cursor, "programme", "first") == created[0]
        assert log.find_journals(cursor, "application", "first") == []


def test_the_number_of_journals_is_fixed(database: Database) -> None:
    """Asking again for another number is refused, as is a number outside the limits."""
    with database.transaction() as cursor:
        log.create_journals(cursor, "programme", "p", 2)
    with pytest.raises(log.JournalCountError, match="has 2 journals"), database.transaction() as cursor:
        log.create_journals(cursor, "programme", "p", 3)
    with pytest.raises(ValueError, match="1 to 1024"), database.transaction() as cursor:
        log.create_journals(cursor, "programme", "q", 0)


def test_an_unknown_journal_is_named(database: Database) -> None:
    """Locking a journal that does not exist names it and leaves the pool usable."""
    with pytest.raises(log.JournalNotFoundError, match="77"), database.connection() as cursor:
        log.lock_head(cursor, 77, begin=True)
    assert new_journal(database) == 1


def test_reads_are_bounded_and_filtered(database: Database) -> None:
    """`after`, `upto`, `limit` and `topics` each do what they say, in both forms of reading."""
    journal = new_journal(database)
    events = [record("s", version, topic="odd" if version % 2 else "even") for version in range(1, 11)]
    append(database, journal, events)
    with database.connection() as cursor:
        for after, upto, limit, topics, expected in (
            (0, None, 3, (), [1, 2, 3]),
            (8, None, 99, (), [9, 10]),
            (2, 5, 99, (), [3, 4, 5]),
            (0, 7, 2, ("even",), [2, 4]),
            (0, None, 99, ("none",), []),
            (10, None, 99, (), []),
        ):
            full = log.read(cursor, journal, after=after, upto=upto, limit=limit, topics=topics)
            light = log.read_light(cursor, journal, after=after, upto=upto, limit=limit, topics=topics)
            assert [row.position for row in full] == expected
            assert light == [row[1:7] for row in full]


def test_streams_are_read_after_their_versions(database: Database) -> None:
    """Several streams in one query, each after its version, ordered by stream and version; other journals stay out."""
    journal, other = new_journal(database), new_journal(database)
    append(database, journal, [record(stream, version) for version in (1, 2, 3) for stream in ("b", "a", "c")])
    append(database, other, [record("a", version) for version in (1, 2, 3, 4)])
    with database.connection() as cursor:
        rows = log.read_streams(cursor, journal, [("b", 1), ("a", 0), ("missing", 0)])
        assert log.read_streams(cursor, journal, []) == []
    assert [(stream, version) for _, stream, version, *_ in rows] == [("a", 1), ("a", 2), ("a", 3), ("b", 2), ("b", 3)]


def test_recorded_commands_are_found(database: Database) -> None:
    """Recorded keys come with the hash of their input, their first position and how many events; others are absent."""
    journal = new_journal(database)
    keys = [uuid4().bytes for _ in range(3)]
    append(database, journal, [record("s", number, key=key) for number, key in enumerate(keys)])
    with database.connection() as cursor:
        found = log.find_commands(cursor, journal, [keys[2], uuid4().bytes, keys[0]])
        assert log.find_commands(cursor, journal, []) == {}
    assert found == {keys[0]: (keys[0][::-1], 1, 1), keys[2]: (keys[2][::-1], 3, 1)}


def test_listeners_are_told_after_the_commit(database: Database) -> None:
    """A committed append is hinted at with its journal; waiting without one gives nothing."""
    journal = new_journal(database)
    listener = Listener(database)
    try:
        assert listener.wait(0.01) == set()
        append(database, journal, [record("s", 1)])
        assert listener.wait(PATIENCE_SECONDS) == {journal}
    finally:
        listener.close()


def test_recorders_read_programmes_but_never_append_to_them(database: Database) -> None:
    """The library's recorders see a programme's events and are refused when they insert into it."""
    journal = new_journal(database)
    append(database, journal, [record("member-1", 1)])
    given = ApplicationJournal(database, "x", journal)
    recorder = JournalApplicationRecorder(database, given, originator_id_type="text")
    assert [notification.originator_id for notification in recorder.select_notifications(1, 10)] == ["member-1"]
    with pytest.raises(ProgrammingError, match="programme"):
        recorder.insert_events([StoredEvent("member-1", 2, "a.v1", b"")])
    assert assert_consistent(database, journal) == 1
