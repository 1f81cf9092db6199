"""Publishing to Kafka in whole batches, each partition strictly in order, everything acknowledged or an error.

One batch of a partition is under way at a time. So what the topic holds of an unfinished stretch is always its
beginning, never a part with a hole before it, and whoever reads the topic back knows what is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any, Final

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder

from consumers.record_batches import RecordBatch

BATCH_BYTES_MAX: Final = 700_000
"""Of a batch of more than one record; brokers take 1 MiB unless they are told otherwise."""
REQUEST_BYTES_MAX: Final = 32 * 1024 * 1024
RECONNECT_PAUSE_MS_MAX: Final = 1_000
DELIVERY_TIMEOUT_MS: Final = 24 * 60 * 60 * 1000
CLOSE_SECONDS_MAX: Final = 2.0
_WAIT_SECONDS: Final = 0.2
_MAGIC: Final = 2


class Publication:
    """Batches on their way. `next_offsets` says after `wait` where each of their partitions ended with them."""

    def __init__(self, publisher: Publisher, waiting: Mapping[TopicPartition, Sequence[RecordBatch]]) -> None:
        self._publisher = publisher
        self._waiting = {partition: deque(batches) for partition, batches in waiting.items() if batches}
        self._sent: dict[TopicPartition, Any] = {}
        self.next_offsets: dict[TopicPartition, int] = {}
        self._send_next()

    def wait(self, stop: Event | None = None) -> bool:
        """Wait until the broker acknowledged everything, however long it is away; False when `stop` was set before.

        Raises the KafkaError of a batch that the broker refused; then the publisher must be closed.
        """
        while self._sent:
            for partition, batch in list(self._sent.items()):
                while not batch.produce_future.wait(_WAIT_SECONDS):
                    if stop is not None and stop.is_set():
                        return False
                self._finish(partition, batch)
            self._send_next()
        return True

    def _finish(self, partition: TopicPartition, batch: Any) -> None:
        base_offset, _, error_of = batch.produce_future.value
        if error_of is not None:
            raise error_of(0)
        if base_offset >= 0:  # a batch that was acknowledged before may come back without its offset
            self.next_offsets[partition] = base_offset + batch.record_count
        del self._sent[partition]

    def _send_next(self) -> None:
        for partition, batches in list(self._waiting.items()):
            if partition not in self._sent:
                self._sent[partition] = self._publisher.enqueue(partition, batches.popleft())
                if not batches:
                    del self._waiting[partition]
        self._publisher.wake()


class Publisher:
    """An idempotent producer (`acks=all`). A broker that is away for up to a day is waited for; for one thread."""

    def __init__(self, bootstrap: str, *, compression: str | None = None) -> None:
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            compression_type=compression,
            batch_size=BATCH_BYTES_MAX,
            max_request_size=REQUEST_BYTES_MAX,
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            retries=2**31 - 1,
            reconnect_backoff_max_ms=RECONNECT_PAUSE_MS_MAX,
            metrics_enabled=False,
        )
        # A batch that is too large for its topic is refused, not split: nobody would learn when its parts arrived.
        self._producer._sender._can_split = _never

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises a KafkaError when no broker says so within a minute."""
        found = self._producer.partitions_for(topic)
        if not found:
            raise KafkaTimeoutError(f"topic {topic!r}: the broker names no partitions")
        return len(found)

    def publish(self, batches: Mapping[TopicPartition, Sequence[RecordBatch]]) -> Publication:
        """Send batches; their content may not change any more. The one before must have been waited for."""
        return Publication(self, batches)

    def close(self) -> None:
        """Close the connections; what was not acknowledged may or may not arrive."""
        self._producer.close(timeout=CLOSE_SECONDS_MAX)

    def enqueue(self, partition: TopicPartition, records: RecordBatch) -> Any:
        """Hand a batch to the producer's sender as if its records had been sent one by one, which costs far more."""
        accumulator = self._producer._accumulator
        builder = MemoryRecordsBuilder(_MAGIC, self._producer.config["compression_attrs"], BATCH_BYTES_MAX)
        inner = builder._builder
        inner._buffer += records.body()
        inner._first_timestamp, inner._max_timestamp = records.timestamp_ms, records.newest_ms
        inner._num_records, inner._last_offset = records.count, records.count - 1
        builder._next_offset = records.count
        batch = ProducerBatch(partition, builder)
        with accumulator._tp_lock(partition):
            accumulator._batches[partition].append(batch)
            accumulator._incomplete.add(batch)
        return batch

    def wake(self) -> None:
        """Have the sender look for work."""
        self._producer._sender.wakeup()


def _never(*_: Any) -> bool:
    return False


def close_quietly(publisher: Publisher | None) -> None:
    """Close a publisher that failed: its error is known already."""
    if publisher is not None:
        try:
            publisher.close()
        except KafkaError:
            return
