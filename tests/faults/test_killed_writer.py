"""kill -9 of a writer in the middle of its input, then the same input again: the ledger of an uninterrupted run."""

from __future__ import annotations

import multiprocessing
import random

import pytest

from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.store.database import Database
from tests.engine.clubs import Club, J, assert_sound, submissions

SEED = 7
MEMBERS = 12
COMMANDS = 800
BATCH = 40
KILLS = 2


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


def handle_all(club: Club, ledger: Ledger) -> None:
    batch = submissions(input_of(club))
    for start in range(0, len(batch), BATCH):
        ledger.handle(batch[start : start + BATCH])


def write(dsn: str, name: str, count: int) -> None:
    """A writer process: the whole input, from the start."""
    database = Database(dsn)
    club = Club(database, count)
    club.name = name
    ledger = Ledger(database)
    handle_all(club, ledger)
    ledger.close()
    database.close()


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
        process = multiprocessing.get_context("spawn").Process(target=write, args=(database_dsn, killed.name, journals))
        process.start()
        goal = total * (kill + rng.random()) / (KILLS + 1)
        while events_of(killed) < goal:
            assert process.is_alive() or events_of(killed) >= goal, f"ended with {process.exitcode}"
        process.kill()
        process.join()
        assert process.exitcode == -9
        assert events_of(killed) < total
        assert_sound(killed)
    handle_all(killed, ledger)
    assert killed.commands() == whole.commands(), f"seed {SEED}"
    assert killed.history() == whole.history()
    assert killed.figures() == whole.figures()
    assert [row[:5] for row in killed.refused()] == [row[:5] for row in whole.refused()]
    assert_sound(killed, ledger)
