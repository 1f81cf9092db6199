"""Figures of satisfaction and service, each from sums that add up exactly, with the method that made it beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from projections.control_charts import Sample
from projections.satisfaction_scores import Score, Sums, acsi, ces, csat, nps

INSTRUMENTS: Final = ("NPS", "CSAT", "CES", "ACSI")
COMPLAINT_RATE_PURCHASES: Final = 100_000

_NO_SUMS: Final = Sums(count=0, total=Fraction(0), squares=Fraction(0))


class Answered(Struct, kw_only=True):
    """Answers to an instrument, added up. `scores` are on its own scale, CES from 1 to 7, ACSI from 0 to 100, of which
    `weighted` were made with the weights of a defined survey.
    """

    answers: int = 0
    scored: int = 0
    promoters: int = 0
    detractors: int = 0
    satisfied: int = 0
    weighted: int = 0
    scores: Sums = _NO_SUMS


class Tally(Struct, kw_only=True):
    """What a period of a group holds, added up. Follow-ups are counted where they are due.

    The median is there only where it was asked for and something was resolved.
    """

    answered: dict[str, Answered] = field(default_factory=lambda: {name: Answered() for name in INSTRUMENTS})
    purchases: int = 0
    complaints: int = 0
    resolved: int = 0
    resolution_seconds: Fraction = Fraction(0)
    resolution_median_seconds: float | None = None
    follow_ups: int = 0
    follow_ups_in_time: int = 0
    follow_ups_late: int = 0

    @property
    def responses(self) -> int:
        """Answers to whatever instrument, with those that cannot be scored."""
        return sum(answered.answers for answered in self.answered.values())


class Figure(Struct, frozen=True, kw_only=True):
    """A figure, how it was made and of how many; without data `value` is None and `n` 0.

    Standard error and interval (95 %) are there where the figure has them; `note` says what to keep in mind.
    """

    value: float | None
    n: int
    unit: str
    method: str
    standard_error: float | None = None
    lower: float | None = None
    upper: float | None = None
    note: str = ""


class FigureDefinition(Struct, frozen=True, kw_only=True):
    """A figure by its unit and how it is made. `sample` is there where it is a share, which a p chart is of, and
    `count` where it is a count, which a c chart is of.
    """

    unit: str
    of: Callable[[Tally, str], Figure]
    sample: Callable[[Tally], Sample] | None = None
    count: Callable[[Tally], int] | None = None


def figure(name: str, tally: Tally) -> Figure:
    """A figure of what a period holds. Raises KeyError for a name that is none of `FIGURES`."""
    definition = FIGURES[name]
    return definition.of(tally, definition.unit)


def _scored(make: Callable[[Tally], Score]) -> Callable[[Tally, str], Figure]:
    def of(tally: Tally, unit: str) -> Figure:
        found = make(tally)
        return Figure(
            value=found.value,
            n=found.answers,
            unit=unit,
            method=found.method,
            standard_error=found.standard_error,
            lower=found.lower,
            upper=found.upper,
            note=found.note,
        )

    return of


def _share(sample: Callable[[Tally], Sample], times: int, method: str) -> Callable[[Tally, str], Figure]:
    def of(tally: Tally, unit: str) -> Figure:
        found = sample(tally)
        value = times * found.count / found.size if found.size else None
        return Figure(value=value, n=found.size, unit=unit, method=method)

    return of


def _count(count: Callable[[Tally], int], method: str) -> Callable[[Tally, str], Figure]:
    def of(tally: Tally, unit: str) -> Figure:
        return Figure(value=float(count(tally)), n=count(tally), unit=unit, method=method)

    return of


def _resolution_time(tally: Tally, unit: str) -> Figure:
    value = float(tally.resolution_seconds / tally.resolved) if tally.resolved else None
    method = "mean time from opening to resolution, of the complaints resolved in the period"
    return Figure(value=value, n=tally.resolved, unit=unit, method=method)


def _resolution_time_median(tally: Tally, unit: str) -> Figure:
    method = "median time from opening to resolution, of the complaints resolved in the period"
    return Figure(value=tally.resolution_median_seconds, n=tally.resolved, unit=unit, method=method)


def _nps(tally: Tally) -> Score:
    found = tally.answered["NPS"]
    return nps(found.promoters, found.detractors, found.scored)


def _acsi(tally: Tally) -> Score:
    found = tally.answered["ACSI"]
    score = acsi(found.scores, weighted=found.weighted > 0)
    if not 0 < found.weighted < found.scored:
        return score
    mixed = f"{found.weighted} of {found.scored} answers are weighted as their survey says, the others equally"
    return replace(score, note=f"{mixed}; {score.note}" if score.note else mixed)


def _satisfied(tally: Tally) -> Sample:
    return Sample(count=tally.answered["CSAT"].satisfied, size=tally.answered["CSAT"].scored)


def _complaints(tally: Tally) -> Sample:
    return Sample(count=tally.complaints, size=tally.purchases)


def _in_time(tally: Tally) -> Sample:
    return Sample(count=tally.follow_ups_in_time, size=tally.follow_ups)


def _late(tally: Tally) -> Sample:
    return Sample(count=tally.follow_ups_late, size=tally.follow_ups)


def _complaints_opened(tally: Tally) -> int:
    return tally.complaints


def _responses(tally: Tally) -> int:
    return tally.responses


FIGURES: Final[Mapping[str, FigureDefinition]] = {
    "nps": FigureDefinition(unit="points", of=_scored(_nps)),
    "csat": FigureDefinition(
        unit="%",
        of=_scored(lambda tally: csat(tally.answered["CSAT"].satisfied, tally.answered["CSAT"].scored)),
        sample=_satisfied,
    ),
    "ces": FigureDefinition(unit="1 to 7", of=_scored(lambda tally: ces(tally.answered["CES"].scores))),
    "acsi": FigureDefinition(unit="0 to 100", of=_scored(_acsi)),
    "complaint_rate": FigureDefinition(
        unit="per 100,000 purchases",
        of=_share(_complaints, COMPLAINT_RATE_PURCHASES, "complaints opened in the period over purchases in it"),
    ),
    "resolution_time": FigureDefinition(unit="seconds", of=_resolution_time),
    "resolution_time_median": FigureDefinition(unit="seconds", of=_resolution_time_median),
    "follow_up_rate": FigureDefinition(
        unit="%",
        of=_share(_in_time, 100, "completed by the instant they were due, of the follow-ups due in the period"),
        sample=_in_time,
    ),
    "late_rate": FigureDefinition(
        unit="%", of=_share(_late, 100, "completed later than due, of the follow-ups due in the period"), sample=_late
    ),
    "responses": FigureDefinition(unit="answers", of=_count(_responses, "answers to any instrument"), count=_responses),
    "complaints": FigureDefinition(
        unit="complaints", of=_count(_complaints_opened, "complaints opened in the period"), count=_complaints_opened
    ),
}
"""Every figure of a timeline by its name. The last two are counts: none is 0."""
