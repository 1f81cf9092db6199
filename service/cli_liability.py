"""`loyalty liability`: what members can still spend, by the month in which they earned it, and what is behind it."""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

import click
from msgspec.structs import asdict

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.liability_evidence import Cell, CellEvent, read_adjustments, read_cell_events, read_cells, read_cut_off
from projections.liability_flows import FLOWS
from projections.liability_reads import Line
from service import cli_liability_estimates
from service.console import EXIT_FAILURE, note, say, show_json, show_table, stop
from service.liability_figures import COLUMNS, Liability, month_shown, read_liability_figures, span, until_month_of
from service.liability_options import Month, from_option, json_option, programme_option, read_liability, to_option
from service.settings import Settings

EVENTS_SHOWN_MAX: Final = 10_000


class RollForwardScreen(Liability, frozen=True, kw_only=True):
    """The roll-forward, and the cells that it is made of."""

    cells: list[Cell]


# --- the roll-forward -----------------------------------------------------------------------------------------------


@click.group("liability", invoke_without_command=True)
@programme_option
@from_option
@to_option
@click.option("--by", type=click.Choice(["vintage", "month"]), default="vintage", show_default=True)
@click.option("--vintage", type=Month(), default=None, help="Only points earned in this month, month by month.")
@json_option
@click.pass_context
def liability(
    context: click.Context,
    programme: str,
    from_month: date | None,
    to_month: date | None,
    by: Literal["vintage", "month"],
    vintage: date | None,
    as_json: bool,
) -> None:
    """Show the liability rolled forward: what was there, what came and went, what is left, by the month of earning.

    Exit code 1 if it does not agree with the balances.
    """
    if context.invoked_subcommand is not None:
        return

    def read(cursor: PgCursor, info: ProgrammeInfo) -> RollForwardScreen:
        found = read_liability_figures(cursor, info, from_month=from_month, to_month=to_month, by=by, vintage=vintage)
        until = found.roll_forward.until_month
        cells = read_cells(cursor, info.journals, from_month=from_month, until_month=until, vintage=vintage)
        return RollForwardScreen(**asdict(found), cells=cells)

    screen = read_liability(context.obj, programme, read, "balances")
    if as_json:
        show_json(screen)
    else:
        _say_roll_forward(screen, vintage)
    if screen.agreement.comparable and not screen.agrees:
        stop(EXIT_FAILURE)


def _say_roll_forward(screen: RollForwardScreen, vintage: date | None) -> None:
    found, agreement = screen.roll_forward, screen.agreement
    of = f", earned in {vintage:%Y-%m}" if vintage else ""
    say(f"Points of {screen.programme}{of}, {span(found.from_month, found.until_month)}")
    lines = [*((month_shown(line.month), line) for line in found.lines), ("total", found.total)]
    show_table(
        (found.by, "#opening", *(f"#{name}" for name in COLUMNS), "#closing"),
        ((name, line.opening, *_flows(line), line.closing) for name, line in lines),
    )
    say("Of the closing")
    show_table(
        (found.by, "#pending", "#available", "#overdue", "#held"),
        ((name, line.pending, line.available, line.overdue, line.held) for name, line in lines),
    )
    owed = found.arrears
    say(
        f"Arrears of all members: {owed.opening:,} + {owed.owed:,} owed - {owed.repaid:,} repaid"
        f" + {owed.merged:,} merged - {owed.written_off:,} written off = {owed.closing:,}"
    )
    if not agreement.comparable:
        say("Not compared with the balances: the two have not folded in the same events.")
    elif agreement.agrees:
        say(f"All of it agrees with the balances: {agreement.points:,} points, {agreement.arrears:,} in arrears.")
    else:
        say(
            f"It does NOT agree with the balances: {agreement.points:,} points here, {agreement.balances_points:,}"
            f" there; arrears {agreement.arrears:,} here, {agreement.balances_arrears:,} there."
        )


def _flows(line: Line) -> list[int]:
    return [sum(line.flows[flow] for flow in names) for names in COLUMNS.values()]


# --- behind it ------------------------------------------------------------------------------------------------------


@liability.command("cells")
@programme_option
@from_option
@to_option
@click.option("--vintage", type=Month(), default=None, help="Only points earned in this month.")
@json_option
@click.pass_obj
def cells(
    settings: Settings,
    programme: str,
    from_month: date | None,
    to_month: date | None,
    vintage: date | None,
    as_json: bool,
) -> None:
    """List the cells of the roll-forward, each with the positions between which its events are."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[Cell]:
        until = until_month_of(info, to_month)
        return read_cells(cursor, info.journals, from_month=from_month, until_month=until, vintage=vintage)

    found = read_liability(settings, programme, read)
    if as_json:
        show_json(found)
        return
    show_table(
        ("vintage", "month", "flow", "#points", "#journal", "#from position", "#to position"),
        (
            (
                month_shown(each.vintage),
                f"{each.month:%Y-%m}",
                each.flow,
                each.points,
                each.journal,
                each.first_position,
                each.last_position,
            )
            for each in found
        ),
    )


@liability.command("events")
@programme_option
@click.option("--vintage", type=Month(), required=True, help="The month in which the points were earned.")
@click.option("--month", type=Month(), required=True, help="The month in which things happened to them.")
@click.option("--flow", type=click.Choice(FLOWS), default=None, help="Only one flow.")
@click.option("--limit", type=click.IntRange(1), default=EVENTS_SHOWN_MAX, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def events(
    settings: Settings, programme: str, vintage: date, month: date, flow: str | None, limit: int, as_json: bool
) -> None:
    """List the events behind a cell of the roll-forward, read from the log; their points add up to it."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[CellEvent]:
        behind = read_cell_events(cursor, info.journals, vintage, month, flow or "")
        return [event for _, event in zip(range(limit + 1), behind, strict=False)]

    found = read_liability(settings, programme, read)
    shown = found[:limit]
    if as_json:
        for event in shown:
            show_json(event)
    else:
        show_table(
            ("flow", "#points", "member", "topic", "occurred", "recorded", "source", "id", "#journal", "#position"),
            (
                (
                    event.flow,
                    event.points,
                    event.member,
                    event.topic,
                    event.occurred_at,
                    event.recorded_at,
                    event.source,
                    event.id,
                    event.journal,
                    event.position,
                )
                for event in shown
            ),
        )
    if len(found) > limit:
        note(f"There are more than {limit:,}: --limit shows more.")


@liability.command("cut-off")
@programme_option
@from_option
@to_option
@json_option
@click.pass_obj
def cut_off(settings: Settings, programme: str, from_month: date | None, to_month: date | None, as_json: bool) -> None:
    """List what occurred in one month and was recorded in another, of what occurred in a range of months."""
    found = read_liability(
        settings,
        programme,
        lambda cursor, info: read_cut_off(
            cursor, info.journals, from_month=from_month, until_month=until_month_of(info, to_month)
        ),
    )
    if as_json:
        show_json(found)
        return
    show_table(
        ("occurred in", "recorded in", "topic", "#events", "#points", "#owed", "#journal", "#from position", "#to"),
        (
            (
                f"{each.occurred_in:%Y-%m}",
                f"{each.recorded_in:%Y-%m}",
                each.topic,
                each.events,
                each.points,
                each.owed,
                each.journal,
                each.first_position,
                each.last_position,
            )
            for each in found
        ),
    )
    if not found:
        note("Everything was recorded in the month in which it occurred.")


@liability.command("adjustments")
@programme_option
@from_option
@to_option
@json_option
@click.pass_obj
def adjustments(
    settings: Settings, programme: str, from_month: date | None, to_month: date | None, as_json: bool
) -> None:
    """List manual adjustments by who approved them and why."""
    found = read_liability(
        settings,
        programme,
        lambda cursor, info: read_adjustments(
            cursor, info.journals, from_month=from_month, until_month=until_month_of(info, to_month)
        ),
    )
    if as_json:
        show_json(found)
        return
    show_table(
        ("approver", "reason", "#events", "#points up", "#points down"),
        ((each.approver, each.reason, each.events, each.points_up, each.points_down) for each in found),
    )


for command in cli_liability_estimates.COMMANDS:
    liability.add_command(command)

COMMANDS: Final = (liability,)
