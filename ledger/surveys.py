"""Surveys as they were defined, and whether an answer fits the one that it names. Pure, as `ledger.decider`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from ledger.commands import RecordSurvey
from ledger.rejections import Rejection


class Survey(Struct, frozen=True, kw_only=True, gc=False):
    """One version of a survey's definition."""

    defined_at: datetime
    """Business time from which on it is asked like this."""
    instrument: Literal["NPS", "CSAT", "CES", "ACSI"]
    scale: tuple[int, int]
    questions: frozenset[str]
    weights: Mapping[str, int] = {}
    """Of each question, in an ACSI survey that weighs them; none: equal."""


def in_force(versions: Sequence[Survey], at: datetime) -> Survey:
    """The latest version that was defined by an instant; of before all of them, the first: a survey may be older than
    its definition here.
    """
    return next((version for version in reversed(versions) if version.defined_at <= at), versions[0])


def weights_of(surveys: Mapping[str, Sequence[Survey]], command: RecordSurvey) -> dict[str, int]:
    """The weights by which an answer is scored: those of the survey that it names, of the questions answered."""
    if command.survey is None:
        return {}
    weights = in_force(surveys[command.survey], command.occurred_at).weights
    return {question: weights[question] for question in command.answers if question in weights}


def refuse_answer(surveys: Mapping[str, Sequence[Survey]], command: RecordSurvey) -> Rejection | None:
    """What of an answer does not fit the survey that it names, if any. A question may be left unanswered."""
    if command.survey is None:
        return None
    versions = surveys.get(command.survey)
    if not versions:
        return Rejection("SURVEY_UNKNOWN", "survey", "must be defined first", command.survey)
    survey = in_force(versions, command.occurred_at)
    if command.instrument != survey.instrument:
        rule = f"must be {survey.instrument}, as survey {command.survey} is defined"
        return Rejection("SURVEY_MISMATCH", "instrument", rule, command.instrument)
    if command.scale != survey.scale:
        rule = f"must be {list(survey.scale)}, as survey {command.survey} is defined"
        return Rejection("SURVEY_MISMATCH", "scale", rule, str(list(command.scale)))
    for question in command.answers:
        if question not in survey.questions:
            rule = f"is no question of survey {command.survey}: {', '.join(sorted(survey.questions))}"
            return Rejection("SURVEY_MISMATCH", f"answers.{question}", rule, question)
    return None
