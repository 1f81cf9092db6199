"""The state of a member: what deciding the next command needs, and no more.

Spent layers leave at once, purchases and redemptions once no message about them can still be accepted, so a member's
state follows what is open and not what ever happened. A state is owned by whoever folds it: `evolve` changes it in
place.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

from ledger.commands import PurchaseLine
from ledger.events import Allocation, MembersMerged
from ledger.values import FAR

STATE_LAYOUT = 3
"""Raise it when Member or what it holds changes shape or meaning: snapshots of another layout are ignored."""

DAYS_KEPT = 400
MONTHS_KEPT = 36
"""How many earning days and months are remembered for calendar caps."""

Key: TypeAlias = tuple[str, str]
"""(source, id) of the command that recorded it."""
Rank: TypeAlias = tuple[datetime, datetime, str]
"""(expires_at, available_at, lot): the spending order, and what tells two layers apart."""

_AFTER_ANY = (FAR, "\U0010ffff")
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


class HistoryError(Exception):
    """An event takes what the events before it do not give: the history is not one that this ledger recorded."""


class Layer(Struct, kw_only=True, gc=False):
    """Points of one lot that became available at one instant. `expires_at` is FAR where they never expire."""

    lot: str
    points: int
    opened_at: datetime
    available_at: datetime
    expires_at: datetime

    def allocation(self, points: int) -> Allocation:
        """`points` of this layer, as events name them."""
        return Allocation(
            lot=self.lot,
            points=points,
            available_at=self.available_at,
            expires_at=None if self.expires_at is FAR or self.expires_at == FAR else self.expires_at,
        )


class Purchase(Struct, kw_only=True, gc=False):
    """A purchase inside its return window."""

    source: str
    id: str
    occurred_at: datetime
    returnable_until: datetime
    keep_until: datetime
    currency: str
    lines: list[PurchaseLine]
    returned: list[tuple[int, int]] | None = None
    """For each line the quantity and amount that came back; None while nothing did."""
    earned: int = 0
    clawed_back: int = 0
    """Points that were due for what came back."""
    weights: list[int] = []
    lot: str = ""

    def left(self, line: int) -> tuple[int, int]:
        """Quantity and amount of a line that did not come back."""
        bought = self.lines[line]
        if self.returned is None:
            return bought.quantity, bought.amount_minor
        quantity, amount = self.returned[line]
        return bought.quantity - quantity, bought.amount_minor - amount


class Redemption(Struct, kw_only=True, gc=False):
    """A redemption inside its reversal window; `allocations` are what is left to reverse."""

    source: str
    id: str
    occurred_at: datetime
    reversible_until: datetime
    keep_until: datetime
    allocations: list[Allocation]


class Hold(Struct, kw_only=True, gc=False):
    """An open hold; `allocations` are what is left of it."""

    source: str
    id: str
    occurred_at: datetime
    times_out_at: datetime
    allocations: list[Allocation]


class FollowUp(Struct, kw_only=True, gc=False):
    """A follow-up that was promised and is not kept."""

    scheduled_at: datetime
    due_at: datetime


class Member(Struct, kw_only=True, gc=False):
    """A member's state after `version` events."""

    member: str
    version: int = 0
    status: str = "unknown"
    """unknown, open, closed, erased or merged."""
    latest: datetime = _LONG_AGO
    """The newest occurred_at of the stream."""
    attributes: dict[str, str] = field(default_factory=dict)
    merged_into: str = ""
    absorbed: dict[str, MembersMerged] = field(default_factory=dict)
    """What each member merged into this one brought."""
    lots_opened: int = 0
    order: list[Rank] = field(default_factory=list)
    """The ranks of all layers, in spending order."""
    lots: dict[str, list[Layer]] = field(default_factory=dict)
    arrears: int = 0
    arrears_since: datetime | None = None
    spent: int = 0
    expired: int = 0
    purchases_recorded: int = 0
    purchases: dict[Key, Purchase] = field(default_factory=dict)
    redemptions: dict[Key, Redemption] = field(default_factory=dict)
    holds: dict[Key, Hold] = field(default_factory=dict)
    earned_days: dict[date, int] = field(default_factory=dict)
    earned_months: dict[tuple[int, int], int] = field(default_factory=dict)
    complaints: dict[str, datetime] = field(default_factory=dict)
    """When each open one was opened."""
    follow_ups: dict[str, FollowUp] = field(default_factory=dict)
    forgets_after: datetime = FAR
    """Until `latest` passes it, there is nothing to forget."""

    def weight(self) -> int:
        """How many entries the state holds: what a cache counts and a snapshot costs."""
        return 1 + len(self.order) + len(self.purchases) + len(self.redemptions) + len(self.holds)

    # --- reading the layers ------------------------------------------------------------------------------------

    def layers(self) -> Iterator[Layer]:
        """All layers, in spending order."""
        return map(self.layer, self.order)

    def unexpired(self, at: datetime) -> Iterator[Layer]:
        """The layers that are not expired at an instant, in spending order."""
        start = bisect_right(self.order, (at, *_AFTER_ANY))
        return map(self.layer, self.order[start:] if start else self.order)

    def expired_at(self, at: datetime) -> Iterator[Layer]:
        """The layers that are expired at an instant, in spending order."""
        return map(self.layer, self.order[: bisect_right(self.order, (at, *_AFTER_ANY))])

    def layer(self, rank: Rank) -> Layer:
        """The layer of a rank. Raises HistoryError where there is none."""
        expires_at, available_at, lot = rank
        for layer in self.lots.get(lot, ()):
            if layer.available_at == available_at and layer.expires_at == expires_at:
                return layer
        raise HistoryError(f"{self.member} has no layer of lot {lot} available {available_at}, expiring {expires_at}")

    # --- changing them (for the evolver) -----------------------------------------------------------------------

    def add_layer(
        self, lot: str, points: int, opened_at: datetime, available_at: datetime, expires_at: datetime | None
    ) -> None:
        """Put points into a layer, which is opened if it is not there. No points, no layer."""
        if points <= 0:
            return
        expires = expires_at or FAR
        siblings = self.lots.get(lot, ())
        for layer in siblings:
            if layer.available_at == available_at and layer.expires_at == expires:
                layer.points += points
                layer.opened_at = max(layer.opened_at, opened_at)
                return
        layer = Layer(lot=lot, points=points, opened_at=opened_at, available_at=available_at, expires_at=expires)
        self.lots[lot] = [*siblings, layer]
        rank = (expires, available_at, lot)
        if self.order and self.order[-1] > rank:
            insort(self.order, rank)
        else:  # the usual case: what opens last expires last
            self.order.append(rank)

    def take(self, allocations: list[Allocation]) -> int:
        """Take points from their layers; spent layers leave. Returns the sum. Raises HistoryError on an overdraft."""
        total = 0
        for allocation in allocations:
            rank = (allocation.expires_at or FAR, allocation.available_at, allocation.lot)
            layer = self.layer(rank)
            layer.points -= allocation.points
            total += allocation.points
            if layer.points < 0:
                raise HistoryError(f"{self.member}: lot {allocation.lot} is overdrawn by {-layer.points} points")
            if layer.points == 0:
                self._drop(layer, rank)
        return total

    def _drop(self, layer: Layer, rank: Rank) -> None:
        del self.order[bisect_left(self.order, rank)]
        siblings = self.lots[layer.lot]
        siblings.remove(layer)
        if not siblings:
            del self.lots[layer.lot]

    def forget(self) -> None:
        """Forget purchases and redemptions that no message can be about any more, from the oldest recorded on."""
        self.forgets_after = min(_forget(self.purchases, self.latest), _forget(self.redemptions, self.latest))


def _forget(entries: dict[Key, Any], at: datetime) -> datetime:
    """Drop the oldest entries that need not be kept at an instant; until when the oldest one left must be."""
    while entries:
        key, oldest = next(iter(entries.items()))
        if oldest.keep_until >= at:
            kept_until: datetime = oldest.keep_until
            return kept_until
        del entries[key]
    return FAR


def initial(member_id: str) -> Member:
    """The state before the first event."""
    return Member(member=member_id)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Member)


def freeze(member: Member) -> bytes:
    """A state as bytes, for a snapshot."""
    return _encoder.encode(member)


def thaw(state: bytes) -> Member:
    """The state that `freeze` gave."""
    return _decoder.decode(state)


def clone(member: Member) -> Member:
    """A state of its own, to try events on."""
    return thaw(freeze(member))
