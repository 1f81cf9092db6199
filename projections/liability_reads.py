"""The roll-forward of the liability: what was there, what came and went, and what is left, by vintage or by month.

Months are first days, in the programme's time zone, and a range of them ends before `until`. What is shown is by
business time, of everything recorded so far: an event that is recorded late changes the month in which it occurred.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.liability_flows import FLOWS
from projections.trading import first_of_month, month_of

UNKNOWN_VINTAGE = date.min
"""Stands for the vintage of points whose lot was opened in a journal that is not folded in so far."""


class Line(Struct, kw_only=True):
    """A line of the roll-forward: a vintage over all its months, or a month over all vintages.

    `flows` are signed: closing = opening + their sum. The rest is of the last instant of the range (for a month: of the
    month): closing = pending + available + overdue + held. `overdue` has expired, and no expiry is recorded yet.
    """

    month: date
    opening: int = 0
    flows: dict[str, int]
    closing: int = 0
    pending: int = 0
    available: int = 0
    overdue: int = 0
    held: int = 0


class Arrears(Struct, frozen=True, kw_only=True):
    """Points owed by members: closing = opening + owed - repaid + merged - written_off."""

    opening: int
    owed: int
    repaid: int
    merged: int
    written_off: int
    closing: int


class RollForward(Struct, frozen=True, kw_only=True):
    """Lines and their total. `from_month` None: from the beginning."""

    by: Literal["vintage", "month"]
    from_month: date | None
    until_month: date
    lines: list[Line]
    total: Line
    arrears: Arrears


class Agreement(Struct, frozen=True, kw_only=True):
    """The liability beside the balances, whole; compared only where both have folded in the same events."""

    comparable: bool
    points: int
    balances_points: int
    arrears: int
    balances_arrears: int

    @property
    def agrees(self) -> bool | None:
        """Whether there is no difference; None where one has folded in what the other has not yet."""
        if not self.comparable:
            return None
        return (self.points, self.arrears) == (self.balances_points, self.balances_arrears)


# --- the roll-forward -----------------------------------------------------------------------------------------------

# Lots of another journal get the month that journal knows; the lookup is one index probe a lot.
RESOLVED = """
resolved AS (
    SELECT {columns}, coalesce(CASE WHEN cells.lot = '' THEN cells.vintage ELSE (
        SELECT lots.vintage FROM liability_lots lots
        WHERE lots.journal = ANY (%(journals)s) AND lots.lot = cells.lot) END, %(unknown)s::date) AS vintage
    FROM {table} cells WHERE cells.journal = ANY (%(journals)s)
)"""
_SELECT_FLOWS = f"""
WITH {RESOLVED.format(columns="occurred_in, flow, points", table="liability_cells")}
SELECT vintage, occurred_in, flow, sum(points)::bigint FROM resolved GROUP BY 1, 2, 3
"""
_SELECT_OPEN = f"""
WITH {RESOLVED.format(columns="occurred_in, available_in, expires_in, points", table="liability_layers")}
SELECT ends.month, vintage,
    coalesce(sum(points) FILTER (WHERE available_in >= ends.month), 0)::bigint,
    coalesce(sum(points) FILTER (WHERE available_in < ends.month AND expires_in >= ends.month), 0)::bigint,
    coalesce(sum(points) FILTER (WHERE available_in < ends.month AND expires_in < ends.month), 0)::bigint
FROM unnest(%(ends)s::date[]) ends (month) JOIN resolved ON occurred_in < ends.month GROUP BY 1, 2
"""


def read_roll_forward(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    from_month: date | None = None,
    until_month: date,
    by: Literal["vintage", "month"] = "vintage",
    only: date | None = None,
) -> RollForward:
    """The roll-forward of a programme, given its journals, from one month until before another; of one vintage alone
    where `only` says which.

    Raises ValueError unless both are first days of months and the range has one.
    """
    check_range(from_month, until_month)
    begin = from_month or date.min
    names: dict[str, Any] = {"journals": list(journals), "unknown": UNKNOWN_VINTAGE}
    found = [row for row in read_flows(cur, journals) if only in (None, row[0])]
    lines: dict[date, Line] = {}
    total = _line(begin)
    if by == "month":
        opening = sum(points for _, occurred_in, _, points in found if occurred_in < begin)
        for month in sorted({month for _, month, _, _ in found if begin <= month < until_month}):
            lines[month] = _line(month)
        for _, month, flow, points in found:
            if begin <= month < until_month:
                lines[month].flows[flow] += points
        total.opening = opening
        for line in lines.values():
            line.opening = opening
            opening = line.closing = opening + sum(line.flows.values())
        ends = {month_after(month): line for month, line in lines.items()}
    else:
        for vintage, month, flow, points in found:
            if month < until_month:
                line = lines.setdefault(vintage, _line(vintage))
                if month < begin:
                    line.opening += points
                else:
                    line.flows[flow] += points
        for line in lines.values():
            line.closing = line.opening + sum(line.flows.values())
        total.opening = sum(line.opening for line in lines.values())
        ends = {}
    _split(cur, names, lines, ends, total, until_month, only)
    return RollForward(
        by=by,
        from_month=from_month,
        until_month=until_month,
        lines=[lines[month] for month in sorted(lines)],
        total=_summed(total, list(lines.values())),
        arrears=_arrears(cur, journals, begin, until_month),
    )


def read_flows(cur: PgCursor, journals: Sequence[int]) -> list[tuple[date, date, str, int]]:
    """Vintage, month, flow and points (signed) of all cells."""
    cur.execute(_SELECT_FLOWS, {"journals": list(journals), "unknown": UNKNOWN_VINTAGE})
    return cur.fetchall()


def _line(month: date) -> Line:
    return Line(month=month, flows=dict.fromkeys(FLOWS, 0))


def _split(
    cur: PgCursor,
    names: dict[str, Any],
    lines: dict[date, Line],
    ends: dict[date, Line],
    total: Line,
    until_month: date,
    only: date | None,
) -> None:
    """Add what of each closing is pending, available and overdue; by vintage where `ends` is empty."""
    cur.execute(_SELECT_OPEN, {**names, "ends": sorted({*ends, until_month})})
    for end, vintage, *points in cur.fetchall():
        if only not in (None, vintage):
            continue
        into = [ends[end]] if end in ends else []
        if end == until_month:
            into.append(total)
            if not ends and vintage in lines:
                into.append(lines[vintage])
        for line in into:
            line.pending += points[0]
            line.available += points[1]
            line.overdue += points[2]
    for line in lines.values():
        line.held = line.closing - line.pending - line.available - line.overdue


def _summed(total: Line, lines: list[Line]) -> Line:
    for line in lines:
        for flow, points in line.flows.items():
            total.flows[flow] += points
    total.closing = total.opening + sum(total.flows.values())
    total.held = total.closing - total.pending - total.available - total.overdue
    return total


def _arrears(cur: PgCursor, journals: Sequence[int], begin: date, until_month: date) -> Arrears:
    cur.execute(
        "SELECT coalesce(sum(owed - repaid + merged - written_off) FILTER (WHERE occurred_in < %(begin)s), 0)::bigint,"
        " coalesce(sum(owed) FILTER (WHERE occurred_in >= %(begin)s), 0)::bigint,"
        " coalesce(sum(repaid) FILTER (WHERE occurred_in >= %(begin)s), 0)::bigint,"
        " coalesce(sum(merged) FILTER (WHERE occurred_in >= %(begin)s), 0)::bigint,"
        " coalesce(sum(written_off) FILTER (WHERE occurred_in >= %(begin)s), 0)::bigint"
        " FROM liability_activity WHERE journal = ANY (%(journals)s) AND occurred_in < %(until)s",
        {"journals": list(journals), "begin": begin, "until": until_month},
    )
    ((opening, owed, repaid, merged, written_off),) = cur.fetchall()
    return Arrears(
        opening=opening,
        owed=owed,
        repaid=repaid,
        merged=merged,
        written_off=written_off,
        closing=opening + owed - repaid + merged - written_off,
    )


def compare_with_balances(cur: PgCursor, journals: Sequence[int]) -> Agreement:
    """All cells together beside all balances together. Call it in a transaction that sees one state."""
    cur.execute(
        "SELECT (SELECT count(DISTINCT coalesce(p.position, 0)) FROM unnest(%(journals)s) wanted (journal)"
        " CROSS JOIN (VALUES ('balances'), ('liability')) names (projection)"
        " LEFT JOIN projections p ON p.projection = names.projection AND p.journal = wanted.journal"
        " GROUP BY wanted.journal ORDER BY 1 DESC LIMIT 1),"
        " (SELECT coalesce(sum(points), 0)::bigint FROM liability_cells WHERE journal = ANY (%(journals)s)),"
        " (SELECT coalesce(sum(open + held), 0)::bigint FROM balances WHERE journal = ANY (%(journals)s)),"
        " (SELECT coalesce(sum(owed - repaid + merged - written_off), 0)::bigint FROM liability_activity"
        " WHERE journal = ANY (%(journals)s)),"
        " (SELECT coalesce(sum(arrears), 0)::bigint FROM balances WHERE journal = ANY (%(journals)s))",
        {"journals": list(journals)},
    )
    ((places, points, balances_points, arrears, balances_arrears),) = cur.fetchall()
    return Agreement(
        comparable=places == 1,
        points=points,
        balances_points=balances_points,
        arrears=arrears,
        balances_arrears=balances_arrears,
    )


def month_after(month: date) -> date:
    """The first day of the month after that of a day."""
    return first_of_month(month_of(month.toordinal()) + 1)


def month_before(month: date) -> date:
    """The first day of the month before that of a day."""
    return first_of_month(month_of(month.toordinal()) - 1)


def check_range(from_month: date | None, until_month: date) -> None:
    """Raise ValueError unless both are first days of months, and the range has one."""
    for name, month in (("from", from_month), ("until", until_month)):
        if month is not None and month.day != 1:
            raise ValueError(f"{name}: must be the first day of a month, is {month}")
    if from_month is not None and from_month >= until_month:
        last = month_before(until_month)
        raise ValueError(f"the range has no month: it begins with {from_month:%Y-%m} and ends with {last:%Y-%m}")
