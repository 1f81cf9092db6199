"""Server processes killed at random while threads post through the group commit: acknowledged means there, once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest
from eventsourcing.persistence import PersistenceError
from psycopg2.extensions import make_dsn

from ledger.engine import Ledger
from ledger.group_commit import GroupCommit
from ledger.store.database import Database, connect
from ledger.submissions import Submission
from tests.engine.clubs import Club, J, assert_sound

THREADS = 8
EACH = 30
KILLS_MIN = 12
SEED = 20_240_304
VICTIM = "writer to be killed"


def kill_now_and_then(dsn: str, rng: random.Random, done: Event, kills: list[int]) -> None:
    """Kill a random backend of the writers, again as soon as there is one that was not killed yet, until done."""
    connection = connect(dsn)
    with connection.cursor() as cursor:
        while not done.is_set() or len(kills) < KILLS_MIN:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
                " AND NOT pid = ANY (%s) ORDER BY pid",
                (VICTIM, kills),
            )
            pids = [pid for (pid,) in cursor.fetchall()]
            if not pids and done.is_set():
                break
            cursor.execute("SELECT pg_sleep(%s)", (rng.uniform(0, 0.03),))  # a random instant, not a wait for anything
            if pids:
                kills.append(rng.choice(pids))
                cursor.execute("SELECT pg_terminate_backend(%s)", (kills[-1],))
    connection.close()


@pytest.mark.parametrize("journals", J)
def test_every_acknowledged_command_is_there_exactly_once(journals: int, database_dsn: str, ledger: Ledger) -> None:
    """Each thread sends a command until it is acknowledged; at the end every one is recorded once, none beside them."""
    print(f"seed {SEED}")
    database = Database(make_dsn(database_dsn, application_name=VICTIM))
    writer = Ledger(database)
    club = Club(ledger.database, journals).open(ledger)
    done, kills = Event(), list[int]()
    killer = Thread(target=kill_now_and_then, args=(database_dsn, random.Random(SEED), done, kills))
    surfaced: list[PersistenceError] = []

    def post(submission: Submission) -> str:
        while True:
            try:
                return queue.submit(submission).status
            except PersistenceError as error:  # killed as often as it was tried
                surfaced.append(error)

    def customer(number: int) -> list[str]:
        name = f"m{number}"
        commands = [club.enrol(name), *(club.accrue(name, f"{name}-{n}", 3) for n in range(EACH))]
        return [post(Submission(command)) for command in commands]

    killer.start()
    with GroupCommit(writer) as queue, ThreadPoolExecutor(THREADS) as pool:
        outcomes = [status for found in pool.map(customer, range(THREADS)) for status in found]
    done.set()
    killer.join()
    print(f"{len(kills)} killed, {len(surfaced)} errors surfaced, {outcomes.count('duplicate')} duplicates")
    assert set(outcomes) <= {"posted", "duplicate"}
    assert surfaced or "duplicate" not in outcomes, "a command sent once and acknowledged is no duplicate"
    sent = [("pos", f"enrol-m{n}") for n in range(THREADS)]
    sent += [("pos", f"m{n}-{number}") for n in range(THREADS) for number in range(EACH)]
    assert club.commands() == sorted([*sent, ("office", "create"), ("office", "terms-1")])
    assert {each.active for each in club.figures().values()} == {3 * EACH}
    assert len(kills) >= KILLS_MIN
    assert_sound(club, writer)
    writer.close()
    database.close()
