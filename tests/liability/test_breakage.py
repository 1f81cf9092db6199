"""The chain-ladder beside the published triangle, and what estimates may be."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.breakage import age_to_age, by_chain_ladder, estimates, shifted, ultimates
from projections.deferred_revenue import round_half_up
from projections.developments import Development, as_of
from projections.trading import first_of_month

# Taylor and Ashe 1983, as Mack 1993 develops it.
TAYLOR_ASHE = [
    [357848, 1124788, 1735330, 2218270, 2745596, 3319994, 3466336, 3606286, 3833515, 3901463],
    [352118, 1236139, 2170033, 3353322, 3799067, 4120063, 4647867, 4914039, 5339085],
    [290507, 1292306, 2218525, 3235179, 3985995, 4132918, 4628910, 4909315],
    [310608, 1418858, 2195047, 3757447, 4029929, 4381982, 4588268],
    [443160, 1136350, 2128333, 2897821, 3402672, 3873311],
    [396132, 1333217, 2180715, 2985752, 3691712],
    [440832, 1288463, 2419861, 3483130],
    [359480, 1421128, 2864498],
    [376686, 1363294],
    [344014],
]


def test_the_published_triangle() -> None:
    factors = [round(above / below, 4) for above, below in age_to_age(TAYLOR_ASHE)]
    assert factors == [3.4906, 1.7473, 1.4574, 1.1739, 1.1038, 1.0863, 1.0539, 1.0766, 1.0177]
    reserves = [ultimate - row[-1] for ultimate, row in zip(ultimates(TAYLOR_ASHE), TAYLOR_ASHE, strict=True)]
    assert [round_half_up(reserve) for reserve in reserves] == [
        0, 94_634, 469_511, 709_638, 984_889, 1_419_459, 2_177_641, 3_920_301, 4_278_972, 4_625_811,
    ]  # fmt: skip
    assert round_half_up(sum(reserves, Fraction(0))) == 18_680_856


def vintage(month: int, issued: int, redeemed: list[int], lapsed: list[int] | None = None) -> Development:
    """A vintage of a month of 2026 of which everything was issued at once."""
    lapsed = lapsed or [0] * len(redeemed)
    return Development(vintage=date(2026, month, 1), issued=[issued] * len(redeemed), redeemed=redeemed, lapsed=lapsed)


def test_a_small_triangle_by_hand() -> None:
    """Of 1,000 redeemed 100 and then 200 more; of 500 redeemed 50; of 200 nothing yet."""
    found = by_chain_ladder([vintage(1, 1_000, [0, 100, 300]), vintage(2, 500, [0, 50]), vintage(3, 200, [0])])
    # Not redeemed: of 1,700 at the start 1,700; of 1,500 then 1,350; of 900 then 700.
    later = Fraction(1350, 1500) * Fraction(700, 900)
    assert [each.expected for each in found] == [300, 500 - 450 * Fraction(700, 900), 200 - 200 * later]
    assert [each.breakage for each in found] == [700, 350, 140]
    assert found[2].rate == Fraction(3, 10)


def test_what_lapsed_is_not_redeemed_any_more() -> None:
    found = by_chain_ladder([vintage(1, 100, [0, 50, 90]), vintage(2, 100, [0, 10], [0, 90])])
    assert (found[1].open, found[1].expected) == (0, 10)


def test_a_rate_that_was_set_holds_from_its_month_on() -> None:
    developments = [vintage(1, 1_000, [100, 300]), vintage(2, 1_000, [0])]
    rates = {date(2026, 1, 1): Fraction(1, 2), date(2026, 3, 1): Fraction(1, 4)}
    assert [each.expected for each in estimates(developments, date(2026, 2, 1), rates)] == [500, 500]
    # Never less than what was redeemed.
    assert [each.expected for each in estimates(developments, date(2026, 3, 1), rates)] == [300, 250]
    assert estimates(developments, date(2025, 12, 1), rates) == by_chain_ladder(developments)


@st.composite
def triangles(draw: st.DrawFn) -> list[Development]:
    """Vintages of consecutive months, each with as many ages as it is old; redemptions may be reversed."""
    months = draw(st.integers(1, 6))
    found = []
    for number in range(months):
        issued = draw(st.integers(0, 1_000))
        open_, redeemed, lapsed, rows = issued, 0, 0, []
        for _ in range(months - number):
            taken = draw(st.integers(-redeemed, open_))
            gone = draw(st.integers(0, open_ - taken))
            redeemed, lapsed, open_ = redeemed + taken, lapsed + gone, open_ - taken - gone
            rows.append((redeemed, lapsed))
        found.append(
            Development(
                vintage=first_of_month(12 * 2026 + number),
                issued=[issued] * len(rows),
                redeemed=[row[0] for row in rows],
                lapsed=[row[1] for row in rows],
            )
        )
    return found


@given(developments=triangles(), by=st.fractions(-1, 1))
def test_estimates_stay_within_what_there_is(developments: list[Development], by: Fraction) -> None:
    found = by_chain_ladder(developments)
    for each, other in zip(found, shifted(found, by), strict=True):
        assert each.issued == each.redeemed + each.lapsed + each.open
        for estimate in (each, other):
            assert estimate.redeemed <= estimate.expected <= estimate.redeemed + estimate.open
            assert estimate.breakage >= 0
        assert abs(other.expected - each.expected) <= abs(by) * each.issued
        assert (other.expected - each.expected) * by >= 0


@pytest.mark.parametrize(("until", "ages"), [(date(2026, 4, 1), [3, 2, 1]), (date(2026, 2, 1), [1])])
def test_as_they_had_developed_by_an_earlier_month(until: date, ages: list[int]) -> None:
    developments = [vintage(1, 9, [1, 2, 3]), vintage(2, 9, [1, 2]), vintage(3, 9, [1])]
    found = as_of(developments, until)
    assert [len(each.redeemed) for each in found] == ages
    assert [each.redeemed for each in found] == [[1, 2, 3][:age] for age in ages]
