"""What must be true when everything has settled, whatever happened before.

The measure is the topic as it is at the end: all that it holds is read again, without faults, into another ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
from kafka import KafkaConsumer

from audit.verify import verify
from consumers.cloud_events import decode_message
from consumers.repeats import Repeats
from ledger.codec import MEMBER_STREAM
from ledger.engine import Ledger
from ledger.store import sources
from ledger.store.database import Database
from ledger.submissions import Submission
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from service.read_models import read_models
from tests.engine.clubs import Club, assert_sound
from tests.kafka.relaying import header, ids_of, member_of, partitions_of, read_all
from tests.soak.losses import Losses
from tests.soak.traffic import MEMBERS, NEW_MEMBERS, Traffic, wait_for

REFERENCE_BATCH = 500
READ_SECONDS_MAX = 120.0


def check(
    club: Club, topic: str, events_topic: str, traffic: Traffic, losses: Losses, kafka: Any, reference: Database
) -> Counter[str]:
    """Raise AssertionError with what is wrong; the counts of messages otherwise."""
    records = read_committed(kafka.bootstrap, topic)
    missing = traffic.acknowledged - {(each.partition, each.offset) for each in records}
    assert not missing, f"acknowledged, and not in the topic: {sorted(missing)[:5]}"
    counts = check_counts(club.database, topic, records)
    by_right = take_without_faults(club, records, reference)
    taken = by_partition(club.database, topic)
    assert taken == by_right[0], f"posted, duplicate, rejected by partition: {taken}, by right {by_right[0]}"
    assert streams_of(club) == streams_of(by_right[1]), "members differ from those of a reading without faults"
    aborted = traffic.aborted_ids & {id for _, id in club.commands()}
    assert not aborted, f"of aborted transactions: {sorted(aborted)[:5]}"
    losses.check()
    assert_sound(club)
    check_relayed(club, kafka, topic, events_topic)
    check_read_models(club.database)
    report = verify(club.database)
    assert report.ok, report.problems
    return counts


def check_counts(database: Database, topic: str, records: list[Any]) -> Counter[str]:
    """Every message is counted once, and refused ones are kept once; no gap."""
    read = Counter(each.partition for each in records)
    taken = by_partition(database, topic)
    assert {name: sum(each.values()) for name, each in taken.items()} == read, (taken, read)
    with database.connection() as cur:
        assert sources.gaps(cur, topic) == []
        messages: Counter[int] = Counter()
        for stretch in sources.stretches(cur, topic):
            messages[stretch.partition] += stretch.messages
        assert messages == read, (messages, read)
        cur.execute('SELECT partition, "offset" FROM rejected WHERE topic = %s', (topic,))
        refused = cur.fetchall()
    assert len(refused) == len(set(refused)) == sum(each["rejected"] for each in taken.values())
    return sum(taken.values(), Counter())


def by_partition(database: Database, topic: str) -> dict[int, Counter[str]]:
    """posted, duplicate and rejected of each partition."""
    found: dict[int, Counter[str]] = defaultdict(Counter)
    with database.connection() as cur:
        for each in sources.stretches(cur, topic):
            found[each.partition] += Counter(posted=each.posted, duplicate=each.duplicate, rejected=each.rejected)
    return dict(found)


def take_without_faults(club: Club, records: list[Any], database: Database) -> tuple[dict[int, Counter[str]], Club]:
    """The same messages, partition by partition, into a ledger that nothing disturbs."""
    ledger = Ledger(database)
    right = Club(database, club.count)
    right.name = club.name
    right.open(ledger)
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for start in range(0, len(records), REFERENCE_BATCH):
        some = records[start : start + REFERENCE_BATCH]
        batch = [Submission(decode_message(r.value, tuple(r.headers), programme=club.name), r.value) for r in some]
        for record, outcome in zip(some, ledger.handle(batch, auto_enrol=True), strict=True):
            found[record.partition][outcome.status] += 1
    ledger.close()
    return {name: +counts for name, counts in found.items()}, right


def streams_of(club: Club) -> dict[str, list[Any]]:
    """The history of each member of the traffic, in order."""
    names = {*MEMBERS, *NEW_MEMBERS}
    found: dict[str, list[Any]] = defaultdict(list)
    for rows in club.rows():
        for row in rows:
            if row.originator_id.startswith(MEMBER_STREAM) and member_of(row) in names:
                state = msgspec.json.decode(row.state)
                state.pop("sealed", None)
                found[member_of(row)].append((row.originator_version, row.topic, state, row.command_key))
    return dict(found)


def check_relayed(club: Club, kafka: Any, topic: str, events_topic: str) -> None:
    """The relay's topic holds every event, in order, a member in one partition; and every dead letter."""
    rows = [row for each in club.rows() for row in each]
    repeats, taken = Repeats(), list[bytes | None]()
    homes: dict[bytes, set[int]] = defaultdict(set)
    for record in read_all(kafka, events_topic):
        homes[record.key].add(record.partition)
        if repeats.is_new(record.partition, record.headers):
            taken.append(header(record, "ce_id"))
    assert sorted(map(str, taken)) == sorted(map(str, ids_of(rows))), f"{len(taken)} relayed of {len(rows)}"
    assert all(len(partitions) == 1 for partitions in homes.values())
    with club.database.connection() as cur:
        cur.execute('SELECT partition, "offset" FROM rejected WHERE topic = %s', (topic,))
        refused = set(cur.fetchall())
    letters = {
        tuple(int(header(each, f"__connect.errors.{name}") or -1) for name in ("partition", "offset"))
        for each in (read_all(kafka, f"{topic}.dlq") if refused else ())
    }
    assert letters == refused, f"{len(letters)} dead letters of {len(refused)}"


def check_read_models(database: Database) -> None:
    """Rebuilt read models equal the live ones."""
    models = read_models()
    Runner(database, models).run_once()
    with database.connection() as cur:
        live = table_digests(cur, models)
    rebuild(database.dsn, read_models())
    with database.connection() as cur:
        assert table_digests(cur, models) == live, "rebuilt read models differ from the live ones"


def read_committed(bootstrap: str, topic: str) -> list[Any]:
    """The messages of all partitions that were not aborted, by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed",
                             reconnect_backoff_max_ms=500)  # fmt: skip
    try:
        partitions = partitions_of(consumer, topic)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records: list[Any] = []

        def is_read() -> bool:
            records.extend(each for polled in consumer.poll(500).values() for each in polled)
            return all(consumer.position(partition) >= ends[partition] for partition in partitions)

        wait_for(is_read, READ_SECONDS_MAX, f"{topic} is not read to its end {ends}")
        return sorted(records, key=lambda each: (each.partition, each.offset))
    finally:
        consumer.close()
