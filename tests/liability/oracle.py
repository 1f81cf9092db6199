"""The liability from the core's own events, one by one, with every lot's month remembered for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ledger.events import (
    HoldCaptured,
    MemberClosed,
    MemberErased,
    MembersMerged,
    MergeUndone,
    PointsAccrued,
    PointsAdjusted,
    PointsClawedBack,
    PointsExpired,
    PointsRedeemed,
    PointsTransferredIn,
    PointsTransferredOut,
    RedemptionReversed,
)

TAKING = {PointsRedeemed: "redeemed", HoldCaptured: "redeemed", PointsExpired: "expired",
          PointsTransferredOut: "transferred_out", PointsClawedBack: "clawed_back"}  # fmt: skip


def month(at: datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date().replace(day=1)


def expected_flows(events: Iterable[Any], zone: ZoneInfo) -> Counter[tuple[date, date, str]]:
    """Points by vintage, month and flow; zeros left out."""
    events = list(events)
    born: dict[str, date] = {}
    for event in events:
        if isinstance(event, PointsAccrued):
            born[event.lot] = month(event.occurred_at, zone)
        elif isinstance(event, PointsAdjusted) and event.lot is not None:
            born[event.lot.lot] = month(event.occurred_at, zone)
    sums: Counter[tuple[date, date, str]] = Counter()
    for event in events:
        now = month(event.occurred_at, zone)

        def add(flow: str, parts: list[Any], sign: int = 1, now: date = now) -> None:
            for part in parts:
                sums[born[part.lot], now, flow] += sign * part.points

        match event:
            case PointsAccrued(points=points, repaid=repaid):
                sums[now, now, "earned"] += points
                sums[now, now, "repaid"] -= repaid
            case PointsAdjusted(points=points, repaid=repaid) if points > 0:
                sums[now, now, "adjusted_up"] += points
                sums[now, now, "repaid"] -= repaid
            case PointsAdjusted(allocations=allocations):
                add("adjusted_down", allocations, -1)
            case PointsTransferredIn(lots=lots, repaid=repaid):
                add("transferred_in", lots)
                sums[now, now, "transferred_in"] += repaid
                sums[now, now, "repaid"] -= repaid
            case RedemptionReversed(restored=restored, forfeited=forfeited):
                add("reversed", restored)
                add("reversed", forfeited)
                add("expired", forfeited, -1)
            case MembersMerged(side=side, lots=lots) | MergeUndone(side=side, lots=lots):
                add(f"merged_{side}", lots, 1 if side == "in" else -1)
            case MemberClosed(forfeited=forfeited) | MemberErased(forfeited=forfeited):
                add("forfeited", forfeited, -1)
            case _ if type(event) in TAKING:
                add(TAKING[type(event)], event.allocations, -1)
    return Counter({key: points for key, points in sums.items() if points})
