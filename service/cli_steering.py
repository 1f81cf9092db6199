"""`loyalty objectives`, `plan` and `focus`: what a programme set out to do, what came of it, and what is open.

What needs SciPy is imported by the commands that use it: the other commands start without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.calendar_periods import day_at, start_of
from projections.checkpoints import ProjectionBehind, ProjectionOutdated, wait_until
from projections.focus import FocusAudit, MemberDataQuality, read_audits, read_member_data_quality
from projections.lifetime import Lifetime
from projections.objectives import ObjectiveReport, OpenStep, read_objectives
from projections.plan import DIFFERENCES_SHOWN, BudgetReport, Gap, Plan, read_plan
from projections.satisfaction import Satisfaction
from projections.steering import Steering
from service.console import EXIT_REJECTED, count, note, say, show_json, show_table, stop
from service.instants import DAY
from service.objectives_figures import Objectives, read_objectives_figures
from service.read_models import catch_up, read_models
from service.settings import Settings
from service.submitting import Given, hand_over, programme_info
from service.workspace import Workspace, opened

if TYPE_CHECKING:
    from projections.bound_objectives import DueMeasurement
    from projections.links import Link

WAIT_SECONDS: Final = 10.0
MEASURED_FROM: Final = (Steering.name, Lifetime.name, Satisfaction.name)

T = TypeVar("T")

_programme = click.option(
    "--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one)."
)
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def _read(settings: Settings, programme: str, read: Callable[[PgCursor, ProgrammeInfo], T]) -> T:
    """Read from an embedded ledger as of now; from a server's as far as its read models are, with a note if behind."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        if settings.database_url is None:
            _brought_up(workspace)
        with workspace.database.connection() as cursor:
            found = read(cursor, info)
            if settings.database_url is not None:
                _note_if_behind(cursor, info)
        return found


def _brought_up(workspace: Workspace) -> None:
    try:
        catch_up(workspace.database)
    except ProjectionOutdated as error:
        raise click.ClickException(f"{error}: loyalty rebuild") from error


def _note_if_behind(cursor: PgCursor, info: ProgrammeInfo) -> None:
    names = [model.name for model in read_models()]
    cursor.execute(
        "SELECT coalesce(sum(journals.position - coalesce(folded.position, 0)), 0)::bigint FROM journals"
        " LEFT JOIN LATERAL (SELECT CASE WHEN count(*) = %s THEN min(position) END AS position FROM projections"
        " WHERE projection = ANY (%s) AND projections.journal = journals.journal) folded ON true"
        " WHERE journal = ANY (%s)",
        (len(names), names, info.journals),
    )
    (behind,) = cursor.fetchone() or (0,)
    if behind:
        note(f"{count(behind, 'event')} not in yet; loyalty project keeps the read models up.")


def _today(info: ProgrammeInfo) -> date:
    return day_at(datetime.now(UTC), info.programme.time_zone)


def _not_ahead(as_of: date | None, today: date) -> None:
    if as_of is not None and as_of > today:
        raise click.UsageError(f"--as-of: must not be after today, {today}, is {as_of}")


# --- objectives -----------------------------------------------------------------------------------------------------


@click.group("objectives", invoke_without_command=True)
@_programme
@click.option("--as-of", type=DAY, default=None, help="As it stood at the end of this day (default: now).")
@_json
@click.pass_context
def objectives(context: click.Context, programme: str, as_of: date | None, as_json: bool) -> None:
    """Show the quality objectives, whether they are attained, and what is open because one was missed."""
    if context.invoked_subcommand is not None:
        if programme or as_of or as_json:
            raise click.UsageError(f"give options after {context.invoked_subcommand}")
        return

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Objectives:
        _not_ahead(as_of, _today(info))
        return read_objectives_figures(cursor, info, as_of)

    found = _read(context.obj, programme, read)
    if as_json:
        show_json(found)
    else:
        _say_objectives(found.objectives, found.open_steps)


def _say_objectives(reports: Sequence[ObjectiveReport], steps: Sequence[OpenStep]) -> None:
    if not reports:
        note("No objectives: send objective.v1 messages with loyalty ingest.")
    else:
        columns = ("objective", "every", "target", "newest", "period", "attained", "trend", "owner", "measured by")
        show_table(columns, (_objective_cells(report) for report in reports))
    overdue = sum(step.days_overdue > 0 for step in steps)
    say(f"\n{count(len(steps), 'open step')} of nonconformities" + (f", {overdue:,} overdue:" if steps else "."))
    if steps:
        columns = ("due", "#days overdue", "step", "nonconformity", "action", "owner", "what")
        show_table(
            columns,
            (
                (step.due_on, step.days_overdue, step.step, step.nonconformity, step.action, step.owner, step.what)
                for step in steps
            ),
        )


def _objective_cells(report: ObjectiveReport) -> tuple[Any, ...]:
    newest = report.periods[-1] if report.periods else None
    return (
        report.objective + (" (retired)" if report.retired else ""),
        report.period,
        f"{report.comparator} {report.target} {report.unit}",
        "" if newest is None else f"{newest.bound}{newest.value}" + _verdict(newest.attained),
        None if newest is None else newest.period_on,
        f"{report.attained} of {report.judged}",
        report.trend,
        report.owner,
        report.figure or "by hand",
    )


def _verdict(attained: bool | None) -> str:
    return {True: " attained", False: " missed", None: " undecided"}[attained]


@objectives.command("measure")
@_programme
@click.option("--from", "from_on", type=DAY, default=None, help="From the period of this day on (default: defined).")
@_json
@click.pass_obj
def measure(settings: Settings, programme: str, from_on: date | None, as_json: bool) -> None:
    """Measure objectives that are bound to a figure of this ledger, over each period that is over and not measured.

    A period without data is not measured. Running it again records nothing twice. Exit code 3 if some were refused.
    """
    from projections.bound_objectives import due_measurements

    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        if settings.database_url is None:
            _brought_up(workspace)
        else:
            _wait_for_all(workspace, info)
        with workspace.database.connection() as cursor:
            rows = read_objectives(cursor, info.journals[0])
            due = due_measurements(cursor, info.journals, rows, info.programme.time_zone, _today(info), from_on)
        found = [_measured(workspace, settings, info, one) for one in due]
    if as_json:
        show_json({"programme": info.programme.programme, "measurements": found})
    else:
        _say_measured(found)
    if any(one["status"] == "rejected" for one in found):
        stop(EXIT_REJECTED)


def _wait_for_all(workspace: Workspace, info: ProgrammeInfo) -> None:
    """A measurement stands for ever: it is only taken from read models that have everything recorded so far."""
    with workspace.database.connection() as cursor:
        cursor.execute("SELECT journal, position FROM journals WHERE journal = ANY (%s)", (info.journals,))
        heads = cursor.fetchall()
    try:
        for journal, position in heads:
            for name in MEASURED_FROM:
                wait_until(workspace.database, name, journal, position, WAIT_SECONDS)
    except ProjectionBehind as error:
        raise click.ClickException(f"nothing measured, {error}: loyalty project") from error


def _measured(workspace: Workspace, settings: Settings, info: ProgrammeInfo, due: DueMeasurement) -> dict[str, Any]:
    said = {"objective": due.objective, "figure": due.figure, "period_on": due.period_on, "value": due.value}
    if due.value is None:
        return {**said, "sample": due.sample, "status": "not measured", "why": due.why}
    name = info.programme.programme
    given = Given(settings=settings, programme=name, key=due.id, source=due.source, at="", as_json=False)
    _, outcome = hand_over(
        workspace,
        given,
        "measurement.v1",
        objective=due.objective,
        period_on=due.period_on.isoformat(),
        value=f"{due.value:f}",
        sample=due.sample,
        evidence=f"figure {due.figure} of this ledger",
    )
    why = "" if outcome.rejection is None else str(outcome.rejection)
    return {**said, "sample": due.sample, "status": outcome.status, "why": why}


def _say_measured(found: Sequence[dict[str, Any]]) -> None:
    if not found:
        say("Nothing to measure: every period that is over is measured, or no objective is bound to a figure.")
        return
    columns = ("objective", "period_on", "figure", "value", "#sample", "status", "why")
    show_table(columns, ([one[column.removeprefix("#")] for column in columns] for one in found))


# --- plan -----------------------------------------------------------------------------------------------------------


@click.command("plan")
@_programme
@click.option("--as-of", type=DAY, default=None, help="To the end of this day (default: yesterday).")
@click.option(
    "--top", type=click.IntRange(0, 1_000), default=DIFFERENCES_SHOWN, show_default=True, help="Members a difference."
)
@_json
@click.pass_obj
def plan(settings: Settings, programme: str, as_of: date | None, top: int, as_json: bool) -> None:
    """Show budgets beside what came of them to date, and how far plans from above and from below are apart."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> tuple[str, Plan]:
        today = _today(info)
        _not_ahead(as_of, today)
        day = as_of or today - timedelta(days=1)
        return info.programme.programme, read_plan(cursor, info.journals, info.programme.time_zone, day, top)

    name, found = _read(settings, programme, read)
    if as_json:
        show_json({"programme": name, "plan": found})
    elif not found.budgets:
        note(f"No budgets at the end of {found.as_of}: send budget.v1 messages with loyalty ingest.")
    else:
        _say_plan(found)


def _say_plan(found: Plan) -> None:
    say(f"To the end of {found.as_of}; planned to date is {found.pro_rata_rule}.\n")
    columns = ("from", "until", "measure", "direction", "whose", "#planned", "#to date", "#actual", "#difference", "")
    show_table(columns, (_budget_cells(report) for report in found.budgets))
    if found.gaps:
        say("\nPlanned from above and from below:")
        columns = ("from", "until", "measure", "whose", "#from above", "#from below", "#gap", "added up")
        show_table(columns, (_gap_cells(gap) for gap in found.gaps))
    behind = [(report, one) for report in found.budgets for one in report.members]
    if behind:
        say("\nMembers behind the largest differences:")
        columns = ("from", "measure", "direction", "of", "member", "#planned", "#actual", "#difference", "planned is")
        show_table(
            columns,
            (
                (
                    report.from_on,
                    report.measure,
                    report.direction,
                    _whose(report),
                    one.member,
                    one.planned,
                    one.actual,
                    one.difference,
                    "its budget" if one.basis == "budget" else "an equal share",
                )
                for report, one in behind
            ),
        )


def _budget_cells(report: BudgetReport) -> tuple[Any, ...]:
    remark = ""
    if report.unknown_members:
        remark = f"profit of {count(report.unknown_members, 'member')} unknown; of the others {report.actual_known}"
    elif report.actual is None:
        remark = "not begun" if not report.days_elapsed else "no answers"
    return (
        report.from_on,
        report.until_on,
        report.measure,
        report.direction,
        _whose(report),
        report.value,
        report.planned_to_date,
        report.actual,
        report.difference,
        remark,
    )


def _whose(report: BudgetReport | Gap) -> str:
    if isinstance(report, BudgetReport) and report.level == "member":
        return count(report.budgets, "member")
    return report.who or "the programme"


def _gap_cells(gap: Gap) -> tuple[Any, ...]:
    below = f"{gap.below} ({gap.parts})"
    return (
        gap.from_on, gap.until_on, gap.measure, _whose(gap), gap.top_down, gap.bottom_up, gap.gap, below,
    )  # fmt: skip


# --- focus ----------------------------------------------------------------------------------------------------------


@click.command("focus")
@_programme
@click.option("--as-of", type=DAY, default=None, help="Audits up to the end of this day (default: today).")
@click.option("--lag", type=click.IntRange(0, 20), default=1, show_default=True, help="Quarters from link to link.")
@_json
@click.pass_obj
def focus(settings: Settings, programme: str, as_of: date | None, lag: int, as_json: bool) -> None:
    """Show focus audits, how complete and current member data are, and whether focus leads to value."""
    from projections.focus_links import read_focus_links

    def read(cursor: PgCursor, info: ProgrammeInfo) -> dict[str, Any]:
        today = _today(info)
        _not_ahead(as_of, today)
        day = as_of or today
        audits = read_audits(cursor, info.journals[0], info.programme.time_zone, day)
        at = start_of(day + timedelta(days=1), info.programme.time_zone)
        return {
            "programme": info.programme.programme,
            "as_of": day,
            "audits": audits,
            "member_data": read_member_data_quality(cursor, info.journals, at),
            "links": read_focus_links(cursor, info.journals, audits, day, lag),
        }

    found = _read(settings, programme, read)
    if as_json:
        show_json(found)
    else:
        _say_focus(found["audits"], found["member_data"], found["links"])


def _say_focus(audits: Sequence[FocusAudit], quality: MemberDataQuality, links: Sequence[Link]) -> None:
    if audits:
        columns = ("factor", "segment", "assessed on", "#index", "assessor", "items")
        show_table(
            columns,
            (
                (
                    audit.factor,
                    audit.segment or "the programme",
                    audit.assessed_on,
                    audit.index,
                    audit.assessor,
                    ", ".join(f"{item.item} {item.index}" for item in audit.items),
                )
                for audit in audits
            ),
        )
    else:
        note("No audits: send focus.v1 messages with loyalty ingest.")
    say(f"\nData of {count(quality.open_members, 'open member')}, as this ledger has them:")
    show_table(("what", "percent of members"), _quality_rows(quality))
    if links:
        say("\nFrom link to link, as correlation (Pearson, 95 % interval):")
        columns = ("segment", "cause", "effect", "#quarters later", "#pairs", "r", "interval", "warnings")
        show_table(columns, (_link_cells(link) for link in links))
    elif audits:
        note("No whole quarter since the first audit: nothing can be said of what focus leads to.")


def _quality_rows(quality: MemberDataQuality) -> Iterable[tuple[str, Decimal | None]]:
    yield "personal data, whatever they are", quality.with_personal_percent
    yield "any attribute", quality.with_attributes_percent
    for coverage in quality.attributes:
        yield f"attribute {coverage.attribute}", coverage.percent
    yield f"given or changed within {quality.current_for_days} days", quality.current_percent


def _link_cells(link: Link) -> tuple[Any, ...]:
    found = link.pearson
    known = found.coefficient is not None
    return (
        link.segment or "the programme",
        link.cause,
        link.effect,
        link.lag,
        link.pairs,
        f"{found.coefficient:.2f}" if known else "",
        f"{found.lower:.2f} to {found.upper:.2f}" if known else "",
        "; ".join(link.warnings),
    )


COMMANDS: Final = (objectives, plan, focus)
