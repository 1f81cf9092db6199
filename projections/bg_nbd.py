"""The BG/NBD model of when customers buy: its likelihood, its fit, and what it expects of a customer.

A customer buys at a rate λ of its own while alive, and after each repeat purchase leaves for good with a probability p
of its own; λ varies over customers as a gamma distribution (shape r, rate α), p as a beta distribution (a, b), apart
from each other. Source: Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24(2).

A customer is known by its frequency x (repeat purchases), recency t_x (time from the first purchase to the last) and
age T (time from the first purchase to now), in one unit of time, which is that of α.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit, hyp2f1

from projections.likelihood import Estimate, Floats, maximise

HOLE: Final = 1e-4
"""The expectation has a removable singularity at a = 1: near to it, the mean of both sides is taken."""
LOGIT_STEP: Final = 0.02
LOGIT_TAILS: Final = 40.0


class BgNbd(Struct, frozen=True, kw_only=True):
    """The parameters of a BG/NBD model."""

    r: float
    alpha: float
    a: float
    b: float


class Customers(Struct, frozen=True, kw_only=True):
    """Distinct (frequency, recency, age) and how many customers have each: arrays of one length."""

    frequency: NDArray[np.int64]
    recency: Floats
    age: Floats
    count: NDArray[np.int64]


def grouped(frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Customers:
    """Customers, grouped by what the model knows of them.

    Raises ValueError where the arrays differ in length, where a number is not finite, or where they do not hold
    0 <= t_x <= T, x a whole number, and t_x > 0 just where x > 0.
    """
    columns = [np.atleast_1d(np.asarray(column, dtype=float)) for column in (frequency, recency, age)]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
        raise ValueError("frequency, recency and age: must be of one length")
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("frequency, recency and age: must be finite")
    x, t_x, t = columns
    for rule, holds in (
        ("frequency: must be whole numbers from 0", (x >= 0) & (x == np.floor(x))),
        ("recency: must be from 0 to age", (t_x >= 0) & (t_x <= t)),
        ("recency: must be above 0 just where there is a repeat purchase", (x > 0) == (t_x > 0)),
    ):
        if not holds.all():
            index = int(np.argmin(holds))
            raise ValueError(f"{rule}; customer {index} has x = {x[index]:g}, t_x = {t_x[index]:g}, T = {t[index]:g}")
    parts = [np.unique(column, return_inverse=True) for column in columns]
    code = (parts[0][1] * len(parts[1][0]) + parts[1][1]) * len(parts[2][0]) + parts[2][1]
    _, first, count = np.unique(code, return_index=True, return_counts=True)
    return Customers(frequency=x[first].astype(np.int64), recency=t_x[first], age=t[first], count=count)


def log_likelihood(parameters: Floats, customers: Customers) -> tuple[float, Floats]:
    """The log-likelihood of r, α, a, b (equation 6 of the paper) and its gradient.

    Ratios of gamma functions are products over the repeat purchases, as a table by x, and the two ways to have been
    seen last at t_x are added as logs: nothing overflows or cancels for large parameters or many purchases.
    """
    r, alpha, a, b = parameters
    x, t_x, t, count = customers.frequency, customers.recency, customers.age, customers.count
    repeats = x > 0
    k = np.arange(x.max(initial=0), dtype=float)

    def table(terms: Floats) -> Floats:
        return np.concatenate(([0.0], np.cumsum(terms)))[x]

    lapse = np.log1p((t - t_x) / (alpha + t_x))
    later = np.where(repeats, b + x - 1, 1.0)
    left = np.where(repeats, np.log(a) - np.log(later) + (r + x) * lapse, -np.inf)
    value = (
        table(np.log(r + k))
        - table(np.log1p(a / (b + k)))
        - r * np.log1p(t / alpha)
        - x * np.log(alpha + t)
        + np.logaddexp(0.0, left)
    )
    gone = expit(left)
    gradient = (
        table(1 / (r + k)) - np.log1p(t / alpha) + gone * lapse,
        r * t / (alpha * (alpha + t)) - x / (alpha + t) - gone * (r + x) * (t - t_x) / ((alpha + t) * (alpha + t_x)),
        gone / a - table(1 / (a + b + k)),
        table(a / ((b + k) * (a + b + k))) - gone / later,
    )
    return float(count @ value), np.array([count @ part for part in gradient])


def fit_bg_nbd(customers: Customers) -> Estimate:
    """r, alpha, a and b by maximum likelihood.

    Raises ValueError for no customers, none who bought again, or none observed for any time.
    """
    total = int(customers.count.sum())
    if total == 0:
        raise ValueError("BG/NBD: there are no customers to fit")
    if not customers.frequency.any():
        raise ValueError("BG/NBD: no customer has a repeat purchase, so nothing tells how often they buy")
    start = {"r": 1.0, "alpha": float(np.average(customers.age, weights=customers.count)), "a": 1.0, "b": 2.0}
    return maximise(lambda parameters: log_likelihood(parameters, customers), start, total)


def probability_alive(model: BgNbd, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Floats:
    """The probability that customers still buy, given x, t_x and T. Without a repeat purchase it is 1: nobody leaves
    before one in this model.
    """
    x, t_x, t = (np.atleast_1d(np.asarray(column, dtype=float)) for column in (frequency, recency, age))
    repeats = x > 0
    later = np.where(repeats, model.b + x - 1, 1.0)
    odds = np.log(model.a) - np.log(later) + (model.r + x) * np.log1p((t - t_x) / (model.alpha + t_x))
    return np.where(repeats, expit(-odds), 1.0)


def expected_purchases(
    model: BgNbd, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, horizon: float
) -> Floats:
    """How many purchases customers are expected to make in the time `horizon` from now, given x, t_x and T.

    Equation 10 of the paper, with Euler's transformation of its 2F1, after which no large factors are left to cancel:
    P(alive) · (a+b+x−1)/(a−1) · (1 − (1+y)^(1−a) · 2F1(a+b−1−r, a−1; a+b+x−1; y/(1+y))) with y = horizon/(α+T).
    Raises ValueError for a horizon below 0.
    """
    if not horizon >= 0:
        raise ValueError(f"horizon: must be at least 0, is {horizon}")
    x, t = (np.atleast_1d(np.asarray(column, dtype=float)) for column in (frequency, age))
    reach = horizon / (model.alpha + t)
    sides = (model.a - HOLE, model.a + HOLE) if abs(model.a - 1) < HOLE / 2 else (model.a,)
    with np.errstate(over="ignore", invalid="ignore"):
        while_alive = np.mean([_while_alive(model, side, x, reach) for side in sides], axis=0)
    overflowed = ~np.isfinite(while_alive)
    if overflowed.any():
        while_alive[overflowed] = [
            _by_quadrature(model, *each) for each in zip(x[overflowed], reach[overflowed], strict=True)
        ]
    return probability_alive(model, frequency, recency, age) * while_alive


def _while_alive(model: BgNbd, a: float, x: Floats, reach: Floats) -> Floats:
    last = a + model.b + x - 1
    series = hyp2f1(a + model.b - 1 - model.r, a - 1, last, reach / (1 + reach))
    return last / (a - 1) * (1 - (1 + reach) ** (1 - a) * series)


def _by_quadrature(model: BgNbd, x: float, reach: float) -> float:
    """The same where the 2F1 overflows, as the mean of (1 − (1+p·y)^−(r+x)) / p over p ~ Beta(a, b+x).

    By the trapezoidal rule in the logit of p, which is exact to rounding for a smooth integrand that vanishes at both
    ends.
    """
    logit = np.arange(-(LOGIT_TAILS / model.a + LOGIT_TAILS), LOGIT_TAILS / min(model.b + x, 1.0) + 1, LOGIT_STEP)
    log_p, log_rest = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
    density = np.exp(model.a * log_p + (model.b + x) * log_rest - betaln(model.a, model.b + x))
    p = np.maximum(np.exp(log_p), np.finfo(float).tiny)
    return float(LOGIT_STEP * np.sum(density * -np.expm1(-(model.r + x) * np.log1p(p * reach)) / p))
