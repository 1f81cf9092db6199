"""What one answer to a survey comes to, on its own scale, and whether it says that the member is satisfied.

Scores are whole millionths, so that sums of them are exact whatever the order; a mean or an index that is none is
rounded to the nearest, half to even.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Final, TypeAlias

Scale: TypeAlias = tuple[int, int]

MILLION: Final = 1_000_000
NPS_SCALE: Final = (0, 10)
ACSI_SCALE: Final = (0, 100)
PROMOTER_MIN: Final = 9
DETRACTOR_MAX: Final = 6


def score(
    instrument: str, answers: Mapping[str, int | float | str], scale: Scale, weights: Mapping[str, int]
) -> int | None:
    """The score of an answer in millionths; None where it has none.

    NPS: the one number that was answered, on a scale from 0 to 10. CSAT and CES: the mean of the numbers. ACSI: the
    index 100 · Σw(x − lowest) / (Σw · (highest − lowest)), with weights by question, none: equal. Texts are not scored.
    """
    numbers = {question: _exact(answer) for question, answer in answers.items() if not isinstance(answer, str)}
    if not numbers or (instrument == "NPS" and (len(numbers) != 1 or scale != NPS_SCALE)):
        return None
    if instrument != "ACSI":
        return _nearest(sum(numbers.values()) * MILLION, len(numbers))
    lowest, highest = scale
    shares = {question: weights.get(question, 0) if weights else 1 for question in numbers}
    total = sum(shares.values())
    if not total:
        return None
    above = sum(shares[question] * (number - lowest) for question, number in numbers.items())
    return _nearest(100 * MILLION * above, total * (highest - lowest))


def satisfied(instrument: str, score: int, scale: Scale) -> bool:
    """Whether a score says that the member is satisfied, by the rule of its instrument.

    NPS: a promoter, 9 or 10. CSAT: in the top two boxes. CES and ACSI, which have no boxes: in the upper third of the
    scale (from 5 of 1 to 7, from an index of 66.67).
    """
    if instrument == "NPS":
        return score >= PROMOTER_MIN * MILLION
    if instrument == "CSAT":
        return score >= (scale[1] - 1) * MILLION
    lowest, highest = ACSI_SCALE if instrument == "ACSI" else scale
    return 3 * (score - lowest * MILLION) >= 2 * (highest - lowest) * MILLION


@lru_cache(10_000)  # most are 0, or a score that many gave
def decimal(units: int, decimals: int = 6) -> str:
    """Millionths, or units of so many decimals, as text for a numeric column."""
    digits = f"{abs(units):0{decimals + 1}d}"
    return f"{'-' if units < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def _nearest(numerator: int | Fraction, denominator: int) -> int:
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def _exact(answer: int | float) -> int | Fraction:
    """A float is the decimal number that it was written as."""
    return answer if isinstance(answer, int) else Fraction(repr(answer))
