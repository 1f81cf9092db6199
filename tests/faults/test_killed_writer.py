"""kill -9 of a writer in the middle of its input, then the same input again: the ledger of an uninterrupted run."""

from __future__ import annotations

import multiprocessing
import random
from threading import Event
from typing import Any

import pytest
from psycopg2.extensions import make_dsn

from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.store.database import Database
from tests.engine.clubs import Club, J, assert_sound, submissions
from tests.waiting import wait_for

SEED = 7
MEMBERS = 12
COMMANDS = 800
BATCH = 40
KILLS = 2
VICTIM = "writer to be killed"


def input_of(club: Club) -> list[AnyCommand]:
    """A day of a club; the same for every club. Some commands are refused, some come twice."""
    rng = random.Random(SEED)
    names = [f"m{n}" for n in range(MEMBERS)]
    commands: list[AnyCommand] = [club.enrol(name) for name in names]
    for number in range(COMMANDS):
        name, minutes = rng.choice(names), 1 + number / 10
        draw = rng.random()
        if draw < 0.5:
            commands.append(club.accrue(name, f"c{number}", rng.randint(1, 50), minutes))
        elif draw < 0.85:
            commands.append(club.redeem(name, f"c{number}", rng.randint(1, 60), minutes))
        elif draw < 0.95:
            commands.append(club.transfer(name, rng.choice(names), f"c{number}", rng.randint(1, 20), minutes))
        else:
            commands.append(rng.choice(commands[-20:]))
    return commands


def handle_all(club: Club, ledger: Ledger, *, but_last: int = 0) -> None:
    batch = submissions(input_of(club))
    for start in range(0, len(batch) - but_last, BATCH):
        ledger.handle(batch[start : start + BATCH])


def write(dsn: str, name: str, count: int) -> None:
    """A writer process: the input from the start, but for its last batches, before which it waits to be killed."""
    database = Database(dsn)
    club = Club(database, count)
    club.name = name
    ledger = Ledger(database)
    handle_all(club, ledger, but_last=2 * BATCH)
    Event().wait()


def wait_for_events(club: Club, goal: float, process: Any) -> None:
    """Wait until a writer has recorded so many."""
    wait_for(lambda: events_of(club) >= goal or not process.is_alive(), pause_seconds=0.0)
    assert process.is_alive(), f"ended with {process.exitcode}"


def has_connections(database: Database) -> bool:
    """Whether the server still does what a writer that was killed had sent."""
    with database.connection() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (VICTIM,))
        return cursor.fetchone() != (0,)


def events_of(club: Club) -> int:
    with club.database.connection() as cursor:
        cursor.execute("SELECT sum(position) FROM journals WHERE kind = 'programme' AND name = %s", (club.name,))
        ((events,),) = cursor.fetchall()
        return int(events)


@pytest.mark.parametrize("journals", J)
def test_a_killed_writer_that_begins_again(
    journals: int, database: Database, database_dsn: str, ledger: Ledger
) -> None:
    """Killed twice, the second time somewhat further on; the last run is left alone."""
    whole, killed = (Club(database, journals).open(ledger) for _ in range(2))
    handle_all(whole, ledger)
    rng, total = random.Random(SEED), events_of(whole)
    for kill in range(KILLS):
        victim_dsn = make_dsn(database_dsn, application_name=VICTIM)
        process = multiprocessing.get_context("spawn").Process(target=write, args=(victim_dsn, killed.name, journals))
        process.start()
        goal = total * (kill + rng.random()) / (KILLS + 1)
        wait_for_events(killed, goal, process)
        wait_for(lambda: has_connections(database))  # the one before may have come as far as this one is to come
        process.kill()
        process.join()
        assert process.exitcode == -9
        wait_for(lambda: not has_connections(database))
        assert events_of(killed) < total
        assert_sound(killed)
    handle_all(killed, ledger)
    assert killed.commands() == whole.commands(), f"seed {SEED}"
    assert killed.history() == whole.history()
    assert killed.figures() == whole.figures()
    assert [row[:5] for row in killed.refused()] == [row[:5] for row in whole.refused()]
    assert_sound(killed, ledger)
