"""The Gamma-Gamma model of what customers spend a purchase: its likelihood, its fit, and a customer's expected average.

The values of a customer's purchases vary around a mean of its own as a gamma distribution of shape p, whose rate ν
varies over customers as a gamma distribution (shape q, rate v); the mean does not depend on how often it buys.
Source: Fader and Hardie (2013), The Gamma-Gamma Model of Monetary Value, brucehardie.com/notes/025.

A customer is known by the number x of purchases observed and their average value m > 0, in one unit of money.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, digamma

from projections.likelihood import Estimate, Floats, maximise


class GammaGamma(Struct, frozen=True, kw_only=True):
    """The parameters of a Gamma-Gamma model; v is in the unit of money of the averages it was fitted on."""

    p: float
    q: float
    v: float


class Spenders(Struct, frozen=True, kw_only=True):
    """How many purchases each customer made and their average value: arrays of one length."""

    purchases: NDArray[np.int64]
    average: Floats


def spenders(purchases: ArrayLike, average: ArrayLike) -> Spenders:
    """Customers by purchases observed and their average.

    Raises ValueError where the arrays differ in length, purchases are not whole numbers from 1, or an average is not
    finite and above 0.
    """
    x, m = (np.atleast_1d(np.asarray(column, dtype=float)) for column in (purchases, average))
    if x.shape != m.shape or x.ndim != 1:
        raise ValueError("purchases and average: must be of one length")
    for rule, holds in (
        ("purchases: must be whole numbers from 1", (x >= 1) & (x == np.floor(x)) & np.isfinite(x)),
        ("average: must be finite and above 0", (m > 0) & np.isfinite(m)),
    ):
        if not holds.all():
            index = int(np.argmin(holds))
            raise ValueError(f"{rule}; customer {index} has {x[index]:g} purchases of {m[index]:g} on average")
    return Spenders(purchases=x.astype(np.int64), average=m)


def log_likelihood(parameters: Floats, customers: Spenders) -> tuple[float, Floats]:
    """The log-likelihood of p, q, v (equation 1a of the note) and its gradient, in ratios that do not overflow."""
    p, q, v = parameters
    x, m = customers.purchases, customers.average
    spent = x * m
    below, above = np.log1p(v / spent), np.log1p(spent / v)
    counts = np.bincount(x)
    sizes = np.flatnonzero(counts)
    counted, shape = counts[sizes], p * sizes
    value = -(counted @ betaln(shape, q)) - float(np.sum(p * x * below + q * above + np.log(m)))
    both = digamma(shape + q)
    gradient = (
        counted @ (sizes * (both - digamma(shape))) - float(x @ below),
        counted @ (both - digamma(q)) - float(np.sum(above)),
        float(np.sum((q * spent / v - p * x) / (spent + v))),
    )
    return float(value), np.array(gradient)


def fit_gamma_gamma(customers: Spenders) -> Estimate:
    """p, q and v by maximum likelihood.

    Raises ValueError for no customers, averages that are all the same, or nobody with two purchases or more: then
    nothing tells the variation of a customer's purchases from that between customers.
    """
    x, m = customers.purchases, customers.average
    if len(x) == 0:
        raise ValueError("Gamma-Gamma: there are no customers to fit")
    if m.min() == m.max():
        raise ValueError(f"Gamma-Gamma: the average value is {m[0]:g} for every customer; it must vary")
    if x.max() < 2:
        raise ValueError("Gamma-Gamma: no customer has two purchases, so nothing tells how its own purchases vary")
    start = {"p": 2.0, "q": 3.0, "v": float(np.mean(m))}
    return maximise(lambda parameters: log_likelihood(parameters, customers), start, len(x))


def expected_average(model: GammaGamma, purchases: ArrayLike, average: ArrayLike) -> Floats:
    """The expected mean value of customers' purchases, given how many were observed and their average:
    p(v + x·m) / (p·x + q − 1), a weighted mean of the customer's average and the population's, p·v / (q − 1).

    NaN where p·x + q <= 1, which for x = 0 is a population without a finite mean. An average below 0 counts as 0.
    """
    x, m = np.asarray(purchases, dtype=float), np.maximum(np.asarray(average, dtype=float), 0.0)
    weight = model.p * x + model.q - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, model.p * (model.v + x * m) / weight, np.nan)
