"""`loyalty value` and `pyramid`: what members are worth and how they behave, all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import click
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.programme_value import Cohort, ProgrammeValue, WhalePoint, read_cohorts, read_programme_value
from projections.pyramid import Measure, Migration, Period, Pyramid, read_pyramid, read_pyramid_and_migration
from projections.trading import business_day
from service.console import count, say, show_json, show_table
from service.instants import INSTANT
from service.member_screen import member_screen
from service.reading import freshen, note_if_behind
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import opened

WHALE_POINTS_SHOWN: Final = 20

T = TypeVar("T")


class ValueScreen(Struct, frozen=True, kw_only=True):
    """Everything about the members of a programme together."""

    programme: str
    currency: str
    value: ProgrammeValue
    cohorts: list[Cohort]


class PyramidScreen(Struct, frozen=True, kw_only=True):
    """The pyramid of a period, and who moved to it from another."""

    programme: str
    currency: str
    pyramid: Pyramid
    against: Period | None
    migration: list[Migration]


class Day(click.ParamType):
    """YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a day such as 2026-11-20: {error}", ctx, param) from error


class Days(click.ParamType):
    """FROM..UNTIL, the second day not in it."""

    name = "from..until"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Period:
        if isinstance(value, Period):
            return value
        first, dots, last = value.partition("..")
        if not (first and dots and last):
            self.fail(f"{value!r} is not FROM..UNTIL, such as 2026-01-01..2026-07-01", param, ctx)
        return Period(Day().convert(first, param, ctx), Day().convert(last, param, ctx))


_programme = click.option(
    "--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one)."
)
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def _read(settings: Settings, programme: str, read: Callable[[PgCursor, ProgrammeInfo], T]) -> T:
    """Read in one state of the database."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        freshen(settings, workspace.database)
        with workspace.database.connection() as cursor:
            try:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # its statements see one state
                found = read(cursor, info)
                cursor.execute("COMMIT")
            except ValueError as error:
                raise click.UsageError(str(error)) from error
            note_if_behind(settings, cursor, info.journals, "lifetime")
        return found


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


# --- all members ----------------------------------------------------------------------------------------------------


@click.command("value")
@_programme
@_json
@click.pass_obj
def value(settings: Settings, programme: str, as_json: bool) -> None:
    """Show what all members are worth together: totals, whale curve and cohorts."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> ValueScreen:
        now = datetime.now(UTC)
        return ValueScreen(
            programme=info.programme.programme,
            currency=info.programme.currency,
            value=read_programme_value(cursor, info.journals, now),
            cohorts=read_cohorts(cursor, info.journals, now),
        )

    screen = _read(settings, programme, read)
    if as_json:
        show_json(screen)
    else:
        _say_value(screen)


def _say_value(screen: ValueScreen) -> None:
    found = screen.value
    say(f"{screen.programme} on {found.on}; money in minor units of {screen.currency}")
    say(
        f"  {count(found.members, 'member')}: {found.open:,} open, {found.closed:,} closed, {found.erased:,} erased;"
        f" {count(found.merged, 'record')} merged into others"
    )
    say(
        f"  {count(found.customers, 'customer')}: {found.active:,} active, {found.inactive:,} inactive (after"
        f" {found.inactive_after_days} days); {count(found.prospects, 'prospect')}"
    )
    say(f"  revenue {found.revenue_minor:,} = purchased {found.purchased_minor:,} - returned {found.returned_minor:,}")
    say(
        f"  operating profit {found.operating_profit_minor:,} = profit {found.profit_minor:,} of"
        f" {found.profitable_members:,} - loss {found.loss_minor:,} of {found.unprofitable_members:,}"
    )
    if found.unknown_profit_members:
        say(
            f"  not in it: {count(found.unknown_profit_members, 'member')} whose profit is unknown, with revenue"
            f" {found.unknown_profit_revenue_minor:,} (no cost of {count(found.uncosted_lines, 'line')} in all)"
        )
    say(
        f"  points earned {found.points_earned:,}, redeemed {found.points_redeemed:,}"
        f" ({_percent(found.redemption_rate)})"
    )
    if found.whale_curve:
        say("Whale curve: the most profitable customers, and their share of the operating profit")
        show_table(
            ("#customers", "#share", "#profit from", "#profit", "#of operating profit"),
            (
                (
                    point.customers,
                    _percent(point.customers_share),
                    point.profit_from_minor,
                    point.profit_minor,
                    _percent(point.profit_share),
                )
                for point in _spread(found.whale_curve)
            ),
        )
    if screen.cohorts:
        say("Cohorts by month of enrolment")
        show_table(
            ("cohort", "#members", "#customers", "#active last month", "#again in 30 d", "#in 90 d", "#in 365 d"),
            (
                (
                    f"{cohort.cohort:%Y-%m}",
                    cohort.members,
                    cohort.customers,
                    _percent(_retained(cohort, found.on)),
                    *(_percent(repurchase.rate) for repurchase in cohort.repurchase),
                )
                for cohort in screen.cohorts
            ),
        )


def _spread(points: Sequence[WhalePoint]) -> list[WhalePoint]:
    """About twenty points, evenly over the customers, with the highest and the last."""
    shown = {max(range(len(points)), key=lambda number: points[number].profit_minor), len(points) - 1}
    for step in range(1, WHALE_POINTS_SHOWN):
        share = step / WHALE_POINTS_SHOWN
        shown.add(next(number for number, point in enumerate(points) if point.customers_share >= share))
    return [points[number] for number in sorted(shown)]


def _retained(cohort: Cohort, on: date) -> float | None:
    """The share of a cohort that purchased in the last whole month; None where it is no older than that."""
    last = (on.replace(day=1) - timedelta(days=1)).replace(day=1)
    if cohort.cohort > last:
        return None
    return next((month.retention for month in cohort.months if month.month == last), 0.0)


@click.command("pyramid")
@_programme
@click.option("--by", type=click.Choice(["revenue", "profit"]), default="revenue", show_default=True)
@click.option(
    "--from", "from_on", type=Day(), default=None, help="The first day of the period (default: from the start)."
)
@click.option("--until", "until_on", type=Day(), default=None, help="The day after its last (default: no end).")
@click.option("--as-of", type=INSTANT, default=None, help="Instead of --until: up to and with the day of this instant.")
@click.option("--against", type=Days(), default=None, help="Who moved from this earlier period: FROM..UNTIL.")
@_json
@click.pass_obj
def pyramid(
    settings: Settings,
    programme: str,
    by: Measure,
    from_on: date | None,
    until_on: date | None,
    as_of: datetime | None,
    against: Period | None,
    as_json: bool,
) -> None:
    """Show the customer pyramid: members in bands by revenue or profit, and who moved between bands."""
    if as_of is not None and until_on is not None:
        raise click.UsageError("--as-of and --until both say where the period ends: give one of them")

    def read(cursor: PgCursor, info: ProgrammeInfo) -> PyramidScreen:
        end = until_on if as_of is None else business_day(as_of, info.programme.time_zone) + timedelta(days=1)
        period = Period(from_on, end)
        if against is None:
            found, moved = read_pyramid(cursor, info.journals, by=by, period=period), []
        else:
            found, moved = read_pyramid_and_migration(cursor, info.journals, by=by, earlier=against, later=period)
        return PyramidScreen(
            programme=info.programme.programme,
            currency=info.programme.currency,
            pyramid=found,
            against=against,
            migration=moved,
        )

    screen = _read(settings, programme, read)
    if as_json:
        show_json(screen)
    else:
        _say_pyramid(screen)


def _say_pyramid(screen: PyramidScreen) -> None:
    found = screen.pyramid
    say(f"{screen.programme} by {found.by} {_span(found.period)}; money in minor units of {screen.currency}")
    show_table(
        ("band", "#members", "#share", "#revenue", "#of revenue", "#profit", "#of profit", "#profit unknown"),
        (
            (
                band.name,
                band.members,
                _percent(band.members_share),
                band.revenue_minor,
                _percent(band.revenue_share),
                band.profit_minor,
                _percent(band.profit_share),
                band.unknown_profit_members,
            )
            for band in found.bands
        ),
    )
    if screen.against is None:
        return
    say(f"Moved since {_span(screen.against)}")
    show_table(
        ("from", "to", "#members", f"#change of {found.by}"),
        ((cell.from_band, cell.to_band, cell.members, cell.change_minor) for cell in screen.migration),
    )


def _span(period: Period) -> str:
    if period.from_on is None and period.until_on is None:
        return "in all"
    return f"from {period.from_on or 'the start'} until {period.until_on or 'now'}"


COMMANDS: Final = (member_screen, value, pyramid)
