"""What was refused comes out as it came in, with headers that say what was wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from consumers import dead_letters
from consumers import relay as relay_module
from consumers.relay import Relay
from ledger.store.database import Database
from tests.broker import Kafka
from tests.kafka.relaying import Topics, fresh_topics, read_all

Headers = list[tuple[str | bytes, bytes | None]]
CASES: list[tuple[bytes | None, bytes | None, Headers, int]] = [
    (b"m1", b'{"type":"purchase.v1"', [("traceparent", b"00-1")], 1_700_000_000_123),
    (None, b"\x00\xff not text", [("binary", bytes(range(256))), ("twice", b"1"), ("twice", b"2")], 0),
    (b"", b"", [("empty", b""), ("none", None), ("名前", b"utf-8")], -1),
    (b"\xfe\x00key", None, [], 4_102_444_800_000),
    (b"large", b"x" * 1_000_000, [("ce_id", b"7")], 1_700_000_000_000),
]


@pytest.fixture
def topics(kafka: Kafka) -> Iterator[Topics]:
    with fresh_topics(kafka) as names:
        kafka.create_topic(names.inbound, 2)
        yield names


def refuse(database: Database, topic: str, case: tuple[Any, ...], number: int, *, erased: bool = False) -> None:
    """A row as the consumer writes it."""
    key, value, original, timestamp_ms = case
    headers = None if erased else msgspec.msgpack.encode(original)
    with database.connection() as cur:
        cur.execute(
            "INSERT INTO rejected (digest, code, field, reason, value, partition, body, topic,"
            ' "offset", timestamp_ms, key, headers)'
            " VALUES (md5(%s)::uuid, 'INVALID_FIELD', 'lines[0].amount', 'must be a number', '\"ten\"', 1, %s, %s,"
            " %s, %s, %s, %s)",
            (str(number), value, topic, number, timestamp_ms, key, headers),
        )


def relay_of(database: Database, kafka: Kafka, topics: Topics) -> Relay:
    return Relay(database, kafka.bootstrap, topic=topics.events, balances_topic=None, partitions=1)


def test_key_value_headers_and_timestamp_are_the_original(database: Database, kafka: Kafka, topics: Topics) -> None:
    """Byte for byte, whatever they are, in the partition they had; followed by the headers that the docs name."""
    for number, case in enumerate(CASES):
        refuse(database, topics.inbound, case, number)
    relay = relay_of(database, kafka, topics)
    assert relay.run_once().dead_letters == len(CASES)
    records = read_all(kafka, topics.inbound + ".dlq")
    assert {each.partition for each in records} == {1}
    by_offset = {struct.unpack(">q", dict(each.headers)["kafka_dlt-original-offset"])[0]: each for each in records}
    for number, (key, value, headers, timestamp_ms) in enumerate(CASES):
        each = by_offset[number]
        assert (each.key, each.value, each.timestamp) == (key, value, timestamp_ms)
        assert list(each.headers[: len(headers)]) == headers
        message = b"INVALID_FIELD: lines[0].amount: must be a number"
        assert list(each.headers[len(headers) :]) == [
            ("__connect.errors.topic", topics.inbound.encode()),
            ("__connect.errors.partition", b"1"),
            ("__connect.errors.offset", b"%d" % number),
            ("__connect.errors.stage", b"VALUE_CONVERTER"),
            ("__connect.errors.class.name", b"loyalty"),
            ("__connect.errors.exception.class.name", b"ledger.rejections.Rejection"),
            ("__connect.errors.exception.message", message),
            ("kafka_dlt-original-topic", topics.inbound.encode()),
            ("kafka_dlt-original-partition", struct.pack(">i", 1)),
            ("kafka_dlt-original-offset", struct.pack(">q", number)),
            ("kafka_dlt-original-timestamp", struct.pack(">q", timestamp_ms)),
            ("kafka_dlt-exception-fqcn", b"ledger.rejections.Rejection"),
            ("kafka_dlt-exception-message", message),
            ("loyalty-error-code", b"INVALID_FIELD"),
            ("loyalty-error-field", b"lines[0].amount"),
            ("loyalty-error-reason", b"must be a number"),
            ("loyalty-error-value", b'"ten"'),
        ]


def test_marked_when_acknowledged(database: Database, kafka: Kafka, topics: Topics) -> None:
    """A second run publishes nothing again; a new refusal comes; what was erased with its member does not."""
    refuse(database, topics.inbound, CASES[0], 1)
    assert relay_of(database, kafka, topics).run_once().dead_letters == 1
    refuse(database, topics.inbound, CASES[1], 2)
    refuse(database, topics.inbound, CASES[2], 3, erased=True)
    assert dead_letters.waiting(database) == 1
    assert relay_of(database, kafka, topics).run_once().dead_letters == 1
    assert relay_of(database, kafka, topics).run_once().dead_letters == 0
    assert len(read_all(kafka, topics.inbound + ".dlq")) == 2


def test_killed_before_marking_it_comes_again(
    database: Database, kafka: Kafka, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: never lost, and the repeat has the same original topic, partition and offset."""
    refuse(database, topics.inbound, CASES[0], 1)
    with monkeypatch.context() as patch:
        patch.setattr(dead_letters.DeadLetters, "_mark", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            relay_of(database, kafka, topics).run_once()
    assert relay_of(database, kafka, topics).run_once().dead_letters == 1
    first, again = read_all(kafka, topics.inbound + ".dlq")
    assert (first.key, first.value, first.headers) == (again.key, again.value, again.headers)


def test_one_that_is_too_large_does_not_stop_the_others(database: Database, kafka: Kafka, topics: Topics) -> None:
    """A topic that somebody made with a smaller limit: it stays in the table, and that is said once."""
    kafka.create_topic(topics.inbound + ".dlq", 2, max_message_bytes=500_000)
    for number, case in [(1, CASES[4]), (2, CASES[0])]:
        refuse(database, topics.inbound, case, number)
    said: list[str] = []
    relay = Relay(database, kafka.bootstrap, topic=topics.events, balances_topic=None, say=said.append)
    assert relay.run_once().dead_letters == 1
    assert [text for text in said if "too large" in text] == [
        f"Refused message 1 is too large for {topics.inbound}.dlq; it stays in the table."
    ]
    assert dead_letters.waiting(database) == 1
    assert relay_module.lag(database, topics.events) == 0


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
