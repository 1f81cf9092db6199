"""Quality objectives, what is open because one was missed, and the steps of its correction as forms."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import uuid4

import msgspec
from litestar import Response
from msgspec import Struct

from ledger.commands import (
    Command,
    CompleteCorrectiveAction,
    FindCause,
    PlanCorrectiveAction,
    VerifyCorrectiveAction,
)
from ledger.rejections import Rejection
from ledger.submissions import Malformed, Outcome, Submission
from projections.checkpoints import ProjectionBehind, wait_until
from projections.objectives import ObjectiveReport
from projections.steering import Steering
from projections.steering_rows import CorrectiveAction, Nonconformity
from service.console import instant
from service.http.access import CARE, FIGURES
from service.http.command_handlers import origin_of
from service.http.command_routes import ROUTES
from service.http.messages import read_command
from service.http.problems import problem
from service.objectives_figures import Objectives, read_objectives_figures
from service.web.asked import Asked, Text
from service.web.charts import Chart
from service.web.languages import N_
from service.web.last_days import today_of
from service.web.visits import Visit, action, page

WAIT_SECONDS: Final = 2.0
"""For what a form recorded to be on the page that it comes back to."""

STAGE_TITLES: Final = {
    "find_cause": N_("Find the cause"),
    "plan_action": N_("Plan an action"),
    "act": N_("Carry out the actions"),
    "closed": N_("Closed"),
    "do": N_("Do"),
    "verify": N_("Verify"),
    "effective": N_("Effective"),
    "ineffective": N_("Ineffective"),
}
TREND_TITLES: Final = {"better": N_("better"), "worse": N_("worse"), "unchanged": N_("unchanged")}
PERIOD_TITLES: Final = {
    "day": N_("day"),
    "week": N_("week"),
    "month": N_("month"),
    "quarter": N_("quarter"),
    "year": N_("year"),
}


class Field(Struct, frozen=True):
    """A field of a step; `kind` is text, long, date or choice (yes or no)."""

    name: str
    title: str
    kind: str = "text"
    is_required: bool = True


class Step(Struct, frozen=True, kw_only=True):
    """A step of the correction: the command that it is, and its fields."""

    command: type[Command]
    title: str
    fields: tuple[Field, ...]


STEPS: Final = {
    "cause": Step(
        command=FindCause,
        title=N_("Record the cause"),
        fields=(
            Field("cause", N_("Why it came about"), "long"),
            Field("owner", N_("Who plans what is done about it")),
            Field("due_on", N_("To be planned by"), "date"),
        ),
    ),
    "plan": Step(
        command=PlanCorrectiveAction,
        title=N_("Plan an action"),
        fields=(
            Field("what", N_("What is to be done"), "long"),
            Field("owner", N_("Who does it")),
            Field("due_on", N_("To be done by"), "date"),
        ),
    ),
    "done": Step(
        command=CompleteCorrectiveAction,
        title=N_("Record that it was done"),
        fields=(
            Field("done_by", N_("Who did it")),
            Field("owner", N_("Who verifies it, somebody else")),
            Field("due_on", N_("To be verified by"), "date"),
            Field("evidence", N_("Evidence"), is_required=False),
        ),
    ),
    "verify": Step(
        command=VerifyCorrectiveAction,
        title=N_("Record whether it had its effect"),
        fields=(
            Field("effective", N_("It had its effect"), "choice"),
            Field("verified_by", N_("Who verified it")),
            Field("due_on", N_("If not: another action is planned by"), "date", is_required=False),
            Field("evidence", N_("Evidence"), is_required=False),
        ),
    ),
}


class StepForm(Struct, frozen=True, kw_only=True):
    """A form as it is shown: `id` names the command, so that a form sent twice is not recorded twice."""

    step: str
    action: str
    what: str
    id: str
    values: dict[str, str]
    errors: dict[str, str]

    @property
    def of(self) -> Step:
        """What it is a form of."""
        return STEPS[self.step]


class Refused(Struct, frozen=True):
    """A step that was refused: of which action, and why."""

    step: str
    action: str
    rejection: Rejection


# --- the page of objectives -----------------------------------------------------------------------------------------


@page("/objectives", "objectives", FIGURES)
async def objectives(visit: Visit, objective: Text = "", as_of: Text = "") -> Response[Any]:
    """Objectives with their attainment and trend, one of them drawn, and the open steps, overdue ones first."""
    asked = Asked(visit)
    day = asked.day("as_of", as_of)
    found: Objectives | None = None
    if day is not None and day > today_of(visit):
        asked.errors["as_of"] = visit.gettext("must not be after today")
    if not asked.errors:
        found = await visit.read(
            lambda cursor, info: read_objectives_figures(cursor, info, day), "steering" if day is None else None
        )
    reports = found.objectives if found else []
    drawn = next((one for one in reports if one.objective == objective), None)
    drawn = drawn or next((one for one in reports if one.periods), reports[0] if reports else None)
    if objective and found and drawn and drawn.objective != objective:
        asked.errors["objective"] = visit.gettext("must be one of those below")
    closed = [one for one in found.nonconformities if one.closed_at is not None] if found else []
    answer: Response[Any] = visit.render(
        "objectives.html",
        asked.status,
        found=found,
        drawn=drawn,
        chart=_chart(visit, drawn) if drawn and drawn.periods else None,
        closed=sorted(closed, key=lambda one: str(one.closed_at), reverse=True),
        overdue=sum(step.days_overdue > 0 for step in found.open_steps) if found else 0,
        form={"as_of": as_of, "objective": drawn.objective if drawn else ""},
        errors=asked.errors,
        stages=STAGE_TITLES,
        trends=TREND_TITLES,
        periods=PERIOD_TITLES,
    )
    return answer


def _chart(visit: Visit, found: ObjectiveReport) -> Chart:
    """The newest periods of an objective beside its target."""
    _ = visit.gettext
    on = [one.period_on for one in found.periods]
    colours = {True: "--chart-1", False: "--bad", None: "--muted"}
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": _("Measured"),
            "x": on,
            "y": [float(one.value) for one in found.periods],
            "line": {"color": "--chart-1"},
            "marker": {"size": 10, "color": [colours[one.attained] for one in found.periods]},
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": _("Target"),
            "x": on,
            "y": [float(found.target)] * len(on),
            "line": {"dash": "dash", "color": "--muted"},
        },
    ]
    layout = {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": found.unit}}}
    return Chart(title=found.name or found.objective, traces=traces, layout=layout)


# --- a nonconformity and its steps ----------------------------------------------------------------------------------


@page("/objectives/nonconformity", "objectives", FIGURES, "nonconformity")
async def nonconformity(visit: Visit, nonconformity: Text = "") -> Response[Any]:
    """A nonconformity with its cause and actions, and the forms of the steps that come next."""
    return await _shown(visit, nonconformity)


@action("/objectives/steps/{step:str}", "objectives", CARE, "objectives.step")
async def take_step(visit: Visit, step: str) -> Response[Any]:
    """Record a step, through the command that any other way in would bring."""
    if step not in STEPS:
        raise problem("NOT_FOUND")
    name = visit.form.get("nonconformity", "")
    outcome = await _handled(visit, STEPS[step])
    if outcome.rejection is not None:
        return await _shown(visit, name, Refused(step, visit.form.get("action", ""), outcome.rejection))
    await visit.backend.in_thread(lambda: _wait_for(visit, outcome))
    return visit.redirect(visit.url("/objectives/nonconformity", nonconformity=name))


async def _handled(visit: Visit, step: Step) -> Outcome:
    assert visit.session is not None
    key = visit.session.key
    fields: dict[str, Any] = {"nonconformity": visit.form.get("nonconformity", "")}
    if "action" in step.command.__struct_fields__:
        fields["action"] = visit.form.get("action", "")
    for field in step.fields:
        given = visit.form.get(field.name, "").strip()
        if given or field.is_required:
            fields[field.name] = given == "yes" if field.kind == "choice" else given
    if visit.form.get("effective") == "yes":
        fields.pop("due_on", None)
    message = {"id": visit.form.get("id", ""), "occurred_at": instant(datetime.now(UTC)), **fields}
    route = next(route for route in ROUTES if route.command is step.command)
    command = read_command(route, visit.info.programme.programme, key, msgspec.json.encode(message))
    if isinstance(command, Malformed):
        return Outcome("rejected", rejection=command.rejection)
    return await visit.backend.submit(Submission(command, origin=origin_of(key)))


def _wait_for(visit: Visit, outcome: Outcome) -> None:
    with suppress(ProjectionBehind):  # the page says that it is
        wait_until(visit.backend.readers, Steering.name, outcome.journal, outcome.last, WAIT_SECONDS)


async def _shown(visit: Visit, name: str, refused: Refused | None = None) -> Response[Any]:
    found = await visit.read(lambda cursor, info: read_objectives_figures(cursor, info), "steering")
    one = next((each for each in found.nonconformities if each.nonconformity == name), None)
    if one is None:
        raise problem("NOT_FOUND", f"There is no nonconformity {name!r}, or it is not in the read models yet.")
    actions = [each for each in found.corrective_actions if each.nonconformity == name]
    answer: Response[Any] = visit.render(
        "nonconformity.html",
        422 if refused else 200,
        found=one,
        days_overdue=_days_overdue(one.due_on, found.as_of),
        actions=actions,
        forms=_forms(visit, one, actions, refused) if visit.may(CARE) else [],
        refused=refused,
        stages=STAGE_TITLES,
    )
    return answer


def _days_overdue(due_on: date | None, today: date) -> int:
    return 0 if due_on is None else max(0, (today - due_on).days)


def _forms(
    visit: Visit, one: Nonconformity, actions: list[CorrectiveAction], refused: Refused | None
) -> list[StepForm]:
    """The forms of the steps that come next; one that was refused has what was wrong, and is filled in as it was."""
    steps = {"find_cause": ["cause"], "plan_action": ["plan"], "act": ["plan"], "closed": []}[one.step]
    wanted = [
        *(("done" if each.step == "do" else "verify", each) for each in actions if each.step in ("do", "verify")),
        *((step, None) for step in steps),
    ]
    forms = []
    for step, of in wanted:
        action = of.action if of else ""
        rejection = refused.rejection if refused and (refused.step, refused.action) == (step, action) else None
        forms.append(
            StepForm(
                step=step,
                action=action,
                what=of.what if of else "",
                id=f"console-{uuid4()}",
                values=dict(visit.form) if rejection else {},
                errors={rejection.field: rejection.rule} if rejection else {},
            )
        )
    return forms


HANDLERS: Final = (objectives, nonconformity, take_step)
