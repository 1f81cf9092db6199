"""Messages into a topic, consumers of it, and what must be true at the end whatever happened between."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread
from typing import Any

import msgspec
from kafka import KafkaProducer

from consumers.kafka_client import ClientSettings, LogReader
from consumers.kafka_in import Consumer, ConsumeSettings, Progress
from ledger.codec import encode
from ledger.engine import Ledger
from ledger.store import sources
from ledger.store.database import Database
from tests.broker import Kafka
from tests.engine.clubs import Club, assert_sound
from tests.waiting import PATIENCE_SECONDS

MEMBERS = [f"m{number}" for number in range(12)]
POISON: list[bytes | None] = [
    b"not json",
    None,
    b'{"type":"purchase.v1","id":"a\\u0000b"}',
    b"\xff\xfe",
    b"x" * (1 << 20),
    b"",
    b'{"type":"purchase.v9"}',
    b"[" * 5_000,
]
_groups = count(1)
_topics = count(1)


class Inflow:
    """A topic, a club whose purchases go into it, and what was acknowledged of them."""

    def __init__(self, kafka: Kafka, ledger: Ledger, journals: int, partitions: int = 3, **config: object) -> None:
        self.kafka = kafka
        self.ledger = ledger
        self.club = Club(ledger.database, journals).open(ledger)
        self.topic = f"inflow-{os.getpid()}-{next(_topics)}"
        self.partitions = partitions
        kafka.create_topic(self.topic, partitions, **({"max_message_bytes": 4 << 20, "retention_ms": -1} | config))
        self.acknowledged: dict[tuple[int, int], bytes | None] = {}

    # --- messages ----------------------------------------------------------------------------------------------

    def purchases(self, number: int, seed: int = 1, first: int = 0) -> list[tuple[bytes, bytes | None]]:
        """Keys and values: good ones, some twice as after a producer's retry, some that are refused, and poison."""
        pick, found = random.Random(seed), list[tuple[bytes, bytes | None]]()
        for each in range(first, first + number):
            member, draw = pick.choice(MEMBERS), pick.random()
            command = self.club.buy(member, f"o{each}", dollars=pick.randrange(1, 90), minutes=1 + each / 10)
            value: bytes | None = encode(command)
            if draw < 0.05:
                value = encode(msgspec.structs.replace(command, currency="EUR"))
            elif draw < 0.07:
                value = encode(msgspec.structs.replace(command, programme="nowhere"))
            found.append((member.encode(), value))
            if draw > 0.95:
                found.append((member.encode(), value))
        for place in range(0, len(found), max(number // 12, 1)):
            found.insert(place, (pick.choice(MEMBERS).encode(), POISON[place % len(POISON)]))
        return [*found, (b"m0", b"poison at the end")]

    def produce(self, messages: Iterable[tuple[bytes, bytes | None]], **settings: Any) -> None:
        """Send them, and note what the broker acknowledged."""
        with producer(self.kafka, **settings) as writer:
            self.note([(value, writer.send(self.topic, value, key=key)) for key, value in messages])

    def note(self, sent: Sequence[tuple[bytes | None, Any]]) -> None:
        for value, future in sent:
            told = future.get(timeout=PATIENCE_SECONDS)
            self.acknowledged[told.partition, told.offset] = value

    # --- consumers ---------------------------------------------------------------------------------------------

    def settings(self, group: str = "", **settings: Any) -> ConsumeSettings:
        return consume_settings(self.kafka.bootstrap, self.topic, self.club.name, group, **settings)

    def consume(self, ledger: Ledger | None = None, **settings: Any) -> Progress:
        """Take everything that is there, with a group of its own."""
        consumer = Consumer(ledger or self.ledger, self.settings(until_caught_up=True, **settings))
        stop, deadline = Event(), time.monotonic() + PATIENCE_SECONDS

        def tick(progress: Progress) -> None:
            if time.monotonic() > deadline:
                stop.set()

        consumer.run(stop, tick)
        assert not stop.is_set(), f"not caught up after {PATIENCE_SECONDS} s: {consumer.progress}"
        return consumer.progress

    @contextmanager
    def consuming(self, group: str, ledger: Ledger | None = None, **settings: Any) -> Iterator[Consumer]:
        """A consumer beside the test, until the end of the block."""
        consumer, stop, errors = Consumer(ledger or self.ledger, self.settings(group, **settings)), Event(), list[Any]()

        def run() -> None:
            try:
                consumer.run(stop)
            except BaseException as error:  # noqa: BLE001 - raised by the block's end
                errors.append(error)

        thread = Thread(target=run, name=f"consumer of {group}")
        thread.start()
        try:
            yield consumer
        finally:
            stop.set()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        if errors:
            raise errors[0]

    # --- what is there -----------------------------------------------------------------------------------------

    def next_offsets(self) -> dict[int, int]:
        with self.ledger.database.connection() as cur:
            return {each.partition: each.next_offset for each in sources.partitions(cur, self.topic)}

    def ends(self) -> dict[int, int]:
        with LogReader(self.kafka.bootstrap) as reader:
            return {partition: bounds.end for (_, partition), bounds in reader.bounds([self.topic]).items()}

    def stopped(self) -> str:
        """Why the only partition is stopped; "" where it is not."""
        with self.ledger.database.connection() as cur:
            (partition,) = sources.partitions(cur, self.topic)
        return partition.stopped

    def taken(self) -> Counter[str]:
        """posted, duplicate, rejected, and how many messages were read, by the database."""
        with self.ledger.database.connection() as cur:
            stretches = sources.stretches(cur, self.topic)
        names = ("posted", "duplicate", "rejected", "messages")
        return Counter({name: sum(getattr(each, name) for each in stretches) for name in names})

    def rejected_places(self) -> list[tuple[int, int]]:
        with self.ledger.database.connection() as cur:
            cur.execute('SELECT partition, "offset" FROM rejected WHERE topic = %s ORDER BY 1, 2', (self.topic,))
            return list(cur.fetchall())

    def assert_exact(self, *ledgers: Ledger) -> Counter[str]:
        """Every acknowledged message was taken once, and became what it must; per member in order; no gap."""
        taken = self.taken()
        assert taken["posted"] + taken["duplicate"] + taken["rejected"] == len(self.acknowledged), taken
        ends = {partition: end for partition, end in self.ends().items() if end}
        assert self.next_offsets() == ends
        with self.ledger.database.connection() as cur:
            assert sources.gaps(cur, self.topic) == []
            cur.execute(
                "SELECT partition, sum(posted + duplicate + rejected) FROM source_ranges WHERE topic = %s GROUP BY 1",
                (self.topic,),
            )
            by_partition = {partition: int(total) for partition, total in cur.fetchall()}
        assert by_partition == Counter(partition for partition, _ in self.acknowledged)
        good, posted = self._expected()
        assert taken["posted"] == sum(map(len, posted.values()))
        assert taken["duplicate"] == good - taken["posted"]
        assert self.posted_ids() == posted
        refused = self.rejected_places()
        assert len(refused) == len(set(refused)) == taken["rejected"]
        assert_sound(self.club, *ledgers)
        return taken

    def _expected(self) -> tuple[int, dict[str, list[str]]]:
        """How many messages are good, and the ids of each member in the order in which they were sent."""
        posted: dict[str, dict[str, None]] = defaultdict(dict)
        good = 0
        for _, value in sorted(self.acknowledged.items()):
            with_id = value is not None and value.startswith(b'{"type":"purchase.v1","id":"o')
            command = msgspec.json.decode(value) if with_id and value else {}
            if command.get("currency") == "USD" and command.get("programme") == self.club.name:
                good += 1
                posted[command["member"]][command["id"]] = None
        return good, {member: list(ids) for member, ids in posted.items()}

    def posted_ids(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for rows in self.club.rows():
            for row in rows:
                if row.topic == "purchase-recorded.v1":
                    found[row.originator_id.partition("/")[2] or row.originator_id].append(
                        msgspec.json.decode(row.state)["id"]
                    )
        return {member.rpartition(":")[2].rpartition("-")[2]: ids for member, ids in found.items()}


def consume_settings(bootstrap: str, topic: str, programme: str, group: str = "", **settings: Any) -> ConsumeSettings:
    client = {
        name: settings.pop(name)
        for name in ("poll_records_max", "session_timeout_ms", "metadata_max_age_ms")
        if name in settings
    }
    group = group or f"group-{os.getpid()}-{next(_groups)}"
    given = {"session_timeout_ms": 6_000, "metadata_max_age_ms": 1_000, "poll_records_max": 200} | client
    return ConsumeSettings(
        client=ClientSettings(bootstrap=bootstrap, topics=(topic,), group=group, heartbeat_interval_ms=500, **given),
        programme=programme,
        auto_enrol=True,
        **settings,
    )


@contextmanager
def producer(kafka: Kafka, **settings: Any) -> Iterator[KafkaProducer]:
    given = {"acks": "all", "reconnect_backoff_max_ms": 500, "max_request_size": 4 << 20, "linger_ms": 5} | settings
    opened = KafkaProducer(bootstrap_servers=kafka.bootstrap, **given)
    try:
        yield opened
    finally:
        opened.close(timeout=PATIENCE_SECONDS)


def ledger_on(dsn: str) -> tuple[Database, Ledger]:
    database = Database(dsn)
    return database, Ledger(database)
