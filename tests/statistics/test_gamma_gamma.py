"""The Gamma-Gamma model: published figures of CDNOW, recovery of known parameters, and its likelihood by quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gamma

from projections.gamma_gamma import GammaGamma, expected_average, fit_gamma_gamma, log_likelihood, spenders
from tests.statistics.cdnow import Summary
from tests.statistics.simulated import simulated_averages


def test_cdnow_gives_the_published_figures() -> None:
    """Fader and Hardie (2013): 946 customers with a repeat purchase."""
    cdnow = Summary()
    repeaters = [(x, average) for x, average in zip(cdnow.x, cdnow.average, strict=True) if x]
    found = fit_gamma_gamma(spenders(*zip(*repeaters, strict=True)))
    assert found.converged, found.message
    assert found.observations == 946
    assert found.parameters == pytest.approx({"p": 6.2496, "q": 3.7442, "v": 15.4435}, abs=1e-4)


def test_known_parameters_are_recovered() -> None:
    true = {"p": 2.5, "q": 4.0, "v": 3000.0}
    purchases = np.random.default_rng(3).geometric(0.3, 100_000)
    found = fit_gamma_gamma(spenders(purchases, simulated_averages(GammaGamma(**true), purchases, seed=4)))
    assert found.converged, found.message
    assert found.standard_errors is not None
    for name, value in true.items():
        assert abs(found.parameters[name] - value) < 4 * found.standard_errors[name], name


parameters = st.tuples(st.floats(0.3, 30), st.floats(0.3, 30), st.floats(0.5, 500))
customers = st.lists(st.tuples(st.integers(1, 60), st.floats(0.5, 500)), min_size=1, max_size=5)


@given(parameters, customers)
def test_the_likelihood_is_the_mean_over_rates(
    given_parameters: tuple[float, float, float], people: list[tuple[int, float]]
) -> None:
    """The density of the average given the rate ν is gamma(px, νx); the mean over ν ~ gamma(q, v) by a fine sum."""
    p, q, v = given_parameters
    expected = 0.0
    for x, m in people:
        peak = math.log((p * x + q) / (v + x * m))
        width = 1 / math.sqrt(p * x + q)
        logs = peak + np.linspace(-40 * width - 30 / min(q + p * x, 1), 12 * width + 6, 20_001)
        rates = np.exp(logs)
        density = gamma.logpdf(m, p * x, scale=1 / (rates * x)) + gamma.logpdf(rates, q, scale=1 / v) + logs
        highest = density.max()
        expected += highest + math.log(np.trapezoid(np.exp(density - highest), logs))
    values = np.array(given_parameters)
    data = spenders(*zip(*people, strict=True))
    found, gradient = log_likelihood(values, data)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    for index in range(3):
        step = np.zeros(3)
        step[index] = 1e-5 * values[index]
        up, down = log_likelihood(values + step, data)[0], log_likelihood(values - step, data)[0]
        assert gradient[index] == pytest.approx((up - down) / (2 * step[index]), rel=1e-3, abs=1e-3 * (1 + abs(found)))


def test_the_expected_average_lies_between_ones_own_and_the_populations() -> None:
    model = GammaGamma(p=6.25, q=3.74, v=15.44)
    population = model.p * model.v / (model.q - 1)
    assert expected_average(model, 0, 0).item() == pytest.approx(population)
    few, many = expected_average(model, [1, 1000], [100, 100])
    assert population < few < many < 100
    assert expected_average(model, 3, -20).item() == expected_average(model, 3, 0).item()


def test_a_population_without_a_finite_mean_has_no_expected_average() -> None:
    model = GammaGamma(p=2, q=0.9, v=10)
    assert np.isnan(expected_average(model, 0, 0)).all()
    assert np.isfinite(expected_average(model, 1, 5)).all()


@pytest.mark.parametrize(
    ("purchases", "average", "message"),
    [
        ([1, 2], [3], "must be of one length"),
        ([0], [3], "purchases: must be whole numbers from 1; customer 0 has 0 purchases of 3 on average"),
        ([1], [0], "average: must be finite and above 0"),
        ([1], [float("inf")], "average: must be finite and above 0"),
    ],
)
def test_what_cannot_be_is_refused(purchases: list[int], average: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spenders(purchases, average)


@pytest.mark.parametrize(
    ("purchases", "average", "message"),
    [
        ([], [], "no customers"),
        ([1, 2, 3], [5, 5, 5], "the average value is 5 for every customer"),
        ([1, 1], [5, 6], "no customer has two purchases"),
    ],
)
def test_data_that_carries_no_fit_is_refused(purchases: list[int], average: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_gamma_gamma(spenders(purchases, average))
