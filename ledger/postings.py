"""Postings: the double-entry view of an event. The postings of every event sum to zero.

Accounts hold points. What members own is positive (`open` layers, `held`), what they owe is negative (`arrears`), and
the other accounts are where points come from and go to, so their signs mirror the members'.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.events import (
    Allocation,
    Event,
    HoldCaptured,
    HoldReleased,
    MemberClosed,
    MemberErased,
    MembersMerged,
    MergeUndone,
    OpenedLot,
    PointsAccrued,
    PointsAdjusted,
    PointsClawedBack,
    PointsExpired,
    PointsHeld,
    PointsRedeemed,
    PointsTransferredIn,
    PointsTransferredOut,
    RedemptionReversed,
)

ACCOUNTS = (
    "open",
    "held",
    "arrears",
    "issued",
    "redeemed",
    "expired",
    "forfeited",
    "clawed_back",
    "adjusted",
    "transferred",
    "merged",
    "written_off",
)


class Posting(NamedTuple):
    """Points booked on an account of the event's member."""

    account: str
    points: int


def _sum(parts: list[Allocation] | list[OpenedLot]) -> int:
    return sum(part.points for part in parts)


def postings(event: Event) -> list[Posting]:
    """What an event books; nothing for an event that moves no points."""
    return [posting for posting in _booked(event) if posting.points]


def _booked(event: Event) -> list[Posting]:
    match event:
        case PointsAccrued(points=points, repaid=repaid):
            return [Posting("issued", -points), Posting("arrears", repaid), Posting("open", points - repaid)]
        case PointsRedeemed(points=points):
            return [Posting("open", -points), Posting("redeemed", points)]
        case RedemptionReversed(points=points, restored=restored, forfeited=forfeited):
            return [
                Posting("redeemed", -points),
                Posting("open", _sum(restored)),
                Posting("expired", _sum(forfeited)),
            ]
        case PointsHeld(points=points):
            return [Posting("open", -points), Posting("held", points)]
        case HoldCaptured(points=points):
            return [Posting("held", -points), Posting("redeemed", points)]
        case HoldReleased(points=points):
            return [Posting("held", -points), Posting("open", points)]
        case PointsExpired(points=points):
            return [Posting("open", -points), Posting("expired", points)]
        case PointsClawedBack(allocations=allocations, arrears=arrears):
            taken = _sum(allocations)
            return [Posting("open", -taken), Posting("arrears", -arrears), Posting("clawed_back", taken + arrears)]
        case PointsAdjusted(points=points, repaid=repaid):
            return [Posting("adjusted", -points), Posting("arrears", repaid), Posting("open", points - repaid)]
        case PointsTransferredOut(points=points):
            return [Posting("open", -points), Posting("transferred", points)]
        case PointsTransferredIn(points=points, repaid=repaid):
            return [Posting("transferred", -points), Posting("arrears", repaid), Posting("open", points - repaid)]
        case (
            MemberClosed(forfeited=forfeited, arrears_written_off=arrears)
            | MemberErased(forfeited=forfeited, arrears_written_off=arrears)
        ):
            points = _sum(forfeited)
            return [
                Posting("open", -points),
                Posting("forfeited", points),
                Posting("arrears", arrears),
                Posting("written_off", -arrears),
            ]
        case MembersMerged(side=side, lots=lots, arrears=arrears) | MergeUndone(side=side, lots=lots, arrears=arrears):
            sign = 1 if side == "in" else -1
            points = _sum(lots)
            return [
                Posting("open", sign * points),
                Posting("arrears", -sign * arrears),
                Posting("merged", sign * (arrears - points)),
            ]
        case _:
            return []
