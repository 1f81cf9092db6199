"""Rows of the tables of steering, and collections of them, whether they come from the tables or from events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Struct

from ledger.store.database import PgCursor


class SteeringRow(Struct, frozen=True):
    """A row of a table; its fields are the columns after `journal`, of which the first `key_size` name it."""

    table: ClassVar[str]
    key_size: ClassVar[int]

    @property
    def key(self) -> tuple[Any, ...]:
        """What names the row in the table of its journal."""
        return msgspec.structs.astuple(self)[: self.key_size]


class Objective(SteeringRow, frozen=True):
    """A version of the definition of an objective; the newest is in force."""

    table: ClassVar[str] = "objectives"
    key_size: ClassVar[int] = 2

    objective: str
    version: int
    name: str
    comparator: str
    target: Decimal
    unit: str
    direction: str
    period: str
    owner: str
    figure: str | None
    respond_within_days: int
    retired: bool
    occurred_at: datetime


class Measurement(SteeringRow, frozen=True):
    """The newest measurement of a period of an objective."""

    table: ClassVar[str] = "objective_measurements"
    key_size: ClassVar[int] = 2

    objective: str
    period_on: date
    version: int
    value: Decimal
    bound: str
    attained: bool | None
    sample: int | None
    evidence: str
    source: str
    occurred_at: datetime


class Nonconformity(SteeringRow, frozen=True):
    """A nonconformity. `step` is what comes next: find_cause, plan_action, act (its actions say what), closed."""

    table: ClassVar[str] = "nonconformities"
    key_size: ClassVar[int] = 1

    nonconformity: str
    what: str
    objective: str | None
    period_on: date | None
    step: str
    owner: str | None
    due_on: date | None
    cause: str | None
    raised_at: datetime
    closed_at: datetime | None


class CorrectiveAction(SteeringRow, frozen=True):
    """An action against the cause of a nonconformity. `step`: do, verify; at its end effective or ineffective."""

    table: ClassVar[str] = "corrective_actions"
    key_size: ClassVar[int] = 2

    nonconformity: str
    action: str
    what: str
    step: str
    owner: str | None
    due_on: date | None
    planned_at: datetime
    done_by: str | None
    done_at: datetime | None
    verified_by: str | None
    verified_at: datetime | None
    evidence: str


class Budget(SteeringRow, frozen=True):
    """A version of a budget; of those of the same days, the newest is in force. `until_on` is exclusive."""

    table: ClassVar[str] = "budgets"
    key_size: ClassVar[int] = 7

    direction: str
    measure: str
    level: str
    who: str
    from_on: date
    until_on: date
    version: int
    value: Decimal
    occurred_at: datetime


class FocusAssessment(SteeringRow, frozen=True):
    """A focus audit of a factor, with its scale; its items are rows of their own."""

    table: ClassVar[str] = "focus_assessments"
    key_size: ClassVar[int] = 1

    position: int
    factor: str
    segment: str
    lowest: Decimal
    highest: Decimal
    assessor: str
    occurred_at: datetime


class FocusItemScore(SteeringRow, frozen=True):
    """An item of a focus audit, by its number in it."""

    table: ClassVar[str] = "focus_items"
    key_size: ClassVar[int] = 2

    position: int
    number: int
    item: str
    score: Decimal
    evidence: str


ROWS: tuple[type[SteeringRow], ...] = (
    Objective,
    Measurement,
    Nonconformity,
    CorrectiveAction,
    Budget,
    FocusAssessment,
    FocusItemScore,
)

R = TypeVar("R", bound=SteeringRow)


class SteeringRows:
    """Rows of a programme's steering by type and key."""

    def __init__(self, rows: Iterable[SteeringRow] = ()) -> None:
        self._rows: dict[type[SteeringRow], dict[tuple[Any, ...], Any]] = {kind: {} for kind in ROWS}
        for row in rows:
            self.put(row)

    def put(self, row: SteeringRow) -> None:
        """Add a row, or put it in the place of the one with its key."""
        self._rows[type(row)][row.key] = row

    def get(self, kind: type[R], *key: Any) -> R:
        """A row that is there. Raises KeyError."""
        return self._rows[kind][key]

    def has(self, kind: type[SteeringRow], *key: Any) -> bool:
        """Whether a row is there."""
        return key in self._rows[kind]

    def of(self, kind: type[R]) -> list[R]:
        """All rows of a type, in the order of their keys."""
        return [row for _, row in sorted(self._rows[kind].items())]


def read_rows(cur: PgCursor, kind: type[R], journal: int, condition: str = "true", *parameters: Any) -> list[R]:
    """The rows of a type in a journal for which a condition over their columns holds, in the order of their keys."""
    fields = kind.__struct_fields__
    cur.execute(
        f"SELECT {', '.join(fields)} FROM {kind.table} WHERE journal = %s AND {condition}"
        f" ORDER BY {', '.join(fields[: kind.key_size])}",
        (journal, *parameters),
    )
    return [kind(*row) for row in cur.fetchall()]
