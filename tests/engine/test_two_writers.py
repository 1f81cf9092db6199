"""Two writers on the same members: each catches up with the other under the lock, from whatever it has."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg2
import pytest

from ledger import transaction
from ledger.commands import PurchaseLine, RecordReturn, ReturnLine
from ledger.engine import Ledger
from ledger.member import STATE_LAYOUT
from ledger.store.database import Database, connect
from tests.engine.clubs import Club, assert_sound, at, statuses, submissions
from tests.waiting import PATIENCE_SECONDS

NAMES = [f"m{n}" for n in range(6)]
ROUNDS = 12


def rounds(club: Club) -> Iterator[list[object]]:
    """Batches that each depend on the one before: what was earned is spent by whoever comes next."""
    yield [club.enrol(name) for name in NAMES]
    for turn in range(ROUNDS):
        yield [club.accrue(name, f"{name}-w{turn}", 10, 1 + turn) for name in NAMES]
        yield [club.redeem(name, f"{name}-r{turn}", 10, 1 + turn) for name in NAMES]


def alternate(club: Club, *ledgers: Ledger) -> None:
    for turn, commands in enumerate(rounds(club)):
        outcomes = ledgers[turn % len(ledgers)].handle(submissions(commands))  # type: ignore[arg-type]
        assert set(statuses(outcomes)) == {"posted"}, turn
    assert {(each.balance, each.spent) for each in club.figures().values()} == {(0, 10 * ROUNDS)}


def test_writers_that_take_turns_see_what_the_other_did(club: Club, ledger: Ledger, other: Ledger) -> None:
    """Earning by one and spending by the other, every time exactly what there is."""
    alternate(club, ledger, other)
    assert_sound(club, ledger, other)


def test_more_than_a_writer_catches_up_with_drops_its_cache(
    club: Club, ledger: Ledger, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits so low that every turn passes them, and pages of a few events, nothing changes."""
    monkeypatch.setattr(transaction, "CATCH_UP_PAGE", 2)
    for events_max in (0, 3, 1_000):
        monkeypatch.setattr(transaction, "CATCH_UP_EVENTS_MAX", events_max)
        another = Club(club.database, club.count).open(ledger)
        alternate(another, ledger, other)
        assert_sound(another, ledger, other)


def test_a_gap_drops_what_is_cached_and_a_small_one_does_not(
    club: Club, ledger: Ledger, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member of the same journal that the next batch does not touch tells whether the cache was kept."""
    monkeypatch.setattr(transaction, "CATCH_UP_EVENTS_MAX", 3)
    first, second = club.members_of(0, 2)
    cache = ledger._caches[club.journal_of(first)]
    ledger.handle(submissions([club.enrol(first), club.enrol(second)]))
    other.handle(submissions([club.accrue(second, f"o{n}", 1) for n in range(3)]))
    ledger.handle(submissions([club.accrue(first, "w1", 1)]))
    assert set(cache.members) == {first, second}
    assert_sound(club, ledger, other)
    other.handle(submissions([club.accrue(second, f"p{n}", 1) for n in range(4)]))
    ledger.handle(submissions([club.accrue(first, "w2", 1)]))
    assert set(cache.members) == {first}
    assert_sound(club, ledger, other)


def test_a_tiny_cache_changes_nothing(database: Database, club: Club, other: Ledger) -> None:
    """With room for next to nothing each journal keeps one member, and every state is read again."""
    tiny = Ledger(database, cache_weight_max=2)
    alternate(club, tiny, other)
    assert all(len(tiny._caches[journal].members) <= 1 for journal in club.journals() if journal in tiny._caches)
    assert_sound(club, tiny, other)
    tiny.close()


@pytest.mark.parametrize("layout", [STATE_LAYOUT, STATE_LAYOUT + 1, STATE_LAYOUT - 1])
def test_a_cold_read_leaves_a_snapshot_that_changes_nothing(
    club: Club, ledger: Ledger, other: Ledger, database_dsn: str, monkeypatch: pytest.MonkeyPatch, layout: int
) -> None:
    """A snapshot and the events after it give what the whole fold gives; one of another layout is ignored, even where
    it could not be read.
    """
    monkeypatch.setattr(transaction, "SNAPSHOT_AFTER_EVENTS", 20)
    alternate(club, ledger)
    cold = Ledger(other.database)
    outcomes = cold.handle(submissions([club.accrue(name, f"{name}-cold", 1) for name in NAMES]))
    assert statuses(outcomes) == ["posted"] * 6
    if club.count == 1:
        assert statuses(cold.handle(submissions([club.accrue(NAMES[0], "cold", 1)]))) == ["posted"]
    with club.database.connection() as cursor:
        cursor.execute("SELECT count(*) FROM member_snapshots WHERE journal = ANY (%s)", (club.journals(),))
        assert cursor.fetchone() == (len(NAMES),)
    if layout != STATE_LAYOUT:
        change_snapshots(database_dsn, club, layout)
    colder = Ledger(other.database)
    outcomes = colder.handle(submissions([club.redeem(name, f"{name}-colder", 1, minutes=60) for name in NAMES]))
    assert statuses(outcomes) == ["posted"] * 6
    assert_sound(club, ledger, cold, colder)
    cold.close()
    colder.close()


def test_a_return_after_a_snapshot_knows_what_the_goods_had_cost(
    club: Club, ledger: Ledger, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half before and half after, by writers that read it cold: together what the line had cost."""
    monkeypatch.setattr(transaction, "SNAPSHOT_AFTER_EVENTS", 1)
    lines = [PurchaseLine(sku="A1", quantity=2, amount_minor=1_000, cost_minor=701)]
    commands = [club.enrol("a"), club.buy("a", "b1", lines=lines), *(club.accrue("a", f"w{n}", 1) for n in range(9))]
    ledger.handle(submissions(commands))
    for id, minutes, cold in (("r1", 2, other), ("r2", 3, Ledger(other.database))):
        line = ReturnLine(sku="A1", quantity=1, amount_minor=500)
        back = RecordReturn(
            id=id, source="shop", programme=club.name, member="a", occurred_at=at(minutes), purchase="b1",
            currency="USD", lines=[line],
        )  # fmt: skip
        assert statuses(cold.handle(submissions([back]))) == ["posted"]
    with club.database.connection() as cursor:
        cursor.execute("SELECT count(*) FROM member_snapshots WHERE journal = ANY (%s)", (club.journals(),))
        assert cursor.fetchone() == (1,)
    rows = [row for rows in club.rows() for row in rows if row.topic == "purchase-returned.v1"]
    assert [msgspec.json.decode(row.state)["matches"][0]["cost_minor"] for row in rows] == [350, 351]
    cold.close()


def change_snapshots(dsn: str, club: Club, layout: int) -> None:
    connection = connect(dsn)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE member_snapshots SET layout = %s, state = 'not a state' WHERE journal = ANY (%s)",
            (layout, club.journals()),
        )
        assert cursor.rowcount == len(NAMES)
    connection.close()


def test_writers_at_once(club: Club, ledger: Ledger, other: Ledger) -> None:
    """Both writers send everything at the same time: each command is posted by one and a duplicate for the other."""
    batches = [submissions(commands) for commands in rounds(club)]  # type: ignore[arg-type]

    def write(writer: Ledger) -> list[str]:
        return [status for batch in batches for status in statuses(writer.handle(batch))]

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(write, (ledger, other)))
    assert {tuple(sorted(pair)) for pair in zip(*outcomes, strict=True)} == {("duplicate", "posted")}
    assert_sound(club, ledger, other)


def write_in_a_process(dsn: str, name: str, count: int, mine: int) -> None:
    """Every second batch, as a process of its own, until it is posted: the other process has to go first."""
    database = Database(dsn)
    club = Club(database, count)
    club.name = name
    ledger = Ledger(database)
    for turn, commands in enumerate(rounds(club)):
        if turn % 2 == mine:
            batch = submissions(commands, with_body=False)  # type: ignore[arg-type]
            while any(outcome.status == "rejected" for outcome in ledger.handle(batch)):
                pass
    ledger.close()
    database.close()


def test_two_processes_on_the_same_members(club: Club, ledger: Ledger, database_dsn: str) -> None:
    """Each can only go on with what the other one has committed."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=write_in_a_process, args=(database_dsn, club.name, club.count, mine)) for mine in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == 0
    assert {(each.balance, each.spent) for each in club.figures().values()} == {(0, 10 * ROUNDS)}
    assert_sound(club, ledger)


def test_a_failure_leaves_no_state_that_did_not_happen(
    club: Club, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States that a failed transaction has changed are forgotten, in every journal it touched."""
    ledger.handle(submissions([club.enrol(name) for name in NAMES]))
    ledger.handle(submissions([club.accrue(name, f"{name}-w", 5) for name in NAMES]))

    def fail(*_: object, **__: object) -> None:
        raise psycopg2.ProgrammingError("no such thing")

    with monkeypatch.context() as patched:
        patched.setattr(transaction, "store_head", fail)
        with pytest.raises(Exception, match="no such thing"):
            ledger.handle(submissions([club.accrue(name, f"{name}-x", 5) for name in NAMES]))
    assert_sound(club, ledger)
    outcomes = ledger.handle(submissions([club.redeem(name, f"{name}-r", 6) for name in NAMES]))
    assert set(statuses(outcomes)) == {"INSUFFICIENT_POINTS"}
