"""Journals to relay, and what the topics hold afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from consumers.reading_on import read_on
from ledger.codec import MEMBER_STREAM
from ledger.store import journal as log
from ledger.store.database import Database
from tests.broker import Kafka
from tests.projections.histories import History, new_journals, record
from tests.waiting import PATIENCE_SECONDS, wait_for

_names = count(1)


class Topics(NamedTuple):
    """The topics of one test."""

    events: str
    balances: str
    inbound: str


@contextmanager
def fresh_topics(kafka: Kafka) -> Iterator[Topics]:
    """Names that no other test has; the topics are removed afterwards."""
    name = f"relay-{os.getpid()}-{next(_names)}"
    topics = Topics(f"{name}.events", f"{name}.balances", f"{name}.inbound")
    yield topics
    with kafka.admin() as admin:
        made = [topic for topic in admin.list_topics() if topic.startswith(f"{name}.")]
        if made:
            admin.delete_topics(made)


class Histories:
    """Journals with random events of several members each, to which more can be added."""

    def __init__(self, database: Database, journals: int = 3, commands: int = 120) -> None:
        self.database = database
        self.journals = new_journals(database, journals)
        self._histories = [History(seed, commands, members=9) for seed in range(journals)]
        self._versions: list[dict[str, int]] = [{} for _ in self.journals]
        self._recorded = [0] * journals
        self.record()

    def more(self, commands: int) -> None:
        for history in self._histories:
            history.more(commands)
        self.record()

    def record(self) -> None:
        """Append what the histories have that the journals have not."""
        for number, journal in enumerate(self.journals):
            events = self._histories[number].events
            record(self.database, journal, events[self._recorded[number] :], self._versions[number], each=40)
            self._recorded[number] = len(events)

    def rows(self) -> list[log.EventRow]:
        """Everything recorded, by journal and position."""
        with self.database.connection() as cur:
            return [row for journal in self.journals for row in log.read(cur, journal, after=0, limit=1_000_000)]


def ids_of(rows: list[log.EventRow]) -> list[bytes]:
    return [b"%d:%d" % (row.journal, row.position) for row in rows]


def member_of(row: log.EventRow) -> str:
    return row.originator_id.removeprefix(MEMBER_STREAM)


def read_all(kafka: Kafka, topic: str) -> list[Any]:
    """The records of all partitions of a topic, by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, enable_auto_commit=False, reconnect_backoff_max_ms=500)
    read_on(consumer)
    try:
        partitions = partitions_of(consumer, topic)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records: list[Any] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            assert time.monotonic() < deadline, f"{len(records)} records of {ends} after {PATIENCE_SECONDS} s"
            records += [each for polled in consumer.poll(500).values() for each in polled]
        return sorted(records, key=lambda each: (each.partition, each.offset))
    finally:
        consumer.close()


def partitions_of(consumer: Any, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, as soon as the broker names them."""
    found: set[int] = set()

    def is_named() -> bool:
        with suppress(KafkaError):
            found.update(consumer.partitions_for_topic(topic))
        return bool(found)

    wait_for(is_named)
    return [TopicPartition(topic, number) for number in sorted(found)]


def header(each: Any, name: str) -> bytes | None:
    values = [value for key, value in each.headers if key == name]
    assert len(values) <= 1, each.headers
    return values[0] if values else None
