"""Deferred revenue: what of the price of sales belongs to the points given with them, and when it becomes revenue.

Source: IFRS 15, paragraphs B39 to B43 (customer options for additional goods or services) and B44 to B47 (unexercised
rights), 73 to 86 (allocation by relative stand-alone selling prices), 116 (opening balances), and Example 52.

Money is in minor units. Everything is exact until an amount is named: each is rounded half up, and always as a
cumulative amount, so that what is allocated is recognised whole in the end, and no rounding is carried or lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct


class Allocation(Struct, frozen=True, kw_only=True):
    """The price of sales, as it belongs to the goods and to the points given with them; together they are the price."""

    goods_minor: int
    points_minor: int


class Redemption(Struct, frozen=True, kw_only=True):
    """Points of one vintage at the end of a period: redeemed so far, and expected by then to be redeemed in all."""

    redeemed: int
    expected: Fraction


class Period(Struct, frozen=True, kw_only=True):
    """Deferred revenue of one vintage, or of several together, over a period.

    closing = opening + additions - recognised. `recognised` = for redemptions of the period + `true_up`, the cumulative
    catch-up for another number of points expected; `from_opening` of it was in the opening balance.
    """

    opening: int
    additions: int
    recognised: int
    from_opening: int
    true_up: int
    closing: int


def allocate(price_minor: int, goods_minor: int, points: int, point_minor: Fraction, rate: Fraction) -> Allocation:
    """Split the price of sales by relative stand-alone selling prices.

    Arguments: `price_minor`, what customers paid or will, at least 0; `goods_minor`, the goods' stand-alone selling
    price, at least 0; `points` given with them, at least 0; `point_minor`, the stand-alone selling price of a point
    that is sure to be redeemed; `rate`, how likely that is, 0 to 1.

    Raises ValueError for an argument out of range.
    """
    for name, value in (("price", price_minor), ("goods", goods_minor), ("points", points), ("point", point_minor)):
        if value < 0:
            raise ValueError(f"{name}: must be 0 or more, is {value}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: must be 0 to 1, is {rate}")
    of_points = points * point_minor * rate
    whole = goods_minor + of_points
    points_minor = round_half_up(price_minor * of_points / whole) if whole else 0
    return Allocation(goods_minor=price_minor - points_minor, points_minor=points_minor)


def recognised_so_far(points_minor: int, redeemed: int, expected: Fraction) -> int:
    """Revenue of what was allocated to points: in proportion to the points redeemed of those expected to be.

    All of it once as many were redeemed as are expected; none while nothing is redeemed of what is expected.
    """
    if redeemed >= expected:
        return points_minor
    return round_half_up(points_minor * Fraction(max(redeemed, 0)) / expected)


def follow(points_minor: int, redemptions: Sequence[Redemption]) -> list[Period]:
    """The periods of a vintage, from the one in which it was given on, by what is known at the end of each."""
    periods: list[Period] = []
    recognised = redeemed = 0
    for number, then in enumerate(redemptions):
        opening = points_minor - recognised if number else 0
        caught_up = recognised_so_far(points_minor, redeemed, then.expected) if number else 0
        now = recognised_so_far(points_minor, then.redeemed, then.expected)
        periods.append(
            Period(
                opening=opening,
                additions=0 if number else points_minor,
                recognised=now - recognised,
                from_opening=now - recognised if number else 0,
                true_up=caught_up - recognised,
                closing=points_minor - now,
            )
        )
        recognised, redeemed = now, then.redeemed
    return periods


def summed(periods: Sequence[Period]) -> Period:
    """Several vintages over the same period together."""
    return Period(**{name: sum(getattr(each, name) for each in periods) for name in Period.__struct_fields__})


def round_half_up(value: Fraction) -> int:
    """To the nearest whole number, halves up."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
