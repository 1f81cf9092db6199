"""A topic whose messages Kafka loses before they were read: consumers must stop, and say which; then somebody decides.

Its own messages are purchases of members of its own, so that at the end it is known of each what became of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from eventsourcing.persistence import PersistenceError
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from consumers.kafka_client import LogReader
from ledger.codec import encode
from ledger.store import sources
from ledger.store.database import Database
from tests.broker import KafkaBroker
from tests.engine.clubs import Club
from tests.soak.processes import Program
from tests.soak.traffic import wait_for
from tests.waiting import PATIENCE_SECONDS

PARTITIONS = 2
MEMBERS = [f"l{partition}" for partition in range(PARTITIONS)]
CONFIG = {"max_message_bytes": 4 << 20}
BURST = (2, 25)


class Losses:
    """What was sent, what of it was lost, and what must have come of it."""

    def __init__(self, broker: KafkaBroker, topic: str, club: Club, database: Database, pick: random.Random) -> None:
        self.topic = topic
        self._broker = broker
        self._club = club
        self._database = database
        self._pick = pick
        self._number = 0
        self._ids: dict[tuple[int, int], str] = {}
        self._kept: list[str] = []
        self._accepted: list[tuple[int, int, int]] = []
        broker.create_topic(topic, PARTITIONS, **CONFIG)

    # --- faults ------------------------------------------------------------------------------------------------

    def by_retention(self, consumers: Sequence[Program], accept: Callable[[str, int], None]) -> None:
        """Messages are deleted while nobody consumes."""
        self._send(range(PARTITIONS))
        self._wait_until_taken()
        for consumer in consumers:
            consumer.kill()
        partition = self._pick.randrange(PARTITIONS)
        ours = self._taken()[partition].next_offset
        self._send([partition])
        begin = self._pick.randint(ours + 1, self._ends()[partition])
        with self._broker.admin() as admin:
            admin.delete_records({TopicPartition(self.topic, partition): begin})
        for offset in range(ours, begin):
            self._ids.pop((partition, offset), None)
        for consumer in consumers:
            consumer.start()
        self._wait_until_stopped([partition])
        stopped = self._taken()[partition]
        assert f"deleted offsets {ours} to {begin - 1} before they were read" in stopped.stopped, stopped
        assert stopped.next_offset == ours, f"{stopped} was moved over what is lost"
        assert self._gaps(accepted=False) == [(partition, ours, begin)]
        self._accept(partition, ours, begin, accept)
        self._wait_until_taken()

    def by_making_it_again(self, accept: Callable[[str, int], None]) -> None:
        """The topic is deleted and made again while consumers read it; what follows may be longer than what was."""
        self._send(range(PARTITIONS))
        self._wait_until_taken()
        ours = {partition: at.next_offset for partition, at in self._taken().items()}
        self._kept += self._ids.values()
        self._ids = {}
        self._broker.delete_topic(self.topic)
        self._broker.create_topic(self.topic, PARTITIONS, **CONFIG)
        self._send(range(PARTITIONS))
        self._wait_until_stopped(range(PARTITIONS))
        for partition, stopped in self._taken().items():
            assert "made again" in stopped.stopped, stopped
            assert stopped.next_offset == ours[partition], f"{stopped} was moved before anybody accepted it"
        for partition in range(PARTITIONS):
            self._accept(partition, ours[partition], 0, accept)
        self._wait_until_taken()

    def _accept(self, partition: int, first: int, to: int, accept: Callable[[str, int], None]) -> None:
        accept(self.topic, partition)
        self._accepted.append((partition, first, to))

    # --- what came of it ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """What was not lost is posted once and in order; what was lost is listed, and was accepted."""
        assert sorted(self._gaps(accepted=True)) == sorted(self._accepted)
        assert self._gaps(accepted=False) == []
        kept = [*self._kept, *self._ids.values()]
        posted = [
            str(msgspec.json.decode(row.state)["id"])
            for rows in self._club.rows()
            for row in rows
            if row.topic == "purchase-recorded.v1"
        ]
        assert sorted(id for id in posted if id.startswith("lossy-")) == sorted(kept)
        with self._database.connection() as cur:
            read = sources.stretches(cur, self.topic)
        assert sum(each.messages for each in read) == sum(each.posted for each in read) == len(kept), read
        assert not any(each.duplicate or each.rejected for each in read), read

    def is_taken(self) -> bool:
        return {partition: at.next_offset for partition, at in self._taken().items()} == self._ends()

    def _gaps(self, *, accepted: bool) -> list[tuple[int, int, int]]:
        with self._database.connection() as cur:
            found = sources.gaps(cur, self.topic)
        return [
            (gap.partition, gap.first_offset, gap.next_offset)
            for gap in found
            if (gap.accepted_at is not None) == accepted
        ]

    def _taken(self) -> dict[int, sources.Partition]:
        with self._database.connection() as cur:
            return {each.partition: each for each in sources.partitions(cur, self.topic)}

    def _ends(self) -> dict[int, int]:
        with LogReader(self._broker.bootstrap) as reader:
            return {partition: at.end for (_, partition), at in reader.bounds([self.topic]).items()}

    def _wait_until_taken(self) -> None:
        wait_for(_despite_outages(self.is_taken), PATIENCE_SECONDS, f"{self.topic} is not taken to its end")

    def _wait_until_stopped(self, partitions: Sequence[int]) -> None:
        def stopped() -> bool:
            taken = self._taken()
            return all(partition in taken and taken[partition].stopped for partition in partitions)

        what = f"partitions {partitions} of {self.topic} are not stopped"
        wait_for(_despite_outages(stopped), PATIENCE_SECONDS, what)

    def _send(self, partitions: Sequence[int]) -> None:
        producer: Any = KafkaProducer(
            bootstrap_servers=self._broker.bootstrap, acks="all", reconnect_backoff_max_ms=500
        )
        try:
            sent = []
            for partition in partitions:
                for _ in range(self._pick.randint(*BURST)):
                    self._number += 1
                    id, member = f"lossy-{self._number}", MEMBERS[partition]
                    command = self._club.buy(member, id, dollars=3, minutes=self._number / 10)
                    future = producer.send(self.topic, encode(command), member.encode(), partition=partition)
                    sent.append((id, future))
            for id, future in sent:
                told = future.get(timeout=PATIENCE_SECONDS)
                self._ids[told.partition, told.offset] = id
        finally:
            producer.close(timeout=20)


def _despite_outages(holds: Callable[[], bool]) -> Callable[[], bool]:
    def held() -> bool:
        with suppress(PersistenceError, KafkaError):
            return holds()
        return False

    return held
