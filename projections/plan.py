"""Plan and realise: budgets beside what came of them to date, and how far plans from above and from below are apart.

- Actuals are of the persons behind members: the trade and the answers of a merged member are its survivor's. A segment
  is the members that have its attribute now.
- Revenue is net of returns; profit is that less the cost of goods and of serving; activity is purchases; satisfaction
  is the mean of ACSI indices, from 0 to 100, over answers.
- To date is up to and with the as-of day. Planned to date is pro rata by day: value × days elapsed / days, rounded to
  whole units, half away from zero. Satisfaction is a level and not spread: what is planned holds on every day.
- Profit is unknown, not zero, where the cost of any line is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.calendar_periods import start_of
from projections.persons import MERGED_MEMBERS

PRO_RATA_RULE: Final = "value × days elapsed / days of the budget, satisfaction as it is"
DIFFERENCES_SHOWN: Final = 5
_HUNDREDTH = Decimal("0.01")

Basis = Literal["budget", "equal_share"]


class MemberDifference(Struct, frozen=True, kw_only=True):
    """What one member adds to a difference: its own budget to date, or its equal share of that of its group."""

    member: str
    basis: Basis
    planned: Decimal
    actual: Decimal
    difference: Decimal


class BudgetReport(Struct, frozen=True, kw_only=True):
    """A budget of the programme or of a segment beside what came of it; or all budgets of members for the same days.

    Of members' budgets `who` is empty, `value` their sum (of satisfaction their mean) and `version` None. `difference`
    is actual less planned to date. `actual` is None before the first day, without answers, and where the profit of
    `unknown_members` is unknown; `actual_known` is that of the others then. `members` are those behind the largest
    differences.
    """

    direction: str
    measure: str
    level: str
    who: str
    from_on: date
    until_on: date
    version: int | None
    budgets: int
    value: Decimal
    days: int
    days_elapsed: int
    planned_to_date: Decimal
    actual: Decimal | None
    actual_known: Decimal | None
    unknown_members: int
    difference: Decimal | None
    members: list[MemberDifference]


class Gap(Struct, frozen=True, kw_only=True):
    """A budget from above beside what was planned from below for the same days: `gap` is the first less the second.

    `below` says what was added up: `stated`, the budget from below of the same level; `segments by ATTRIBUTE` or
    `members`, the sum of those of the lower level, of satisfaction their mean, that of segments weighted by their open
    members. `parts` is how many.
    """

    measure: str
    level: str
    who: str
    from_on: date
    until_on: date
    top_down: Decimal
    below: str
    parts: int
    bottom_up: Decimal
    gap: Decimal


class Plan(Struct, frozen=True, kw_only=True):
    """The plan of a programme as of the end of a day."""

    as_of: date
    pro_rata_rule: str
    budgets: list[BudgetReport]
    gaps: list[Gap]


class _Row(NamedTuple):
    """A row of `_BUDGETS`: a budget, or (`member` is set) one of the members behind its difference."""

    direction: str
    measure: str
    level: str
    who: str
    from_on: date
    until_on: date
    version: int | None
    budgets: int
    value: Decimal
    days_elapsed: int
    planned: Decimal
    open_members: int | None
    amount: Decimal | None
    weight: int | None
    unknown_members: int
    member: str | None


def read_plan(
    cur: PgCursor, journals: Sequence[int], time_zone: str, as_of: date, differences: int = DIFFERENCES_SHOWN
) -> Plan:
    """Budgets as they were set by the end of a day, with at most so many members behind each difference: two queries.

    `journals` are all of the programme, its first first.
    """
    parameters = {
        "first": journals[0],
        "journals": list(journals),
        "before": start_of(as_of + timedelta(days=1), time_zone),
        "to_on": as_of + timedelta(days=1),
        "differences": differences,
    }
    cur.execute(_BUDGETS, parameters)
    rows = [_Row(*row[:-1]) for row in cur.fetchall()]
    reports = [_report(list(found)) for _, found in groupby(rows, key=lambda row: row[:6])]
    cur.execute(_MEMBERS_BY_SEGMENT, parameters)
    gaps = list(_gaps([row for row in rows if row.member is None], cur.fetchall()))
    return Plan(as_of=as_of, pro_rata_rule=PRO_RATA_RULE, budgets=reports, gaps=gaps)


def _report(rows: list[_Row]) -> BudgetReport:
    budget, *behind = sorted(rows, key=lambda row: row.member is not None)
    known = _actual(budget)
    actual = None if budget.unknown_members else known
    return BudgetReport(
        direction=budget.direction,
        measure=budget.measure,
        level=budget.level,
        who=budget.who,
        from_on=budget.from_on,
        until_on=budget.until_on,
        version=budget.version,
        budgets=budget.budgets,
        value=budget.value,
        days=(budget.until_on - budget.from_on).days,
        days_elapsed=budget.days_elapsed,
        planned_to_date=budget.planned,
        actual=actual,
        actual_known=known,
        unknown_members=budget.unknown_members,
        difference=None if actual is None else actual - budget.planned,
        members=[_difference(row) for row in behind],
    )


def _actual(row: _Row) -> Decimal | None:
    if not row.days_elapsed:
        return None
    if row.measure != "satisfaction":
        return row.amount or Decimal(0)
    return (row.amount / row.weight).quantize(_HUNDREDTH) if row.amount is not None and row.weight else None


def _difference(row: _Row) -> MemberDifference:
    actual, planned = _actual(row) or Decimal(0), row.planned.quantize(_HUNDREDTH)
    return MemberDifference(
        member=row.member or "",
        basis="budget" if row.level == "member" else "equal_share",
        planned=planned,
        actual=actual,
        difference=actual - planned,
    )


# --- from above and from below --------------------------------------------------------------------------------------


def _gaps(budgets: Sequence[_Row], members_by_segment: Iterable[tuple[Any, ...]]) -> Iterable[Gap]:
    """`members_by_segment`: measure, segment, from_on, until_on, number and sum of the budgets of its members."""
    below = [row for row in budgets if row.direction == "bottom_up"]
    of_segments = {tuple(key): (parts, value) for *key, parts, value in members_by_segment}
    for above in budgets:
        if above.direction != "top_down" or above.level == "member":
            continue
        same_days = [row for row in below if (row.measure, *row[4:6]) == (above.measure, *above[4:6])]
        for row in same_days:
            if (row.level, row.who) == (above.level, above.who):
                yield _gap(above, "stated", 1, row.value)
        if above.level == "programme":
            yield from _gaps_to_segments(above, [row for row in same_days if row.level == "segment"])
            for row in same_days:
                if row.level == "member":
                    yield _gap(above, "members", row.budgets, row.value)
        elif found := of_segments.get((above.measure, above.who, *above[4:6])):
            yield _gap(above, "members", *found)


def _gaps_to_segments(above: _Row, segments: Sequence[_Row]) -> Iterable[Gap]:
    """One for each attribute: the segments of one attribute have no member in common, those of several may have."""
    for attribute, found in groupby(segments, key=lambda row: row.who.partition("=")[0]):
        parts = list(found)
        value = sum((row.value for row in parts), Decimal(0))
        if above.measure == "satisfaction":
            members = sum(row.open_members or 0 for row in parts)
            if not members:
                continue
            value = sum((row.value * (row.open_members or 0) for row in parts), Decimal(0)) / members
        yield _gap(above, f"segments by {attribute}", len(parts), value)


def _gap(above: _Row, below: str, parts: int, bottom_up: Decimal) -> Gap:
    if above.measure == "satisfaction":
        bottom_up = bottom_up.quantize(_HUNDREDTH)
    return Gap(
        measure=above.measure,
        level=above.level,
        who=above.who,
        from_on=above.from_on,
        until_on=above.until_on,
        top_down=above.value,
        below=below,
        parts=parts,
        bottom_up=bottom_up,
        gap=above.value - bottom_up,
    )


# --- statements -----------------------------------------------------------------------------------------------------

# Of what common table expressions hold the server knows no statistics: it takes them for a row or two and joins them
# row by row. Here all of them are whole sets. Sent in one round trip with the query, for which alone it then holds.
_JOIN_WHOLE_SETS: Final = "SET LOCAL enable_nestloop = off; SET LOCAL jit = off; SET LOCAL work_mem = '64MB';"

_IN_FORCE: Final = """
    in_force AS (
        SELECT newest.*, row_number() OVER () AS number, dense_rank() OVER (
                ORDER BY direction, measure, level, CASE level WHEN 'member' THEN '' ELSE who END, from_on, until_on
            ) AS series, from_on + days_elapsed AS to_on,
            CASE measure WHEN 'satisfaction' THEN value
                ELSE round(value * days_elapsed / (until_on - from_on)) END AS planned
        FROM (
            SELECT DISTINCT ON (direction, measure, level, who, from_on, until_on)
                direction, measure, level, who, from_on, until_on, version, value,
                greatest(0, least(until_on, %(to_on)s) - from_on) AS days_elapsed,
                split_part(who, '=', 1) COLLATE "C" AS attribute,
                substr(who, strpos(who, '=') + 1) COLLATE "C" AS attribute_value
            FROM budgets WHERE journal = %(first)s AND occurred_at < %(before)s
            ORDER BY direction, measure, level, who, from_on, until_on, version DESC
        ) newest
    )
"""

# Values are read once for all budgets of the same days. `unknown` marks a profit without all of its costs.
_BUDGETS: Final = f"""{_JOIN_WHOLE_SETS}
WITH RECURSIVE {MERGED_MEMBERS}, {_IN_FORCE}, wanted AS (
    SELECT DISTINCT measure, from_on, to_on FROM in_force WHERE days_elapsed > 0
), ranges AS (
    SELECT from_on, to_on, bool_or(measure = 'satisfaction') AS has_answers,
        bool_or(measure <> 'satisfaction') AS has_trade
    FROM wanted GROUP BY from_on, to_on
), traded AS MATERIALIZED (
    SELECT from_on, to_on, coalesce(person, member) AS member,
        sum(revenue_minor - returned_minor) AS revenue,
        sum(revenue_minor - returned_minor - goods_cost_minor - attributed_cost_minor) AS profit,
        sum(uncosted_lines) > 0 AS unknown, sum(purchases) AS activity
    FROM ranges JOIN trade_days ON has_trade AND journal = ANY (%(journals)s) AND day >= from_on AND day < to_on
    LEFT JOIN merged USING (journal, member)
    GROUP BY 1, 2, 3
), answered AS MATERIALIZED (
    SELECT from_on, to_on, coalesce(person, member) AS member, sum(score) AS amount, count(*) AS weight
    FROM ranges JOIN survey_answers ON has_answers AND journal = ANY (%(journals)s) AND day >= from_on AND day < to_on
        AND instrument = 'ACSI' AND score IS NOT NULL
    LEFT JOIN merged USING (journal, member)
    GROUP BY 1, 2, 3
), amounts AS MATERIALIZED (
    SELECT from_on, to_on, measure, member, amount, 1 AS weight, unknown AND measure = 'profit' AS unknown
    FROM traded CROSS JOIN LATERAL (
        VALUES ('revenue', revenue), ('profit', profit), ('activity', activity)
    ) AS each (measure, amount) JOIN wanted USING (measure, from_on, to_on)
    UNION ALL
    SELECT from_on, to_on, 'satisfaction', member, amount, weight, false FROM answered
), found AS MATERIALIZED (
    SELECT number, member, amount, weight, unknown FROM in_force JOIN amounts USING (measure, from_on, to_on)
    WHERE level = 'programme'
    UNION ALL
    SELECT number, amounts.member, amount, weight, unknown FROM in_force JOIN amounts USING (measure, from_on, to_on)
    JOIN member_attributes held ON held.journal = ANY (%(journals)s) AND held.attribute = in_force.attribute
        AND held.value = attribute_value AND held.member = amounts.member
    WHERE level = 'segment'
    UNION ALL
    SELECT number, member, amount, weight, unknown FROM in_force JOIN amounts USING (measure, from_on, to_on)
    WHERE level = 'member' AND member = who
), sums AS (
    SELECT number, sum(amount) FILTER (WHERE NOT unknown) AS amount, sum(weight) AS weight,
        count(*) FILTER (WHERE unknown) AS unknown_members
    FROM found GROUP BY number
), sizes AS (
    SELECT number, CASE level WHEN 'programme' THEN (
        SELECT count(*) FROM member_profiles WHERE journal = ANY (%(journals)s) AND status = 'open'
    ) ELSE (
        SELECT count(*) FROM member_attributes held JOIN member_profiles USING (journal, member)
        WHERE held.journal = ANY (%(journals)s) AND held.attribute = in_force.attribute
            AND held.value = attribute_value AND status = 'open'
    ) END AS open_members
    FROM in_force WHERE level <> 'member'
), behind AS (
    SELECT number, series, member, amount, weight,
        CASE measure WHEN 'satisfaction' THEN planned ELSE planned / nullif(open_members, 0) END AS share,
        CASE measure WHEN 'satisfaction' THEN amount / weight ELSE amount END AS actual
    FROM found JOIN in_force USING (number) JOIN sizes USING (number) WHERE NOT unknown
    UNION ALL
    SELECT number, series, who, coalesce(amount, 0), weight, planned,
        CASE measure WHEN 'satisfaction' THEN amount / weight ELSE coalesce(amount, 0) END
    FROM in_force LEFT JOIN found USING (number)
    WHERE level = 'member' AND days_elapsed > 0 AND unknown IS NOT TRUE
), ranked AS (
    SELECT number, member, amount, weight, share,
        row_number() OVER (PARTITION BY series ORDER BY abs(actual - share) DESC, member) AS place
    FROM behind WHERE actual <> share
), largest AS (
    SELECT * FROM ranked JOIN in_force USING (number) WHERE place <= %(differences)s
)
SELECT direction, measure, level, who, from_on, until_on, version, 1 AS budgets, value, days_elapsed, planned,
    open_members, amount, weight, coalesce(unknown_members, 0), NULL AS member, 0 AS place
FROM in_force JOIN sizes USING (number) LEFT JOIN sums USING (number)
UNION ALL
SELECT direction, measure, level, '', from_on, until_on, NULL, count(*),
    CASE measure WHEN 'satisfaction' THEN avg(value) ELSE sum(value) END, days_elapsed,
    CASE measure WHEN 'satisfaction' THEN avg(planned) ELSE sum(planned) END,
    NULL, sum(amount), sum(weight), coalesce(sum(unknown_members), 0)::bigint, NULL, 0
FROM in_force LEFT JOIN sums USING (number) WHERE level = 'member'
GROUP BY direction, measure, level, from_on, until_on, days_elapsed
UNION ALL
SELECT direction, measure, level, CASE level WHEN 'member' THEN '' ELSE who END, from_on, until_on, version, 1, value,
    days_elapsed, share, NULL, amount, weight, 0, member, place
FROM largest
ORDER BY from_on, until_on, measure, direction DESC, level, who, place
"""

_MEMBERS_BY_SEGMENT: Final = f"""{_JOIN_WHOLE_SETS}
WITH {_IN_FORCE}
SELECT measure, segment.who, from_on, until_on, count(*),
    CASE measure WHEN 'satisfaction' THEN avg(own.value) ELSE sum(own.value) END
FROM in_force segment JOIN in_force own USING (measure, from_on, until_on)
JOIN member_attributes held ON held.journal = ANY (%(journals)s) AND held.attribute = segment.attribute
    AND held.value = segment.attribute_value AND held.member = own.who
WHERE segment.level = 'segment' AND segment.direction = 'top_down'
    AND own.level = 'member' AND own.direction = 'bottom_up'
GROUP BY measure, segment.who, from_on, until_on
"""
