"""Refused Kafka messages as dead letters: as they came, with headers that say what was wrong with them.

The headers are those of Kafka Connect (KIP-298; text) and of Spring's DeadLetterPublishingRecoverer (numbers are
big-endian), so that their tools read them, and our own.
"""

from __future__ import annotations

import logging
import struct
from collections import defaultdict
from collections.abc import Callable
from threading import Event
from typing import Any, Final

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from msgspec import Struct

from consumers.publisher import BATCH_BYTES_MAX, Publisher
from consumers.record_batches import RecordBatch, content
from consumers.topics import WantedTopic, ensure_topics, partition_counts
from ledger.store.database import Database

SUFFIX: Final = ".dlq"
LETTERS_MAX: Final = 500
LETTERS_BYTES_MAX: Final = 8 * 1024 * 1024
UNPUBLISHABLE_MAX: Final = 1_000
STAGE: Final = "VALUE_CONVERTER"
EXCEPTION: Final = "ledger.rejections.Rejection"
SETTINGS: Final = {
    "max.message.bytes": str(16 * 1024 * 1024),  # the error headers come on top of what filled a message
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),  # a wrong clock may be what was refused
    "retention.ms": "-1",  # by the message's own time an old one would be removed within minutes of being published
    "segment.ms": str(2**63 - 1),  # and each that is a week apart from the last would begin a new file
}

_log = logging.getLogger(__name__)


class DeadLetterTooLarge(KafkaError):
    """A message was passed over; a new publisher goes on with the others."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A refused message: what it was, where it stood, and why it was refused."""

    number: int
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str | bytes, bytes | None]]
    code: str
    field: str
    reason: str
    refused_value: str


def error_headers(letter: DeadLetter) -> list[tuple[str | bytes, bytes | None]]:
    """The headers that are added, after the message's own. Texts are UTF-8."""
    message = f"{letter.code}: {letter.field}: {letter.reason}" if letter.field else f"{letter.code}: {letter.reason}"
    return [
        ("__connect.errors.topic", letter.topic.encode()),
        ("__connect.errors.partition", b"%d" % letter.partition),
        ("__connect.errors.offset", b"%d" % letter.offset),
        ("__connect.errors.stage", STAGE.encode()),
        ("__connect.errors.class.name", b"loyalty"),
        ("__connect.errors.exception.class.name", EXCEPTION.encode()),
        ("__connect.errors.exception.message", message.encode()),
        ("kafka_dlt-original-topic", letter.topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", letter.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", letter.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", letter.timestamp_ms)),
        ("kafka_dlt-exception-fqcn", EXCEPTION.encode()),
        ("kafka_dlt-exception-message", message.encode()),
        ("loyalty-error-code", letter.code.encode()),
        ("loyalty-error-field", letter.field.encode()),
        ("loyalty-error-reason", letter.reason.encode()),
        ("loyalty-error-value", letter.refused_value.encode()),
    ]


class DeadLetters:
    """Publishes refused messages to `<topic>.dlq`, in the partition that they had, and marks them when acknowledged.

    At least once: killed between the two, the same message comes again, with the same original topic, partition and
    offset. What was erased with its member is not published. `unpublishable` are the numbers of messages to pass over.
    """

    def __init__(
        self,
        database: Database,
        bootstrap: str,
        publisher: Publisher,
        unpublishable: list[int],
        say: Callable[[str], None],
    ) -> None:
        self._database = database
        self._bootstrap = bootstrap
        self._publisher = publisher
        self._say = say
        self._partitions: dict[str, int] = {}
        self._unpublishable = unpublishable

    def relay(self, stop: Event) -> int:
        """Publish all that wait; how many. Raises DeadLetterTooLarge, KafkaError, errors of the database."""
        total = 0
        while not stop.is_set() and (letters := self._read()):
            self._ensure_topics({letter.topic for letter in letters})
            published = self._publish(letters, stop)
            if published is None:
                break
            self._mark(published)
            total += len(published)
        return total

    def _read(self) -> list[DeadLetter]:
        with self._database.connection() as cur:
            cur.execute(_SELECT, (self._unpublishable, LETTERS_MAX, LETTERS_BYTES_MAX))
            return [_letter(row) for row in cur.fetchall()]

    def _publish(self, letters: list[DeadLetter], stop: Event) -> list[int] | None:
        """The numbers of those acknowledged; None when stopped. The small ones together, each large one by itself."""
        small = [letter for letter in letters if len(letter.value or b"") < BATCH_BYTES_MAX // 2]
        large = [letter for letter in letters if len(letter.value or b"") >= BATCH_BYTES_MAX // 2]
        published = [letter.number for letter in small]
        if small and not self._publisher.publish(self._lay_out(small)).wait(stop):
            return None
        for letter in large:
            try:
                if not self._publisher.publish(self._lay_out([letter])).wait(stop):
                    return None
                published.append(letter.number)
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                self._pass_over(letter, error)
        return published

    def _pass_over(self, letter: DeadLetter, error: KafkaError) -> None:
        """Leave one that the broker does not take in the table; too many of them are an error."""
        if len(self._unpublishable) >= UNPUBLISHABLE_MAX:
            raise error
        self._unpublishable.append(letter.number)
        self._say(f"Refused message {letter.number} is too large for {letter.topic + SUFFIX}; it stays in the table.")
        raise DeadLetterTooLarge from error

    def _lay_out(self, letters: list[DeadLetter]) -> dict[TopicPartition, list[RecordBatch]]:
        laid_out: dict[TopicPartition, list[RecordBatch]] = defaultdict(list)
        for letter in letters:
            topic = letter.topic + SUFFIX
            batches = laid_out[TopicPartition(topic, letter.partition % self._partitions[topic])]
            if not batches or batches[-1].size_bytes > BATCH_BYTES_MAX // 2:
                batches.append(RecordBatch(letter.timestamp_ms))
            said = content(letter.key, letter.value, [*letter.headers, *error_headers(letter)])
            batches[-1].add(said, letter.timestamp_ms)
        return laid_out

    def _ensure_topics(self, topics: set[str]) -> None:
        """Create the topics that are missing, with as many partitions as the message's own topic has."""
        unknown = {topic for topic in topics if topic + SUFFIX not in self._partitions}
        if not unknown:
            return
        counts = partition_counts(self._bootstrap, unknown)
        wanted = [
            WantedTopic(name=topic + SUFFIX, partitions=counts.get(topic, 1), settings=SETTINGS) for topic in unknown
        ]
        for topic in ensure_topics(self._bootstrap, wanted):
            self._say(f"Created topic {topic.name} ({topic.partitions} partitions) for dead letters.")
        self._partitions |= {topic.name: self._publisher.partitions(topic.name) for topic in wanted}

    def _mark(self, numbers: list[int]) -> None:
        with self._database.connection() as cur:
            cur.execute("UPDATE rejected SET relayed_at = clock_timestamp() WHERE rejected_id = ANY (%s)", (numbers,))


def waiting(database: Database) -> int:
    """How many refused messages wait to be published."""
    with database.connection() as cur:
        cur.execute(
            "SELECT count(*) FROM rejected WHERE topic IS NOT NULL AND relayed_at IS NULL AND headers IS NOT NULL"
        )
        return int((cur.fetchone() or (0,))[0])


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    number, topic, partition, offset, timestamp_ms, key, body, headers, code, field, reason, value = row
    return DeadLetter(
        number=number,
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=None if key is None else bytes(key),
        value=None if body is None else bytes(body),
        headers=msgspec.msgpack.decode(bytes(headers), type=list[tuple[Any, bytes | None]]),
        code=code,
        field=field,
        reason=reason,
        refused_value=value,
    )


_SELECT: Final = """
SELECT rejected_id, topic, partition, "offset", timestamp_ms, key, body, headers, code, coalesce(field, ''), reason,
    coalesce(value, '')
FROM rejected WHERE rejected_id IN (
    SELECT rejected_id FROM (
        SELECT rejected_id, sum(size) OVER (ORDER BY rejected_id) - size AS before
        FROM (
            SELECT rejected_id, coalesce(length(body), 0) AS size FROM rejected
            WHERE topic IS NOT NULL AND relayed_at IS NULL AND headers IS NOT NULL AND rejected_id <> ALL (%s)
            ORDER BY rejected_id LIMIT %s
        ) oldest
    ) summed WHERE before < %s
) ORDER BY rejected_id
"""
