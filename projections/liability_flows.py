"""Flows: what each movement does to the points of the lots it names, before it is known when those lots were opened."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from projections.batch import Batch
from projections.movements import ARREARS, HELD, LayerChange, Movement, movements

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


class Flow(NamedTuple):
    """A movement with its parts. `layers` are changes of what is open; `opens` is the lot that it opened, or ''."""

    movement: Movement
    parts: list[Part]
    opens: str

    @property
    def layers(self) -> tuple[LayerChange, ...]:
        """Changes of what is open, as the movement has them."""
        return tuple(self.movement.layers)

    @property
    def lots(self) -> set[str]:
        """The lots that it names and did not open itself."""
        named = {lot for _, lot, _ in self.parts} | {layer[0] for layer in self.movement.layers}
        return named - {THIS_MONTH, self.opens}


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


def arrears_change(movement: Movement) -> int:
    """Points that a movement adds to what is owed; negative: it takes."""
    return -sum(points for account, points in movement.booked if account == ARREARS)


def balance_change(flow: Flow) -> int:
    """Points that a movement adds to what is open and held."""
    return sum(points for _, _, points in flow.parts)


def _flow(movement: Movement) -> Flow:
    topic = movement.row[3]
    named = _BY_LAYERS.get(topic)
    if named is not None:
        parts = [(named[points > 0], lot, points) for lot, points, *_ in movement.layers]
        return Flow(movement, parts, "")
    if topic == "points-accrued.v1":
        return _opening(movement, "earned")
    if topic == "points-adjusted.v1":
        if any(points > 0 for _, points, *_ in movement.layers) or arrears_change(movement):
            return _opening(movement, "adjusted_up")
        return Flow(movement, [("adjusted_down", lot, points) for lot, points, *_ in movement.layers], "")
    if topic == "points-transferred-in.v1":
        return Flow(movement, _transferred_in(movement), "")
    if topic == "hold-captured.v1":
        return Flow(movement, [("redeemed", part.lot, -part.points) for part in _taken(movement.lots)], "")
    if topic == "redemption-reversed.v1":
        return Flow(movement, _reversal(movement), "")
    assert any(account == HELD for account, _ in movement.booked), topic
    return Flow(movement, [], "")  # held or released: from one pocket to the other


def _opening(movement: Movement, flow: str) -> Flow:
    repaid = -arrears_change(movement)
    opened = sum(points for _, points, *_ in movement.layers)
    parts: list[Part] = [(flow, THIS_MONTH, opened + repaid)]
    if repaid:
        parts.append(("repaid", THIS_MONTH, -repaid))
    return Flow(movement, parts, movement.layers[0][0] if movement.layers else "")


def _transferred_in(movement: Movement) -> list[Part]:
    """What repaid arrears is of the month in which it came: the event does not say of which lots it was."""
    parts: list[Part] = [("transferred_in", lot, points) for lot, points, *_ in movement.layers]
    if repaid := -arrears_change(movement):
        parts += [("transferred_in", THIS_MONTH, repaid), ("repaid", THIS_MONTH, -repaid)]
    return parts


def _reversal(movement: Movement) -> list[Part]:
    parts: list[Part] = [("reversed", lot, points) for lot, points, *_ in movement.layers]
    state: Any = movement.row[4]
    for part in _reversed(state).forfeited:
        parts += [("reversed", part.lot, part.points), ("expired", part.lot, -part.points)]
    return parts
