"""Steering: objectives and what they came to, the corrective loop, budgets and focus audits, as their events left them.

All of a programme's steering is on streams of its first journal. There is little of it, so rows are read, changed and
written back whole, which makes the fold a plain function of events (`fold_steering`): what stood at a past instant is
the same fold over fewer events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from ledger.events import (
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
)
from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.steering_rows import (
    ROWS,
    Budget,
    CorrectiveAction,
    FocusAssessment,
    FocusItemScore,
    Measurement,
    Nonconformity,
    Objective,
    SteeringRow,
    SteeringRows,
    read_rows,
)

# --- the fold -------------------------------------------------------------------------------------------------------


def _objective_defined(rows: SteeringRows, _: int, event: ObjectiveDefined) -> None:
    rows.put(
        Objective(
            event.objective,
            event.version,
            event.name,
            event.comparator,
            Decimal(event.target),
            event.unit,
            event.direction,
            event.period,
            event.owner,
            event.figure,
            event.respond_within_days,
            event.retired,
            event.occurred_at,
        )
    )


def _objective_measured(rows: SteeringRows, _: int, event: ObjectiveMeasured) -> None:
    rows.put(
        Measurement(
            event.objective,
            event.period_on,
            event.version,
            Decimal(event.value),
            event.bound,
            event.attained,
            event.sample,
            event.evidence,
            event.source,
            event.occurred_at,
        )
    )


def _nonconformity_raised(rows: SteeringRows, _: int, event: NonconformityRaised) -> None:
    rows.put(
        Nonconformity(
            event.nonconformity,
            event.what,
            event.objective,
            event.period_on,
            "find_cause",
            event.owner,
            event.due_on,
            None,
            event.occurred_at,
            None,
        )
    )


def _cause_found(rows: SteeringRows, _: int, event: CauseFound) -> None:
    found = rows.get(Nonconformity, event.nonconformity)
    rows.put(replace(found, step="plan_action", owner=event.owner, due_on=event.due_on, cause=event.cause))


def _action_planned(rows: SteeringRows, _: int, event: CorrectiveActionPlanned) -> None:
    found = rows.get(Nonconformity, event.nonconformity)
    rows.put(replace(found, step="act", owner=None, due_on=None))
    rows.put(
        CorrectiveAction(
            event.nonconformity,
            event.action,
            event.what,
            "do",
            event.owner,
            event.due_on,
            event.occurred_at,
            None,
            None,
            None,
            None,
            "",
        )
    )


def _action_done(rows: SteeringRows, _: int, event: CorrectiveActionDone) -> None:
    found = rows.get(CorrectiveAction, event.nonconformity, event.action)
    rows.put(
        replace(
            found,
            step="verify",
            owner=event.owner,
            due_on=event.due_on,
            done_by=event.done_by,
            done_at=event.occurred_at,
            evidence=event.evidence,
        )
    )


def _action_verified(rows: SteeringRows, _: int, event: CorrectiveActionVerified) -> None:
    action = rows.get(CorrectiveAction, event.nonconformity, event.action)
    rows.put(
        replace(
            action,
            step="effective" if event.effective else "ineffective",
            owner=None,
            due_on=None,
            verified_by=event.verified_by,
            verified_at=event.occurred_at,
            evidence=event.evidence,
        )
    )
    found = rows.get(Nonconformity, event.nonconformity)
    if event.closed:
        rows.put(replace(found, step="closed", owner=None, due_on=None, closed_at=event.occurred_at))
    elif not event.effective:
        rows.put(replace(found, step="plan_action", owner=event.owner, due_on=event.due_on))


def _budget_set(rows: SteeringRows, _: int, event: BudgetSet) -> None:
    rows.put(
        Budget(
            event.direction,
            event.measure,
            event.level,
            event.who,
            event.from_on,
            event.until_on,
            event.version,
            Decimal(event.value),
            event.occurred_at,
        )
    )


def _focus_assessed(rows: SteeringRows, position: int, event: FocusAssessed) -> None:
    lowest, highest = map(Decimal, event.scale)
    rows.put(FocusAssessment(position, event.factor, event.segment, lowest, highest, event.assessor, event.occurred_at))
    for number, item in enumerate(event.items, 1):
        rows.put(FocusItemScore(position, number, item.item, Decimal(item.score), item.evidence))


_FOLDS: dict[type[Event], Callable[[SteeringRows, int, Any], None]] = {
    ObjectiveDefined: _objective_defined,
    ObjectiveMeasured: _objective_measured,
    NonconformityRaised: _nonconformity_raised,
    CauseFound: _cause_found,
    CorrectiveActionPlanned: _action_planned,
    CorrectiveActionDone: _action_done,
    CorrectiveActionVerified: _action_verified,
    BudgetSet: _budget_set,
    FocusAssessed: _focus_assessed,
}
_DECODERS = {event.topic: msgspec.json.Decoder(event).decode for event in _FOLDS}
STEERING_TOPICS = frozenset(_DECODERS)


def steering_events(batch: Batch) -> list[tuple[int, Event]]:
    """The events of steering in a batch beside their positions."""
    return [(row[0], _DECODERS[row[3]](row[4] or "")) for row in batch.rows if row[3] in _DECODERS]


def fold_steering(rows: SteeringRows, found: Iterable[tuple[int, Event]]) -> None:
    """Fold events into rows, which are moved on. Raises KeyError for a step of what was never begun."""
    for position, event in found:
        _FOLDS[type(event)](rows, position, event)


# --- the projection -------------------------------------------------------------------------------------------------


class Steering:
    """The projection behind `projections.objectives`, `projections.plan` and `projections.focus`."""

    name = "steering"
    version = 1
    tables: tuple[str, ...] = tuple(kind.table for kind in ROWS)
    topics = STEERING_TOPICS

    def prepare(self, cur: PgCursor) -> None:
        """Nothing: rows go to the tables as they are."""

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        """The nonconformities, with their actions, that the batch has a step of."""
        memory["rows"] = rows = SteeringRows()
        named = {
            event.nonconformity for _, event in batch.view(steering_events) if isinstance(event, _STEPS_OF_THE_LOOP)
        }
        if named and batch.after:
            for kind in (Nonconformity, CorrectiveAction):
                for row in read_rows(cur, kind, batch.journal, "nonconformity = ANY (%s)", list(named)):
                    rows.put(row)

    def apply(self, batch: Batch, memory: dict[str, Any]) -> SteeringRows:
        rows: SteeringRows = memory.pop("rows")
        fold_steering(rows, batch.view(steering_events))
        return rows

    def write(self, cur: PgCursor, journal: int, changes: SteeringRows) -> None:
        for kind in ROWS:
            if rows := changes.of(kind):
                document = msgspec.json.encode([{"journal": journal, **msgspec.structs.asdict(row)} for row in rows])
                cur.execute(_UPSERTS[kind], (document.decode(),))


_STEPS_OF_THE_LOOP = (CauseFound, CorrectiveActionPlanned, CorrectiveActionDone, CorrectiveActionVerified)


def _upsert(kind: type[SteeringRow]) -> str:
    fields = kind.__struct_fields__
    key, rest = fields[: kind.key_size], fields[kind.key_size :]
    return (
        f"INSERT INTO {kind.table} SELECT * FROM json_populate_recordset(NULL::{kind.table}, %s)"
        f" ON CONFLICT (journal, {', '.join(key)})"
        f" DO UPDATE SET {', '.join(f'{field} = EXCLUDED.{field}' for field in rest)}"
    )


_UPSERTS = {kind: _upsert(kind) for kind in ROWS}
