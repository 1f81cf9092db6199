"""Quality objectives: what they came to, whether they were attained and where they go; and what is open because one was
missed, with its next step, owner and due date.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Literal

from msgspec import Struct

from ledger.codec import decode
from ledger.events import (
    CauseFound,
    CorrectiveActionDone,
    CorrectiveActionPlanned,
    CorrectiveActionVerified,
    Event,
)
from ledger.store.database import PgCursor
from projections.steering import fold_steering
from projections.steering_rows import (
    CorrectiveAction,
    Measurement,
    Nonconformity,
    Objective,
    SteeringRows,
    read_rows,
)

PERIODS_SHOWN = 12

Trend = Literal["better", "worse", "unchanged"]


class PeriodValue(Struct, frozen=True, kw_only=True):
    """What an objective came to in the period that begins on `period_on`.

    With a `bound`, only that is known of it: `>` 81.3. `attained` is None where a bound cannot tell.
    """

    period_on: date
    value: Decimal
    bound: str
    attained: bool | None
    sample: int | None


class ObjectiveReport(Struct, frozen=True, kw_only=True):
    """An objective, and its newest periods from the oldest to the newest.

    `attained` of the `judged` ones among them were. `trend` says how the newest value compares with the one before, by
    the direction that is better; None where there are no two exact values.
    """

    objective: str
    name: str
    comparator: str
    target: Decimal
    unit: str
    direction: str
    period: str
    owner: str
    figure: str | None
    version: int
    retired: bool
    periods: list[PeriodValue]
    judged: int
    attained: int
    trend: Trend | None


class OpenStep(Struct, frozen=True, kw_only=True):
    """The next step of an open nonconformity: find_cause, plan_action; or of one of its actions: do, verify."""

    nonconformity: str
    what: str
    objective: str | None
    period_on: date | None
    step: str
    action: str | None
    owner: str
    due_on: date
    days_overdue: int
    """0: not overdue. It is due on the whole of `due_on`."""


def read_objectives(cur: PgCursor, journal: int) -> SteeringRows:
    """The objectives of a programme, their measurements and the corrective loop, as they stand now.

    `journal` is the programme's first.
    """
    found = SteeringRows()
    for kind in (Objective, Measurement, Nonconformity, CorrectiveAction):
        for row in read_rows(cur, kind, journal):
            found.put(row)
    return found


def objectives_as_of(cur: PgCursor, journal: int, before: datetime) -> SteeringRows:
    """As `read_objectives`, by the events that had occurred before an instant, folded from the log.

    A step that is dated before what it is a step of counts with neither, as long as that had not occurred.
    """
    found = SteeringRows()
    for position, event in _events_before(cur, journal, before):
        if _has_begun(found, event):
            fold_steering(found, [(position, event)])
    return found


def _has_begun(rows: SteeringRows, event: Event) -> bool:
    if isinstance(event, CorrectiveActionDone | CorrectiveActionVerified):
        return rows.has(CorrectiveAction, event.nonconformity, event.action)
    if isinstance(event, CauseFound | CorrectiveActionPlanned):
        return rows.has(Nonconformity, event.nonconformity)
    return True


def _events_before(cur: PgCursor, journal: int, before: datetime) -> list[tuple[int, Event]]:
    cur.execute(
        "SELECT position, topic, state FROM events"
        " WHERE journal = %s AND (originator_id >= 'objective-' AND originator_id < 'objective.'"
        " OR originator_id >= 'nonconformity-' AND originator_id < 'nonconformity.') ORDER BY position",
        (journal,),
    )
    found = [(position, decode(topic, bytes(state))) for position, topic, state in cur.fetchall()]
    return [(position, event) for position, event in found if event.occurred_at < before]


def report_objectives(rows: SteeringRows, periods: int = PERIODS_SHOWN) -> list[ObjectiveReport]:
    """Every objective with its newest periods, at most `periods`; retired ones last."""
    measured = {
        objective: list(found) for objective, found in groupby(rows.of(Measurement), key=lambda row: row.objective)
    }
    newest = {row.objective: row for row in rows.of(Objective)}
    reports = [_report(row, measured.get(name, [])[-periods:]) for name, row in newest.items()]
    return sorted(reports, key=lambda report: (report.retired, report.objective))


def _report(row: Objective, measured: Sequence[Measurement]) -> ObjectiveReport:
    return ObjectiveReport(
        objective=row.objective,
        name=row.name,
        comparator=row.comparator,
        target=row.target,
        unit=row.unit,
        direction=row.direction,
        period=row.period,
        owner=row.owner,
        figure=row.figure,
        version=row.version,
        retired=row.retired,
        periods=[
            PeriodValue(
                period_on=one.period_on, value=one.value, bound=one.bound, attained=one.attained, sample=one.sample
            )
            for one in measured
        ],
        judged=sum(one.attained is not None for one in measured),
        attained=sum(one.attained is True for one in measured),
        trend=_trend(row.direction, [one.value for one in measured if not one.bound]),
    )


def _trend(direction: str, values: Sequence[Decimal]) -> Trend | None:
    if len(values) < 2:
        return None
    change = values[-1] - values[-2]
    if not change:
        return "unchanged"
    return "better" if (change > 0) == (direction == "up") else "worse"


def open_steps(rows: SteeringRows, on: date) -> list[OpenStep]:
    """The next steps of all open nonconformities; on a day, the overdue first, then by due date.

    A nonconformity has one for each of its open actions, and one of its own while a cause or an action is wanting. Once
    closed it has none: as of a past day an action may be verified later than what closed it, by the dates of both.
    """
    nonconformities = {row.nonconformity: row for row in rows.of(Nonconformity) if row.step != "closed"}
    steps = [
        _open_step(row, None, row.step, row.owner, row.due_on, on)
        for row in nonconformities.values()
        if row.owner is not None and row.due_on is not None
    ]
    steps += [
        _open_step(nonconformities[row.nonconformity], row.action, row.step, row.owner, row.due_on, on)
        for row in rows.of(CorrectiveAction)
        if row.owner is not None and row.due_on is not None and row.nonconformity in nonconformities
    ]
    return sorted(steps, key=lambda step: (step.due_on, step.nonconformity, step.action or ""))


def _open_step(row: Nonconformity, action: str | None, step: str, owner: str, due_on: date, on: date) -> OpenStep:
    return OpenStep(
        nonconformity=row.nonconformity,
        what=row.what,
        objective=row.objective,
        period_on=row.period_on,
        step=step,
        action=action,
        owner=owner,
        due_on=due_on,
        days_overdue=max(0, (on - due_on).days),
    )
