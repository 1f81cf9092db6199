"""`loyalty audit`: is what is recorded still what was recorded, and what is read what follows from it?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click
import msgspec

from audit.member_keys import check_keys
from audit.verify import VerifyReport, verify
from audit.verify_proof import VerifierKey
from ledger.store.journal import JournalNotFoundError
from projections.batch import HistoryGap
from projections.checkpoints import ProjectionOutdated
from projections.comparison import Comparison, compare
from projections.rebuild import RebuildRefused
from service import cli_audit_sources, cli_certificates, cli_proofs, cli_recompute, cli_replay
from service.console import EXIT_FAILURE, count, say, show_json, stop
from service.read_models import read_models
from service.settings import Settings
from service.workspace import opened

RATE_EVENTS_MIN: Final = 10_000
"""Below this many events the time is that of starting, and their rate tells nothing."""


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
        _say_report(report, signed=bool(keys))
    if not report.ok:
        stop(EXIT_FAILURE)


def _say_report(report: VerifyReport, *, signed: bool) -> None:
    for result in report.journals:
        if result.ok:
            say(f"journal {result.journal} ({result.name}): {count(result.events, 'event')} good, root {result.root}")
    for problem in report.problems:
        say(problem)
    if report.ok:
        cli_proofs.say_checkpoints(report.checkpoints, signed=signed)
    is_telling = report.events >= RATE_EVENTS_MIN and report.seconds >= 1
    rate = f", {report.events / report.seconds:,.0f} events a second" if is_telling else ""
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


@audit_group.command("keys")
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
@click.pass_obj
def keys_command(settings: Settings, as_json: bool) -> None:
    """Open what is sealed with members' keys, and name each key that was changed, lost, or is there after an erasure.

    Exit code 1 if there is one. Nothing of the data is shown. With the rights of a writer: readers see no keys.
    """
    with opened(settings) as workspace:
        found = check_keys(workspace.database)
    if as_json:
        show_json({"ok": found.ok, **msgspec.structs.asdict(found)})
    else:
        for problem in found.problems:
            say(problem)
        verdict = (
            "Every key opens what it sealed" if found.ok else f"NOT every key is as it must be: {found.bad:,} are not"
        )
        say(f"{verdict}; {count(found.keys, 'key')}.")
    if not found.ok:
        stop(EXIT_FAILURE)


@audit_group.command("read-models")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Journals at a time.")
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
@click.pass_obj
def read_models_command(settings: Settings, names: tuple[str, ...], threads: int, as_json: bool) -> None:
    """Fold read models (default: all) again from the log and name each row that is not what the log gives.

    Exit code 1 if there is one. As the owner of the tables, of which nothing is changed; runners may go on.
    """
    known = {model.name: model for model in read_models()}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"there is no read model {unknown[0]!r}; there are {', '.join(known)}")
    with opened(settings) as workspace:
        try:
            found = compare(workspace.database.dsn, [known[name] for name in names or known], threads=threads)
        except (ProjectionOutdated, RebuildRefused, HistoryGap) as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        show_json({"ok": found.ok, **msgspec.structs.asdict(found)})
    else:
        _say_comparison(found)
    if not found.ok:
        stop(EXIT_FAILURE)


def _say_comparison(found: Comparison) -> None:
    for difference in found.differences:
        say(str(difference))
    for table, differing in found.differing.items():
        if differing:
            say(f"{table}: {count(differing, 'row')} of {found.rows[table]:,} not as the log gives them.")
    verdict = "Every row is what the log gives" if found.ok else "NOT every row is what the log gives"
    say(f"{verdict}: {count(sum(found.rows.values()), 'row')} of {count(len(found.rows), 'table')} compared.")


for command in (
    *cli_proofs.COMMANDS,
    *cli_replay.COMMANDS,
    *cli_certificates.COMMANDS,
    *cli_audit_sources.COMMANDS,
    *cli_recompute.COMMANDS,
):
    audit_group.add_command(command)

COMMANDS: Final = (audit_group,)
