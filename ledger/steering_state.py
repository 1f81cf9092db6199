"""The small streams by which a programme is steered: their names, and the states that they come to.

All of them are in the programme's first journal, which holds no more of them than people make decisions.
"""

from __future__ import annotations

from datetime import date

from msgspec import Struct, field

from ledger.commands import (
    AnySteeringCommand,
    AssessFocus,
    CompleteCorrectiveAction,
    DefineObjective,
    DefineSurvey,
    FindCause,
    FreezeBaseline,
    MeasureObjective,
    PlanCorrectiveAction,
    RaiseNonconformity,
    SetAnalysis,
    SetBudget,
    SteeringCommand,
    VerifyCorrectiveAction,
)
from ledger.events import (
    AnalysisSet,
    AnySteeringEvent,
    BaselineFrozen,
    BudgetSet,
    CauseFound,
    CorrectiveActionDone,
    CorrectiveActionPlanned,
    CorrectiveActionVerified,
    Event,
    FocusAssessed,
    NonconformityRaised,
    ObjectiveDefined,
    ObjectiveMeasured,
    SurveyDefined,
)

_SURVEY = "survey-{0.survey}"
_ANALYSIS = "analysis"
_BASELINE = "baseline-{0.chart}"
_OBJECTIVE = "objective-{0.objective}"
_NONCONFORMITY = "nonconformity-{0.nonconformity}"
_BUDGET = "budget-{0.direction}-{0.measure}-{0.level}-{0.who}"
_FOCUS = "focus-{0.factor}"

MISSED = "{0.objective}:{0.period_on}"
"""The name of the nonconformity that a missed objective raises, from its measurement."""

_EVENT_STREAMS: dict[type[Event], str] = {
    SurveyDefined: _SURVEY,
    AnalysisSet: _ANALYSIS,
    BaselineFrozen: _BASELINE,
    ObjectiveDefined: _OBJECTIVE,
    ObjectiveMeasured: _OBJECTIVE,
    NonconformityRaised: _NONCONFORMITY,
    CauseFound: _NONCONFORMITY,
    CorrectiveActionPlanned: _NONCONFORMITY,
    CorrectiveActionDone: _NONCONFORMITY,
    CorrectiveActionVerified: _NONCONFORMITY,
    BudgetSet: _BUDGET,
    FocusAssessed: _FOCUS,
}
_COMMAND_STREAMS: dict[type[SteeringCommand], tuple[str, ...]] = {
    DefineSurvey: (_SURVEY,),
    SetAnalysis: (_ANALYSIS,),
    FreezeBaseline: (_BASELINE,),
    DefineObjective: (_OBJECTIVE,),
    MeasureObjective: (_OBJECTIVE, f"nonconformity-{MISSED}"),
    RaiseNonconformity: ("nonconformity-{0.id}", _OBJECTIVE),  # without an objective, nobody looks at the second
    FindCause: (_NONCONFORMITY,),
    PlanCorrectiveAction: (_NONCONFORMITY,),
    CompleteCorrectiveAction: (_NONCONFORMITY,),
    VerifyCorrectiveAction: (_NONCONFORMITY,),
    SetBudget: (_BUDGET,),
    AssessFocus: (_FOCUS,),
}

STEERING_EVENTS = frozenset(_EVENT_STREAMS)
"""The types of the events that stand on these streams, and on no other."""


def stream_of(event: AnySteeringEvent) -> str:
    """The stream that an event belongs on."""
    return _EVENT_STREAMS[type(event)].format(event)


def streams_of(command: AnySteeringCommand) -> tuple[str, ...]:
    """The streams that deciding on a command needs, its own first."""
    return tuple(name.format(command) for name in _COMMAND_STREAMS[type(command)])


class SteeringState(Struct, kw_only=True):
    """What a stream of `version` events came to, where nothing but their number matters."""

    version: int = 0


class Objective(SteeringState, kw_only=True):
    """An objective by its latest definition."""

    definition: ObjectiveDefined | None = None


class Nonconformity(SteeringState, kw_only=True):
    """A nonconformity and its corrective actions, by name: what was planned, who did it, whether it was verified."""

    raised: NonconformityRaised | None = None
    cause: CauseFound | None = None
    planned: set[str] = field(default_factory=set)
    """Every action that ever was."""
    done_by: dict[str, str] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    closed: bool = False


class Budget(SteeringState, kw_only=True):
    """The budgets of one stream: the newest version by its days, [from, until)."""

    versions: dict[tuple[date, date], int] = field(default_factory=dict)


_STATES: dict[str, type[SteeringState]] = {
    "objective": Objective,
    "nonconformity": Nonconformity,
    "budget": Budget,
}


def initial_steering(stream: str) -> SteeringState:
    """The state of a stream before its first event."""
    return _STATES.get(stream.partition("-")[0], SteeringState)()


def evolve_steering(state: SteeringState, event: Event) -> SteeringState:
    """The state after an event of its stream. Changes it in place and returns it."""
    state.version += 1
    if isinstance(state, Objective) and isinstance(event, ObjectiveDefined):
        state.definition = event
    elif isinstance(state, Budget) and isinstance(event, BudgetSet):
        state.versions[event.from_on, event.until_on] = event.version
    elif isinstance(state, Nonconformity):
        _evolve_nonconformity(state, event)
    return state


def _evolve_nonconformity(state: Nonconformity, event: Event) -> None:
    match event:
        case NonconformityRaised():
            state.raised = event
        case CauseFound():
            state.cause = event
        case CorrectiveActionPlanned():
            state.planned.add(event.action)
        case CorrectiveActionDone():
            state.done_by[event.action] = event.done_by
        case CorrectiveActionVerified():
            state.verified.add(event.action)
            state.closed = event.closed
