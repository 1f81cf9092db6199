"""`loyalty relay` as an operator meets it: what it says, and that it can be killed at any instant."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

import pytest

from consumers.relay import lag
from consumers.repeats import Repeats
from ledger.store.database import Database
from tests.broker import Kafka
from tests.cli.running import Loyalty
from tests.kafka.relaying import Histories, Topics, fresh_topics, header, ids_of, read_all
from tests.waiting import PATIENCE_SECONDS, wait_for

SEED = 11
KILLS = 4


@pytest.fixture
def topics(kafka: Kafka) -> Iterator[Topics]:
    with fresh_topics(kafka) as names:
        yield names


@pytest.fixture
def loyalty(database_dsn: str) -> Loyalty:
    return Loyalty(LOYALTY_DATABASE_URL=database_dsn)


def arguments(kafka: Kafka, topics: Topics) -> list[str]:
    return ["relay", "--bootstrap", kafka.bootstrap, "--topic", topics.events, "--balances-topic", topics.balances]


def test_once(loyalty: Loyalty, database: Database, kafka: Kafka, topics: Topics) -> None:
    """It names the topics it created, publishes everything with balances, says the counts, and ends."""
    histories = Histories(database, journals=1, commands=40)
    events = len(histories.rows())
    first = loyalty(*arguments(kafka, topics), "--once", "--partitions", "2")
    assert f"Created topic {topics.events} (2 partitions, max.message.bytes=16777216)." in first.stderr
    assert f"Created topic {topics.balances} (2 partitions, cleanup.policy=compact)." in first.stderr
    assert first.stdout.startswith(f"{events} events, ")
    assert ", 0 balances" not in first.stdout
    again = loyalty(*arguments(kafka, topics), "--once")
    assert again.stdout == "0 events, 0 balances and 0 dead letters published.\n"
    replayed = loyalty(*arguments(kafka, topics), "--once", "--no-balances", "--from", f"{histories.journals[0]}:5")
    assert replayed.stdout == f"{events - 4} events, 0 balances and 0 dead letters published.\n"


@pytest.mark.parametrize("position", ["7:1", "x", "1:0", "1"])
def test_a_wrong_position_is_wrong_usage(
    loyalty: Loyalty, database: Database, kafka: Kafka, topics: Topics, position: str
) -> None:
    """Exit code 2, and the option is named."""
    Histories(database, journals=1, commands=5)
    assert "--from" in loyalty(*arguments(kafka, topics), "--once", "--from", position, exit_code=2).stderr


def test_killed_at_random_instants(loyalty: Loyalty, database: Database, kafka: Kafka, topics: Topics) -> None:
    """kill -9 again and again while events are recorded; then SIGTERM ends it in order. Nothing is missing."""
    rng = random.Random(SEED)
    histories = Histories(database, journals=2, commands=150)
    for _ in range(KILLS):
        process = loyalty.start(*arguments(kafka, topics))
        time.sleep(0.8 + rng.random())
        histories.more(40)
        time.sleep(0.3 * rng.random())
        process.kill()
        process.communicate()
    process = loyalty.start(*arguments(kafka, topics))
    histories.more(40)  # none of those that were killed can have published it
    wait_for(lambda: lag(database, topics.events) == 0)
    repeats = Repeats()
    taken = [header(each, "ce_id") for each in read_all(kafka, topics.events)
             if repeats.is_new(each.partition, each.headers)]  # fmt: skip
    assert sorted(taken) == sorted(ids_of(histories.rows())), f"seed {SEED}"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert "dead letters published" in output
