"""decide: what a command does to a member, under the terms in force. Pure: no clock, no randomness, no database.

A decision is the events to record, or a Rejection. docs/rules.md says what every verb does; the order of the checks in
each function is the precedence of `ledger.rejections.CODES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from msgspec import Struct

from ledger.commands import (
    AccruePoints,
    AdjustPoints,
    AnyMemberCommand,
    AttributeCost,
    CaptureHold,
    ChangeProfile,
    ClawBackPoints,
    CloseMember,
    CompleteFollowUp,
    EnrolMember,
    EraseMember,
    ExpirePoints,
    HoldPoints,
    MemberCommand,
    MergeMembers,
    OpenComplaint,
    RecordPurchase,
    RecordReturn,
    RecordSurvey,
    RecordWalletShare,
    RedeemPoints,
    ReleaseHold,
    ResolveComplaint,
    ReverseRedemption,
    ScheduleFollowUp,
    TransferPoints,
    UndoMerge,
)
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
    RedemptionCarried,
    RedemptionReversed,
    SurveyAnswered,
    WalletShareSurveyed,
)
from ledger.evolver import evolve, split_allocations
from ledger.member import Hold, Layer, Member, Purchase, Redemption, clone
from ledger.rejections import Rejection
from ledger.returns import Clawback, decide_return
from ledger.spending import available_points, claw_back, layers_taken
from ledger.surveys import Survey, refuse_answer, weights_of
from ledger.terms import Terms
from ledger.values import FAR, POINTS_MAX


class Programme(Struct, frozen=True, kw_only=True, gc=False):
    """What deciding needs to know of the programme itself; `surveys` are all versions of each, in order."""

    programme: str
    currency: str
    time_zone: str = "UTC"
    surveys: Mapping[str, Sequence[Survey]] = {}


Decision: TypeAlias = tuple[MemberEvent, ...] | Rejection
PairDecision: TypeAlias = tuple[tuple[MemberEvent, ...], tuple[MemberEvent, ...]] | Rejection


def decide(member: Member, command: AnyMemberCommand, terms: Terms | None, programme: Programme) -> Decision:
    """What a command to one member does. `command.programme` is set.

    `terms` are those in force at the command's occurred_at, None where there are none.
    """
    return _DECIDERS[type(command)](member, command, terms, programme)


def decide_pair(
    first: Member,
    second: Member,
    command: TransferPoints | MergeMembers | UndoMerge,
) -> PairDecision:
    """What a command to two members does: the events of `command.member`, and those of the other one."""
    return _PAIR_DECIDERS[type(command)](first, second, command)


def other_member(member: Member, command: MemberCommand) -> str | None:
    """Whom a command touches besides `command.member`; None for a command to one member."""
    if isinstance(command, TransferPoints):
        return command.to
    if isinstance(command, MergeMembers):
        return command.into
    if isinstance(command, UndoMerge):
        return member.merged_into or None
    return None


def _of(command: MemberCommand) -> dict[str, Any]:
    """What every event takes over from its command."""
    return {
        "programme": command.programme,
        "member": command.member,
        "occurred_at": command.occurred_at,
        "source": command.source,
        "id": command.id,
    }


# --- what several verbs check -------------------------------------------------------------------------------------


def _terms_missing(command: MemberCommand) -> Rejection:
    return Rejection("TERMS_MISSING", "occurred_at", "no terms are in force at this time", _iso(command.occurred_at))


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _not_open(member: Member, field: str = "member") -> Rejection:
    name = member.member
    match member.status:
        case "unknown":
            return Rejection("MEMBER_UNKNOWN", field, "must be enrolled", name)
        case "merged":
            return Rejection("MEMBER_MERGED", field, f"was merged into {member.merged_into}: use that member", name)
        case "closed":
            return Rejection("MEMBER_CLOSED", field, "must not be closed", name)
        case _:
            return Rejection("MEMBER_ERASED", field, "must not be erased", name)


def _refuse_unless_settled(member: Member, at: datetime) -> Rejection | None:
    """A membership ends only with no open hold, and not before something that already happened."""
    if member.holds:
        return Rejection("OPEN_HOLDS", "member", f"has {len(member.holds)} open holds", member.member)
    return _refuse_backdated(member, at)


def _refuse_backdated(member: Member, at: datetime) -> Rejection | None:
    if at < member.latest:
        rule = f"may not be before the newest event of {member.member}, {_iso(member.latest)}"
        return Rejection("OCCURRED_BEFORE_LATEST", "occurred_at", rule, _iso(at))
    return None


def _refuse_currency(currency: str, programme: Programme) -> Rejection | None:
    if currency == programme.currency:
        return None
    return Rejection("CURRENCY_MISMATCH", "currency", f"must be {programme.currency}, the programme's", currency)


def _insufficient(member: Member, points: int, at: datetime) -> Rejection:
    rule = f"exceeds the {available_points(member, at)} points available at {_iso(at)}"
    return Rejection("INSUFFICIENT_POINTS", "points", rule, str(points))


def _after_timeouts(member: Member, command: MemberCommand) -> tuple[Member, tuple[MemberEvent, ...]]:
    """The member as time has made it by the command's instant, and the releases that say so."""
    releases = tuple(
        _release(command, hold, "timed_out")
        for hold in member.holds.values()
        if hold.times_out_at <= command.occurred_at
    )
    if not releases:
        return member, ()
    trial = clone(member)
    for event in releases:
        evolve(trial, event)
    return trial, releases


def _named(entries: Iterable[Any], id: str, source: str | None, own: str) -> list[Any]:
    """The entries of an id: those of the source that is named, else the one of the command's own, else all."""
    found = [entry for entry in entries if entry.id == id and source in (None, entry.source)]
    return [entry for entry in found if entry.source == own] or found


def _find(entries: Iterable[Any], id: str, source: str | None, own: str, field: str, noun: str) -> Any | Rejection:
    found = _named(entries, id, source, own)
    if not found:
        window = {"hold": "open", "redemption": "within its reversal window"}[noun]
        return Rejection(f"{noun.upper()}_NOT_FOUND", field, f"the member has no such {noun} {window}", id)
    if len(found) > 1:
        sources = ", ".join(sorted(entry.source for entry in found))
        return Rejection(f"{noun.upper()}_AMBIGUOUS", f"{field}_source", f"must be one of {sources}", id)
    return found[0]


# --- membership ---------------------------------------------------------------------------------------------------


def _enrol(member: Member, command: EnrolMember, terms: Terms | None, programme: Programme) -> Decision:
    if member.status == "open":
        return Rejection("MEMBER_ALREADY_ENROLLED", "member", "is enrolled already", command.member)
    if member.status != "unknown":
        return _not_open(member)
    return (
        MemberEnrolled(
            **_of(command),
            channel=command.channel,
            store=command.store,
            referrer=command.referrer,
            attributes=command.attributes,
        ),
    )


def _change_profile(member: Member, command: ChangeProfile, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    if not command.personal and not command.attributes:
        return Rejection("NOTHING_TO_CHANGE", "personal", "personal or attributes must name something to change")
    return (
        MemberProfileChanged(
            **_of(command),
            attributes=command.attributes,
        ),
    )


def _close(member: Member, command: CloseMember, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    if refusal := _refuse_unless_settled(member, command.occurred_at):
        return refusal
    return (_ending(MemberClosed, member, command, programme),)


def _erase(member: Member, command: EraseMember, terms: Terms | None, programme: Programme) -> Decision:
    if member.status not in ("open", "closed", "merged"):
        return _not_open(member)
    if refusal := _refuse_unless_settled(member, command.occurred_at):
        return refusal
    return (_ending(MemberErased, member, command, programme),)


def _ending(
    event: type[MemberClosed] | type[MemberErased],
    member: Member,
    command: CloseMember | EraseMember,
    programme: Programme,
) -> MemberClosed | MemberErased:
    return event(
        **_of(command),
        reason=command.reason,
        forfeited=[layer.allocation(layer.points) for layer in member.layers()],
        arrears_written_off=member.arrears,
    )


# --- trade --------------------------------------------------------------------------------------------------------


def _purchase(member: Member, command: RecordPurchase, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    if refusal := _refuse_currency(command.currency, programme):
        return refusal
    at = command.occurred_at
    purchase = PurchaseRecorded(
        programme=programme.programme,
        member=command.member,
        occurred_at=at,
        source=command.source,
        id=command.id,
        currency=command.currency,
        lines=command.lines,
        terms=terms.version,
        returnable_until=terms.returnable_until(at),
        keep_until=terms.purchase_kept_until(at),
        channel=command.channel,
        store=command.store,
    )
    earning = terms.earn(
        command.lines,
        channel=command.channel,
        store=command.store,
        occurred_at=at,
        first_purchase=member.purchases_recorded == 0,
        attributes=member.attributes,
        earned_in_day=lambda day: member.earned_days.get(day, 0),
        earned_in_month=lambda month: member.earned_months.get(month, 0),
    )
    if earning.points == 0:
        return (purchase,)
    if earning.points > POINTS_MAX:
        return Rejection("POINTS_OUT_OF_RANGE", "lines", f"may earn at most {POINTS_MAX} points", str(earning.points))
    return (
        purchase,
        PointsAccrued(
            programme=programme.programme,
            member=command.member,
            occurred_at=at,
            source=command.source,
            id=command.id,
            lot=_next_lot(member),
            points=earning.points,
            available_at=terms.available_at(at),
            expires_at=terms.expires_at(at),
            terms=terms.version,
            repaid=_repaid(member, earning.points, at),
            purchase=command.id,
            base_minor=earning.base_minor,
            parts=earning.parts,
            weights=earning.weights,
            scale=earning.scale,
            cap=earning.cap,
            before_cap=earning.before_cap,
            earned_on=earning.earned_on,
        ),
    )


def _next_lot(member: Member) -> str:
    return f"{member.member}.{member.lots_opened + 1:06d}"


def _repaid(member: Member, points: int, at: datetime) -> int:
    """How much of new points repays arrears: none where the points are older than the debt."""
    if member.arrears_since is None or at < member.arrears_since:
        return 0
    return min(points, member.arrears)


def _return(member: Member, command: RecordReturn, terms: Terms | None, programme: Programme) -> Decision:
    if command.lines is not None and command.amount_minor is not None:
        return Rejection(
            "INVALID_FIELD", "amount_minor", "must be left out where lines are given", str(command.amount_minor)
        )
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    if refusal := _refuse_currency(command.currency, programme):
        return refusal
    decision = decide_return(member, command, terms)
    if isinstance(decision, Rejection):
        return decision
    returned, clawbacks = decision
    events: list[MemberEvent] = [returned]
    trial = member
    for number, clawback in enumerate(clawbacks):
        if number:  # each takes from what the ones before it left
            trial = evolve(clone(member) if trial is member else trial, events[-1])
        events.append(_clawed_back(trial, clawback, command, terms))
    return tuple(events)


def _clawed_back(
    member: Member, clawback: Clawback, command: RecordReturn | ClawBackPoints, terms: Terms
) -> PointsClawedBack:
    policy = terms.return_policy
    allocations, arrears, waived = claw_back(member, clawback.due, clawback.lot, command.occurred_at, policy)
    return PointsClawedBack(
        **_of(command),
        due=clawback.due,
        allocations=allocations,
        arrears=arrears,
        waived=waived,
        policy=policy,
        terms=terms.version,
        purchase=clawback.purchase,
        purchase_source=clawback.purchase_source,
        reason=command.reason,
    )


# --- points -------------------------------------------------------------------------------------------------------


def _accrue(member: Member, command: AccruePoints, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    at = command.occurred_at
    return (
        PointsAccrued(
            **_of(command),
            lot=_next_lot(member),
            points=command.points,
            available_at=terms.available_at(at),
            expires_at=terms.expires_at(at),
            terms=terms.version,
            repaid=_repaid(member, command.points, at),
            reason=command.reason,
        ),
    )


def _redeem(member: Member, command: RedeemPoints, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    points, at = command.points, command.occurred_at
    if points < terms.minimum:
        return Rejection("POINTS_BELOW_MINIMUM", "points", f"must be at least {terms.minimum}", str(points))
    if points % terms.step:
        return Rejection("POINTS_NOT_A_STEP", "points", f"must be a multiple of {terms.step}", str(points))
    timed, releases = _after_timeouts(member, command)
    allocations = layers_taken(timed, points, at)
    if allocations is None:
        return _insufficient(timed, points, at)
    return (
        *releases,
        PointsRedeemed(
            **_of(command),
            points=points,
            allocations=allocations,
            reversible_until=terms.reversible_until(at),
            keep_until=terms.redemption_kept_until(at),
            terms=terms.version,
            reason=command.reason,
        ),
    )


def _reverse(member: Member, command: ReverseRedemption, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    at = command.occurred_at
    redemption = _find(
        member.redemptions.values(),
        command.redemption,
        command.redemption_source,
        command.source,
        "redemption",
        "redemption",
    )
    if isinstance(redemption, Rejection):
        return redemption
    assert isinstance(redemption, Redemption)
    if at < redemption.occurred_at:
        rule = f"may not be before the redemption, {_iso(redemption.occurred_at)}"
        return Rejection("REVERSAL_BEFORE_REDEMPTION", "occurred_at", rule, _iso(at))
    if at > redemption.reversible_until:
        rule = f"may not be after {_iso(redemption.reversible_until)}"
        return Rejection("REVERSAL_WINDOW_PASSED", "occurred_at", rule, _iso(at))
    left = sum(allocation.points for allocation in redemption.allocations)
    points = command.points if command.points is not None else left
    if points > left or left == 0:
        return Rejection("REVERSAL_EXCEEDS_REDEMPTION", "points", f"only {left} are left to reverse", str(points))
    restored, forfeited = _restored(split_allocations(redemption.allocations, points)[0], at, terms)
    return (
        RedemptionReversed(
            **_of(command),
            redemption=redemption.id,
            redemption_source=redemption.source,
            points=points,
            restored=restored,
            forfeited=forfeited,
            terms=terms.version,
            reason=command.reason,
        ),
    )


def _restored(allocations: list[Allocation], at: datetime, terms: Terms) -> tuple[list[Allocation], list[Allocation]]:
    """What comes back of reversed allocations, each to its own lot, and what is forfeited."""
    restored: list[Allocation] = []
    forfeited: list[Allocation] = []
    for allocation in allocations:
        expires_at = allocation.expires_at
        if expires_at is not None and expires_at <= at:
            expires_at = terms.reversed_expiry(at)
            if expires_at is None:
                forfeited.append(allocation)
                continue
        restored.append(
            Allocation(
                lot=allocation.lot,
                points=allocation.points,
                available_at=max(allocation.available_at, at),
                expires_at=expires_at,
            )
        )
    return restored, forfeited


def _hold(member: Member, command: HoldPoints, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    at = command.occurred_at
    timed, releases = _after_timeouts(member, command)
    allocations = layers_taken(timed, command.points, at)
    if allocations is None:
        return _insufficient(timed, command.points, at)
    return (
        *releases,
        PointsHeld(
            **_of(command),
            points=command.points,
            allocations=allocations,
            times_out_at=terms.times_out_at(at),
            terms=terms.version,
            reason=command.reason,
        ),
    )


def _open_hold(member: Member, command: CaptureHold | ReleaseHold) -> Hold | Rejection:
    hold = _find(member.holds.values(), command.hold, command.hold_source, command.source, "hold", "hold")
    if isinstance(hold, Rejection):
        return hold
    assert isinstance(hold, Hold)
    if command.occurred_at < hold.occurred_at:
        rule = f"may not be before the hold, {_iso(hold.occurred_at)}"
        return Rejection("OCCURRED_BEFORE_HOLD", "occurred_at", rule, _iso(command.occurred_at))
    return hold


def _capture(member: Member, command: CaptureHold, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    at = command.occurred_at
    hold = _open_hold(member, command)
    if isinstance(hold, Rejection):
        return hold
    if at >= hold.times_out_at:
        return Rejection("HOLD_TIMED_OUT", "occurred_at", f"the hold timed out at {_iso(hold.times_out_at)}", _iso(at))
    left = sum(allocation.points for allocation in hold.allocations)
    points = command.points if command.points is not None else left
    if points > left:
        return Rejection("CAPTURE_EXCEEDS_HOLD", "points", f"only {left} are held", str(points))
    captured, rest = split_allocations(hold.allocations, points)
    capture = HoldCaptured(
        **_of(command),
        hold=hold.id,
        hold_source=hold.source,
        points=points,
        allocations=captured,
        reversible_until=terms.reversible_until(at),
        keep_until=terms.redemption_kept_until(at),
        reason=command.reason,
    )
    if command.release_rest and rest:
        return (capture, _release(command, hold, "rest_of_capture", rest))
    return (capture,)


def _release_hold(member: Member, command: ReleaseHold, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    hold = _open_hold(member, command)
    if isinstance(hold, Rejection):
        return hold
    return (_release(command, hold, "requested"),)


def _release(command: MemberCommand, hold: Hold, why: Any, allocations: list[Allocation] | None = None) -> HoldReleased:
    given_back = hold.allocations if allocations is None else allocations
    return HoldReleased(
        **_of(command),
        hold=hold.id,
        hold_source=hold.source,
        points=sum(allocation.points for allocation in given_back),
        allocations=given_back,
        why=why,
        reason=getattr(command, "reason", ""),
    )


def _expire(member: Member, command: ExpirePoints, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    at = command.occurred_at
    timed, releases = _after_timeouts(member, command)
    # A layer given back after `at` was not there at `at`, though it may have expired by then.
    allocations = [layer.allocation(layer.points) for layer in timed.expired_at(at) if layer.opened_at <= at]
    if allocations:
        expired = PointsExpired(
            **_of(command),
            points=sum(allocation.points for allocation in allocations),
            allocations=allocations,
        )
        return (*releases, expired)
    if releases:
        return releases
    rule = "nothing has expired or timed out by this time"
    return Rejection("NOTHING_TO_EXPIRE", "occurred_at", rule, _iso(at))


def _claw_back(member: Member, command: ClawBackPoints, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    return (_clawed_back(member, Clawback(due=command.points), command, terms),)


def _adjust(member: Member, command: AdjustPoints, terms: Terms | None, programme: Programme) -> Decision:
    if terms is None:
        return _terms_missing(command)
    if member.status != "open":
        return _not_open(member)
    points, at = command.points, command.occurred_at
    if points == 0:
        return Rejection("POINTS_ZERO", "points", "may not be zero", "0")
    releases: tuple[MemberEvent, ...] = ()
    allocations: list[Allocation] = []
    lot: OpenedLot | None = None
    repaid = 0
    if points > 0:
        repaid = _repaid(member, points, at)
        if points > repaid:
            lot = OpenedLot(
                lot=_next_lot(member),
                points=points - repaid,
                opened_at=at,
                available_at=at,
                expires_at=terms.expires_at(at),
            )
    else:
        timed, releases = _after_timeouts(member, command)
        taken = layers_taken(timed, -points, at)
        if taken is None:
            return _insufficient(timed, -points, at)
        allocations = taken
    return (
        *releases,
        PointsAdjusted(
            **_of(command),
            points=points,
            reason=command.reason,
            approver=command.approver,
            lot=lot,
            repaid=repaid,
            allocations=allocations,
            terms=terms.version,
        ),
    )


# --- two members --------------------------------------------------------------------------------------------------


def _transfer(sender: Member, receiver: Member, command: TransferPoints) -> PairDecision:
    if sender.status != "open":
        return _not_open(sender)
    if receiver.status != "open":
        return _not_open(receiver, "to")
    if command.member == command.to:
        return Rejection("SAME_MEMBER", "to", "must be another member", command.to)
    at = command.occurred_at
    timed, releases = _after_timeouts(sender, command)
    allocations = layers_taken(timed, command.points, at)
    if allocations is None:
        return _insufficient(timed, command.points, at)
    repaid = _repaid(receiver, command.points, at)
    sent = PointsTransferredOut(
        **_of(command),
        to=command.to,
        points=command.points,
        allocations=allocations,
        reason=command.reason,
    )
    received = PointsTransferredIn(
        **_of(command) | {"member": command.to},
        sender=command.member,
        points=command.points,
        lots=[
            OpenedLot(
                lot=allocation.lot,
                points=allocation.points,
                opened_at=at,
                available_at=at,
                expires_at=allocation.expires_at,
            )
            for allocation in split_allocations(allocations, repaid)[1]
        ],
        repaid=repaid,
        reason=command.reason,
    )
    return (*releases, sent), (received,)


def _merge(member: Member, into: Member, command: MergeMembers) -> PairDecision:
    if member.status != "open":
        return _not_open(member)
    if into.status != "open":
        return _not_open(into, "into")
    if command.member == command.into:
        return Rejection("SAME_MEMBER", "into", "must be another member", command.into)
    at = command.occurred_at
    if refusal := _refuse_unless_settled(member, at) or _refuse_backdated(into, at):
        return refusal
    purchases = [_purchase_carried(purchase) for purchase in member.purchases.values()]
    redemptions = [_redemption_carried(redemption) for redemption in member.redemptions.values()]

    def merged(side: Any, of: str, other: str, lots: list[OpenedLot]) -> MembersMerged:
        return MembersMerged(
            **_of(command) | {"member": of},
            side=side,
            other=other,
            reason=command.reason,
            lots=lots,
            arrears=member.arrears,
            arrears_since=at if member.arrears else None,
            purchases=purchases,
            redemptions=redemptions,
        )

    lots = [_opened_lot(layer, layer.points) for layer in member.layers()]
    return (
        (merged("out", command.member, command.into, lots),),
        (merged("in", command.into, command.member, _arriving(lots, at)),),
    )


def _undo_merge(member: Member, survivor: Member, command: UndoMerge) -> PairDecision:
    if member.status != "merged":
        if member.status == "unknown":
            return _not_open(member)
        return Rejection("MEMBER_NOT_MERGED", "member", "must have been merged", command.member)
    if survivor.status != "open":
        return _not_open(survivor)
    at = command.occurred_at
    refusal = _refuse_unless_settled(survivor, at) or _refuse_backdated(member, at)
    if refusal:
        return refusal
    came = survivor.absorbed[command.member]
    lots = [lot for lot in (_still_there(survivor, lot) for lot in came.lots) if lot is not None]
    arrears = min(came.arrears, survivor.arrears)
    purchases = [
        _purchase_carried(survivor.purchases[key])
        for key in ((carried.source, carried.id) for carried in came.purchases)
        if key in survivor.purchases
    ]
    redemptions = [
        _redemption_carried(survivor.redemptions[key])
        for key in ((carried.source, carried.id) for carried in came.redemptions)
        if key in survivor.redemptions
    ]

    def undone(side: Any, of: str, other: str, lots: list[OpenedLot]) -> MergeUndone:
        return MergeUndone(
            **_of(command) | {"member": of},
            side=side,
            other=other,
            reason=command.reason,
            lots=lots,
            arrears=arrears,
            arrears_since=at if arrears else None,
            purchases=purchases,
            redemptions=redemptions,
        )

    return (
        (undone("in", command.member, survivor.member, _arriving(lots, at)),),
        (undone("out", survivor.member, command.member, lots),),
    )


def _opened_lot(layer: Layer, points: int) -> OpenedLot:
    return OpenedLot(
        lot=layer.lot,
        points=points,
        opened_at=layer.opened_at,
        available_at=layer.available_at,
        expires_at=None if layer.expires_at == FAR else layer.expires_at,
    )


def _arriving(lots: list[OpenedLot], at: datetime) -> list[OpenedLot]:
    """Layers as they arrive at another member: none is there before it came, and those that become alike are one."""
    arrived: dict[tuple[str, datetime, datetime | None], OpenedLot] = {}
    for lot in lots:
        available_at = max(lot.available_at, at)
        key = (lot.lot, available_at, lot.expires_at)
        arrived[key] = OpenedLot(
            lot=lot.lot,
            points=lot.points + (arrived[key].points if key in arrived else 0),
            opened_at=at,
            available_at=available_at,
            expires_at=lot.expires_at,
        )
    return list(arrived.values())


def _still_there(survivor: Member, lot: OpenedLot) -> OpenedLot | None:
    """What is left of a lot that a merge brought; None where all of it is gone."""
    for layer in survivor.lots.get(lot.lot, ()):
        if layer.available_at == lot.available_at and layer.expires_at == (lot.expires_at or FAR):
            return _opened_lot(layer, min(lot.points, layer.points))
    return None


def _purchase_carried(purchase: Purchase) -> PurchaseCarried:
    return PurchaseCarried(
        source=purchase.source,
        id=purchase.id,
        occurred_at=purchase.occurred_at,
        returnable_until=purchase.returnable_until,
        keep_until=purchase.keep_until,
        currency=purchase.currency,
        lines=purchase.lines,
        returned=list(purchase.returned or ()),
        earned=purchase.earned,
        clawed_back=purchase.clawed_back,
        weights=purchase.weights,
        lot=purchase.lot,
    )


def _redemption_carried(redemption: Redemption) -> RedemptionCarried:
    return RedemptionCarried(
        source=redemption.source,
        id=redemption.id,
        occurred_at=redemption.occurred_at,
        reversible_until=redemption.reversible_until,
        keep_until=redemption.keep_until,
        allocations=redemption.allocations,
    )


# --- satisfaction and money about the member ----------------------------------------------------------------------


def _survey(member: Member, command: RecordSurvey, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    lowest, highest = command.scale
    if lowest >= highest:
        rule = "must be [lowest, highest], lowest below highest"
        return Rejection("SCALE_INVALID", "scale", rule, str(command.scale))
    if refusal := refuse_answer(programme.surveys, command):
        return refusal
    for question, answer in command.answers.items():
        if not isinstance(answer, str) and not lowest <= answer <= highest:
            rule = f"must be within the scale {lowest} to {highest}"
            return Rejection("SCORE_OUT_OF_SCALE", f"answers.{question}", rule, str(answer))
    return (
        SurveyAnswered(
            **_of(command),
            instrument=command.instrument,
            answers=command.answers,
            scale=command.scale,
            touchpoint=command.touchpoint,
            channel=command.channel,
            store=command.store,
            purchase=command.purchase,
            survey=command.survey,
            weights=weights_of(programme.surveys, command),
        ),
    )


def _open_complaint(member: Member, command: OpenComplaint, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    return (
        ComplaintOpened(
            **_of(command),
            category=command.category,
            touchpoint=command.touchpoint,
            channel=command.channel,
            store=command.store,
            purchase=command.purchase,
        ),
    )


_ANSWERABLE = ("open", "closed", "merged")
"""What was promised to a member is still owed when it has left, or goes by another name."""


def _resolve_complaint(
    member: Member, command: ResolveComplaint, terms: Terms | None, programme: Programme
) -> Decision:
    if member.status not in _ANSWERABLE:
        return _not_open(member)
    opened_at = member.complaints.get(command.complaint)
    if opened_at is None:
        return Rejection("COMPLAINT_NOT_FOUND", "complaint", "the member has no such open complaint", command.complaint)
    if command.occurred_at < opened_at:
        return Rejection(
            "RESOLUTION_BEFORE_COMPLAINT",
            "occurred_at",
            f"must not be before the complaint, opened at {opened_at.isoformat()}",
            command.occurred_at.isoformat(),
        )
    return (
        ComplaintResolved(
            **_of(command),
            complaint=command.complaint,
            opened_at=opened_at,
            outcome=command.outcome,
        ),
    )


def _schedule_follow_up(
    member: Member, command: ScheduleFollowUp, terms: Terms | None, programme: Programme
) -> Decision:
    if member.status != "open":
        return _not_open(member)
    return (
        FollowUpScheduled(
            **_of(command),
            due_at=command.due_at,
            reason=command.reason,
            touchpoint=command.touchpoint,
            channel=command.channel,
        ),
    )


def _complete_follow_up(
    member: Member, command: CompleteFollowUp, terms: Terms | None, programme: Programme
) -> Decision:
    if member.status not in _ANSWERABLE:
        return _not_open(member)
    promised = member.follow_ups.get(command.follow_up)
    if promised is None:
        return Rejection("FOLLOW_UP_NOT_FOUND", "follow_up", "the member has no such open follow-up", command.follow_up)
    if command.occurred_at < promised.scheduled_at:
        return Rejection(
            "COMPLETION_BEFORE_FOLLOW_UP",
            "occurred_at",
            f"must not be before the follow-up, promised at {promised.scheduled_at.isoformat()}",
            command.occurred_at.isoformat(),
        )
    return (
        FollowUpCompleted(
            **_of(command),
            follow_up=command.follow_up,
            due_at=promised.due_at,
            outcome=command.outcome,
        ),
    )


def _attribute_cost(member: Member, command: AttributeCost, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    if refusal := _refuse_currency(command.currency, programme):
        return refusal
    return (
        CostAttributed(
            **_of(command),
            currency=command.currency,
            amount_minor=command.amount_minor,
            kind=command.kind,
        ),
    )


def _wallet_share(member: Member, command: RecordWalletShare, terms: Terms | None, programme: Programme) -> Decision:
    if member.status != "open":
        return _not_open(member)
    if refusal := _refuse_currency(command.currency, programme):
        return refusal
    return (
        WalletShareSurveyed(
            **_of(command),
            currency=command.currency,
            yearly_spend_minor=command.yearly_spend_minor,
        ),
    )


_DECIDERS: dict[type[MemberCommand], Callable[[Member, Any, Terms | None, Programme], Decision]] = {
    EnrolMember: _enrol,
    ChangeProfile: _change_profile,
    CloseMember: _close,
    EraseMember: _erase,
    RecordPurchase: _purchase,
    RecordReturn: _return,
    AccruePoints: _accrue,
    RedeemPoints: _redeem,
    ReverseRedemption: _reverse,
    HoldPoints: _hold,
    CaptureHold: _capture,
    ReleaseHold: _release_hold,
    ExpirePoints: _expire,
    ClawBackPoints: _claw_back,
    AdjustPoints: _adjust,
    RecordSurvey: _survey,
    OpenComplaint: _open_complaint,
    ResolveComplaint: _resolve_complaint,
    ScheduleFollowUp: _schedule_follow_up,
    CompleteFollowUp: _complete_follow_up,
    AttributeCost: _attribute_cost,
    RecordWalletShare: _wallet_share,
}
_PAIR_DECIDERS: dict[type[MemberCommand], Callable[[Member, Member, Any], PairDecision]] = {
    TransferPoints: _transfer,
    MergeMembers: _merge,
    UndoMerge: _undo_merge,
}
