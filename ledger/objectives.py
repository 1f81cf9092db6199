"""Deciding on quality objectives, and on what is done about those that are missed. Pure, as `ledger.decider`.

A nonconformity is raised, its cause found, corrective actions planned, done and verified; every step says who owns the
next one, and by when.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from ledger.commands import (
    CompleteCorrectiveAction,
    DefineObjective,
    FindCause,
    MeasureObjective,
    PlanCorrectiveAction,
    RaiseNonconformity,
    SteeringCommand,
    VerifyCorrectiveAction,
)
from ledger.decider import Programme
from ledger.events import (
    AnySteeringEvent,
    CauseFound,
    CorrectiveActionDone,
    CorrectiveActionPlanned,
    CorrectiveActionVerified,
    NonconformityRaised,
    ObjectiveDefined,
    ObjectiveMeasured,
)
from ledger.rejections import Rejection
from ledger.steering_state import MISSED, Nonconformity, Objective

Decision: TypeAlias = tuple[AnySteeringEvent, ...] | Rejection
Comparator: TypeAlias = Literal[">=", ">", "<=", "<", "="]

FIGURES: Final[dict[str, str]] = {
    "nps": "points from -100 to 100",
    "csat": "percent of answers in the top two boxes",
    "ces": "mean score from 1 to 7",
    "acsi": "index from 0 to 100",
    "follow_up_rate_percent": "percent of the follow-ups that were due",
    "follow_up_late_percent": "percent of the follow-ups that were due",
    "complaints_per_100000": "complaints a 100,000 purchases",
    "complaint_resolution_hours": "hours",
    "revenue_minor": "minor units of the programme's currency",
    "profit_minor": "minor units of the programme's currency",
    "active_members": "members",
    "repurchase_rate_percent": "percent of members",
    "inactive_members_percent": "percent of members",
}
"""Figures of this ledger that an objective may be bound to, and the unit of each in words. A name is never changed."""

OBJECTIVE_CHARACTERS_MAX: Final = 117
"""With a colon and a day it names the nonconformity of a missed period, of at most 128 characters."""

_HOLDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}
_OPPOSITE: Final = {"up": "<", "down": ">"}
_PERIODS: Final[dict[str, tuple[str, Callable[[date], bool]]]] = {
    "day": ("a day", lambda day: True),
    "week": ("a Monday", lambda day: day.weekday() == 0),
    "month": ("the first day of a month", lambda day: day.day == 1),
    "quarter": ("the first day of a quarter", lambda day: day.day == 1 and day.month % 3 == 1),
    "year": ("the first day of a year", lambda day: (day.month, day.day) == (1, 1)),
}


def of(command: SteeringCommand) -> dict[str, Any]:
    """What every event takes over from its command."""
    return {
        "programme": command.programme,
        "occurred_at": command.occurred_at,
        "source": command.source,
        "id": command.id,
    }


def day_of(command: SteeringCommand, programme: Programme) -> date:
    """The day of a command in the programme's time zone."""
    return command.occurred_at.astimezone(ZoneInfo(programme.time_zone)).date()


# --- objectives ---------------------------------------------------------------------------------------------------


def define_objective(command: DefineObjective, programme: Programme, state: Objective) -> Decision:
    """A definition, the next version; or the retirement of one that there is."""
    if len(command.objective) > OBJECTIVE_CHARACTERS_MAX:
        rule = f"must have at most {OBJECTIVE_CHARACTERS_MAX} characters"
        return Rejection("INVALID_FIELD", "objective", rule, command.objective)
    if command.retired and state.definition is None:
        return Rejection("OBJECTIVE_UNKNOWN", "retired", "must be defined before it is retired", command.objective)
    if command.comparator.startswith(_OPPOSITE[command.direction]):
        better = "higher" if command.direction == "up" else "lower"
        rule = f"may not begin with {_OPPOSITE[command.direction]} where {better} is better"
        return Rejection("COMPARATOR_INVALID", "comparator", rule, command.comparator)
    if command.figure is not None and command.figure not in FIGURES:
        rule = f"must be one of {', '.join(FIGURES)}, or left out where it is measured by hand"
        return Rejection("FIGURE_UNKNOWN", "figure", rule, command.figure)
    return (
        ObjectiveDefined(
            **of(command),
            objective=command.objective,
            version=1 if state.definition is None else state.definition.version + 1,
            name=command.name,
            comparator=command.comparator,
            target=command.target,
            unit=command.unit,
            direction=command.direction,
            period=command.period,
            owner=command.owner,
            figure=command.figure,
            respond_within_days=command.respond_within_days,
            retired=command.retired,
        ),
    )


def measure_objective(
    command: MeasureObjective, programme: Programme, state: Objective, missed: Nonconformity
) -> Decision:
    """A measurement; where it is missed, also the nonconformity of the period, unless that was raised before."""
    objective = state.definition
    if objective is None:
        return Rejection("OBJECTIVE_UNKNOWN", "objective", "must be defined first", command.objective)
    if objective.retired:
        return Rejection("OBJECTIVE_RETIRED", "objective", "must be defined again first", command.objective)
    words, begins = _PERIODS[objective.period]
    if not begins(command.period_on):
        rule = f"must be {words}, as the objective is measured every {objective.period}"
        return Rejection("PERIOD_INVALID", "period_on", rule, str(command.period_on))
    today = day_of(command, programme)
    if command.period_on > today:
        rule = f"may not be after {today}, the day of occurred_at in {programme.time_zone}"
        return Rejection("PERIOD_INVALID", "period_on", rule, str(command.period_on))
    measured = ObjectiveMeasured(
        **of(command),
        objective=command.objective,
        version=objective.version,
        period_on=command.period_on,
        value=command.value,
        bound=command.bound,
        attained=attained(objective.comparator, objective.target, command.bound, command.value),
        sample=command.sample,
        evidence=command.evidence,
    )
    if measured.attained is not False or missed.raised is not None:
        return (measured,)
    return measured, NonconformityRaised(
        **of(command),
        nonconformity=MISSED.format(command),
        what=(
            f"Objective {command.objective} missed in the {objective.period} from {command.period_on}:"
            f" {command.bound}{command.value} is not {objective.comparator} {objective.target} {objective.unit}"
        ),
        owner=objective.owner,
        due_on=today + timedelta(days=objective.respond_within_days),
        objective=command.objective,
        period_on=command.period_on,
    )


def attained(comparator: Comparator, target: str, bound: str, value: str) -> bool | None:
    """Whether a measured value compares with the target as it must, exactly; of a bound, whether every value within it
    does (True), none does (False), or some do (None).
    """
    found, wanted = (Decimal(value), 0), (Decimal(target), 0)
    # Just below, at and just above the two numbers: one representative, at least, of every stretch they part.
    near = [(number, side) for number, _ in (found, wanted) for side in (-1, 0, 1)]
    verdicts = {_HOLDS[comparator](point, wanted) for point in near if _HOLDS[bound or "="](point, found)}
    return verdicts.pop() if len(verdicts) == 1 else None


# --- nonconformities ----------------------------------------------------------------------------------------------


def raise_nonconformity(
    command: RaiseNonconformity, programme: Programme, state: Nonconformity, objective: Objective
) -> Decision:
    """One raised by hand, under the command's id."""
    if command.objective is not None and objective.definition is None:
        return Rejection("OBJECTIVE_UNKNOWN", "objective", "must be defined first", command.objective)
    if state.raised is not None:
        return Rejection("NONCONFORMITY_EXISTS", "id", "was raised before: use a new id", command.id)
    if refusal := _refuse_due(command.due_on, command, programme):
        return refusal
    return (
        NonconformityRaised(
            **of(command),
            nonconformity=command.id,
            what=command.what,
            owner=command.owner,
            due_on=command.due_on,
            objective=command.objective,
        ),
    )


def find_cause(command: FindCause, programme: Programme, state: Nonconformity) -> Decision:
    """The cause, once."""
    if refusal := _refuse_unless_open(command.nonconformity, state):
        return refusal
    if state.cause is not None:
        return Rejection("STEP_OUT_OF_ORDER", "nonconformity", "has its cause found already", command.nonconformity)
    if refusal := _refuse_due(command.due_on, command, programme):
        return refusal
    return (
        CauseFound(
            **of(command),
            nonconformity=command.nonconformity,
            cause=command.cause,
            owner=command.owner,
            due_on=command.due_on,
        ),
    )


def plan_action(command: PlanCorrectiveAction, programme: Programme, state: Nonconformity) -> Decision:
    """An action, under the command's id; there may be several."""
    if refusal := _refuse_unless_open(command.nonconformity, state):
        return refusal
    if command.id in state.planned:
        return Rejection("ACTION_EXISTS", "id", "was planned before: use a new id", command.id)
    if state.cause is None:
        return Rejection("STEP_OUT_OF_ORDER", "nonconformity", "must have its cause found first", command.nonconformity)
    if refusal := _refuse_due(command.due_on, command, programme):
        return refusal
    return (
        CorrectiveActionPlanned(
            **of(command),
            nonconformity=command.nonconformity,
            action=command.id,
            what=command.what,
            owner=command.owner,
            due_on=command.due_on,
        ),
    )


def complete_action(command: CompleteCorrectiveAction, programme: Programme, state: Nonconformity) -> Decision:
    """An action that was planned is done; somebody else is to verify it."""
    if refusal := _refuse_unless_planned(command, state):
        return refusal
    if command.action in state.done_by:
        return Rejection("STEP_OUT_OF_ORDER", "action", "was done already", command.action)
    if command.owner == command.done_by:
        rule = "verifies the action, so must be somebody else than done_by"
        return Rejection("VERIFIER_NOT_INDEPENDENT", "owner", rule, command.owner)
    if refusal := _refuse_due(command.due_on, command, programme):
        return refusal
    return (
        CorrectiveActionDone(
            **of(command),
            nonconformity=command.nonconformity,
            action=command.action,
            done_by=command.done_by,
            owner=command.owner,
            due_on=command.due_on,
            evidence=command.evidence,
        ),
    )


def verify_action(command: VerifyCorrectiveAction, programme: Programme, state: Nonconformity) -> Decision:
    """What became of an action that was done; the owner of the cause plans another where it had no effect."""
    if refusal := _refuse_unless_planned(command, state):
        return refusal
    done_by = state.done_by.get(command.action)
    if done_by is None:
        return Rejection("STEP_OUT_OF_ORDER", "action", "must be done first", command.action)
    if command.action in state.verified:
        return Rejection("STEP_OUT_OF_ORDER", "action", "was verified already", command.action)
    if command.verified_by == done_by:
        rule = f"must be somebody else than {done_by}, who did the action"
        return Rejection("VERIFIER_NOT_INDEPENDENT", "verified_by", rule, command.verified_by)
    if refusal := _refuse_due_of_verdict(command, programme):
        return refusal
    assert state.cause is not None
    return (
        CorrectiveActionVerified(
            **of(command),
            nonconformity=command.nonconformity,
            action=command.action,
            effective=command.effective,
            verified_by=command.verified_by,
            owner=state.cause.owner,
            due_on=command.due_on,
            closed=command.effective and state.planned == state.verified | {command.action},
            evidence=command.evidence,
        ),
    )


def _refuse_unless_open(name: str, state: Nonconformity) -> Rejection | None:
    if state.raised is None:
        return Rejection("NONCONFORMITY_UNKNOWN", "nonconformity", "must be raised first", name)
    if state.closed:
        return Rejection("NONCONFORMITY_CLOSED", "nonconformity", "must be open: raise a new one", name)
    return None


def _refuse_unless_planned(
    command: CompleteCorrectiveAction | VerifyCorrectiveAction, state: Nonconformity
) -> Rejection | None:
    if refusal := _refuse_unless_open(command.nonconformity, state):
        return refusal
    if command.action not in state.planned:
        return Rejection("ACTION_UNKNOWN", "action", "must be planned first", command.action)
    return None


def _refuse_due(due_on: date, command: SteeringCommand, programme: Programme) -> Rejection | None:
    today = day_of(command, programme)
    if due_on >= today:
        return None
    rule = f"may not be before {today}, the day of occurred_at in {programme.time_zone}"
    return Rejection("DUE_INVALID", "due_on", rule, str(due_on))


def _refuse_due_of_verdict(command: VerifyCorrectiveAction, programme: Programme) -> Rejection | None:
    if command.effective:
        if command.due_on is None:
            return None
        rule = "must be left out where the action was effective, for nothing follows from it"
        return Rejection("DUE_INVALID", "due_on", rule, str(command.due_on))
    if command.due_on is None:
        rule = "must be given where the action was not effective: by then another is planned"
        return Rejection("DUE_INVALID", "due_on", rule)
    return _refuse_due(command.due_on, command, programme)
