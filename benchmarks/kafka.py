"""Kafka → ledger: committed purchases/s beside the same messages from memory, one consumer and two, and the latency
from a producer to a balance that can be read. On a real broker on the same machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks import relay
from benchmarks.ingest import StockLoyalty, ingest, stock_environment
from benchmarks.measuring import fresh_database, median
from benchmarks.purchases import PROGRAMME, create_programme, purchases
from consumers.kafka_client import ClientSettings
from consumers.kafka_in import Consumer, ConsumeSettings
from ledger.engine import Ledger
from ledger.store import journal as log
from ledger.store import sources
from ledger.store.database import Database
from projections.balances import Balances
from tests.broker import Kafka, KafkaBroker

JOURNALS = 4
PARTITIONS = 4
MESSAGES = 300_000
MESSAGES_PER_MEMBER = 10
STOCK_MESSAGES = 3_000
ROUNDS = 3
LATENCY_PER_SECOND = 2_000
LATENCY_SECONDS = 10.0
LATENCY_MEMBERS = 2_000
WARM_SECONDS = 2.0
LOOK_SECONDS = 0.004
WAIT_SECONDS_MAX = 60.0
POLL_RECORDS_MAX = 5_000
CONSUMED_PER_SECOND_MIN = 15_000
RATIO_TO_MEMORY_MIN = 0.75
TWO_TO_ONE_MIN = 1.3
LATENCY_MS_P99_MAX = 250
ROOT = Path(__file__).parent.parent


def measure(server_dsn: str, messages: int = MESSAGES, rounds: int = ROUNDS) -> dict[str, Any]:
    """Rates in messages/s and latencies in ms; whether they reach their targets is said under `met`.

    Raises AssertionError where a message is missing or counted twice.
    """
    with KafkaBroker() as broker:
        results = _rates(server_dsn, broker, messages, rounds)
        results |= _processes(server_dsn, broker, messages, rounds)
        runs = sorted((_latency(server_dsn, broker) for _ in range(rounds)), key=lambda run: run["latency_ms_p99"])
        results |= runs[len(runs) // 2] | {"latency_runs_ms_p99": [run["latency_ms_p99"] for run in runs]}
    results["met"] = {
        "consumed": results["consumed_per_second"] >= CONSUMED_PER_SECOND_MIN,
        "ratio_to_memory": results["ratio_to_memory"] >= RATIO_TO_MEMORY_MIN,
        "two_to_one": results["ratio_two_to_one"] >= TWO_TO_ONE_MIN,
        "latency": results["latency_ms_p99"] < LATENCY_MS_P99_MAX,
    }
    return results


def measure_relay(server_dsn: str) -> dict[str, Any]:
    """`benchmarks.relay` on a broker of its own."""
    with KafkaBroker() as broker:
        return relay.measure(server_dsn, broker.bootstrap)


# --- one consumer, beside others ------------------------------------------------------------------------------------


def _rates(server_dsn: str, broker: Kafka, messages: int, rounds: int) -> dict[str, Any]:
    """The contenders take turns, each with the same messages."""
    from_kafka, from_memory = Target(server_dsn), Target(server_dsn)
    stock = StockLoyalty(env=stock_environment(fresh_database(server_dsn)))
    rates: dict[str, list[float]] = {"consumed": [], "from_memory": [], "polled": [], "stock": []}
    try:
        for number in range(rounds + 1):  # the first warms
            bodies = purchases(messages, messages // MESSAGES_PER_MEMBER, first=number * messages)
            topic = _filled_topic(broker, bodies)
            found = {
                "from_memory": messages / _seconds(lambda some=bodies: ingest(from_memory.ledger, some)),  # type: ignore[misc]
                "consumed": messages / _consume(from_kafka.ledger, broker, topic, messages),
                "polled": messages / _poll(broker, topic, messages),
                "stock": STOCK_MESSAGES / _poll(broker, topic, STOCK_MESSAGES, stock),
            }
            if number:
                for name, rate in found.items():
                    rates[name].append(rate)
            broker.delete_topic(topic)
        checked = from_kafka.check((rounds + 1) * messages)
    finally:
        stock.close()
        from_kafka.close()
        from_memory.close()
    return {
        **{f"{name}_per_second": round(median(values)) for name, values in rates.items()},
        "ratio_to_memory": round(_ratio(rates["consumed"], rates["from_memory"]), 3),
        "ratio_to_polled": round(_ratio(rates["consumed"], rates["polled"]), 3),
        "ratio_to_stock": round(_ratio(rates["consumed"], rates["stock"]), 1),
        "messages_a_round": messages,
        "message_bytes": len(purchases(1, 1)[0]),
        "partitions": PARTITIONS,
        "journals": JOURNALS,
        "rounds": rounds,
        "checked": checked,
    }


class Target:
    """A ledger on a database of its own."""

    def __init__(self, server_dsn: str) -> None:
        self.dsn = fresh_database(server_dsn)
        self.database = Database(self.dsn)
        self.ledger = Ledger(self.database)
        create_programme(self.ledger, JOURNALS)

    def close(self) -> None:
        self.ledger.close()
        self.database.close()

    def check(self, messages: int) -> str:
        """Every message was posted once, and is counted once; and no offset is missing."""
        with self.database.connection() as cur:
            cur.execute(
                "SELECT count(*) FILTER (WHERE topic = 'purchase-recorded.v1'),"
                " count(command_key) = count(DISTINCT command_key) FROM events"
            )
            assert cur.fetchone() == (messages, True)
            stretches, gaps = sources.stretches(cur), sources.gaps(cur)
        assert sum(each.posted for each in stretches) == sum(each.messages for each in stretches) == messages
        assert sum(each.taken for each in stretches) == messages
        assert gaps == []
        return f"{messages} messages, each posted and counted once"


def _filled_topic(broker: Kafka, bodies: list[bytes]) -> str:
    """A new topic with messages keyed by member."""
    topic = f"bench-{uuid.uuid4().hex[:12]}"
    broker.create_topic(topic, PARTITIONS)
    with closing(producer_to(broker)) as producer:
        for body in bodies:
            producer.send(topic, body, key=key_of(body))
        producer.flush()
    return topic


def key_of(body: bytes) -> bytes:
    start = body.index(b'"member":"') + 10
    return body[start : body.index(b'"', start)]


def producer_to(broker: Kafka, **settings: Any) -> KafkaProducer:
    given = {"acks": "all", "linger_ms": 5, "batch_size": 262_144, "metrics_enabled": False} | settings
    return KafkaProducer(bootstrap_servers=broker.bootstrap, **given)


def _settings(broker: Kafka, topic: str, **settings: Any) -> ConsumeSettings:
    client = ClientSettings(bootstrap=broker.bootstrap, topics=(topic,), group=topic)
    return ConsumeSettings(client=client, programme=PROGRAMME, auto_enrol=True, **settings)


def _consume(ledger: Ledger, broker: Kafka, topic: str, messages: int) -> float:
    """Seconds from joining the group until everything is committed."""
    progress = None
    started = time.perf_counter()
    progress = Consumer(ledger, _settings(broker, topic, until_caught_up=True)).run(Event())
    seconds = time.perf_counter() - started
    assert (progress.posted, progress.read) == (messages, messages), progress
    return seconds


def _poll(broker: Kafka, topic: str, messages: int, stock: StockLoyalty | None = None) -> float:
    """Seconds of a plain loop of polls, which hands each message to `stock` and writes it, if there is one."""
    started, seen = time.perf_counter(), 0
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False, metrics_enabled=False,
                               max_poll_records=POLL_RECORDS_MAX)) as consumer:  # fmt: skip
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        consumer.seek_to_beginning()
        while seen < messages:
            for records in consumer.poll(500).values():
                some = records[: messages - seen]
                seen += len(some)
                for record in some if stock is not None else ():
                    stock.take(record.value)  # type: ignore[union-attr]
    return time.perf_counter() - started


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return median([one / other for one, other in zip(ours, theirs, strict=True)])


# --- processes ------------------------------------------------------------------------------------------------------


def _processes(server_dsn: str, broker: Kafka, messages: int, rounds: int) -> dict[str, Any]:
    """`loyalty consume` in one process and in two, from the first message taken to the last."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        topic = _filled_topic(broker, purchases(messages, messages // MESSAGES_PER_MEMBER, first=number * messages))
        for consumers in (1, 2) if number % 2 else (2, 1):
            target = Target(server_dsn)
            try:
                rates[consumers].append(_run_processes(target, broker, topic, consumers, messages))
                target.check(messages)
            finally:
                target.close()
        broker.delete_topic(topic)
    return {
        "one_process_per_second": round(median(rates[1])),
        "two_processes_per_second": round(median(rates[2])),
        "ratio_two_to_one": round(_ratio(rates[2], rates[1]), 2),
    }


def _run_processes(target: Target, broker: Kafka, topic: str, consumers: int, messages: int) -> float:
    """Messages/s between the first transaction and the last, by the database's clock: starting Python aside."""
    group = f"{topic}-{consumers}"
    running = [_start(target, broker, topic, group, "--until-caught-up", "--json") for _ in range(consumers)]
    told = [json.loads(process.communicate()[0]) for process in running]
    assert sum(each["posted"] for each in told) == messages, told
    with target.database.connection() as cur:
        cur.execute(
            "SELECT extract(epoch FROM max(recorded_at) - min(recorded_at))::float8 FROM events"
            " WHERE topic = 'purchase-recorded.v1'"
        )
        ((seconds,),) = cur.fetchall()
    return messages / float(seconds)


def _start(target: Target, broker: Kafka, topic: str, group: str, *options: str) -> subprocess.Popen[bytes]:
    return start_loyalty(target, "consume", "--bootstrap", broker.bootstrap, "--topic", topic, "--group", group,
                    "--programme", PROGRAMME, "--auto-enrol", *options)  # fmt: skip


def start_loyalty(target: Target, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "service.cli", *arguments]
    environment = {**os.environ, "LOYALTY_DATABASE_URL": target.dsn}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


# --- latency --------------------------------------------------------------------------------------------------------


def _latency(server_dsn: str, broker: Kafka) -> dict[str, Any]:
    """Produce at a steady rate, and look all the time which balances can be read: the latency of each message.

    A message is readable when the projection's checkpoint of its journal has passed its event. Consumer and projector
    are processes of their own, as an operator runs them.
    """
    target = Target(server_dsn)
    topic = f"bench-{uuid.uuid4().hex[:12]}"
    broker.create_topic(topic, PARTITIONS)
    stop = Event()
    seen: list[tuple[float, dict[int, int]]] = []
    look = Thread(target=_look, args=(target.database, seen, stop))
    consumer = _start(target, broker, topic, topic)
    projector = start_loyalty(target, "project")
    look.start()
    try:
        warm = _produce_steadily(broker, topic, 0, WARM_SECONDS)
        _wait_until_readable(target.database, seen, len(warm))
        sent = _produce_steadily(broker, topic, len(warm), LATENCY_SECONDS)
        total = len(warm) + len(sent)
        _wait_until_readable(target.database, seen, total)
    finally:
        stop.set()
        for process in (consumer, projector):
            process.terminate()
            process.communicate()
        look.join()
    waits = _waits(target.database, sent, seen)
    target.check(total)
    target.close()
    assert len(waits) == len(sent)
    return {
        "latency_ms_p50": round(waits[len(waits) // 2] * 1000, 1),
        "latency_ms_p99": round(waits[len(waits) * 99 // 100] * 1000, 1),
        "latency_ms_max": round(waits[-1] * 1000, 1),
        "latency_at_per_second": round(len(sent) / LATENCY_SECONDS),
    }


def _produce_steadily(broker: Kafka, topic: str, first: int, seconds: float) -> dict[str, float]:
    """When each was given to the producer, by id."""
    count = int(LATENCY_PER_SECOND * seconds)
    bodies = purchases(count, LATENCY_MEMBERS, first=first)
    sent: dict[str, float] = {}
    with closing(producer_to(broker, linger_ms=1, batch_size=16_384)) as producer:
        producer.partitions_for(topic)
        started = time.time()
        for number, body in enumerate(bodies):
            while (ahead := started + number / LATENCY_PER_SECOND - time.time()) > 0:
                time.sleep(min(ahead + 0.001, 0.002))
            sent[f"order-{first + number}"] = time.time()
            producer.send(topic, body, key=key_of(body))
        producer.flush()
    return sent


def _look(database: Database, seen: list[tuple[float, dict[int, int]]], stop: Event) -> None:
    with database.connection() as cur:
        while not stop.wait(LOOK_SECONDS):
            cur.execute("SELECT journal, position FROM projections WHERE projection = %s", (Balances().name,))
            positions = dict(cur.fetchall())
            if not seen or seen[-1][1] != positions:
                seen.append((time.time(), positions))


def _wait_until_readable(database: Database, seen: list[tuple[float, dict[int, int]]], messages: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (seen and _posted(database) == messages and seen[-1][1] == _heads(database)):
        assert time.monotonic() < deadline, f"{_posted(database)} of {messages} posted"
        time.sleep(0.05)


def _posted(database: Database) -> int:
    with database.connection() as cur:
        return sum(each.posted for each in sources.stretches(cur))


def _heads(database: Database) -> dict[int, int]:
    with database.connection() as cur:
        cur.execute("SELECT journal, position FROM journals WHERE kind = 'programme'")
        return dict(cur.fetchall())


def _waits(database: Database, sent: dict[str, float], seen: list[tuple[float, dict[int, int]]]) -> list[float]:
    """Seconds from the producer to a readable balance, of every message, sorted."""
    waits: list[float] = []
    for journal in _heads(database):
        with database.connection() as cur:
            rows = log.read(cur, journal, after=0, limit=1_000_000)
        looks = iter(seen)
        at, positions = next(looks)
        last = 0
        for row in rows:
            if row.command_events is not None:
                last = row.position + row.command_events - 1
            if row.topic != "purchase-recorded.v1":
                continue
            produced = sent.get(msgspec.json.decode(row.state)["id"])
            if produced is None:
                continue
            while positions.get(journal, 0) < last:
                at, positions = next(looks)
            waits.append(at - produced)
    return sorted(waits)
