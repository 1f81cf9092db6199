"""Surveys, complaints and follow-ups: recorded for open members, under no terms."""

from __future__ import annotations

from typing import Any

from ledger import commands as c
from ledger.events import (
    ComplaintOpened,
    ComplaintResolved,
    FollowUpCompleted,
    FollowUpScheduled,
    SurveyAnswered,
)
from tests.decider.scenario import NOT_YET, command, given, happened, on, refusals, unless_open


def survey(answers: dict[str, Any], scale: tuple[int, int] = (0, 10), **more: Any) -> Any:
    return command(c.RecordSurvey, "survey", instrument="NPS", answers=answers, scale=scale, **more)


def complain(**more: Any) -> Any:
    return command(c.OpenComplaint, "complaint", **more)


def resolve(complaint: str = "complaint", **more: Any) -> Any:
    return command(c.ResolveComplaint, "resolution", complaint=complaint, **more)


def promise(**more: Any) -> Any:
    return command(c.ScheduleFollowUp, "promise", due_at=on(7), **more)


def keep(follow_up: str = "promise", **more: Any) -> Any:
    return command(c.CompleteFollowUp, "kept", follow_up=follow_up, **more)


def test_a_survey_is_recorded_as_answered() -> None:
    """Raw answers beside the scale they were given on; text is free."""
    answers = {"recommend": 9, "lowest": 0, "highest": 10, "why": "the tea"}
    given(terms=NOT_YET).when(survey(answers)).then(
        happened(SurveyAnswered, instrument="NPS", answers=answers, scale=(0, 10))
    )


def test_a_complaint_is_resolved_once() -> None:
    """The resolution says when the complaint was opened."""
    scenario = given(complain(category="late"), terms=NOT_YET)
    scenario.when(resolve(outcome="refund", day=3)).then(happened(ComplaintResolved, opened_at=on(0), outcome="refund"))
    scenario.when(resolve(day=4)).then("COMPLAINT_NOT_FOUND")
    given().when(complain(category="late")).then(happened(ComplaintOpened, category="late"))


def test_a_promise_is_kept_once() -> None:
    """Its completion says when it was due."""
    scenario = given(promise(), terms=NOT_YET).when(keep(day=9)).then(happened(FollowUpCompleted, due_at=on(7)))
    scenario.when(keep(day=10)).then("FOLLOW_UP_NOT_FOUND")
    given().when(promise()).then(happened(FollowUpScheduled, due_at=on(7)))


@refusals(
    *unless_open(survey({"recommend": 11}, (5, 5))),
    ("SCALE_INVALID", [], survey({"recommend": 11}, (5, 5))),
    ("SCALE_INVALID", [], survey({"recommend": 11}, (10, 0))),
    ("SCORE_OUT_OF_SCALE", [], survey({"fine": 3, "recommend": 11})),
    ("SCORE_OUT_OF_SCALE", [], survey({"recommend": -0.5})),
)
def test_refuses_surveys(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A score that its scale cannot hold is an error upstream."""
    given(*history, terms=under).when(refused).then(code)


@refusals(*unless_open(complain()))
def test_refuses_complaints(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of strangers and ended memberships."""
    given(*history, terms=under).when(refused).then(code)


@refusals(*unless_open(resolve()), ("COMPLAINT_NOT_FOUND", [], resolve()))
def test_refuses_resolutions(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of what nobody complained about."""
    given(*history, terms=under).when(refused).then(code)


@refusals(*unless_open(promise()))
def test_refuses_promises(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """To strangers and ended memberships."""
    given(*history, terms=under).when(refused).then(code)


@refusals(*unless_open(keep()), ("FOLLOW_UP_NOT_FOUND", [], keep()))
def test_refuses_completions(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of what nobody promised."""
    given(*history, terms=under).when(refused).then(code)
