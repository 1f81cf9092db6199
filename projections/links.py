"""Whether one series leads another: focus → satisfaction → behaviour → value, segment by segment, at a lag.

Correlation at a lag of L periods pairs a cause in period i with an effect in period i + L. It says how closely two
series go together, not that one makes the other; each answer carries its sample size, its confidence interval and
warnings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import atanh, isfinite, sqrt, tanh
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import norm, pearsonr, spearmanr

CONFIDENCE: Final = 0.95
PAIRS_MIN: Final = 4
"""Below it Fisher's interval does not exist."""
PAIRS_FEW: Final = 20
AUTOCORRELATION_HIGH: Final = 0.3
CHAIN: Final = ("focus", "satisfaction", "behaviour", "value")

Series = Sequence[float | None]
"""One number a period, in order; None where there is none."""


class Correlation(Struct, frozen=True, kw_only=True):
    """A coefficient with its confidence interval (95 %), all None where the data carries none."""

    coefficient: float | None
    lower: float | None
    upper: float | None
    method: str


class Link(Struct, frozen=True, kw_only=True):
    """How a cause and a later effect go together in a segment. `pairs` is the sample size."""

    segment: str
    cause: str
    effect: str
    lag: int
    pairs: int
    pearson: Correlation
    spearman: Correlation
    warnings: list[str]


PEARSON_METHOD: Final = "Pearson's r, Fisher z interval 95 %"
SPEARMAN_METHOD: Final = (
    "Spearman's rho, Fisher z interval 95 % with variance (1 + rho²/2)/(n − 3) (Bonett and Wright 2000)"
)


def link(segment: str, cause: str, effect: str, causes: Series, effects: Series, lag: int) -> Link:
    """The link between two series of the same periods, the effect `lag` periods after the cause.

    Periods without a number on either side are left out. Raises ValueError for a lag below 0, series of different
    lengths, or a number that is not finite.
    """
    if lag < 0:
        raise ValueError(f"lag: must be at least 0 periods, is {lag}")
    if len(causes) != len(effects):
        raise ValueError(f"series: must be of the same periods; {cause} has {len(causes)}, {effect} has {len(effects)}")
    for name, series in ((cause, causes), (effect, effects)):
        for index, value in enumerate(series):
            if value is not None and not isfinite(value):
                raise ValueError(f"{name}: must be finite numbers; period {index + 1} is {value}")
    pairs = [
        (before, after)
        for before, after in zip(causes, effects[lag:], strict=False)
        if before is not None and after is not None
    ]
    x, y = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    trouble = _trouble(cause, effect, x, y)
    if trouble:
        pearson, spearman = _none(PEARSON_METHOD), _none(SPEARMAN_METHOD)
    else:
        rho = float(spearmanr(x, y).statistic)
        found = pearsonr(x, y)
        bounds = found.confidence_interval(CONFIDENCE)
        pearson = Correlation(
            coefficient=float(found.statistic),
            lower=float(bounds.low),
            upper=float(bounds.high),
            method=PEARSON_METHOD,
        )
        spearman = _spearman(rho, len(x))
    return Link(
        segment=segment,
        cause=cause,
        effect=effect,
        lag=lag,
        pairs=len(pairs),
        pearson=pearson,
        spearman=spearman,
        warnings=[trouble] if trouble else _warnings(cause, effect, x, y, pearson, spearman),
    )


def chain(segments: Mapping[str, Mapping[str, Series]], lag: int, steps: Sequence[str] = CHAIN) -> list[Link]:
    """The links from each step to the next, by segment. A segment without a step's series has no links with it.

    `segments` gives for each segment its series by step, all of the same periods. Raises ValueError like `link`.
    """
    return [
        link(segment, cause, effect, series[cause], series[effect], lag)
        for segment, series in segments.items()
        for cause, effect in pairwise(steps)
        if cause in series and effect in series
    ]


def _trouble(cause: str, effect: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Why there is no coefficient; "" where there is one."""
    if len(x) < PAIRS_MIN:
        return f"{len(x)} periods have both {cause} and {effect} at this lag; a correlation needs at least {PAIRS_MIN}"
    for name, series in ((cause, x), (effect, y)):
        if np.ptp(series) <= 1e-12 * np.abs(series).max():
            return f"{name} is {series[0]:g} in all {len(series)} periods; what does not vary correlates with nothing"
    return ""


def _warnings(
    cause: str, effect: str, x: NDArray[np.float64], y: NDArray[np.float64], pearson: Correlation, spearman: Correlation
) -> list[str]:
    warnings = []
    if len(x) < PAIRS_FEW:
        warnings.append(f"only {len(x)} pairs of periods: one odd period can make or undo the link")
    for found in (pearson, spearman):
        if found.lower is not None and found.upper is not None and found.lower <= 0 <= found.upper:
            name = found.method.partition(",")[0]
            warnings.append(f"the interval of {name} spans zero: the data does not show a link")
    first, second = _autocorrelation(x), _autocorrelation(y)
    if first * second > AUTOCORRELATION_HIGH**2:
        effective = max(2, round(len(x) * (1 - first * second) / (1 + first * second)))
        warnings.append(
            f"{cause} and {effect} resemble their own past (autocorrelation {first:.2f} and {second:.2f}): trends alone"
            f" make such series correlate; {len(x)} pairs weigh like about {effective}, the intervals are too narrow"
        )
    return warnings


def _spearman(rho: float, pairs: int) -> Correlation:
    if abs(rho) >= 1:
        return Correlation(coefficient=rho, lower=rho, upper=rho, method=SPEARMAN_METHOD)
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * sqrt((1 + rho**2 / 2) / (pairs - 3))
    return Correlation(
        coefficient=rho, lower=tanh(atanh(rho) - reach), upper=tanh(atanh(rho) + reach), method=SPEARMAN_METHOD
    )


def _none(method: str) -> Correlation:
    return Correlation(coefficient=None, lower=None, upper=None, method=method)


def _autocorrelation(series: NDArray[np.float64]) -> float:
    """Of lag 1."""
    centred = series - series.mean()
    return float(centred[:-1] @ centred[1:] / (centred @ centred))
