"""Programmes and terms through the one door: created once, and seen by every writer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ledger.engine import Ledger
from ledger.store import journal as log
from ledger.store.database import Database, PgCursor
from ledger.submissions import Submission
from tests.engine.clubs import Club, J, assert_sound, statuses, submissions

RACES = 6


@pytest.mark.parametrize("journals", J)
def test_one_batch_may_create_a_programme_and_use_it(database: Database, ledger: Ledger, journals: int) -> None:
    """Creation, terms, enrolment and purchase at once, each seeing the one before it."""
    club = Club(database, journals)
    commands = [club.creation(), club.terms("t"), club.enrol("a"), club.buy("a", "b1")]
    assert statuses(ledger.handle(submissions(commands))) == ["posted"] * 4
    assert len(club.journals()) == journals
    assert statuses(ledger.handle(submissions(commands))) == ["duplicate"] * 4
    assert_sound(club, ledger)


def test_commands_need_a_programme(database: Database, ledger: Ledger) -> None:
    """Missing and unknown programmes are refused, with the message kept."""
    club = Club(database, 1)
    (nameless,) = submissions([Club(database, 1).enrol("a")])
    club.name = ""
    missing = club.enrol("b")
    outcomes = ledger.handle([nameless, Submission(missing, b"body"), Submission(club.creation(), b"creation")])
    assert statuses(outcomes) == ["PROGRAMME_UNKNOWN", "PROGRAMME_MISSING", "PROGRAMME_MISSING"]
    assert [row[5] for row in club.refused()] == [b"creation", b"body"]


def test_terms_for_an_unknown_programme_are_refused(database: Database, ledger: Ledger) -> None:
    """Terms cannot create a programme."""
    assert statuses(ledger.handle(submissions([Club(database, 1).terms("t")]))) == ["PROGRAMME_UNKNOWN"]


def test_a_programme_is_created_once(club: Club, ledger: Ledger, other: Ledger) -> None:
    """The same creation again is a duplicate; another one is refused, whatever the number of journals it names."""
    for writer in (ledger, other):
        commands = [
            club.creation(),
            club.creation("create", name="another"),
            club.creation("create-2"),
            club.creation("create-3", journals=7),
        ]
        outcomes = statuses(writer.handle(submissions(commands)))
        assert outcomes == ["duplicate", "IDEMPOTENCY_CONFLICT", "PROGRAMME_EXISTS", "PROGRAMME_EXISTS"]
    assert len(club.journals()) == club.count


@pytest.mark.parametrize("counts", [(4, 4), (1, 16)], ids=["same", "different"])
def test_two_writers_that_create_at_once(
    database: Database, ledger: Ledger, other: Ledger, counts: tuple[int, int]
) -> None:
    """One creates; the other one's same input is a duplicate, its other input refused."""
    for _ in range(RACES):
        club = Club(database, counts[0])
        barrier = Barrier(2)

        def create(writer: Ledger, journals: int, club: Club = club, barrier: Barrier = barrier) -> str:
            barrier.wait()
            return statuses(writer.handle([Submission(club.creation(journals=journals))]))[0]

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(create, (ledger, other), counts))
        second = "duplicate" if counts[0] == counts[1] else "IDEMPOTENCY_CONFLICT"
        assert sorted(outcomes) == sorted(["posted", second])
        assert len(club.journals()) == counts[outcomes.index("posted")]


def test_two_writers_that_publish_terms_at_once(
    club: Club, ledger: Ledger, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first one's lock with what it read before: it gets the next version all the same."""
    append = log.append

    def append_when_the_other_waits(cursor: PgCursor, head: log.Head, records: list[log.Record]) -> None:
        if threading.current_thread() is first:
            second.start()
            wait_for_a_lock_waiter(club)
        append(cursor, head, records)

    monkeypatch.setattr("ledger.transaction.append", append_when_the_other_waits)
    outcomes: list[str] = []

    def publish(writer: Ledger, id: str) -> None:
        outcomes.extend(statuses(writer.handle([Submission(club.terms(id))])))

    first = threading.Thread(target=publish, args=(ledger, "a"))
    second = threading.Thread(target=publish, args=(other, "b"))
    first.start()
    first.join()
    second.join()
    assert outcomes == ["posted", "posted"]
    with club.database.connection() as cursor:
        cursor.execute("SELECT version FROM terms WHERE programme = %s ORDER BY version", (club.name,))
        assert [version for (version,) in cursor.fetchall()] == [1, 2, 3]


def wait_for_a_lock_waiter(club: Club) -> None:
    """Return when some transaction waits for a lock."""
    while True:
        with club.database.connection() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return


def test_terms_are_those_in_force_at_the_business_time(club: Club, ledger: Ledger) -> None:
    """Two versions: a purchase before the second begins earns by the first, whenever it is recorded."""
    second = {"effective_from": "2024-03-04T13:00:00Z", "earning": {"rate": "0.02"}}
    ledger.handle(submissions([club.terms("terms-2", second), club.enrol("a"), club.enrol("b")]))
    commands = [club.buy("a", "late", minutes=60), club.buy("b", "early", minutes=59)]
    assert statuses(ledger.handle(submissions(commands))) == ["posted"] * 2
    assert [club.figures()[name].active for name in "ab"] == [200, 100]


def test_a_time_before_all_terms_has_none(club: Club, ledger: Ledger) -> None:
    """A purchase of before the first version is refused."""
    commands = [club.enrol("a"), club.buy("a", "b1", minutes=-60 * 24 * 365 * 10)]
    assert statuses(ledger.handle(submissions(commands))) == ["posted", "TERMS_MISSING"]


def test_terms_published_by_another_writer_are_seen(club: Club, ledger: Ledger, other: Ledger) -> None:
    """In every journal, by the next transaction."""
    names = [f"m{n}" for n in range(8)]
    ledger.handle(
        submissions([*(club.enrol(name) for name in names), *(club.buy(name, f"{name}-1") for name in names)])
    )
    assert statuses(other.handle(submissions([club.terms("t2", {"earning": {"rate": "0.03"}})]))) == ["posted"]
    ledger.handle(submissions([club.buy(name, f"{name}-2", minutes=2) for name in names]))
    assert {each.active for each in club.figures().values()} == {400}


def test_programmes_called_by_their_own_names(database: Database, ledger: Ledger) -> None:
    """A programme's label is no part of finding its terms: two labelled as they are called write side by side."""
    clubs = [Club(database, 1), Club(database, 16)]
    for club in clubs:
        ledger.handle([Submission(club.creation(name=club.name)), Submission(club.terms("t"))])
        assert statuses(ledger.handle(submissions([club.enrol("a"), club.buy("a", "b1")]))) == ["posted"] * 2
    for club in clubs:
        assert statuses(ledger.handle(submissions([club.buy("a", "b2")]))) == ["posted"]
        assert_sound(club, ledger)


def test_a_writer_reads_the_terms_again_only_when_they_changed(
    club: Club, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling terms is slow beside a small transaction."""
    ledger.handle(submissions([club.enrol("a")]))
    monkeypatch.setattr("ledger.transaction.read_programme", None)
    assert statuses(ledger.handle(submissions([club.buy("a", "b1")]))) == ["posted"]
