"""Flows: what each movement does to the points of the lots it names, before it is known when those lots were opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from projections.batch import Batch
from projections.movements import ARREARS, HELD, Movement, movements

FLOWS = (
    "earned",
    "repaid",
    "adjusted_up",
    "transferred_in",
    "merged_in",
    "redeemed",
    "reversed",
    "expired",
    "clawed_back",
    "adjusted_down",
    "transferred_out",
    "merged_out",
    "forfeited",
)
"""What adds to, or takes from, what is open and held."""

THIS_MONTH = ""
"""Stands for the lot of points whose vintage is the month of the event itself."""

Part: TypeAlias = tuple[str, str, int]
"""flow, lot (THIS_MONTH: none), points (negative: taken)."""


class Flow(Struct, gc=False):
    """A movement with its parts. `opens` is the lot that it opened, or ''; then it names no other. `owed` is what it
    adds to arrears; negative: it takes.
    """

    movement: Movement
    parts: list[Part]
    opens: str
    owed: int


def lots_named(found: Iterable[Flow]) -> set[str]:
    """The lots that flows name and did not open themselves."""
    named = set()
    for flow in found:
        if not flow.opens:
            named.update([lot for _, lot, _ in flow.parts], [layer[0] for layer in flow.movement.layers])
    named.discard(THIS_MONTH)
    return named


class _Taken(Struct, gc=False):
    lot: str
    points: int


class _Reversed(Struct, gc=False):
    forfeited: list[_Taken] = []


_taken = msgspec.json.Decoder(list[_Taken]).decode
_reversed = msgspec.json.Decoder(_Reversed).decode

_BY_LAYERS = {
    "points-redeemed.v1": ("redeemed", "redeemed"),
    "points-expired.v1": ("expired", "expired"),
    "points-clawed-back.v1": ("clawed_back", "clawed_back"),
    "points-transferred-out.v1": ("transferred_out", "transferred_out"),
    "members-merged.v1": ("merged_out", "merged_in"),
    "merge-undone.v1": ("merged_out", "merged_in"),
    "member-closed.v1": ("forfeited", "forfeited"),
    "member-erased.v1": ("forfeited", "forfeited"),
}
"""Where a flow is just what layers change: its names, taken and given."""


def flows(batch: Batch) -> list[Flow]:
    """The movements of a batch that book anything, in order."""
    return [_flow(movement) for movement in batch.view(movements) if movement.booked]


def _flow(movement: Movement) -> Flow:
    topic, owed = movement.row[3], 0
    for account, points in movement.booked:
        if account == ARREARS:
            owed -= points
    if topic == "points-accrued.v1":
        return _opening(movement, "earned", owed)
    named = _BY_LAYERS.get(topic)
    if named is not None:
        parts = [(named[points > 0], lot, points) for lot, points, *_ in movement.layers]
    elif topic == "points-adjusted.v1":
        if owed or any(points > 0 for _, points, *_ in movement.layers):
            return _opening(movement, "adjusted_up", owed)
        parts = [("adjusted_down", lot, points) for lot, points, *_ in movement.layers]
    elif topic == "points-transferred-in.v1":
        parts = _transferred_in(movement, owed)
    elif topic == "hold-captured.v1":
        parts = [("redeemed", part.lot, -part.points) for part in _taken(movement.lots)]
    elif topic == "redemption-reversed.v1":
        parts = _reversal(movement)
    else:
        assert any(account == HELD for account, _ in movement.booked), topic
        parts = []  # held or released: from one pocket to the other
    return Flow(movement, parts, "", owed)


def _opening(movement: Movement, flow: str, owed: int) -> Flow:
    lot, opened = movement.layers[0][:2] if movement.layers else ("", 0)  # no lot where all of it repaid arrears
    if owed:
        return Flow(movement, [(flow, THIS_MONTH, opened - owed), ("repaid", THIS_MONTH, owed)], lot, owed)
    return Flow(movement, [(flow, THIS_MONTH, opened)], lot, 0)


def _transferred_in(movement: Movement, owed: int) -> list[Part]:
    """What repaid arrears is of the month in which it came: the event does not say of which lots it was."""
    parts: list[Part] = [("transferred_in", lot, points) for lot, points, *_ in movement.layers]
    if owed:
        parts += [("transferred_in", THIS_MONTH, -owed), ("repaid", THIS_MONTH, owed)]
    return parts


def _reversal(movement: Movement) -> list[Part]:
    parts: list[Part] = [("reversed", lot, points) for lot, points, *_ in movement.layers]
    state: Any = movement.row[4]
    for part in _reversed(state).forfeited:
        parts += [("reversed", part.lot, part.points), ("expired", part.lot, -part.points)]
    return parts
