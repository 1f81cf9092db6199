"""`loyalty consume`, `lag`, `sources` and `rejected retry` as an operator runs them."""

from __future__ import annotations

import signal

import pytest

from ledger.codec import encode
from ledger.engine import Ledger
from service import cli_kafka
from tests.broker import Kafka
from tests.cli.running import Loyalty
from tests.kafka.inflow import Inflow
from tests.kafka.test_consume import delete_before, send
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def loyalty(database_dsn: str, kafka: Kafka) -> Loyalty:
    return Loyalty(LOYALTY_DATABASE_URL=database_dsn, LOYALTY_KAFKA_BOOTSTRAP=kafka.bootstrap)


def test_consume_lag_sources_and_retry(
    loyalty: Loyalty, kafka: Kafka, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they say, in words and as JSON; and a binary CloudEvent that was refused is tried again as it came."""
    monkeypatch.setattr(cli_kafka, "AGE_SECONDS_MAX", PATIENCE_SECONDS)
    inflow = Inflow(kafka, ledger, 4, partitions=2)
    inflow.produce(inflow.purchases(40))
    before = loyalty.json("lag", "--topic", inflow.topic)["partitions"]
    assert sum(each["lag"] for each in before) == len(inflow.acknowledged)
    assert all(each["oldest_at"] for each in before)
    told = loyalty.json(
        "consume", "--topic", inflow.topic, "--group", inflow.topic, "--auto-enrol", "--until-caught-up", exit_code=3
    )
    assert told["rejected"] > 0
    again = ("consume", "--topic", inflow.topic, "--group", inflow.topic, "--until-caught-up")
    assert loyalty.json(*again)["read"] == 0  # nothing was refused this time
    assert told["read"] == len(inflow.acknowledged) == told["posted"] + told["duplicate"] + told["rejected"]
    inflow.assert_exact(ledger)
    lag = loyalty.json("lag")
    assert [each["lag"] for each in lag["partitions"]] == [0, 0]
    assert all(each["lag"] > 0 for each in lag["projections"])
    found = loyalty.json("sources")
    assert sum(each["messages"] for each in found["ranges"]) == told["read"]
    assert "No gaps." in loyalty("sources").output
    assert loyalty.json("sources", "--topic", "another") == {"partitions": [], "ranges": [], "gaps": []}
    retried = loyalty("rejected", "retry", "--all", exit_code=3)
    assert f"0 posted, 0 recorded before, {told['rejected']} refused" in retried.output
    assert len(inflow.rejected_places()) == told["rejected"]


def test_an_event_is_retried_with_its_headers(loyalty: Loyalty, kafka: Kafka, ledger: Ledger) -> None:
    """Without the headers a binary CloudEvent has no type."""
    inflow = Inflow(kafka, ledger, 1, partitions=1)
    command = encode(inflow.club.buy("m1", "o1")).replace(b'"type":"purchase.v1",', b"")
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"o1"), ("ce_source", b"pos"), ("ce_type", b"purchase.v1")]
    from tests.kafka.inflow import producer

    with producer(kafka) as writer:
        inflow.note([(command, writer.send(inflow.topic, command, key=b"m1", headers=headers))])
    loyalty("consume", "--topic", inflow.topic, "--group", inflow.topic, "--until-caught-up", exit_code=3)
    assert loyalty.json("rejected", "list")["code"] == "MEMBER_UNKNOWN"
    assert "1 posted" in loyalty("rejected", "retry", "--all", "--auto-enrol").output


def test_a_stopped_partition_is_told_and_accepted(loyalty: Loyalty, kafka: Kafka, ledger: Ledger) -> None:
    """Exit code 1 while it is stopped; the words say what to do."""
    inflow = Inflow(kafka, ledger, 1, partitions=1)
    consume = ("consume", "--topic", inflow.topic, "--group", inflow.topic, "--until-caught-up")
    send(inflow, 0, 5)
    loyalty(*consume, exit_code=3)  # nobody is enrolled
    send(inflow, 0, 5)
    delete_before(inflow, 0, 8)
    told = loyalty(*consume, exit_code=1)
    assert "offsets 5 to 7" in told.output
    assert f"loyalty sources accept-gap {inflow.topic} 0" in told.output
    assert "not accepted" in loyalty("sources").output
    assert "it goes on at 8" in loyalty("sources", "accept-gap", inflow.topic, "0").output
    loyalty("sources", "accept-gap", inflow.topic, "0", exit_code=1)
    loyalty(*consume, exit_code=3)
    assert inflow.next_offsets() == {0: 10}


def test_sigterm_ends_it_in_order(loyalty: Loyalty, kafka: Kafka, ledger: Ledger) -> None:
    """Exit code 130, and the next one finds nothing half done."""
    inflow = Inflow(kafka, ledger, 4)
    inflow.produce(inflow.purchases(200))
    process = loyalty.start("consume", "--topic", inflow.topic, "--group", inflow.topic, "--auto-enrol")
    wait_for(lambda: inflow.taken()["posted"] > 0)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, errors
    assert "posted" in output
    inflow.consume()
    inflow.assert_exact(ledger)


def test_a_topic_that_is_not_there_is_said(loyalty: Loyalty) -> None:
    told = loyalty("consume", "--topic", "no-such-topic", "--until-caught-up", exit_code=1)
    assert "there is no topic 'no-such-topic'" in told.output
