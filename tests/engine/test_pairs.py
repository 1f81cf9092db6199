"""Commands to two members, in one journal or in two: both sides or none, and nobody waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ledger import transaction
from ledger.engine import Ledger
from tests.engine.clubs import Club, assert_sound, statuses, submissions

THREADS = 6
TRANSFERS = 12
POINTS = 1_000


@pytest.fixture
def pair(club: Club) -> tuple[str, str]:
    """Two members, in different journals where there are several, the second's before the first's."""
    if club.count == 1:
        first, second = club.members_of(0, 2)
        return first, second
    return club.members_of(5, 1)[0], club.members_of(2, 1)[0]


def sides(club: Club, id: str) -> int:
    return sum(f'"id":"{id}"'.encode() in row.state for rows in club.rows() for row in rows)


def test_a_transfer_has_two_sides(club: Club, ledger: Ledger, other: Ledger, pair: tuple[str, str]) -> None:
    """The outcome is that of the sender's journal; the sum of points stays."""
    a, b = pair
    ledger.handle(submissions([club.enrol(a), club.enrol(b), club.accrue(a, "w", POINTS)]))
    transfer = club.transfer(a, b, "t1", 300)
    (outcome,) = other.handle(submissions([transfer]))
    assert (outcome.status, outcome.journal) == ("posted", club.journal_of(a))
    assert sides(club, "t1") == 2
    assert [club.figures()[name].active for name in (a, b)] == [700, 300]
    again = ledger.handle(submissions([transfer, club.redeem(b, "r", 300, minutes=4)]))
    assert statuses(again) == ["duplicate", "posted"]
    assert_sound(club, ledger, other)


def test_a_transfer_between_its_neighbours_in_a_batch(club: Club, ledger: Ledger, pair: tuple[str, str]) -> None:
    """What came before it in the batch is there for it, and what comes after sees it."""
    a, b = pair
    commands = [
        club.enrol(a), club.enrol(b), club.accrue(a, "w", 50), club.transfer(a, b, "t1", 60),
        club.transfer(a, b, "t2", 50), club.redeem(a, "r1", 1, minutes=4), club.redeem(b, "r2", 50, minutes=4),
        club.transfer(a, "nobody", "t3", 1), club.transfer(a, a, "t4", 1), club.transfer("nobody", a, "t5", 1),
    ]  # fmt: skip
    assert statuses(ledger.handle(submissions(commands))) == [
        "posted", "posted", "posted", "INSUFFICIENT_POINTS", "posted", "INSUFFICIENT_POINTS", "posted",
        "MEMBER_UNKNOWN", "SAME_MEMBER", "MEMBER_UNKNOWN",
    ]  # fmt: skip


def test_a_merge_and_its_undoing(club: Club, ledger: Ledger, other: Ledger, pair: tuple[str, str]) -> None:
    """Points go over and come back, the second time with another writer that has to find out where they went."""
    a, b = pair
    ledger.handle(submissions([club.enrol(a), club.enrol(b), club.accrue(a, "w", 40), club.accrue(b, "w2", 2)]))
    assert statuses(ledger.handle(submissions([club.undo(a, "undo-0", 5)]))) == ["MEMBER_NOT_MERGED"]
    assert statuses(ledger.handle(submissions([club.merge(a, b, "merge")]))) == ["posted"]
    assert [club.figures()[name].balance for name in (a, b)] == [0, 42]
    undo = submissions([club.undo(a, "undo")])
    assert statuses(other.handle(undo)) == ["posted"]
    assert statuses(ledger.handle(undo)) == ["duplicate"]
    assert statuses(other.handle(undo)) == ["duplicate"]
    assert [club.figures()[name].balance for name in (a, b)] == [40, 2]
    assert_sound(club, ledger, other)


def test_neither_side_is_recorded_where_the_second_fails(
    club: Club, ledger: Ledger, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append to the last journal fails after the first one's went through."""
    a, b = pair
    ledger.handle(submissions([club.enrol(a), club.enrol(b), club.accrue(a, "w", 50)]))
    before = club.history()
    store_head = transaction.store_head

    def fail_at_the_commit(cursor, head, *, commit=False):  # type: ignore[no-untyped-def]
        if commit:
            raise RuntimeError("between the two")
        store_head(cursor, head)

    with monkeypatch.context() as patched:
        patched.setattr(transaction, "store_head", fail_at_the_commit)
        with pytest.raises(RuntimeError, match="between the two"):
            ledger.handle(submissions([club.transfer(a, b, "t1", 50)]))
    assert club.history() == before
    assert_sound(club, ledger)
    assert statuses(ledger.handle(submissions([club.transfer(a, b, "t1", 50)]))) == ["posted"]


def test_opposite_transfers_at_once_do_not_wait_for_each_other(
    club: Club, ledger: Ledger, other: Ledger, pair: tuple[str, str]
) -> None:
    """Two writers, several threads each, half of them from a to b and half back: all are handled, no point is lost."""
    a, b = pair
    ledger.handle(
        submissions([club.enrol(a), club.enrol(b), club.accrue(a, "wa", POINTS), club.accrue(b, "wb", POINTS)])
    )
    barrier = Barrier(THREADS)

    def send(number: int) -> list[str]:
        writer, (sender, receiver) = (ledger, other)[number % 2], ((a, b), (b, a))[number // 2 % 2]
        barrier.wait()
        commands = [club.transfer(sender, receiver, f"t{number}-{n}", 7) for n in range(TRANSFERS)]
        return [status for c in commands for status in statuses(writer.handle(submissions([c])))]

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = [status for found in pool.map(send, range(THREADS)) for status in found]
    assert outcomes == ["posted"] * THREADS * TRANSFERS
    assert club.points() == 2 * POINTS
    assert_sound(club, ledger, other)
