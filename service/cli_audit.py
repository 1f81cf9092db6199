"""`loyalty audit`: is what is recorded still what was recorded?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
import msgspec

from audit.verify import VerifyReport, verify
from audit.verify_proof import VerifierKey
from ledger.store.journal import JournalNotFoundError
from service import cli_proofs, cli_recompute
from service.console import EXIT_FAILURE, count, say, show_json, stop
from service.settings import Settings
from service.workspace import opened


@click.group("audit")
def audit_group() -> None:
    """Check the ledger against itself, and prove to others what is in it."""


@audit_group.command("verify")
@click.option("--journal", "journals", type=int, multiple=True, help="Only this one; may be repeated.")
@click.option("--shallow", is_flag=True, help="Leave out reading the events: only hashes, positions and times.")
@cli_proofs.key_option
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
@click.pass_obj
def verify_command(
    settings: Settings, journals: tuple[int, ...], shallow: bool, keys: tuple[VerifierKey, ...], as_json: bool
) -> None:
    """Compute every hash, position, head and checkpoint again, and name the first bad position.

    Exit code 1 if there is one. Who signed the checkpoints is only checked with --key.
    """
    with opened(settings) as workspace, _progress() as on_progress:
        try:
            report = verify(workspace.database, journals or None, deep=not shallow, keys=keys, on_progress=on_progress)
        except JournalNotFoundError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        show_json({"ok": report.ok, "events": report.events, **msgspec.structs.asdict(report)})
    else:
        _say_report(report)
    if not report.ok:
        stop(EXIT_FAILURE)


def _say_report(report: VerifyReport) -> None:
    for result in report.journals:
        if result.ok:
            say(f"journal {result.journal} ({result.name}): {count(result.events, 'event')} good, root {result.root}")
    for problem in report.problems:
        say(problem)
    rate = f", {report.events / report.seconds:,.0f} events a second" if report.seconds >= 1 else ""
    verdict = "Everything is as it was recorded" if report.ok else "NOT everything is as it was recorded"
    say(f"{verdict}: {count(report.events, 'event')} of {count(len(report.journals), 'journal')}{rate}.")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task("verifying", total=None)
    with progress:
        yield lambda done, total: progress.update(task, completed=done, total=total)


for command in (*cli_proofs.COMMANDS, *cli_recompute.COMMANDS):
    audit_group.add_command(command)

COMMANDS: Final = (audit_group,)
