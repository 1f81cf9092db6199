"""kafka-python with types, and with its traps covered: the settings and the order of calls that a consumer needs.

- The metadata of the topics is fetched before `subscribe`, and polls last half a second: otherwise a join of the group
  can hang for ever, without heartbeats. `is_settled` tells, for whoever then starts again with a new client.
- No deserializer: one that raises stops the partition. A header name that is not UTF-8 would too: it comes as bytes.
- Partitions are given to us paused, so that nothing is fetched before it is known where to go on. The listener runs in
  kafka-python's own thread, which also sends heartbeats; it only takes notes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from msgspec import Struct

from consumers.reading_on import read_on
from ledger.store.sources import TopicPartition

POLL_MS: Final = 500
PARTITION_FETCH_BYTES_MAX: Final = 4 << 20
FETCH_BYTES_MAX: Final = 16 << 20
"""Bounds what one fetch brings into memory; a message larger than this comes all the same, alone."""
FETCH_BYTES_MIN: Final = 64 << 10
FETCH_WAIT_MS_MAX: Final = 20
"""A fetch waits so long for so much: one for every few messages would cost more than taking them."""
CLOSE_MS_MAX: Final = 3_000
REFRESH_MS_MAX: Final = 5_000


class Record(Protocol):
    """What is read of a message of Kafka."""

    topic: str
    partition: int
    leader_epoch: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str | bytes, bytes | None]]


class Bounds(NamedTuple):
    """The first offset that a partition still has, and the one after its last committed message."""

    begin: int
    end: int


class OutOfRange(Exception):
    """Partitions do not have the offsets asked for."""

    def __init__(self, offsets: Mapping[TopicPartition, int]) -> None:
        super().__init__(f"offsets out of range: {dict(offsets)}")
        self.offsets = dict(offsets)


class CutShort(Exception):
    """The logs of partitions were cut short, and may have gone on since: what we read of them last is not theirs."""

    def __init__(self, ends: Mapping[TopicPartition, int | None]) -> None:
        super().__init__(f"logs that were cut short: {dict(ends)}")
        self.ends = dict(ends)
        """Where each parts from what we read; None where the brokers do not know it."""


class ClientSettings(Struct, frozen=True, kw_only=True):
    """How to be a member of a group. `max_poll_interval_ms` is far below Kafka's default, so that a member that hangs
    frees its partitions; `metadata_max_age_ms` is how long a new partition goes unnoticed.
    """

    bootstrap: str
    topics: tuple[str, ...]
    group: str
    poll_records_max: int = 5_000
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 2_000
    max_poll_interval_ms: int = 60_000
    metadata_max_age_ms: int = 10_000


class GroupClient:
    """A member of a consumer group, for one thread. Partitions come paused: `open_at` lets messages come.

    Raises kafka.errors.KafkaError when the brokers cannot be reached, LookupError for a topic that is not there.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            group_id=settings.group,
            client_id="loyalty",
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=settings.poll_records_max,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            fetch_max_bytes=FETCH_BYTES_MAX,
            fetch_min_bytes=FETCH_BYTES_MIN,
            fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            metadata_max_age_ms=settings.metadata_max_age_ms,
            reconnect_backoff_max_ms=500,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        read_on(self._consumer)
        self.notes = _Assignment(self._consumer)
        try:
            self.partitions()
            self._consumer.subscribe(topics=list(settings.topics), listener=self.notes)
        except BaseException:
            self.close()
            raise

    def partitions(self) -> set[TopicPartition]:
        """All partitions of the topics, ours or not."""
        return _partitions_of(self._consumer, self._settings.topics)

    def refresh(self) -> None:
        """Ask the brokers what our topics are now; what is known of them may be `metadata_max_age_ms` old."""
        cluster = self._consumer._cluster
        if cluster.metadata_refresh_in_progress:  # asked before we were: not the answer to our question
            self._wait_for(cluster.request_update())
        self._wait_for(cluster.request_update())

    def _wait_for(self, future: Any) -> None:
        self._consumer._net.run(self._consumer._manager.wait_for, future, REFRESH_MS_MAX)

    def topic_id(self, topic: str) -> UUID | None:
        """What tells a topic from a later one of the same name, as known; None where the brokers do not say."""
        found = self._consumer._cluster.topic_id(topic)
        return found if isinstance(found, UUID) and found.int else None

    def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """What each partition holds now."""
        return _bounds_of(self._consumer, partitions)

    def poll(self, timeout_ms: int = POLL_MS) -> dict[TopicPartition, list[Record]]:
        """Messages of the open partitions, at most `poll_records_max`; none at the timeout. Keeps the membership.

        Raises OutOfRange, CutShort.
        """
        try:
            found = self._consumer.poll(timeout_ms)
        except LogTruncationError as error:
            raise _cut_short(error) from error
        except OffsetOutOfRangeError as error:
            raise OutOfRange({(p.topic, p.partition): offset for p, offset in error.args[0].items()}) from error
        return {(p.topic, p.partition): records for p, records in found.items()}

    def open_at(self, partition: TopicPartition, offset: int, leader_epoch: int) -> bool:
        """Let messages from this offset on come, where the one before it is of the leader's epoch (-1: not known);
        False where the partition is not ours any more.
        """
        with suppress(ValueError, AssertionError, KeyError):
            # As its own seek does, which takes no epoch.
            position = OffsetAndMetadata(offset, "", leader_epoch)
            self._consumer._subscription.seek(KafkaPartition(*partition), position)
            return self.resume([partition])
        return False

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Let nothing of these come; the membership and the positions stay."""
        for partition in partitions:
            with suppress(KeyError, AssertionError):
                self._consumer.pause(KafkaPartition(*partition))

    def resume(self, partitions: Iterable[TopicPartition]) -> bool:
        """Let messages of these come again, as far as they are ours; whether all are."""
        ours = True
        for partition in partitions:
            try:
                self._consumer.resume(KafkaPartition(*partition))
            except (KeyError, AssertionError):
                ours = False
        return ours

    def position(self, partition: TopicPartition) -> int | None:
        """The offset that is read next: behind control records and what was aborted. None where it is not ours.

        Raises CutShort.
        """
        try:
            found = self._consumer.position(KafkaPartition(*partition), timeout_ms=0)
        except LogTruncationError as error:
            raise _cut_short(error) from error
        except (KafkaError, KeyError, AssertionError):
            return None
        return None if found is None else int(found)

    def high_water(self, partition: TopicPartition) -> int | None:
        """The end of the partition's log, as of the last fetch."""
        try:
            found = self._consumer.highwater(KafkaPartition(*partition))
        except (KafkaError, KeyError, AssertionError):
            return None
        return None if found is None else int(found)

    def commit_courtesy(self, offsets: Mapping[TopicPartition, int], *, wait: bool = False) -> None:
        """Tell Kafka how far we are, for its own tools. Nothing depends on it, so a failure is of no consequence."""
        given = {KafkaPartition(*name): OffsetAndMetadata(offset, "", -1) for name, offset in offsets.items()}
        with suppress(KafkaError, AssertionError, KeyError):
            if wait:
                self._consumer.commit(given, timeout_ms=CLOSE_MS_MAX)
            else:
                self._consumer.commit_async(given)

    def close(self) -> None:
        """Leave the group."""
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS_MAX)


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """What kafka-python's own thread told about our partitions. `generation` counts the times they were given."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._lock = Lock()
        self.generation = 0
        self.assigned: frozenset[TopicPartition] = frozenset()
        self._unsettled_since: float | None = time.monotonic()

    def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None:
        with self._lock:
            self._unsettled_since = time.monotonic()

    def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)  # a position, so that none is asked for; nothing is fetched from it
            self._consumer.pause(partition)
        with self._lock:
            self.assigned = frozenset((p.topic, p.partition) for p in assigned)
            self.generation += 1
            self._unsettled_since = None

    def unsettled_seconds(self) -> float:
        """For how long the group has been distributing its partitions; 0 where it is not."""
        with self._lock:
            return 0.0 if self._unsettled_since is None else time.monotonic() - self._unsettled_since


class LogReader:
    """Looks at topics without being a member of any group. Raises as GroupClient does."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id="loyalty-lag",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            reconnect_backoff_max_ms=500,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        read_on(self._consumer)

    def topics(self) -> set[str]:
        """The topics there are."""
        return set(self._consumer.topics())

    def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, Bounds]:
        """What every partition of the topics holds."""
        return _bounds_of(self._consumer, _partitions_of(self._consumer, topics))

    def timestamps_ms(self, offsets: Mapping[TopicPartition, int], timeout_seconds: float) -> dict[TopicPartition, int]:
        """The timestamp of the first message at or after an offset, for the partitions that answer in time."""
        found: dict[TopicPartition, int] = {}
        self._consumer.assign([KafkaPartition(*name) for name in offsets])
        for name, offset in offsets.items():
            self._consumer.seek(KafkaPartition(*name), offset)
        deadline = time.monotonic() + timeout_seconds
        while len(found) < len(offsets) and time.monotonic() < deadline:
            for partition, records in self._consumer.poll(POLL_MS, max_records=1).items():
                name = (partition.topic, partition.partition)
                found.setdefault(name, records[0].timestamp)
                self._consumer.pause(partition)
        return found

    def close(self) -> None:
        """Close the connections."""
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS_MAX)

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cut_short(error: LogTruncationError) -> CutShort:
    return CutShort({(p.topic, p.partition): at and at.offset for p, at in error.divergent_offsets.items()})


def _partitions_of(consumer: Any, topics: Sequence[str]) -> set[TopicPartition]:
    found: set[TopicPartition] = set()
    for topic in topics:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise LookupError(f"there is no topic {topic!r}")
        found |= {(topic, number) for number in numbers}
    return found


def _bounds_of(consumer: Any, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
    asked = [KafkaPartition(*name) for name in partitions]
    if not asked:
        return {}
    begins, ends = consumer.beginning_offsets(asked), consumer.end_offsets(asked)
    return {(p.topic, p.partition): Bounds(begins[p], ends[p]) for p in asked}
