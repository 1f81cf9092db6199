"""Whatever breaks, and however many run: every event is folded in exactly once."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.persistence import PersistenceError

from ledger.store.database import Database
from projections.balances import Balances
from projections.lifetime import Lifetime
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from projections.statement import Statement
from tests.faults.proxy import Proxy
from tests.projections.histories import History, new_journals, record
from tests.projections.test_incremental import check_against_fold
from tests.waiting import PATIENCE_SECONDS, wait_for

PROJECTIONS = (Balances(), Statement(), Lifetime())
ROOT = Path(__file__).parents[2]


class Cut:
    """A projection whose connection is cut at one of its steps, once."""

    def __init__(self, projection: Any, step: str, after_calls: int) -> None:
        self._projection = projection
        self._step = step
        self._left = after_calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._projection, name)

    def _through(self, step: str, cur: Any) -> None:
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                cur.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def prepare(self, cur: Any) -> None:
        self._projection.prepare(cur)
        self._through("prepare", cur)

    def load(self, cur: Any, batch: Any, memory: Any) -> None:
        self._projection.load(cur, batch, memory)
        self._through("load", cur)

    def write(self, cur: Any, journal: int, changes: Any) -> None:
        self._through("before write", cur)
        self._projection.write(cur, journal, changes)
        self._through("after write", cur)


def check_against_rebuild(database: Database, database_dsn: str) -> None:
    with database.connection() as cur:
        live = table_digests(cur, PROJECTIONS)
    rebuild(database_dsn, PROJECTIONS)
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == live


@pytest.mark.parametrize("step", ["prepare", "load", "before write", "after write"])
@pytest.mark.parametrize("cut", [projection.name for projection in PROJECTIONS])
def test_a_connection_cut_between_statements_leaves_nothing_half_done(
    database: Database, database_dsn: str, step: str, cut: str
) -> None:
    """The batch is rolled back with its checkpoint; the same runner, with what it remembers, goes on rightly."""
    history = History(3, 200)
    (journal,) = new_journals(database)
    record(database, journal, history.events, {})
    projections = [
        Cut(projection, step, 4) if projection.name == cut else projection
        for projection in (Balances(), Statement(), Lifetime())
    ]
    runner = Runner(database, projections, batch_events_max=20)
    with pytest.raises(PersistenceError):
        runner.run_once()
    assert 0 < runner.run_once() < len(history.events)
    check_against_fold(database, journal, history)
    check_against_rebuild(database, database_dsn)


def test_a_runner_killed_in_mid_run_is_resumed_without_loss_or_doubling(database: Database, database_dsn: str) -> None:
    """kill -9 at random instants, again and again, until a run ends by itself."""
    history = History(11, 900)
    (journal,) = new_journals(database)
    record(database, journal, history.events, {})
    program = textwrap.dedent(
        """
        import sys
        from ledger.store.database import Database
        from projections.balances import Balances
        from projections.lifetime import Lifetime
        from projections.runner import Runner
        from projections.statement import Statement
        print("started", flush=True)
        Runner(Database(sys.argv[1]), [Balances(), Statement(), Lifetime()], batch_events_max=2).run_once()
        """
    )
    killed = 0
    for attempt in range(40):
        process = subprocess.Popen([sys.executable, "-c", program, database_dsn], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=random.Random(attempt).uniform(0.05, 0.3) * (1 + attempt / 4))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        finally:
            process.stdout.close()
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert killed > 0, "nothing was killed: the test says nothing"
    assert Runner(database, PROJECTIONS).run_once() == 0
    check_against_fold(database, journal, history)
    check_against_rebuild(database, database_dsn)


def test_concurrent_runners_fold_each_event_once(database: Database, database_dsn: str) -> None:
    """Three runners, together and apart, over two journals that grow meanwhile."""
    histories = [History(seed, 250) for seed in (21, 22)]
    journals = new_journals(database, 2)
    runners = [
        Runner(database, [Balances(), Statement()], batch_events_max=7, threads=2),
        Runner(database, [Statement(), Lifetime()], batch_events_max=5),
        Runner(database, [Balances()], batch_events_max=11),
    ]
    stop, failures = threading.Event(), []

    def run(runner: Runner) -> None:
        try:
            while not stop.is_set():
                runner.run_once()
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(runner,)) for runner in runners]
    for thread in threads:
        thread.start()
    for journal, history in zip(journals, histories, strict=True):
        record(database, journal, history.events, {}, each=9)
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    Runner(database, PROJECTIONS).run_once()
    for journal, history in zip(journals, histories, strict=True):
        check_against_fold(database, journal, history)
    check_against_rebuild(database, database_dsn)


def test_following_folds_what_is_recorded_and_stops_when_told(database: Database) -> None:
    """A follower takes up new events, and a new programme, by itself."""
    history = History(31, 60)
    stop = threading.Event()
    runner = Runner(database, [Balances(), Statement()])
    follower = threading.Thread(target=runner.follow, args=(stop,))
    follower.start()
    try:
        (journal,) = new_journals(database)
        record(database, journal, history.events, {}, each=10)
        wait_for(lambda: not Runner(database, [Balances(), Statement()])._behind())
    finally:
        stop.set()
        follower.join(PATIENCE_SECONDS)
    assert not follower.is_alive()
    check_against_fold(database, journal, history)


def test_a_database_that_is_away_is_told_in_one_line(
    database: Database, database_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every time that it is tried: what failed and in which words, without a traceback. Then it goes on."""
    (journal,) = new_journals(database)
    history = History(3, 40)
    record(database, journal, history.events, {}, each=10)
    stop = threading.Event()
    with Proxy(database_dsn) as proxy:
        away = Database(proxy.dsn)
        proxy.cut_all(refuse=True)
        follower = threading.Thread(target=Runner(away, PROJECTIONS).follow, args=(stop,))
        follower.start()
        wait_for(lambda: bool(caplog.records))
        proxy.allow()
        wait_for(lambda: not Runner(database, PROJECTIONS)._behind())
        stop.set()
        follower.join(PATIENCE_SECONDS)
        away.close()
    assert not follower.is_alive()
    for each in caplog.records:
        assert each.exc_info is None
        told = r"projections: the database failed, trying again in 1.0 s: \w+Error: \S.*"
        assert re.fullmatch(told, each.getMessage())
    check_against_fold(database, journal, history)
