"""What the commands of `loyalty liability` share: options and reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, TypeVar

import click

from ledger.programmes import ProgrammeInfo
from ledger.store.database import Database, PgCursor
from projections.checkpoints import ProjectionOutdated
from service.console import count, note
from service.liability_figures import parse_amount, parse_month, parse_rate
from service.read_models import catch_up
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import Workspace, opened

T = TypeVar("T")


class Month(click.ParamType):
    """YYYY-MM; its first day."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        return value if isinstance(value, date) else _converted(self, parse_month, value, param, ctx)


class Rate(click.ParamType):
    """MONTH=RATE: a redemption rate, from a month on."""

    name = "month=rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[date, Fraction]:
        return value if isinstance(value, tuple) else _converted(self, parse_rate, value, param, ctx)


class Amount(click.ParamType):
    """A number of minor units that need not be whole, 0 or more."""

    name = "minor units"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        return _converted(self, parse_amount, value, param, ctx)


def _converted(
    kind: click.ParamType,
    parse: Callable[[str], T],
    value: str,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> T:
    try:
        return parse(value)
    except ValueError as error:
        kind.fail(str(error), param, ctx)


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
