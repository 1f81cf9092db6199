"""How far the figures of a programme go: where the periods that pages show end by themselves.

A programme of which nothing was recorded for long is shown as it was last, and not as empty as it is today.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.liability_reads import month_after
from projections.trading import business_day
from service.web.visits import Visit


async def end_of_figures(visit: Visit, read_last: Callable[[PgCursor, list[int]], date | None]) -> date:
    """The day after the last one with figures, as `read_last` finds it, and at most tomorrow."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> date | None:
        return read_last(cursor, info.journals)

    tomorrow = today_of(visit) + timedelta(days=1)
    last = await visit.read(read)
    return tomorrow if last is None else min(tomorrow, last)


def today_of(visit: Visit) -> date:
    """The day in progress in the programme's time zone."""
    return business_day(datetime.now(UTC), visit.info.programme.time_zone)


def end_of_trade(cursor: PgCursor, journals: list[int]) -> date | None:
    """The end of the newest month with a purchase or a return."""
    cursor.execute("SELECT max(month) FROM cohort_months WHERE journal = ANY (%s)", (journals,))
    ((month,),) = cursor.fetchall()
    return None if month is None else month_after(month)


def end_of_answers(cursor: PgCursor, journals: list[int]) -> date | None:
    """The day after the newest with an answer, a complaint, a purchase or a follow-up due."""
    cursor.execute(
        "SELECT greatest((SELECT max(day) FROM satisfaction_days WHERE journal = ANY (%(journals)s)"
        " AND per = 'programme' AND value = ''), (SELECT max(day) FROM service_days WHERE journal = ANY (%(journals)s)"
        " AND per = 'programme' AND value = ''))",
        {"journals": journals},
    )
    ((day,),) = cursor.fetchall()
    return None if day is None else day + timedelta(days=1)
