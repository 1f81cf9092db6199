"""What one answer to a survey comes to, on its own scale, and whether it says that the member is satisfied.

Scores are whole millionths, so that sums of them are exact whatever the order; a mean or an index that is none is
rounded to the nearest, half to even.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from projections.satisfaction_scores import ACSI_SCALE, NPS_SCALE, Scale, acsi_index, is_top_two

MILLION: Final = 1_000_000
PROMOTER_MIN: Final = 9
DETRACTOR_MAX: Final = 6
SATISFIED_SHARE_OF_SCALE: Final = Fraction(2, 3)


def score(
    instrument: str, answers: Mapping[str, int | float | str], scale: Scale, weights: Mapping[str, int]
) -> int | None:
    """The score of an answer in millionths; None where it has none.

    NPS: the one number that was answered, on a scale from 0 to 10. CSAT and CES: the mean of the numbers. ACSI: the
    index from 0 to 100; `weights` are by question, none: equal. Texts are not scored.
    """
    numbers = {question: _exact(answer) for question, answer in answers.items() if not isinstance(answer, str)}
    if not numbers or (instrument == "NPS" and (len(numbers) != 1 or scale != NPS_SCALE)):
        return None
    if instrument != "ACSI":
        return round(Fraction(sum(numbers.values()) * MILLION, len(numbers)))
    shares = [weights.get(question, 0) for question in numbers] if weights else None
    if shares is not None and not any(shares):
        return None
    return round(acsi_index(list(numbers.values()), scale, shares) * MILLION)


def satisfied(instrument: str, score: int, scale: Scale) -> bool:
    """Whether a score says that the member is satisfied, by the rule of its instrument.

    NPS: a promoter, 9 or 10. CSAT: in the top two boxes. CES and ACSI, which have no boxes: in the upper third of the
    scale (from 5 of 1 to 7, from an index of 66.67).
    """
    if instrument == "NPS":
        return score >= PROMOTER_MIN * MILLION
    if instrument == "CSAT":
        return is_top_two(Fraction(score, MILLION), scale)
    lowest, highest = ACSI_SCALE if instrument == "ACSI" else scale
    return Fraction(score, MILLION) - lowest >= SATISFIED_SHARE_OF_SCALE * (highest - lowest)


def decimal(units: int, decimals: int = 6) -> str:
    """Millionths, or units of so many decimals, as text for a numeric column."""
    digits = f"{abs(units):0{decimals + 1}d}"
    return f"{'-' if units < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def _exact(answer: int | float) -> int | Fraction:
    """A float is the decimal number that it was written as."""
    return answer if isinstance(answer, int) else Fraction(repr(answer))
