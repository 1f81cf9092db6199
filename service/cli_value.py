"""`loyalty member`, `value` and `pyramid`: what members are worth and how they behave, alone and all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import click
from msgspec import Struct

from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.as_of import balance_as_of
from projections.balances import Balance, read_balance
from projections.checkpoints import ProjectionOutdated
from projections.lifetime_reads import MemberLifetime, lifetime_as_of, read_lifetime
from projections.programme_value import Cohort, ProgrammeValue, WhalePoint, read_cohorts, read_programme_value
from projections.pyramid import Measure, Migration, Period, Pyramid, read_migration, read_pyramid
from projections.trading import business_day
from service.console import count, instant, note, say, show_json, show_table
from service.instants import INSTANT
from service.read_models import catch_up
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import Workspace, opened

WHALE_POINTS_SHOWN: Final = 20

T = TypeVar("T")


class MemberScreen(Struct, frozen=True, kw_only=True):
    """Everything about one member."""

    programme: str
    currency: str
    lifetime: MemberLifetime
    balance: Balance


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
    """Read as `loyalty balance` does: an embedded ledger is brought up to date first, a server's is read as it is."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        if settings.database_url is None:
            try:
                catch_up(workspace.database)
            except ProjectionOutdated as error:
                raise click.ClickException(f"{error}: loyalty rebuild") from error
        try:
            with workspace.database.connection() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # its statements see one state
                found = read(cursor, info)
                cursor.execute("COMMIT")
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        if settings.database_url is not None:
            _note_if_behind(workspace, info)
        return found


def _note_if_behind(workspace: Workspace, info: ProgrammeInfo) -> None:
    with workspace.database.connection() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(position - coalesce((SELECT max(folded.position) FROM projections folded"
            " WHERE projection = 'lifetime' AND folded.journal = journals.journal), 0)), 0)::bigint"
            " FROM journals WHERE journal = ANY (%s)",
            (info.journals,),
        )
        (behind,) = cursor.fetchone() or (0,)
    if behind:
        note(f"{count(behind, 'event')} not in yet; loyalty project keeps the read models up.")


# --- a member -----------------------------------------------------------------------------------------------------


@click.command("member")
@click.argument("member")
@_programme
@click.option("--as-of", type=INSTANT, default=None, help="Only what had happened by then, as it stood then.")
@click.option("--as-known-at", type=INSTANT, default=None, help="Only what had been recorded by then.")
@_json
@click.pass_obj
def member_screen(
    settings: Settings,
    member: str,
    programme: str,
    as_of: datetime | None,
    as_known_at: datetime | None,
    as_json: bool,
) -> None:
    """Show MEMBER on one screen: value, behaviour and balance."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> MemberScreen:
        journal, now = journal_of(info, member), datetime.now(UTC)
        if as_of is None and as_known_at is None:
            lifetime = read_lifetime(cursor, info.journals, journal, member, now)
            balance = read_balance(cursor, journal, member, now)
        else:
            lifetime = lifetime_as_of(cursor, info.journals, journal, member, as_of or now, as_known_at or FAR)
            balance = balance_as_of(cursor, journal, member, as_of or now, as_known_at or FAR)
        return MemberScreen(
            programme=info.programme.programme, currency=info.programme.currency, lifetime=lifetime, balance=balance
        )

    screen = _read(settings, programme, read)
    if as_json:
        show_json(screen)
    else:
        _say_member(screen)


def _say_member(screen: MemberScreen) -> None:
    found, balance = screen.lifetime, screen.balance
    say(f"{found.member} ({found.membership}) on {found.on}; money in minor units of {screen.currency}")
    if found.merged_into is not None:
        say(f"  merged into {found.merged_into}: loyalty member {found.merged_into}")
        return
    if len(found.members) > 1:
        say(f"  with {', '.join(found.members[1:])}, merged into it")
    cost = "unknown" if found.goods_cost_minor is None else f"{found.goods_cost_minor:,}"
    unknown = f"unknown: no cost of {count(found.uncosted_lines, 'line')}"
    say("Value")
    say(f"  revenue {found.revenue_minor:,} = purchased {found.purchased_minor:,} - returned {found.returned_minor:,}")
    say(f"  cost of goods {cost}, attributed {found.attributed_cost_minor:,}")
    say(f"  profit {unknown if found.profit_minor is None else f'{found.profit_minor:,}'}")
    say(f"  average basket {_shown(found.average_basket_minor)}, share of wallet {_percent(found.share_of_wallet)}")
    say("Behaviour")
    say(f"  {found.status}; inactive after {found.inactive_after_days} days without a purchase")
    say(
        f"  purchases {found.purchases:,} on {found.purchase_days:,} days, returns {found.returns:,},"
        f" units {found.units:,}"
    )
    say(f"  first {_when(found.first_purchase_at)}, last {_when(found.last_purchase_at)}")
    say(
        f"  tenure {_shown(found.tenure_months)} months, {found.months_active} with a purchase;"
        f" recency {_shown(found.recency_days)} days; frequency {found.frequency}"
    )
    say(f"  days between purchases (median) {_shown(found.median_days_between_purchases)}")
    windows = (
        (30, found.repurchased_within_30_days),
        (90, found.repurchased_within_90_days),
        (365, found.repurchased_within_365_days),
    )
    said = {True: "yes", False: "no", None: "not yet known"}
    say("  purchased again within " + ", ".join(f"{days} days: {said[again]}" for days, again in windows))
    say(f"  channels {', '.join(found.channels) or '-'}; stores {', '.join(found.stores) or '-'}")
    say("Points")
    say(f"  balance {balance.balance:,}: active {balance.active:,}, pending {balance.pending:,}, held {balance.held:,}")
    say(
        f"  earned {found.points_earned:,}, redeemed {found.points_redeemed:,} ({_percent(found.redemption_rate)}),"
        f" expired {balance.expired:,}, arrears {balance.arrears:,}"
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _when(at: datetime | None) -> str:
    return "-" if at is None else instant(at)


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
        moved = []
        if against is not None:
            moved = read_migration(cursor, info.journals, by=by, earlier=against, later=period)
        return PyramidScreen(
            programme=info.programme.programme,
            currency=info.programme.currency,
            pyramid=read_pyramid(cursor, info.journals, by=by, period=period),
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
