"""What the liability is expected to come to: breakage, and the revenue deferred for points of each vintage.

Whatever is said of a month is said from what had occurred by its end: estimates are made as they would have been then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.breakage import ONE_POINT, Estimate, age_to_age, estimates, rate_in_force, shifted
from projections.deferred_revenue import Period, Redemption, allocate, follow, round_half_up, summed
from projections.developments import Development, as_of, read_developments
from projections.liability_reads import check_range, month_after, month_before

RATE_DIGITS = 6


class Expected(Struct, frozen=True, kw_only=True):
    """Points of a vintage: issued = redeemed + lapsed + open, and open = to_redeem + breakage.

    `redemption_rate` is what is expected to be redeemed in all, of what was issued.
    """

    vintage: date
    issued: int
    redeemed: int
    lapsed: int
    open: int
    to_redeem: int
    breakage: int
    redemption_rate: float


class Sensitivity(Struct, frozen=True, kw_only=True):
    """All vintages with redemption rates that are `rate_points` percentage points higher."""

    rate_points: int
    to_redeem: int
    breakage: int


class Breakage(Struct, frozen=True, kw_only=True):
    """Expected breakage at the end of the month before `until_month`.

    `not_redeemed` are the factors of the chain-ladder: of the points not redeemed when a vintage begins a month of age
    (0: its own month), how much is not redeemed when it ends. `redemption_rate` None: nothing was issued.
    """

    until_month: date
    method: Literal["chain-ladder", "set"]
    vintages: list[Expected]
    issued: int
    open: int
    to_redeem: int
    breakage: int
    redemption_rate: float | None
    not_redeemed: list[float]
    sensitivity: list[Sensitivity]


class Deferral(Struct, frozen=True, kw_only=True):
    """Deferred revenue of a vintage: how it was allocated, and how it moved; in minor units.

    `price_minor` is the net sales of the vintage's month, `points` what was issued then, and `allocation_rate` the
    redemption rate expected then. `redemption_rate` is the one expected in the end.
    """

    vintage: date
    price_minor: int
    points: int
    allocation_rate: float
    allocated_minor: int
    redemption_rate: float
    period: Period


class RevenueSensitivity(Struct, frozen=True, kw_only=True):
    """Redemption rates that are higher by `rate_points` percentage points in the end, allocations as they were."""

    rate_points: int
    recognised: int
    closing: int


class DeferredRevenue(Struct, frozen=True, kw_only=True):
    """Deferred revenue from a month (None: the beginning) until before another."""

    from_month: date | None
    until_month: date
    point_minor: str
    vintages: list[Deferral]
    total: Period
    sensitivity: list[RevenueSensitivity]


# --- breakage -------------------------------------------------------------------------------------------------------


def read_breakage(
    cur: PgCursor, journals: Sequence[int], until_month: date, rates: Mapping[date, Fraction] | None = None
) -> Breakage:
    """Expected breakage of a programme, given its journals, at the end of the month before `until_month`.

    `rates`: redemption rates (0 to 1) that somebody set, by the month from which on each holds; they take the place of
    the chain-ladder. Raises ValueError unless `until_month` is the first day of a month.
    """
    developments = read_developments(cur, journals, until_month)
    found = estimates(developments, month_before(until_month), rates or {})
    issued = sum(each.issued for each in found)
    expected = sum((each.expected for each in found), Fraction(0))
    to_redeem, breakage = _split(found)
    return Breakage(
        until_month=until_month,
        method="chain-ladder" if rate_in_force(rates or {}, month_before(until_month)) is None else "set",
        vintages=[_shown(each) for each in found],
        issued=issued,
        open=sum(each.open for each in found),
        to_redeem=to_redeem,
        breakage=breakage,
        redemption_rate=_rounded(expected / issued) if issued > 0 else None,
        not_redeemed=[
            _rounded(Fraction(above, below))
            for above, below in age_to_age([each.not_redeemed for each in developments])
        ],
        sensitivity=[_sensitivity(found, points) for points in (-1, 1)],
    )


def _shown(each: Estimate) -> Expected:
    to_redeem, breakage = _split([each])
    return Expected(
        vintage=each.vintage,
        issued=each.issued,
        redeemed=each.redeemed,
        lapsed=each.lapsed,
        open=each.open,
        to_redeem=to_redeem,
        breakage=breakage,
        redemption_rate=_rounded(each.rate),
    )


def _sensitivity(found: Sequence[Estimate], points: int) -> Sensitivity:
    to_redeem, breakage = _split(shifted(found, points * ONE_POINT))
    return Sensitivity(rate_points=points, to_redeem=to_redeem, breakage=breakage)


def _split(found: Sequence[Estimate]) -> tuple[int, int]:
    """What is open, into what is expected to be redeemed and breakage: whole points that add up to it."""
    open_ = sum(each.open for each in found)
    to_redeem = round_half_up(sum((each.expected - each.redeemed for each in found), Fraction(0)))
    return to_redeem, open_ - to_redeem


def _rounded(rate: Fraction) -> float:
    return round(float(rate), RATE_DIGITS)


# --- deferred revenue -----------------------------------------------------------------------------------------------


def read_deferred_revenue(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    from_month: date | None = None,
    until_month: date,
    point_minor: Fraction,
    rates: Mapping[date, Fraction] | None = None,
) -> DeferredRevenue:
    """Deferred revenue of a programme, given its journals, from one month until before another.

    Each vintage is a portfolio (IFRS 15, paragraph 4): the net sales of its month were made with the points issued in
    it, goods at their stand-alone selling prices. `point_minor` is the stand-alone selling price of a point that is
    redeemed, at least 0; `rates` as in `read_breakage`.

    Raises ValueError unless both are first days of months and the range has one, and for a negative `point_minor`.
    """
    check_range(from_month, until_month)
    sales = _read_sales(cur, journals)
    developments = read_developments(cur, journals, until_month)
    set_rates = rates or {}
    closing = {each.vintage: each for each in estimates(developments, month_before(until_month), set_rates)}
    opening: dict[date, Estimate] = {}
    if from_month is not None:
        before = as_of(developments, from_month)
        opening = {each.vintage: each for each in estimates(before, month_before(from_month), set_rates)}
    deferrals = [
        _deferral(each, _first_estimate(developments, each.vintage, set_rates), sales, point_minor, opening, closing)
        for each in developments
    ]
    return DeferredRevenue(
        from_month=from_month,
        until_month=until_month,
        point_minor=str(point_minor),
        vintages=deferrals,
        total=summed([each.period for each in deferrals]),
        sensitivity=[_revenue_sensitivity(deferrals, opening, closing, points) for points in (-1, 1)],
    )


def _read_sales(cur: PgCursor, journals: Sequence[int]) -> dict[date, int]:
    """Purchases less returns of each month."""
    cur.execute(
        "SELECT month, sum(net_revenue_minor)::bigint FROM cohort_months WHERE journal = ANY (%s) GROUP BY month",
        (list(journals),),
    )
    return dict(cur.fetchall())


def _first_estimate(developments: Sequence[Development], vintage: date, rates: Mapping[date, Fraction]) -> Estimate:
    """The estimate of a vintage at the end of its own month."""
    then = [each for each in developments if each.vintage <= vintage]
    return estimates(as_of(then, month_after(vintage)), vintage, rates)[-1]


def _deferral(
    development: Development,
    first: Estimate,
    sales: Mapping[date, int],
    point_minor: Fraction,
    opening: Mapping[date, Estimate],
    closing: Mapping[date, Estimate],
) -> Deferral:
    vintage = development.vintage
    price, points = max(sales.get(vintage, 0), 0), max(first.issued, 0)
    allocated = allocate(price, price, points, point_minor, first.rate).points_minor
    return Deferral(
        vintage=vintage,
        price_minor=price,
        points=points,
        allocation_rate=_rounded(first.rate),
        allocated_minor=allocated,
        redemption_rate=_rounded(closing[vintage].rate),
        period=_period(allocated, opening.get(vintage), closing[vintage]),
    )


def _period(allocated: int, opening: Estimate | None, closing: Estimate) -> Period:
    at = [each for each in (opening, closing) if each is not None]
    return follow(allocated, [Redemption(redeemed=each.redeemed, expected=each.expected) for each in at])[-1]


def _revenue_sensitivity(
    deferrals: Sequence[Deferral], opening: Mapping[date, Estimate], closing: Mapping[date, Estimate], points: int
) -> RevenueSensitivity:
    moved = {each.vintage: each for each in shifted(list(closing.values()), points * ONE_POINT)}
    total = summed(
        [_period(each.allocated_minor, opening.get(each.vintage), moved[each.vintage]) for each in deferrals]
    )
    return RevenueSensitivity(rate_points=points, recognised=total.recognised, closing=total.closing)
