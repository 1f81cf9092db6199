"""Breakage: points that will never be redeemed, estimated from how older vintages developed.

Method: chain-ladder with volume-weighted age-to-age factors (Mack 1993, "Distribution-free calculation of the standard
error of chain ladder reserve estimates", ASTIN Bulletin 23). The triangle has a row a vintage and a column an age in
months; what develops is the points that were not redeemed, from all that were issued on. So the youngest vintage, of
which nothing is redeemed yet, has a base to develop from, and an estimate stays between nothing and everything.
Beyond the greatest age that was seen nothing is taken to be redeemed any more (no tail).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from math import prod

from msgspec import Struct

from projections.developments import Development

ONE_POINT = Fraction(1, 100)


class Estimate(Struct, frozen=True, kw_only=True):
    """Points of a vintage at the end of a period: redeemed so far, and expected to be redeemed in all by then.

    redeemed <= expected <= redeemed + open. `rate` is expected by issued; 0 where nothing was issued.
    """

    vintage: date
    issued: int
    redeemed: int
    lapsed: int
    open: int
    expected: Fraction

    @property
    def rate(self) -> Fraction:
        """The redemption rate expected of all points issued."""
        return self.expected / self.issued if self.issued > 0 else Fraction(0)

    @property
    def breakage(self) -> Fraction:
        """Points open that are not expected to be redeemed."""
        return self.redeemed + self.open - self.expected


def age_to_age(triangle: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Volume-weighted factors of a run-off triangle from each column to the next, as (numerator, denominator).

    Rows are cumulative, of one vintage each, and as long as it is old. A factor is the sum of a column by the sum of
    the one before, over the rows that have both; 1 where that one is 0.
    """
    factors = []
    for column in range(max(map(len, triangle), default=1) - 1):
        rows = [row for row in triangle if len(row) > column + 1]
        above, below = sum(row[column + 1] for row in rows), sum(row[column] for row in rows)
        factors.append((above, below) if below else (1, 1))
    return factors


def ultimates(triangle: Sequence[Sequence[int]]) -> list[Fraction]:
    """The last column that each row of a run-off triangle will come to."""
    factors = age_to_age(triangle)
    ultimate = []
    for row in triangle:
        rest = factors[len(row) - 1 :]
        factor = Fraction(prod(above for above, _ in rest), prod(below for _, below in rest))
        ultimate.append(row[-1] * factor)
    return ultimate


def by_chain_ladder(developments: Sequence[Development]) -> list[Estimate]:
    """Estimates of all vintages, each from the ones before it."""
    unredeemed = ultimates([each.not_redeemed for each in developments])
    return [
        _estimate(each, each.issued[-1] - ultimate) for each, ultimate in zip(developments, unredeemed, strict=True)
    ]


def by_rate(developments: Sequence[Development], rate: Fraction) -> list[Estimate]:
    """Estimates of all vintages with one redemption rate that somebody set, 0 to 1."""
    return [_estimate(each, rate * each.issued[-1]) for each in developments]


def rate_in_force(rates: Mapping[date, Fraction], month: date) -> Fraction | None:
    """Of rates by the month from which on each holds, the one of a month; None before all of them."""
    since = max((since for since in rates if since <= month), default=None)
    return None if since is None else rates[since]


def estimates(developments: Sequence[Development], month: date, rates: Mapping[date, Fraction]) -> list[Estimate]:
    """Estimates at the end of a month: by the rate that was set for it, else by chain-ladder."""
    rate = rate_in_force(rates, month)
    return by_chain_ladder(developments) if rate is None else by_rate(developments, rate)


def shifted(found: Sequence[Estimate], by: Fraction) -> list[Estimate]:
    """The same with redemption rates that are higher by so much, as far as what is open allows."""
    return [
        Estimate(
            vintage=each.vintage,
            issued=each.issued,
            redeemed=each.redeemed,
            lapsed=each.lapsed,
            open=each.open,
            expected=_within(each.expected + by * each.issued, each.redeemed, each.open),
        )
        for each in found
    ]


def _estimate(each: Development, expected: Fraction) -> Estimate:
    return Estimate(
        vintage=each.vintage,
        issued=each.issued[-1],
        redeemed=each.redeemed[-1],
        lapsed=each.lapsed[-1],
        open=each.open,
        expected=_within(expected, each.redeemed[-1], each.open),
    )


def _within(expected: Fraction, redeemed: int, open_: int) -> Fraction:
    return max(min(expected, Fraction(redeemed + open_)), Fraction(redeemed))
