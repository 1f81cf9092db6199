"""Objectives and what is open because one was missed, as the command line, HTTP and the console show them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.calendar_periods import day_at, start_of
from projections.objectives import (
    ObjectiveReport,
    OpenStep,
    objectives_as_of,
    open_steps,
    read_objectives,
    report_objectives,
)
from projections.steering_rows import CorrectiveAction, Nonconformity


class Objectives(Struct, frozen=True, kw_only=True):
    """Objectives with their newest periods, the next step of every open nonconformity and action, and all of both."""

    programme: str
    as_of: date
    objectives: list[ObjectiveReport]
    open_steps: list[OpenStep]
    nonconformities: list[Nonconformity]
    corrective_actions: list[CorrectiveAction]


def read_objectives_figures(cursor: PgCursor, info: ProgrammeInfo, as_of: date | None = None) -> Objectives:
    """Objectives as they stand now, or stood at the end of a day. Raises ValueError for a day after today."""
    today = day_at(datetime.now(UTC), info.programme.time_zone)
    if as_of is None:
        rows = read_objectives(cursor, info.journals[0])
    elif as_of > today:
        raise ValueError(f"as_of: must not be after today, {today}, is {as_of}")
    else:
        before = start_of(as_of + timedelta(days=1), info.programme.time_zone)
        rows = objectives_as_of(cursor, info.journals[0], before)
    return Objectives(
        programme=info.programme.programme,
        as_of=as_of or today,
        objectives=report_objectives(rows),
        open_steps=open_steps(rows, as_of or today),
        nonconformities=rows.of(Nonconformity),
        corrective_actions=rows.of(CorrectiveAction),
    )
