"""The log of long-running commands: a line each, in the format asked for, with no secret and nothing personal in it."""

from __future__ import annotations

import json
import logging
import signal
from datetime import datetime

import click
import psycopg2
import pytest
from kafka import KafkaProducer

from ledger.codec import encode
from ledger.commands import PurchaseLine
from ledger.engine import Ledger
from ledger.store.database import Database
from service.logs import logging_to_stderr
from tests.broker import Kafka
from tests.cli.running import Loyalty
from tests.faults.proxy import Proxy
from tests.kafka.inflow import Inflow, producer
from tests.operations.asking import ask, free_port, samples
from tests.waiting import PATIENCE_SECONDS, wait_for

SECRET = "hunter2"
PERSONAL = "Ada Lovelace"


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_exception_keeps_its_place_and_loses_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Words of an exception may quote what the ledger was given."""
    for log_format in ("text", "json"):
        with logging_to_stderr(log_format, "test"):
            try:
                raise ValueError(f"cannot decode {PERSONAL}")
            except ValueError:
                logging.getLogger("consumers.kafka_in").exception("kafka:t:0:7: the decoder failed on it")
        told = capsys.readouterr().err
        assert PERSONAL not in told
        assert "kafka:t:0:7: the decoder failed on it" in told
        assert "builtins.ValueError" in told
        assert "test_logs.py" in told


def test_the_state_of_a_database_error_is_kept(database_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    connection = psycopg2.connect(database_dsn)
    with logging_to_stderr("json", "test"), connection.cursor() as cursor:
        try:
            cursor.execute("SELECT %s::int", (PERSONAL,))
        except psycopg2.Error:
            logging.getLogger("ledger").exception("it failed")
    connection.close()
    (line,) = lines(capsys.readouterr().err)
    assert "SQLSTATE 22P02" in line["exc_info"]
    assert PERSONAL not in line["exc_info"]


def test_lines_have_time_level_logger_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr("json", "relay") as troubles:
        logging.getLogger("consumers.relay").info("published\nand on one line")
        logging.getLogger("consumers.relay").warning("trouble")
        logging.getLogger("kafka").info("other libraries only warn")
    told, warned = lines(capsys.readouterr().err)
    assert (told["level"], told["logger"], told["command"]) == ("INFO", "consumers.relay", "relay")
    assert datetime.fromisoformat(told["timestamp"]).tzinfo is not None
    assert warned["message"] == "trouble"
    assert troubles.last is not None
    assert troubles.last[1] == "trouble"
    assert troubles.counts == {"warning": 1}
    with logging_to_stderr("text", "relay"):
        logging.getLogger("consumers.relay").info("published")
    assert capsys.readouterr().err.endswith("Z INFO published\n")


def test_what_ends_the_command_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as ended, logging_to_stderr("json", "consume"):
        raise click.UsageError("no such topic")
    assert ended.value.exit_code == 2
    with pytest.raises(click.exceptions.Exit), logging_to_stderr("json", "consume"):
        raise LookupError(PERSONAL)
    first, second = lines(capsys.readouterr().err)
    assert (first["level"], first["message"]) == ("CRITICAL", "no such topic")
    assert "LookupError" in second["exc_info"]
    assert PERSONAL not in str(second)


def test_a_consumer_that_meets_everything_bad(database: Database, database_dsn: str, kafka: Kafka) -> None:
    """Refused and malformed messages with personal data, the database gone and back, metrics asked for: every line is
    JSON, and neither the log nor what is served has a secret or a person in it.
    """
    ledger = Ledger(database)
    inflow = Inflow(kafka, ledger, 1, partitions=1)
    club, port = inflow.club, free_port()
    line = PurchaseLine(sku=PERSONAL, quantity=1, amount_minor=100)
    messages = [
        encode(club.enrol("m1")),
        encode(club.profile("m1", "p1", name=PERSONAL)),
        encode(club.buy("m1", "b1", lines=[line], currency="EUR")),
        encode(club.profile("unknown", "p2", name=PERSONAL)),
        f'{{"type":"profile.v1","id":"x","personal":{{"name":"{PERSONAL}"}}, "oops"'.encode(),
        encode(club.buy("m1", "b2")).replace(b'"amount_minor":10000', f'"amount_minor":"{PERSONAL}"'.encode()),
    ]
    with Proxy(database_dsn) as proxy:
        loyalty = Loyalty(
            LOYALTY_DATABASE_URL=f"{proxy.dsn} password={SECRET}",
            LOYALTY_KAFKA_BOOTSTRAP=kafka.bootstrap,
            LOYALTY_LOG_FORMAT="json",
            LOYALTY_METRICS_PORT=str(port),
        )
        process = loyalty.start("consume", "--topic", inflow.topic, "--group", inflow.topic)
        send(kafka, inflow.topic, messages)
        wait_for(lambda: inflow.next_offsets().get(0) == len(messages))
        proxy.cut_all(refuse=True)
        send(kafka, inflow.topic, [encode(club.buy("m1", "b3"))])
        wait_for(lambda: samples(ask(port, "/metrics").body).get("loyalty_consumer_waiting") == 1)
        wait_for(lambda: ask(port, "/health/ready").status == 503)
        proxy.allow()
        wait_for(lambda: inflow.next_offsets().get(0) == len(messages) + 1)
        wait_for(lambda: ask(port, "/health/ready").status == 200)
        served = b"".join(ask(port, path).body for path in ("/metrics", "/health/live", "/health/ready")).decode()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    ledger.close()
    assert len(club.refused()) >= 3
    found = lines(errors)
    assert {each["level"] for each in found} >= {"INFO", "WARNING"}
    assert any("the database failed, trying again" in each["message"] for each in found)
    assert found[-1]["message"].startswith("Stopped.")
    for text in (errors, served):
        assert SECRET not in text
        assert PERSONAL not in text
        assert "Ada" not in text


def test_the_server_logs_like_the_others(database_dsn: str) -> None:
    loyalty = Loyalty(LOYALTY_DATABASE_URL=database_dsn, LOYALTY_LOG_FORMAT="json")
    process = loyalty.start("serve", "--port", "0")
    assert process.stdout is not None
    port = process.stdout.readline().split()[2].rpartition(":")[2].rstrip(",")
    wait_for(lambda: ask(int(port), "/v1/docs").status == 200)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    found = lines(errors)
    assert {each["command"] for each in found} == {"serve"}
    assert found[-1]["message"].startswith("Stopped")


def send(kafka: Kafka, topic: str, messages: list[bytes]) -> None:
    with producer(kafka) as writer:
        assert isinstance(writer, KafkaProducer)
        for message in messages:
            writer.send(topic, message, key=b"m1").get(timeout=PATIENCE_SECONDS)
