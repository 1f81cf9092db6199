"""Lifetime: what each member bought, gave back and cost, by day and in all, and the sums of the programme.

Rows of members are read, folded and written back. Sums of the programme are never computed from the members again: they
change by what the touched members contribute now, less what they contributed before (`lifetime_figures`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import chain
from operator import add
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ledger.store.database import PgCursor
from projections.batch import Batch, Row
from projections.copying import NULL, copy_rows
from projections.lifetime_figures import (
    DAY_SUMS,
    PROGRAMME_TABLES,
    PURCHASES,
    RETURNED,
    REVENUE,
    Contributions,
    Figures,
    Standing,
    Sums,
    add_sums,
    count_standing,
    new_figures,
    standing,
)
from projections.movements import ISSUED, MOVEMENT_TOPICS, REDEEMED, Movement, movements, utc
from projections.trading import (
    TRADE_TOPICS,
    OtherTrade,
    Purchase,
    Return,
    WalletSurvey,
    day_of,
    first_of_month,
    iso_day,
    month_of,
    other_trades,
    purchases,
    time_zone_of,
)

MEMBERS_REMEMBERED_MAX = 20_000
"""Members of a journal whose figures are kept from batch to batch, about 1 KiB each."""
DAYS_REMEMBERED_MAX = 100_000
ARRAYS_REMEMBERED_MAX = 20_000

ANALYSIS_TOPIC = "analysis-set.v1"


class Analysis(Struct, gc=False):
    """How the programme looks at its members; see `ledger.events.AnalysisSet`. `bands` is JSON."""

    version: int
    inactive_after_days: int
    bands: Raw


class Changes(Struct):
    """What a batch does: the new figures of members, and what to add to sums of members' days and of the programme."""

    members: dict[str, Figures] = {}
    before: dict[str, Standing | None] = {}
    days: dict[tuple[str, int], Sums] = {}
    points_earned: int = 0
    points_redeemed: int = 0
    programme: Contributions = {}
    analysis: Analysis | None = None


class Lifetime:
    """The projection behind `read_lifetime`, `read_programme_value` and the pyramid."""

    name = "lifetime"
    version = 1
    tables: tuple[str, ...] = ("lifetime", "trade_days", "lifetime_analysis", *PROGRAMME_TABLES)
    topics = MOVEMENT_TOPICS | TRADE_TOPICS | {ANALYSIS_TOPIC}

    def __init__(self, members_remembered_max: int = MEMBERS_REMEMBERED_MAX) -> None:
        self._members_remembered_max = members_remembered_max

    def prepare(self, cur: PgCursor) -> None:
        cur.execute(_STAGING)

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        if "time_zone" not in memory:
            memory |= {"time_zone": time_zone_of(cur, batch.journal), "members": {}}
        known: dict[str, Figures] = memory["members"]
        if len(known) > self._members_remembered_max:
            known.clear()
        new = {row[1] for row in batch.rows if row[2] == 1}  # their streams begin here: there is nothing before
        touched = {movement.row[1] for movement in batch.view(movements)}
        touched.update(row[1] for row, _ in _trades(batch))
        wanted = touched.difference(new, known)
        if wanted and batch.after:
            cur.execute(_SELECT_FIGURES, (list(wanted), batch.journal))
            known.update((member, figures_of(row)) for member, *row in cur.fetchall())

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Changes:
        return fold_lifetimes(batch, memory["time_zone"], memory["members"])

    def write(self, cur: PgCursor, journal: int, changes: Changes) -> None:
        rows = [(member, *_row_of(figures)) for member, figures in changes.members.items()]
        copy_rows(cur, "staged_lifetime", f"member, {', '.join(_COLUMNS)}", rows)
        cur.execute(_MERGE_FIGURES, (journal, journal))
        days = [(member, iso_day(day), *sums) for (member, day), sums in changes.days.items()]
        copy_rows(cur, "staged_trade_days", f"member, day, {', '.join(DAY_SUMS)}", days)
        cur.execute(_MERGE_DAYS, (journal, journal))
        for table, (keys, _) in PROGRAMME_TABLES.items():
            added = [
                (*(_key(value, name) for value, (name, _) in zip(key, keys, strict=True)), *sums)
                for (named, key), sums in changes.programme.items()
                if named == table and any(sums)
            ]
            if added:
                cur.execute(_MERGE_SUMS[table], (*map(list, zip(*added, strict=True)), journal, journal))
        if changes.analysis is not None:
            analysis = changes.analysis
            cur.execute(
                _SET_ANALYSIS,
                (journal, analysis.version, analysis.inactive_after_days, bytes(analysis.bands).decode()),
            )


# --- the fold -------------------------------------------------------------------------------------------------------


def fold_lifetimes(batch: Batch, time_zone: str, known: dict[str, Figures]) -> Changes:
    """What a batch does to its members and the programme, given the figures before it, which are moved on.

    A member's enrolment is the first event of its stream, so that the cohort of all its trade is known.
    """
    changes = Changes()
    _fold_points(changes, batch.view(movements), known, time_zone)
    _fold_trades(changes, _trades(batch), known, time_zone)
    for member, figures in changes.members.items():
        before, now = changes.before[member], standing(figures)
        if now != before:
            count_standing(changes.programme, now)
            if before is not None:
                count_standing(changes.programme, before, -1)
    sums = [sum(column) for column in zip(*changes.days.values(), strict=True)]
    add_sums(changes.programme, sums, changes.points_earned, changes.points_redeemed)
    for row in batch.rows:
        if row[3] == ANALYSIS_TOPIC and row[4] is not None:
            changes.analysis = _decode_analysis(row[4])
    return changes


def _trades(batch: Batch) -> Iterable[tuple[Row, Purchase | OtherTrade]]:
    """All trade, purchases first: only surveys must be in order, among themselves."""
    return chain(batch.view(purchases), batch.view(other_trades))


def _touch(changes: Changes, known: dict[str, Figures], member: str) -> Figures:
    """The figures of a member that the batch has not touched before."""
    figures = known.get(member)
    changes.before[member] = None if figures is None else standing(figures)
    if figures is None:
        figures = known[member] = new_figures()
    changes.members[member] = figures
    return figures


def _fold_points(changes: Changes, found: Iterable[Movement], known: dict[str, Figures], time_zone: str) -> None:
    members, earned, redeemed = changes.members, 0, 0
    for movement in found:
        member = movement.row[1]
        figures = members.get(member) or _touch(changes, known, member)
        for account, points in movement.booked:
            if account == ISSUED:
                figures.points_earned -= points
                earned -= points
            elif account == REDEEMED:
                figures.points_redeemed += points
                redeemed += points
        if movement.status is not None:
            _set_status(figures, movement, time_zone)
    changes.points_earned, changes.points_redeemed = earned, redeemed


def _set_status(figures: Figures, movement: Movement, time_zone: str) -> None:
    figures.status = str(movement.status)
    topic = movement.row[3]
    if topic == "member-enrolled.v1":
        instant = utc(movement.occurred_at)
        figures.enrol(instant, day_of(instant, time_zone))
    elif topic == "members-merged.v1":
        figures.survivor = movement.reference
    elif topic == "merge-undone.v1":
        figures.survivor = None


def _fold_trades(
    changes: Changes, found: Iterable[tuple[Row, Purchase | OtherTrade]], known: dict[str, Figures], time_zone: str
) -> None:
    members, days, months = changes.members, changes.days, dict[tuple[int, int], Sums]()
    for row, event in found:
        member = row[1]
        figures = members.get(member) or _touch(changes, known, member)
        instant = utc(event.occurred_at)
        if isinstance(event, WalletSurvey):
            figures.survey(event, instant)
            continue
        day = day_of(instant, time_zone)
        active = 0
        if isinstance(event, Purchase):
            active = len(figures.active_months)
            added = figures.purchase(event, instant, day)
            active = len(figures.active_months) - active
        elif isinstance(event, Return):
            added = figures.give_back(event)
        else:
            added = figures.attribute(event)
        if figures.cohort is not None:
            month = (figures.cohort, month_of(day))
            sums = months.get(month)
            if sums is None:
                sums = months[month] = [0, 0, 0]
            sums[0] += active
            sums[1] += added[PURCHASES]
            sums[2] += added[REVENUE] - added[RETURNED]
        known_sums = days.get((member, day))
        if known_sums is None:
            days[member, day] = added
        else:
            known_sums[:] = map(add, known_sums, added)
    changes.programme |= {("cohort_months", month): sums for month, sums in months.items()}


_decode_analysis = msgspec.json.Decoder(Analysis).decode


# --- rows -----------------------------------------------------------------------------------------------------------

_TYPES = {
    "status": "text",
    "enrolled_at": "timestamptz",
    "cohort": "date",
    "survivor": "text",
    "first_purchase_at": "timestamptz",
    "last_purchase_at": "timestamptz",
    "first_day": "date",
    "second_day": "date",
    "last_day": "date",
    "points_earned": "bigint",
    "points_redeemed": "bigint",
    "surveyed_at": "timestamptz",
    "yearly_spend_minor": "bigint",
    "survey_currency": "text",
    "channels": "text[]",
    "stores": "text[]",
    "active_months": "integer[]",
    **dict.fromkeys(DAY_SUMS, "bigint"),
}
_COLUMNS = tuple(_TYPES)
assert (*(name for name in Figures.__struct_fields__ if name != "sums"), *DAY_SUMS) == _COLUMNS


SELECTED_FIGURES = ", ".join(f"lifetime.{name}" for name in _COLUMNS)
"""The columns of a row of `lifetime` as `figures_of` takes them."""

SELECTED_DAYS = """(
    SELECT array_agg(ARRAY[day - DATE '0001-01-01' + 1, purchases, revenue_minor - returned_minor] ORDER BY day)
    FROM trade_days WHERE trade_days.journal = lifetime.journal AND trade_days.member = lifetime.member
)"""
"""The days of a row of `lifetime` with trade or cost, in order: day, purchases, revenue net of returns."""


def figures_of(row: Any) -> Figures:
    """The figures of a row, selected as `SELECTED_FIGURES`."""
    (
        status, enrolled_at, cohort, survivor, first_purchase_at, last_purchase_at, first_day, second_day, last_day,
        points_earned, points_redeemed, surveyed_at, yearly_spend_minor, survey_currency, channels, stores,
        active_months, *sums,
    ) = row  # fmt: skip
    return Figures(
        status, _instant(enrolled_at), None if cohort is None else month_of(cohort.toordinal()), survivor,
        _instant(first_purchase_at), _instant(last_purchase_at), _ordinal(first_day), _ordinal(second_day),
        _ordinal(last_day), points_earned, points_redeemed, _instant(surveyed_at), yearly_spend_minor, survey_currency,
        tuple(channels), tuple(stores), tuple(active_months), sums,
    )  # fmt: skip


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _ordinal(day: date | None) -> int | None:
    return None if day is None else day.toordinal()


def _row_of(figures: Figures) -> tuple[Any, ...]:
    """In the order of `_COLUMNS`, for COPY."""
    cohort = figures.cohort
    return (
        figures.status,
        _or_null(figures.enrolled_at),
        NULL if cohort is None else _month(cohort),
        _or_null(figures.survivor),
        _or_null(figures.first_purchase_at),
        _or_null(figures.last_purchase_at),
        NULL if figures.first_day is None else iso_day(figures.first_day),
        NULL if figures.second_day is None else iso_day(figures.second_day),
        NULL if figures.last_day is None else iso_day(figures.last_day),
        figures.points_earned,
        figures.points_redeemed,
        _or_null(figures.surveyed_at),
        _or_null(figures.yearly_spend_minor),
        _or_null(figures.survey_currency),
        _text_array(figures.channels),
        _text_array(figures.stores),
        _integer_array(figures.active_months),
        *figures.sums,
    )


def _or_null(value: Any) -> Any:
    return NULL if value is None else value


@lru_cache(DAYS_REMEMBERED_MAX)
def _month(month: int) -> str:
    return first_of_month(month).isoformat()


def _key(value: int | str, name: str) -> int | str:
    if name in ("cohort", "month"):
        return _month(int(value))
    return iso_day(int(value)) if name.endswith("_day") else value


@lru_cache(ARRAYS_REMEMBERED_MAX)
def _integer_array(numbers: tuple[int, ...]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


@lru_cache(ARRAYS_REMEMBERED_MAX)
def _text_array(names: tuple[str, ...]) -> str:
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}"


# --- statements -----------------------------------------------------------------------------------------------------

_STAGING = f"""
SET LOCAL client_min_messages = warning;  -- IF NOT EXISTS would tell in every batch but the first
CREATE TEMPORARY TABLE IF NOT EXISTS staged_lifetime (
    member text COLLATE "C", {", ".join(f"{name} {kind}" for name, kind in _TYPES.items())}
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS staged_trade_days (
    member text COLLATE "C", day date, {", ".join(f"{name} bigint" for name in DAY_SUMS)}
) ON COMMIT DELETE ROWS;
DELETE FROM staged_lifetime;  -- of a batch before in the same transaction
DELETE FROM staged_trade_days
"""

_SELECT_FIGURES = f"""
SELECT lifetime.member, {SELECTED_FIGURES}
FROM unnest(%s::text[]) AS wanted (member) JOIN lifetime ON journal = %s AND lifetime.member = wanted.member
"""

_MERGE_FIGURES = f"""
MERGE INTO lifetime USING staged_lifetime staged ON lifetime.journal = %s AND lifetime.member = staged.member
WHEN MATCHED THEN UPDATE SET {", ".join(f"{name} = staged.{name}" for name in _COLUMNS)}
WHEN NOT MATCHED THEN INSERT (journal, member, {", ".join(_COLUMNS)})
    VALUES (%s, staged.member, {", ".join(f"staged.{name}" for name in _COLUMNS)})
"""


def _merge_sums(table: str, source: str, keys: tuple[str, ...], sums: tuple[str, ...]) -> str:
    """Add to sums; a row of nothing but zeros is none, so that rows do not depend on how batches were cut."""
    matched = " AND ".join(["t.journal = %s", *(f"t.{key} = staged.{key}" for key in keys)])
    return f"""
MERGE INTO {table} t USING {source} ON {matched}
WHEN MATCHED AND {" AND ".join(f"t.{name} + staged.{name} = 0" for name in sums)} THEN DELETE
WHEN MATCHED THEN UPDATE SET {", ".join(f"{name} = t.{name} + staged.{name}" for name in sums)}
WHEN NOT MATCHED AND NOT ({" AND ".join(f"staged.{name} = 0" for name in sums)}) THEN
    INSERT (journal, {", ".join((*keys, *sums))})
    VALUES (%s, {", ".join(f"staged.{name}" for name in (*keys, *sums))})
"""


def _unnested(keys: tuple[tuple[str, str], ...], sums: tuple[str, ...]) -> str:
    arrays = ", ".join([*(f"%s::{kind}[]" for _, kind in keys), *["%s::bigint[]"] * len(sums)])
    return f"unnest({arrays}) AS staged ({', '.join([*(name for name, _ in keys), *sums])})"


_MERGE_DAYS = _merge_sums("trade_days", "staged_trade_days staged", ("member", "day"), DAY_SUMS)
_MERGE_SUMS = {
    table: _merge_sums(table, _unnested(keys, sums), tuple(name for name, _ in keys), sums)
    for table, (keys, sums) in PROGRAMME_TABLES.items()
}

_SET_ANALYSIS = """
INSERT INTO lifetime_analysis (journal, version, inactive_after_days, bands) VALUES (%s, %s, %s, %s)
ON CONFLICT (journal) DO UPDATE SET
    version = excluded.version, inactive_after_days = excluded.inactive_after_days, bands = excluded.bands
"""
