"""The BG/NBD model: published figures of CDNOW, recovery of known parameters, and an oracle by quadrature."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln, gammaln

from projections.bg_nbd import BgNbd, expected_purchases, fit_bg_nbd, grouped, log_likelihood, probability_alive
from tests.statistics.cdnow import Summary
from tests.statistics.simulated import simulated_purchases

CDNOW = BgNbd(r=0.2426, alpha=4.4136, a=0.7929, b=2.4259)


def test_cdnow_gives_the_published_figures() -> None:
    """Fader, Hardie and Lee (2005), table 2."""
    cdnow = Summary()
    found = fit_bg_nbd(grouped(cdnow.x, cdnow.t_x, cdnow.t))
    assert found.converged, found.message
    assert found.observations == 2357
    assert found.log_likelihood == pytest.approx(-9582.43, abs=0.005)
    assert {name: round(value, 4) for name, value in found.parameters.items()} == {
        "r": 0.2426,
        "alpha": 4.4136,
        "a": 0.7929,
        "b": 2.4259,
    }


def test_standard_errors_are_those_of_the_likelihood() -> None:
    """Against second differences of the log-likelihood alone, in the parameters as they are."""
    cdnow = Summary()
    customers = grouped(cdnow.x, cdnow.t_x, cdnow.t)
    found = fit_bg_nbd(customers)
    centre = np.array(list(found.parameters.values()))
    steps = 1e-3 * centre

    def value(offset: np.ndarray) -> float:
        return log_likelihood(centre + offset, customers)[0]

    information = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            one, other = np.zeros(4), np.zeros(4)
            one[i], other[j] = steps[i], steps[j]
            corners = value(one + other) - value(one - other) - value(other - one) + value(-one - other)
            information[i, j] = -corners / (4 * steps[i] * steps[j])
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    assert found.standard_errors is not None
    assert list(found.standard_errors.values()) == pytest.approx(list(errors), rel=1e-3)


def test_known_parameters_are_recovered_from_a_million_members_in_a_minute() -> None:
    r, alpha, a, b = 0.6, 9.0, 0.8, 2.5
    x, t_x, t = simulated_purchases(BgNbd(r=r, alpha=alpha, a=a, b=b), 1_000_000, seed=7)
    began = time.perf_counter()
    found = fit_bg_nbd(grouped(x, t_x, t))
    assert time.perf_counter() - began < 60
    assert found.converged, found.message
    assert found.standard_errors is not None
    for name, true in {"r": r, "alpha": alpha, "a": a, "b": b}.items():
        assert abs(found.parameters[name] - true) < 4 * found.standard_errors[name], name


parameters = st.tuples(*(st.floats(low, high) for low, high in ((0.02, 30), (0.1, 200), (0.02, 30), (0.05, 60))))


@st.composite
def customers(draw: st.DrawFn) -> tuple[int, float, float]:
    age = draw(st.floats(0.5, 300))
    x = draw(st.integers(0, 150))
    return x, (draw(st.floats(0.01, 1)) * age if x else 0.0), age


@given(parameters, st.lists(customers(), min_size=1, max_size=8))
def test_the_likelihood_is_that_of_the_paper(
    given_parameters: tuple[float, float, float, float], people: list[tuple[int, float, float]]
) -> None:
    """Equation 6, written out with gamma functions, customer by customer; and its gradient by differences."""
    columns = grouped(*(np.array(column) for column in zip(*people, strict=True)))
    values = np.array(given_parameters)
    found, gradient = log_likelihood(values, columns)
    expected = math.fsum(_by_the_paper(*given_parameters, *person) for person in people)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-7)
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-5 * values[index]
        up, down = log_likelihood(values + step, columns)[0], log_likelihood(values - step, columns)[0]
        assert gradient[index] == pytest.approx((up - down) / (2 * step[index]), rel=1e-3, abs=1e-3 * (1 + abs(found)))


def _by_the_paper(r: float, alpha: float, a: float, b: float, x: int, t_x: float, t: float) -> float:
    start = gammaln(r + x) - gammaln(r) + r * math.log(alpha)
    alive = betaln(a, b + x) - betaln(a, b) - (r + x) * math.log(alpha + t)
    if not x:
        return float(start + alive)
    gone = betaln(a + 1, b + x - 1) - betaln(a, b) - (r + x) * math.log(alpha + t_x)
    return float(start + np.logaddexp(alive, gone))


@given(parameters, customers(), st.floats(0.5, 150))
@example((0.24, 4.4, 1.0, 2.4), (3, 20.0, 38.0), 52.0)
@example((0.24, 4.4, 1.00004, 2.4), (3, 20.0, 38.0), 52.0)
@example((0.24, 4.4, 1 + 1e-12, 2.4), (3, 20.0, 38.0), 52.0)
@example((0.24, 4.4, 40.0, 50.0), (700, 0.4, 0.5), 500.0)
def test_expected_purchases_are_the_mean_over_rates_and_chances_to_leave(
    given_parameters: tuple[float, float, float, float], person: tuple[int, float, float], horizon: float
) -> None:
    """Of a customer alive with rate λ and chance p: (1 − exp(−λ p h)) / p, the mean over λ in closed form and over p by
    adaptive quadrature."""
    r, alpha, a, b = given_parameters
    x, t_x, t = person
    model = BgNbd(r=r, alpha=alpha, a=a, b=b)

    def share(logit: float) -> float:
        log_p, log_rest = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        p = math.exp(log_p)
        mean = -math.expm1(-(r + x) * math.log1p(p * horizon / (alpha + t))) / p
        return math.exp(a * log_p + (b + x) * log_rest - betaln(a, b + x)) * mean

    peak = math.log(a / (b + x))
    points = [peak + distance for distance in (-900, -200, -50, -12, -5, -2, 0, 2, 5, 12, 50, 600)]
    points = sorted({max(point, -700.0) for point in points})
    while_alive = math.fsum(quad(share, low, high, limit=200)[0] for low, high in pairwise(points))
    alive = float(probability_alive(model, x, t_x, t)[0])
    assert float(expected_purchases(model, x, t_x, t, horizon)[0]) == pytest.approx(alive * while_alive, rel=2e-5)


@given(parameters, customers())
def test_the_probability_to_be_alive_is_by_bayes(
    given_parameters: tuple[float, float, float, float], person: tuple[int, float, float]
) -> None:
    r, alpha, a, b = given_parameters
    x, t_x, t = person
    found = float(probability_alive(BgNbd(r=r, alpha=alpha, a=a, b=b), x, t_x, t)[0])
    if x == 0:
        assert found == 1
    else:
        alive = betaln(a, b + x) - (r + x) * math.log(alpha + t)
        gone = betaln(a + 1, b + x - 1) - (r + x) * math.log(alpha + t_x)
        assert found == pytest.approx(math.exp(alive - np.logaddexp(alive, gone)), rel=1e-8)


def test_nobody_buys_in_no_time() -> None:
    assert expected_purchases(CDNOW, [0, 5], [0, 20], [30, 30], 0).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"horizon: must be at least 0, is -1"):
        expected_purchases(CDNOW, 0, 0, 30, -1)


@pytest.mark.parametrize(
    ("x", "t_x", "t", "message"),
    [
        ([1, 2], [1], [2, 3], "must be of one length"),
        ([1], [float("nan")], [2], "must be finite"),
        ([1.5], [1], [2], "whole numbers"),
        ([1], [3], [2], r"recency: must be from 0 to age; customer 0 has x = 1, t_x = 3, T = 2"),
        ([0], [1], [2], "just where there is a repeat purchase"),
        ([1], [0], [2], "just where there is a repeat purchase"),
    ],
)
def test_what_cannot_be_is_refused(x: list[float], t_x: list[float], t: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouped(x, t_x, t)


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no customers"):
        fit_bg_nbd(grouped([], [], []))
    with pytest.raises(ValueError, match="no customer has a repeat purchase"):
        fit_bg_nbd(grouped([0, 0], [0, 0], [10, 20]))


@pytest.mark.parametrize(
    ("x", "t_x", "t"),
    [([3] * 100, [39.0] * 100, [39.0] * 100), ([1] * 60, [0.5] * 60, [30.0] * 60)],
    ids=["all alike and just seen", "all alike and long gone"],
)
def test_a_likelihood_without_a_maximum_is_not_called_converged(x: list[int], t_x: list[float], t: list[float]) -> None:
    found = fit_bg_nbd(grouped(x, t_x, t))
    assert not found.converged
    assert found.standard_errors is None
    assert found.message.startswith("not converged: ")
