"""What a run plays on: the servers, the processes under test, their traffic, and how it all begins and ends."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import psycopg2
from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError
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
from tests.faults.proxy import Proxy
from tests.faults.tcp_proxy import TcpProxy
from tests.soak.losses import Losses
from tests.soak.processes import Program
from tests.soak.program import UNFENCED
from tests.soak.traffic import PARTITIONS, TOPIC_CONFIG, Traffic, wait_for
from tests.waiting import PATIENCE_SECONDS

JOURNALS = 3
SETTLE_SECONDS_MAX = 240.0


class Stage:
    """The processes and servers of one run. `pick` is what its faults are drawn with."""

    def __init__(
        self, seed: int, broker: KafkaBroker, server: EmbeddedPostgres, dsn: str, proxy: Proxy, network: TcpProxy,
        folder: Path, fenced: bool,
    ) -> None:  # fmt: skip
        self.pick = random.Random(seed)
        self.broker = broker
        self.server = server
        self.dsn = dsn
        self.proxy = proxy
        self.network = network
        self._folder = folder
        self._environment = {} if fenced else {UNFENCED: "1"}
        self.database = Database(dsn)
        self.topic = f"soak-{os.getpid()}-{seed}"
        self.events_topic = f"{self.topic}.events"
        ledger = Ledger(self.database)
        self.club = Club(self.database, JOURNALS).open(ledger)
        ledger.close()
        broker.create_topic(self.topic, PARTITIONS, **TOPIC_CONFIG)
        self.losses = Losses(broker, f"{self.topic}.lossy", self.club, self.database, self.pick)
        # Some reach the database through the proxy, which can fail at a chosen message, or Kafka over a bad network.
        self.consumers = [self._consumer(1, proxy.dsn, broker.bootstrap), self._consumer(2, dsn, network.address)]
        self._joined = 2
        self.relay = Program("relay", ["relay", "--bootstrap", network.address, "--topic", self.events_topic,
                                        "--balances-topic", f"{self.topic}.balances", "--partitions", "3"],
                              dsn, folder)  # fmt: skip
        self.programs = [*self.consumers, self.relay]
        self.traffic = Traffic(broker.bootstrap, self.topic, self.club, seed)

    def new_consumer(self) -> Program:
        """One more, which is not started."""
        self._joined += 1
        dsn = self.pick.choice([self.dsn, self.proxy.dsn])
        bootstrap = self.pick.choice([self.broker.bootstrap, self.network.address])
        consumer = self._consumer(self._joined, dsn, bootstrap)
        self.consumers.append(consumer)
        self.programs.append(consumer)
        return consumer

    def _consumer(self, number: int, dsn: str, bootstrap: str) -> Program:
        arguments = ["consume", "--bootstrap", bootstrap, "--topic", self.topic, "--topic", self.losses.topic,
                     "--group", self.topic, "--programme", self.club.name, "--auto-enrol"]  # fmt: skip
        return Program(f"consumer-{number}", arguments, dsn, self._folder, **self._environment)

    def accept_gap(self, topic: str, partition: int) -> None:
        """As the documentation has an operator do it."""
        Program("accept-gap", ["sources", "accept-gap", topic, str(partition)], self.dsn, self._folder).finish()

    # --- the run -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start everything, and wait until messages are taken."""
        for program in self.programs:
            program.start()
        wait_for(lambda: any(each.next_offset for each in self._partitions()), PATIENCE_SECONDS, "nothing is consumed")

    def settle(self) -> None:
        """No more faults: everything comes back, and takes and publishes what there is."""
        self.proxy.release()
        self.proxy.allow()
        self.network.allow()
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
        with LogReader(self.broker.bootstrap) as reader:
            ends = {partition: at.end for (_, partition), at in reader.bounds([self.topic]).items()}
        taken = {each.partition: each.next_offset for each in self._partitions()}
        return (
            taken == ends
            and self.losses.is_taken()
            and not (relay.lag(self.database, self.events_topic) or dead_letters.waiting(self.database))
        )

    def end(self) -> None:
        """Stop everything in order. AssertionError where a process ended before by itself, or does not end."""
        for program in self.programs:
            program.end()
        defects = [defect for program in self.programs for defect in program.defects]
        assert not defects, "\n".join(defects)

    def close(self) -> None:
        """Kill what still runs."""
        for program in self.programs:
            program.kill()
        with suppress(Exception):  # what ended the run is what matters
            self.traffic.close()
        self.database.close()

    def reference(self) -> Database:
        """A fresh database for the reading without faults."""
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        with connection.cursor() as cur:
            cur.execute("CREATE DATABASE reference TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        connection.close()
        dsn = make_dsn(**{**parse_dsn(self.dsn), "dbname": "reference"})
        migrate(dsn)
        return Database(dsn)

    def _partitions(self) -> list[sources.Partition]:
        with self.database.connection() as cur:
            return sources.partitions(cur, self.topic)
