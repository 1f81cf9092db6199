"""Single commands from many threads: one batch, but each thread its own outcome or error."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError, PersistenceError

from ledger.engine import Ledger
from ledger.group_commit import GroupCommit, GroupCommitClosed
from ledger.store.database import Database
from ledger.submissions import Outcome, Submission
from tests.engine.clubs import Club, assert_sound, statuses, submissions
from tests.waiting import PATIENCE_SECONDS, wait_for

THREADS = 24
EACH = 10


class HeldLedger(Ledger):
    """A ledger whose first batch waits until it is let go, so that the next ones queue up behind it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[int] = []
        self.entered = Event()
        self.go_on = Event()

    def handle_into(self, outcomes: Any, submissions: Any, *, auto_enrol: bool = False) -> None:
        self.batches.append(len(submissions))
        self.entered.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        super().handle_into(outcomes, submissions, auto_enrol=auto_enrol)


def queued(
    queue: GroupCommit, ledger: HeldLedger, pool: ThreadPoolExecutor, batch: list[Submission]
) -> list[Future[Outcome]]:
    """Submit the first, and the others in a thread each while it is under way; return when all of them wait."""
    futures = [pool.submit(queue.submit, batch[0])]
    assert ledger.entered.wait(PATIENCE_SECONDS)
    futures += [pool.submit(queue.submit, submission) for submission in batch[1:]]
    wait_for(lambda: queue._queue.qsize() == len(batch) - 1)
    return futures


def test_many_threads_get_their_own_outcomes(club: Club, ledger: Ledger) -> None:
    """Every thread's commands are posted in its order, each exactly once."""
    barrier = Barrier(THREADS)

    def customer(number: int) -> list[Outcome]:
        name = f"m{number % 7}-{number}"
        barrier.wait()
        commands = [club.enrol(name), *(club.accrue(name, f"{name}-{n}", n + 1) for n in range(EACH))]
        return [queue.submit(Submission(command)) for command in commands]

    with GroupCommit(ledger) as queue, ThreadPoolExecutor(THREADS) as pool:
        outcomes = [outcome for found in pool.map(customer, range(THREADS)) for outcome in found]
    assert set(statuses(outcomes)) == {"posted"}
    assert len({(o.journal, o.first) for o in outcomes}) == THREADS * (EACH + 1)
    assert {each.active for each in club.figures().values()} == {EACH * (EACH + 1) // 2}


def test_what_waits_is_committed_together(club: Club, database: Database) -> None:
    """While one batch is under way, the commands that come are one batch behind it."""
    held = HeldLedger(database)
    with GroupCommit(held) as queue, ThreadPoolExecutor(THREADS) as pool:
        batch = submissions([club.enrol(f"m{n}") for n in range(THREADS)])
        futures = queued(queue, held, pool, batch)
        held.go_on.set()
        assert statuses([future.result(PATIENCE_SECONDS) for future in futures]) == ["posted"] * THREADS
    assert held.batches == [1, THREADS - 1]
    held.close()


def test_one_poisonous_command_fails_its_own_thread_only(club: Club, database: Database) -> None:
    """What the engine cannot handle raises in the thread that sent it; the others of its batch are posted, and no one
    is told of a duplicate that it did not send.
    """
    held = HeldLedger(database)
    good = [club.enrol(f"m{n}") for n in range(THREADS - 1)]
    poison = club.enrol("m0", id="poison", channel="\ud800")  # no UTF-8
    batch = submissions([*good[:12], poison, *good[12:]], with_body=False)
    with GroupCommit(held) as queue, ThreadPoolExecutor(THREADS) as pool:
        futures = queued(queue, held, pool, batch)
        held.go_on.set()
        with pytest.raises(UnicodeEncodeError):
            futures[12].result(PATIENCE_SECONDS)
        outcomes = [future.result(PATIENCE_SECONDS) for future in (*futures[:12], *futures[13:])]
        assert statuses(outcomes) == ["posted"] * (THREADS - 1)
        assert queue.submit(Submission(club.enrol("z"))).status == "posted"
    assert_sound(club, held)
    held.close()


def test_closing_finishes_what_was_accepted(club: Club, database: Database) -> None:
    """Whoever waits gets an outcome; whoever comes after is refused."""
    held = HeldLedger(database)
    queue = GroupCommit(held)
    with ThreadPoolExecutor(THREADS + 1) as pool:
        futures = queued(queue, held, pool, submissions([club.enrol(f"m{n}") for n in range(THREADS)]))
        closing = pool.submit(queue.close)
        wait_for(lambda: queue._closed)
        with pytest.raises(GroupCommitClosed):
            queue.submit(Submission(club.enrol("late")))
        held.go_on.set()
        closing.result(PATIENCE_SECONDS)
        assert statuses([future.result(PATIENCE_SECONDS) for future in futures]) == ["posted"] * THREADS
    queue.close()
    assert "late" not in club.folded()
    held.close()


def test_a_dead_database_is_told_to_everyone_who_waits(club: Club, database_dsn: str) -> None:
    """Once for the whole batch, not after a round of retries for each thread in turn; and the queue lives on."""
    database = Database(database_dsn)
    held = HeldLedger(database)
    is_down = Event()
    connection = database.connection

    def broken() -> Any:
        if is_down.is_set():
            raise OperationalError("the server is away")
        return connection()

    database.connection = broken  # type: ignore[method-assign]
    with GroupCommit(held) as queue, ThreadPoolExecutor(THREADS) as pool:
        batch = submissions([club.enrol(f"m{n}") for n in range(THREADS)])
        is_down.set()
        futures = queued(queue, held, pool, batch)
        held.go_on.set()
        for future in futures:
            with pytest.raises(PersistenceError, match="away"):
                future.result(PATIENCE_SECONDS)
        assert held.batches == [1, THREADS - 1]
        is_down.clear()
        assert statuses([queue.submit(submission) for submission in batch]) == ["posted"] * THREADS
    held.close()
    database.close()
