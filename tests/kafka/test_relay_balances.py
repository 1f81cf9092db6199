"""The compacted topic of balances: the newest record of each member is what the read model says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from consumers.relay import Relay
from consumers.relayed_balances import MemberBalance, balance_key
from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.submissions import Submission
from projections.balances import Balances, read_balance
from projections.runner import Runner
from tests.broker import Kafka
from tests.engine.clubs import Club
from tests.kafka.relaying import Histories, Topics, fresh_topics, member_of, read_all

FIGURES = (
    "status", "version", "position", "active", "pending", "held", "spent", "expired", "arrears", "next_expiry_at",
    "next_expiry_points",
)  # fmt: skip


@pytest.fixture
def topics(kafka: Kafka) -> Iterator[Topics]:
    with fresh_topics(kafka) as names:
        yield names


def relay_once(database: Database, kafka: Kafka, topics: Topics) -> int:
    Runner(database, [Balances()]).run_once()
    relay = Relay(database, kafka.bootstrap, topic=topics.events, balances_topic=topics.balances, partitions=2)
    return relay.run_once().balances


def newest(kafka: Kafka, topic: str) -> dict[bytes, bytes | None]:
    """What compaction leaves: the last value of each key."""
    return {each.key: each.value for each in read_all(kafka, topic)}


def assert_equal_to_read_model(
    database: Database, found: dict[bytes, bytes | None], wanted: set[tuple[int, str]]
) -> None:
    with database.connection() as cur:
        for journal, member in wanted:
            value = found.pop(balance_key("club", member))
            if value is None:
                assert read_balance(cur, journal, member, datetime.now(UTC)).status == "erased"
                continue
            said = msgspec.json.decode(value, type=MemberBalance)
            shown = read_balance(cur, journal, member, said.as_of)
            assert (said.programme, said.member, said.journal) == ("club", member, journal)
            assert [getattr(said, name) for name in FIGURES] == [getattr(shown, name) for name in FIGURES]
    assert found == {}


def test_the_newest_records_are_the_read_model(database: Database, kafka: Kafka, topics: Topics) -> None:
    """After catching up, and again after more events, of which only the members touched are published."""
    histories = Histories(database, journals=1, commands=300)
    relay_once(database, kafka, topics)
    histories.more(3)
    assert 1 <= relay_once(database, kafka, topics) <= 6
    wanted = {(row.journal, member_of(row)) for row in histories.rows()}
    assert_equal_to_read_model(database, newest(kafka, topics.balances), wanted)
    with kafka.admin() as admin:
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topics.balances)])
    assert "'compact'" in str(described)


def test_balances_wait_for_the_projection(database: Database, kafka: Kafka, topics: Topics) -> None:
    """What the projection has not folded in is not published: a record never says less than its position."""
    histories = Histories(database, journals=1, commands=30)
    relay = Relay(database, kafka.bootstrap, topic=topics.events, balances_topic=topics.balances, partitions=2)
    done = relay.run_once()
    assert (done.events, done.balances) == (len(histories.rows()), 0)
    assert relay_once(database, kafka, topics) > 0


def test_an_erased_member_becomes_a_tombstone(database: Database, kafka: Kafka, topics: Topics) -> None:
    """Compaction then removes everything of the member; two programmes with a member of one name keep theirs."""
    ledger = Ledger(database)
    clubs = [Club(database, 1).open(ledger) for _ in range(2)]
    for club in clubs:
        ledger.handle([Submission(club.enrol("m1")), Submission(club.accrue("m1", "a1", 70))])
    relay_once(database, kafka, topics)
    keys = [balance_key(club.name, "m1") for club in clubs]
    assert {key: active(value) for key, value in newest(kafka, topics.balances).items()} == dict.fromkeys(keys, 70)
    ledger.handle([Submission(clubs[0].erase("m1", "e1"))])
    relay_once(database, kafka, topics)
    found = newest(kafka, topics.balances)
    assert found[keys[0]] is None
    assert active(found[keys[1]]) == 70
    ledger.close()


def active(value: bytes | None) -> Any:
    assert value is not None
    return msgspec.json.decode(value)["active"]
