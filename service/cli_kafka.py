"""`loyalty consume`, `loyalty lag` and `loyalty sources`: messages from Kafka, how far they are taken, and what became
of them.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from kafka.errors import KafkaError
from msgspec import Struct

from consumers.kafka_client import ClientSettings, LogReader
from consumers.kafka_in import Consumer, ConsumeSettings, Progress
from ledger.store import sources
from ledger.store.database import Database
from service.console import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_REJECTED,
    count,
    instant,
    say,
    show_json,
    show_table,
    stop,
)
from service.metrics import of_consumer
from service.options import bootstrap_option, metrics_port_option
from service.read_models import projection_lags
from service.settings import Settings
from service.stopping import stopping
from service.watching import PROGRESS_SECONDS, since, watched
from service.workspace import opened

AGE_SECONDS_MAX: Final = 5.0

_log = logging.getLogger(__name__)


@click.command("consume")
@bootstrap_option
@click.option("--topic", "topics", multiple=True, required=True, help="A topic of messages; repeatable.")
@click.option("--group", default="loyalty", show_default=True, help="The consumer group to be a member of.")
@click.option("--programme", help="For messages that name none (default: LOYALTY_PROGRAMME).")
@click.option("--auto-enrol", is_flag=True, help="Enrol unknown members at their first purchase.")
@click.option("--until-caught-up", is_flag=True, help="End when everything is taken that was there at the start.")
@metrics_port_option
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON, at the end.")
@click.pass_obj
def consume_command(
    settings: Settings,
    bootstrap: str,
    topics: tuple[str, ...],
    group: str,
    programme: str | None,
    auto_enrol: bool,
    until_caught_up: bool,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Take the messages of Kafka topics, each exactly once, until Ctrl-C.

    Any number of consumers share the partitions. Refused messages are kept: see `loyalty rejected`. A partition whose
    messages are gone from Kafka stops, and the others go on: see `loyalty sources`. Exit code 1 if one is stopped. With
    --until-caught-up: 3 if messages were refused.
    """
    wanted = ConsumeSettings(
        client=ClientSettings(bootstrap=bootstrap, topics=topics, group=group),
        programme=programme or settings.programme,
        auto_enrol=auto_enrol,
        until_caught_up=until_caught_up,
    )
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)  # it takes a machine that is busy for a defect
    started = time.monotonic()
    with watched(settings, "consume", metrics_port) as watch:
        with (
            opened(settings, watch.metrics.observe_transaction) as workspace,
            stopping(_log.info) as stopped,
            _live(settings) as show,
        ):
            consumer = Consumer(workspace.ledger, wanted)
            progress = consumer.progress
            watch.serve(
                workspace.database.dsn,
                of_consumer(progress),
                trouble=lambda: progress.state,
                idle_seconds=lambda: max(since(progress.turned_at), since(progress.in_hand_since)),
            )
            try:
                consumer.run(stopped, show)
            except LookupError as error:
                raise click.ClickException(str(error)) from error
        seconds = time.monotonic() - started
        if as_json:
            show_json(_summary(progress, seconds, stopped.is_set()))
        else:
            say(_counted(progress) + f" in {seconds:,.1f} s.")
        for (topic, partition), reason in sorted(progress.stopped.items()):
            _log.error("Topic %s, partition %s is stopped: %s.", topic, partition, reason)
            _log.error("To go on without them: loyalty sources accept-gap %s %s", topic, partition)
        if progress.stopped:
            stop(EXIT_FAILURE)
        if stopped.is_set():
            _log.info("Stopped. The next consumer goes on where this one ended.")
            stop(EXIT_INTERRUPTED)
        if progress.rejected:
            stop(EXIT_REJECTED)


def _summary(progress: Progress, seconds: float, interrupted: bool) -> dict[str, Any]:
    return {
        "read": progress.read,
        "posted": progress.posted,
        "duplicate": progress.duplicate,
        "rejected": progress.rejected,
        "taken_before": progress.taken,
        "dropped": progress.dropped,
        "rejected_by_code": dict(progress.codes),
        "lag": progress.lag,
        "stopped": [{"topic": t, "partition": p, "reason": why} for (t, p), why in sorted(progress.stopped.items())],
        "seconds": round(seconds, 3),
        "interrupted": interrupted,
    }


def _counted(progress: Progress) -> str:
    before = f", {progress.taken:,} taken before" if progress.taken else ""
    return (
        f"{progress.posted:,} posted, {progress.duplicate:,} duplicate, {progress.rejected:,} rejected{before};"
        f" lag {progress.lag:,}"
    )


class _Rate:
    """Messages a second since the time before."""

    def __init__(self) -> None:
        self._at, self._done = time.monotonic(), 0

    def __call__(self, progress: Progress) -> float:
        now, done = time.monotonic(), progress.posted + progress.duplicate + progress.rejected
        rate = (done - self._done) / max(now - self._at, 0.001)
        self._at, self._done = now, done
        return rate


def _line(progress: Progress, rate: float) -> str:
    of = count(progress.partitions, "partition")
    stopped = f" ({len(progress.stopped)} stopped)" if progress.stopped else ""
    state = f" — {progress.state}" if progress.state else ""
    return f"{rate:,.0f}/s, {_counted(progress)}; {of}{stopped}{state}"


@contextmanager
def _live(settings: Settings) -> Iterator[Callable[[Progress], None]]:
    """A live line on a terminal; otherwise a line of the log every few seconds."""
    rate, said_at = _Rate(), time.monotonic()
    if not sys.stderr.isatty() or settings.log_format == "json":

        def tell(progress: Progress) -> None:
            nonlocal said_at
            if time.monotonic() - said_at >= PROGRESS_SECONDS:
                said_at = time.monotonic()
                _log.info("%s", _line(progress, rate(progress)))

        yield tell
        return
    from rich.console import Console

    with Console(stderr=True).status("joining the group …") as status:

        def show(progress: Progress) -> None:
            nonlocal said_at
            if time.monotonic() - said_at >= 1.0:
                said_at = time.monotonic()
                status.update(_line(progress, rate(progress)))

        yield show


# --- lag ----------------------------------------------------------------------------------------------------------


class PartitionLag(Struct, frozen=True):
    """How far a partition is behind. `oldest_at` is the time of the first message not taken, None where all are taken
    and where it could not be read.
    """

    topic: str
    partition: int
    next_offset: int
    end_offset: int
    lag: int
    oldest_at: datetime | None
    stopped: str


@click.command("lag")
@bootstrap_option
@click.option("--topic", "topics", multiple=True, help="A topic; repeatable (default: all that were taken from).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def lag_command(settings: Settings, bootstrap: str, topics: tuple[str, ...], as_json: bool) -> None:
    """Show how far we are behind: messages of Kafka not taken, and events that the read models have not folded in.

    The end of a partition is that of the newest committed message or control record.
    """
    with opened(settings) as workspace:
        try:
            partitions = partition_lags(workspace.database, bootstrap, topics)
        except (KafkaError, LookupError) as error:
            raise click.ClickException(f"Kafka at {bootstrap}: {error}") from error
        with workspace.database.connection() as cur:
            projections = projection_lags(cur)
    if as_json:
        show_json({"partitions": partitions, "projections": projections})
        return
    show_table(
        ("topic", "#partition", "#next offset", "#end", "#lag", "oldest", "stopped"),
        (
            (
                each.topic,
                each.partition,
                each.next_offset,
                each.end_offset,
                each.lag,
                _age(each.oldest_at),
                each.stopped,
            )
            for each in partitions
        ),
    )
    show_table(("projection", "#lag"), ((each.projection, each.lag) for each in projections))


def partition_lags(database: Database, bootstrap: str, topics: tuple[str, ...]) -> list[PartitionLag]:
    """The lag of every partition of the topics, or of all topics that were taken from."""
    with database.connection() as cur:
        known = {(each.topic, each.partition): each for each in sources.partitions(cur)}
    names = topics or tuple(sorted({topic for topic, _ in known}))
    with LogReader(bootstrap) as reader:
        bounds = reader.bounds(names)
        taken = {name: known[name].next_offset if name in known else at.begin for name, at in bounds.items()}
        behind = {name: max(taken[name], at.begin) for name, at in bounds.items() if at.end > taken[name]}
        times = reader.timestamps_ms(behind, AGE_SECONDS_MAX) if behind else {}
    return [
        PartitionLag(
            topic=name[0],
            partition=name[1],
            next_offset=taken[name],
            end_offset=at.end,
            lag=max(at.end - taken[name], 0),
            oldest_at=_moment(times.get(name, -1)),
            stopped=known[name].stopped if name in known else "",
        )
        for name, at in sorted(bounds.items())
    ]


def _moment(timestamp_ms: int) -> datetime | None:
    if timestamp_ms < 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _age(at: datetime | None) -> str:
    if at is None:
        return ""
    seconds = max((datetime.now(UTC) - at).total_seconds(), 0)
    return f"{seconds:,.1f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


# --- sources ------------------------------------------------------------------------------------------------------


@click.group("sources", invoke_without_command=True)
@click.option("--topic", default="", help="Only of a topic.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def sources_group(context: click.Context, topic: str, as_json: bool) -> None:
    """Show which offsets were taken of every partition, what became of them, and any gap.

    Offsets between that are no messages (control records, aborted transactions, compaction) are no gaps.
    """
    if context.invoked_subcommand is not None:
        return
    settings: Settings = context.obj
    with opened(settings) as workspace, workspace.database.connection() as cur:
        partitions = sources.partitions(cur, topic)
        stretches, gaps = sources.stretches(cur, topic), sources.gaps(cur, topic)
    if as_json:
        show_json({"partitions": partitions, "ranges": stretches, "gaps": gaps})
        return
    columns = ("topic", "#partition", "#from", "#to", "#messages", "#posted", "#duplicate", "#rejected", "until")
    show_table(
        columns,
        (
            (s.topic, s.partition, s.first_offset, s.next_offset - 1, s.messages, s.posted, s.duplicate, s.rejected,
             s.updated_at)
            for s in stretches
        ),
    )  # fmt: skip
    for gap in gaps:
        accepted = "not accepted" if gap.accepted_at is None else f"accepted {instant(gap.accepted_at)}"
        say(f"Gap: {gap.topic}, partition {gap.partition}: {gap.reason} ({accepted}).")
    if not gaps:
        say("No gaps.")


@sources_group.command("accept-gap")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0))
@click.pass_obj
def accept_gap_command(settings: Settings, topic: str, partition: int) -> None:
    """Give up the lost offsets of a stopped PARTITION of a TOPIC, so that it goes on after them."""
    with opened(settings) as workspace:
        try:
            with workspace.database.transaction() as cur:
                first, to = sources.accept_gap(cur, topic, partition)
        except sources.NoGap as error:
            raise click.ClickException(str(error)) from error
    lost = (
        f"offsets {first} to {to - 1} are given up"
        if to > first
        else f"what was to come from offset {first} is given up"
    )
    say(f"Topic {topic}, partition {partition}: {lost}; it goes on at {to}.")


COMMANDS = (consume_command, lag_command, sources_group)
