"""Control charts: limits from a baseline, and later points judged by them, rule by rule.

Individuals and moving range, p and c charts are those of the NIST/SEMATECH e-Handbook of Statistical Methods, sections
6.3.2.2, 6.3.3.2 and 6.3.3.1. The Western Electric rules are those of the Statistical Quality Control Handbook (1956),
the Nelson rules those of Nelson (1984), The Shewhart Control Chart: Tests for Special Causes, J. Quality Technology 16.

A baseline is fixed once, on points of its own, and never fitted on the points that it judges. The zones C, B and A
reach from the centre to 1, 2 and 3 standard deviations; a point on the line between two belongs to the inner one, and a
point on the centre line to neither side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import isfinite, sqrt
from typing import Final, Literal, TypeAlias

from msgspec import Struct

D2: Final = 1.128
"""The mean range of two draws from a normal distribution, in standard deviations, as tables have it."""
D4: Final = 3.267
"""The upper limit of a range of two draws, in mean ranges, as tables have it."""
LIMIT_SIGMAS: Final = 3.0
DECIMALS_OF_SIGMA: Final = 9
"""Distances from the centre are compared after rounding to so many decimals: a point on a line is on it."""
WINDOW_MAX: Final = 15
"""No rule looks further back than so many points."""
USUAL_POINTS_MIN: Final = 20

Kind: TypeAlias = Literal["individuals", "p", "c"]


class Limits(Struct, frozen=True, kw_only=True):
    """Centre line and control limits."""

    centre: float
    lower: float
    upper: float


class Sample(Struct, frozen=True, kw_only=True):
    """`count` of `size` items of a p chart."""

    count: int
    size: int


class Baseline(Struct, frozen=True, kw_only=True):
    """What later points are judged by.

    `sigma` is the standard deviation of individuals and of c charts; for p charts it depends on the size of a sample,
    and is None. `note` says what to keep in mind ("" for nothing).
    """

    kind: Kind
    points: int
    centre: float
    sigma: float | None
    method: str
    note: str = ""


class Point(Struct, frozen=True, kw_only=True):
    """A point as judged: its value, its limits, its distance from the centre in standard deviations, and the rules that
    it completes, such as "WE1" or "N3", in the order of RULES.
    """

    value: float
    limits: Limits
    distance: float
    rules: tuple[str, ...]


# --- baselines ------------------------------------------------------------------------------------------------------


def individuals_baseline(values: Sequence[float]) -> Baseline:
    """The mean of values in their order, and sigma = mean moving range / 1.128.

    Raises ValueError for fewer than two values, one that is not finite, or values that do not vary.
    """
    _check_points(values)
    moving_range = _mean_moving_range(values)
    if moving_range == 0:
        raise ValueError(f"baseline: all {len(values)} values are {values[0]:g}; what does not vary has no limits")
    return Baseline(
        kind="individuals",
        points=len(values),
        centre=sum(values) / len(values),
        sigma=moving_range / D2,
        method="individuals: mean ± 3 · mean moving range / 1.128 (NIST 6.3.2.2)",
        note=_note(len(values)),
    )


def moving_range_limits(baseline: Baseline) -> Limits:
    """The limits of the moving ranges beside an individuals chart: mean range, 0 and 3.267 times the mean range.

    Raises ValueError for another kind of chart.
    """
    if baseline.kind != "individuals" or baseline.sigma is None:
        raise ValueError(f"moving ranges belong to a chart of individuals, this baseline is of kind {baseline.kind}")
    mean = baseline.sigma * D2
    return Limits(centre=mean, lower=0.0, upper=D4 * mean)


def p_baseline(samples: Sequence[Sample]) -> Baseline:
    """The share of all items of the samples together.

    Raises ValueError for fewer than two samples, a size below 1, a count outside 0 to size, or a share of 0 or 1.
    """
    _check_enough(len(samples))
    _check_samples(samples)
    size = sum(sample.size for sample in samples)
    centre = sum(sample.count for sample in samples) / size
    if centre in (0, 1):
        raise ValueError(f"baseline: {'all' if centre else 'none'} of {size} items count; that has no limits")
    return Baseline(
        kind="p",
        points=len(samples),
        centre=centre,
        sigma=None,
        method="p chart: p̄ ± 3 · √(p̄(1 − p̄)/n), n of each sample its own (NIST 6.3.3.2)",
        note=_note(len(samples)),
    )


def c_baseline(counts: Sequence[int]) -> Baseline:
    """The mean count of periods of the same opportunity, and its square root as sigma.

    Raises ValueError for fewer than two counts, one below 0, or nothing counted at all.
    """
    _check_enough(len(counts))
    _check_counts(counts)
    centre = sum(counts) / len(counts)
    if centre == 0:
        raise ValueError(f"baseline: all {len(counts)} counts are 0; what does not vary has no limits")
    return Baseline(
        kind="c",
        points=len(counts),
        centre=centre,
        sigma=sqrt(centre),
        method="c chart: c̄ ± 3 · √c̄ (NIST 6.3.3.1)",
        note=_note(len(counts)),
    )


def limits(baseline: Baseline, size: int | None = None) -> Limits:
    """The limits of a chart; of a p chart, for a sample of `size`. Those of p are within 0 and 1, of c not below 0."""
    sigma = _sigma(baseline, size)
    lower, upper = baseline.centre - LIMIT_SIGMAS * sigma, baseline.centre + LIMIT_SIGMAS * sigma
    if baseline.kind != "individuals":
        lower = max(lower, 0.0)
    if baseline.kind == "p":
        upper = min(upper, 1.0)
    return Limits(centre=baseline.centre, lower=lower, upper=upper)


def _sigma(baseline: Baseline, size: int | None) -> float:
    if baseline.kind == "p":
        if size is None or size < 1:
            raise ValueError(f"size: a p chart needs the size of the sample, at least 1, got {size}")
        return sqrt(baseline.centre * (1 - baseline.centre) / size)
    if baseline.sigma is None or not baseline.sigma > 0:
        raise ValueError(f"baseline: sigma must be above 0, is {baseline.sigma}")
    return baseline.sigma


# --- judging --------------------------------------------------------------------------------------------------------


def judge_values(baseline: Baseline, values: Sequence[float], rules: Iterable[str]) -> list[Point]:
    """Later values of a chart of individuals, or counts of a c chart, in their order. No values: no points.

    Raises ValueError for a rule that does not exist, a p chart, or a value that cannot be.
    """
    if baseline.kind == "p":
        raise ValueError("a p chart judges samples, each with its size")
    _check_finite(values)
    if baseline.kind == "c":
        _check_counts(values)
    return _judge(baseline, [(float(value), None) for value in values], rules)


def judge_samples(baseline: Baseline, samples: Sequence[Sample], rules: Iterable[str]) -> list[Point]:
    """Later samples of a p chart, in their order. Raises ValueError like judge_values."""
    if baseline.kind != "p":
        raise ValueError(f"samples belong to a p chart, this baseline is of kind {baseline.kind}")
    _check_samples(samples)
    return _judge(baseline, [(sample.count / sample.size, sample.size) for sample in samples], rules)


def _judge(baseline: Baseline, points: Sequence[tuple[float, int | None]], rules: Iterable[str]) -> list[Point]:
    wanted = set(rules)
    if unknown := sorted(wanted - RULES.keys()):
        raise ValueError(f"rules: there is no rule {unknown[0]!r}; there are {', '.join(RULES)}")
    distances = [round((value - baseline.centre) / _sigma(baseline, size), DECIMALS_OF_SIGMA) for value, size in points]
    kept = [(name, holds) for name, (holds, _) in RULES.items() if name in wanted]
    return [
        Point(
            value=value,
            limits=limits(baseline, size),
            distance=distances[index],
            rules=tuple(name for name, holds in kept if holds(distances[max(0, index + 1 - WINDOW_MAX) : index + 1])),
        )
        for index, (value, size) in enumerate(points)
    ]


# --- rules ----------------------------------------------------------------------------------------------------------
# A rule looks at the distances of all points so far, and says whether the newest completes it.

Rule: TypeAlias = Callable[[Sequence[float]], bool]


def _some_beyond(needed: int, window: int, line: float) -> Rule:
    """`needed` of the newest `window` beyond a line on the same side, the newest one of them."""

    def holds(distances: Sequence[float]) -> bool:
        newest = distances[-1]
        if abs(newest) <= line:
            return False
        return sum(distance * newest > 0 and abs(distance) > line for distance in distances[-window:]) >= needed

    return holds


def _run(length: int, each: Callable[[Sequence[float]], bool]) -> Rule:
    """The newest `length` points, all there, have a property."""

    def holds(distances: Sequence[float]) -> bool:
        return len(distances) >= length and each(distances[-length:])

    return holds


def _one_side(run: Sequence[float]) -> bool:
    return min(run) > 0 or max(run) < 0


def _steady(run: Sequence[float]) -> bool:
    steps = _steps(run)
    return min(steps) > 0 or max(steps) < 0


def _alternating(run: Sequence[float]) -> bool:
    steps = _steps(run)
    return all(before * after < 0 for before, after in pairwise(steps))


def _steps(run: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(run)]


def _in_zone_c(run: Sequence[float]) -> bool:
    return all(abs(distance) <= 1 for distance in run)


def _none_in_zone_c(run: Sequence[float]) -> bool:
    return all(abs(distance) > 1 for distance in run)


RULES: Final[dict[str, tuple[Rule, str]]] = {
    "WE1": (_some_beyond(1, 1, 3), "one point beyond 3 sigma"),
    "WE2": (_some_beyond(2, 3, 2), "two of three points beyond 2 sigma on one side"),
    "WE3": (_some_beyond(4, 5, 1), "four of five points beyond 1 sigma on one side"),
    "WE4": (_run(8, _one_side), "eight points in a row on one side of the centre"),
    "N1": (_some_beyond(1, 1, 3), "one point beyond 3 sigma"),
    "N2": (_run(9, _one_side), "nine points in a row on one side of the centre"),
    "N3": (_run(6, _steady), "six points in a row steadily rising or falling"),
    "N4": (_run(14, _alternating), "fourteen points in a row alternating up and down"),
    "N5": (_some_beyond(2, 3, 2), "two of three points beyond 2 sigma on one side"),
    "N6": (_some_beyond(4, 5, 1), "four of five points beyond 1 sigma on one side"),
    "N7": (_run(15, _in_zone_c), "fifteen points in a row within 1 sigma, on either side"),
    "N8": (_run(8, _none_in_zone_c), "eight points in a row beyond 1 sigma, on either side"),
}
"""Rules by number: Western Electric 1 to 4 and Nelson 1 to 8, each with what it says."""

WESTERN_ELECTRIC: Final = tuple(name for name in RULES if name.startswith("WE"))
NELSON: Final = tuple(name for name in RULES if name.startswith("N"))


# --- what a series must be ------------------------------------------------------------------------------------------


def _mean_moving_range(values: Sequence[float]) -> float:
    ranges = [abs(after - before) for before, after in pairwise(values)]
    return sum(ranges) / len(ranges)


def _check_points(values: Sequence[float]) -> None:
    _check_enough(len(values))
    _check_finite(values)


def _check_enough(number: int) -> None:
    if number < 2:
        raise ValueError(f"baseline: needs at least two points, has {number}")


def _check_finite(values: Sequence[float]) -> None:
    for index, value in enumerate(values):
        if not isfinite(value):
            raise ValueError(f"values: must be finite numbers; point {index + 1} is {value}")


def _check_counts(counts: Sequence[float]) -> None:
    for index, count in enumerate(counts):
        if count < 0 or count != int(count):
            raise ValueError(f"counts: must be whole numbers from 0; point {index + 1} is {count}")


def _check_samples(samples: Sequence[Sample]) -> None:
    for index, sample in enumerate(samples):
        if sample.size < 1:
            raise ValueError(f"size: must be at least 1 (leave out periods without items); point {index + 1} has none")
        if not 0 <= sample.count <= sample.size:
            raise ValueError(f"count: must be from 0 to size; point {index + 1} has {sample.count} of {sample.size}")


def _note(points: int) -> str:
    if points >= USUAL_POINTS_MIN:
        return ""
    return f"limits from {points} points are rough; {USUAL_POINTS_MIN} or more are usual"
