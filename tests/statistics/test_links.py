"""Lagged links: coefficients and intervals against their formulas, and warnings where the data carries little."""

from __future__ import annotations

from math import atanh, sqrt, tanh

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.links import chain, link


def test_an_effect_is_found_at_its_lag_and_not_without_it() -> None:
    """Satisfaction follows focus two periods later, with noise."""
    random = np.random.default_rng(5)
    focus = random.normal(size=60)
    satisfaction = np.concatenate((random.normal(size=2), focus[:-2])) + 0.3 * random.normal(size=60)
    led = link("all", "focus", "satisfaction", focus.tolist(), satisfaction.tolist(), lag=2)
    assert led.pairs == 58
    assert led.pearson.lower > 0.8
    assert led.spearman.lower > 0.8
    assert led.warnings == []
    apart = link("all", "focus", "satisfaction", focus.tolist(), satisfaction.tolist(), lag=0)
    assert apart.pearson.lower < 0 < apart.pearson.upper
    assert [warning for warning in apart.warnings if "spans zero" in warning] == [
        "the interval of Pearson's r spans zero: the data does not show a link",
        "the interval of Spearman's rho spans zero: the data does not show a link",
    ]


numbers = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=4, max_size=30)


@given(numbers)
def test_coefficients_are_those_of_their_definitions(pairs: list[tuple[int, int]]) -> None:
    causes, effects = ([float(value) for value in column] for column in zip(*pairs, strict=True))
    found = link("s", "cause", "effect", causes, effects, lag=0)
    if len(set(causes)) == 1 or len(set(effects)) == 1:
        assert found.pearson.coefficient is None
        assert "does not vary" in found.warnings[0]
        return
    for one, (x, y), variance in (
        (found.pearson, (causes, effects), lambda _: 1 / (len(pairs) - 3)),
        (found.spearman, (ranks(causes), ranks(effects)), lambda rho: (1 + rho**2 / 2) / (len(pairs) - 3)),
    ):
        expected = correlation(x, y)
        assert one.coefficient == pytest.approx(expected, abs=1e-9)
        assert one.lower <= one.coefficient + 1e-9
        assert one.upper >= one.coefficient - 1e-9
        if abs(expected) < 0.999:
            reach = 1.959964 * sqrt(variance(expected))
            assert one.lower == pytest.approx(tanh(atanh(expected) - reach), abs=1e-5)
            assert one.upper == pytest.approx(tanh(atanh(expected) + reach), abs=1e-5)


def correlation(x: list[float], y: list[float]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    shared = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return shared / sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))


def ranks(values: list[float]) -> list[float]:
    return [sum(other < value for other in values) + sum(other == value for other in values) / 2 for value in values]


def test_periods_without_a_number_are_left_out() -> None:
    found = link("s", "a", "b", [1, None, 3, 4, 5, 7], [9, 2, 4, None, 5, 6], lag=1)
    assert found.pairs == 3
    assert found.pearson.coefficient is None
    assert found.warnings == ["3 periods have both a and b at this lag; a correlation needs at least 4"]


def test_few_points_and_trends_are_warned_of() -> None:
    few = link("s", "a", "b", [1, 5, 2, 8, 3], [2, 9, 5, 16, 7], lag=0)
    assert "only 5 pairs of periods: one odd period can make or undo the link" in few.warnings
    trend = link("s", "a", "b", [float(n) for n in range(40)], [2.0 * n + n % 3 for n in range(40)], lag=0)
    assert [warning for warning in trend.warnings if "trends alone" in warning]


def test_a_lag_beyond_the_series_leaves_nothing() -> None:
    assert link("s", "a", "b", [1, 2, 3], [1, 2, 3], lag=5).pairs == 0


@pytest.mark.parametrize(
    ("causes", "effects", "lag", "message"),
    [
        ([1], [1], -1, "lag: must be at least 0 periods, is -1"),
        ([1, 2], [1], 0, "series: must be of the same periods; a has 2, b has 1"),
        ([1, 2], [1, float("nan")], 0, "b: must be finite numbers; period 2 is nan"),
    ],
)
def test_what_cannot_be_is_refused(causes: list[float], effects: list[float], lag: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        link("s", "a", "b", causes, effects, lag)


def test_a_chain_has_its_links_by_segment() -> None:
    series = [1.0, 3.0, 2.0, 5.0, 4.0]
    found = chain(
        {
            "gold": {"focus": series, "satisfaction": series, "behaviour": series, "value": series},
            "silver": {"satisfaction": series, "behaviour": series},
        },
        lag=1,
    )
    assert [(one.segment, one.cause, one.effect) for one in found] == [
        ("gold", "focus", "satisfaction"),
        ("gold", "satisfaction", "behaviour"),
        ("gold", "behaviour", "value"),
        ("silver", "satisfaction", "behaviour"),
    ]
