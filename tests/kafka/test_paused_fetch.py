"""A partition that was paused in the middle of what was fetched of it goes on when it is resumed."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from consumers.reading_on import read_on
from tests.broker import Kafka
from tests.waiting import PATIENCE_SECONDS

MESSAGES = 10


def test_what_was_put_aside_is_read_after_all(kafka: Kafka) -> None:
    """One message of a partition is read, then all of the other while the first is paused, then the rest of it."""
    topic = f"paused-fetch-{os.getpid()}"
    kafka.create_topic(topic, 2)
    with closing(KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")) as producer:
        for number in range(2 * MESSAGES):
            producer.send(topic, b"%d" % number, partition=number % 2)
        producer.flush(PATIENCE_SECONDS)
    with closing(KafkaConsumer(bootstrap_servers=kafka.bootstrap, enable_auto_commit=False)) as consumer:
        read_on(consumer)
        partitions = [TopicPartition(topic, number) for number in range(2)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        (first,) = _read(consumer, Counter(), 1, max_records=1)
        (other,) = set(partitions) - {first}
        consumer.pause(first)
        found = _read(consumer, Counter(), MESSAGES)
        assert found == {other: MESSAGES}
        consumer.resume(first)
        assert _read(consumer, found, 2 * MESSAGES - 1) == {first: MESSAGES - 1, other: MESSAGES}
    kafka.delete_topic(topic)


def _read(consumer: Any, found: Counter[TopicPartition], count: int, **options: int) -> Counter[TopicPartition]:
    """Poll until so many messages were found; how many of each partition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found.total() < count:
        assert time.monotonic() < deadline, f"{found} after {PATIENCE_SECONDS} s"
        found.update({partition: len(records) for partition, records in consumer.poll(500, **options).items()})
    return found
