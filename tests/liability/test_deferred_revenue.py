"""Deferred revenue beside the worked example of the standard."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.deferred_revenue import Redemption, allocate, follow, recognised_so_far, round_half_up, summed

POINT = Fraction(1)
LIKELY = Fraction(95, 100)


def test_ifrs_15_example_52() -> None:
    """Sales of 100,000 with 10,000 points at 1, of which 9,500, later 9,700, are expected to be redeemed."""
    split = allocate(100_000, 100_000, 10_000, POINT, LIKELY)
    assert (split.goods_minor, split.points_minor) == (91_324, 8_676)
    first, second = follow(
        split.points_minor,
        [Redemption(redeemed=4_500, expected=Fraction(9_500)), Redemption(redeemed=8_500, expected=Fraction(9_700))],
    )
    assert (first.opening, first.additions, first.recognised, first.closing) == (0, 8_676, 4_110, 4_566)
    assert (first.from_opening, first.true_up) == (0, 0)
    assert (second.opening, second.additions, second.recognised, second.closing) == (4_566, 0, 3_493, 1_073)
    assert second.from_opening == 3_493
    # 8,676 x 4,500 / 9,700 = 4,025 would have been right for the first year: 85 too much was recognised.
    assert second.true_up == -85


def test_what_more_points_than_expected_recognise() -> None:
    assert recognised_so_far(100, 96, Fraction(95)) == 100
    assert recognised_so_far(100, 0, Fraction(0)) == 100  # nothing will be redeemed any more: all of it is breakage
    assert recognised_so_far(100, -3, Fraction(95)) == 0  # more was reversed than redeemed


@pytest.mark.parametrize(("value", "rounded"), [("1/2", 1), ("-1/2", 0), ("3/2", 2), ("7/5", 1), ("-7/5", -1)])
def test_halves_are_rounded_up(value: str, rounded: int) -> None:
    assert round_half_up(Fraction(value)) == rounded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 1, 1, POINT, LIKELY), "price: must be 0 or more, is -1"),
        ((1, 1, 1, -POINT, LIKELY), "point: must be 0 or more, is -1"),
        ((1, 1, 1, POINT, Fraction(3, 2)), "rate: must be 0 to 1, is 3/2"),
    ],
)
def test_arguments_out_of_range(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allocate(*arguments)


amounts = st.integers(0, 10**12)


@given(
    price=amounts, goods=amounts, points=st.integers(0, 10**9), rate=st.fractions(0, 1),
    steps=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**7)), min_size=1, max_size=6),
)  # fmt: skip
def test_nothing_is_lost(price: int, goods: int, points: int, rate: Fraction, steps: list[tuple[int, int]]) -> None:
    """Periods meet, true-ups and redemptions are what is recognised, and in the end it is all that was allocated."""
    split = allocate(price, goods, points, Fraction(3, 7), rate)
    assert split.goods_minor + split.points_minor == price
    assert 0 <= split.points_minor <= price
    redeemed, redemptions = 0, []
    for more, expected in steps:
        redeemed += more
        redemptions.append(Redemption(redeemed=redeemed, expected=Fraction(expected)))
    redemptions.append(Redemption(redeemed=redeemed, expected=Fraction(redeemed)))
    periods = follow(split.points_minor, redemptions)
    closing = 0
    for period in periods:
        assert period.opening == closing
        assert period.closing == period.opening + period.additions - period.recognised
        assert 0 <= period.closing <= split.points_minor
        closing = period.closing
    assert closing == 0
    whole = summed(periods)
    assert (whole.additions, whole.recognised) == (split.points_minor, split.points_minor)
