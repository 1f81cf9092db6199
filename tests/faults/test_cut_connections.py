"""A connection that breaks at any message of a call: afterwards the ledger is as if nothing had happened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from eventsourcing.persistence import PersistenceError

from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.submissions import Submission
from tests.engine.clubs import Club, J, assert_cache_follows, assert_sound, statuses, submissions
from tests.faults.proxy import Fault, Proxy
from tests.waiting import PATIENCE_SECONDS

MESSAGES_MAX = 200
FAULTS: tuple[Fault, ...] = ("cut before", "cut after", "drop reply", "half close")


def busy_hour(club: Club) -> list[AnyCommand]:
    """Posted, refused and repeated commands; personal data; and three commands that need two journals where there are
    two. `a` and `b` are in different ones.
    """
    a, b = (club.members_of(ordinal, 1)[0] for ordinal in (0, 1))
    if club.count == 1:
        a, b = club.members_of(0, 2)
    return [
        club.enrol(a), club.enrol(b),
        club.redeem(a, "too-early", 10),
        club.buy(a, "buy-a"), club.buy(b, "buy-b"), club.buy(a, "buy-a"), club.buy(b, "buy-b", 7),
        club.profile(a, "profile-a", name="Ada"),
        club.transfer(a, b, "transfer", 40),
        club.redeem(a, "too-much", 70), club.redeem(b, "redeem-b", 70, minutes=4), club.accrue(a, "accrue-a", 25, 5),
        club.merge(a, b, "merge"), club.undo(a, "undo"), club.erase(a, "erase"),
    ]  # fmt: skip


EXPECTED = [
    "posted", "posted", "INSUFFICIENT_POINTS", "posted", "posted", "duplicate", "IDEMPOTENCY_CONFLICT", "posted",
    "posted", "INSUFFICIENT_POINTS", "posted", "posted", "posted", "posted", "posted",
]  # fmt: skip


def told(refused: list[tuple[Any, ...]], club: Club) -> list[Any]:
    return [(*row[:5], row[5] and row[5].replace(club.name.encode(), b"")) for row in refused]


@pytest.fixture(params=J, ids=lambda count: f"J{count}")
def quiet(request: pytest.FixtureRequest, database: Database, ledger: Ledger) -> Club:
    """A club whose busy hour nothing disturbed."""
    club = Club(database, request.param).open(ledger)
    assert statuses(ledger.handle(submissions(busy_hour(club)))) == EXPECTED
    return club


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_cut_at_any_message_is_as_one_that_was_not(
    fault: Fault, quiet: Club, proxy: Proxy, ledger: Ledger, disturbed: Ledger
) -> None:
    """Every message in turn, until a call passes without reaching the fault: the same outcomes, events and refusals,
    also where the reply to a COMMIT was lost.
    """
    for number in range(1, MESSAGES_MAX):
        club = Club(quiet.database, quiet.count).open(ledger)
        proxy.arm(fault, number)
        outcomes = disturbed.handle(submissions(busy_hour(club)))
        assert statuses(outcomes) == EXPECTED, f"{fault} at message {number}"
        assert club.history() == quiet.history(), f"{fault} at message {number}"
        assert told(club.refused(), club) == told(quiet.refused(), quiet), f"{fault} at message {number}"
        if not proxy.reached.is_set():
            break
        assert_cache_follows(club, disturbed)
    else:
        pytest.fail(f"a call sends more than {MESSAGES_MAX} messages")
    assert number > (15 if quiet.count == 1 else 60), "the fault was not reached often enough"
    assert_sound(club, ledger, disturbed)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("journals", J)
def test_a_programme_created_over_a_broken_connection(
    fault: Fault, journals: int, database: Database, proxy: Proxy, disturbed: Ledger
) -> None:
    """Creating it and publishing its terms, cut at every message: posted, once."""
    number = 0
    while number == 0 or proxy.reached.is_set():
        number += 1
        club = Club(database, journals)
        proxy.arm(fault, number)
        outcomes = disturbed.handle([Submission(club.creation()), Submission(club.terms("t"))])
        assert statuses(outcomes) == ["posted", "posted"], f"{fault} at message {number}"
        assert len(club.journals()) == journals
        assert_sound(club, disturbed)
    assert number > 10


def test_a_lost_commit_reply_does_not_decide_again(
    quiet: Club, proxy: Proxy, ledger: Ledger, disturbed: Ledger
) -> None:
    """What was refused before it could be afforded stays refused, what came twice stays a duplicate, and another writer
    that got in between does not change that.
    """
    club = Club(quiet.database, quiet.count).open(ledger)
    ledger.handle(submissions([club.enrol("a")]))
    batch = submissions([club.redeem("a", "r", 5), club.accrue("a", "w", 5), club.accrue("a", "w", 5)])
    proxy.arm("drop reply", b"COMMIT")
    assert statuses(disturbed.handle(batch)) == ["INSUFFICIENT_POINTS", "posted", "duplicate"]
    assert proxy.reached.is_set()
    assert club.figures()["a"].active == 5
    assert [row[6] for row in club.refused()] == [1]
    assert_sound(club, ledger, disturbed)


def test_a_commit_that_is_still_under_way_is_waited_for(
    quiet: Club, proxy: Proxy, ledger: Ledger, disturbed: Ledger
) -> None:
    """A COMMIT is delayed on the wire: others see nothing of it and then all, and its outcome is posted."""
    club = Club(quiet.database, quiet.count).open(ledger)
    ledger.handle(submissions([club.enrol("a")]))
    proxy.arm("delay", b"COMMIT")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(disturbed.handle, submissions([club.accrue("a", "w1", 10)]))
        assert proxy.reached.wait(PATIENCE_SECONDS)
        second = pool.submit(ledger.handle, submissions([club.redeem("a", "r1", 10)]))
        assert club.figures()["a"].balance == 0
        proxy.release()
        assert statuses(first.result(PATIENCE_SECONDS)) == ["posted"]
        assert statuses(second.result(PATIENCE_SECONDS)) == ["posted"]
    assert_sound(club, ledger, disturbed)


def test_a_database_that_stays_away_is_told_and_survived(
    quiet: Club, proxy: Proxy, ledger: Ledger, disturbed: Ledger
) -> None:
    """A clear error; and when it is back, the same call completes what it began."""
    club = Club(quiet.database, quiet.count).open(ledger)
    batch = submissions(busy_hour(club))
    disturbed.handle(batch[:5])
    proxy.cut_all(refuse=True)
    with pytest.raises(PersistenceError):
        disturbed.handle(batch)
    proxy.allow()
    outcomes = statuses(disturbed.handle(batch))
    affordable_by_now = "posted"
    assert outcomes == ["duplicate", "duplicate", affordable_by_now, "duplicate", "duplicate", *EXPECTED[5:]]
    assert_sound(club, ledger, disturbed)
