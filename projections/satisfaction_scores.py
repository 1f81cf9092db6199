"""Satisfaction figures from counts and exact sums: NPS, CSAT, CES and ACSI, each with its error and method in words.

Counts and sums of periods, stores or channels add up, so a figure of several is that of their sums. Sums are of
integers, Decimals or Fractions, never of floats; only the figures are floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import Final, TypeAlias

from msgspec import Struct
from scipy.special import ndtri, stdtrit

Exact: TypeAlias = int | Decimal | Fraction
Scale: TypeAlias = tuple[int, int]

CONFIDENCE: Final = 0.95
UPPER_TAIL: Final = (1 + CONFIDENCE) / 2
NORMAL_QUANTILE: Final = float(ndtri(UPPER_TAIL))
NPS_SCALE: Final = (0, 10)
CES_SCALE: Final = (1, 7)
ACSI_SCALE: Final = (0, 100)


class Sums(Struct, frozen=True, kw_only=True):
    """Scores as they are kept: how many, their sum, and the sum of their squares (None: not kept)."""

    count: int
    total: Exact
    squares: Exact | None = None


class Score(Struct, frozen=True, kw_only=True):
    """A figure: `value` None where nothing was answered, `standard_error` and interval (95 %) None where the answers do
    not carry one, and `note` saying why, or what to keep in mind.
    """

    figure: str
    answers: int
    value: float | None
    standard_error: float | None
    lower: float | None
    upper: float | None
    method: str
    note: str = ""


def nps(promoters: int, detractors: int, answers: int) -> Score:
    """Percent promoters (9 and 10 of 0 to 10) less percent detractors (0 to 6), from −100 to 100.

    Standard error of a difference of two shares of one multinomial, √((p + d − (p − d)²) / n): Rocks (2016), Interval
    Estimation for the "Net Promoter Score", The American Statistician 70(4). Raises ValueError for impossible counts.
    """
    _check_counts(answers, promoters=promoters, detractors=detractors)
    if promoters + detractors > answers:
        raise ValueError(f"promoters and detractors: {promoters} + {detractors} are more than {answers} answers")
    method = "NPS: % of 9–10 less % of 0–6 on 0–10; standard error √((p + d − (p − d)²)/n), Wald interval 95 %"
    if not answers:
        return _nothing("NPS", method)
    p, d = Fraction(promoters, answers), Fraction(detractors, answers)
    error = 100 * sqrt((p + d - (p - d) ** 2) / answers)
    value = 100 * float(p - d)
    reach = NORMAL_QUANTILE * error
    return Score(
        figure="NPS",
        answers=answers,
        value=value,
        standard_error=error,
        lower=max(-100.0, value - reach),
        upper=min(100.0, value + reach),
        method=method,
        note="" if error else "all answers fall in one group: a standard error of 0 does not mean certainty",
    )


def csat(satisfied: int, answers: int) -> Score:
    """Percent of answers in the top two boxes: on any scale, the two highest points of it (4 and 5 of 1 to 5).

    Standard error √(p(1 − p)/n) and Wilson's score interval. Raises ValueError for impossible counts.
    """
    _check_counts(answers, satisfied=satisfied)
    method = "CSAT: % in the top two points of the scale; standard error √(p(1 − p)/n), Wilson interval 95 %"
    if not answers:
        return _nothing("CSAT", method)
    share = Fraction(satisfied, answers)
    lower, upper = _wilson(satisfied, answers)
    error = 100 * sqrt(share * (1 - share) / answers)
    return Score(
        figure="CSAT",
        answers=answers,
        value=100 * float(share),
        standard_error=error,
        lower=100 * lower,
        upper=100 * upper,
        method=method,
        note="" if error else "all answers say the same: a standard error of 0 does not mean certainty",
    )


def _wilson(successes: int, trials: int) -> tuple[float, float]:
    """The interval of a share: Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference,
    Journal of the American Statistical Association 22(158), solved for the share. Its ends are 0 and 1 where all
    trials say the same.
    """
    squared = NORMAL_QUANTILE**2
    centre = (successes + squared / 2) / (trials + squared)
    reach = NORMAL_QUANTILE * sqrt(successes * (trials - successes) / trials + squared / 4) / (trials + squared)
    return (centre - reach if successes else 0.0), (centre + reach if successes < trials else 1.0)


def is_top_two(score: Exact, scale: Scale) -> bool:
    """Whether an answer is in the top two boxes of its scale. Raises ValueError where the score is not on the scale."""
    _check_scale(scale)
    if not scale[0] <= score <= scale[1]:
        raise ValueError(f"score: must be from {scale[0]} to {scale[1]}, is {score}")
    return score >= scale[1] - 1


def ces(scores: Sums, scale: Scale = CES_SCALE) -> Score:
    """Mean customer effort score on 1 to 7; scores on another scale are carried over to it linearly, end to end.

    Standard error s/√n with Student's t interval. Raises ValueError for impossible sums.
    """
    method = "CES: mean on 1–7, other scales rescaled linearly; standard error s/√n, t interval 95 %"
    return _mean("CES", rescaled(scores, scale, CES_SCALE), CES_SCALE, method)


def acsi(indices: Sums, weighted: bool = False) -> Score:
    """Mean of the ACSI indices of answers, 0 to 100, each from `acsi_index`; `weighted` if weights were given there."""
    weights = "given weights" if weighted else "equal weights"
    method = (
        f"ACSI: mean of 100 · Σw(x − lowest) / (Σw · (highest − lowest)) with {weights}; standard error s/√n,"
        " t interval 95 %"
    )
    return _mean("ACSI", indices, ACSI_SCALE, method)


def acsi_index(scores: Sequence[Exact], scale: Scale, weights: Sequence[int] | None = None) -> Fraction:
    """The ACSI index, 0 to 100, of the answers to its questions (three, in the original, on 1 to 10):
    100 · Σw(x − lowest) / (Σw · (highest − lowest)). The index of mean answers is the mean of the indices.

    Formula: Fornell et al. (1996), The American Customer Satisfaction Index, Journal of Marketing 60(4).
    Raises ValueError for no scores, one off the scale, or weights that are not one a question, from 0, above 0 in all.
    """
    _check_scale(scale)
    lowest, highest = scale
    if not scores:
        raise ValueError("scores: an index needs at least one question")
    for score in scores:
        if not lowest <= score <= highest:
            raise ValueError(f"score: must be from {lowest} to {highest}, is {score}")
    shares = list(weights) if weights is not None else [1] * len(scores)
    if len(shares) != len(scores) or min(shares) < 0 or sum(shares) <= 0:
        raise ValueError(f"weights: must be one for each of {len(scores)} questions, from 0, not all 0; got {shares}")
    above = sum(weight * (Fraction(score) - lowest) for weight, score in zip(shares, scores, strict=True))
    return 100 * above / (sum(shares) * (highest - lowest))


def merged(parts: Iterable[Sums]) -> Sums:
    """The sums of several periods, stores or channels together; without squares if one of them has none."""
    count, total, squares = 0, Fraction(0), Fraction(0)
    exact = True
    for part in parts:
        count += part.count
        total += Fraction(part.total)
        exact = exact and part.squares is not None
        squares += Fraction(part.squares or 0)
    return Sums(count=count, total=total, squares=squares if exact else None)


def rescaled(scores: Sums, scale: Scale, to: Scale) -> Sums:
    """Sums as they would be on another scale: each score carried over linearly, lowest to lowest, highest to
    highest.
    """
    _check_scale(scale)
    _check_scale(to)
    slope = Fraction(to[1] - to[0], scale[1] - scale[0])
    shift = to[0] - slope * scale[0]
    total = Fraction(scores.total)
    squares = None
    if scores.squares is not None:
        squares = slope**2 * Fraction(scores.squares) + 2 * slope * shift * total + shift**2 * scores.count
    return Sums(count=scores.count, total=slope * total + shift * scores.count, squares=squares)


def _mean(figure: str, scores: Sums, scale: Scale, method: str) -> Score:
    count, total = scores.count, Fraction(scores.total)
    lowest, highest = scale
    _check_counts(count)
    if not lowest * count <= total <= highest * count:
        raise ValueError(f"total: {count} scores from {lowest} to {highest} cannot sum to {float(total):g}")
    if not count:
        return _nothing(figure, method)
    value = float(total / count)
    variance = None if scores.squares is None else Fraction(scores.squares) - total**2 / count
    if variance is not None and variance < 0:
        raise ValueError(f"squares: {float(Fraction(scores.squares or 0)):g} is less than the sum of the scores allows")
    if variance is None or count < 2:
        note = "one answer has no standard error" if variance is not None else "no squares are kept: no standard error"
        return Score(
            figure=figure, answers=count, value=value, standard_error=None, lower=None, upper=None,
            method=method, note=note,
        )  # fmt: skip
    error = sqrt(variance / (count - 1) / count)
    reach = float(stdtrit(count - 1, UPPER_TAIL)) * error
    return Score(
        figure=figure,
        answers=count,
        value=value,
        standard_error=error,
        lower=max(float(lowest), value - reach),
        upper=min(float(highest), value + reach),
        method=method,
        note="" if error else "all answers say the same: a standard error of 0 does not mean certainty",
    )


def _nothing(figure: str, method: str) -> Score:
    return Score(
        figure=figure, answers=0, value=None, standard_error=None, lower=None, upper=None,
        method=method, note="nothing was answered",
    )  # fmt: skip


def _check_counts(answers: int, **parts: int) -> None:
    if answers < 0:
        raise ValueError(f"answers: must be at least 0, is {answers}")
    for name, part in parts.items():
        if not 0 <= part <= answers:
            raise ValueError(f"{name}: must be from 0 to the number of answers, {answers}; is {part}")


def _check_scale(scale: Scale) -> None:
    if scale[0] >= scale[1]:
        raise ValueError(f"scale: its lowest point must be below its highest, got {scale[0]} to {scale[1]}")
