"""A run: processes under traffic, faults dealt by a seed, and the check when all has settled."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Timer

import psycopg2
from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError
from msgspec import Struct
from psycopg2.extensions import make_dsn, parse_dsn

from consumers import dead_letters, relay
from consumers.kafka_client import LogReader
from ledger.engine import Ledger
from ledger.store import sources
from ledger.store.database import Database
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from tests.broker import KafkaBroker
from tests.engine.clubs import Club
from tests.faults.proxy import Fault, Proxy
from tests.faults.tcp_proxy import TcpProxy
from tests.soak.losses import Losses
from tests.soak.outcome import check
from tests.soak.processes import Program
from tests.soak.program import SESSION_SECONDS, UNFENCED
from tests.soak.traffic import PARTITIONS, TOPIC_CONFIG, Traffic, wait_for

JOURNALS = 3
CONSUMERS_MAX = 3
SETTLE_SECONDS_MAX = 240.0
SERVER_STOP_SECONDS_MAX = 30.0
COMMIT_LOOK_SECONDS = 2.0
ARMED_SECONDS_MAX = 2.0
LOCK_TIMEOUT_SECONDS = 1
PAUSE_SECONDS_MAX = 1.5
"""Between two faults; often there is none, so that they fall into each other's recovery."""

RUSHES = 0.6
"""Of so many faults there is much to do when they come …"""
RUSH_SECONDS = (0.1, 0.6)
"""… which was sent so long before."""


class Result(Struct, kw_only=True):
    """What happened in a run that ended well."""

    faults: Counter[str]
    messages: Counter[str]
    fenced: int
    ended_at_start: int
    producer_failures: int
    seconds: float


def run(
    seed: int,
    faults: int,
    broker: KafkaBroker,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    *,
    only: str = "",
    fenced: bool = True,
) -> Result:
    """Let so many faults happen, and check what came of it. AssertionError when anything is wrong.

    What the processes said is left in `folder`. `only` is a part of the names of the faults that may happen
    (`freeze_consumer`); without `fenced` it is a control (`tests.soak.unfenced`).
    """
    started = time.monotonic()
    network = TcpProxy(broker.ports.proxy, broker.ports.behind_proxy)
    with network, _server(folder) as (server, dsn), Proxy(dsn) as proxy:
        soak = _Soak(seed, broker, server, dsn, proxy, network, folder, only, fenced)
        try:
            soak.begin()
            for number in range(1, faults + 1):
                kind = soak.fault(number, faults)
                say(f"{time.monotonic() - started:7.1f} s  {number:4} of {faults}  {kind}")
            soak.settle()
            say(f"{time.monotonic() - started:7.1f} s  settled")
            soak.end()
            reference = soak.reference()
            messages = check(soak.club, soak.topic, soak.events_topic, soak.traffic, soak.losses, broker, reference)
        finally:
            soak.close()
        return Result(
            faults=soak.counts,
            messages=messages,
            fenced=sum(file.read_text(errors="replace").count("taken over by") for file in folder.glob("*.log")),
            ended_at_start=sum(each.ended_early for each in soak.programs),
            producer_failures=soak.traffic.failures,
            seconds=time.monotonic() - started,
        )


@contextmanager
def _server(folder: Path) -> Iterator[tuple[EmbeddedPostgres, str]]:
    with tempfile.TemporaryDirectory(prefix="loyalty-soak-", ignore_cleanup_errors=True) as data:
        server = EmbeddedPostgres(Path(data) / "postgres")
        try:
            dsn = server.start()
            migrate(dsn)
            with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cur:
                cur.execute("SELECT format('ALTER DATABASE %%I SET lock_timeout = %%L', current_database(), %s)",
                            (f"{LOCK_TIMEOUT_SECONDS}s",))  # fmt: skip
                cur.execute(*cur.fetchone() or ())
            yield server, dsn
        finally:
            server.stop()


class _Soak:
    """The processes and servers of one run, and what can be done to them."""

    def __init__(
        self, seed: int, broker: KafkaBroker, server: EmbeddedPostgres, dsn: str, proxy: Proxy, network: TcpProxy,
        folder: Path, only: str, fenced: bool,
    ) -> None:  # fmt: skip
        self._pick = random.Random(seed)
        self._seed = seed
        self._broker = broker
        self._server = server
        self._dsn = dsn
        self._proxy = proxy
        self._network = network
        self._folder = folder
        self._only = only
        self._environment = {} if fenced else {UNFENCED: "1"}
        self._database = Database(dsn)
        self._deck: list[Callable[[], str | None]] = []
        self.counts: Counter[str] = Counter()
        self.topic = f"soak-{os.getpid()}-{seed}"
        self.events_topic = f"{self.topic}.events"
        ledger = Ledger(self._database)
        self.club = Club(self._database, JOURNALS).open(ledger)
        ledger.close()
        broker.create_topic(self.topic, PARTITIONS, **TOPIC_CONFIG)
        self.losses = Losses(broker, f"{self.topic}.lossy", self.club, self._database, self._pick)
        # Some reach the database through the proxy, which can fail at a chosen message, or Kafka over a bad network.
        self._consumers = [self._consumer(1, proxy.dsn, broker.bootstrap), self._consumer(2, dsn, network.address)]
        self._joined = 2
        self._relay = Program("relay", ["relay", "--bootstrap", network.address, "--topic", self.events_topic,
                                        "--balances-topic", f"{self.topic}.balances", "--partitions", "3"],
                              dsn, folder)  # fmt: skip
        self.programs = [*self._consumers, self._relay]
        self.traffic = Traffic(broker.bootstrap, self.topic, self.club, seed)

    def _consumer(self, number: int, dsn: str, bootstrap: str) -> Program:
        arguments = ["consume", "--bootstrap", bootstrap, "--topic", self.topic, "--topic", self.losses.topic,
                     "--group", self.topic, "--programme", self.club.name, "--auto-enrol"]  # fmt: skip
        return Program(f"consumer-{number}", arguments, dsn, self._folder, **self._environment)

    # --- the run -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        for program in self.programs:
            program.start()
        wait_for(lambda: any(each.next_offset for each in self._partitions()), 60, "nothing is consumed")

    def fault(self, number: int, faults: int) -> str:
        """Let the next fault happen; what it was. Every kind comes once before any comes again."""
        for program in self.programs:
            program.keep_running()
        if self._pick.random() < RUSHES:
            self.traffic.rush.set()
            time.sleep(self._pick.uniform(*RUSH_SECONDS))
        if number == max(faults // 2, 1) and not self._only:
            kind: str | None = self._add_partition()
        else:
            kind = None
        while kind is None:
            if not self._deck:
                self._deck = self._pick.sample(self._kinds(), len(self._kinds()))
            kind = self._deck.pop()()
        self.counts[kind] += 1
        time.sleep(self._pick.choice([0.0, self._pick.uniform(0, PAUSE_SECONDS_MAX)]))
        return kind

    def settle(self) -> None:
        """No more faults: everything comes back, and takes and publishes what there is."""
        self._proxy.release()
        self._proxy.allow()
        self._network.allow()
        self.traffic.close()

        def settled() -> bool:
            for program in self.programs:
                program.keep_running()
            try:
                return self._is_settled()
            except (PersistenceError, KafkaError):  # our own connections broke with the others
                return False

        wait_for(settled, SETTLE_SECONDS_MAX, "it does not settle")

    def _is_settled(self) -> bool:
        with LogReader(self._broker.bootstrap) as reader:
            ends = {partition: at.end for (_, partition), at in reader.bounds([self.topic]).items()}
        taken = {each.partition: each.next_offset for each in self._partitions()}
        return (
            taken == ends
            and self.losses.is_taken()
            and not (relay.lag(self._database, self.events_topic) or dead_letters.waiting(self._database))
        )

    def end(self) -> None:
        for program in self.programs:
            program.end()
        defects = [defect for program in self.programs for defect in program.defects]
        assert not defects, "\n".join(defects)

    def close(self) -> None:
        for program in self.programs:
            program.kill()
        with suppress(Exception):  # what ended the run is what matters
            self.traffic.close()
        self._database.close()

    def reference(self) -> Database:
        """A fresh database for the reading without faults."""
        connection = psycopg2.connect(self._dsn)
        connection.autocommit = True
        with connection.cursor() as cur:
            cur.execute("CREATE DATABASE reference TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        connection.close()
        dsn = make_dsn(**{**parse_dsn(self._dsn), "dbname": "reference"})
        migrate(dsn)
        return Database(dsn)

    def _partitions(self) -> list[sources.Partition]:
        with self._database.connection() as cur:
            return sources.partitions(cur, self.topic)

    # --- faults: what it was, or None where it cannot happen now ------------------------------------------------

    def _kinds(self) -> list[Callable[[], str | None]]:
        kinds: list[Callable[[], str | None]] = [
            self._kill_consumer, self._freeze_consumer, self._kill_relay, self._freeze_relay, self._kill_broker,
            self._stop_broker, self._pause_broker, self._terminate_backends, self._terminate_in_commit,
            self._cut_at_commit, self._cut_all, self._restart_server, self._crash_server, self._join, self._leave,
            self._hold_locks, self._cut_network, self._half_close_network, self._silence_network, self._delay_network,
            self._lose_by_retention, self._lose_the_topic,
        ]  # fmt: skip
        return [kind for kind in kinds if self._only in kind.__name__]

    def _kill_consumer(self) -> str:
        return self._kill(self._pick.choice(self._consumers), "consumer killed")

    def _kill_relay(self) -> str:
        return self._kill(self._relay, "relay killed")

    def _kill(self, program: Program, kind: str) -> str:
        program.kill()
        program.start()
        return kind

    def _freeze_consumer(self) -> str:
        return self._freeze(self._pick.choice(self._consumers), "consumer stopped past its session, then continued")

    def _freeze_relay(self) -> str:
        return self._freeze(self._relay, "relay stopped, then continued")

    def _freeze(self, program: Program, kind: str) -> str:
        program.pause()
        time.sleep(SESSION_SECONDS * self._pick.uniform(1.1, 1.6))
        program.resume()
        return kind

    def _kill_broker(self) -> str:
        self._broker.kill()
        self._broker.start()
        return "broker killed"

    def _stop_broker(self) -> str:
        self._broker.stop()
        self._broker.start()
        return "broker restarted"

    def _pause_broker(self) -> str:
        self._broker.pause()
        time.sleep(self._pick.uniform(0.5, 3.0))
        self._broker.resume()
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
        connection = psycopg2.connect(self._dsn)
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
        self._proxy.arm(fault, b"COMMIT")
        if not self._proxy.reached.wait(ARMED_SECONDS_MAX):
            return None  # it stays armed, and may be reached later
        if fault == "delay":
            Timer(self._pick.uniform(0.2, 2.0), self._proxy.release).start()
        return f"connection at COMMIT: {fault}"

    def _cut_all(self) -> str:
        self._proxy.cut_all(refuse=True)
        time.sleep(self._pick.uniform(0, 1.5))
        self._proxy.allow()
        return "connections cut and refused"

    def _hold_locks(self) -> str:
        """Longer than those who wait for them do."""
        connection = psycopg2.connect(self._dsn)
        try:
            with connection.cursor() as cur:
                tables = self._pick.choice(["loyalty.journals", "loyalty.source_partitions", "loyalty.events"])
                cur.execute(f"SET lock_timeout = 0; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
                time.sleep(LOCK_TIMEOUT_SECONDS * self._pick.uniform(1.2, 3.0))
        finally:
            connection.close()
        return "lock timeout"

    def _restart_server(self) -> str:
        self._server.stop()
        self._server.start()
        return "server restarted"

    def _crash_server(self) -> str:
        """SIGQUIT: every backend quits at once, nothing is written out, the next start recovers."""
        lock = self._server.data_directory / "postmaster.pid"
        os.kill(int(lock.read_text().split()[0]), signal.SIGQUIT)
        wait_for(lambda: not lock.exists(), SERVER_STOP_SECONDS_MAX, "the server does not quit")
        self._server.start()
        return "server crashed"

    def _join(self) -> str | None:
        if len(self._consumers) == CONSUMERS_MAX:
            return None
        self._joined += 1
        dsn = self._pick.choice([self._dsn, self._proxy.dsn])
        bootstrap = self._pick.choice([self._broker.bootstrap, self._network.address])
        consumer = self._consumer(self._joined, dsn, bootstrap)
        self._consumers.append(consumer)
        self.programs.append(consumer)
        consumer.start()
        return "consumer joined"

    def _leave(self) -> str | None:
        if len(self._consumers) == 1:
            return None
        consumer = self._consumers.pop(self._pick.randrange(len(self._consumers)))
        consumer.end()
        return "consumer left"

    # --- the network between consumers, relay and broker --------------------------------------------------------

    def _cut_network(self) -> str:
        self._network.cut_all(refuse=True)
        return self._heal_network("network to Kafka cut")

    def _half_close_network(self) -> str:
        self._network.half_close_all(to_server=self._pick.random() < 0.5)
        return "network to Kafka half closed"

    def _silence_network(self) -> str:
        self._network.silence()
        time.sleep(self._pick.uniform(0.5, 1.5 * SESSION_SECONDS))
        if self._pick.random() < 0.7:  # else they find out by their own time limits
            self._network.cut_all()
        return self._heal_network("network to Kafka silent")

    def _delay_network(self) -> str:
        self._network.delay()
        return self._heal_network("network to Kafka delayed")

    def _heal_network(self, kind: str) -> str:
        time.sleep(self._pick.uniform(0, 1.5 * SESSION_SECONDS))
        self._network.allow()
        return kind

    # --- what somebody has to decide ----------------------------------------------------------------------------

    def _lose_by_retention(self) -> str:
        self.losses.by_retention(self._consumers, self._accept_gap)
        return "retention past our offset"

    def _lose_the_topic(self) -> str:
        self.losses.by_making_it_again(self._accept_gap)
        return "topic made again"

    def _accept_gap(self, topic: str, partition: int) -> None:
        Program("accept-gap", ["sources", "accept-gap", topic, str(partition)], self._dsn, self._folder).finish()

    def _add_partition(self) -> str:
        with self._broker.admin() as admin:
            admin.create_partitions({self.topic: PARTITIONS + 1})
        return "partition added"
