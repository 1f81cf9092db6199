"""From the topic through consumer, table and relay to the dead letters: what was refused comes out as it came in."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import pytest
from kafka import TopicPartition

from consumers.publisher import Publisher
from consumers.record_batches import RecordBatch, content
from consumers.rejected import find_rejected, open_numbers, retry
from consumers.relay import Relay
from ledger.codec import encode
from ledger.engine import Ledger
from ledger.store.database import Database
from tests.broker import Kafka
from tests.kafka.inflow import Inflow
from tests.kafka.relaying import header, read_all
from tests.kafka.test_dead_letters import CASES, Headers

RAW_NAME = b"\xff\xfename"
ANY_TIME = {"message_timestamp_after_max_ms": 2**63 - 1}


@pytest.fixture
def inflow(kafka: Kafka, ledger: Ledger) -> Inflow:
    return Inflow(kafka, ledger, 3, partitions=2, **ANY_TIME)


def send(
    inflow: Inflow, messages: list[tuple[bytes | None, bytes | None, Headers, int]], *, compression: str | None = None
) -> None:
    """One batch into partition 1. A producer cannot write all of it, and brokers take it all."""
    batch = RecordBatch(messages[0][3])
    for key, value, headers, timestamp_ms in messages:
        batch.add(content(key, value, headers), timestamp_ms)
    publisher = Publisher(inflow.kafka.bootstrap, compression=compression)
    publisher.partitions(inflow.topic)  # it sends to partitions that it knows
    assert publisher.publish({TopicPartition(inflow.topic, 1): [batch]}).wait()
    publisher.close()


def purchase(inflow: Inflow, id: str, headers: Headers) -> tuple[bytes, bytes, Headers, int]:
    return b"m1", encode(inflow.club.buy("m1", id)), headers, 1_700_000_000_000


def relayed(database: Database, inflow: Inflow) -> list[Any]:
    events = f"{inflow.topic}.events"
    Relay(database, inflow.kafka.bootstrap, topic=events, balances_topic=None, partitions=1).run_once()
    return read_all(inflow.kafka, f"{inflow.topic}.dlq")


def test_refused_messages_come_out_as_they_went_in(database: Database, inflow: Inflow) -> None:
    """Key, value, headers, timestamp and partition, with what was wrong after them; good ones do not come out."""
    send(inflow, [*CASES, purchase(inflow, "good", [])])
    progress = inflow.consume()
    assert (progress.posted, progress.rejected) == (1, len(CASES))
    letters, codes = relayed(database, inflow), Counter[str]()
    assert len(letters) == len(CASES)
    for offset, ((key, value, headers, timestamp_ms), each) in enumerate(zip(CASES, letters, strict=True)):
        assert (each.key, each.value, each.timestamp, each.partition) == (key, value, timestamp_ms, 1)
        assert list(each.headers[: len(headers)]) == headers
        assert header(each, "__connect.errors.topic") == inflow.topic.encode()
        assert header(each, "__connect.errors.offset") == b"%d" % offset
        assert header(each, "kafka_dlt-original-timestamp") == struct.pack(">q", timestamp_ms)
        code, message = header(each, "loyalty-error-code"), header(each, "__connect.errors.exception.message")
        assert code
        assert message
        assert message.startswith(code + b": ")
        codes[code.decode()] += 1
    assert codes == progress.codes


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_header_whose_name_is_not_utf8_is_refused(
    database: Database, ledger: Ledger, inflow: Inflow, compression: str | None
) -> None:
    """It stops nothing: those around it are taken, and it comes out byte for byte; tried again it is refused again."""
    odd: Headers = [("traceparent", b"00-1"), (RAW_NAME, b"\x00value"), (RAW_NAME, None), ("名前", b"")]
    send(
        inflow,
        [purchase(inflow, "before", []), purchase(inflow, "odd", odd), purchase(inflow, "after", [("a", b"x" * 300)])],
        compression=compression,
    )
    send(inflow, [purchase(inflow, "later", [])])
    progress = inflow.consume(poll_records_max=1)
    assert (progress.posted, dict(progress.codes)) == (3, {"NOT_UTF8": 1})
    assert list(inflow.posted_ids().values()) == [["before", "after", "later"]]
    (number,) = open_numbers(database)
    found = find_rejected(database, number)
    assert found is not None
    assert found.place is not None
    assert (found.field, found.id, found.member, list(found.place.headers)) == ("headers", "odd", "m1", odd)
    (again,) = retry(ledger, [number])
    assert again.outcome is not None
    assert again.outcome.status == "rejected"
    (letter,) = relayed(database, inflow)
    assert (letter.key, letter.value, letter.timestamp) == (*purchase(inflow, "odd", [])[:2], 1700000000000)
    assert list(letter.headers[: len(odd)]) == odd
    assert header(letter, "loyalty-error-code") == b"NOT_UTF8"
    assert header(letter, "loyalty-error-value") == b"bytes ff fe 6e 61 6d 65"
