"""Objectives that are bound to a figure of this ledger: what is to be recorded of their closed periods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from itertools import groupby

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.calendar_periods import Days, day_at, periods_between
from projections.ledger_figures import FigureValue, read_figure
from projections.steering_rows import Measurement, Objective, SteeringRows

SOURCE = "loyalty"
"""The source of the measurements that the ledger takes of itself."""


class DueMeasurement(Struct, frozen=True, kw_only=True):
    """A closed period of a bound objective that is not measured yet. `value` is None where it cannot be: `why` not.

    `id` follows from objective, period and value, so that recording it twice records it once.
    """

    objective: str
    figure: str
    period_on: date
    until_on: date
    value: Decimal | None
    sample: int
    why: str
    source: str = SOURCE

    @property
    def id(self) -> str:
        """The id of the measurement, unique to what it says."""
        said = f"{self.objective}\n{self.period_on}\n{self.value}"
        return f"measurement-{sha256(said.encode()).hexdigest()[:32]}"


def due_measurements(
    cur: PgCursor,
    journals: Sequence[int],
    rows: SteeringRows,
    time_zone: str,
    today: date,
    from_on: date | None = None,
) -> list[DueMeasurement]:
    """The periods to be measured, over before `today`, by objective and period.

    They begin with the period in which the objective was first defined, or with that of `from_on`. The figures of all
    objectives of one figure and period are read together.
    """
    first_defined = {row.objective: day_at(row.occurred_at, time_zone) for row in reversed(rows.of(Objective))}
    measured = {(row.objective, row.period_on) for row in rows.of(Measurement)}
    newest = {row.objective: row for row in rows.of(Objective)}
    bound = [row for row in newest.values() if row.figure is not None and not row.retired]
    due: list[DueMeasurement] = []
    by_figure = sorted(bound, key=lambda row: (row.figure or "", row.period))
    for (name, period), found in groupby(by_figure, key=lambda row: (row.figure or "", row.period)):
        wanted = {
            (row.objective, days)
            for row in found
            for days in periods_between(from_on or first_defined[row.objective], today, period)
            if (row.objective, days.from_on) not in measured
        }
        values = read_figure(cur, journals, name, sorted({days for _, days in wanted}), today)
        due += _due(wanted, name, values)
    return sorted(due, key=lambda one: (one.objective, one.period_on))


def _due(wanted: Iterable[tuple[str, Days]], name: str, values: Iterable[FigureValue]) -> Iterable[DueMeasurement]:
    by_days = {value.days: value for value in values}
    for objective, days in wanted:
        found = by_days[days]
        yield DueMeasurement(
            objective=objective,
            figure=name,
            period_on=found.days.from_on,
            until_on=found.days.until_on,
            value=found.value,
            sample=found.sample,
            why=found.why,
        )
