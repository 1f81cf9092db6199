"""The customer pyramid: members ranked by what they brought in a period, in bands from the top, and who moved.

Source of the bands: Jay Curry, The Customer Marketing Method (2000): top 1 %, next 4 %, next 15 %, remaining 80 % of
the active customers; below them the inactive ones and the prospects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.persons import MERGED_MEMBERS

Measure: TypeAlias = Literal["revenue", "profit"]
Bands: TypeAlias = Sequence[tuple[str, str]]
"""Name and share of the active members in percent, as a decimal number, from the top; together 100."""

CURRY: Bands = (("top 1 %", "1"), ("next 4 %", "4"), ("next 15 %", "15"), ("remaining 80 %", "80"))
INACTIVE, PROSPECT, UNKNOWN, ABSENT = "inactive", "prospect", "unknown profit", "not yet"
"""Bands below those of the active members: purchased before the period; never purchased; active, but the cost of some
line in the period is not known (by profit only). Not yet: neither enrolled nor known by a purchase at its end.
"""


class Period(Struct, frozen=True):
    """Business days from `from_on` until before `until_on`; None: without bound."""

    from_on: date | None = None
    until_on: date | None = None


class PyramidBand(Struct, frozen=True, kw_only=True):
    """A band: its members, and what they brought in the period. Money is in minor units.

    Revenue is net of returns. Profit is that of the members whose profit in the period is known; those whose profit is
    not are `unknown_profit_members`. Shares are of all bands together, None where those come to nothing or less.
    `least_minor` and `most_minor` are the smallest and the largest value by which a member of it was ranked.
    """

    name: str
    members: int
    members_share: float | None
    revenue_minor: int
    revenue_share: float | None
    profit_minor: int
    profit_share: float | None
    unknown_profit_members: int
    least_minor: int | None
    most_minor: int | None


class Pyramid(Struct, frozen=True, kw_only=True):
    """The pyramid of a programme by revenue or profit in a period, from the top; every person is in one band."""

    by: Measure
    period: Period
    active: int
    bands: list[PyramidBand]


class Migration(Struct, frozen=True, kw_only=True):
    """Members of one band in the earlier period who are in another, or the same, in the later.

    `change_minor` is the change of their revenue or profit; by profit, that of members who have one in both periods.
    """

    from_band: str
    to_band: str
    members: int
    change_minor: int


def read_pyramid(
    cur: PgCursor, journals: Sequence[int], *, by: Measure, period: Period, bands: Bands | None = None
) -> Pyramid:
    """The pyramid of a period: one set-based query over the days of all members.

    A member is active if it purchased in the period. Active members are ranked by value, highest first, those of equal
    value by name; band k ends at rank floor(active * cumulative share / 100), and the last takes the rest. `bands`:
    those of the programme where None. Members that were merged are one person, as of now.

    Raises ValueError where bands or period make no sense.
    """
    bands = _checked(programme_bands(cur, journals[0]) if bands is None else bands)
    _check_period(period)
    cur.execute(
        f"WITH RECURSIVE {MERGED_MEMBERS}, {_banded('one')}"
        " SELECT band, count(*), sum(revenue)::bigint, coalesce(sum(profit), 0)::bigint,"
        " count(*) FILTER (WHERE profit IS NULL), min(value)::bigint, max(value)::bigint FROM one_banded GROUP BY band",
        {"journals": list(journals), **_values("one", by, period, bands)},
    )
    rows = {band: row for band, *row in cur.fetchall()}
    names = _names(bands, by)
    everyone, revenue, profit = (sum(row[column] for row in rows.values()) for column in range(3))
    shown = []
    for number, name in enumerate(names):
        row = rows.get(number, [0, 0, 0, 0, None, None])
        shown.append(
            PyramidBand(
                name=name,
                members=row[0],
                members_share=_share(row[0], everyone),
                revenue_minor=row[1],
                revenue_share=_share(row[1], revenue),
                profit_minor=row[2],
                profit_share=_share(row[2], profit),
                unknown_profit_members=row[3],
                least_minor=row[4],
                most_minor=row[5],
            )
        )
    active = sum(band.members for band in shown if band.name not in (INACTIVE, PROSPECT))
    return Pyramid(by=by, period=period, active=active, bands=shown)


def read_migration(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    by: Measure,
    earlier: Period,
    later: Period,
    bands: Bands | None = None,
) -> list[Migration]:
    """Who moved from which band of one period to which of another: the cells of the matrix that anybody is in.

    Raises ValueError where bands or periods make no sense.
    """
    bands = _checked(programme_bands(cur, journals[0]) if bands is None else bands)
    for period in (earlier, later):
        _check_period(period)
    cur.execute(
        f"WITH RECURSIVE {MERGED_MEMBERS}, {_banded('one')}, {_banded('two')}"
        " SELECT one_banded.band, two_banded.band, count(*),"
        " coalesce(sum(two_banded.measured - coalesce(one_banded.measured, 0)), 0)::bigint"
        " FROM one_banded FULL JOIN two_banded USING (person) GROUP BY 1, 2 ORDER BY 1 NULLS LAST, 2 NULLS LAST",
        {
            "journals": list(journals),
            **_values("one", by, earlier, bands),
            **_values("two", by, later, bands),
        },
    )
    names = _names(bands, by)
    return [
        Migration(
            from_band=ABSENT if one is None else names[one],
            to_band=ABSENT if two is None else names[two],
            members=members,
            change_minor=change,
        )
        for one, two, members, change in cur.fetchall()
    ]


def programme_bands(cur: PgCursor, journal: int) -> Bands:
    """The bands that the programme of this first journal has set, else Curry's."""
    cur.execute(
        "SELECT band->>'name', band->>'share_percent' FROM lifetime_analysis,"
        " jsonb_array_elements(bands) WITH ORDINALITY AS set_bands (band, number) WHERE journal = %s ORDER BY number",
        (journal,),
    )
    return [(name, share) for name, share in cur.fetchall()] or CURRY


def _names(bands: Bands, by: Measure) -> list[str]:
    return [*(name for name, _ in bands), *([UNKNOWN] if by == "profit" else []), INACTIVE, PROSPECT]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None


_PERCENT = re.compile(r"\d{1,3}(\.\d{1,9})?")


def _checked(bands: Bands) -> Bands:
    """Raise ValueError unless names are distinct and shares are decimal numbers above 0 that add up to 100."""
    names = [name for name, _ in bands]
    if len(set(names)) < len(names) or {"", INACTIVE, PROSPECT, UNKNOWN, ABSENT} & set(names):
        raise ValueError(f"bands: each needs a name of its own, got {', '.join(map(repr, names))}")
    for name, share in bands:
        if not _PERCENT.fullmatch(share) or not 0 < Decimal(share) <= 100:
            raise ValueError(f"bands: the share of {name!r} must be a number above 0 to 100, in percent, got {share!r}")
    total = sum((Decimal(share) for _, share in bands), Decimal(0))
    if total != 100:
        raise ValueError(f"bands: the shares must add up to 100, got {total}")
    return bands


def _check_period(period: Period) -> None:
    if period.from_on is not None and period.until_on is not None and period.from_on >= period.until_on:
        raise ValueError(f"period: it must begin before it ends, got {period.from_on} until {period.until_on}")


def _values(alias: str, by: Measure, period: Period, bands: Bands) -> dict[str, Any]:
    shares = [Decimal(share) for _, share in bands[:-1]]
    return {
        f"{alias}_from": period.from_on or date.min,
        f"{alias}_until": period.until_on or date.max,
        f"{alias}_cuts": [sum(shares[: number + 1], Decimal(0)) for number in range(len(shares))],
        f"{alias}_by_profit": by == "profit",
        f"{alias}_last": len(bands) - 1,
    }


def _banded(alias: str) -> str:
    """Common table expressions that give each person its band in a period.

    `{alias}_banded` has person, band (number from 0), revenue, profit (None: unknown), `measured`, which is the one of
    them that counts, and `value`, by which it was ranked (None: it was not). Days are added up by member before it is
    known whose they are now, so that not all of them are sorted.
    """
    return f"""
{alias}_traded AS (
    SELECT coalesce(merged.person, days.member) AS person, sum(days.purchases) AS purchases,
        sum(days.revenue) AS revenue, CASE WHEN sum(days.uncosted_lines) = 0 THEN sum(days.profit) END AS profit
    FROM (
        SELECT journal, member, sum(purchases) AS purchases, sum(uncosted_lines) AS uncosted_lines,
            sum(revenue_minor - returned_minor) AS revenue,
            sum(revenue_minor - returned_minor - goods_cost_minor - attributed_cost_minor) AS profit
        FROM trade_days
        WHERE journal = ANY (%(journals)s) AND day >= %({alias}_from)s AND day < %({alias}_until)s
        GROUP BY journal, member
    ) days LEFT JOIN merged ON merged.journal = days.journal AND merged.member = days.member
    GROUP BY 1
), {alias}_persons AS (
    SELECT coalesce(merged.person, known.member) AS person, min(known.first_day) AS first_day,
        bool_or(known.status = 'open' AND merged.person IS NULL) AS open,
        min((known.enrolled_at AT TIME ZONE zones.time_zone)::date) AS enrolled_on
    FROM lifetime known LEFT JOIN merged ON merged.journal = known.journal AND merged.member = known.member
    CROSS JOIN (
        SELECT coalesce((
            SELECT time_zone FROM journals JOIN programmes ON programme = journals.name
            WHERE journal = ANY (%(journals)s) LIMIT 1
        ), 'UTC') AS time_zone
    ) zones
    WHERE known.journal = ANY (%(journals)s)
    GROUP BY 1
), {alias}_known AS (
    SELECT person, coalesce(traded.purchases, 0) > 0 AS active, first_day < %({alias}_until)s AS customer,
        coalesce(traded.revenue, 0) AS revenue,
        CASE WHEN traded.person IS NULL THEN 0 ELSE traded.profit END AS profit
    FROM {alias}_persons persons LEFT JOIN {alias}_traded traded USING (person)
    WHERE first_day < %({alias}_until)s OR (enrolled_on < %({alias}_until)s AND open)
), {alias}_measured AS (
    SELECT *, CASE WHEN %({alias}_by_profit)s THEN profit ELSE revenue END AS measured FROM {alias}_known
), {alias}_ranked AS (
    SELECT *, active AND measured IS NOT NULL AS ranked,
        row_number() OVER (
            PARTITION BY active AND measured IS NOT NULL ORDER BY measured DESC, person COLLATE "C"
        ) AS rank,
        count(*) OVER (PARTITION BY active AND measured IS NOT NULL) AS number
    FROM {alias}_measured
), {alias}_banded AS (
    SELECT person, revenue, profit, measured, CASE WHEN ranked THEN measured END AS value,
        CASE
            WHEN ranked THEN (
                SELECT count(*) FROM unnest(%({alias}_cuts)s::numeric[]) AS cut WHERE rank > floor(number * cut / 100)
            )
            WHEN active THEN %({alias}_last)s + 1
            WHEN customer THEN %({alias}_last)s + 1 + %({alias}_by_profit)s::integer
            ELSE %({alias}_last)s + 2 + %({alias}_by_profit)s::integer
        END AS band
    FROM {alias}_ranked
)"""
