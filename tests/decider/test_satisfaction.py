"""Surveys, complaints and follow-ups: recorded for open members, under no terms."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import commands as c
from ledger.events import (
    ComplaintOpened,
    ComplaintResolved,
    FollowUpCompleted,
    FollowUpScheduled,
    SurveyAnswered,
)
from ledger.evolver import evolve
from ledger.member import initial
from ledger.surveys import Survey
from tests.decider.scenario import NOT_YET, close, command, given, happened, merge, on, refusals, unless_open
from tests.streams import PROGRAMME


def survey(answers: dict[str, Any], scale: tuple[int, int] = (0, 10), **more: Any) -> Any:
    given = {"instrument": "NPS", "answers": answers, "scale": scale}
    return command(c.RecordSurvey, "survey", **(given | more))


def complain(**more: Any) -> Any:
    return command(c.OpenComplaint, "complaint", **more)


def resolve(complaint: str = "complaint", **more: Any) -> Any:
    return command(c.ResolveComplaint, "resolution", complaint=complaint, **more)


def promise(**more: Any) -> Any:
    return command(c.ScheduleFollowUp, "promise", due_at=on(7), **more)


def keep(follow_up: str = "promise", **more: Any) -> Any:
    return command(c.CompleteFollowUp, "kept", follow_up=follow_up, **more)


def unless_answerable(refused: Any) -> list[tuple[str, list[Any], Any]]:
    """The rows of a verb that needs a member who was not erased."""
    return [row for row in unless_open(refused) if row[0] in ("MEMBER_UNKNOWN", "MEMBER_ERASED")]


def test_a_survey_is_recorded_as_answered() -> None:
    """Raw answers beside the scale they were given on; text is free."""
    answers = {"recommend": 9, "lowest": 0, "highest": 10, "why": "the tea"}
    given(terms=NOT_YET).when(survey(answers)).then(
        happened(SurveyAnswered, instrument="NPS", answers=answers, scale=(0, 10))
    )


# --- answers to surveys that were defined -------------------------------------------------------------------------

DELIVERY = [
    Survey(defined_at=on(0), instrument="NPS", scale=(0, 10), questions=frozenset({"recommend", "why"})),
    Survey(defined_at=on(10), instrument="CSAT", scale=(1, 5), questions=frozenset({"content"})),
]
"""A survey that was another one until day 10."""
SURVEYED = replace(PROGRAMME, surveys={"delivery": DELIVERY})


def answer(answers: dict[str, Any], scale: tuple[int, int] = (0, 10), **more: Any) -> Any:
    return survey(answers, scale, **({"survey": "delivery"} | more))


@pytest.mark.parametrize(
    "fitting",
    [
        answer({"recommend": 9, "why": "the tea"}),
        answer({"recommend": 9}, day=9.9),
        answer({"recommend": 0}, day=-3),
        answer({"content": 5}, (1, 5), instrument="CSAT", day=10),
    ],
)
def test_an_answer_fits_the_definition_of_its_time(fitting: Any) -> None:
    """One of before the first definition is judged by that; a question may be left unanswered."""
    given(programme=SURVEYED).when(fitting).then(happened(SurveyAnswered, survey="delivery", answers=fitting.answers))


@pytest.mark.parametrize(
    ("code", "field", "refused"),
    [
        ("SCALE_INVALID", "scale", answer({"else": 11}, (5, 5), survey="never heard of")),
        ("SURVEY_UNKNOWN", "survey", answer({"else": 11}, survey="never heard of")),
        ("SURVEY_MISMATCH", "instrument", answer({"else": 11}, (1, 5), instrument="CSAT")),
        ("SURVEY_MISMATCH", "scale", answer({"else": 11}, (1, 10))),
        ("SURVEY_MISMATCH", "answers.else", answer({"recommend": 11, "else": 1})),
        ("SURVEY_MISMATCH", "answers.comment", answer({"recommend": 9, "comment": "text is an answer as well"})),
        ("SURVEY_MISMATCH", "instrument", answer({"recommend": 9}, day=10)),
        ("SCORE_OUT_OF_SCALE", "answers.recommend", answer({"recommend": 11})),
    ],
)
def test_an_answer_that_does_not_fit_its_survey_is_refused(code: str, field: str, refused: Any) -> None:
    """In the order of precedence, naming what does not fit."""
    scenario = given(programme=SURVEYED).when(refused).then(code)
    assert scenario.outcome.field == field


def test_an_answer_that_names_no_survey_fits_whatever_is_defined() -> None:
    given(programme=SURVEYED).when(survey({"anything": 3})).then(happened(SurveyAnswered, survey=None))


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


def test_a_complaint_may_be_resolved_as_it_is_opened() -> None:
    """Late as its opening may have been recorded; a microsecond before it is refused, in words, and changes nothing."""
    scenario = given(complain(day=2)).when(resolve(day=1.9)).then("RESOLUTION_BEFORE_COMPLAINT")
    assert (scenario.outcome.field, scenario.outcome.value) == ("occurred_at", on(1.9).isoformat())
    assert scenario.outcome.rule == f"must not be before the complaint, opened at {on(2).isoformat()}"
    scenario.when(replace(resolve(), occurred_at=on(2) - timedelta(microseconds=1))).then("RESOLUTION_BEFORE_COMPLAINT")
    scenario.when(resolve(day=2)).then(happened(ComplaintResolved, opened_at=on(2)))


def test_a_promise_may_be_kept_as_it_is_made() -> None:
    """A microsecond before it is refused, in words, and changes nothing."""
    scenario = given(promise(day=2)).when(keep(day=1.9)).then("COMPLETION_BEFORE_FOLLOW_UP")
    assert (scenario.outcome.field, scenario.outcome.value) == ("occurred_at", on(1.9).isoformat())
    assert scenario.outcome.rule == f"must not be before the follow-up, promised at {on(2).isoformat()}"
    early = replace(keep(), occurred_at=on(2) - timedelta(microseconds=1))
    scenario.when(early).then("COMPLETION_BEFORE_FOLLOW_UP")
    scenario.when(keep(day=2)).then(happened(FollowUpCompleted, due_at=on(7)))


def test_a_promise_that_was_kept_before_it_was_made_stays_in_its_history() -> None:
    """It could be recorded once: such a history is still folded, and the follow-up is over."""
    member = initial("ann")
    common: Any = {"source": "crm", "programme": "club", "member": "ann"}
    evolve(member, FollowUpScheduled(id="promise", occurred_at=on(2), due_at=on(7), **common))
    evolve(member, FollowUpCompleted(id="kept", occurred_at=on(1), follow_up="promise", due_at=on(7), **common))
    assert member.follow_ups == {}
    assert member.version == 2


@pytest.mark.parametrize(("ending", "refused"), [(close(day=1), "MEMBER_CLOSED"), (merge(day=1), "MEMBER_MERGED")])
def test_what_was_promised_is_owed_to_those_who_left(ending: Any, refused: str) -> None:
    """A complaint and a follow-up end where they began, on the stream of that member; nothing new begins there."""
    scenario = given(complain(), promise(), ending)
    scenario.when(resolve(day=2)).then(happened(ComplaintResolved, opened_at=on(0)))
    scenario.when(keep(day=3)).then(happened(FollowUpCompleted, due_at=on(7)))
    scenario.when(resolve(day=4)).then("COMPLAINT_NOT_FOUND")
    another = replace(promise(day=4), id="another")
    scenario.when(another).then(refused)


@refusals(
    *unless_answerable(resolve()),
    ("COMPLAINT_NOT_FOUND", [], resolve(day=-1)),
    ("RESOLUTION_BEFORE_COMPLAINT", [complain()], resolve(day=-1)),
)
def test_refuses_resolutions(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of what nobody complained about, or not yet."""
    given(*history, terms=under).when(refused).then(code)


@refusals(*unless_open(promise()))
def test_refuses_promises(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """To strangers and ended memberships."""
    given(*history, terms=under).when(refused).then(code)


@refusals(
    *unless_answerable(keep()),
    ("FOLLOW_UP_NOT_FOUND", [], keep(day=-1)),
    ("COMPLETION_BEFORE_FOLLOW_UP", [promise()], keep(day=-1)),
)
def test_refuses_completions(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of what nobody promised, or not yet."""
    given(*history, terms=under).when(refused).then(code)
