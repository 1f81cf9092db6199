"""Deciding on how a programme is steered: its surveys, analysis, charts, budgets and focus audits. Pure, as
`ledger.decider`; objectives and nonconformities are in `ledger.objectives`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, TypeAlias

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
from ledger.decider import Programme
from ledger.events import (
    AnalysisSet,
    Band,
    BaselineFrozen,
    BudgetSet,
    Event,
    FocusAssessed,
    FocusItem,
    SurveyDefined,
)
from ledger.objectives import (
    Decision,
    complete_action,
    day_of,
    define_objective,
    find_cause,
    measure_objective,
    of,
    plan_action,
    raise_nonconformity,
    verify_action,
)
from ledger.rejections import Rejection
from ledger.steering_state import Budget, SteeringState, stream_of, streams_of

SteeringDecision: TypeAlias = dict[str, tuple[Event, ...]] | Rejection

NPS_SCALE: Final = (0, 10)
RESERVED_BANDS: Final = ("inactive", "prospect", "prospects", "unknown profit", "not yet")
"""What the pyramid calls the members in none of its bands."""
CHART_FIGURES: Final[dict[str, tuple[str, ...]]] = {
    "nps": ("individuals",),
    "csat": ("individuals", "p"),
    "ces": ("individuals",),
    "acsi": ("individuals",),
    "complaint_rate": ("individuals",),
    "resolution_time": ("individuals",),
    "resolution_time_median": ("individuals",),
    "follow_up_rate": ("individuals", "p"),
    "late_rate": ("individuals", "p"),
    "responses": ("individuals", "c"),
    "complaints": ("individuals", "c"),
}
"""Figures of this ledger that a chart may be of, and the kinds of chart: a p chart is of a share, a c chart of a count.
A name is never changed.
"""
WHOLE: Final = frozenset({"revenue", "profit", "activity"})
NEVER_NEGATIVE: Final = frozenset({"revenue", "activity"})


def decide_steering(
    states: Mapping[str, SteeringState], command: AnySteeringCommand, programme: Programme
) -> SteeringDecision:
    """What a command does: the events of each stream that it touches, its own first. `command.programme` is set, and
    `states` has all of `streams_of(command)`.
    """
    decision = _DECIDERS[type(command)](command, programme, *(states[stream] for stream in streams_of(command)))
    if isinstance(decision, Rejection):
        return decision
    streams: dict[str, tuple[Event, ...]] = {}
    for event in decision:
        stream = stream_of(event)
        streams[stream] = (*streams.get(stream, ()), event)
    return streams


# --- what several verbs check -------------------------------------------------------------------------------------


def _refuse_scale(scale: tuple[int, int]) -> Rejection | None:
    if scale[0] < scale[1]:
        return None
    return Rejection("SCALE_INVALID", "scale", "must be [lowest, highest], lowest below highest", str(list(scale)))


def _refuse_repeated(field: str, names: Iterable[str]) -> Rejection | None:
    for name, times in Counter(names).items():
        if times > 1:
            return Rejection("NAME_REPEATED", field, f"must be different names; this one stands {times} times", name)
    return None


def _refuse_range(from_on: date, until_on: date) -> Rejection | None:
    if from_on < until_on:
        return None
    return Rejection("RANGE_INVALID", "until_on", f"must be after from_on, {from_on}", str(until_on))


def _refuse_segment(field: str, segment: str) -> Rejection | None:
    attribute, _, value = segment.partition("=")
    if attribute and value:
        return None
    return Rejection("WHO_INVALID", field, "must be a segment, written attribute=value", segment)


# --- analyse ------------------------------------------------------------------------------------------------------


def _define_survey(command: DefineSurvey, programme: Programme, state: SteeringState) -> Decision:
    if refusal := _refuse_scale(command.scale):
        return refusal
    if command.instrument == "NPS" and command.scale != NPS_SCALE:
        rule = f"must be {list(NPS_SCALE)} for NPS, which sorts answers by it"
        return Rejection("SCALE_INVALID", "scale", rule, str(list(command.scale)))
    refusal = _refuse_repeated("questions", command.questions) or _refuse_weights(command)
    if refusal:
        return refusal
    return (
        SurveyDefined(
            **of(command),
            survey=command.survey,
            version=state.version + 1,
            instrument=command.instrument,
            scale=command.scale,
            questions=command.questions,
            weights=command.weights,
            name=command.name,
            touchpoint=command.touchpoint,
        ),
    )


def _refuse_weights(command: DefineSurvey) -> Rejection | None:
    weights, questions = command.weights, len(command.questions)
    if not weights:
        return None
    if command.instrument != "ACSI":
        rule = f"must be left out for {command.instrument}: only an ACSI survey is weighted"
    elif len(weights) != questions:
        rule = f"must be one for each of the {questions} questions, or left out"
    elif not any(weights):
        rule = "must not all be 0"
    else:
        return None
    return Rejection("WEIGHTS_INVALID", "weights", rule, str(weights))


def _set_analysis(command: SetAnalysis, programme: Programme, state: SteeringState) -> Decision:
    refusal = _refuse_repeated("bands", [band.name for band in command.bands]) or _refuse_bands(command)
    if refusal:
        return refusal
    return (
        AnalysisSet(
            **of(command),
            version=state.version + 1,
            inactive_after_days=command.inactive_after_days,
            bands=[Band(name=band.name, share_percent=band.share_percent) for band in command.bands],
        ),
    )


def _refuse_bands(command: SetAnalysis) -> Rejection | None:
    for number, band in enumerate(command.bands):
        if band.name in RESERVED_BANDS:
            rule = "is what the pyramid calls members in none of the bands: use another name"
            return Rejection("BANDS_INVALID", f"bands[{number}].name", rule, band.name)
        if Decimal(band.share_percent) <= 0:
            return Rejection("BANDS_INVALID", f"bands[{number}].share_percent", "must be above 0", band.share_percent)
    total = sum(Decimal(band.share_percent) for band in command.bands)
    if total != 100:
        return Rejection("BANDS_INVALID", "bands", "must have shares that add up to exactly 100", str(total))
    return None


def _freeze_baseline(command: FreezeBaseline, programme: Programme, state: SteeringState) -> Decision:
    if sum(bool(one) for one in (command.channel, command.store, command.touchpoint)) > 1:
        return Rejection("INVALID_FIELD", "channel", "only one of channel, store and touchpoint may be given")
    if refusal := _refuse_range(command.from_on, command.until_on):
        return refusal
    today = day_of(command, programme)
    if command.until_on > today:
        rule = f"may not be after {today}, the day of occurred_at in {programme.time_zone}: limits are of what is past"
        return Rejection("RANGE_INVALID", "until_on", rule, str(command.until_on))
    if refusal := _refuse_limits(command) or _refuse_figure(command):
        return refusal
    return (
        BaselineFrozen(
            **of(command),
            chart=command.chart,
            version=state.version + 1,
            kind=command.kind,
            figure=command.figure,
            period=command.period,
            from_on=command.from_on,
            until_on=command.until_on,
            points=command.points,
            centre=command.centre,
            sigma=command.sigma,
            channel=command.channel,
            store=command.store,
            touchpoint=command.touchpoint,
        ),
    )


def _refuse_limits(command: FreezeBaseline) -> Rejection | None:
    centre = Decimal(command.centre)
    if command.kind == "individuals":
        if command.sigma is None:
            return Rejection("LIMITS_INVALID", "sigma", "must be given for a chart of individuals")
        if Decimal(command.sigma) <= 0:
            rule = "must be above 0: a series that never changes has no limits"
            return Rejection("LIMITS_INVALID", "sigma", rule, command.sigma)
        return None
    if command.sigma is not None:
        rule = f"must be left out for a {command.kind} chart, whose limits follow from the centre"
        return Rejection("LIMITS_INVALID", "sigma", rule, command.sigma)
    if command.kind == "p" and not 0 < centre < 1:
        rule = "must be above 0 and below 1 for a p chart: a proportion that never changes has no limits"
        return Rejection("LIMITS_INVALID", "centre", rule, command.centre)
    if command.kind == "c" and centre <= 0:
        rule = "must be above 0 for a c chart: a count that is always 0 has no limits"
        return Rejection("LIMITS_INVALID", "centre", rule, command.centre)
    return None


def _refuse_figure(command: FreezeBaseline) -> Rejection | None:
    if command.kind in CHART_FIGURES.get(command.figure, ()):
        return None
    figures = ", ".join(name for name, kinds in CHART_FIGURES.items() if command.kind in kinds)
    of = "individuals" if command.kind == "individuals" else f"the kind {command.kind}"
    return Rejection("FIGURE_UNKNOWN", "figure", f"must be one of {figures} for a chart of {of}", command.figure)


# --- plan and realise ---------------------------------------------------------------------------------------------


def _set_budget(command: SetBudget, programme: Programme, state: Budget) -> Decision:
    value = Decimal(command.value)
    refusal = (
        _refuse_range(command.from_on, command.until_on)
        or _refuse_who(command)
        or _refuse_value(command, value)
        or _refuse_overlap(command, state)
    )
    if refusal:
        return refusal
    return (
        BudgetSet(
            **of(command),
            direction=command.direction,
            level=command.level,
            who=command.who,
            measure=command.measure,
            from_on=command.from_on,
            until_on=command.until_on,
            value=str(int(value)) if command.measure in WHOLE else command.value,
            version=state.versions.get((command.from_on, command.until_on), 0) + 1,
        ),
    )


def _refuse_who(command: SetBudget) -> Rejection | None:
    if command.level == "segment":
        return _refuse_segment("who", command.who)
    if command.level == "programme" and command.who:
        return Rejection("WHO_INVALID", "who", "must be left out for the whole programme", command.who)
    if command.level == "member" and not command.who:
        return Rejection("WHO_INVALID", "who", "must name the member")
    return None


def _refuse_value(command: SetBudget, value: Decimal) -> Rejection | None:
    measure = command.measure
    if measure == "satisfaction" and not 0 <= value <= 100:
        rule = "must be an index from 0 to 100"
    elif measure in WHOLE and value != int(value):
        rule = f"must be a whole number of {'purchases' if measure == 'activity' else 'minor units'}"
    elif measure in NEVER_NEGATIVE and value < 0:
        rule = f"must be at least 0, as {measure} is"
    else:
        return None
    return Rejection("BUDGET_VALUE_INVALID", "value", rule, command.value)


def _refuse_overlap(command: SetBudget, state: Budget) -> Rejection | None:
    for from_on, until_on in sorted(state.versions):
        is_same = (from_on, until_on) == (command.from_on, command.until_on)
        if not is_same and from_on < command.until_on and command.from_on < until_on:
            rule = f"overlaps the budget from {from_on} until before {until_on}: set that one again, or other days"
            return Rejection("BUDGET_OVERLAPS", "from_on", rule, f"{command.from_on} to {command.until_on}")
    return None


def _assess_focus(command: AssessFocus, programme: Programme, state: SteeringState) -> Decision:
    refusal = _refuse_scale(command.scale) or _refuse_scores(command)
    refusal = refusal or _refuse_repeated("items", [item.item for item in command.items])
    if refusal is None and command.segment:
        refusal = _refuse_segment("segment", command.segment)
    if refusal:
        return refusal
    return (
        FocusAssessed(
            **of(command),
            factor=command.factor,
            scale=command.scale,
            items=[FocusItem(item=item.item, score=item.score, evidence=item.evidence) for item in command.items],
            assessor=command.assessor,
            segment=command.segment,
        ),
    )


def _refuse_scores(command: AssessFocus) -> Rejection | None:
    lowest, highest = command.scale
    for number, item in enumerate(command.items):
        if not lowest <= item.score <= highest:
            rule = f"must be within the scale {lowest} to {highest}"
            return Rejection("SCORE_OUT_OF_SCALE", f"items[{number}].score", rule, str(item.score))
    return None


_DECIDERS: dict[type[SteeringCommand], Callable[..., Decision]] = {
    DefineSurvey: _define_survey,
    SetAnalysis: _set_analysis,
    FreezeBaseline: _freeze_baseline,
    DefineObjective: define_objective,
    MeasureObjective: measure_objective,
    RaiseNonconformity: raise_nonconformity,
    FindCause: find_cause,
    PlanCorrectiveAction: plan_action,
    CompleteCorrectiveAction: complete_action,
    VerifyCorrectiveAction: verify_action,
    SetBudget: _set_budget,
    AssessFocus: _assess_focus,
}
