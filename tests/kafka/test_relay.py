"""The relay's topic holds every event of every journal, in order for each member, as CloudEvents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event, Thread

import pytest
from kafka.partitioner import murmur2

from consumers import relay as relay_module
from consumers.relay import Progress, ReadBackFailed, Relay, UnknownPosition, lag
from consumers.repeats import Repeats
from ledger.events import MemberEnrolled
from ledger.store.database import Database
from ledger.store.journal import EventRow
from tests.broker import Kafka
from tests.kafka.relaying import Histories, Topics, fresh_topics, header, ids_of, member_of, read_all
from tests.projections.histories import record
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def topics(kafka: Kafka) -> Iterator[Topics]:
    with fresh_topics(kafka) as names:
        yield names


@pytest.fixture
def histories(database: Database) -> Histories:
    return Histories(database)


def relay_once(histories: Histories, kafka: Kafka, topics: Topics, **replay: int) -> Progress:
    relay = Relay(histories.database, kafka.bootstrap, topic=topics.events, balances_topic=None, partitions=4)
    relay.replay_from({int(name.removeprefix("journal_")): position for name, position in replay.items()})
    return relay.run_once()


def assert_in_order(records: list[object], rows: list[EventRow]) -> None:
    """Every member is in one partition, and there its events have the order of its stream."""
    expected, found, partitions = defaultdict(list), defaultdict(list), defaultdict(set)
    for row in rows:
        expected[row.journal, member_of(row)].append(b"%d:%d" % (row.journal, row.position))
    for each in records:
        id = header(each, "ce_id")
        member = (int(id.partition(b":")[0]), each.key.decode())
        found[member].append(id)
        partitions[each.key].add(each.partition)
    assert found == expected
    assert all(len(numbers) == 1 for numbers in partitions.values())


def test_every_event_once_and_in_order(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """Value and headers say what was recorded; the partition is the one that Kafka's own producers choose."""
    rows = histories.rows()
    assert relay_once(histories, kafka, topics).events == len(rows)
    records = read_all(kafka, topics.events)
    assert sorted(header(each, "ce_id") for each in records) == sorted(ids_of(rows))
    assert_in_order(records, rows)
    by_id = {header(each, "ce_id"): each for each in records}
    for row, id in zip(rows, ids_of(rows), strict=True):
        each = by_id[id]
        assert each.value == row.state
        assert each.key == member_of(row).encode()
        assert each.partition == (murmur2(each.key) & 0x7FFFFFFF) % 4
        recorded_at = row.recorded_at.isoformat().replace("+00:00", "Z")
        assert {name: value for name, value in each.headers if name not in ("ce_time", "ce_recordedtime")} == {
            "ce_specversion": b"1.0",
            "ce_id": id,
            "ce_type": row.topic.encode(),
            "ce_source": b"/loyalty/programmes/club",
            "ce_subject": each.key,
            "content-type": b"application/json",
        }
        assert header(each, "ce_time") in row.state
        recorded = header(each, "ce_recordedtime").decode()
        assert recorded.rstrip("Z").rstrip("0").rstrip(".") == recorded_at.rstrip("Z").rstrip("0").rstrip(".")


def test_events_of_any_size(
    histories: Histories, kafka: Kafka, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One above what brokers take by default, and rounds that end early so that memory is bounded."""
    monkeypatch.setattr(relay_module, "ROUND_BYTES_MAX", 500_000)
    member = {"programme": "club", "source": "till", "occurred_at": datetime(2026, 1, 1, tzinfo=UTC)}
    large = [
        MemberEnrolled(member=f"large-{n}", id=f"l{n}", attributes={"note": "x" * size}, **member)
        for n, size in enumerate([1_500_000, 10, 400_000, 400_000, 10])
    ]
    record(histories.database, histories.journals[0], large, {})
    relay_once(histories, kafka, topics)
    assert_in_order(read_all(kafka, topics.events), histories.rows())


def test_it_goes_on_where_it_ended(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """A second run publishes what came since, and nothing again."""
    relay_once(histories, kafka, topics)
    assert relay_once(histories, kafka, topics).events == 0
    histories.more(30)
    before = lag(histories.database, topics.events)
    assert relay_once(histories, kafka, topics).events == before > 0
    assert lag(histories.database, topics.events) == 0
    assert_in_order(read_all(kafka, topics.events), histories.rows())


def test_a_replay_publishes_again_from_a_position(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """The other journals are left alone; a reader that keeps its positions takes none of it, a new one takes it all."""
    relay_once(histories, kafka, topics)
    first, again = read_all(kafka, topics.events), histories.journals[1]
    replayed = relay_once(histories, kafka, topics, **{f"journal_{again}": 11}).events
    rows = [row for row in histories.rows() if row.journal == again and row.position >= 11]
    assert replayed == len(rows)
    records = read_all(kafka, topics.events)
    seen = {(each.partition, each.offset) for each in first}
    new = [each for each in records if (each.partition, each.offset) not in seen]
    assert_in_order(new, rows)
    repeats = Repeats()
    assert [each for each in first if repeats.is_new(each.partition, each.headers)] == first
    kept = Repeats(repeats.positions)
    assert not [each for each in new if kept.is_new(each.partition, each.headers)]


def test_a_replay_survives_a_crash(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """Killed after the replay was noted and before anything was published: what was there before does not count."""
    relay_once(histories, kafka, topics)
    journal = histories.journals[0]
    relay = Relay(histories.database, kafka.bootstrap, topic=topics.events, balances_topic=None)
    relay.replay_from({journal: 1})
    assert relay._opened() is not None
    relay.close()
    assert relay_once(histories, kafka, topics).events == sum(row.journal == journal for row in histories.rows())


@pytest.mark.parametrize(("journal", "position"), [(99, 1), (1, 0), (1, 10**6)])
def test_a_replay_from_nowhere_is_refused(
    histories: Histories, kafka: Kafka, topics: Topics, journal: int, position: int
) -> None:
    """A journal or a position that does not exist is an error in words, before anything is published."""
    with pytest.raises(UnknownPosition, match=f"journal {journal}"):
        relay_once(histories, kafka, topics, **{f"journal_{journal}": position})


def test_a_topic_made_anew_is_not_taken_for_complete(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """What was acknowledged is gone: the relay says so and how to go on, and a replay of everything heals it."""
    relay_once(histories, kafka, topics)
    kafka.delete_topic(topics.events)
    with pytest.raises(ReadBackFailed, match="made anew or lost records"):
        relay_once(histories, kafka, topics)
    relay_once(histories, kafka, topics, **{f"journal_{journal}": 1 for journal in histories.journals})
    assert_in_order(read_all(kafka, topics.events), histories.rows())


def test_another_database_does_not_hide_events(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """A topic that holds the events of a ledger that is gone: all of ours come after them."""
    relay_once(histories, kafka, topics)
    with histories.database.connection() as cur:
        cur.execute("DELETE FROM relay_checkpoints; DELETE FROM relay_partitions")
    assert relay_once(histories, kafka, topics).events == len(histories.rows())


def test_two_relays_take_turns(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """One publishes and the other waits; when the first ends the second goes on; every event once."""
    relays = [
        Relay(histories.database, kafka.bootstrap, topic=topics.events, balances_topic=None, partitions=4)
        for _ in range(2)
    ]
    stops = [Event(), Event()]
    threads = [Thread(target=relay.follow, args=(stop,)) for relay, stop in zip(relays, stops, strict=True)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            histories.more(15)
        wait_for(lambda: lag(histories.database, topics.events) == 0)
        active = 0 if relays[0].progress.state == "active" else 1
        wait_for(lambda: relays[1 - active].progress.state == "waiting: another relay is active")
        assert relays[1 - active].progress.events == 0
        stops[active].set()
        threads[active].join(PATIENCE_SECONDS)
        histories.more(15)
        wait_for(lambda: lag(histories.database, topics.events) == 0)
    finally:
        for stop, thread in zip(stops, threads, strict=True):
            stop.set()
            thread.join(PATIENCE_SECONDS)
    assert all(relay.progress.events > 0 and relay.progress.failures == 0 for relay in relays)
    assert_in_order(read_all(kafka, topics.events), histories.rows())
