"""The relay killed, the broker killed, the database cut off: nothing is missing, and repeats are told."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from threading import Event, Thread
from typing import Any

import pytest

from consumers import relay as relay_module
from consumers.relay import Relay, lag
from consumers.repeats import Repeats
from ledger.store.database import Database, connect
from tests.broker import Kafka, KafkaBroker
from tests.kafka.relaying import Histories, Topics, fresh_topics, header, ids_of, read_all
from tests.waiting import PATIENCE_SECONDS, wait_for

ROUND_EVENTS = 60


@pytest.fixture
def histories(database: Database) -> Histories:
    return Histories(database, journals=2, commands=250)


@pytest.fixture
def topics(kafka: Kafka) -> Iterator[Topics]:
    with fresh_topics(kafka) as names:
        yield names


def relay_of(database: Database, bootstrap: str, topic: str) -> Relay:
    return Relay(database, bootstrap, topic=topic, balances_topic=None, partitions=3)


def relay_and_die(dsn: str, bootstrap: str, topic: str, saves: int) -> None:
    """A relay process that is killed by SIGKILL after a publication was acknowledged and before it is marked."""
    relay_module.ROUND_EVENTS_MAX, relay_module.ROUND_JOURNAL_EVENTS_MIN = ROUND_EVENTS, ROUND_EVENTS // 2
    save, left = relay_module._Session._save, [saves]

    def save_or_die(self: Any, at: str, positions: Any, next_offsets: Any) -> None:
        if positions:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        save(self, at, positions, next_offsets)

    relay_module._Session._save = save_or_die  # type: ignore[method-assign]
    relay_of(Database(dsn), bootstrap, topic).run_once()


def assert_complete(kafka: Kafka, topic: str, histories: Histories) -> list[Any]:
    """Without its repeats the topic holds every event once, in order; how many records there are is returned too."""
    records = read_all(kafka, topic)
    repeats = Repeats()
    taken = [header(each, "ce_id") for each in records if repeats.is_new(each.partition, each.headers)]
    assert sorted(taken) == sorted(ids_of(histories.rows()))
    return records


def test_killed_between_publishing_and_marking(
    histories: Histories, database_dsn: str, kafka: Kafka, topics: Topics
) -> None:
    """Killed three times, each time with a round acknowledged and not marked: read back, it is not published again."""
    for saves in (0, 1, 3):
        process = multiprocessing.get_context("spawn").Process(
            target=relay_and_die, args=(database_dsn, kafka.bootstrap, topics.events, saves)
        )
        process.start()
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == -signal.SIGKILL
    assert lag(histories.database, topics.events) > ROUND_EVENTS
    relay_of(histories.database, kafka.bootstrap, topics.events).run_once()
    assert len(assert_complete(kafka, topics.events, histories)) == len(histories.rows())


def test_without_reading_back_a_kill_repeats_events(
    histories: Histories, database_dsn: str, kafka: Kafka, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same kill does leave a round unmarked, and what repeats is told by `Repeats`."""
    process = multiprocessing.get_context("spawn").Process(
        target=relay_and_die, args=(database_dsn, kafka.bootstrap, topics.events, 1)
    )
    process.start()
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(relay_module, "read_back", lambda *_, **__: ({}, {}))
    relay_of(histories.database, kafka.bootstrap, topics.events).run_once()
    records = assert_complete(kafka, topics.events, histories)
    assert len(histories.rows()) + ROUND_EVENTS // 2 <= len(records) <= len(histories.rows()) + 3 * ROUND_EVENTS


def test_a_broker_killed_in_mid_relay(
    histories: Histories, own_kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for and nothing is missing, doubled or out of order after its unclean start."""
    monkeypatch.setattr(relay_module, "ROUND_EVENTS_MAX", ROUND_EVENTS)
    monkeypatch.setattr(relay_module, "ROUND_JOURNAL_EVENTS_MIN", ROUND_EVENTS // 2)
    with fresh_topics(own_kafka) as topics:
        relay, stop = relay_of(histories.database, own_kafka.bootstrap, topics.events), Event()
        following = Thread(target=relay.follow, args=(stop,))
        following.start()
        try:
            wait_for(lambda: relay.progress.events > ROUND_EVENTS)
            own_kafka.kill()
            histories.more(60)
            own_kafka.start()
            wait_for(lambda: lag(histories.database, topics.events) == 0)
        finally:
            stop.set()
            following.join(PATIENCE_SECONDS)
        assert not following.is_alive()
        assert_complete(own_kafka, topics.events, histories)


def test_a_relay_whose_lock_was_lost_marks_nothing(histories: Histories, kafka: Kafka, topics: Topics) -> None:
    """Its connection is terminated: another one may be active by now, so it begins again as if it had been started."""
    relay, stop = relay_of(histories.database, kafka.bootstrap, topics.events), Event()
    following = Thread(target=relay.follow, args=(stop,))
    following.start()
    try:
        wait_for(lambda: lag(histories.database, topics.events) == 0)
        terminate_lock_holder(histories.database)
        histories.more(40)
        wait_for(lambda: lag(histories.database, topics.events) == 0)
    finally:
        stop.set()
        following.join(PATIENCE_SECONDS)
    assert relay.progress.failures >= 1
    assert len(assert_complete(kafka, topics.events, histories)) == len(histories.rows())


def terminate_lock_holder(database: Database) -> None:
    """As who owns the database: a writer may not."""
    with closing(connect(database.dsn)) as owner, owner.cursor() as cur:
        cur.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cur.fetchall() == [(True,)]
