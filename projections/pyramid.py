"""The customer pyramid: members ranked by what they brought in a period, in bands from the top, and who moved.

Source of the bands: Jay Curry, The Customer Marketing Method (2000): top 1 %, next 4 %, next 15 %, remaining 80 % of
the active customers; below them the inactive ones and the prospects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

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
    periods = {"one": period}
    cur.execute(
        f"{_banded(periods)} SELECT band, {_OF_A_BAND.format('one_banded')} FROM one_banded GROUP BY band",
        _values(journals, by, periods, bands),
    )
    return _pyramid(by, period, bands, {band: _BandRow(*row) for band, *row in cur.fetchall()})


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
    return read_pyramid_and_migration(cur, journals, by=by, earlier=earlier, later=later, bands=bands)[1]


def read_pyramid_and_migration(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    by: Measure,
    earlier: Period,
    later: Period,
    bands: Bands | None = None,
) -> tuple[Pyramid, list[Migration]]:
    """The pyramid of the later period, and who moved to it from the earlier, by one query.

    Raises ValueError where bands or periods make no sense.
    """
    bands = _checked(programme_bands(cur, journals[0]) if bands is None else bands)
    periods = {"one": earlier, "two": later}
    cur.execute(
        f"{_banded(periods)} SELECT one_banded.band, two_banded.band,"
        " coalesce(sum(two_banded.measured - coalesce(one_banded.measured, 0)), 0)::bigint,"
        f" {_OF_A_BAND.format('two_banded')}"
        " FROM one_banded FULL JOIN two_banded USING (person) GROUP BY 1, 2 ORDER BY 1 NULLS LAST, 2 NULLS LAST",
        _values(journals, by, periods, bands),
    )
    names = _names(bands, by)
    rows: dict[int, _BandRow] = {}
    migration = []
    for one, two, change, *row in cur.fetchall():
        cell = _BandRow(*row)
        migration.append(
            Migration(
                from_band=ABSENT if one is None else names[one],
                to_band=ABSENT if two is None else names[two],
                members=cell.members,
                change_minor=change,
            )
        )
        if two is not None:
            rows[two] = rows[two].plus(cell) if two in rows else cell
    return _pyramid(by, later, bands, rows), migration


class _BandRow(NamedTuple):
    """What a query tells of the members of a band, or of a part of them: the columns of `_OF_A_BAND`."""

    members: int = 0
    revenue_minor: int = 0
    profit_minor: int = 0
    unknown_profit_members: int = 0
    least_minor: int | None = None
    most_minor: int | None = None

    def plus(self, other: _BandRow) -> _BandRow:
        """Those of both together; a band has a value for all of its members, or for none."""
        ranked = self.least_minor is not None
        return _BandRow(
            self.members + other.members,
            self.revenue_minor + other.revenue_minor,
            self.profit_minor + other.profit_minor,
            self.unknown_profit_members + other.unknown_profit_members,
            min(self.least_minor, other.least_minor) if ranked else None,
            max(self.most_minor, other.most_minor) if ranked else None,
        )


def _pyramid(by: Measure, period: Period, bands: Bands, rows: Mapping[int, _BandRow]) -> Pyramid:
    everyone = sum(row.members for row in rows.values())
    revenue = sum(row.revenue_minor for row in rows.values())
    profit = sum(row.profit_minor for row in rows.values())
    shown = []
    for number, name in enumerate(_names(bands, by)):
        row = rows.get(number, _BandRow())
        shown.append(
            PyramidBand(
                name=name,
                members_share=_share(row.members, everyone),
                revenue_share=_share(row.revenue_minor, revenue),
                profit_share=_share(row.profit_minor, profit),
                **row._asdict(),
            )
        )
    active = sum(band.members for band in shown if band.name not in (INACTIVE, PROSPECT))
    return Pyramid(by=by, period=period, active=active, bands=shown)


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


def _values(journals: Sequence[int], by: Measure, periods: Mapping[str, Period], bands: Bands) -> dict[str, Any]:
    """What the query of `_banded` is asked with.

    Raises ValueError where a period ends before it begins.
    """
    values: dict[str, Any] = {}
    for alias, period in periods.items():
        _check_period(period)
        values |= {f"{alias}_from": period.from_on or date.min, f"{alias}_until": period.until_on or date.max}
    shares = [Decimal(share) for _, share in bands[:-1]]
    return values | {
        "journals": list(journals),
        "cuts": [sum(shares[: number + 1], Decimal(0)) for number in range(len(shares))],
        "by_profit": by == "profit",
        "last": len(bands) - 1,
    }


_OF_A_BAND = (
    "count(*), coalesce(sum({0}.revenue), 0)::bigint, coalesce(sum({0}.profit), 0)::bigint,"
    " count(*) FILTER (WHERE {0}.profit IS NULL), min({0}.value), max({0}.value)"
)


def _banded(aliases: Iterable[str]) -> str:
    """Common table expressions that give each person its band in each of some periods.

    `{alias}_banded` has person, band (number from 0), revenue, profit (None: unknown), `measured`, which is the one of
    them that counts, and `value`, by which it was ranked (None: it was not). Days are added up by member before it is
    known whose they are now, so that not all of them are sorted.
    """
    return f"""
WITH RECURSIVE {MERGED_MEMBERS}, persons AS (
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
){"".join(map(_banded_in, aliases))}"""


def _banded_in(alias: str) -> str:
    return f""", {alias}_traded AS (
    SELECT coalesce(merged.person, days.member) AS person, sum(days.purchases) > 0 AS active,
        sum(days.revenue)::bigint AS revenue,
        CASE WHEN sum(days.uncosted_lines) = 0 THEN sum(days.profit)::bigint END AS profit
    FROM (
        SELECT journal, member, sum(purchases)::bigint AS purchases, sum(uncosted_lines)::bigint AS uncosted_lines,
            sum(revenue_minor - returned_minor)::bigint AS revenue,
            sum(revenue_minor - returned_minor - goods_cost_minor - attributed_cost_minor)::bigint AS profit
        FROM trade_days
        WHERE journal = ANY (%(journals)s) AND day >= %({alias}_from)s AND day < %({alias}_until)s
        GROUP BY journal, member
    ) days LEFT JOIN merged ON merged.journal = days.journal AND merged.member = days.member
    GROUP BY 1
), {alias}_known AS (
    SELECT person, coalesce(active, false) AS active, first_day < %({alias}_until)s AS customer,
        coalesce(traded.revenue, 0) AS revenue,
        CASE WHEN traded.person IS NULL THEN 0 ELSE traded.profit END AS profit
    FROM persons LEFT JOIN {alias}_traded traded USING (person)
    WHERE first_day < %({alias}_until)s OR (enrolled_on < %({alias}_until)s AND open)
), {alias}_measured AS (
    SELECT *, CASE WHEN %(by_profit)s THEN profit ELSE revenue END AS measured FROM {alias}_known
), {alias}_ranked AS (
    SELECT *, row_number() OVER (ORDER BY measured DESC, person COLLATE "C") AS rank
    FROM {alias}_measured WHERE active AND measured IS NOT NULL
), {alias}_cuts AS (
    SELECT coalesce(array_agg(floor(number * cut / 100)::bigint ORDER BY cut), '{{}}') AS last_ranks
    FROM (SELECT count(*) AS number FROM {alias}_ranked) ranked, unnest(%(cuts)s::numeric[]) AS cut
), {alias}_banded AS (
    SELECT person, revenue, profit, measured, measured AS value, width_bucket(rank - 1, last_ranks) AS band
    FROM {alias}_ranked CROSS JOIN {alias}_cuts
    UNION ALL
    SELECT person, revenue, profit, measured, NULL,
        %(last)s + CASE WHEN active THEN 1 WHEN customer THEN 1 + %(by_profit)s::int ELSE 2 + %(by_profit)s::int END
    FROM {alias}_measured WHERE NOT (active AND measured IS NOT NULL)
)"""
