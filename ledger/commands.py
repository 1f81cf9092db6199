"""Commands: what may be asked of the ledger, and at once the messages that upstream systems send.

A message on a wire is a command as JSON: `type` names it with its version, `source` + `id` is its idempotency key, and
unknown fields are refused. So there is one definition of each, one JSON Schema of each (`schemas/inbound`), and every
way in (file, command line, Kafka, HTTP) means the same thing by it.

Every command has `id`, `source`, `programme` (may be left out where the way in names one) and `occurred_at`, the
business time; member commands have `member`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from ledger.values import (
    LINES_MAX,
    Amount,
    CheckedIdentifier,
    CheckedLabel,
    Currency,
    CurrencyCode,
    DecimalText,
    Identifier,
    Instant,
    Label,
    MemberId,
    NewProgrammeId,
    Points,
    ProgrammeId,
    Quantity,
    Reason,
    ScaleEnd,
    SignedPoints,
    Text,
)


class PurchaseLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One line of a receipt.

    `amount_minor` is what the member pays for the whole line: after `discount_minor`, with `tax_minor` in it.
    `cost_minor` is what the goods cost the seller; left out means unknown, not zero.
    `reward` marks a line given as a reward, which earns only where the terms say so.
    """

    sku: Identifier
    quantity: Quantity
    amount_minor: Amount
    category: Label = ""
    cost_minor: Amount | None = None
    tax_minor: Amount = 0
    discount_minor: Amount = 0
    reward: bool = False


class ReturnLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Goods that came back: how many of a sku, and the amount paid back for them."""

    sku: Identifier
    quantity: Quantity
    amount_minor: Amount


class Command(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", gc=False
):
    """What every command carries."""

    id: Identifier
    source: Identifier
    programme: ProgrammeId = ""
    occurred_at: Instant


class MemberCommand(Command, frozen=True, kw_only=True):
    """A command to one member's stream."""

    member: MemberId


# --- membership ---------------------------------------------------------------------------------------------------


class EnrolMember(MemberCommand, frozen=True, kw_only=True, tag="enrolment.v1"):
    """Enrol a member. `attributes` are not personal (segment, staff, birth month); terms may refer to them."""

    channel: Label = ""
    store: Label = ""
    referrer: MemberId | None = None
    attributes: dict[Identifier, Label] = {}


class ChangeProfile(MemberCommand, frozen=True, kw_only=True, tag="profile.v1"):
    """Set personal data (sealed with the member's own key before it is recorded) and attributes; null removes one."""

    personal: dict[Identifier, Text | None] = {}
    attributes: dict[Identifier, Label | None] = {}


class CloseMember(MemberCommand, frozen=True, kw_only=True, tag="closure.v1"):
    """Close a membership; what points remain are forfeited."""

    reason: Label = ""


class EraseMember(MemberCommand, frozen=True, kw_only=True, tag="erasure.v1"):
    """Erase a member's personal data by destroying its key; the membership ends as in a closure."""

    reason: Label = ""


class MergeMembers(MemberCommand, frozen=True, kw_only=True, tag="merge.v1"):
    """Merge `member` into the member `into`, which keeps everything of both."""

    into: MemberId
    reason: Label = ""


class UndoMerge(MemberCommand, frozen=True, kw_only=True, tag="merge-undo.v1"):
    """Undo the merge of `member`: what is left of what it brought goes back to it."""

    reason: Label = ""


# --- trade --------------------------------------------------------------------------------------------------------


class RecordPurchase(MemberCommand, frozen=True, kw_only=True, tag="purchase.v1"):
    """Record a purchase and accrue what the terms in force at `occurred_at` give for it. `id` is the order's."""

    currency: Currency
    lines: Annotated[list[PurchaseLine], Meta(min_length=1, max_length=LINES_MAX)]
    channel: Label = ""
    store: Label = ""


class RecordReturn(MemberCommand, frozen=True, kw_only=True, tag="return.v1"):
    """Record a return: of a whole purchase, of some lines, or of an amount.

    `purchase` is the id of the purchase; `purchase_source` is needed only where two sources use the same id. Without
    `purchase` the `lines` are matched to the member's newest purchases of those skus inside the return window.
    """

    currency: Currency
    purchase: Identifier | None = None
    purchase_source: Identifier | None = None
    lines: Annotated[list[ReturnLine], Meta(min_length=1, max_length=LINES_MAX)] | None = None
    amount_minor: Amount | None = None
    channel: Label = ""
    store: Label = ""
    reason: Label = ""


# --- points -------------------------------------------------------------------------------------------------------


class AccruePoints(MemberCommand, frozen=True, kw_only=True, tag="accrual.v1"):
    """Give points that no purchase earned (welcome, campaign, referral), under the terms' activation and expiry."""

    points: Points
    reason: Reason


class RedeemPoints(MemberCommand, frozen=True, kw_only=True, tag="redemption.v1"):
    """Spend points, soonest expiry first."""

    points: Points
    reason: Label = ""


class ReverseRedemption(MemberCommand, frozen=True, kw_only=True, tag="reversal.v1"):
    """Give back the points of a redemption or of a captured hold, all that is left of it or `points` of it."""

    redemption: Identifier
    redemption_source: Identifier | None = None
    points: Points | None = None
    reason: Label = ""


class HoldPoints(MemberCommand, frozen=True, kw_only=True, tag="hold.v1"):
    """Set points aside for a redemption to come; the terms say when the hold times out."""

    points: Points
    reason: Label = ""


class CaptureHold(MemberCommand, frozen=True, kw_only=True, tag="capture.v1"):
    """Spend a hold: all that is left of it, or `points` of it; `release_rest` releases what then remains."""

    hold: Identifier
    hold_source: Identifier | None = None
    points: Points | None = None
    release_rest: bool = False
    reason: Label = ""


class ReleaseHold(MemberCommand, frozen=True, kw_only=True, tag="release.v1"):
    """Void a hold: what is left of it goes back to its lots."""

    hold: Identifier
    hold_source: Identifier | None = None
    reason: Label = ""


class ExpirePoints(MemberCommand, frozen=True, kw_only=True, tag="expiry.v1"):
    """Recognise what time has done by `occurred_at`: holds that timed out and lots that expired."""


class ClawBackPoints(MemberCommand, frozen=True, kw_only=True, tag="clawback.v1"):
    """Take points back for a reason other than a return (fraud, an error upstream), under the terms' return policy."""

    points: Points
    reason: Reason


class AdjustPoints(MemberCommand, frozen=True, kw_only=True, tag="adjustment.v1"):
    """Correct a balance by hand, up or down; needs a reason and who approved it."""

    points: SignedPoints
    reason: Reason
    approver: Identifier


class TransferPoints(MemberCommand, frozen=True, kw_only=True, tag="transfer.v1"):
    """Move available points from `member` to the member `to`, with their expiry."""

    to: MemberId
    points: Points
    reason: Label = ""


# --- satisfaction -------------------------------------------------------------------------------------------------


class RecordSurvey(MemberCommand, frozen=True, kw_only=True, tag="survey.v1"):
    """Record a survey answer: raw answers and the scale they were given on, [lowest, highest]. Answers in words are
    sealed with the member's own key before they are recorded.
    """

    instrument: Literal["NPS", "CSAT", "CES", "ACSI"]
    answers: Annotated[dict[Identifier, int | float | Text], Meta(min_length=1, max_length=100)]
    scale: tuple[int, int]
    touchpoint: Label = ""
    channel: Label = ""
    store: Label = ""
    purchase: Identifier | None = None
    survey: Identifier | None = None
    """A survey that was defined: its instrument, scale and questions must then fit."""


class OpenComplaint(MemberCommand, frozen=True, kw_only=True, tag="complaint.v1"):
    """Open a complaint; `id` names it."""

    category: Label = ""
    touchpoint: Label = ""
    channel: Label = ""
    store: Label = ""
    purchase: Identifier | None = None


class ResolveComplaint(MemberCommand, frozen=True, kw_only=True, tag="complaint-resolution.v1"):
    """Resolve an open complaint."""

    complaint: Identifier
    outcome: Label = ""


class ScheduleFollowUp(MemberCommand, frozen=True, kw_only=True, tag="follow-up.v1"):
    """Promise a follow-up by `due_at`; `id` names it."""

    due_at: Instant
    reason: Label = ""
    touchpoint: Label = ""
    channel: Label = ""


class CompleteFollowUp(MemberCommand, frozen=True, kw_only=True, tag="follow-up-completion.v1"):
    """Keep a promised follow-up."""

    follow_up: Identifier
    outcome: Label = ""


# --- money about the member ---------------------------------------------------------------------------------------


class AttributeCost(MemberCommand, frozen=True, kw_only=True, tag="cost.v1"):
    """Attribute a cost to serve to the member."""

    currency: Currency
    amount_minor: Amount
    kind: Label = ""


class RecordWalletShare(MemberCommand, frozen=True, kw_only=True, tag="wallet-share.v1"):
    """Record what the member says to spend in the category a year, everywhere."""

    currency: Currency
    yearly_spend_minor: Amount


# --- the programme ------------------------------------------------------------------------------------------------


class CreateProgramme(Command, frozen=True, kw_only=True, tag="programme.v1"):
    """Create a programme. `journals` is fixed for ever; `time_zone` is an IANA name."""

    programme: NewProgrammeId = ""
    name: Label = ""
    currency: CurrencyCode
    time_zone: Label = "UTC"
    journals: Annotated[int, Meta(ge=1, le=1024)] = 1


class PublishTerms(Command, frozen=True, kw_only=True, tag="terms.v1"):
    """Publish a version of the terms: a document as described in docs/terms.md."""

    document: dict[str, object]


# --- steering the programme: analyse, plan, realise ---------------------------------------------------------------


class SteeringCommand(Command, frozen=True, kw_only=True):
    """A command to a programme's objectives, plans, surveys or charts."""


class DefineSurvey(SteeringCommand, frozen=True, kw_only=True, tag="survey-definition.v1"):
    """Define a survey, or define it anew. `weights` has an integer for each question of an ACSI survey; left out, all
    weigh the same.
    """

    survey: CheckedIdentifier
    instrument: Literal["NPS", "CSAT", "CES", "ACSI"]
    scale: tuple[ScaleEnd, ScaleEnd]
    questions: Annotated[list[CheckedIdentifier], Meta(min_length=1, max_length=100)]
    weights: Annotated[list[Annotated[int, Meta(ge=0, le=1_000_000)]], Meta(max_length=100)] = []
    name: CheckedLabel = ""
    touchpoint: CheckedLabel = ""


class PyramidBand(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A band of the pyramid and its share of the active members, in percent."""

    name: CheckedIdentifier
    share_percent: DecimalText


class SetAnalysis(SteeringCommand, frozen=True, kw_only=True, tag="analysis.v1"):
    """Set after how many days without a purchase a member is inactive, and the bands of the pyramid from the top, whose
    shares add up to 100.
    """

    inactive_after_days: Annotated[int, Meta(ge=1, le=36_500)]
    bands: Annotated[list[PyramidBand], Meta(min_length=1, max_length=20)]


class FreezeBaseline(SteeringCommand, frozen=True, kw_only=True, tag="baseline.v1"):
    """Freeze the limits of a control chart, as computed on the points from `from_on` until before `until_on`."""

    chart: CheckedIdentifier
    kind: Literal["individuals", "p", "c"]
    figure: CheckedIdentifier
    period: Literal["day", "week", "month"]
    from_on: date
    until_on: date
    points: Annotated[int, Meta(ge=2, le=100_000)]
    centre: DecimalText
    sigma: DecimalText | None = None
    channel: CheckedLabel | None = None
    store: CheckedLabel | None = None
    touchpoint: CheckedLabel | None = None


class DefineObjective(SteeringCommand, frozen=True, kw_only=True, tag="objective.v1"):
    """Define a quality objective, define it anew, or retire it. `direction` says which way is better; `figure` binds it
    to a figure of this ledger.
    """

    objective: CheckedIdentifier
    name: CheckedLabel = ""
    comparator: Literal[">=", ">", "<=", "<", "="]
    target: DecimalText
    unit: CheckedIdentifier
    direction: Literal["up", "down"]
    period: Literal["day", "week", "month", "quarter", "year"]
    owner: CheckedIdentifier
    figure: CheckedIdentifier | None = None
    respond_within_days: Annotated[int, Meta(ge=1, le=3_650)] = 30
    retired: bool = False


class MeasureObjective(SteeringCommand, frozen=True, kw_only=True, tag="measurement.v1"):
    """Record what an objective came to in the period that begins on `period_on`: a value, or a bound (`>` 81.3)."""

    objective: CheckedIdentifier
    period_on: date
    value: DecimalText
    bound: Literal["", ">", ">=", "<", "<="] = ""
    sample: Annotated[int, Meta(ge=0, le=10**12)] | None = None
    evidence: CheckedLabel = ""


class RaiseNonconformity(SteeringCommand, frozen=True, kw_only=True, tag="nonconformity.v1"):
    """Say that something is not as it should be; `id` names it."""

    what: Reason
    owner: CheckedIdentifier
    due_on: date
    objective: CheckedIdentifier | None = None


class FindCause(SteeringCommand, frozen=True, kw_only=True, tag="cause.v1"):
    """Record why a nonconformity came about, and who plans what is done about it, by when."""

    nonconformity: CheckedIdentifier
    cause: Reason
    owner: CheckedIdentifier
    due_on: date


class PlanCorrectiveAction(SteeringCommand, frozen=True, kw_only=True, tag="corrective-action.v1"):
    """Plan an action against the cause; `id` names it."""

    nonconformity: CheckedIdentifier
    what: Reason
    owner: CheckedIdentifier
    due_on: date


class CompleteCorrectiveAction(SteeringCommand, frozen=True, kw_only=True, tag="corrective-action-completion.v1"):
    """Record that a planned action was done, and who verifies it, by when."""

    nonconformity: CheckedIdentifier
    action: CheckedIdentifier
    done_by: CheckedIdentifier
    owner: CheckedIdentifier
    due_on: date
    evidence: CheckedLabel = ""


class VerifyCorrectiveAction(SteeringCommand, frozen=True, kw_only=True, tag="corrective-action-verification.v1"):
    """Record whether an action that was done had its effect; if not, another is planned by `due_on`."""

    nonconformity: CheckedIdentifier
    action: CheckedIdentifier
    effective: bool
    verified_by: CheckedIdentifier
    due_on: date | None = None
    evidence: CheckedLabel = ""


class SetBudget(SteeringCommand, frozen=True, kw_only=True, tag="budget.v1"):
    """Plan a measure of the programme (`who` empty), of a segment (`attribute=value`) or of a member, from `from_on`
    until before `until_on`: minor units, an index from 0 to 100, or purchases.
    """

    direction: Literal["top_down", "bottom_up"]
    level: Literal["programme", "segment", "member"]
    who: CheckedLabel = ""
    measure: Literal["revenue", "profit", "satisfaction", "activity"]
    from_on: date
    until_on: date
    value: DecimalText


class FocusScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A question of a focus audit, its score on the assessment's scale, and what was seen."""

    item: CheckedIdentifier
    score: int
    evidence: CheckedLabel = ""


class AssessFocus(SteeringCommand, frozen=True, kw_only=True, tag="focus.v1"):
    """Record a focus audit of one factor, of the programme or of a segment (`attribute=value`)."""

    factor: Literal["organisation", "communications", "information"]
    scale: tuple[ScaleEnd, ScaleEnd]
    items: Annotated[list[FocusScore], Meta(min_length=1, max_length=200)]
    assessor: CheckedIdentifier
    segment: CheckedLabel = ""


AnyMemberCommand: TypeAlias = (
    EnrolMember
    | ChangeProfile
    | CloseMember
    | EraseMember
    | MergeMembers
    | UndoMerge
    | RecordPurchase
    | RecordReturn
    | AccruePoints
    | RedeemPoints
    | ReverseRedemption
    | HoldPoints
    | CaptureHold
    | ReleaseHold
    | ExpirePoints
    | ClawBackPoints
    | AdjustPoints
    | TransferPoints
    | RecordSurvey
    | OpenComplaint
    | ResolveComplaint
    | ScheduleFollowUp
    | CompleteFollowUp
    | AttributeCost
    | RecordWalletShare
)
AnySteeringCommand: TypeAlias = (
    DefineSurvey
    | SetAnalysis
    | FreezeBaseline
    | DefineObjective
    | MeasureObjective
    | RaiseNonconformity
    | FindCause
    | PlanCorrectiveAction
    | CompleteCorrectiveAction
    | VerifyCorrectiveAction
    | SetBudget
    | AssessFocus
)
AnyCommand: TypeAlias = AnyMemberCommand | CreateProgramme | PublishTerms | AnySteeringCommand
