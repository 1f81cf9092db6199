"""Liability: points that members can still spend, by the month in which they were earned and what happened to them.

The vintage of a point is the month in which its lot was opened, by an accrual or an adjustment. It stays through
holds, reversals, transfers and merges, because a lot keeps its name. The journal that opened a lot knows its month;
points of a lot that came from another journal are kept under the lot's name, and reads look the month up there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.copying import copy_rows
from projections.liability_flows import THIS_MONTH, Flow, flows, lots_named
from projections.movements import MOVEMENT_TOPICS, NEVER, utc
from projections.trading import DAYS_REMEMBERED_MAX, day_of, first_of_month, month_of, time_zone_of

LOTS_REMEMBERED_MAX = 200_000
"""Lots of a journal whose vintage is kept from batch to batch, about 0.2 KiB each."""

ADJUSTED = "points-adjusted.v1"
ELSEWHERE: Final = None
"""The vintage of a lot that this journal did not open."""

Origin: TypeAlias = tuple[int | None, str]
"""Month of the vintage and "", or ELSEWHERE and the lot."""


class Changes(Struct):
    """What a batch adds; months are numbers (12 * year + month - 1).

    Values are the sums of a row, and the positions of the first and the last event behind it; of activity and
    adjustments their number before these.
    """

    opened: dict[str, int] = {}
    cells: dict[tuple[Any, ...], list[int]] = {}
    layers: dict[tuple[Any, ...], int] = {}
    activity: dict[tuple[Any, ...], list[int]] = {}
    adjustments: dict[tuple[Any, ...], list[int]] = {}


class _Approval(Struct, gc=False):
    approver: str
    reason: str
    points: int


class Liability:
    """The projection behind the roll-forward. It only adds to rows; of those before a batch it reads lots' months."""

    name = "liability"
    version = 1
    tables: tuple[str, ...] = (
        "liability_lots",
        "liability_cells",
        "liability_layers",
        "liability_activity",
        "liability_adjustments",
    )
    topics = MOVEMENT_TOPICS

    def __init__(self, lots_remembered_max: int = LOTS_REMEMBERED_MAX) -> None:
        self._lots_remembered_max = lots_remembered_max

    def prepare(self, cur: PgCursor) -> None:
        """Nothing: rows are added to where they are."""

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        if "time_zone" not in memory:
            memory |= {"time_zone": time_zone_of(cur, batch.journal), "vintages": {}}
        vintages: dict[str, int | None] = memory["vintages"]
        if len(vintages) > self._lots_remembered_max:
            vintages.clear()
        found = batch.view(flows)
        wanted = lots_named(found).difference(vintages, [flow.opens for flow in found])
        vintages.update(dict.fromkeys(wanted, ELSEWHERE))
        if wanted and batch.after:
            vintages.update(read_vintages(cur, [batch.journal], wanted))

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Changes:
        return fold_liability(batch.view(flows), memory["time_zone"], memory["vintages"])

    def write(self, cur: PgCursor, journal: int, changes: Changes) -> None:
        opened = [(lot, _day(vintage)) for lot, vintage in changes.opened.items()]
        copy_rows(cur, "liability_lots", "lot, vintage", opened, journal=journal)
        _add(cur, _ADD_CELLS, journal, _cell_rows(changes.cells))
        _add(cur, _ADD_LAYERS, journal, _layer_rows(changes.layers))
        _add(cur, _ADD_ACTIVITY, journal, _tally_rows(changes.activity, months=2))
        _add(cur, _ADD_ADJUSTMENTS, journal, _tally_rows(changes.adjustments, months=1))


# --- the fold -------------------------------------------------------------------------------------------------------


def fold_liability(found: Iterable[Flow], time_zone: str, vintages: dict[str, int | None]) -> Changes:
    """What movements add, given the vintages of the lots opened before, to which those of new lots are added."""
    changes = Changes()
    cells, layers = changes.cells, changes.layers
    for flow in found:
        movement = flow.movement
        position, _, _, topic, state, recorded_at = movement.row
        occurred_in = month_at(movement.occurred_at, time_zone)
        recorded_in = month_at(recorded_at or "", time_zone)
        if flow.opens:
            changes.opened[flow.opens] = vintages[flow.opens] = occurred_in
        change = 0
        for name, lot, points in flow.parts:
            change += points
            vintage, elsewhere = _origin(lot, occurred_in, vintages)
            key = (vintage, elsewhere, occurred_in, recorded_in, name)
            cell = cells.get(key)
            if cell is None:
                cells[key] = [points, position, position]
            else:
                cell[0] += points
                cell[2] = position
        for lot, points, _, available_at, expires_at in movement.layers:
            vintage, elsewhere = _origin(lot, occurred_in, vintages)
            expires_in = NEVER if expires_at is NEVER else month_at(expires_at, time_zone)
            layer = (vintage, elsewhere, occurred_in, month_at(available_at, time_zone), expires_in)
            layers[layer] = layers.get(layer, 0) + points
        activity = _tally(changes.activity, (occurred_in, recorded_in, topic), 5, position)
        activity[0] += change
        if flow.owed:
            _count_owed(activity, topic, flow.owed)
        if topic == ADJUSTED:
            approval = _approval(state or "")
            adjustments = _tally(changes.adjustments, (occurred_in, approval.approver, approval.reason), 2, position)
            adjustments[approval.points < 0] += abs(approval.points)
    return changes


def flow_vintages(flow: Flow, time_zone: str, vintages: dict[str, int | None]) -> list[tuple[str, Origin, int]]:
    """What a movement does by flow and vintage: (flow, origin, points), each pair once."""
    occurred_in = month_at(flow.movement.occurred_at, time_zone)
    sums: dict[tuple[str, Origin], int] = {}
    for name, lot, points in flow.parts:
        key = (name, _origin(lot, occurred_in, vintages))
        sums[key] = sums.get(key, 0) + points
    return [(name, origin, points) for (name, origin), points in sums.items()]


def month_at(instant: str, time_zone: str) -> int:
    """The month of an instant, as text, in a time zone."""
    return _month_of_date(instant[:10]) or month_of(  # PostgreSQL writes no T, in UTC
        day_of(utc(instant) if "T" in instant else instant, time_zone)
    )


@lru_cache(DAYS_REMEMBERED_MAX)
def _month_of_date(date: str) -> int | None:
    """The month of a date in whatever time zones it is written and read; None where they may differ."""
    return 12 * int(date[:4]) + int(date[5:7]) - 1 if "03" <= date[8:] <= "26" else None


def read_vintages(cur: PgCursor, journals: list[int], lots: Iterable[str]) -> dict[str, int]:
    """The months of lots that the journals opened."""
    cur.execute(
        "SELECT lot, (12 * extract(year FROM vintage) + extract(month FROM vintage) - 1)::int FROM liability_lots"
        " WHERE journal = ANY (%s) AND lot = ANY (%s)",
        (journals, list(lots)),
    )
    return dict(cur.fetchall())


def _origin(lot: str, occurred_in: int, vintages: dict[str, int | None]) -> Origin:
    if lot == THIS_MONTH:
        return (occurred_in, "")
    vintage = vintages[lot]
    return (ELSEWHERE, lot) if vintage is ELSEWHERE else (vintage, "")


def _count_owed(activity: list[int], topic: str, owed: int) -> None:
    """Add to owed, repaid, merged and written off, which come after the points, as in the table."""
    if topic == "points-clawed-back.v1":
        activity[1] += owed
    elif topic in ("members-merged.v1", "merge-undone.v1"):
        activity[3] += owed
    elif topic in ("member-closed.v1", "member-erased.v1"):
        activity[4] -= owed
    else:
        activity[2] -= owed


def _tally(
    tallies: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], sums_count: int, position: int
) -> list[int]:
    """Count an event; its sums, to be added to, come first."""
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = [0] * sums_count + [0, position, position]
    tally[-3] += 1
    tally[-1] = position
    return tally


_approval: Callable[[str], _Approval] = msgspec.json.Decoder(_Approval).decode


# --- rows -----------------------------------------------------------------------------------------------------------


@lru_cache(10_000)
def _day(month: int | str | None) -> str:
    if month is ELSEWHERE:
        return "-infinity"
    return month if isinstance(month, str) else first_of_month(month).isoformat()


def _cell_rows(cells: dict[tuple[Any, ...], list[int]]) -> list[tuple[Any, ...]]:
    return [
        (_day(vintage), lot, _day(occurred_in), _day(recorded_in), flow, *numbers)
        for (vintage, lot, occurred_in, recorded_in, flow), numbers in cells.items()
    ]


def _layer_rows(layers: dict[tuple[Any, ...], int]) -> list[tuple[Any, ...]]:
    return [
        (_day(vintage), lot, _day(occurred_in), _day(available_in), _day(expires_in), points)
        for (vintage, lot, occurred_in, available_in, expires_in), points in layers.items()
    ]


def _tally_rows(tallies: dict[tuple[Any, ...], list[int]], *, months: int) -> list[tuple[Any, ...]]:
    return [(*map(_day, key[:months]), *key[months:], *numbers) for key, numbers in tallies.items()]


def _add(cur: PgCursor, statement: str, journal: int, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        cur.execute(statement, (journal, *map(list, zip(*rows, strict=True))))


def _adding(table: str, keys: dict[str, str], sums: tuple[str, ...], *, positions: bool = True) -> str:
    columns = {**keys, **dict.fromkeys(sums, "bigint")}
    added = [f"{name} = {table}.{name} + excluded.{name}" for name in sums]
    if positions:  # batches come in order, so the first stays
        columns |= {"first_position": "bigint", "last_position": "bigint"}
        added.append("last_position = excluded.last_position")
    return (
        f"INSERT INTO {table} (journal, {', '.join(columns)}) SELECT %s, * FROM"
        f" unnest({', '.join(f'%s::{type_}[]' for type_ in columns.values())})"
        f" ON CONFLICT (journal, {', '.join(keys)}) DO UPDATE SET {', '.join(added)}"
    )


_ORIGIN = {"vintage": "date", "lot": "text"}
_ADD_CELLS = _adding(
    "liability_cells", {**_ORIGIN, "occurred_in": "date", "recorded_in": "date", "flow": "text"}, ("points",)
)
_ADD_LAYERS = _adding(
    "liability_layers",
    {**_ORIGIN, "occurred_in": "date", "available_in": "date", "expires_in": "date"},
    ("points",),
    positions=False,
)
_ADD_ACTIVITY = _adding(
    "liability_activity",
    {"occurred_in": "date", "recorded_in": "date", "topic": "text"},
    ("points", "owed", "repaid", "merged", "written_off", "events"),
)
_ADD_ADJUSTMENTS = _adding(
    "liability_adjustments",
    {"occurred_in": "date", "approver": "text", "reason": "text"},
    ("points_up", "points_down", "events"),
)
