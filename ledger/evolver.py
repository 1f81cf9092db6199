"""evolve: what an event does to a member's state. Conclusions are applied, never drawn again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from ledger.events import (
    Allocation,
    ComplaintOpened,
    ComplaintResolved,
    CostAttributed,
    FollowUpCompleted,
    FollowUpScheduled,
    HoldCaptured,
    HoldReleased,
    MemberClosed,
    MemberEnrolled,
    MemberErased,
    MemberEvent,
    MemberProfileChanged,
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
    PurchaseCarried,
    PurchaseRecorded,
    PurchaseReturned,
    RedemptionCarried,
    RedemptionReversed,
    SurveyAnswered,
    WalletShareSurveyed,
)
from ledger.member import DAYS_KEPT, MONTHS_KEPT, FollowUp, HistoryError, Hold, Member, Purchase, Redemption


def evolve(member: Member, event: MemberEvent) -> Member:
    """The state after an event. Changes `member` in place and returns it.

    Raises HistoryError where the event takes what the state does not have.
    """
    _EVOLVERS[type(event)](member, event)
    member.version += 1
    if event.occurred_at > member.latest:
        member.latest = event.occurred_at
    if member.latest > member.forgets_after:
        member.forget()
    return member


def fold(member: Member, events: Iterable[MemberEvent]) -> Member:
    """The state after all of the events."""
    for event in events:
        evolve(member, event)
    return member


def split_allocations(allocations: list[Allocation], points: int) -> tuple[list[Allocation], list[Allocation]]:
    """The first `points` of some allocations, and the rest."""
    first: list[Allocation] = []
    rest: list[Allocation] = []
    for allocation in allocations:
        taken = min(points, allocation.points)
        points -= taken
        if taken == allocation.points:
            first.append(allocation)
        elif taken == 0:
            rest.append(allocation)
        else:
            first.append(_resized(allocation, taken))
            rest.append(_resized(allocation, allocation.points - taken))
    return first, rest


def _resized(allocation: Allocation, points: int) -> Allocation:
    return Allocation(
        lot=allocation.lot,
        points=points,
        available_at=allocation.available_at,
        expires_at=allocation.expires_at,
    )


# --- trade --------------------------------------------------------------------------------------------------------


def _purchase_recorded(member: Member, event: PurchaseRecorded) -> None:
    member.purchases_recorded += 1
    member.purchases[event.source, event.id] = Purchase(
        source=event.source,
        id=event.id,
        occurred_at=event.occurred_at,
        returnable_until=event.returnable_until,
        keep_until=event.keep_until,
        currency=event.currency,
        lines=event.lines,
    )
    if event.keep_until < member.forgets_after:
        member.forgets_after = event.keep_until


def _purchase_returned(member: Member, event: PurchaseReturned) -> None:
    for match in event.matches:
        purchase = member.purchases.get((match.purchase_source, match.purchase))
        if purchase is None:
            continue  # forgotten meanwhile: nothing will be decided on it again
        returned = purchase.returned or [(0, 0)] * len(purchase.lines)
        for line, quantity, amount in match.lines:
            before = returned[line]
            returned[line] = (before[0] + quantity, before[1] + amount)
        purchase.returned = returned
        purchase.clawed_back += match.points_due


# --- points -------------------------------------------------------------------------------------------------------


def _points_accrued(member: Member, event: PointsAccrued) -> None:
    member.lots_opened += 1
    if event.repaid:
        _repay(member, event.repaid)
    member.add_layer(event.lot, event.points - event.repaid, event.occurred_at, event.available_at, event.expires_at)
    if event.purchase is not None:
        purchase = member.purchases.get((event.source, event.purchase))
        if purchase is not None:
            purchase.earned = event.points
            purchase.weights = event.weights
            purchase.lot = event.lot
    if event.earned_on is not None:
        _count(member.earned_days, event.earned_on, event.points, DAYS_KEPT)
        _count(member.earned_months, (event.earned_on.year, event.earned_on.month), event.points, MONTHS_KEPT)


def _count(counts: dict[Any, int], period: Any, points: int, most: int) -> None:
    counts[period] = counts.get(period, 0) + points
    if len(counts) > most:
        del counts[min(counts)]


def _repay(member: Member, points: int) -> None:
    member.arrears -= points
    if member.arrears < 0:
        raise HistoryError(f"{member.member}: repays {-member.arrears} points more than its arrears")
    if member.arrears == 0:
        member.arrears_since = None


def _owe(member: Member, points: int, at: datetime | None) -> None:
    if points and at is not None:
        member.arrears += points
        member.arrears_since = at if member.arrears_since is None else max(at, member.arrears_since)


def _points_redeemed(member: Member, event: PointsRedeemed) -> None:
    member.spent += member.take(event.allocations)
    _remember_redemption(member, event)


def _remember_redemption(member: Member, event: PointsRedeemed | HoldCaptured) -> None:
    member.redemptions[event.source, event.id] = Redemption(
        source=event.source,
        id=event.id,
        occurred_at=event.occurred_at,
        reversible_until=event.reversible_until,
        keep_until=event.keep_until,
        allocations=event.allocations,
    )
    member.forgets_after = min(member.forgets_after, event.keep_until)


def _redemption_reversed(member: Member, event: RedemptionReversed) -> None:
    member.spent -= event.points
    member.expired += sum(allocation.points for allocation in event.forfeited)
    _give_back(member, event.restored, event.occurred_at)
    redemption = member.redemptions.get((event.redemption_source, event.redemption))
    if redemption is not None:
        redemption.allocations = split_allocations(redemption.allocations, event.points)[1]


def _give_back(member: Member, allocations: list[Allocation], at: datetime) -> None:
    for allocation in allocations:
        member.add_layer(allocation.lot, allocation.points, at, allocation.available_at, allocation.expires_at)


def _points_held(member: Member, event: PointsHeld) -> None:
    member.take(event.allocations)
    member.holds[event.source, event.id] = Hold(
        source=event.source,
        id=event.id,
        occurred_at=event.occurred_at,
        times_out_at=event.times_out_at,
        allocations=event.allocations,
    )


def _hold_captured(member: Member, event: HoldCaptured) -> None:
    _draw_from_hold(member, (event.hold_source, event.hold), event.points)
    member.spent += event.points
    _remember_redemption(member, event)


def _hold_released(member: Member, event: HoldReleased) -> None:
    _draw_from_hold(member, (event.hold_source, event.hold), event.points)
    for allocation in event.allocations:
        available_at = max(allocation.available_at, event.occurred_at)
        member.add_layer(allocation.lot, allocation.points, event.occurred_at, available_at, allocation.expires_at)


def _draw_from_hold(member: Member, key: tuple[str, str], points: int) -> None:
    hold = member.holds.get(key)
    if hold is None:
        raise HistoryError(f"{member.member} has no open hold {key[1]} of {key[0]}")
    hold.allocations = split_allocations(hold.allocations, points)[1]
    if not hold.allocations:
        del member.holds[key]


def _points_expired(member: Member, event: PointsExpired) -> None:
    member.expired += member.take(event.allocations)


def _points_clawed_back(member: Member, event: PointsClawedBack) -> None:
    member.take(event.allocations)
    _owe(member, event.arrears, event.occurred_at)


def _points_adjusted(member: Member, event: PointsAdjusted) -> None:
    member.take(event.allocations)
    if event.points > 0:
        member.lots_opened += 1
    if event.repaid:
        _repay(member, event.repaid)
    if event.lot is not None:
        _receive(member, [event.lot])


def _receive(member: Member, lots: list[OpenedLot]) -> None:
    for lot in lots:
        member.add_layer(lot.lot, lot.points, lot.opened_at, lot.available_at, lot.expires_at)


def _points_transferred_out(member: Member, event: PointsTransferredOut) -> None:
    member.take(event.allocations)


def _points_transferred_in(member: Member, event: PointsTransferredIn) -> None:
    if event.repaid:
        _repay(member, event.repaid)
    _receive(member, event.lots)


# --- membership ---------------------------------------------------------------------------------------------------


def _member_enrolled(member: Member, event: MemberEnrolled) -> None:
    member.status = "open"
    member.attributes = dict(event.attributes)


def _member_profile_changed(member: Member, event: MemberProfileChanged) -> None:
    for name, value in event.attributes.items():
        if value is None:
            member.attributes.pop(name, None)
        else:
            member.attributes[name] = value


def _member_ended(member: Member, event: MemberClosed | MemberErased) -> None:
    member.take(event.forfeited)
    member.status = "closed" if isinstance(event, MemberClosed) else "erased"
    member.attributes.clear()
    if event.arrears_written_off:
        _repay(member, event.arrears_written_off)
    member.purchases.clear()
    member.redemptions.clear()


def _members_merged(member: Member, event: MembersMerged) -> None:
    if event.side == "in":
        member.absorbed[event.other] = event
        _take_over(member, event)
        return
    member.status = "merged"
    member.merged_into = event.other
    member.order.clear()
    member.lots.clear()
    member.arrears = 0
    member.arrears_since = None
    member.purchases.clear()
    member.redemptions.clear()


def _merge_undone(member: Member, event: MergeUndone) -> None:
    if event.side == "in":
        member.status = "open"
        member.merged_into = ""
        _take_over(member, event)
        return
    del member.absorbed[event.other]
    member.take(
        [
            Allocation(lot=lot.lot, points=lot.points, available_at=lot.available_at, expires_at=lot.expires_at)
            for lot in event.lots
        ]
    )
    if event.arrears:
        _repay(member, event.arrears)
    for purchase in event.purchases:
        member.purchases.pop((purchase.source, purchase.id), None)
    for redemption in event.redemptions:
        member.redemptions.pop((redemption.source, redemption.id), None)
    member.forget()  # what goes may have stood before something that is due to be forgotten


def _take_over(member: Member, event: MembersMerged | MergeUndone) -> None:
    _receive(member, event.lots)
    _owe(member, event.arrears, event.arrears_since)
    for carried in event.purchases:
        member.purchases.setdefault((carried.source, carried.id), _purchase(carried))
    for redemption in event.redemptions:
        member.redemptions.setdefault((redemption.source, redemption.id), _redemption(redemption))
    member.forget()  # what comes may be older than this stream's newest event, which may not move


def _purchase(carried: PurchaseCarried) -> Purchase:
    return Purchase(
        source=carried.source,
        id=carried.id,
        occurred_at=carried.occurred_at,
        returnable_until=carried.returnable_until,
        keep_until=carried.keep_until,
        currency=carried.currency,
        lines=carried.lines,
        returned=list(carried.returned) or None,
        earned=carried.earned,
        clawed_back=carried.clawed_back,
        weights=carried.weights,
        lot=carried.lot,
    )


def _redemption(carried: RedemptionCarried) -> Redemption:
    return Redemption(
        source=carried.source,
        id=carried.id,
        occurred_at=carried.occurred_at,
        reversible_until=carried.reversible_until,
        keep_until=carried.keep_until,
        allocations=carried.allocations,
    )


# --- satisfaction -------------------------------------------------------------------------------------------------


def _complaint_opened(member: Member, event: ComplaintOpened) -> None:
    member.complaints[event.id] = event.occurred_at


def _complaint_resolved(member: Member, event: ComplaintResolved) -> None:
    member.complaints.pop(event.complaint, None)


def _follow_up_scheduled(member: Member, event: FollowUpScheduled) -> None:
    member.follow_ups[event.id] = FollowUp(scheduled_at=event.occurred_at, due_at=event.due_at)


def _follow_up_completed(member: Member, event: FollowUpCompleted) -> None:
    member.follow_ups.pop(event.follow_up, None)


def _nothing(member: Member, event: MemberEvent) -> None:
    """No later decision depends on it."""


_EVOLVERS: dict[type[MemberEvent], Callable[[Member, Any], None]] = {
    PurchaseRecorded: _purchase_recorded,
    PointsAccrued: _points_accrued,
    PurchaseReturned: _purchase_returned,
    PointsRedeemed: _points_redeemed,
    RedemptionReversed: _redemption_reversed,
    PointsHeld: _points_held,
    HoldCaptured: _hold_captured,
    HoldReleased: _hold_released,
    PointsExpired: _points_expired,
    PointsClawedBack: _points_clawed_back,
    PointsAdjusted: _points_adjusted,
    PointsTransferredOut: _points_transferred_out,
    PointsTransferredIn: _points_transferred_in,
    MemberEnrolled: _member_enrolled,
    MemberProfileChanged: _member_profile_changed,
    MemberClosed: _member_ended,
    MemberErased: _member_ended,
    MembersMerged: _members_merged,
    MergeUndone: _merge_undone,
    SurveyAnswered: _nothing,
    ComplaintOpened: _complaint_opened,
    ComplaintResolved: _complaint_resolved,
    FollowUpScheduled: _follow_up_scheduled,
    FollowUpCompleted: _follow_up_completed,
    CostAttributed: _nothing,
    WalletShareSurveyed: _nothing,
}
