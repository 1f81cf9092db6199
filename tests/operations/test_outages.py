"""The database gone and back, for each command that runs for long: it waits, says so, and goes on with nothing lost."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from consumers.relay import lag
from ledger.engine import Ledger
from ledger.store.database import Database
from service.read_models import projection_lags
from tests.broker import Kafka
from tests.cli.running import Loyalty
from tests.engine.clubs import Club, submissions
from tests.faults.proxy import Proxy
from tests.kafka.relaying import Topics, fresh_topics, header, read_all
from tests.operations.asking import ask, free_port, samples
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def topics(kafka: Kafka) -> Iterator[Topics]:
    with fresh_topics(kafka) as names:
        yield names


@pytest.fixture
def club(database: Database) -> Iterator[Club]:
    """Its writer reaches the database at all times."""
    ledger = Ledger(database)
    opened = Club(database, 2).open(ledger)
    opened.ledger = ledger  # type: ignore[attr-defined]
    yield opened
    ledger.close()


def write(club: Club, first: int, count: int) -> None:
    names = [f"m{n}" for n in range(first, first + count)]
    batch = [*(club.enrol(name) for name in names), *(club.accrue(name, f"a-{name}", 3) for name in names)]
    club.ledger.handle(submissions(batch))  # type: ignore[attr-defined]


@contextmanager
def running(loyalty: Loyalty, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A command with its port; it is ended in order, and must then say so."""
    port = free_port()
    process = loyalty.start(*arguments, "--metrics-port", str(port))
    try:
        yield process, port
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode in (0, 130), errors
        assert "Traceback" not in errors
        assert output
    except BaseException:
        process.kill()
        print(*process.communicate(), sep="\n")  # noqa: T201 - pytest shows it where the test failed
        raise


def metric(port: int, name: str) -> float | None:
    """None where it is not told; what is told may be a second old."""
    return samples(ask(port, "/metrics").body).get(name)


def failures(port: int, name: str) -> float:
    return metric(port, name) or 0.0


def test_the_projector(club: Club, database: Database, database_dsn: str) -> None:
    """Not ready but alive while the database is away; then every read model is up to date."""
    with Proxy(database_dsn) as proxy, running(Loyalty(LOYALTY_DATABASE_URL=proxy.dsn), "project") as (_, port):
        write(club, 0, 10)
        wait_for(lambda: behind(database) == 0)
        wait_for(lambda: ask(port, "/health/ready").status == 200)
        proxy.cut_all(refuse=True)
        write(club, 10, 10)
        wait_for(lambda: failures(port, "loyalty_projection_failures_total{read_models=points}") >= 2)
        wait_for(lambda: ask(port, "/health/ready").status == 503)
        told = ask(port, "/health/ready")
        assert told.json["checks"]["work"].startswith("OperationalError")
        assert "the database failed" in told.json["last_error"]["message"]
        assert ask(port, "/health/live").status == 200
        wait_for(lambda: metric(port, "loyalty_database_up") == 0)
        assert behind(database) > 0
        proxy.allow()
        wait_for(lambda: behind(database) == 0)
        wait_for(lambda: ask(port, "/health/ready").status == 200)
        wait_for(lambda: metric(port, "loyalty_projection_lag_events{projection=balances}") == 0)
    with database.connection() as cur:
        cur.execute("SELECT count(*), sum(open) FROM balances")
        assert cur.fetchone() == (20, 60)


def behind(database: Database) -> int:
    with database.connection() as cur:
        return sum(each.lag for each in projection_lags(cur))


def test_the_relay(club: Club, database: Database, database_dsn: str, kafka: Kafka, topics: Topics) -> None:
    """What was recorded meanwhile is published when the database is back, each event once."""
    arguments = ["relay", "--bootstrap", kafka.bootstrap, "--topic", topics.events, "--balances-topic", topics.balances]
    with Proxy(database_dsn) as proxy, running(Loyalty(LOYALTY_DATABASE_URL=proxy.dsn), *arguments) as (_, port):
        write(club, 0, 10)
        wait_for(lambda: lag(database, topics.events) == 0)
        wait_for(lambda: ask(port, "/health/ready").status == 200)
        proxy.cut_all(refuse=True)
        write(club, 10, 10)
        wait_for(lambda: failures(port, "loyalty_relay_failures_total") >= 2)
        wait_for(lambda: ask(port, "/health/ready").status == 503)
        assert ask(port, "/health/live").status == 200
        assert lag(database, topics.events) > 0
        proxy.allow()
        wait_for(lambda: lag(database, topics.events) == 0)
        wait_for(lambda: ask(port, "/health/ready").status == 200)
        wait_for(lambda: metric(port, "loyalty_relay_lag_events") == 0)
    published = [header(each, "ce_id") for each in read_all(kafka, topics.events)]
    recorded = [b"%d:%d" % (row.journal, row.position) for rows in club.rows() for row in rows]
    assert sorted(published, key=repr) == sorted(recorded, key=repr)


def test_a_port_that_is_taken_is_told(database_dsn: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = Loyalty(LOYALTY_DATABASE_URL=database_dsn)("project", "--once", "--metrics-port", port, exit_code=1)
    assert "Address already in use" in told.output
