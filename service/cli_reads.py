"""`loyalty rebuild`, `balance`, `statement` and `audit`: read models, and the log behind them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
import msgspec

from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.as_of import balance_as_of, statement_as_of
from projections.balances import Balance, read_balance
from projections.checkpoints import ProjectionBehind, ProjectionOutdated, wait_until
from projections.rebuild import RebuildRefused
from projections.rebuild import rebuild as rebuild_projections
from projections.statement import ENTRIES_PER_PAGE_MAX, StatementEntry, read_statement
from service.console import count, instant, note, say, show_json, show_table
from service.instants import INSTANT
from service.read_models import catch_up, read_models
from service.runtime import settle_for_batches
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import Workspace, opened

WAIT_SECONDS_DEFAULT: Final = 10.0

T = TypeVar("T")


@click.command("rebuild")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Journals at a time.")
@click.pass_obj
def rebuild(settings: Settings, names: tuple[str, ...], threads: int) -> None:
    """Fill read models again from the log and swap them in (default: all). As the owner of the tables."""
    settle_for_batches()
    known = {model.name: model for model in read_models()}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"there is no read model {unknown[0]!r}; there are {', '.join(known)}")
    wanted = [known[name] for name in names or known]
    with opened(settings) as workspace:
        report = clearly(lambda: rebuild_projections(workspace.database.dsn, wanted, threads=threads))
    say(
        f"Rebuilt {', '.join(model.name for model in wanted)} from {count(report.events_count, 'event')} in"
        f" {report.fill_seconds:.1f} s; swapped in {report.swap_seconds * 1000:.0f} ms."
    )


def clearly(run: Callable[[], T]) -> T:
    try:
        return run()
    except (ProjectionOutdated, ProjectionBehind, RebuildRefused) as error:
        hint = ": loyalty rebuild" if isinstance(error, ProjectionOutdated) else ""
        raise click.ClickException(f"{error}{hint}") from error


# --- a member -----------------------------------------------------------------------------------------------------


class AtLeast(click.ParamType):
    """JOURNAL:POSITION, as a write returned it."""

    name = "journal:position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        journal, _, position = value.partition(":")
        if not (journal.isdecimal() and position.isdecimal()):
            self.fail(f"{value!r} is not JOURNAL:POSITION, such as 1:42", param, ctx)
        return int(journal), int(position)


def read_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that reads of a member have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="As JSON."),
        click.option(
            "--wait",
            type=click.FloatRange(0, 600),
            default=WAIT_SECONDS_DEFAULT,
            show_default=True,
            help="Seconds to wait for --at-least.",
        ),
        click.option("--at-least", type=AtLeast(), default=None, help="Wait until a write is in: as it returned it."),
        click.option("--as-known-at", type=INSTANT, default=None, help="Only what had been recorded by then."),
        click.option("--as-of", type=INSTANT, default=None, help="Only what had happened by then, as it stood then."),
        click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one)."),
    ):
        function = option(function)
    return click.pass_obj(function)


@click.command("balance")
@click.argument("member")
@read_options
def balance(
    settings: Settings,
    member: str,
    programme: str,
    as_of: datetime | None,
    as_known_at: datetime | None,
    at_least: tuple[int, int] | None,
    wait: float,
    as_json: bool,
) -> None:
    """Show the points of MEMBER now; with --as-of or --as-known-at, those of the past, folded from the log."""

    def read(cursor: PgCursor, journal: int) -> Balance:
        if as_of is None and as_known_at is None:
            return read_balance(cursor, journal, member, datetime.now(UTC))
        return balance_as_of(cursor, journal, member, as_of or datetime.now(UTC), as_known_at or FAR)

    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        journal = journal_of(info, member)
        found = _read(settings, workspace, info, journal, "balances", at_least, wait, as_of or as_known_at, read)
    if as_json:
        show_json({**msgspec.structs.asdict(found), "journal": journal})
    else:
        _say_balance(found, journal)


def _say_balance(found: Balance, journal: int) -> None:
    say(f"{found.member} ({found.status}): balance {count(found.balance, 'point')}")
    say(f"  active {found.active:,}   pending {found.pending:,}   held {found.held:,}   arrears {found.arrears:,}")
    say(f"  spent {found.spent:,}   expired {found.expired:,}")
    if found.next_expiry_at is not None:
        say(f"  next expiry: {count(found.next_expiry_points, 'point')} at {instant(found.next_expiry_at)}")
    say(f"  version {found.version}, journal {journal}, position {found.position}")


@click.command("statement")
@click.argument("member")
@click.option("--limit", type=click.IntRange(1, ENTRIES_PER_PAGE_MAX), default=100, show_default=True)
@click.option("--after", type=click.IntRange(0), default=0, help="Go on after this position (a page's last).")
@click.option("--newest-first", is_flag=True)
@read_options
def statement(
    settings: Settings,
    member: str,
    programme: str,
    as_of: datetime | None,
    as_known_at: datetime | None,
    at_least: tuple[int, int] | None,
    wait: float,
    limit: int,
    after: int,
    newest_first: bool,
    as_json: bool,
) -> None:
    """Show every movement of MEMBER's points, with the balance after it, in the order of recording."""

    def read(cursor: PgCursor, journal: int) -> list[StatementEntry]:
        if as_of is None and as_known_at is None:
            return read_statement(cursor, journal, member, after=after, limit=limit, newest_first=newest_first)
        known = statement_as_of(cursor, journal, member, as_of or datetime.now(UTC), as_known_at or FAR)
        if newest_first:
            return [entry for entry in reversed(known) if not after or entry.position < after][:limit]
        return [entry for entry in known if entry.position > after][:limit]

    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        journal = journal_of(info, member)
        found = _read(settings, workspace, info, journal, "statement", at_least, wait, as_of or as_known_at, read)
    if as_json:
        for entry in found:
            show_json(entry)
    elif found:
        _say_statement(found)
    else:
        note(f"No movement of {member}.")
    if len(found) == limit:
        note(f"There may be more: --after {found[-1].position}")


def _say_statement(found: list[StatementEntry]) -> None:
    """Two lines a movement on a terminal, which may be narrow; a table in a pipe."""
    if sys.stdout.isatty():
        for entry in found:
            topic = entry.topic.partition(".")[0]
            about = entry.reference or entry.reason
            say(
                f"{entry.occurred_at:%Y-%m-%d %H:%M:%SZ}  {topic:<22} {entry.points:>+11,} = {entry.balance:,}  {about}"
            )
            beside = "; ".join(part for part in (_by(entry), _lots(entry), f"position {entry.position}") if part)
            say(f"    {beside}")
        return
    columns = ("occurred_at", "what", "#points", "#balance", "reference", "id", "by", "lots", "#position")
    show_table(
        columns,
        (
            (
                entry.occurred_at,
                entry.topic.partition(".")[0],
                entry.points,
                entry.balance,
                entry.reference or entry.reason,
                entry.id,
                _by(entry),
                _lots(entry),
                entry.position,
            )
            for entry in found
        ),
    )


def _by(entry: StatementEntry) -> str:
    if entry.terms is None:
        return ""
    return f"terms {entry.terms}" + (f": {', '.join(entry.rules)}" if entry.rules else "")


def _lots(entry: StatementEntry) -> str:
    """Where the points came from or went: lots, and what was added to the arrears or taken off them."""
    owed = [f"owed {entry.owed:+}"] if entry.owed else []
    return ", ".join([*(f"{layer.lot} {layer.points}" for layer in entry.lots), *owed])


def _read(
    settings: Settings,
    workspace: Workspace,
    info: ProgrammeInfo,
    journal: int,
    projection: str,
    at_least: tuple[int, int] | None,
    wait: float,
    past: datetime | None,
    read: Callable[[PgCursor, int], T],
) -> T:
    """Read, as fresh as was asked for.

    An embedded ledger has no process that follows it, so its read models are brought up to date first. Those of a
    server are read as they are, with a note if they are behind. The past is read from the log, which is never behind.
    """
    if past is None:
        if settings.database_url is None:
            clearly(lambda: catch_up(workspace.database))
        if at_least is not None:
            if at_least[0] not in info.journals:
                raise click.UsageError(f"--at-least: journal {at_least[0]} is not one of the programme's")
            clearly(lambda: wait_until(workspace.database, projection, *at_least, timeout_seconds=wait))
    with workspace.database.connection() as cursor:
        found = read(cursor, journal)
        if past is None and settings.database_url is not None:
            _note_if_behind(cursor, projection, journal)
    return found


def _note_if_behind(cursor: PgCursor, projection: str, journal: int) -> None:
    cursor.execute(
        "SELECT position - coalesce((SELECT max(checkpoint.position) FROM projections checkpoint"
        " WHERE projection = %s AND checkpoint.journal = journals.journal), 0) FROM journals WHERE journal = %s",
        (projection, journal),
    )
    (behind,) = cursor.fetchone() or (0,)
    if behind:
        note(f"{count(behind, 'event')} of journal {journal} not in yet; loyalty project keeps the read models up.")


COMMANDS: Final = (rebuild, balance, statement)
