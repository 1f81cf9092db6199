"""The faults of a run, dealt by its seed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from threading import Timer

import psycopg2

from tests.faults.proxy import Fault
from tests.soak.processes import Program
from tests.soak.program import SESSION_SECONDS
from tests.soak.stage import Stage
from tests.soak.traffic import PARTITIONS, wait_for

CONSUMERS_MAX = 3
SERVER_STOP_SECONDS_MAX = 30.0
COMMIT_LOOK_SECONDS = 2.0
ARMED_SECONDS_MAX = 2.0
PAUSE_SECONDS_MAX = 1.5
"""Between two faults; often there is none, so that they fall into each other's recovery."""

RUSHES = 0.6
"""Of so many faults there is much to do when they come …"""
RUSH_SECONDS = (0.1, 0.6)
"""… which was sent so long before."""
LOCK_TIMEOUT_SECONDS = 1
"""Of everybody's connections to the database."""


class Faults:
    """Those with `only` in the names of their methods; ValueError where there is none. `counts` is what happened."""

    def __init__(self, stage: Stage, only: str = "") -> None:
        self._stage = stage
        self._pick = stage.pick
        self._only = only
        self._kinds = [kind for kind in self._all() if only in kind.__name__]
        if not self._kinds:
            raise ValueError(f"no fault has {only!r} in its name")
        self._deck: list[Callable[[], str | None]] = []
        self.counts: Counter[str] = Counter()

    def happen(self, number: int, faults: int) -> str:
        """Let the next fault happen; what it was. Every kind comes once before any comes again."""
        for program in self._stage.programs:
            program.keep_running()
        if self._pick.random() < RUSHES:
            self._stage.traffic.rush.set()
            time.sleep(self._pick.uniform(*RUSH_SECONDS))
        if number == max(faults // 2, 1) and not self._only:
            kind: str | None = self._add_partition()
        else:
            kind = None
        while kind is None:
            if not self._deck:
                self._deck = self._pick.sample(self._kinds, len(self._kinds))
            kind = self._deck.pop()()
        self.counts[kind] += 1
        time.sleep(self._pick.choice([0.0, self._pick.uniform(0, PAUSE_SECONDS_MAX)]))
        return kind

    # --- each: what it was, or None where it cannot happen now --------------------------------------------------

    def _all(self) -> list[Callable[[], str | None]]:
        return [
            self._kill_consumer, self._freeze_consumer, self._kill_relay, self._freeze_relay, self._kill_broker,
            self._stop_broker, self._pause_broker, self._terminate_backends, self._terminate_in_commit,
            self._cut_at_commit, self._cut_all, self._restart_server, self._crash_server, self._join, self._leave,
            self._hold_locks, self._cut_network, self._half_close_network, self._silence_network, self._delay_network,
            self._lose_by_retention, self._lose_the_topic,
        ]  # fmt: skip

    def _kill_consumer(self) -> str:
        return self._kill(self._pick.choice(self._stage.consumers), "consumer killed")

    def _kill_relay(self) -> str:
        return self._kill(self._stage.relay, "relay killed")

    def _kill(self, program: Program, kind: str) -> str:
        program.kill()
        program.start()
        return kind

    def _freeze_consumer(self) -> str:
        return self._freeze(
            self._pick.choice(self._stage.consumers), "consumer stopped past its session, then continued"
        )

    def _freeze_relay(self) -> str:
        return self._freeze(self._stage.relay, "relay stopped, then continued")

    def _freeze(self, program: Program, kind: str) -> str:
        program.pause()
        time.sleep(SESSION_SECONDS * self._pick.uniform(1.1, 1.6))
        program.resume()
        return kind

    def _kill_broker(self) -> str:
        self._stage.broker.kill()
        self._stage.broker.start()
        return "broker killed"

    def _stop_broker(self) -> str:
        self._stage.broker.stop()
        self._stage.broker.start()
        return "broker restarted"

    def _pause_broker(self) -> str:
        self._stage.broker.pause()
        time.sleep(self._pick.uniform(0.5, 3.0))
        self._stage.broker.resume()
        return "broker paused"

    def _terminate_backends(self) -> str:
        self._terminate(f"random() < {self._pick.uniform(0.2, 1.0):.2f}")
        return "backends terminated"

    def _terminate_in_commit(self) -> str | None:
        deadline = time.monotonic() + COMMIT_LOOK_SECONDS
        while time.monotonic() < deadline:
            if self._terminate("state = 'active' AND query LIKE '%COMMIT%'"):
                return "backend terminated in COMMIT"
        return None

    def _terminate(self, which: str) -> int:
        connection = psycopg2.connect(self._stage.dsn)
        try:
            with connection.cursor() as cur:
                cur.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    f" AND pid <> pg_backend_pid() AND {which}"
                )
                return cur.rowcount
        finally:
            connection.close()

    def _cut_at_commit(self) -> str | None:
        faults: list[Fault] = ["cut before", "cut after", "drop reply", "half close", "delay"]
        fault = self._pick.choice(faults)
        self._stage.proxy.arm(fault, b"COMMIT")
        if not self._stage.proxy.reached.wait(ARMED_SECONDS_MAX):
            return None  # it stays armed, and may be reached later
        if fault == "delay":
            Timer(self._pick.uniform(0.2, 2.0), self._stage.proxy.release).start()
        return f"connection at COMMIT: {fault}"

    def _cut_all(self) -> str:
        self._stage.proxy.cut_all(refuse=True)
        time.sleep(self._pick.uniform(0, 1.5))
        self._stage.proxy.allow()
        return "connections cut and refused"

    def _hold_locks(self) -> str:
        """Longer than those who wait for them do."""
        connection = psycopg2.connect(self._stage.dsn)
        try:
            with connection.cursor() as cur:
                tables = self._pick.choice(["loyalty.journals", "loyalty.source_partitions", "loyalty.events"])
                cur.execute(f"SET lock_timeout = 0; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
                time.sleep(LOCK_TIMEOUT_SECONDS * self._pick.uniform(1.2, 3.0))
        finally:
            connection.close()
        return "lock timeout"

    def _restart_server(self) -> str:
        self._stage.server.stop()
        self._stage.server.start()
        return "server restarted"

    def _crash_server(self) -> str:
        """SIGQUIT: every backend quits at once, nothing is written out, the next start recovers."""
        lock = self._stage.server.data_directory / "postmaster.pid"
        os.kill(int(lock.read_text().split()[0]), signal.SIGQUIT)
        wait_for(lambda: not lock.exists(), SERVER_STOP_SECONDS_MAX, "the server does not quit")
        self._stage.server.start()
        return "server crashed"

    def _join(self) -> str | None:
        if len(self._stage.consumers) == CONSUMERS_MAX:
            return None
        self._stage.new_consumer().start()
        return "consumer joined"

    def _leave(self) -> str | None:
        if len(self._stage.consumers) == 1:
            return None
        consumer = self._stage.consumers.pop(self._pick.randrange(len(self._stage.consumers)))
        consumer.end()
        return "consumer left"

    # --- the network between consumers, relay and broker --------------------------------------------------------

    def _cut_network(self) -> str:
        self._stage.network.cut_all(refuse=True)
        return self._heal_network("network to Kafka cut")

    def _half_close_network(self) -> str:
        self._stage.network.half_close_all(to_server=self._pick.random() < 0.5)
        return "network to Kafka half closed"

    def _silence_network(self) -> str:
        self._stage.network.silence()
        time.sleep(self._pick.uniform(0.5, 1.5 * SESSION_SECONDS))
        if self._pick.random() < 0.7:  # else they find out by their own time limits
            self._stage.network.cut_all()
        return self._heal_network("network to Kafka silent")

    def _delay_network(self) -> str:
        self._stage.network.delay()
        return self._heal_network("network to Kafka delayed")

    def _heal_network(self, kind: str) -> str:
        time.sleep(self._pick.uniform(0, 1.5 * SESSION_SECONDS))
        self._stage.network.allow()
        return kind

    # --- what somebody has to decide ----------------------------------------------------------------------------

    def _lose_by_retention(self) -> str:
        self._stage.losses.by_retention(self._stage.consumers, self._stage.accept_gap)
        return "retention past our offset"

    def _lose_the_topic(self) -> str:
        self._stage.losses.by_making_it_again(self._stage.accept_gap)
        return "topic made again"

    def _add_partition(self) -> str:
        with self._stage.broker.admin() as admin:
            admin.create_partitions({self._stage.topic: PARTITIONS + 1})
        return "partition added"
