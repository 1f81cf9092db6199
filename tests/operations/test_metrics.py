"""What the metrics count is what happened, and watching costs nothing per event."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from consumers import kafka_in, relay
from ledger.engine import Ledger
from ledger.group_commit import GroupCommit
from ledger.measures import TransactionMeasure
from ledger.store.database import Database
from ledger.submissions import Submission
from projections.runner import Progress
from service.health import TURN_SECONDS_MAX, Health, Probe, Trouble
from service.logs import logging_to_stderr
from service.metrics import Metrics, of_consumer, of_database, of_log, of_projector, of_relay
from service.projector import Projector
from service.watching import serving
from tests.conftest import execute_on
from tests.engine.clubs import Club, J, statuses, submissions
from tests.engine.test_group_commit import HeldLedger, queued
from tests.faults.proxy import Proxy
from tests.operations.asking import ask, samples
from tests.operations.documented import ROOT


@contextmanager
def watched_ledger(database: Database) -> Iterator[tuple[Ledger, list[TransactionMeasure]]]:
    measures: list[TransactionMeasure] = []
    ledger = Ledger(database, on_transaction=measures.append)
    yield ledger, measures
    ledger.close()


@pytest.mark.parametrize("journals", J)
def test_a_transaction_tells_what_it_did(database: Database, journals: int) -> None:
    """What the measures add up to is what the outcomes say, whatever the batch was cut into."""
    with watched_ledger(database) as (ledger, measures):
        club = Club(database, journals).open(ledger)
        names = [f"m{n}" for n in range(20)]
        batch = submissions(
            [
                *(club.enrol(name) for name in names),
                *(club.accrue(name, f"a-{name}", 5) for name in names),
                *(club.accrue(name, f"a-{name}", 5) for name in names[:7]),
                *(club.redeem(name, f"r-{name}", 1_000) for name in names[:3]),
                club.accrue("nobody", "x", 5),
            ]
        )
        before = sum(row is not None for rows in club.rows() for row in rows)
        measures.clear()
        outcomes = Counter(statuses(ledger.handle(batch)))
        events = sum(len(rows) for rows in club.rows()) - before
        assert sum(each.commands for each in measures) == len(batch)
        assert sum(each.posted for each in measures) == outcomes["posted"] == 40
        assert sum(each.duplicate for each in measures) == outcomes["duplicate"] == 7
        assert sum((Counter(each.rejected) for each in measures), Counter()) == {
            "INSUFFICIENT_POINTS": 3,
            "MEMBER_UNKNOWN": 1,
        }
        assert sum(each.events for each in measures) == events == 40
        assert sum(each.loaded for each in measures) == 21
        assert sum(each.cached for each in measures) == 0
        assert all(min(each.open_seconds, each.decide_seconds, each.commit_seconds) > 0 for each in measures)
        measures.clear()
        ledger.handle(submissions([club.accrue(name, f"b-{name}", 5) for name in names]))
        assert sum(each.cached for each in measures) == 20
        assert sum(each.loaded for each in measures) == 0


def test_a_transaction_that_failed_tells_nothing(database: Database, database_dsn: str) -> None:
    """It is told once, when it is committed: the try that the database dropped is not."""
    with Proxy(database_dsn) as proxy:
        away = Database(proxy.dsn)
        with watched_ledger(away) as (ledger, measures):
            club = Club(away, 1).open(ledger)
            ledger.handle(submissions([club.enrol("m1")]))
            measures.clear()
            proxy.arm("cut before", b"COPY events")
            assert statuses(ledger.handle(submissions([club.accrue("m1", "a", 5)]))) == ["posted"]
            assert proxy.reached.is_set()
            assert [(each.posted, each.events, each.duplicate) for each in measures] == [(1, 1, 0)]
        away.close()


def test_metrics_count_transactions(database: Database) -> None:
    metrics = Metrics()
    ledger = Ledger(database, on_transaction=metrics.observe_transaction)
    club = Club(database, 1).open(ledger)
    ledger.handle(submissions([club.enrol("m1"), club.accrue("m1", "a", 5), club.accrue("m2", "b", 5)]))
    ledger.close()
    found = samples(metrics.render()[0])
    assert found["loyalty_commands_total{status=posted}"] == 4
    assert found["loyalty_commands_total{status=rejected}"] == 1
    assert found["loyalty_rejected_total{code=MEMBER_UNKNOWN}"] == 1
    assert found["loyalty_events_total"] == 4
    assert found["loyalty_transaction_commands_sum"] == 5
    assert found["loyalty_transaction_commands_bucket{le=+Inf}"] == found["loyalty_transaction_commit_seconds_count"]
    assert found["loyalty_transaction_commit_seconds_sum"] > 0
    assert found["loyalty_member_lookups_total{found=database}"] == 2


def test_the_length_of_the_queue(database: Database) -> None:
    """While a batch is under way, those that wait for the next are counted."""
    ledger = HeldLedger(database)
    club = Club(database, 1)
    metrics = Metrics()
    with ThreadPoolExecutor(9) as pool, GroupCommit(ledger) as queue:
        metrics.watch_number("group_commit_waiting", "Commands that wait.", queue.waiting)
        futures = queued(queue, ledger, pool, [Submission(club.enrol(f"m{n}")) for n in range(9)])
        assert samples(metrics.render()[0])["loyalty_group_commit_waiting"] == 8
        ledger.go_on.set()
        assert [future.result().status for future in futures] == ["rejected"] * 9
        assert samples(metrics.render()[0])["loyalty_group_commit_waiting"] == 0
    ledger.close()


def test_the_lag_of_read_models(database: Database, database_dsn: str) -> None:
    metrics, probe = Metrics(), Probe(database_dsn)
    metrics.watch(of_database(probe))
    with watched_ledger(database) as (ledger, _):
        Club(database, 1).open(ledger)
    assert samples(metrics.render()[0])["loyalty_projection_lag_events{projection=balances}"] == 2
    projector = Projector(database)
    metrics.watch(of_projector(projector.progress))
    projector.run_once()
    probe._looked_at = 0.0
    found = samples(metrics.render()[0])
    assert found["loyalty_projection_lag_events{projection=balances}"] == 0
    for each in ("points", "figures"):
        assert found[f"loyalty_projection_events_total{{read_models={each}}}"] == 2
        assert found[f"loyalty_projection_batch_seconds_total{{read_models={each}}}"] > 0
    assert found["loyalty_database_up"] == 1
    probe.close()


def test_what_consumers_and_relays_report() -> None:
    consuming = kafka_in.Progress(
        read=9, posted=5, rejected=4, partitions=2, lags={("in", 0): 3, ("in", 1): 0}, stopped={("in", 1): "a gap"}
    )
    relaying = relay.Progress(state="active", events=7, balances=2, failures=1)
    metrics = Metrics()
    metrics.watch(of_consumer(consuming))
    metrics.watch(of_relay(relaying, lambda: 11))
    found = samples(metrics.render()[0])
    assert found["loyalty_consumer_messages_total{status=read}"] == 9
    assert found["loyalty_consumer_lag_messages{partition=0,topic=in}"] == 3
    assert found["loyalty_consumer_partition_stopped{partition=1,topic=in}"] == 1
    assert found["loyalty_consumer_waiting"] == 0
    assert found["loyalty_relay_published_total{kind=event}"] == 7
    assert found["loyalty_relay_active"] == 1
    assert found["loyalty_relay_lag_events"] == 11


def test_all_of_it_over_http(database_dsn: str) -> None:
    """In the format that Prometheus asks for; other paths are not there."""
    probe, metrics = Probe(database_dsn), Metrics()
    with (
        logging_to_stderr("text", "test") as troubles,
        serving("127.0.0.1", 0, metrics, Health(probe)) as port,
    ):
        metrics.watch(of_log(troubles))
        told = ask(port, "/metrics")
        assert told.status == 200
        assert told.content_type.startswith("text/plain; version=")
        assert "process_cpu_seconds_total" in samples(told.body)
        assert ask(port, "/health/live").json == {"ok": True, "checks": {"work": "ok"}, "last_error": None}
        assert ask(port, "/").status == ask(port, "/metrics/../etc").status == 404
    assert ask(port, "/metrics").status == 0
    probe.close()


# --- health -------------------------------------------------------------------------------------------------------


def health(dsn: str, **what: object) -> Health:
    """Of a process that looks at the database for the first time."""
    return Health(Probe(dsn), **what)  # type: ignore[arg-type]


def test_ready_where_all_is_there(database_dsn: str) -> None:
    told = health(database_dsn, lag_max=0).ready()
    assert told.ok
    assert told.checks["migrations"] == told.checks["database"] == told.checks["read model balances"] == "ok"


def test_not_ready_and_alive_without_a_database(database_dsn: str) -> None:
    """And ready again when it is back, by itself."""
    with Proxy(database_dsn) as proxy:
        asked = health(proxy.dsn)
        proxy.cut_all(refuse=True)
        told = asked.ready()
        assert not told.ok
        assert told.checks["database"].startswith("the database does not answer: ")
        assert "migrations" not in told.checks
        assert asked.live().ok
        proxy.allow()
        asked._probe._looked_at = 0.0
        assert asked.ready().ok


def test_not_ready_at_another_migration(database_dsn: str) -> None:
    execute_on(database_dsn, "DELETE FROM schema_migrations WHERE number = (SELECT max(number) FROM schema_migrations)")
    assert "the database is at migration" in health(database_dsn).ready().checks["migrations"]


def test_not_ready_where_a_read_model_is_behind(database: Database, database_dsn: str) -> None:
    with watched_ledger(database) as (ledger, _):
        Club(database, 1).open(ledger)
    assert health(database_dsn, lag_max=2).ready().ok
    assert health(database_dsn).ready().ok
    told = health(database_dsn, lag_max=1).ready()
    assert not told.ok
    assert told.checks["read model balances"] == "2 events behind, more than 1"


def test_not_ready_while_the_work_waits_and_not_alive_when_it_hangs(database_dsn: str) -> None:
    last = Trouble(datetime(2026, 1, 1, tzinfo=UTC), "Kafka went away")
    waiting = health(database_dsn, trouble=lambda: "Kafka does not answer", last_error=lambda: last)
    assert waiting.ready().checks["work"] == "Kafka does not answer"
    assert not waiting.ready().ok
    assert waiting.ready().last_error == last
    assert health(database_dsn, idle_seconds=lambda: TURN_SECONDS_MAX).live().ok
    hanging = health(database_dsn, idle_seconds=lambda: TURN_SECONDS_MAX + 1).live()
    assert not hanging.ok
    assert "nothing moved for 301 s" in hanging.checks["work"]


def test_the_documentation_names_the_metrics_that_there_are(database_dsn: str) -> None:
    """Every one of ours is in its table, and no other."""
    metrics, probe = Metrics(), Probe(database_dsn)
    with logging_to_stderr("text", "test") as troubles:
        for source in (
            of_consumer(kafka_in.Progress(lags={("in", 0): 3}, stopped={("in", 1): "a gap"})),
            of_relay(relay.Progress(), lambda: 1),
            of_projector({"points": Progress()}),
            of_database(probe),
            of_log(troubles),
        ):
            metrics.watch(source)
        metrics.watch_number("group_commit_waiting", "of serve", lambda: 0.0)
        families = {family.name: family.type for family in metrics.registry.collect()}
    probe.close()
    ours = {
        name + ("_total" if kind == "counter" else "") for name, kind in families.items() if name.startswith("loyalty_")
    }
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    assert set(re.findall(r"\bloyalty_[a-z_]+(?=[`{])", page)) - ROLES == ours


ROLES = {"loyalty_writer", "loyalty_reader"}
