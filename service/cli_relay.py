"""`loyalty relay`: what was recorded, on to Kafka."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError

from consumers import dead_letters, relay
from consumers.relay import BALANCES_TOPIC, PARTITIONS, TOPIC, ReadBackFailed, Relay, UnknownPosition
from ledger.store.database import Database
from projections.checkpoints import ProjectionOutdated
from projections.runner import Runner
from service.console import EXIT_FAILURE, count, note, say, stop
from service.options import bootstrap_option
from service.read_models import catch_up, read_models
from service.settings import Settings
from service.stopping import stopping
from service.workspace import opened

PROGRESS_SECONDS: Final = 5.0
TOPIC_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


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
) -> None:
    """Publish recorded events, newest balances and dead letters to Kafka, until Ctrl-C.

    Each event of every programme, in the order of its member, at least once: killed anywhere, it goes on where it ended
    when it is started again. Of several relays one is active, the others wait. Missing topics are created.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it is said in our own words
    with opened(settings) as workspace, stopping() as stopped:
        running = Relay(
            workspace.database,
            bootstrap,
            topic=topic,
            balances_topic=None if no_balances else balances_topic,
            partitions=partitions,
            say=note,
        )
        try:
            running.replay_from(dict(positions))
            with _reporting(running, workspace.database, topic, stopped):
                _run(running, workspace.database, stopped, once=once, balances=not no_balances)
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
            stop(EXIT_FAILURE, "Stopped before everything was published; run it again to go on.")


def _run(running: Relay, database: Database, stopped: threading.Event, *, once: bool, balances: bool) -> None:
    if once:
        if balances:
            catch_up(database)
        running.run_once(stopped)
        return
    errors: list[ProjectionOutdated] = []

    def project() -> None:
        try:
            Runner(database, read_models()).follow(stopped)
        except ProjectionOutdated as error:
            errors.append(error)
            stopped.set()

    projecting = threading.Thread(target=project, name="balances")
    if balances:
        projecting.start()
    try:
        running.follow(stopped)
    finally:
        stopped.set()
        if balances:
            projecting.join()
    if errors:
        raise click.ClickException(str(errors[0]))


@contextmanager
def _reporting(running: Relay, database: Database, topic: str, stopped: threading.Event) -> Iterator[None]:
    """A line every few seconds on standard error."""
    ended = threading.Event()

    def report() -> None:
        events, at = 0, time.monotonic()
        while not ended.wait(PROGRESS_SECONDS):
            now, done = time.monotonic(), running.progress.events
            note(f"{(done - events) / (now - at):,.0f} events/s, {_counted(running, database, topic)}")
            events, at = done, now

    reporting = threading.Thread(target=report, name="progress")
    reporting.start()
    try:
        yield
    finally:
        ended.set()
        reporting.join()


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
