"""`loyalty liability breakage` and `revenue`: what the liability is expected to come to."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Final

import click

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.deferred_revenue import Period
from projections.liability_reads import month_before
from service.console import count, note, say, show_json, show_table
from service.liability_figures import (
    ExpectedBreakage,
    Revenue,
    read_breakage_figures,
    read_revenue_figures,
    span,
)
from service.liability_options import (
    Amount,
    from_option,
    json_option,
    programme_option,
    rates_option,
    read_liability,
    to_option,
)
from service.settings import Settings


@click.command("breakage")
@programme_option
@to_option
@rates_option
@json_option
@click.pass_obj
def breakage(
    settings: Settings,
    programme: str,
    to_month: date | None,
    rates: tuple[tuple[date, Fraction], ...],
    as_json: bool,
) -> None:
    """Show how much of what is open is expected never to be redeemed, at the end of a month."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> ExpectedBreakage:
        return read_breakage_figures(cursor, info, to_month=to_month, rates=dict(rates))

    screen = read_liability(settings, programme, read)
    if as_json:
        show_json(screen)
        return
    found = screen.breakage
    how = "at redemption rates that were set" if found.method == "set" else "by chain-ladder"
    say(f"Breakage of {screen.programme} at the end of {month_before(found.until_month):%Y-%m}, {how}; points")
    show_table(
        ("vintage", "#issued", "#redeemed", "#lapsed", "#open", "#to be redeemed", "#breakage", "#redemption rate"),
        (
            (
                f"{each.vintage:%Y-%m}",
                each.issued,
                each.redeemed,
                each.lapsed,
                each.open,
                each.to_redeem,
                each.breakage,
                _percent(each.redemption_rate),
            )
            for each in found.vintages
        ),
    )
    say(
        f"Of {found.open:,} open points {found.to_redeem:,} are expected to be redeemed, {found.breakage:,} are"
        f" breakage; of {found.issued:,} issued {_percent(found.redemption_rate)} are redeemed in the end."
    )
    for other in found.sensitivity:
        say(f"  {_more(other.rate_points)}: {other.to_redeem:,} to be redeemed, {other.breakage:,} breakage")


@click.command("revenue")
@programme_option
@from_option
@to_option
@click.option("--point-value", type=Amount(), required=True, help="What a redeemed point is worth, in minor units.")
@rates_option
@json_option
@click.pass_obj
def revenue(
    settings: Settings,
    programme: str,
    from_month: date | None,
    to_month: date | None,
    point_value: Fraction,
    rates: tuple[tuple[date, Fraction], ...],
    as_json: bool,
) -> None:
    """Show the revenue deferred for points (IFRS 15): opening + additions - recognised = closing, by vintage.

    The sales of a month are split between goods and the points given with them by relative stand-alone selling prices.
    """

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Revenue:
        return read_revenue_figures(
            cursor, info, from_month=from_month, to_month=to_month, point_minor=point_value, rates=dict(rates)
        )

    screen = read_liability(settings, programme, read, "lifetime")
    if as_json:
        show_json(screen)
    else:
        _say_revenue(screen)


def _say_revenue(screen: Revenue) -> None:
    found = screen.revenue
    say(
        f"Deferred revenue of {screen.programme}, {span(found.from_month, found.until_month)};"
        f" minor units of {screen.currency}"
    )
    show_table(
        (
            "vintage",
            "#sales",
            "#points",
            "#rate then",
            "#rate now",
            "#opening",
            "#additions",
            "#recognised",
            "#closing",
        ),
        (
            (
                f"{each.vintage:%Y-%m}",
                each.price_minor,
                each.points,
                _percent(each.allocation_rate),
                _percent(each.redemption_rate),
                each.period.opening,
                each.period.additions,
                each.period.recognised,
                each.period.closing,
            )
            for each in found.vintages
        ),
    )
    _say_period(found.total)
    blind = [each for each in found.vintages if each.points and not each.allocation_rate]
    if blind:
        months = ", ".join(f"{each.vintage:%Y-%m}" for each in blind)
        note(
            f"For {months} nothing was deferred: no older vintage told that points are redeemed. Set a redemption rate"
            " for such months with --rate."
        )
    for other in found.sensitivity:
        say(f"  {_more(other.rate_points)}: recognised {other.recognised:,}, closing {other.closing:,}")


def _say_period(total: Period) -> None:
    say(
        f"Opening {total.opening:,} + additions {total.additions:,} - recognised {total.recognised:,} = closing"
        f" {total.closing:,}"
    )
    say(
        f"  of what was recognised, {total.from_opening:,} had been deferred before, and {total.true_up:,} is the"
        " catch-up for other redemption rates"
    )


def _more(points: int) -> str:
    return f"redemption rates {count(abs(points), 'point')} {'higher' if points > 0 else 'lower'}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


COMMANDS: Final = (breakage, revenue)
