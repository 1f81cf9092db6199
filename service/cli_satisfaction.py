"""`loyalty satisfaction`: timelines, latest answers, satisfied members who left, and control charts.

Figures are imported by the commands that show them: the other commands start without SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from zoneinfo import ZoneInfo

import click
from msgspec import Struct
from msgspec.structs import asdict

from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.control_charts import RULES
from projections.lifetime_reads import inactive_after as set_inactive_after
from projections.satisfaction_members import read_latest_answers, read_satisfied_leavers
from projections.trading import time_zone_of
from service.console import EXIT_REJECTED, note, say, show_json, show_table, stop
from service.instants import INSTANT
from service.reading import freshen, note_if_behind
from service.settings import Settings
from service.submitting import Given, command_options, programme_info, submit_to
from service.workspace import Workspace, opened

if TYPE_CHECKING:
    from projections.charts import Chart, ChartPoint
    from projections.satisfaction_figures import Figure
    from projections.timelines import By, Entry, Per

DAYS_SHOWN: Final = {"day": 30, "week": 13 * 7, "month": 365}
LEAVERS_MAX: Final = 10_000

T = TypeVar("T")


class Reading(Struct, frozen=True):
    """An open ledger whose read models are as fresh as they can be had."""

    workspace: Workspace
    cursor: PgCursor
    journals: list[int]
    zone: ZoneInfo

    def day(self, at: datetime) -> date:
        """The day of an instant in the time zone of the programme."""
        return at.astimezone(self.zone).date()


@contextmanager
def _reading(settings: Settings, programme: str, *projections: str) -> Iterator[Reading]:
    """Open the ledger to read."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        freshen(settings, workspace.database)
        with workspace.database.connection() as cursor:
            yield Reading(workspace, cursor, info.journals, ZoneInfo(time_zone_of(cursor, info.journals[0])))
            note_if_behind(settings, cursor, info.journals, *(projections or ("satisfaction",)))


def _clearly(read: Callable[[], T]) -> T:
    """Tell what a read refuses as a wrong usage."""
    try:
        return read()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


class Day(click.ParamType):
    """A day such as 2026-01-31."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day such as 2026-01-31", param, ctx)


DAY: Final = Day()


def read_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that reads of satisfaction have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line."),
        click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one)."),
    ):
        function = option(function)
    return click.pass_obj(function)


AS_OF: Final = click.option(
    "--as-of", type=INSTANT, default=None, help="As if this instant were in the day in progress: nothing of later days."
)
FROM: Final = click.option("--from", "from_on", type=DAY, default=None, help="The first day.")
UNTIL: Final = click.option("--until", "until_on", type=DAY, default=None, help="The day after the last one.")


@click.group("satisfaction")
def satisfaction() -> None:
    """Read satisfaction: surveys, complaints and follow-ups."""


@satisfaction.command("timeline")
@click.option("--by", type=click.Choice(["day", "week", "month"]), default="month", show_default=True)
@click.option("--per", type=click.Choice(["channel", "store", "touchpoint"]), default=None, help="By each of them.")
@click.option("--only", default=None, help="With --per: only this channel, store or touchpoint.")
@click.option("--member", default=None, help="Of one member, with all that are merged into it.")
@click.option("--median", is_flag=True, help="With the median time to resolve.")
@FROM
@UNTIL
@AS_OF
@read_options
def timeline(
    settings: Settings,
    programme: str,
    by: By,
    per: Per | None,
    only: str | None,
    member: str | None,
    median: bool,
    from_on: date | None,
    until_on: date | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """Show the figures of each day, week or month; by default of the last 30 days, 13 weeks or 12 months."""
    from projections.timelines import read_member_timeline, read_timeline

    if member is not None and per is not None:
        raise click.UsageError("--per and --member do not go together")
    if only is not None and per is None:
        raise click.UsageError("--only needs --per")
    with _reading(settings, programme) as reading:
        today = reading.day(as_of or datetime.now(UTC))
        until_on = until_on or today + timedelta(days=1)
        from_on = from_on or until_on - timedelta(days=DAYS_SHOWN[by])
        edges: dict[str, Any] = {"by": by, "from_on": from_on, "until_on": until_on, "today": today}
        if member is not None:
            entries = _clearly(lambda: read_member_timeline(reading.cursor, reading.journals, member, **edges))
        else:
            edges |= {"per": per or "programme", "only": only, "median": median}
            entries = _clearly(lambda: read_timeline(reading.cursor, reading.journals, **edges))
    if as_json:
        for entry in entries:
            show_json(entry)
    elif entries:
        _show_entries(entries, per)
    else:
        note(f"Nothing of any {per} in that time.")


def _show_entries(entries: list[Entry], per: str | None) -> None:
    names = list(entries[0].figures)
    show_table(
        ("period", *((per,) if per else ()), "#responses", "#complaints", *(f"#{name}" for name in names)),
        (
            (
                entry.period_on,
                *((entry.value,) if per else ()),
                entry.responses,
                entry.complaints,
                *(_cell(entry.figures[name]) for name in names),
            )
            for entry in entries
        ),
    )
    for name, figure in entries[0].figures.items():
        note(f"  {name} ({figure.unit}): {figure.method}")
    note("  In brackets: of how many. Without data a figure is empty.")


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return ""
    error = "" if figure.standard_error is None else f" ± {figure.standard_error:.1f}"
    return f"{figure.value:.1f}{error} ({figure.n})"


@satisfaction.command("latest")
@click.argument("member")
@click.option("--as-of", type=INSTANT, default=None, help="Answered by then.")
@read_options
def latest(settings: Settings, member: str, programme: str, as_of: datetime | None, as_json: bool) -> None:
    """Show the latest answer of MEMBER to each instrument; of those merged into it too."""
    with _reading(settings, programme) as reading:
        answers = read_latest_answers(reading.cursor, reading.journals, member, as_of)
    if as_json:
        for answer in answers:
            show_json(answer)
    elif answers:
        show_table(
            ("instrument", "#score", "scale", "satisfied", "occurred_at", "member"),
            (
                (
                    answer.instrument,
                    f"{answer.score.normalize():f}",
                    "0 to 100" if answer.instrument == "ACSI" else f"{answer.lowest} to {answer.highest}",
                    "yes" if answer.satisfied else "no",
                    answer.occurred_at,
                    answer.member,
                )
                for answer in answers
            ),
        )
    else:
        note(f"No answer of {member} that can be scored.")


@satisfaction.command("left")
@click.option("--inactive-after", type=click.IntRange(1, 36_500), default=None, metavar="DAYS",
              help="Inactive are those without a purchase for longer (default: as the programme has set).")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, LEAVERS_MAX), default=1_000, show_default=True)
@click.option("--after", default="", help="Go on after this member (a page's last).")
@read_options
def left(settings: Settings, programme: str, inactive_after: int | None, limit: int, after: str, as_json: bool) -> None:
    """List members whose last answer was a satisfied one, and who left: closed, were erased, or are inactive."""
    with _reading(settings, programme, "satisfaction", "lifetime") as reading:
        found = read_satisfied_leavers(
            reading.cursor,
            reading.journals,
            now=datetime.now(UTC),
            inactive_after_days=inactive_after or set_inactive_after(reading.cursor, reading.journals[0]),
            after=after,
            limit=limit,
        )
    if as_json:
        for leaver in found:
            show_json(leaver)
    elif found:
        columns = ("member", "how", "left_at", "last_purchase_at", "instrument", "#score", "answered_at")
        show_table(columns, (tuple(asdict(leaver)[column.lstrip("#")] for column in columns) for leaver in found))
    else:
        note("Nobody.")
    if len(found) == limit:
        note(f"There may be more: --after {found[-1].member}")


# --- charts ---------------------------------------------------------------------------------------------------------


@satisfaction.command("chart")
@click.argument("name", metavar="CHART")
@click.option("--rule", "rules", type=click.Choice(list(RULES)), multiple=True, help="Judge by these (default: all).")
@FROM
@UNTIL
@AS_OF
@read_options
def chart(
    settings: Settings,
    name: str,
    programme: str,
    rules: tuple[str, ...],
    from_on: date | None,
    until_on: date | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """Show CHART: its points, each judged by the baseline frozen before it, with the rules that it completes."""
    from projections.charts import read_chart

    with _reading(settings, programme) as reading:
        today = reading.day(as_of or datetime.now(UTC))
        until_on = until_on or today + timedelta(days=1)
        edges = {"from_on": from_on or until_on - timedelta(days=365), "until_on": until_on, "today": today}
        found = _clearly(
            lambda: read_chart(
                reading.cursor, reading.journals, name, as_of=as_of or FAR, rules=rules or tuple(RULES), **edges
            )
        )
    if as_json:
        show_json(found)
    else:
        _show_chart(found)


def _show_chart(found: Chart) -> None:
    of = found.definition
    where = f"{of.per} {of.value or '(none)'}" if of.per != "programme" else "the programme"
    say(f"{found.chart}: {of.figure} by {of.period} of {where}, {of.kind} chart, in {found.unit}")
    for baseline in found.baselines:
        say(
            f"  baseline {baseline.version}: {baseline.points} points from {baseline.from_on} until before"
            f" {baseline.until_on}, centre {baseline.centre.normalize():f}"
        )
    columns = ("period", "#value", "#n", "#centre", "#lower", "#upper", "#baseline", "rules")
    show_table(columns, (_chart_row(point) for point in found.points))
    for rule in dict.fromkeys(rule for point in found.points for rule in point.rules):
        note(f"  {rule}: {RULES[rule][1]}")


def _chart_row(point: ChartPoint) -> tuple[Any, ...]:
    limits = point.limits
    lines = ("", "", "") if limits is None else tuple(f"{x:.4f}" for x in (limits.centre, limits.lower, limits.upper))
    return (point.period_on, f"{point.value:.4f}", point.n, *lines, point.baseline, " ".join(point.rules))


@satisfaction.command("freeze")
@click.argument("name", metavar="CHART")
@click.option("--figure", required=True, help="Such as nps, csat, ces, acsi, complaints, follow_up_rate.")
@click.option("--kind", type=click.Choice(["individuals", "p", "c"]), default="individuals", show_default=True)
@click.option("--period", type=click.Choice(["day", "week", "month"]), default="month", show_default=True)
@click.option("--from", "from_on", type=DAY, required=True, help="The first day of the first period.")
@click.option("--until", "until_on", type=DAY, required=True, help="The day after the last period.")
@click.option("--channel", default=None, help="Of one channel.")
@click.option("--store", default=None, help="Of one store.")
@click.option("--touchpoint", default=None, help="Of one touchpoint.")
@command_options
def freeze(
    given: Given,
    name: str,
    figure: str,
    kind: str,
    period: str,
    from_on: date,
    until_on: date,
    channel: str | None,
    store: str | None,
    touchpoint: str | None,
) -> None:
    """Freeze the limits of CHART on the points of a past range; later points are judged by them."""
    from projections.charts import ChartDefinition, compute_baseline, decimal_text

    places = {"channel": channel, "store": store, "touchpoint": touchpoint}
    named = [(per, value) for per, value in places.items() if value is not None]
    if len(named) > 1:
        raise click.UsageError("name one of --channel, --store and --touchpoint")
    per, value = named[0] if named else ("programme", "")
    definition = ChartDefinition(
        kind=cast(Any, kind), figure=figure, period=cast(Any, period), per=cast(Any, per), value=value or ""
    )
    with _reading(given.settings, given.programme) as reading:
        try:
            made = compute_baseline(
                reading.cursor,
                reading.journals,
                definition,
                from_on=from_on,
                until_on=until_on,
                today=reading.day(datetime.now(UTC)),
            )
        except ValueError as error:
            stop(EXIT_REJECTED, f"Refused. {error}")
        if made.note and not given.as_json:
            note(f"  {made.note}")
        submit_to(
            reading.workspace,
            given,
            "baseline.v1",
            f"Froze {name} on {made.points} points: centre {decimal_text(made.centre)}.",
            chart=name,
            kind=kind,
            figure=figure,
            period=period,
            from_on=from_on,
            until_on=until_on,
            points=made.points,
            centre=decimal_text(made.centre),
            sigma=decimal_text(made.sigma) if kind == "individuals" and made.sigma is not None else None,
            **places,
        )


COMMANDS: Final = (satisfaction,)
