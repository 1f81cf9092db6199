"""Control charts: figures published by NIST, every rule against a slow oracle, and what has no limits."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import sqrt

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from projections.control_charts import (
    NELSON,
    RULES,
    WESTERN_ELECTRIC,
    Baseline,
    Limits,
    Sample,
    c_baseline,
    individuals_baseline,
    judge_samples,
    judge_values,
    limits,
    moving_range_limits,
    p_baseline,
)

NIST_6_3_2_2 = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]
ORANGE_JUICE = [
    12, 15, 8, 10, 4, 7, 16, 9, 14, 10, 5, 6, 17, 12, 22, 8, 10, 5, 13, 11, 20, 18, 24, 15, 9, 12, 7, 13, 9, 6,
]  # fmt: skip
UNIT = Baseline(kind="individuals", points=20, centre=0.0, sigma=1.0, method="")


# --- limits ---------------------------------------------------------------------------------------------------------


def test_individuals_of_nist() -> None:
    baseline = individuals_baseline(NIST_6_3_2_2)
    found = limits(baseline)
    assert round(found.centre, 4) == 50.81
    assert round(found.upper, 4) == 55.8041
    assert round(found.lower, 4) == 45.8159
    ranges = moving_range_limits(baseline)
    assert ranges.centre == pytest.approx(1.8778, abs=5e-5)
    assert ranges.upper == pytest.approx(3.267 * 1.8778, abs=2e-4)
    assert ranges.lower == 0
    assert "10 points are rough" in baseline.note


def test_p_chart_of_nist() -> None:
    baseline = p_baseline([Sample(count=count, size=50) for count in ORANGE_JUICE])
    found = limits(baseline, size=50)
    assert [round(figure, 4) for figure in (found.centre, found.upper, found.lower)] == [0.2313, 0.4102, 0.0524]
    assert baseline.note == ""


def test_limits_of_a_p_chart_follow_the_size_of_each_sample() -> None:
    baseline = p_baseline([Sample(count=30, size=100), Sample(count=10, size=300)])
    assert baseline.centre == 0.1
    small, large = judge_samples(baseline, [Sample(count=1, size=4), Sample(count=90, size=900)], ["WE1"])
    assert small.limits == Limits(centre=0.1, lower=0.0, upper=pytest.approx(0.55))
    assert large.limits == Limits(centre=0.1, lower=pytest.approx(0.07), upper=pytest.approx(0.13))
    assert limits(p_baseline([Sample(count=9, size=10)] * 2), size=2).upper == 1


def test_c_chart() -> None:
    baseline = c_baseline([4, 2, 6, 4])
    assert limits(baseline) == Limits(centre=4, lower=0, upper=10)
    judged = judge_values(baseline, [0, 10, 11], RULES)
    assert [point.distance for point in judged] == [-2, 3, 3.5]
    assert ["WE1" in point.rules for point in judged] == [False, False, True]


def test_points_judged_do_not_move_the_baseline() -> None:
    baseline = individuals_baseline(NIST_6_3_2_2)
    alone = [judge_values(baseline, [value], ["WE1"])[0] for value in (50, 60, 1000)]
    together = judge_values(baseline, [50, 60, 1000], ["WE1"])
    assert together == alone
    assert [point.rules for point in together] == [(), ("WE1",), ("WE1",)]


# --- rules ----------------------------------------------------------------------------------------------------------


def oracle(rule: str, distances: list[Fraction]) -> bool:
    """Whether the newest point completes a rule, read off its definition; `distances` are in standard deviations."""
    newest = distances[-1]

    def last(number: int) -> list[Fraction]:
        return distances[len(distances) - number :] if len(distances) >= number else []

    def of_the_last(number: int, needed: int, line: int) -> bool:
        window = distances[-number:]
        above = newest > line and len([d for d in window if d > line]) >= needed
        below = newest < -line and len([d for d in window if d < -line]) >= needed
        return above or below

    def same_side(number: int) -> bool:
        run = last(number)
        return bool(run) and (all(d > 0 for d in run) or all(d < 0 for d in run))

    match rule:
        case "WE1" | "N1":
            return newest > 3 or newest < -3
        case "WE2" | "N5":
            return of_the_last(3, 2, 2)
        case "WE3" | "N6":
            return of_the_last(5, 4, 1)
        case "WE4":
            return same_side(8)
        case "N2":
            return same_side(9)
        case "N3":
            run = last(6)
            return bool(run) and (
                all(run[i] < run[i + 1] for i in range(5)) or all(run[i] > run[i + 1] for i in range(5))
            )
        case "N4":
            run = last(14)
            return bool(run) and all(
                (run[i] < run[i + 1] > run[i + 2]) or (run[i] > run[i + 1] < run[i + 2]) for i in range(12)
            )
        case "N7":
            run = last(15)
            return bool(run) and all(-1 <= d <= 1 for d in run)
        case "N8":
            run = last(8)
            return bool(run) and all(d < -1 or d > 1 for d in run)
    raise AssertionError(rule)


HALVES = [Fraction(n, 2) for n in range(-7, 8)]
series_of_halves = st.one_of(
    *(
        st.lists(st.sampled_from(values), min_size=20, max_size=20)
        for values in (
            HALVES,
            HALVES[6:],  # mostly above the centre, and on it
            HALVES[8:],  # all above
            HALVES[5:10],  # in zone C, and on its lines
            HALVES[:6] + HALVES[9:],  # out of it, and on its lines
            HALVES[9:13],  # on and beyond 1 and 2
            HALVES[2:6],
        )
    ),
    st.lists(st.sampled_from(HALVES[7:]), min_size=20, max_size=20).map(  # up and down
        lambda steps: [step if index % 2 else -step for index, step in enumerate(steps)]
    ),
    st.lists(st.sampled_from(HALVES), min_size=8, max_size=12).map(sorted),
)


@settings(max_examples=300)
@given(series_of_halves)
@example([])
@example([Fraction(0)] * 15)
@example([Fraction(3 - n, 2) for n in range(7)])
@example([Fraction(3)] * 15)
@example([Fraction(n) for n in (0, 1, -1) * 5])
@example([Fraction(1 + n % 2) for n in range(15)])
@example([*[Fraction(1, 2)] * 5, Fraction(0), *[Fraction(1, 2)] * 9])
@example([Fraction(5, 2), Fraction(5, 2), Fraction(2)])
@example([*[Fraction(3, 2)] * 4, Fraction(1)])
def test_each_point_completes_the_rules_of_the_oracle(distances: list[Fraction]) -> None:
    """Points lie on zone lines as often as off them."""
    judged = judge_values(UNIT, [float(distance) for distance in distances], RULES)
    for index, point in enumerate(judged):
        assert list(point.rules) == [rule for rule in RULES if oracle(rule, distances[: index + 1])]


@given(series_of_halves, st.sets(st.sampled_from(sorted(RULES))))
def test_only_the_rules_asked_for_are_marked(distances: list[Fraction], rules: set[str]) -> None:
    values = [float(distance) for distance in distances]
    for every, asked in zip(judge_values(UNIT, values, RULES), judge_values(UNIT, values, rules), strict=True):
        assert asked.rules == tuple(rule for rule in every.rules if rule in rules)


@given(series_of_halves, st.sampled_from([0.1, 0.7, 1 / 3, 1e-6, 123.4]), st.sampled_from([50.81, 0.1, 1e3, -7.7]))
def test_points_on_a_line_stay_on_it_in_other_units(distances: list[Fraction], sigma: float, centre: float) -> None:
    """centre + k · sigma is rounded as floats are, and is still on the line."""
    baseline = Baseline(kind="individuals", points=20, centre=centre, sigma=sigma, method="")
    assume(abs(centre) < 1e6 * sigma)  # beyond it, a float's last place is more than the rounding of distances
    moved = judge_values(baseline, [centre + float(distance) * sigma for distance in distances], RULES)
    plain = judge_values(UNIT, [float(distance) for distance in distances], RULES)
    assert [point.rules for point in moved] == [point.rules for point in plain]


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_completed_by_some_series_and_not_one_point_earlier(rule: str) -> None:
    series = {
        "1": [Fraction(7, 2)],
        "2 of 3": [Fraction(5, 2), Fraction(0), Fraction(5, 2)],
        "4 of 5": [Fraction(3, 2), Fraction(3, 2), Fraction(0), Fraction(3, 2), Fraction(3, 2)],
        "8": [Fraction(1, 2)] * 8,
        "9": [Fraction(1, 2)] * 9,
        "6 steadily": [Fraction(n, 4) for n in range(-3, 3)],
        "14 alternating": [Fraction(n % 2, 2) for n in range(14)],
        "15 within": [Fraction((-1) ** n) for n in range(15)],
        "8 beyond": [Fraction(3, 2) * (-1) ** n for n in range(8)],
    }[
        {
            "WE1": "1", "WE2": "2 of 3", "WE3": "4 of 5", "WE4": "8", "N1": "1", "N2": "9", "N3": "6 steadily",
            "N4": "14 alternating", "N5": "2 of 3", "N6": "4 of 5", "N7": "15 within", "N8": "8 beyond",
        }[rule]
    ]  # fmt: skip
    judged = judge_values(UNIT, [float(distance) for distance in series], [rule])
    assert [point.rules for point in judged] == [()] * (len(series) - 1) + [(rule,)]


def test_rules_have_numbers_and_words() -> None:
    assert WESTERN_ELECTRIC == ("WE1", "WE2", "WE3", "WE4")
    assert tuple(f"N{number}" for number in range(1, 9)) == NELSON
    assert all(words for _, words in RULES.values())


# --- what has no limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "needs at least two points, has 0"),
        ([5.0], "needs at least two points, has 1"),
        ([5.0, 5.0, 5.0], "all 3 values are 5"),
        ([5.0, float("nan")], "point 2 is nan"),
        ([5.0, float("inf")], "point 2 is inf"),
    ],
)
def test_individuals_without_limits(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        individuals_baseline(values)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "needs at least two points, has 0"),
        ([(1, 2)], "needs at least two points, has 1"),
        ([(1, 2), (0, 0)], r"size: must be at least 1 .* point 2 has none"),
        ([(1, 2), (3, 2)], "point 2 has 3 of 2"),
        ([(0, 2), (0, 3)], "none of 5 items count"),
        ([(2, 2), (3, 3)], "all of 5 items count"),
    ],
)
def test_p_charts_without_limits(samples: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        p_baseline([Sample(count=count, size=size) for count, size in samples])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "needs at least two points, has 0"),
        ([3], "needs at least two points, has 1"),
        ([0, 0], "all 2 counts are 0"),
        ([1, -1], "whole numbers from 0; point 2 is -1"),
    ],
)
def test_c_charts_without_limits(counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        c_baseline(counts)


def test_what_cannot_be_judged() -> None:
    p = p_baseline([Sample(count=1, size=2)] * 2)
    assert judge_values(UNIT, [], RULES) == []
    with pytest.raises(ValueError, match=r"there is no rule 'WE5'; there are WE1, "):
        judge_values(UNIT, [1], ["WE1", "WE5"])
    with pytest.raises(ValueError, match="a p chart judges samples"):
        judge_values(p, [1], ["WE1"])
    with pytest.raises(ValueError, match="samples belong to a p chart"):
        judge_samples(UNIT, [Sample(count=1, size=2)], ["WE1"])
    with pytest.raises(ValueError, match="point 1 is nan"):
        judge_values(UNIT, [float("nan")], ["WE1"])
    with pytest.raises(ValueError, match="needs the size of the sample"):
        limits(p)
    with pytest.raises(ValueError, match="this baseline is of kind p"):
        moving_range_limits(p)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=30), st.lists(st.integers(1, 60), min_size=30, max_size=30))
def test_lower_limits_of_p_and_c_are_never_below_zero(counts: list[int], sizes: list[int]) -> None:
    samples = [Sample(count=min(count, size), size=size) for count, size in zip(counts, itertools.cycle(sizes))]
    share = Fraction(sum(s.count for s in samples), sum(s.size for s in samples))
    if 0 < share < 1:
        found = limits(p_baseline(samples), size=7)
        assert 0 <= found.lower <= found.centre <= found.upper <= 1
        assert found.upper == pytest.approx(min(1, float(share) + 3 * sqrt(share * (1 - share) / 7)))
    if any(counts):
        found = limits(c_baseline(counts))
        assert 0 <= found.lower <= found.centre <= found.upper
