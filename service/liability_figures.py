"""Figures of the liability as the command line, HTTP and the console show them, and their months and rates as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Final, Literal

from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.liability_estimates import Breakage, DeferredRevenue, read_breakage, read_deferred_revenue
from projections.liability_reads import (
    UNKNOWN_VINTAGE,
    Agreement,
    RollForward,
    compare_with_balances,
    month_after,
    month_before,
    read_roll_forward,
)
from projections.trading import business_day

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "earned": ("earned",),
    "in": ("transferred_in", "merged_in"),
    "redeemed": ("redeemed",),
    "expired": ("expired",),
    "clawed back": ("clawed_back",),
    "adjusted": ("adjusted_up", "adjusted_down"),
    "out": ("transferred_out", "merged_out"),
    "reversed": ("reversed",),
    "repaid": ("repaid",),
    "forfeited": ("forfeited",),
}
"""Columns of the roll-forward between the opening and the closing, and the flows that are in each."""


class Liability(Struct, frozen=True, kw_only=True):
    """The roll-forward of a programme, and whether all of it, whatever the range, agrees with the balances; None where
    they are not of the same events yet.
    """

    programme: str
    currency: str
    roll_forward: RollForward
    agreement: Agreement
    agrees: bool | None


class ExpectedBreakage(Struct, frozen=True, kw_only=True):
    """Expected breakage of a programme."""

    programme: str
    currency: str
    breakage: Breakage


class Revenue(Struct, frozen=True, kw_only=True):
    """Deferred revenue of a programme."""

    programme: str
    currency: str
    revenue: DeferredRevenue


def read_liability_figures(
    cursor: PgCursor,
    info: ProgrammeInfo,
    *,
    from_month: date | None,
    to_month: date | None,
    by: Literal["vintage", "month"] = "vintage",
    vintage: date | None = None,
) -> Liability:
    """The roll-forward from a month to another, both in it; of one vintage month by month where `vintage` says which.

    Raises ValueError as `read_roll_forward` does.
    """
    agreement = compare_with_balances(cursor, info.journals)
    return Liability(
        programme=info.programme.programme,
        currency=info.programme.currency,
        roll_forward=read_roll_forward(
            cursor,
            info.journals,
            from_month=from_month,
            until_month=until_month_of(info, to_month),
            by="month" if vintage else by,
            only=vintage,
        ),
        agreement=agreement,
        agrees=agreement.agrees,
    )


def read_breakage_figures(
    cursor: PgCursor, info: ProgrammeInfo, *, to_month: date | None, rates: Mapping[date, Fraction]
) -> ExpectedBreakage:
    """Expected breakage at the end of a month. Raises ValueError as `read_breakage` does."""
    return ExpectedBreakage(
        programme=info.programme.programme,
        currency=info.programme.currency,
        breakage=read_breakage(cursor, info.journals, until_month_of(info, to_month), rates),
    )


def read_revenue_figures(
    cursor: PgCursor,
    info: ProgrammeInfo,
    *,
    from_month: date | None,
    to_month: date | None,
    point_minor: Fraction,
    rates: Mapping[date, Fraction],
) -> Revenue:
    """Deferred revenue from a month to another, both in it. Raises ValueError as `read_deferred_revenue` does."""
    return Revenue(
        programme=info.programme.programme,
        currency=info.programme.currency,
        revenue=read_deferred_revenue(
            cursor,
            info.journals,
            from_month=from_month,
            until_month=until_month_of(info, to_month),
            point_minor=point_minor,
            rates=rates,
        ),
    )


# --- months, rates and amounts --------------------------------------------------------------------------------------

_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
_NUMBER: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12}|/[1-9][0-9]{0,11})?")


def parse_month(text: str) -> date:
    """The first day of a month such as 2026-11. Raises ValueError."""
    try:
        if _MONTH.fullmatch(text):
            return date.fromisoformat(f"{text}-01")
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a month such as 2026-11")


def parse_rate(text: str) -> tuple[date, Fraction]:
    """MONTH=RATE: a redemption rate from 0 to 1, or in percent, from a month on. Raises ValueError."""
    month, _, rate = text.partition("=")
    number = _number(rate.removesuffix("%"))
    share = None if number is None else number / (100 if rate.endswith("%") else 1)
    if share is None or share > 1:
        rule = "MONTH=RATE with a rate from 0 to 1, such as 2026-01=0.95 or 2026-01=95%"
        raise ValueError(f"{text!r} is not {rule}")
    return parse_month(month), share


def parse_amount(text: str) -> Fraction:
    """A number of minor units that need not be whole, 0 or more. Raises ValueError."""
    number = _number(text)
    if number is None:
        raise ValueError(f"{text!r} is not a number of minor units, 0 or more, such as 1 or 0.8")
    return number


def _number(text: str) -> Fraction | None:
    """An exact number, 0 or more; None where the text is none."""
    return Fraction(text) if _NUMBER.fullmatch(text) else None


def until_month_of(info: ProgrammeInfo, to_month: date | None) -> date:
    """The month after the last one asked for, or after the current one in the programme's time zone."""
    return month_after(to_month or business_day(datetime.now(UTC), info.programme.time_zone))


def month_shown(month: date) -> str:
    """A vintage or a month in words."""
    return "unknown" if month == UNKNOWN_VINTAGE else f"{month:%Y-%m}"


def span(from_month: date | None, until_month: date) -> str:
    """A range of months in words."""
    return f"{f'from {from_month:%Y-%m}' if from_month else 'from the beginning'} to {month_before(until_month):%Y-%m}"
