"""What the commands of `loyalty liability` share: options, reading, and how months are said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, TypeVar

import click

from ledger.programmes import ProgrammeInfo
from ledger.store.database import Database, PgCursor
from projections.checkpoints import ProjectionOutdated
from projections.liability_reads import UNKNOWN_VINTAGE, month_after, month_before
from projections.trading import business_day
from service.console import count, note
from service.read_models import catch_up
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import Workspace, opened

T = TypeVar("T")


class Month(click.ParamType):
    """YYYY-MM; its first day."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(f"{value}-01")
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a month such as 2026-11", ctx, param) from error


class Rate(click.ParamType):
    """MONTH=RATE: a redemption rate, from a month on."""

    name = "month=rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[date, Fraction]:
        if isinstance(value, tuple):
            return value
        month, _, rate = value.partition("=")
        number = _number(rate.removesuffix("%")) / (100 if rate.endswith("%") else 1)
        if not 0 <= number <= 1:
            rule = "MONTH=RATE with a rate from 0 to 1, such as 2026-01=0.95 or 2026-01=95%"
            self.fail(f"{value!r} is not {rule}", param, ctx)
        return Month().convert(month, param, ctx), number


class Amount(click.ParamType):
    """A number of minor units that need not be whole, 0 or more."""

    name = "minor units"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        number = _number(value)
        if number < 0:
            self.fail(f"{value!r} is not a number of minor units, 0 or more, such as 1 or 0.8", param, ctx)
        return number


def _number(text: str) -> Fraction:
    """An exact number; -1 where it is none, which none of those here may be."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return Fraction(-1)


programme_option = click.option(
    "--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one)."
)
from_option = click.option(
    "--from", "from_month", type=Month(), default=None, help="First month (default: the beginning)."
)
to_option = click.option("--to", "to_month", type=Month(), default=None, help="Last month (default: the current one).")
rates_option = click.option(
    "--rate", "rates", type=Rate(), multiple=True,
    help="A redemption rate that holds from a month on, instead of the chain-ladder: 2026-01=95%; repeatable.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def read_liability(settings: Settings, programme: str, read: Callable[[PgCursor, ProgrammeInfo], T], *models: str) -> T:
    """Read as the reader role, one state; an embedded ledger is brought up to date first, a server's read as it is."""
    with opened(settings) as workspace:
        if settings.database_url is None:
            try:
                catch_up(workspace.database)
            except ProjectionOutdated as error:
                raise click.ClickException(f"{error}: loyalty rebuild") from error
        reader = Database(workspace.database.dsn, "loyalty_reader", pool_size=1)
        try:
            info = programme_info(Workspace(workspace.ledger, reader), programme, settings)
            with reader.connection() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                found = read(cursor, info)
                _note_if_behind(cursor, info, ["liability", *models])
                cursor.execute("COMMIT")
            return found
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        finally:
            reader.close()


def _note_if_behind(cursor: PgCursor, info: ProgrammeInfo, models: Sequence[str]) -> None:
    cursor.execute(
        "SELECT coalesce(max(position - coalesce((SELECT max(folded.position) FROM projections folded"
        " WHERE projection = model AND folded.journal = journals.journal), 0)), 0)::bigint"
        " FROM journals, unnest(%s) model WHERE journal = ANY (%s)",
        (list(models), info.journals),
    )
    ((behind,),) = cursor.fetchall()
    if behind:
        note(f"{count(behind, 'event')} not in yet; loyalty project keeps the read models up.")


def until_month_of(info: ProgrammeInfo, to_month: date | None) -> date:
    """The month after the last one asked for, or after the current one in the programme's time zone."""
    return month_after(to_month or business_day(datetime.now(UTC), info.programme.time_zone))


def month_shown(month: date) -> str:
    """A vintage or a month in words."""
    return "unknown" if month == UNKNOWN_VINTAGE else f"{month:%Y-%m}"


def span(from_month: date | None, until_month: date) -> str:
    """A range of months in words."""
    return f"{f'from {from_month:%Y-%m}' if from_month else 'from the beginning'} to {month_before(until_month):%Y-%m}"
