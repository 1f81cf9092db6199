"""Customers drawn from the models themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from projections.bg_nbd import BgNbd
from projections.gamma_gamma import GammaGamma

Floats = NDArray[np.float64]


def simulated_purchases(
    model: BgNbd, customers: int, seed: int, ages: tuple[float, float] = (26, 104)
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """x, t_x and T in weeks, T a whole number of days: a purchase at a time, until all have left or are up to date."""
    random = np.random.default_rng(seed)
    rate = random.gamma(model.r, 1 / model.alpha, customers)
    leaves = random.beta(model.a, model.b, customers)
    age = np.floor(random.uniform(*ages, customers) * 7) / 7
    frequency, recency, now = np.zeros(customers, np.int64), np.zeros(customers), np.zeros(customers)
    alive = np.arange(customers)
    while len(alive):
        now[alive] += random.exponential(1, len(alive)) / rate[alive]
        alive = alive[now[alive] < age[alive]]
        frequency[alive] += 1
        recency[alive] = now[alive]
        alive = alive[random.random(len(alive)) > leaves[alive]]
    return frequency, recency, age


def simulated_averages(model: GammaGamma, purchases: NDArray[np.int64], seed: int) -> Floats:
    """The average value of each customer's purchases."""
    random = np.random.default_rng(seed)
    rate = random.gamma(model.q, 1 / model.v, len(purchases))
    return random.gamma(model.p * purchases) / (rate * purchases)
