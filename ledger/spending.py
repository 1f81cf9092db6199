"""Choosing layers: what pays a redemption, and what a clawback takes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ledger.events import Allocation
from ledger.member import Layer, Member


def available_points(member: Member, at: datetime) -> int:
    """Points in the layers that are available at an instant."""
    return sum(layer.points for layer in member.unexpired(at) if layer.available_at <= at)


def layers_taken(member: Member, points: int, at: datetime) -> list[Allocation] | None:
    """What pays `points` at an instant, in spending order; None where the available layers do not suffice."""
    taken: list[Allocation] = []
    for layer in member.unexpired(at):
        if layer.available_at > at:
            continue
        part = min(points, layer.points)
        taken.append(layer.allocation(part))
        points -= part
        if points == 0:
            return taken
    return None


def claw_back(member: Member, due: int, lot: str, at: datetime, policy: str) -> tuple[list[Allocation], int, int]:
    """What a clawback of `due` points takes: the allocations, the arrears it leaves, and the points it waives.

    `lot` is the purchase's own, empty where there is none; docs/rules.md has the order for each policy. Layers opened
    after the instant are not touched, so that a backdated clawback cannot overdraw the past.
    """
    taken: list[Allocation] = []
    left = due
    for layer in _clawback_order(member, lot, at, policy):
        if left == 0:
            break
        part = min(left, layer.points)
        taken.append(layer.allocation(part))
        left -= part
    if policy == "arrears":
        return taken, left, 0
    return taken, 0, left


def _clawback_order(member: Member, lot: str, at: datetime, policy: str) -> Iterable[Layer]:
    own = [layer for layer in member.lots.get(lot, ()) if layer.opened_at <= at < layer.expires_at]
    own.sort(key=lambda layer: (layer.expires_at, layer.available_at))
    if policy == "only_pending":
        if lot:
            return (layer for layer in own if layer.available_at > at)
        return (layer for layer in member.unexpired(at) if layer.opened_at <= at < layer.available_at)
    return _own_then_others(member, own, lot, at)


def _own_then_others(member: Member, own: list[Layer], lot: str, at: datetime) -> Iterable[Layer]:
    yield from own
    pending: list[Layer] = []
    for layer in member.unexpired(at):
        if layer.opened_at > at or layer.lot == lot:
            continue
        if layer.available_at > at:
            pending.append(layer)
        else:
            yield layer
    yield from pending
