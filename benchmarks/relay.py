"""Relay: recorded events on to a real Kafka, and the newest balances, beside the same records sent one by one."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.measuring import fresh_database, median
from benchmarks.projections import PROGRAMME, build_log
from consumers.relay import Relay
from consumers.relayed_events import event_source
from consumers.repeats import Repeats
from consumers.topics import WantedTopic, ensure_topics
from ledger.codec import MEMBER_STREAM
from ledger.store.database import Database
from ledger.store.journal import read_light
from projections.balances import Balances
from projections.runner import Runner

EVENTS = 300_000
ONE_BY_ONE_EVENTS = 30_000
PARTITIONS = 6
ROUNDS = 3
POLL_RECORDS_MAX = 10_000
EVENTS_PER_SECOND_MIN = 30_000


def measure(server_dsn: str, kafka_bootstrap: str, events: int = EVENTS) -> dict[str, Any]:
    """Relay a log of about `events` events to fresh topics, several times, and check what they hold.

    Raises AssertionError where a topic does not hold every event once and in order; whether the figures reach their
    targets is said under `met`.
    """
    database = Database(fresh_database(server_dsn))
    try:
        journals, members = build_log(database, events)
        with database.connection() as cur:
            cur.execute("SELECT journal, position FROM journals WHERE kind = 'programme'")
            heads: dict[int, int] = dict(cur.fetchall())
        total = sum(heads.values())
        results: dict[str, Any] = {"events": total, "members": members, "journals": len(journals)}
        results |= _measure_events(database, kafka_bootstrap, heads, journals[0])
        results |= _measure_balances(database, kafka_bootstrap, total, members)
    finally:
        database.close()
    results["met"] = {"relay": results["relay_events_per_second"] >= EVENTS_PER_SECOND_MIN}
    return results


def _measure_events(database: Database, bootstrap: str, heads: dict[int, int], journal: int) -> dict[str, Any]:
    """Relays and stretches of the plain producer, taking turns, so that both meet the same machine."""
    total = sum(heads.values())
    seconds, cpu, plain = [], [], []
    topic = ""
    for _ in range(ROUNDS):
        topic = f"bench-{uuid.uuid4().hex[:12]}"
        relay = Relay(database, bootstrap, topic=topic, balances_topic=None, partitions=PARTITIONS)
        started, cpu_started = time.perf_counter(), time.process_time()
        assert relay.run_once().events == total
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
        plain.append(_one_by_one(database, bootstrap, journal))
    _check(bootstrap, topic, heads)
    return {
        "relay_events_per_second": round(total / median(seconds)),
        "relay_events_per_second_best": round(total / min(seconds)),
        "relay_python_us_per_event": round(1e6 * median(cpu) / total, 2),
        "one_by_one_events_per_second": round(median(plain)),
        "ratio_to_one_by_one": round(median([total / s / p for s, p in zip(seconds, plain, strict=True)]), 1),
    }


def _one_by_one(database: Database, bootstrap: str, journal: int) -> float:
    """The same records through kafka-python's own `send`; events/s, reading included."""
    topic, source = f"bench-{uuid.uuid4().hex[:12]}", event_source(PROGRAMME).encode()
    ensure_topics(bootstrap, [WantedTopic(name=topic, partitions=PARTITIONS)])
    with closing(KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=5,
                               batch_size=262_144, metrics_enabled=False)) as producer:  # fmt: skip
        started = time.perf_counter()
        with database.connection() as cur:
            rows = read_light(cur, journal, after=0, limit=ONE_BY_ONE_EVENTS)
        for position, stream, _, kind, state, recorded_at in rows:
            member = stream.removeprefix(MEMBER_STREAM).encode()
            producer.send(topic, state, member, [
                ("ce_specversion", b"1.0"), ("ce_id", b"%d:%d" % (journal, position)), ("ce_type", kind.encode()),
                ("ce_source", source), ("ce_subject", member), ("content-type", b"application/json"),
                ("ce_time", recorded_at.isoformat().encode()),
                ("ce_recordedtime", recorded_at.isoformat().encode()),
            ])  # fmt: skip
        producer.flush()
        return len(rows) / (time.perf_counter() - started)


def _check(bootstrap: str, topic: str, heads: dict[int, int]) -> None:
    """Every event is there once, and the positions of a journal rise in each partition."""
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, metrics_enabled=False,
                               max_poll_records=POLL_RECORDS_MAX)) as consumer:  # fmt: skip
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        repeats, seen = Repeats(), 0
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for partition, records in consumer.poll(500).items():
                seen += len(records)
                assert all(repeats.is_new(partition.partition, record.headers) for record in records), "out of order"
    assert seen == sum(heads.values()), f"{seen} records for {sum(heads.values())} events"
    reached: dict[int, int] = {}
    for (_, journal), position in repeats.positions.items():
        reached[journal] = max(reached.get(journal, 0), position)
    assert reached == heads, "the newest events are missing"


def _measure_balances(database: Database, bootstrap: str, total: int, members: int) -> dict[str, Any]:
    """Events and balances of everything, and the projection of balances that they follow, by itself."""
    started = time.perf_counter()
    Runner(database, [Balances()]).run_once()
    projecting = time.perf_counter() - started
    name = uuid.uuid4().hex[:12]
    relay = Relay(database, bootstrap, topic=f"bench-{name}-e", balances_topic=f"bench-{name}-b", partitions=PARTITIONS)
    started = time.perf_counter()
    done = relay.run_once()
    seconds = time.perf_counter() - started
    assert done.events == total
    assert done.balances >= members * 0.99, "members are missing"
    return {
        "with_balances_events_per_second": round(total / seconds),
        "balances_published": done.balances,
        "balances_projection_events_per_second": round(total / projecting),
    }
