"""Objectives, what they come to, and what is done about those that are missed."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from ledger.events import (
    CauseFound,
    CorrectiveActionDone,
    CorrectiveActionPlanned,
    CorrectiveActionVerified,
    NonconformityRaised,
    ObjectiveDefined,
    ObjectiveMeasured,
)
from ledger.objectives import FIGURES, attained
from tests.steering.scenario import (
    TODAY,
    complete,
    define_objective,
    find_cause,
    given,
    happened,
    measure,
    plan,
    raise_it,
    today,
    verify,
)

# --- objectives ---------------------------------------------------------------------------------------------------


def test_an_objective_is_defined_in_versions() -> None:
    """Measurements between them do not count."""
    scenario = given().when(define_objective(figure="complaint_resolution_hours"))
    scenario.then(happened(ObjectiveDefined, version=1, figure="complaint_resolution_hours", unit="s", retired=False))
    scenario.when(measure("9")).when(define_objective(target="8")).then(
        happened(ObjectiveDefined, version=2, target="8")
    )
    scenario.when(measure("9")).then(
        happened(ObjectiveMeasured, version=2, attained=False), happened(NonconformityRaised)
    )


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_of_the_ledger_can_be_bound(figure: str) -> None:
    given().when(define_objective(figure=figure)).then(happened(ObjectiveDefined, figure=figure))


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (define_objective(objective="x" * 118), ["INVALID_FIELD", "at most 117 characters"]),
        (define_objective(retired=True, direction="up"), ["OBJECTIVE_UNKNOWN", "before it is retired"]),
        (define_objective("<=", direction="up", figure="luck"), ["COMPARATOR_INVALID", "where higher is better"]),
        (define_objective("<", direction="up"), ["COMPARATOR_INVALID"]),
        (define_objective(">=", direction="down"), ["COMPARATOR_INVALID", "where lower is better"]),
        (define_objective(">", direction="down"), ["COMPARATOR_INVALID"]),
        (define_objective(figure="luck"), ["FIGURE_UNKNOWN", "one of nps, csat", "(was luck)"]),
    ],
)
def test_refuses_objectives(refused: Any, words: list[str]) -> None:
    given().when(refused).then(*words)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_an_exact_target_goes_with_either_direction(direction: str) -> None:
    given().when(define_objective("=", "100", direction)).then(happened(ObjectiveDefined, comparator="="))


def test_a_retired_objective_takes_no_measurement_until_it_is_defined_again() -> None:
    scenario = given(define_objective(), define_objective(retired=True))
    scenario.when(measure("9")).then("OBJECTIVE_RETIRED", "defined again")
    scenario.when(define_objective()).then(happened(ObjectiveDefined, version=3))
    scenario.when(measure("9")).then(happened(ObjectiveMeasured, version=3))


# --- measurements -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "measured", "is_attained"),
    [
        ((">=", "81", "up"), ("81.3", ">"), True),
        ((">=", "81.3", "up"), ("81.3", ">"), True),
        ((">=", "81.4", "up"), ("81.3", ">"), None),
        ((">=", "81", "up"), ("81.0", ""), True),
        ((">=", "81", "up"), ("80.999999999", ""), False),
        ((">=", "81", "up"), ("81", "<"), False),
        ((">=", "81", "up"), ("81", "<="), None),
        (("<", "2", "down"), ("2", "<"), True),
        (("<", "2", "down"), ("2", "<="), None),
        (("<=", "10", "down"), ("10", ">"), False),
        (("=", "100", "up"), ("100.000", ""), True),
        (("=", "100", "up"), ("99.9", "<="), False),
        (("=", "100", "up"), ("99.9", ">="), None),
    ],
)
def test_a_measurement_says_whether_the_objective_is_attained(
    objective: tuple[str, str, str], measured: tuple[str, str], is_attained: bool | None
) -> None:
    """A nonconformity follows only where it is not."""
    scenario = given(define_objective(*objective)).when(measure(*measured))
    events = [happened(ObjectiveMeasured, attained=is_attained, value=measured[0], bound=measured[1])]
    scenario.then(*events, *([happened(NonconformityRaised)] if is_attained is False else []))


numbers = st.integers(-4, 4).map(lambda half: Fraction(half, 2))


@for_all(numbers, numbers, st.sampled_from([">=", ">", "<=", "<", "="]), st.sampled_from(["", ">=", ">", "<=", "<"]))
def test_a_bound_is_judged_by_every_value_within_it(
    target: Fraction, value: Fraction, comparator: str, bound: str
) -> None:
    """Against a fine grid of the values that the bound leaves."""
    holds = {
        ">=": lambda one, other: one >= other,
        ">": lambda one, other: one > other,
        "<=": lambda one, other: one <= other,
        "<": lambda one, other: one < other,
        "=": lambda one, other: one == other,
    }
    grid = [Fraction(step, 8) for step in range(-80, 81)]
    verdicts = {holds[comparator](one, target) for one in grid if holds[bound or "="](one, value)}
    expected = verdicts.pop() if len(verdicts) == 1 else None
    said = attained(comparator, str(float(target)), bound, str(float(value)))  # type: ignore[arg-type]
    assert said is expected


def test_a_missed_objective_raises_one_nonconformity_a_period() -> None:
    """Owned as the objective is, due as long after as it says; measured again, it is not raised again."""
    scenario = given(define_objective()).when(measure("12"))
    scenario.then(
        happened(ObjectiveMeasured, attained=False, period_on=TODAY),
        happened(
            NonconformityRaised,
            nonconformity=f"answer:{TODAY}",
            owner="lee",
            due_on=today(14),
            objective="answer",
            period_on=TODAY,
            what=f"Objective answer missed in the week from {TODAY}: 12 is not <= 10 s",
        ),
    )
    scenario.when(measure("13", id="again")).then(happened(ObjectiveMeasured, attained=False))
    scenario.when(measure("13", id="last week", period_on=today(-7))).then(
        happened(ObjectiveMeasured), happened(NonconformityRaised, nonconformity=f"answer:{today(-7)}")
    )


@pytest.mark.parametrize(
    ("period", "begins", "does_not"),
    [
        ("week", date(2026, 6, 8), date(2026, 6, 9)),
        ("month", date(2026, 6, 1), date(2026, 6, 2)),
        ("quarter", date(2026, 4, 1), date(2026, 5, 1)),
        ("year", date(2026, 1, 1), date(2026, 4, 1)),
        ("day", date(2026, 6, 11), None),
    ],
)
def test_a_measurement_is_of_a_period_from_its_first_day(period: str, begins: date, does_not: date | None) -> None:
    scenario = given(define_objective(period=period))
    scenario.when(measure("1", period_on=begins)).then(happened(ObjectiveMeasured, period_on=begins))
    if does_not:
        scenario.when(measure("1", period_on=does_not)).then("PERIOD_INVALID", f"every {period}")


def test_a_period_may_not_lie_ahead_where_the_programme_is() -> None:
    """It is the 16th in Kiritimati already when it is the 15th in UTC."""
    tomorrow = measure("1", period_on=today(1))
    given(define_objective(period="day")).when(tomorrow).then("PERIOD_INVALID", f"may not be after {TODAY}", "in UTC")
    given(define_objective(period="day"), time_zone="Pacific/Kiritimati").when(tomorrow).then(
        happened(ObjectiveMeasured, period_on=today(1))
    )


def test_refuses_measurements_of_nothing() -> None:
    given().when(measure("1", period_on=today(1))).then("OBJECTIVE_UNKNOWN", "(was answer)")


# --- nonconformities ----------------------------------------------------------------------------------------------


def test_a_nonconformity_goes_from_raised_to_closed() -> None:
    """Every step says who owns the next, and by when."""
    scenario = given().when(raise_it()).then(happened(NonconformityRaised, owner="lee", due_on=today(14)))
    scenario.when(find_cause()).then(happened(CauseFound, owner="wang", due_on=today(20)))
    scenario.when(plan()).then(happened(CorrectiveActionPlanned, action="hire", owner="zhou", due_on=today(40)))
    scenario.when(complete()).then(happened(CorrectiveActionDone, done_by="zhou", owner="lee", due_on=today(60)))
    scenario.when(verify()).then(
        happened(CorrectiveActionVerified, effective=True, closed=True, verified_by="lee", owner="wang", due_on=None)
    )
    for step in (find_cause(), plan("more"), complete(), verify()):
        scenario.when(step).then("NONCONFORMITY_CLOSED", "(was late)")


def test_the_nonconformity_of_a_missed_objective_is_followed_by_its_name() -> None:
    name = f"answer:{TODAY}"
    scenario = given(define_objective(), measure("12"), find_cause(name), plan(of=name), complete(of=name))
    scenario.when(verify(of=name)).then(happened(CorrectiveActionVerified, closed=True))


def test_an_action_without_effect_asks_for_another() -> None:
    """The owner of the cause plans it."""
    scenario = given(raise_it(), find_cause(), plan(), complete())
    scenario.when(verify(effective=False, due_on=today(70))).then(
        happened(CorrectiveActionVerified, effective=False, closed=False, owner="wang", due_on=today(70))
    )
    scenario.when(verify(effective=False, due_on=today(70))).then("STEP_OUT_OF_ORDER", "verified already")
    scenario.when(plan("train")).when(complete("train")).when(verify("train"))
    scenario.then(happened(CorrectiveActionVerified, effective=True, closed=True))


def test_it_closes_with_the_last_of_several_actions() -> None:
    scenario = given(raise_it(), find_cause(), plan(), plan("train"), complete(), complete("train"))
    scenario.when(verify()).then(happened(CorrectiveActionVerified, closed=False))
    scenario.when(plan("more")).when(verify("train")).then(happened(CorrectiveActionVerified, closed=False))
    scenario.when(complete("more")).when(verify("more")).then(happened(CorrectiveActionVerified, closed=True))


RAISED = [raise_it()]
FOUND = [*RAISED, find_cause()]
PLANNED = [*FOUND, plan()]
DONE = [*PLANNED, complete()]


@pytest.mark.parametrize(
    ("history", "refused", "words"),
    [
        ([], raise_it(objective="answer", due_on=today(-1)), ["OBJECTIVE_UNKNOWN"]),
        (RAISED, raise_it(due_on=today(-1)), ["NONCONFORMITY_EXISTS", "use a new id"]),
        ([], raise_it(due_on=today(-1)), ["DUE_INVALID", f"may not be before {TODAY}"]),
        ([], find_cause(due_on=today(-1)), ["NONCONFORMITY_UNKNOWN"]),
        (FOUND, find_cause(due_on=today(-1)), ["STEP_OUT_OF_ORDER", "found already"]),
        (RAISED, find_cause(due_on=today(-1)), ["DUE_INVALID"]),
        ([], plan(), ["NONCONFORMITY_UNKNOWN"]),
        (RAISED, plan(due_on=today(-1)), ["STEP_OUT_OF_ORDER", "cause found first"]),
        (PLANNED, plan(due_on=today(-1)), ["ACTION_EXISTS", "use a new id"]),
        (FOUND, plan(due_on=today(-1)), ["DUE_INVALID"]),
        ([], complete(), ["NONCONFORMITY_UNKNOWN"]),
        (PLANNED, complete("train", owner="zhou"), ["ACTION_UNKNOWN", "(was train)"]),
        (DONE, complete(owner="zhou"), ["STEP_OUT_OF_ORDER", "done already"]),
        (PLANNED, complete(owner="zhou", due_on=today(-1)), ["VERIFIER_NOT_INDEPENDENT", "owner"]),
        (PLANNED, complete(due_on=today(-1)), ["DUE_INVALID"]),
        ([], verify(), ["NONCONFORMITY_UNKNOWN"]),
        (DONE, verify("train"), ["ACTION_UNKNOWN"]),
        (PLANNED, verify(verified_by="zhou"), ["STEP_OUT_OF_ORDER", "done first"]),
        (DONE, verify(verified_by="zhou", effective=False), ["VERIFIER_NOT_INDEPENDENT", "somebody else than zhou"]),
        (DONE, verify(effective=False), ["DUE_INVALID", "must be given"]),
        (DONE, verify(effective=False, due_on=today(-1)), ["DUE_INVALID", "may not be before"]),
        (DONE, verify(due_on=today(9)), ["DUE_INVALID", "left out"]),
    ],
)
def test_refuses_steps(history: list[Any], refused: Any, words: list[str]) -> None:
    """Of what was not raised, planned or done, in the wrong order, or due in the past."""
    given(*history).when(refused).then(*words)


def test_one_raised_by_hand_may_name_its_objective() -> None:
    given(define_objective()).when(raise_it(objective="answer", due_on=TODAY)).then(
        happened(NonconformityRaised, objective="answer", period_on=None, due_on=TODAY)
    )
