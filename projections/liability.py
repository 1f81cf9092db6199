"""Liability: points that members can still spend, by the month in which they were earned and what happened to them.

The vintage of a point is the month in which its lot was opened, by an accrual or an adjustment. It stays through
holds, reversals, transfers and merges, because a lot keeps its name. The journal that opened a lot knows its month;
points of a lot that came from another journal are kept under the lot's name, and reads look the month up there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.copying import copy_rows
from projections.liability_flows import THIS_MONTH, Flow, arrears_change, balance_change, flows
from projections.movements import MOVEMENT_TOPICS, NEVER, utc
from projections.trading import day_of, first_of_month, month_of, time_zone_of

LOTS_REMEMBERED_MAX = 200_000
"""Lots of a journal whose vintage is kept from batch to batch, about 0.2 KiB each."""

ADJUSTED = "points-adjusted.v1"
ELSEWHERE: Final = None
"""The vintage of a lot that this journal did not open."""

Origin: TypeAlias = tuple[int | None, str]
"""Month of the vintage and "", or ELSEWHERE and the lot."""


class Tally(Struct, gc=False):
    """Sums of a row, and the events behind them."""

    sums: list[int]
    first: int
    last: int
    events: int = 1


class Changes(Struct):
    """What a batch adds; months are numbers (12 * year + month - 1)."""

    opened: dict[str, int] = {}
    cells: dict[tuple[Any, ...], Tally] = {}
    layers: dict[tuple[Any, ...], int] = {}
    activity: dict[tuple[Any, ...], Tally] = {}
    adjustments: dict[tuple[Any, ...], Tally] = {}


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
        wanted = {lot for flow in found for lot in flow.lots} - {flow.opens for flow in found} - vintages.keys()
        vintages.update(dict.fromkeys(wanted, ELSEWHERE))
        if wanted and batch.after:
            vintages.update(read_vintages(cur, [batch.journal], wanted))

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Changes:
        return fold_liability(batch.view(flows), memory["time_zone"], memory["vintages"])

    def write(self, cur: PgCursor, journal: int, changes: Changes) -> None:
        opened = [(journal, lot, _day(vintage)) for lot, vintage in changes.opened.items()]
        copy_rows(cur, "liability_lots", "journal, lot, vintage", opened)
        _add(cur, _ADD_CELLS, journal, _cell_rows(changes.cells))
        _add(cur, _ADD_LAYERS, journal, _layer_rows(changes.layers))
        _add(cur, _ADD_ACTIVITY, journal, _tally_rows(changes.activity, months=2))
        _add(cur, _ADD_ADJUSTMENTS, journal, _tally_rows(changes.adjustments, months=1))


# --- the fold -------------------------------------------------------------------------------------------------------


def fold_liability(found: Iterable[Flow], time_zone: str, vintages: dict[str, int | None]) -> Changes:
    """What movements add, given the vintages of the lots opened before, to which those of new lots are added."""
    changes = Changes()
    for flow in found:
        row = flow.movement.row
        occurred_in = month_at(flow.movement.occurred_at, time_zone)
        recorded_in = month_at(row[5] or "", time_zone)
        if flow.opens:
            changes.opened[flow.opens] = vintages[flow.opens] = occurred_in
        for key, points in _cells(flow, occurred_in, recorded_in, vintages).items():
            _tally(changes.cells, key, [points], row[0])
        for lot, points, _, available_at, expires_at in flow.layers:
            expires_in = NEVER if expires_at is NEVER else month_at(expires_at, time_zone)
            layer = (*_origin(lot, vintages), occurred_in, month_at(available_at, time_zone), expires_in)
            changes.layers[layer] = changes.layers.get(layer, 0) + points
        _tally(changes.activity, (occurred_in, recorded_in, row[3]), _activity(flow), row[0])
        if row[3] == ADJUSTED:
            approval = _approval(row[4] or "")
            sums = [max(approval.points, 0), max(-approval.points, 0)]
            _tally(changes.adjustments, (occurred_in, approval.approver, approval.reason), sums, row[0])
    return changes


def flow_vintages(flow: Flow, time_zone: str, vintages: dict[str, int | None]) -> list[tuple[str, Origin, int]]:
    """What a movement does by flow and vintage: (flow, origin, points), each pair once."""
    occurred_in = month_at(flow.movement.occurred_at, time_zone)
    known = {**vintages, flow.opens: occurred_in} if flow.opens else vintages
    cells = _cells(flow, occurred_in, occurred_in, known)
    return [(key[4], (key[0], key[1]), points) for key, points in cells.items()]


def month_at(instant: str, time_zone: str) -> int:
    """The month of an instant, as text, in a time zone."""
    return month_of(day_of(utc(instant) if "T" in instant else instant, time_zone))  # PostgreSQL writes no T, in UTC


def read_vintages(cur: PgCursor, journals: list[int], lots: Iterable[str]) -> dict[str, int]:
    """The months of lots that the journals opened."""
    cur.execute(
        "SELECT lot, (12 * extract(year FROM vintage) + extract(month FROM vintage) - 1)::int FROM liability_lots"
        " WHERE journal = ANY (%s) AND lot = ANY (%s)",
        (journals, list(lots)),
    )
    return dict(cur.fetchall())


def _cells(
    flow: Flow, occurred_in: int, recorded_in: int, vintages: dict[str, int | None]
) -> dict[tuple[Any, ...], int]:
    cells: dict[tuple[Any, ...], int] = {}
    for name, lot, points in flow.parts:
        origin = (occurred_in, "") if lot == THIS_MONTH else _origin(lot, vintages)
        key = (*origin, occurred_in, recorded_in, name)
        cells[key] = cells.get(key, 0) + points
    return cells


def _origin(lot: str, vintages: dict[str, int | None]) -> Origin:
    vintage = vintages[lot]
    return (ELSEWHERE, lot) if vintage is ELSEWHERE else (vintage, "")


def _activity(flow: Flow) -> list[int]:
    """points, owed, repaid, merged, written_off; as in the table."""
    owed, topic = arrears_change(flow.movement), flow.movement.row[3]
    points = balance_change(flow)
    if topic == "points-clawed-back.v1":
        return [points, owed, 0, 0, 0]
    if topic in ("members-merged.v1", "merge-undone.v1"):
        return [points, 0, 0, owed, 0]
    if topic in ("member-closed.v1", "member-erased.v1"):
        return [points, 0, 0, 0, -owed]
    return [points, 0, -owed, 0, 0]


def _tally(tallies: dict[tuple[Any, ...], Tally], key: tuple[Any, ...], sums: list[int], position: int) -> None:
    known = tallies.get(key)
    if known is None:
        tallies[key] = Tally(sums, position, position)
        return
    for index, value in enumerate(sums):
        known.sums[index] += value
    known.last = position
    known.events += 1


_approval: Callable[[str], _Approval] = msgspec.json.Decoder(_Approval).decode


# --- rows -----------------------------------------------------------------------------------------------------------


def _day(month: int | str | None) -> str:
    if month is ELSEWHERE:
        return "-infinity"
    return month if isinstance(month, str) else first_of_month(month).isoformat()


def _cell_rows(cells: dict[tuple[Any, ...], Tally]) -> list[tuple[Any, ...]]:
    return [
        (_day(vintage), lot, _day(occurred_in), _day(recorded_in), flow, *_numbers(tally))
        for (vintage, lot, occurred_in, recorded_in, flow), tally in cells.items()
    ]


def _layer_rows(layers: dict[tuple[Any, ...], int]) -> list[tuple[Any, ...]]:
    return [
        (_day(vintage), lot, _day(occurred_in), _day(available_in), _day(expires_in), points)
        for (vintage, lot, occurred_in, available_in, expires_in), points in layers.items()
    ]


def _tally_rows(tallies: dict[tuple[Any, ...], Tally], *, months: int) -> list[tuple[Any, ...]]:
    return [(*map(_day, key[:months]), *key[months:], *_numbers(tally)) for key, tally in tallies.items()]


def _numbers(tally: Tally) -> tuple[int, ...]:
    return (*tally.sums, tally.events, tally.first, tally.last)


def _add(cur: PgCursor, statement: str, journal: int, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        cur.execute(statement, (journal, *map(list, zip(*rows, strict=True))))


def _adding(table: str, keys: dict[str, str], sums: tuple[str, ...], *, positions: bool = True) -> str:
    columns = {**keys, **dict.fromkeys((*sums, "events") if positions else sums, "bigint")}
    if positions:
        columns |= {"first_position": "bigint", "last_position": "bigint"}
    added = [f"{name} = {table}.{name} + excluded.{name}" for name in ((*sums, "events") if positions else sums)]
    if positions:  # batches come in order, so the first stays
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
    ("points", "owed", "repaid", "merged", "written_off"),
)
_ADD_ADJUSTMENTS = _adding(
    "liability_adjustments",
    {"occurred_in": "date", "approver": "text", "reason": "text"},
    ("points_up", "points_down"),
)
