"""Figures of this ledger over closed periods, for the objectives that are bound to one.

Satisfaction and service are as in `projections.timelines`. Those of trade are of persons, a merged member's trade being
its survivor's:

- revenue is net of returns; profit is that less the cost of goods and of serving, unknown where the cost of a line is;
- active are those that purchased within the programme's days of inactivity up to the last day of the period, inactive
  all others that had ever purchased by then;
- the repurchase rate is the share of those that purchased in the period that did so on two days of it or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.calendar_periods import Days
from projections.lifetime_reads import INACTIVE_AFTER_DAYS_DEFAULT
from projections.persons import MERGED_MEMBERS
from projections.satisfaction_figures import figure
from projections.timelines import read_tallies

_DIGITS: Final = Decimal("0.000001")
_SECONDS_AN_HOUR: Final = 3_600

SATISFACTION: Final = {
    "nps": "nps",
    "csat": "csat",
    "ces": "ces",
    "acsi": "acsi",
    "follow_up_rate_percent": "follow_up_rate",
    "follow_up_late_percent": "late_rate",
    "complaints_per_100000": "complaint_rate",
    "complaint_resolution_hours": "resolution_time",
}
"""Figures that are read from a timeline, by their names there."""


class FigureValue(Struct, frozen=True, kw_only=True):
    """A figure over a period, rounded to six decimals; None where there is nothing to tell it from, and `why` not."""

    days: Days
    value: Decimal | None
    sample: int
    why: str = ""


def read_figure(
    cur: PgCursor, journals: Sequence[int], name: str, periods: Sequence[Days], today: date
) -> list[FigureValue]:
    """A figure over each of some periods of one kind, ascending, all over by `today`: a fixed number of queries.

    `journals` are all of the programme, its first first. Raises KeyError for a name that is none of a figure.
    """
    if not periods:
        return []
    if name in SATISFACTION:
        return _of_satisfaction(cur, journals, SATISFACTION[name], periods, today)
    return _of_trade(cur, journals, name, periods)


# --- satisfaction and service ---------------------------------------------------------------------------------------


def _of_satisfaction(
    cur: PgCursor, journals: Sequence[int], name: str, periods: Sequence[Days], today: date
) -> list[FigureValue]:
    by = cast(Literal["day", "week", "month"], {1: "day", 7: "week"}.get(periods[0].count, "month"))
    tallies = read_tallies(cur, journals, by=by, from_on=periods[0].from_on, until_on=periods[-1].until_on, today=today)
    found = []
    for days in periods:
        within = [tally for (start, _), tally in tallies.items() if days.from_on <= start < days.until_on]
        told = figure(name, reduce(_added_up, within))
        if told.value is None:
            found.append(FigureValue(days=days, value=None, sample=0, why="nothing was recorded to tell it from"))
        else:
            value = told.value / _SECONDS_AN_HOUR if name == "resolution_time" else told.value
            found.append(FigureValue(days=days, value=_rounded(Decimal(repr(value))), sample=told.n))
    return found


def _added_up(one: Any, other: Any) -> Any:
    """The sum of two tallies, field by field; of what is not kept in one, none."""
    if isinstance(one, Struct):
        return type(one)(
            **{name: _added_up(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__}
        )
    if isinstance(one, dict):
        return {name: _added_up(value, other[name]) for name, value in one.items()}
    return None if one is None or other is None else one + other


def _rounded(value: Decimal) -> Decimal:
    rounded = value.quantize(_DIGITS).normalize()
    return rounded.quantize(Decimal(1)) if rounded == rounded.to_integral() else rounded


# --- trade ----------------------------------------------------------------------------------------------------------


def _of_trade(cur: PgCursor, journals: Sequence[int], name: str, periods: Sequence[Days]) -> list[FigureValue]:
    select, value_of = _TRADE[name]
    cur.execute(
        f"WITH RECURSIVE {MERGED_MEMBERS} {select}",
        {
            "journals": list(journals),
            "first": journals[0],
            "from_on": [days.from_on for days in periods],
            "until_on": [days.until_on for days in periods],
            "inactive_after_days": INACTIVE_AFTER_DAYS_DEFAULT,
        },
    )
    return [
        FigureValue(days=days, value=None if value is None else _rounded(value), sample=sample, why=why)
        for days, row in zip(periods, cur.fetchall(), strict=True)
        for value, sample, why in (value_of(*row),)
    ]


_Value: TypeAlias = tuple[Decimal | None, int, str]


def _revenue(purchases: int, revenue: int, profit: int, uncosted: int) -> _Value:
    return (Decimal(revenue), purchases, "") if purchases or revenue else (None, 0, "there was no trade")


def _profit(purchases: int, revenue: int, profit: int, uncosted: int) -> _Value:
    if uncosted:
        return None, purchases, f"the cost of {uncosted:,} lines is unknown, and so is the profit"
    return (Decimal(profit), purchases, "") if purchases or profit else (None, 0, "there was no trade")


def _active(customers: int, active: int) -> _Value:
    return (Decimal(active), customers, "") if customers else (None, 0, "nobody had purchased yet")


def _inactive_percent(customers: int, active: int) -> _Value:
    if not customers:
        return None, 0, "nobody had purchased yet"
    return Decimal(100 * (customers - active)) / customers, customers, ""


def _repurchase_percent(buyers: int, again: int) -> _Value:
    return (Decimal(100 * again) / buyers, buyers, "") if buyers else (None, 0, "nobody purchased")


_PERIODS: Final = (
    "unnest(%(from_on)s::date[], %(until_on)s::date[]) WITH ORDINALITY AS period (from_on, until_on, number)"
)
_SUMS: Final = f"""
SELECT coalesce(sum(purchases), 0)::bigint, coalesce(sum(revenue_minor - returned_minor), 0)::bigint,
    coalesce(sum(revenue_minor - returned_minor - goods_cost_minor - attributed_cost_minor), 0)::bigint,
    coalesce(sum(uncosted_lines), 0)::bigint
FROM {_PERIODS}
LEFT JOIN trade_days ON journal = ANY (%(journals)s) AND day >= from_on AND day < until_on
GROUP BY number ORDER BY number
"""
_BUYERS: Final = f"""
SELECT count(person), count(person) FILTER (WHERE {{condition}})
FROM {_PERIODS} LEFT JOIN LATERAL (
    SELECT coalesce(person, member) AS person, count(DISTINCT day) AS days, max(day) AS last_day
    FROM trade_days LEFT JOIN merged USING (journal, member)
    WHERE journal = ANY (%(journals)s) AND day >= {{since}} AND day < until_on AND purchases > 0
    GROUP BY 1
) buyers ON true
GROUP BY number ORDER BY number
"""
_CUSTOMERS: Final = _BUYERS.format(
    since="'-infinity'",
    condition="until_on - 1 - last_day <= coalesce("
    "(SELECT inactive_after_days FROM lifetime_analysis WHERE journal = %(first)s), %(inactive_after_days)s)",
)
_AGAIN: Final = _BUYERS.format(since="from_on", condition="days > 1")

_TRADE: Final[dict[str, tuple[str, Callable[..., _Value]]]] = {
    "revenue_minor": (_SUMS, _revenue),
    "profit_minor": (_SUMS, _profit),
    "active_members": (_CUSTOMERS, _active),
    "inactive_members_percent": (_CUSTOMERS, _inactive_percent),
    "repurchase_rate_percent": (_AGAIN, _repurchase_percent),
}
"""Figures that are read from trade: how, and what becomes of the row of a period."""

LEDGER_FIGURES: Final = frozenset(SATISFACTION) | frozenset(_TRADE)
"""All figures that an objective may be bound to."""
