"""Verifying journals: whatever is changed, past the triggers, is found and named at its position."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from audit import rows
from audit import verify as verifying
from audit.verify import JournalResult, VerifyReport, verify, verify_journal
from ledger.commands import EraseMember, PublishTerms
from ledger.engine import Ledger
from ledger.hashing import EMPTY_ROOT, Frontier
from ledger.store.database import Database, connect
from ledger.store.journal import JournalNotFoundError, create_journals
from ledger.store.migrations import migrate
from ledger.store.recorders import ApplicationJournal, JournalApplicationRecorder
from tests.audit.ledgers import AT, PROGRAMMES, Superuser, build, handle, purchase, survey, terms
from tests.conftest import create_database, drop_database

JOURNALS = (1, 2, 3)
FLIP = 0x40
"""The bit that is flipped in a byte: no ASCII letter, digit or hyphen becomes a character that text cannot hold, and no
position or version becomes one that exists."""


@pytest.fixture(scope="module")
def built(server_dsn: str) -> Iterator[tuple[str, Superuser]]:
    name = f"loyalty_test_{os.getpid()}_audit"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    build(ledger)
    ledger.close()
    database.close()
    connection = connect(dsn)
    yield dsn, Superuser(connection.cursor())
    connection.close()
    drop_database(server_dsn, name)


@pytest.fixture
def superuser(built: tuple[str, Superuser]) -> Iterator[Superuser]:
    yield built[1]
    built[1].restore()


@pytest.fixture
def dsn(built: tuple[str, Superuser]) -> str:
    return built[0]


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    writer = Ledger(database)
    build(writer)
    yield writer
    writer.close()


def found(dsn: str, journal: int, *, deep: bool = True) -> JournalResult:
    """The result of one journal; those of the others must be good."""
    results = {result.journal: result for result in verify(dsn, deep=deep).journals}
    assert [result.problem for result in results.values() if result.journal != journal] == [None, None]
    return results[journal]


def bad(dsn: str, journal: int, position: int | None) -> str:
    """What is wrong with a journal, at the position where it must be found."""
    result = found(dsn, journal)
    assert not result.ok
    assert result.problem is not None
    assert result.first_bad_position == position, result.problem
    assert position is None or f"position {position} " in result.problem
    return result.problem


# --- what is good ----------------------------------------------------------------------------------------------------


def test_a_ledger_as_it_was_written_is_good(dsn: str, superuser: Superuser) -> None:
    """Everything is well, of every event, and the roots are those of the heads."""
    report = verify(dsn)
    assert (report.problems, report.strays, report.ok) == ([], [], True)
    assert [one.journal for one in report.journals] == [1, 2, 3]
    assert [one.name for one in report.journals] == ["coffee", "grocery", "grocery"]
    for one in report.journals:
        assert 10 < one.events == superuser.head(one.journal) < FLIP
        assert one.root == superuser.value("SELECT encode(root, 'hex') FROM journals WHERE journal = %s", one.journal)
    assert report.events == superuser.value("SELECT count(*) FROM events")


def test_only_the_journals_asked_for_are_verified(dsn: str) -> None:
    assert [one.journal for one in verify(dsn, [3, 1, 3]).journals] == [1, 3]


def test_a_journal_that_does_not_exist_is_refused(dsn: str) -> None:
    with pytest.raises(JournalNotFoundError, match="no journal 7, 9"):
        verify(dsn, [1, 9, 7])


def test_an_empty_ledger_is_good(database: Database) -> None:
    assert verify(database) == VerifyReport(journals=[], strays=[], seconds=pytest.approx(0, abs=60))


def test_journals_without_events_are_good(database: Database) -> None:
    """An application's journals, or a programme's other than the first, may hold nothing yet."""
    with database.transaction() as cur:
        create_journals(cur, "application", "shop", 2)
    assert [(one.events, one.root, one.problem) for one in verify(database).journals] == [
        (0, EMPTY_ROOT.hex(), None)
    ] * 2


def test_small_pages_give_the_same(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pages of rows and batches of leaves begin and end makes no difference."""
    whole = verify(dsn, processes=1)
    monkeypatch.setattr(verifying, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(rows, "LEAVES_AT_ONCE", 5)
    paged = verify(dsn, processes=1)
    assert [(one.root, one.events, one.problem) for one in paged.journals] == [
        (one.root, one.events, one.problem) for one in whole.journals
    ]


def test_processes_give_the_same_and_tell_progress(dsn: str, superuser: Superuser) -> None:
    """Journals verified side by side end with the same results, a bad one among them."""
    superuser.execute("UPDATE events SET state = 'x' WHERE journal = 2 AND position = 5")
    told: list[tuple[int, int]] = []
    side_by_side = verify(dsn, processes=2, on_progress=lambda done, total: told.append((done, total)))
    alone = verify(dsn, processes=1)
    assert side_by_side.problems == alone.problems
    assert [(one.journal, one.root) for one in side_by_side.journals] == [
        (one.journal, one.root) for one in alone.journals
    ]
    assert told[-1] == (alone.events, sum(map(superuser.head, JOURNALS)))


def test_progress_reaches_the_end(dsn: str, superuser: Superuser) -> None:
    told: list[tuple[int, int]] = []
    report = verify(dsn, processes=1, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (report.events, report.events)
    assert told == sorted(told)


def test_journals_of_library_applications_are_verified(dsn: str, database: Database) -> None:
    """Their topics are their own, and their streams may begin at any version."""
    recorder = JournalApplicationRecorder(database, ApplicationJournal(database, "shop"))
    recorder.insert_events([StoredEvent("order-1", version, "module:Class", b"\x00") for version in (4, 5, 9)])
    (result,) = verify(database).journals
    assert (result.kind, result.name, result.events, result.problem) == ("application", "shop", 3, None)


def test_erasing_a_member_leaves_it_good(ledger: Ledger, database: Database) -> None:
    """The key goes, and what it sealed stays as it was hashed."""
    before = verify(database)
    named: dict[str, Any] = {"source": "test", "programme": "grocery"}
    handle(ledger, [EraseMember(id="erase", occurred_at=AT + timedelta(days=50), member="M0003", **named)])
    after = verify(database)
    assert (before.problems, after.problems) == ([], [])
    assert after.events == before.events + 1
    with database.connection() as cur:
        cur.execute("SELECT 1 FROM member_keys WHERE member = 'M0003'")
        assert cur.rowcount == 1, "that of the other programme"


def test_it_is_good_while_writers_append(ledger: Ledger, database: Database) -> None:
    """Heads move on, terms and surveys come in the middle of every verification; none takes it for tampering."""
    stop = False

    def write(programme: str) -> int:
        currency, named = PROGRAMMES[programme][0], {"source": "test", "programme": programme}
        number = 0
        while not stop:
            number += 1
            handle(ledger, [purchase(f"more-{number}-{of}", f"M000{of}", currency, named) for of in range(8)])
            if number % 5 == 0:
                document = terms(programme, f"Again {number}")
                handle(ledger, [PublishTerms(id=f"more-terms-{number}", occurred_at=AT, document=document, **named)])
                handle(ledger, [survey(f"more-surveys-{number}", [f"question {number}"], named)])
        return number

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write, programme) for programme in PROGRAMMES]
        try:
            reports = [verify(database, processes=1) for _ in range(15)]
        finally:
            stop = True
        assert min(writer.result() for writer in writers) > 1
    assert [report.problems for report in reports] == [[]] * len(reports)
    assert reports[-1].events > reports[0].events
    assert verify(database).problems == []


@pytest.mark.parametrize("position", [4, 20])
def test_streams_sorted_meanwhile_give_the_same(
    position: int, dsn: str, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is first: a version out of order, or a row that differs from its hash."""
    monkeypatch.setattr(verifying, "WORTH_A_CONNECTION_EVENTS", 0)
    assert verify(dsn, processes=1).problems == []
    superuser.execute("UPDATE events SET originator_version = 99 WHERE journal = 1 AND position = 12")
    superuser.recommit(1)
    assert "is version 99 of the stream" in bad(dsn, 1, 12)
    superuser.execute("UPDATE events SET state = 'x' WHERE journal = 1 AND position = %s", position)
    beside = found(dsn, 1)
    assert beside.first_bad_position == min(position, 12)
    monkeypatch.undo()
    alone = found(dsn, 1)
    assert (alone.problem, alone.root, alone.events) == (beside.problem, beside.root, beside.events)


# --- one byte --------------------------------------------------------------------------------------------------------

EPOCH = "timestamptz '2000-01-01 00:00:00+00'"
FLIPS = {
    "journal": (4, f"journal # ({FLIP} << (8 * %(byte)s))"),
    "position": (8, f"position # ({FLIP}::bigint << (8 * %(byte)s))"),
    "originator_id": (
        None,
        f"convert_from(set_byte(originator_id::bytea, %(byte)s, get_byte(originator_id::bytea, %(byte)s) # {FLIP}),"
        " 'UTF8')",
    ),
    "originator_version": (8, f"originator_version # ({FLIP}::bigint << (8 * %(byte)s))"),
    "topic": (
        None,
        f"convert_from(set_byte(topic::bytea, %(byte)s, get_byte(topic::bytea, %(byte)s) # {FLIP}), 'UTF8')",
    ),
    "state": (None, f"set_byte(state, %(byte)s, get_byte(state, %(byte)s) # {FLIP})"),
    "recorded_at": (
        8,
        f"{EPOCH} + ((extract(epoch FROM recorded_at) * 1000000 - 946684800000000)::bigint"
        f" # ({FLIP}::bigint << (8 * %(byte)s))) * interval '1 microsecond'",
    ),
    "leaf_hash": (32, f"set_byte(leaf_hash, %(byte)s, get_byte(leaf_hash, %(byte)s) # {FLIP})"),
    "command_key": (
        16,
        f"encode(set_byte(uuid_send(command_key), %(byte)s, get_byte(uuid_send(command_key), %(byte)s) # {FLIP}),"
        " 'hex')::uuid",
    ),
    "command_hash": (
        16,
        f"encode(set_byte(uuid_send(command_hash), %(byte)s, get_byte(uuid_send(command_hash), %(byte)s) # {FLIP}),"
        " 'hex')::uuid",
    ),
    "command_events": (2, f"(command_events # ({FLIP} << (8 * %(byte)s)))::smallint"),
}
"""Each column, how many bytes it has (None: ask), and the expression that flips a bit in one of them."""

FLIPPED_AT_MOST = 40
"""Bytes of a column that are flipped one after the other, spread evenly from the first to the last."""


def test_every_column_is_flipped(superuser: Superuser) -> None:
    """A column that a migration adds must be in FLIPS."""
    superuser.cur.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'loyalty' AND table_name = 'events'"
    )
    assert {name for (name,) in superuser.cur} == FLIPS.keys() == set(rows.COLUMNS)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("journal", [1, 3])
@pytest.mark.parametrize("column", FLIPS)
def test_a_flipped_byte_is_found(column: str, journal: int, deep: bool, dsn: str, superuser: Superuser) -> None:
    """One bit in any byte of any column of an event: that position is named, with or without reading the states."""
    position = superuser.value(
        "SELECT position FROM events WHERE journal = %s AND topic = 'purchase-recorded.v1' ORDER BY 1 OFFSET 1 LIMIT 1",
        journal,
    )
    length, expression = FLIPS[column]
    if length is None:
        length = superuser.value(
            f"SELECT octet_length({column}) FROM events WHERE journal = %s AND position = %s", journal, position
        )
    step = max(1, length // FLIPPED_AT_MOST)
    for byte in {*range(0, length, step), length - 1}:
        superuser.cur.execute(
            f"UPDATE events SET {column} = {expression} WHERE journal = %(journal)s AND position = %(position)s",
            {"byte": byte, "journal": journal, "position": position},
        )
        assert superuser.cur.rowcount == 1
        report = verify(dsn, processes=1, deep=deep)
        results = {one.journal: one for one in report.journals}
        result = results.pop(journal)
        assert result.first_bad_position == position, (column, byte, result)
        assert result.problem is not None
        assert result.problem.startswith(f"position {position} "), result.problem
        assert result.events == position - 1
        assert [one.problem for one in results.values()] == [None, None]
        assert len(report.strays) == (column == "journal")
        superuser.restore()
    assert verify(dsn).ok


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_flipped_byte_of_any_event_is_found(journal: int, dsn: str, superuser: Superuser) -> None:
    """Of each event in turn, one byte of one column, by chance but the same in every run."""
    rng = random.Random(journal)
    columns = ("originator_id", "originator_version", "topic", "state", "leaf_hash")
    for position in range(1, superuser.head(journal) + 1):
        column = rng.choice(columns)
        length, expression = FLIPS[column]
        if length is None:
            length = superuser.value(
                f"SELECT octet_length({column}) FROM events WHERE journal = %s AND position = %s", journal, position
            )
        flip = f"UPDATE events SET {column} = {expression} WHERE journal = %(journal)s AND position = %(position)s"
        given = {"byte": rng.randrange(length), "journal": journal, "position": position}
        superuser.cur.execute(flip, given)
        result = verify_journal(dsn, journal, deep=False)
        assert result.first_bad_position == position, (column, given, result)
        assert str(result.problem).startswith(f"position {position} "), result.problem
        superuser.cur.execute(flip, given)  # a bit flipped twice is as it was
    assert verify_journal(dsn, journal).ok


@pytest.mark.parametrize("column", [column for column in rows.COLUMNS if column not in {"journal", "position"}])
def test_a_missing_value_is_found(column: str, dsn: str, superuser: Superuser) -> None:
    """A superuser can drop what forbids NULL."""
    superuser.cur.execute(f"ALTER TABLE events ALTER {column} DROP NOT NULL")
    superuser.cur.execute("ALTER TABLE events DROP CONSTRAINT IF EXISTS events_check")
    superuser.execute(f"UPDATE events SET {column} = NULL WHERE journal = 1 AND position = 6")
    assert f"has no {column}" in bad(dsn, 1, 6)


@pytest.mark.parametrize("value", ["infinity", "-infinity", "294000-01-01", "4000-01-01 BC"])
def test_a_time_that_is_none_is_found(value: str, dsn: str, superuser: Superuser) -> None:
    superuser.execute("UPDATE events SET recorded_at = %s WHERE journal = 1 AND position = 6", value)
    assert "differs from its leaf_hash" in bad(dsn, 1, 6)


@pytest.mark.parametrize("length", [0, 31, 33, 36, 68])
def test_a_leaf_hash_of_another_length_is_found(length: int, dsn: str, superuser: Superuser) -> None:
    """Even where what was added looks like the end of the row: a length of 32 and the hash."""
    superuser.execute(
        "UPDATE events SET leaf_hash = substr(leaf_hash || int4send(32) || leaf_hash, 1, %s)"
        " WHERE journal = 1 AND position = 6",
        length,
    )
    assert "differs from its leaf_hash" in bad(dsn, 1, 6)


# --- whole rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_row_deleted_at_the_start_is_found(journal: int, dsn: str, superuser: Superuser) -> None:
    superuser.execute("DELETE FROM events WHERE journal = %s AND position = 1", journal)
    assert bad(dsn, journal, 1) == "position 1 is missing: the next one is 2"


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_row_deleted_in_the_middle_is_found(journal: int, dsn: str, superuser: Superuser) -> None:
    superuser.execute("DELETE FROM events WHERE journal = %s AND position IN (7, 8)", journal)
    assert bad(dsn, journal, 7) == "position 7 is missing: the next one is 9"


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_truncated_tail_is_found(journal: int, dsn: str, superuser: Superuser) -> None:
    head = superuser.head(journal)
    superuser.execute("DELETE FROM events WHERE journal = %s AND position = %s", journal, head)
    assert bad(dsn, journal, head) == f"position {head} is missing at the end: the head is at {head}"
    superuser.execute("DELETE FROM events WHERE journal = %s AND position = %s", journal, head - 1)
    result = found(dsn, journal)
    assert result.first_bad_position == head - 1
    assert result.problem == f"positions {head - 1} to {head} are missing at the end: the head is at {head}"


def test_an_emptied_journal_is_found(dsn: str, superuser: Superuser) -> None:
    superuser.execute("DELETE FROM events WHERE journal = 3")
    result = found(dsn, 3)
    assert (result.first_bad_position, result.events) == (1, 0)


INSERTED = (
    "INSERT INTO events SELECT journal, {position}, originator_id, originator_version + 1000, topic, state,"
    " recorded_at, leaf_hash, NULL, NULL, NULL FROM events WHERE journal = 1 AND position = 9"
)


def test_a_row_after_the_head_is_found(dsn: str, superuser: Superuser) -> None:
    head = superuser.head(1)
    superuser.execute(INSERTED.format(position=head + 1))
    assert bad(dsn, 1, head + 1) == f"position {head + 1} is one too many: the journal's head is at {head}"
    superuser.execute(f"UPDATE events SET position = {head + 1000} WHERE journal = 1 AND position = {head + 1}")
    bad(dsn, 1, head + 1000)


@pytest.mark.parametrize("position", [0, -5])
def test_a_row_before_the_first_is_found(position: int, dsn: str, superuser: Superuser) -> None:
    superuser.cur.execute("ALTER TABLE events DROP CONSTRAINT IF EXISTS events_position_check")
    superuser.execute(INSERTED.format(position=position))
    assert bad(dsn, 1, position) == f"position {position} is one too many: here position 1 must stand"


def test_a_row_inserted_in_the_middle_is_found(dsn: str, superuser: Superuser) -> None:
    """What follows was moved up to make room, and the head with it."""
    superuser.execute("UPDATE events SET position = -position WHERE journal = 1 AND position >= 10")
    superuser.execute("UPDATE events SET position = 1 - position WHERE journal = 1 AND position < 0")
    superuser.execute(INSERTED.format(position=10))
    superuser.execute("UPDATE journals SET position = position + 1 WHERE journal = 1")
    assert "differs from its leaf_hash" in bad(dsn, 1, 10)


def test_swapped_rows_are_found(dsn: str, superuser: Superuser) -> None:
    superuser.execute("UPDATE events SET position = -position WHERE journal = 1 AND position IN (6, 9)")
    superuser.execute("UPDATE events SET position = 15 + position WHERE journal = 1 AND position < 0")
    assert "differs from its leaf_hash" in bad(dsn, 1, 6)


def test_a_row_in_a_journal_that_does_not_exist_is_found(dsn: str, superuser: Superuser) -> None:
    superuser.execute(INSERTED.format(position=3).replace("SELECT journal", "SELECT 99"))
    report = verify(dsn)
    assert report.strays == report.problems == ["position 3 is in journal 99, which does not exist"]
    assert not report.ok


@pytest.mark.parametrize("member", ["M0000", "M0003", "M0007"])
def test_a_row_rewritten_with_its_hash_is_found(member: str, dsn: str, superuser: Superuser) -> None:
    """The root gives it away; the frontier tells in which stretch it is."""
    changed = superuser.value(
        """
        UPDATE events
        SET state = replace(convert_from(state, 'UTF8'), '"reason":"welcome"', '"reason":"welcomed"')::bytea
        WHERE journal = 1 AND originator_id = %s AND topic = 'points-accrued.v1'
            AND convert_from(state, 'UTF8') LIKE '%%"reason":"welcome"%%'
        RETURNING position
        """,
        f"member-{member}",
    )
    superuser.rehash(1, changed)
    stored = superuser.value("SELECT frontier FROM journals WHERE journal = 1")
    first, last = verifying._differing_stretch(superuser.head(1), superuser.frontier(1).to_bytes(), stored)
    assert first <= changed <= last
    words = f"one or more of the positions {first} to {last} are not what the head committed to"
    assert found(dsn, 1).problem == f"{words}: rewritten together with the leaf_hash"
    assert found(dsn, 1).first_bad_position == first


@pytest.mark.parametrize(("size", "at", "stretch"), [(1, 1, (1, 1)), (7, 4, (1, 4)), (7, 6, (5, 6)), (7, 7, (7, 7))])
def test_the_stretch_that_differs_is_the_subtree_above_the_change(size: int, at: int, stretch: tuple[int, int]) -> None:
    leaves = [bytes([number]) * 32 for number in range(1, size + 1)]
    one, other = Frontier(), Frontier()
    one.append_all(leaves)
    leaves[at - 1] = bytes(32)
    other.append_all(leaves)
    assert verifying._differing_stretch(size, one.to_bytes(), other.to_bytes()) == stretch


# --- the head --------------------------------------------------------------------------------------------------------


def test_a_head_that_was_moved_on_is_found(dsn: str, superuser: Superuser) -> None:
    head = superuser.head(2)
    superuser.execute("UPDATE journals SET position = position + 3 WHERE journal = 2")
    result = found(dsn, 2)
    assert result.first_bad_position == head + 1
    assert result.problem == f"positions {head + 1} to {head + 3} are missing at the end: the head is at {head + 3}"


def test_a_head_that_was_moved_back_is_found(dsn: str, superuser: Superuser) -> None:
    head = superuser.head(2)
    superuser.execute("UPDATE journals SET position = position - 1 WHERE journal = 2")
    assert bad(dsn, 2, head) == f"position {head} is one too many: the journal's head is at {head - 1}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("root = set_byte(root, 31, get_byte(root, 31) # 1)", "the head's root is not that of its frontier"),
        ("root = ''", "the head's root is not that of its frontier"),
        ("frontier = set_byte(frontier, 0, get_byte(frontier, 0) # 1)", "the head's frontier is not that of its root"),
        ("frontier = ''", "the head's frontier is not that of its root"),
        ("frontier = substr(frontier, 2)", "the head's frontier is not that of its root"),
        ("frontier = '', root = ''", "the events give neither the head's root nor its frontier"),
        ("recorded_at = recorded_at + interval '1 microsecond'", "the head's recorded_at is not that of position"),
        ("recorded_at = 'infinity'", "the head's recorded_at is not that of position"),
    ],
)
def test_a_changed_head_is_found(change: str, words: str, dsn: str, superuser: Superuser) -> None:
    superuser.execute(f"UPDATE journals SET {change} WHERE journal = 2")
    assert words in bad(dsn, 2, None)


@pytest.mark.parametrize("column", ["root", "frontier"])
def test_a_changed_byte_of_a_head_is_found(column: str, dsn: str, superuser: Superuser) -> None:
    """Any byte of the root, and of the roots of the perfect subtrees that it is made of."""
    length = superuser.value(f"SELECT octet_length({column}) FROM journals WHERE journal = 2")
    for byte in range(length):
        flip = f"UPDATE journals SET {column} = set_byte({column}, {byte}, get_byte({column}, {byte}) # 1)"
        superuser.execute(f"{flip} WHERE journal = 2")
        problem = verify_journal(dsn, 2, deep=False).problem
        assert problem is not None
        assert problem.startswith(f"the head's {column} is not that of its "), problem
        superuser.execute(f"{flip} WHERE journal = 2")


# --- what was forged throughout: hashes, root and frontier were computed again ---------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("state = 'x'", "cannot be read as a"),
        ("state = '{}'", "cannot be read as a"),
        ("state = repeat('[', 100000)::bytea", "cannot be read as a"),
        ("topic = 'points-invented.v1'", "has the topic 'points-invented.v1', which this version"),
        ("topic = 'terms-published.v1'", "cannot be read as a terms-published.v1"),
        ("state = replace(convert_from(state, 'UTF8'), 'coffee', 'grocer')::bytea", "of the programme 'grocer'"),
        ("originator_id = 'member-M9999'", "in another stream"),
        ("originator_version = originator_version + 500", "where version"),
        ("command_events = 0", "says that its command recorded 0 events"),
        ("command_events = 1000", "begins a command where"),
        ("recorded_at = recorded_at - interval '1 day'", "has a recorded_at before that of the position before it"),
    ],
)
def test_a_forgery_that_makes_no_sense_is_found(change: str, words: str, dsn: str, superuser: Superuser) -> None:
    """Hashes alone cannot tell, for they were all computed again: what the events say can."""
    position = superuser.value(
        "SELECT position FROM events WHERE journal = 1 AND topic = 'points-redeemed.v1' ORDER BY 1 LIMIT 1"
    )
    superuser.execute(f"UPDATE events SET {change} WHERE journal = 1 AND position = {position}")
    superuser.recommit(1)
    problem = found(dsn, 1)
    assert problem.problem is not None
    assert words in problem.problem
    wrong = position + 1 if "command_events = 1000" in change else position
    assert problem.first_bad_position == wrong


def test_versions_out_of_order_are_found(dsn: str, superuser: Superuser) -> None:
    """A stream that has versions 1 to n, but not in the order of positions."""
    positions = superuser.value(
        "SELECT array_agg(position ORDER BY position) FROM events WHERE journal = 1 AND originator_id = 'member-M0001'"
    )
    superuser.execute(
        "UPDATE events SET originator_version = -originator_version WHERE journal = 1 AND position = ANY (%s)",
        positions[:2],
    )
    superuser.execute(
        "UPDATE events SET originator_version = 3 + originator_version WHERE journal = 1 AND position = ANY (%s)",
        positions[:2],
    )
    superuser.recommit(1)
    words = f"position {positions[0]} is version 2 of the stream 'member-M0001', where version 1 must come"
    assert bad(dsn, 1, positions[0]) == words


def test_a_command_cut_short_at_the_end_is_found(dsn: str, superuser: Superuser) -> None:
    head = superuser.head(3)
    superuser.execute(
        "UPDATE events SET command_key = gen_random_uuid(), command_hash = gen_random_uuid(), command_events = 3"
        " WHERE journal = 3 AND position = %s",
        head,
    )
    superuser.recommit(3)
    assert "ends 2 events before its last command does" in bad(dsn, 3, head)


def test_a_member_in_the_wrong_journal_is_found(dsn: str, superuser: Superuser) -> None:
    """Journals of a programme that were exchanged hold members that do not hash there."""
    superuser.execute("UPDATE journals SET ordinal = 5 WHERE journal = 2")
    superuser.execute("UPDATE journals SET ordinal = 0 WHERE journal = 3")
    superuser.execute("UPDATE journals SET ordinal = 1 WHERE journal = 2")
    results = {one.journal: one for one in verify(dsn).journals}
    assert (results[2].first_bad_position, results[3].first_bad_position) == (1, 1)
    assert "belongs in its first journal" in str(results[2].problem)
    assert "who belongs in another journal" in str(results[3].problem)


# --- beside the log --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "position", "words"),
    [
        ("UPDATE programmes SET name = 'Other' WHERE programme = 'grocery'", 1, "recorded the name ''"),
        ("UPDATE programmes SET currency = 'EUR' WHERE programme = 'grocery'", 1, "has 'EUR'"),
        ("UPDATE programmes SET time_zone = 'UTC' WHERE programme = 'grocery'", 1, "has 'UTC'"),
        ("UPDATE programmes SET journals = 3 WHERE programme = 'grocery'", 1, "recorded the journals 2"),
        ("UPDATE programmes SET terms_versions = 1 WHERE programme = 'grocery'", None, "counts 1 versions"),
        ("DELETE FROM programmes WHERE programme = 'grocery'", 1, "missing in the table of programmes"),
        ("DELETE FROM terms WHERE programme = 'grocery' AND version = 2", 3, "missing in the table of terms"),
        (
            "UPDATE terms SET document = set_byte(document, 20, get_byte(document, 20) # 1)"
            " WHERE programme = 'grocery' AND version = 1",
            2,
            "whose document in the table of terms is another",
        ),
        (
            "UPDATE terms SET effective_from = effective_from + interval '1 microsecond'"
            " WHERE programme = 'grocery' AND version = 2",
            3,
            "the table of terms has",
        ),
        (
            "UPDATE terms SET effective_from = 'infinity' WHERE programme = 'grocery' AND version = 2",
            3,
            "the table of terms has infinity",
        ),
        (
            "INSERT INTO terms SELECT programme, 3, effective_from, document FROM terms"
            " WHERE programme = 'grocery' AND version = 2",
            None,
            "has version 3, which no event published",
        ),
    ],
)
def test_a_changed_programme_or_terms_is_found(
    change: str, position: int | None, words: str, dsn: str, superuser: Superuser
) -> None:
    """What writers look up must be what was recorded."""
    superuser.execute(change)
    assert words in bad(dsn, 2, position)


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        ("DELETE FROM surveys WHERE programme = 'grocery' AND version = 2", 2, "missing in the table of surveys"),
        ("UPDATE surveys SET survey = 'other' WHERE programme = 'grocery' AND version = 1", 1, "missing in the table"),
        ("UPDATE surveys SET instrument = 'NPS' WHERE programme = 'grocery' AND version = 1", 1, "surveys has 'NPS'"),
        ("UPDATE surveys SET lowest = 0 WHERE programme = 'grocery' AND version = 1", 1, "surveys has (0, 10)"),
        ("UPDATE surveys SET highest = 7 WHERE programme = 'grocery' AND version = 2", 2, "surveys has (1, 7)"),
        (
            "UPDATE surveys SET questions = '{overall}' WHERE programme = 'grocery' AND version = 2",
            2,
            "with the questions ['overall', 'expected']; the table of surveys has ['overall']",
        ),
        (
            "UPDATE surveys SET defined_at = defined_at + interval '1 microsecond' WHERE programme = 'grocery'",
            1,
            "defined version 1 of the survey 'delivery' at 2026-01-05T04:00:00+00:00; the table",
        ),
        ("UPDATE surveys SET defined_at = '-infinity' WHERE programme = 'grocery'", 1, "surveys has -infinity"),
        (
            "INSERT INTO surveys SELECT programme, survey, 3, defined_at, instrument, lowest, highest, questions,"
            " weights FROM surveys WHERE programme = 'grocery' AND version = 2",
            None,
            "has 3 versions of surveys, where 2 were defined",
        ),
        (
            "UPDATE programmes SET revision = revision - 1 WHERE programme = 'grocery'",
            None,
            "has the revision 3, where 4 terms and surveys were recorded",
        ),
    ],
)
def test_a_changed_survey_is_found(
    change: str, version: int | None, words: str, dsn: str, superuser: Superuser
) -> None:
    """The definitions that answers are checked by must be those that were recorded."""
    position = superuser.value(
        "SELECT min(position) FROM events WHERE journal = 2 AND originator_id = 'survey-delivery'"
        " AND originator_version = %s",
        version,
    )
    superuser.execute(change)
    assert words in bad(dsn, 2, position)


@pytest.mark.parametrize(
    ("topic", "change", "words"),
    [
        ("survey-defined.v1", "originator_id = 'survey-other'", "in another stream than 'survey-delivery'"),
        (
            "survey-defined.v1",
            "originator_id = 'programme-grocery', originator_version = 4",
            "in another stream than 'survey-delivery'",
        ),
        ("survey-defined.v1", "topic = 'survey-answered.v1'", "cannot be read as a survey-answered.v1"),
        (
            "survey-defined.v1",
            "state = replace(convert_from(state, 'UTF8'), '\"version\":1', '\"version\":3')::bytea",
            "defines version 3 of the survey 'delivery', where version 1 must come",
        ),
        ("objective-measured.v1", "originator_id = 'member-answer-time'", "stream than 'objective-answer-time'"),
        (
            "nonconformity-raised.v1",
            "state = replace(convert_from(state, 'UTF8'), 'answer-time:', 'other:')::bytea",
            "in another stream than 'nonconformity-other:2026-01-04'",
        ),
        (
            "nonconformity-raised.v1",
            "state = replace(convert_from(state, 'UTF8'), 'grocery', 'coffee')::bytea",
            "of the programme 'coffee'",
        ),
    ],
)
def test_a_forged_event_of_steering_is_found(
    topic: str, change: str, words: str, dsn: str, superuser: Superuser
) -> None:
    """Hashes were all computed again."""
    position = superuser.value("SELECT min(position) FROM events WHERE journal = 2 AND topic = %s", topic)
    superuser.execute(f"UPDATE events SET {change} WHERE journal = 2 AND position = {position}")
    superuser.recommit(2)
    assert words in bad(dsn, 2, position)


def test_a_changed_byte_of_steering_is_found(dsn: str, superuser: Superuser) -> None:
    """Each of its events in turn."""
    superuser.cur.execute("SELECT position FROM events WHERE journal = 2 AND originator_id !~ '^(member|programme)-'")
    positions = [position for (position,) in superuser.cur]
    assert len(positions) == 5
    for position in positions:
        superuser.execute(
            "UPDATE events SET state = set_byte(state, 20, get_byte(state, 20) # 1)"
            " WHERE journal = 2 AND position = %s",
            position,
        )
        assert "differs from its leaf_hash" in bad(dsn, 2, position)
        superuser.restore()


def test_a_survey_of_no_programme_is_found(dsn: str, superuser: Superuser) -> None:
    superuser.execute("UPDATE surveys SET programme = 'tea' WHERE programme = 'grocery'")
    assert "the table of surveys has 'tea', which has no journal" in verify(dsn).strays


def test_a_journal_given_to_another_programme_is_found(dsn: str, superuser: Superuser) -> None:
    superuser.execute("UPDATE journals SET name = 'tea' WHERE journal = 1")
    report = verify(dsn)
    assert report.journals[0].first_bad_position == 1
    assert "is an event of the programme 'coffee', not of 'tea'" in str(report.journals[0].problem)
    assert "the table of programmes has 'coffee', which has no journal" in report.strays
    assert "the table of terms has 'coffee', which has no journal" in report.strays


def test_a_journal_that_was_removed_is_found(dsn: str, superuser: Superuser) -> None:
    """Its events are strays, and its programme misses it."""
    superuser.execute("DELETE FROM journals WHERE journal = 3")
    report = verify(dsn)
    assert report.strays == ["position 1 is in journal 3, which does not exist"]
    results = {one.journal: one for one in report.journals}
    assert "recorded 2 journals; the table of journals has those of ordinal [0]" in str(results[2].problem)


def test_an_event_that_was_moved_with_its_journal_is_found(dsn: str, superuser: Superuser) -> None:
    superuser.execute("UPDATE events SET journal = 3, position = position + 100 WHERE journal = 2 AND position = 7")
    results = {one.journal: one for one in verify(dsn).journals}
    assert results[2].first_bad_position == 7
    assert results[3].first_bad_position == 107
