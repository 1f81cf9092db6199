"""Figures: what a member's balance was at an instant, from its state."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ledger.member import Member
from ledger.values import FAR


class Figures(Struct, frozen=True, kw_only=True):
    """Points of a member at an instant. All are >= 0, but for `spent` where a redemption that a merge brought was
    reversed.

    `balance` = active + pending + held. `expired` counts what time has expired whether or not it is recognised yet.
    `next_expiry_points` expire at `next_expiry_at`, of those available or pending.
    """

    active: int
    pending: int
    held: int
    spent: int
    expired: int
    arrears: int
    balance: int
    next_expiry_at: datetime | None
    next_expiry_points: int


def figures(member: Member, at: datetime) -> Figures:
    """The figures of a state at an instant."""
    active = pending = next_points = 0
    next_at: datetime | None = None
    for layer in member.unexpired(at):
        if layer.available_at <= at:
            active += layer.points
        else:
            pending += layer.points
        if next_at is None and layer.expires_at != FAR:
            next_at = layer.expires_at
        if layer.expires_at == next_at:
            next_points += layer.points
    held = sum(allocation.points for hold in member.holds.values() for allocation in hold.allocations)
    return Figures(
        active=active,
        pending=pending,
        held=held,
        spent=member.spent,
        expired=member.expired + sum(layer.points for layer in member.expired_at(at)),
        arrears=member.arrears,
        balance=active + pending + held,
        next_expiry_at=next_at,
        next_expiry_points=next_points,
    )
