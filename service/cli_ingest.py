"""`loyalty ingest` and `loyalty rejected`: messages in bulk, and those that were refused."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from consumers import rejected
from consumers.files import BATCH_MESSAGES, BATCH_MESSAGES_MAX, STANDARD_INPUT, Counts, ingest
from ledger.rejections import CODES
from ledger.store.source_files import FileRun
from ledger.submissions import Outcome, Submission
from service.console import EXIT_INTERRUPTED, EXIT_REJECTED, count, instant, note, say, show_json, show_table, stop
from service.settings import Settings
from service.stopping import stopping
from service.workspace import opened

EXAMPLES_MAX: Final = 5
PLAIN_PROGRESS_SECONDS: Final = 5.0


class Refusals:
    """What was refused, by code, with the first few in full."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, submissions: Sequence[Submission], outcomes: Sequence[Outcome]) -> None:
        """Take note of the refused among the outcomes of a batch."""
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if outcome.rejection is not None:
                self.codes[outcome.rejection.code] += 1
                if len(self.examples) < EXAMPLES_MAX:
                    self.examples.append(f"{submission.origin.removeprefix('file:')}: {outcome.rejection}")


@click.command("ingest")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--programme", help="For messages that name none (default: LOYALTY_PROGRAMME).")
@click.option("--auto-enrol", is_flag=True, help="Enrol unknown members at their first purchase.")
@click.option(
    "--batch",
    type=click.IntRange(1, BATCH_MESSAGES_MAX),
    default=BATCH_MESSAGES,
    show_default=True,
    help="Messages a transaction.",
)
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON.")
@click.pass_obj
def ingest_command(
    settings: Settings, files: tuple[str, ...], programme: str | None, auto_enrol: bool, batch: int, as_json: bool
) -> None:
    """Post the messages of JSON Lines FILES ("-": standard input), in order.

    Running it again posts nothing twice, so after Ctrl-C or a crash the same command goes on where it ended. Refused
    messages are kept: see `loyalty rejected`. Exit code 3 if some were.
    """
    refusals, started = Refusals(), time.monotonic()
    with opened(settings) as workspace, stopping() as stopped, _progress(files) as show:

        def on_batch(counts: Counts, submissions: Sequence[Submission], outcomes: Sequence[Outcome]) -> None:
            refusals.add(submissions, outcomes)
            show(counts)

        counts = ingest(
            workspace.ledger,
            files,
            programme=programme or settings.programme,
            auto_enrol=auto_enrol,
            batch_messages=batch,
            on_batch=on_batch,
            stopped=stopped,
            standard_input=sys.stdin.buffer,
            record=FileRun(workspace.database).record,
        )
    seconds = time.monotonic() - started
    if as_json:
        show_json(_summary(counts, refusals, seconds, stopped.is_set()))
    else:
        _say_summary(counts, refusals, seconds)
    if stopped.is_set():
        after = counts.last_line.removeprefix("file:") or "nothing"
        stop(EXIT_INTERRUPTED, f"Stopped after {after}. Run the same command again to go on: nothing is posted twice.")
    if counts.rejected:
        stop(EXIT_REJECTED)


def _summary(counts: Counts, refusals: Refusals, seconds: float, interrupted: bool) -> dict[str, Any]:
    return {
        "read": counts.read,
        "posted": counts.posted,
        "duplicate": counts.duplicate,
        "rejected": counts.rejected,
        "blank": counts.blank,
        "rejected_by_code": dict(refusals.codes),
        "seconds": round(seconds, 3),
        "interrupted": interrupted,
    }


def _say_summary(counts: Counts, refusals: Refusals, seconds: float) -> None:
    rate = f"{counts.read / seconds:,.0f} a second" if seconds >= 1 else f"{seconds:.1f} s"
    blank = f"; {count(counts.blank, 'blank line')}" if counts.blank else ""
    say(
        f"{count(counts.read, 'message')} read: {counts.posted:,} posted, {counts.duplicate:,} duplicate,"
        f" {counts.rejected:,} rejected{blank} ({rate})."
    )
    if counts.read and counts.duplicate == counts.read:
        say("Nothing was posted: every message had been recorded before.")
    for code, number in refusals.codes.most_common():
        say(f"  {number:,} × {code}: {CODES.get(code, '')}")
    for example in refusals.examples:
        note(f"  {example}")
    if counts.rejected:
        note("They are kept as they came: loyalty rejected list.")


# --- progress -----------------------------------------------------------------------------------------------------


def _progress(files: Sequence[str]) -> AbstractContextManager[Callable[[Counts], None]]:
    return _bar(files) if sys.stderr.isatty() else nullcontext(_PlainProgress())


class _PlainProgress:
    """A line every few seconds, on standard error."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, counts: Counts) -> None:
        if time.monotonic() - self._said_at >= PLAIN_PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            note(_counted(counts))


def _counted(counts: Counts) -> str:
    return (
        f"{counts.read:,} read, {counts.posted:,} posted, {counts.duplicate:,} duplicate, {counts.rejected:,} rejected"
    )


@contextmanager
def _bar(files: Sequence[str]) -> Iterator[Callable[[Counts], None]]:
    """A bar with rate and time left; without an end where standard input is among the files."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    size = None if STANDARD_INPUT in files else sum(Path(file).stat().st_size for file in files)
    started = time.monotonic()
    progress = Progress(
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%" if size else ""),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s  {task.fields[counted]}"),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task("ingest", total=size, rate=0, counted="")

    def show(counts: Counts) -> None:
        rate = counts.read / max(time.monotonic() - started, 0.001)
        done = counts.bytes_read if size is None else min(counts.bytes_read, size)
        progress.update(task, completed=done, rate=rate, counted=_counted(counts))

    with progress:
        yield show


# --- rejected -----------------------------------------------------------------------------------------------------


@click.group("rejected")
def rejected_group() -> None:
    """See refused messages, try them again, and close them."""


@rejected_group.command("list")
@click.option("--programme", default="", help="Only those of a programme.")
@click.option("--code", default="", help="Only those refused with a code.")
@click.option("--status", type=click.Choice(["open", "resolved", "all"]), default="open", show_default=True)
@click.option("--limit", type=click.IntRange(1, rejected.LIST_MAX), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def rejected_list(settings: Settings, programme: str, code: str, status: str, limit: int, as_json: bool) -> None:
    """List refused messages, newest first."""
    with opened(settings) as workspace:
        found = rejected.list_rejected(
            workspace.database,
            programme=programme,
            code=code,
            status="" if status == "all" else status,
            limit=limit,
        )
    if as_json:
        for row in found:
            show_json(row)
        return
    if not found:
        note("None.")
    elif sys.stdout.isatty():
        for row in found:
            say(f"{row.number:>6}  {row.code}: {row.field}: {row.rule}" + (f" (was {row.value})" if row.value else ""))
            named = (
                f"{name} {getattr(row, name)}" for name in ("type", "source", "id", "member") if getattr(row, name)
            )
            say(f"        {', '.join([*named, row.origin])}; {count(row.attempts, 'attempt')}, {row.status}")
    else:
        columns = ("number", "code", "field", "rule", "value", "type", "member", "id", "origin", "attempts", "status")
        show_table(columns, ([getattr(row, name) for name in columns] for row in found))


@rejected_group.command("show")
@click.argument("number", type=int)
@click.option("--raw", is_flag=True, help="Only the bytes as they came.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; the bytes in base64.")
@click.pass_obj
def rejected_show(settings: Settings, number: int, raw: bool, as_json: bool) -> None:
    """Show one refused message as it came."""
    with opened(settings) as workspace:
        found = rejected.find_rejected(workspace.database, number)
    if found is None:
        raise click.ClickException(f"there is no refused message {number}")
    if raw:
        click.echo(found.body or b"", nl=False)
    elif as_json:
        show_json(found)
    else:
        for name in found.__struct_fields__[:-2]:
            value = getattr(found, name)
            if value not in ("", None):
                say(f"{name:<12}{instant(value) if isinstance(value, datetime) else value}")
        body, missing = found.body, "erased with its member" if found.place is None else "null"
        say("body        " + (missing if body is None else f"{count(len(body), 'byte')}:"))
        say((body or b"").decode(errors="backslashreplace"))


@rejected_group.command("retry")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="All open ones, in the order in which they came.")
@click.option("--code", default="", help="With --all: only those refused with a code.")
@click.option("--programme", default="", help="For messages that name none; with --all: only those of a programme.")
@click.option("--auto-enrol", is_flag=True, help="Enrol unknown members at their first purchase.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def rejected_retry(
    settings: Settings,
    numbers: tuple[int, ...],
    every: bool,
    code: str,
    programme: str,
    auto_enrol: bool,
    as_json: bool,
) -> None:
    """Try refused messages again, as they came: by their NUMBERS, or --all. Exit code 3 if some are refused again."""
    if bool(numbers) == every:
        raise click.UsageError("give the numbers of refused messages, or --all")
    statuses: Counter[str] = Counter()
    with opened(settings) as workspace:
        wanted = rejected.open_numbers(workspace.database, programme=programme, code=code) if every else list(numbers)
        default = programme or settings.programme
        for retried in rejected.retry(workspace.ledger, wanted, programme=default, auto_enrol=auto_enrol):
            statuses[retried.outcome.status if retried.outcome else "rejected"] += 1
            if as_json:
                show_json(retried)
            elif retried.outcome is None or retried.outcome.rejection is not None:
                note(f"  {retried.number}: {retried.why_not or (retried.outcome and retried.outcome.rejection)}")
    if not as_json:
        say(
            f"{count(len(wanted), 'message')} tried again: {statuses['posted']:,} posted, {statuses['duplicate']:,}"
            f" recorded before, {statuses['rejected']:,} refused."
        )
    if statuses["rejected"]:
        stop(EXIT_REJECTED)


@rejected_group.command("close")
@click.argument("numbers", nargs=-1, type=int, required=True)
@click.pass_obj
def rejected_close(settings: Settings, numbers: tuple[int, ...]) -> None:
    """Resolve refused messages, by their NUMBERS, without trying them: because they were sent again corrected, or never
    will be. They are kept as they are.
    """
    with opened(settings) as workspace:
        closed = rejected.close(workspace.database, numbers)
    say(f"Closed {count(len(closed), 'message')}.")
    if not_open := sorted({*numbers} - {*closed}):
        raise click.ClickException(f"not open: {', '.join(map(str, not_open))}")


COMMANDS = (ingest_command, rejected_group)
