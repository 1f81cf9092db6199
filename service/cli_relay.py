"""`loyalty relay`: what was recorded, on to Kafka."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from typing import Final

import click
from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError
from prometheus_client.core import Metric

from consumers import dead_letters, relay
from consumers.relay import BALANCES_TOPIC, PARTITIONS, TOPIC, ReadBackFailed, Relay, UnknownPosition
from ledger.store.database import Database
from projections.checkpoints import ProjectionOutdated
from service.console import EXIT_FAILURE, count, say, stop
from service.metrics import of_projector, of_relay
from service.options import bootstrap_option, metrics_port_option
from service.projector import Projector
from service.settings import Settings
from service.stopping import stopping
from service.watching import Watch, reporting, since, watched
from service.workspace import opened

TOPIC_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

_log = logging.getLogger(__name__)


class _Position(click.ParamType):
    name = "JOURNAL:POSITION"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"([1-9][0-9]{0,8}):([1-9][0-9]{0,17})", value)
        if match is None:
            self.fail(f"{value!r} is not a journal and a position from 1, such as 3:1", param, context)
        return int(match[1]), int(match[2])


def _topic(context: click.Context, param: click.Parameter, value: str) -> str:
    if not TOPIC_PATTERN.fullmatch(value):
        raise click.BadParameter("a topic has 1 to 249 letters, digits, '.', '_' and '-'", context, param)
    return value


@click.command("relay")
@bootstrap_option
@click.option("--topic", default=TOPIC, show_default=True, callback=_topic, help="For the events.")
@click.option(
    "--balances-topic", default=BALANCES_TOPIC, show_default=True, callback=_topic, help="For the newest balances."
)
@click.option("--no-balances", is_flag=True, help="Publish no balances.")
@click.option("--once", is_flag=True, help="Publish all that is recorded, and end.")
@click.option(
    "--from", "positions", type=_Position(), multiple=True, help="Publish a journal again from here; may be repeated."
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=PARTITIONS,
    show_default=True,
    help="Of topics that must be created.",
)
@metrics_port_option
@click.pass_obj
def relay_command(
    settings: Settings,
    bootstrap: str,
    topic: str,
    balances_topic: str,
    no_balances: bool,
    once: bool,
    positions: tuple[tuple[int, int], ...],
    partitions: int,
    metrics_port: int | None,
) -> None:
    """Publish recorded events, newest balances and dead letters to Kafka, until Ctrl-C.

    Each event of every programme, in the order of its member, at least once: killed anywhere, it goes on where it ended
    when it is started again. Of several relays one is active, the others wait. Missing topics are created.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it is said in our own words
    with (
        watched(settings, "relay", metrics_port) as watch,
        opened(settings) as workspace,
        stopping(_log.info) as stopped,
    ):
        database = workspace.database
        running = Relay(
            database,
            bootstrap,
            topic=topic,
            balances_topic=None if no_balances else balances_topic,
            partitions=partitions,
            say=_log.info,
        )
        projecting = None if no_balances else Projector(database)
        _serve(watch, running, projecting, database, topic)
        try:
            running.replay_from(dict(positions))
            with reporting(_Report(running, database, topic)):
                _run(running, projecting, stopped, once=once)
        except UnknownPosition as error:
            raise click.BadParameter(str(error), param_hint="--from") from error
        except ReadBackFailed as error:
            raise click.ClickException(str(error)) from error
        except KafkaError as error:
            raise click.ClickException(f"Kafka at {bootstrap}: {error}") from error
        done = running.progress
        say(
            f"{count(done.events, 'event')}, {count(done.balances, 'balance')} and"
            f" {count(done.dead_letters, 'dead letter')} published."
        )
        if stopped.is_set() and once:
            _log.error("Stopped before everything was published; run it again to go on.")
            stop(EXIT_FAILURE)


def _run(running: Relay, projecting: Projector | None, stopped: threading.Event, *, once: bool) -> None:
    if once:
        if projecting is not None:
            projecting.run_once(stopped)
        running.run_once(stopped)
        return
    errors: list[ProjectionOutdated] = []

    def project() -> None:
        assert projecting is not None
        try:
            projecting.follow(stopped)
        except ProjectionOutdated as error:
            errors.append(error)
            stopped.set()

    thread = threading.Thread(target=project, name="balances")
    if projecting is not None:
        thread.start()
    try:
        running.follow(stopped)
    finally:
        stopped.set()
        if projecting is not None:
            thread.join()
    if errors:
        raise click.ClickException(str(errors[0]))


def _serve(watch: Watch, running: Relay, projecting: Projector | None, database: Database, topic: str) -> None:
    relaying = running.progress

    def behind() -> int | None:
        try:
            return relay.lag(database, topic)
        except PersistenceError:
            return None

    def metrics() -> Iterator[Metric]:
        yield from of_relay(relaying, behind)()
        if projecting is not None:
            yield from of_projector(projecting.progress)()

    watch.serve(
        database.dsn,
        metrics,
        trouble=lambda: relaying.trouble or ("" if projecting is None else projecting.trouble),
        idle_seconds=lambda: max(
            since(relaying.turned_at), since(None if projecting is None else projecting.turned_at)
        ),
    )


class _Report:
    """A line of the log: what went out since the one before."""

    def __init__(self, running: Relay, database: Database, topic: str) -> None:
        self._running, self._database, self._topic = running, database, topic
        self._events, self._at = 0, time.monotonic()

    def __call__(self) -> None:
        now, done = time.monotonic(), self._running.progress.events
        rate = (done - self._events) / (now - self._at)
        _log.info("%s events/s, %s", f"{rate:,.0f}", _counted(self._running, self._database, self._topic))
        self._events, self._at = done, now


def _counted(running: Relay, database: Database, topic: str) -> str:
    done = running.progress
    try:
        behind = f"{relay.lag(database, topic):,} behind"
        waiting = f"{dead_letters.waiting(database):,} waiting"
    except PersistenceError:
        behind, waiting = "lag unknown: the database does not answer", "others unknown"
    state = "" if done.state == "active" else f"; {done.state}"
    return (
        f"{done.events:,} published, {behind}; {done.balances:,} balances;"
        f" {done.dead_letters:,} dead letters, {waiting}{state}"
    )


COMMANDS: Final = (relay_command,)
