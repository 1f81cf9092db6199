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
EACH_MAX = 2_000
KILLS_MIN = 12
SEED = 20_240_304
VICTIM = "writer to be killed"


def kill_now_and_then(dsn: str, rng: random.Random, done: Event, kills: list[int]) -> None:
    """Kill a random backend of the writers, again as soon as there is one that was not killed yet, until done."""
    connection = connect(dsn)
    with connection.cursor() as cursor:
        while not done.is_set():
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
                " AND NOT pid = ANY (%s) ORDER BY pid",
                (VICTIM, kills),
            )
            pids = [pid for (pid,) in cursor.fetchall()]
            cursor.execute("SELECT pg_sleep(%s)", (rng.uniform(0, 0.015),))  # a random instant, not a wait for anything
            if pids:
                kills.append(rng.choice(pids))
                cursor.execute("SELECT pg_terminate_backend(%s)", (kills[-1],))
    connection.close()


@pytest.mark.parametrize("journals", J)
def test_every_acknowledged_command_is_there_exactly_once(journals: int, database_dsn: str, ledger: Ledger) -> None:
    """Each thread sends a command until it is acknowledged; at the end every one is recorded once, none beside them."""
    database = Database(make_dsn(database_dsn, application_name=VICTIM))
    writer = Ledger(database)
    club = Club(ledger.database, journals).open(ledger)
    names = [f"m{number}" for number in range(THREADS)]
    done, kills = Event(), list[int]()
    killer = Thread(target=kill_now_and_then, args=(database_dsn, random.Random(SEED), done, kills))
    surfaced: list[PersistenceError] = []

    def post(submission: Submission) -> str:
        while True:
            try:
                return queue.submit(submission).status
            except PersistenceError as error:  # killed as often as it was tried
                surfaced.append(error)

    def customer(name: str) -> list[str]:
        found = [post(Submission(club.enrol(name)))]
        while len(found) <= EACH or (len(kills) < KILLS_MIN and len(found) <= EACH_MAX):
            found.append(post(Submission(club.accrue(name, f"{name}-{len(found)}", 3))))
        return found

    killer.start()
    with GroupCommit(writer) as queue, ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(names, pool.map(customer, names), strict=True))
    done.set()
    killer.join()
    told = {status for statuses in found.values() for status in statuses}
    assert told <= {"posted", "duplicate"}, f"seed {SEED}"
    assert surfaced or told == {"posted"}, "a command that was sent once and acknowledged is no duplicate"
    sent = [("pos", f"enrol-{name}") for name in names]
    sent += [("pos", f"{name}-{number}") for name in names for number in range(1, len(found[name]))]
    assert club.commands() == sorted([*sent, ("office", "create"), ("office", "terms-1")]), f"seed {SEED}"
    assert {name: each.active for name, each in club.figures().items()} == {
        name: 3 * (len(statuses) - 1) for name, statuses in found.items()
    }
    assert len(kills) >= KILLS_MIN, f"seed {SEED}"
    assert_sound(club, writer)
    writer.close()
    database.close()
