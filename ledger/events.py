"""Events: what happened, in the past tense, as recorded for ever.

Events record conclusions, not requests: a redemption names the lots that paid, an accrual names the rule, the terms
version, the base and the weight of every line. Replaying never runs a policy again.

An event is stored as JSON under its topic, the stable type name with a version (`TOPICS`). A new version is a new
struct with a new topic and an upcaster from the old one (`ledger.upcasters`); a stored topic is never reused or
removed.

Every event carries `programme`, `occurred_at` (business time) and the identity of its command, (`source`, `id`);
those of a member's stream carry `member`. Where it was recorded (journal, position, `recorded_at`) stands in the log
beside it.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar, Literal, TypeAlias

from msgspec import Raw, Struct

from ledger.commands import PurchaseLine, ReturnLine


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What every event carries."""

    topic: ClassVar[str]

    programme: str
    occurred_at: datetime
    source: str
    id: str


class MemberEvent(Event, frozen=True, kw_only=True):
    """An event of one member's stream."""

    member: str


class Allocation(Struct, frozen=True, omit_defaults=True, gc=False):
    """Points taken from, or given back to, one layer of a lot.

    A layer is the part of a lot that became available at one instant: a lot opens with one, and what is given back
    later (a reversed redemption, a released hold) comes as a further layer, available from then on. So no layer ever
    receives points after `available_at`, and a balance as of any past instant cannot go negative.
    """

    lot: str
    points: int
    available_at: datetime
    expires_at: datetime | None = None


class OpenedLot(Struct, frozen=True, omit_defaults=True, gc=False):
    """A layer as it stands in a member's state: its points, and when it was opened (business time)."""

    lot: str
    points: int
    opened_at: datetime
    available_at: datetime
    expires_at: datetime | None = None


# --- membership ---------------------------------------------------------------------------------------------------


class MemberEnrolled(MemberEvent, frozen=True, kw_only=True):
    """The member joined. `attributes` are not personal; terms may refer to them, and segments are made of them."""

    topic: ClassVar[str] = "member-enrolled.v1"

    channel: str = ""
    store: str = ""
    referrer: str | None = None
    attributes: dict[str, str] = {}
    automatic: bool = False
    """Enrolled by its first purchase, not by a message of its own."""


class MemberProfileChanged(MemberEvent, frozen=True, kw_only=True):
    """`sealed` is the personal data, encrypted with the member's own key (base64 in JSON)."""

    topic: ClassVar[str] = "member-profile-changed.v1"

    sealed: bytes = b""
    attributes: dict[str, str | None] = {}


class MemberClosed(MemberEvent, frozen=True, kw_only=True):
    """The membership ended: what points remained were `forfeited`, and what was owed was written off."""

    topic: ClassVar[str] = "member-closed.v1"

    reason: str = ""
    forfeited: list[Allocation] = []
    arrears_written_off: int = 0


class MemberErased(MemberEvent, frozen=True, kw_only=True):
    """The membership ended as in a closure, and the key of the member's personal data was destroyed."""

    topic: ClassVar[str] = "member-erased.v1"

    reason: str = ""
    forfeited: list[Allocation] = []
    arrears_written_off: int = 0


class PurchaseCarried(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A purchase inside the return window as a merge carries it from one member to the other."""

    source: str
    id: str
    occurred_at: datetime
    returnable_until: datetime
    keep_until: datetime
    currency: str
    lines: list[PurchaseLine]
    returned: list[tuple[int, int]]
    """For each line: quantity and amount already returned."""
    earned: int = 0
    clawed_back: int = 0
    weights: list[int] = []
    lot: str = ""


class RedemptionCarried(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A redemption inside its reversal window as a merge carries it from one member to the other."""

    source: str
    id: str
    occurred_at: datetime
    reversible_until: datetime
    keep_until: datetime
    allocations: list[Allocation]


class MembersMerged(MemberEvent, frozen=True, kw_only=True):
    """Recorded on both streams: `side` is `out` on the member that ends and `in` on the one that takes over."""

    topic: ClassVar[str] = "members-merged.v1"

    side: Literal["out", "in"]
    other: str
    reason: str = ""
    lots: list[OpenedLot] = []
    arrears: int = 0
    arrears_since: datetime | None = None
    purchases: list[PurchaseCarried] = []
    redemptions: list[RedemptionCarried] = []


class MergeUndone(MemberEvent, frozen=True, kw_only=True):
    """Recorded on both streams: `side` is `out` on the member that gives back and `in` on the one that gets it back."""

    topic: ClassVar[str] = "merge-undone.v1"

    side: Literal["out", "in"]
    other: str
    reason: str = ""
    lots: list[OpenedLot] = []
    arrears: int = 0
    arrears_since: datetime | None = None
    purchases: list[PurchaseCarried] = []
    redemptions: list[RedemptionCarried] = []


# --- trade --------------------------------------------------------------------------------------------------------


class PurchaseRecorded(MemberEvent, frozen=True, kw_only=True):
    """`terms` is the version in force; `returnable_until` ends its return window, and `keep_until` the time for which a
    late message about it is still understood.
    """

    topic: ClassVar[str] = "purchase-recorded.v1"

    currency: str
    lines: list[PurchaseLine]
    terms: int
    returnable_until: datetime
    keep_until: datetime
    channel: str = ""
    store: str = ""


class ReturnMatch(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What of one purchase came back: for each line its index, quantity and amount, and the points due for it.

    `cost_minor` is what the goods that came back had cost; None where the cost of one of those lines is not known.
    """

    purchase: str
    purchase_source: str
    lines: list[tuple[int, int, int]]
    """[index of the line, quantity, amount] of what came back."""
    points_due: int
    cost_minor: int | None = None


class PurchaseReturned(MemberEvent, frozen=True, kw_only=True):
    """`matches` say which purchases the goods came from; `unmatched` lines belong to none that is known, and
    `unmatched_points_due` is what the base rate of the terms takes back for them.
    """

    topic: ClassVar[str] = "purchase-returned.v1"

    currency: str
    amount_minor: int
    """What was paid back."""
    terms: int
    matches: list[ReturnMatch] = []
    unmatched: list[ReturnLine] = []
    unmatched_points_due: int = 0
    referenced: bool = True
    """False when the message named no purchase and the ledger found the match."""
    channel: str = ""
    store: str = ""
    reason: str = ""


# --- points -------------------------------------------------------------------------------------------------------


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Lines of a purchase that earned by the same rules. `rate` is exact points for one minor unit, `multiplier` the
    stacked one, both as "n" or "n/d"; `lines` are indexes, left out when the part is every earning line.
    """

    rules: list[str]
    base_minor: int
    rate: str
    multiplier: str = "1"
    lines: list[int] | None = None


class PointsAccrued(MemberEvent, frozen=True, kw_only=True):
    """Points came in: from a purchase (`purchase` is set; same source) or given by hand or campaign (`reason` is set).

    `points` is everything earned; `repaid` of it paid arrears, the rest opened the lot. `weights` has one integer a
    line, over the common denominator `scale`: points before caps are the sum of weights over scale, rounded as the
    terms say. `cap` names the cap that bit and `before_cap` the points before it. `earned_on` is the day in the
    programme's time zone, kept where the terms cap a day or a month.
    """

    topic: ClassVar[str] = "points-accrued.v1"

    lot: str
    points: int
    available_at: datetime
    expires_at: datetime | None = None
    terms: int
    repaid: int = 0
    purchase: str | None = None
    reason: str = ""
    base_minor: int = 0
    parts: list[Part] = []
    weights: list[int] = []
    """One a line of the purchase: what it earned, as a multiple of 1 / `scale`."""
    scale: int = 1
    """The common denominator of `weights`."""
    cap: str | None = None
    before_cap: int | None = None
    earned_on: date | None = None


class PointsRedeemed(MemberEvent, frozen=True, kw_only=True):
    """Points were spent: `allocations` are the lots that paid, soonest expiry first, and how many points of each."""

    topic: ClassVar[str] = "points-redeemed.v1"

    points: int
    allocations: list[Allocation]
    reversible_until: datetime
    keep_until: datetime
    terms: int
    reason: str = ""


class RedemptionReversed(MemberEvent, frozen=True, kw_only=True):
    """`points` of the redemption were reversed, from its first allocation left on. `restored` went back to its own
    lots, as the layers named; `forfeited` belonged to lots that had expired.
    """

    topic: ClassVar[str] = "redemption-reversed.v1"

    redemption: str
    redemption_source: str
    points: int
    restored: list[Allocation] = []
    forfeited: list[Allocation] = []
    terms: int
    reason: str = ""


class PointsHeld(MemberEvent, frozen=True, kw_only=True):
    """Points were set aside for a redemption to come: still the member's, but not to be spent otherwise."""

    topic: ClassVar[str] = "points-held.v1"

    points: int
    allocations: list[Allocation]
    times_out_at: datetime
    terms: int
    reason: str = ""


class HoldCaptured(MemberEvent, frozen=True, kw_only=True):
    """A hold, or `points` of it, was spent; from then on it is a redemption under its own `id`."""

    topic: ClassVar[str] = "hold-captured.v1"

    hold: str
    hold_source: str
    points: int
    allocations: list[Allocation]
    reversible_until: datetime
    keep_until: datetime
    reason: str = ""


class HoldReleased(MemberEvent, frozen=True, kw_only=True):
    """A hold, or what was left of it, went back to its lots: released on request, by a capture, or timed out."""

    topic: ClassVar[str] = "hold-released.v1"

    hold: str
    hold_source: str
    points: int
    allocations: list[Allocation]
    """As they came from the lots; each goes back as a layer available from `occurred_at` (or later, if it was)."""
    why: Literal["requested", "timed_out", "rest_of_capture"] = "requested"
    reason: str = ""


class PointsExpired(MemberEvent, frozen=True, kw_only=True):
    """Points ran out at the end of their time; `allocations` are the lots and how many points of each."""

    topic: ClassVar[str] = "points-expired.v1"

    points: int
    allocations: list[Allocation]


class PointsClawedBack(MemberEvent, frozen=True, kw_only=True):
    """`due` = points taken from lots (`allocations`) + `arrears` newly owed + `waived` by the policy."""

    topic: ClassVar[str] = "points-clawed-back.v1"

    due: int
    allocations: list[Allocation] = []
    arrears: int = 0
    waived: int = 0
    policy: str
    terms: int
    purchase: str | None = None
    purchase_source: str | None = None
    reason: str = ""


class PointsAdjusted(MemberEvent, frozen=True, kw_only=True):
    """`points` up: `lot` opened (less `repaid`); down: `allocations` taken."""

    topic: ClassVar[str] = "points-adjusted.v1"

    points: int
    reason: str
    approver: str
    lot: OpenedLot | None = None
    repaid: int = 0
    allocations: list[Allocation] = []
    terms: int


class PointsTransferredOut(MemberEvent, frozen=True, kw_only=True):
    """Points went to another member, with their expiry; that member's stream has the other side."""

    topic: ClassVar[str] = "points-transferred-out.v1"

    to: str
    points: int
    allocations: list[Allocation]
    reason: str = ""


class PointsTransferredIn(MemberEvent, frozen=True, kw_only=True):
    """`repaid` of the points paid arrears of the receiver; the rest came as `lots`."""

    topic: ClassVar[str] = "points-transferred-in.v1"

    sender: str
    points: int
    lots: list[OpenedLot] = []
    repaid: int = 0
    reason: str = ""


# --- satisfaction -------------------------------------------------------------------------------------------------


class SurveyAnswered(MemberEvent, frozen=True, kw_only=True):
    """`answers` are numbers; those in words may be personal, and are `sealed` with the member's own key (base64 in
    JSON). Events recorded before that was so have words among `answers`.
    """

    topic: ClassVar[str] = "survey-answered.v1"

    instrument: Literal["NPS", "CSAT", "CES", "ACSI"]
    answers: dict[str, int | float | str]
    scale: tuple[int, int]
    touchpoint: str = ""
    channel: str = ""
    store: str = ""
    purchase: str | None = None
    survey: str | None = None
    """The defined survey that it answers; `scale` and `instrument` are those of its definition."""
    weights: dict[str, int] = {}
    """Of the questions of an ACSI survey, by the definition in force when it was answered; none: equal."""
    sealed: bytes = b""


class ComplaintOpened(MemberEvent, frozen=True, kw_only=True):
    """The member complained; the complaint is named by `id`."""

    topic: ClassVar[str] = "complaint-opened.v1"

    category: str = ""
    touchpoint: str = ""
    channel: str = ""
    store: str = ""
    purchase: str | None = None


class ComplaintResolved(MemberEvent, frozen=True, kw_only=True):
    """An open complaint was resolved."""

    topic: ClassVar[str] = "complaint-resolved.v1"

    complaint: str
    opened_at: datetime
    outcome: str = ""


class FollowUpScheduled(MemberEvent, frozen=True, kw_only=True):
    """A follow-up was promised; it is named by `id`."""

    topic: ClassVar[str] = "follow-up-scheduled.v1"

    due_at: datetime
    reason: str = ""
    touchpoint: str = ""
    channel: str = ""


class FollowUpCompleted(MemberEvent, frozen=True, kw_only=True):
    """A promised follow-up was kept: in time if it occurred by `due_at`."""

    topic: ClassVar[str] = "follow-up-completed.v1"

    follow_up: str
    due_at: datetime
    outcome: str = ""


# --- money about the member ---------------------------------------------------------------------------------------


class CostAttributed(MemberEvent, frozen=True, kw_only=True):
    """A cost of serving the member."""

    topic: ClassVar[str] = "cost-attributed.v1"

    currency: str
    amount_minor: int
    kind: str = ""


class WalletShareSurveyed(MemberEvent, frozen=True, kw_only=True):
    """What the member says to spend in the category a year, everywhere."""

    topic: ClassVar[str] = "wallet-share-surveyed.v1"

    currency: str
    yearly_spend_minor: int


# --- the programme ------------------------------------------------------------------------------------------------


class ProgrammeCreated(Event, frozen=True, kw_only=True):
    """A programme began, with a fixed number of `journals`."""

    topic: ClassVar[str] = "programme-created.v1"

    name: str = ""
    currency: str
    time_zone: str
    journals: int


class TermsPublished(Event, frozen=True, kw_only=True):
    """A version of the terms, in force from `effective_from` until a later one takes over."""

    topic: ClassVar[str] = "terms-published.v1"

    version: int
    effective_from: datetime
    document: Raw
    """The terms document, as canonical JSON."""


# --- steering the programme: analyse, plan, realise ---------------------------------------------------------------
# Each of these is on a small stream of its own in the programme's first journal, named beside it.


class SurveyDefined(Event, frozen=True, kw_only=True):
    """A survey as it is asked from now on (stream `survey-<survey>`). A later definition takes its place."""

    topic: ClassVar[str] = "survey-defined.v1"

    survey: str
    version: int
    instrument: Literal["NPS", "CSAT", "CES", "ACSI"]
    scale: tuple[int, int]
    questions: list[str]
    weights: list[int] = []
    """One for each question of an ACSI survey; none: equal."""
    name: str = ""
    touchpoint: str = ""


class Band(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A band of the customer pyramid: its name, and its share of the active members, in percent."""

    name: str
    share_percent: str


class AnalysisSet(Event, frozen=True, kw_only=True):
    """How the programme looks at its members from now on (stream `analysis`): after how many days without a purchase
    a member is inactive, and the bands of the pyramid, from the top; the last takes the rest.
    """

    topic: ClassVar[str] = "analysis-set.v1"

    version: int
    inactive_after_days: int
    bands: list[Band]


class BaselineFrozen(Event, frozen=True, kw_only=True):
    """The limits of a control chart, fixed on the points of a past range (stream `baseline-<chart>`). What comes after
    is judged by them; a later baseline takes their place from its own `until_on` on.

    `figure` by `period` is what is charted, of the programme or of one channel, store or touchpoint. For individuals,
    `sigma` is the mean moving range / 1.128; for a p or c chart it follows from the centre and is not recorded.
    """

    topic: ClassVar[str] = "baseline-frozen.v1"

    chart: str
    version: int
    kind: Literal["individuals", "p", "c"]
    figure: str
    period: Literal["day", "week", "month"]
    from_on: date
    until_on: date
    """Exclusive."""
    points: int
    centre: str
    sigma: str | None = None
    channel: str | None = None
    store: str | None = None
    touchpoint: str | None = None


class ObjectiveDefined(Event, frozen=True, kw_only=True):
    """A quality objective (stream `objective-<objective>`): figure `comparator` target, in a unit, every period.

    `direction` says which way is better. `figure` binds it to a figure of this ledger; without, it is measured by hand.
    `respond_within_days` is how long the owner of a missed one has for the next step.
    """

    topic: ClassVar[str] = "objective-defined.v1"

    objective: str
    version: int
    name: str = ""
    comparator: Literal[">=", ">", "<=", "<", "="]
    target: str
    unit: str
    direction: Literal["up", "down"]
    period: Literal["day", "week", "month", "quarter", "year"]
    owner: str
    figure: str | None = None
    respond_within_days: int = 30
    retired: bool = False


class ObjectiveMeasured(Event, frozen=True, kw_only=True):
    """A measurement of an objective over the period that begins on `period_on`: a value, or a bound such as > 81.3.

    `attained` is None where a bound cannot tell. A later measurement of the same period takes its place.
    """

    topic: ClassVar[str] = "objective-measured.v1"

    objective: str
    version: int
    """Of the definition that it was measured by."""
    period_on: date
    value: str
    bound: Literal["", ">", ">=", "<", "<="] = ""
    attained: bool | None = None
    sample: int | None = None
    evidence: str = ""


class NonconformityRaised(Event, frozen=True, kw_only=True):
    """Something is not as it should be (stream `nonconformity-<nonconformity>`): an objective was missed, or somebody
    says so. The owner finds the cause by `due_on`.
    """

    topic: ClassVar[str] = "nonconformity-raised.v1"

    nonconformity: str
    what: str
    owner: str
    due_on: date
    objective: str | None = None
    period_on: date | None = None


class CauseFound(Event, frozen=True, kw_only=True):
    """On the stream of the nonconformity. The owner plans a corrective action by `due_on`."""

    topic: ClassVar[str] = "cause-found.v1"

    nonconformity: str
    cause: str
    owner: str
    due_on: date


class CorrectiveActionPlanned(Event, frozen=True, kw_only=True):
    """On the stream of the nonconformity. The owner does it by `due_on`."""

    topic: ClassVar[str] = "corrective-action-planned.v1"

    nonconformity: str
    action: str
    what: str
    owner: str
    due_on: date


class CorrectiveActionDone(Event, frozen=True, kw_only=True):
    """On the stream of the nonconformity. The owner, somebody else than who did it, verifies it by `due_on`."""

    topic: ClassVar[str] = "corrective-action-done.v1"

    nonconformity: str
    action: str
    done_by: str
    owner: str
    due_on: date
    evidence: str = ""


class CorrectiveActionVerified(Event, frozen=True, kw_only=True):
    """On the stream of the nonconformity. An effective action closes it once no other is open; for one that is not,
    the owner plans another by `due_on`.
    """

    topic: ClassVar[str] = "corrective-action-verified.v1"

    nonconformity: str
    action: str
    effective: bool
    verified_by: str
    owner: str
    due_on: date | None = None
    closed: bool = False
    evidence: str = ""


class BudgetSet(Event, frozen=True, kw_only=True):
    """What is planned for a programme, a segment or a member from `from_on` until before `until_on` (stream
    `budget-<direction>-<measure>-<level>-<who>`). Set again for the same days, it is a new version.

    `who` is empty for the programme, `attribute=value` for a segment, the member for a member. `value` is minor units
    for revenue and profit, an index from 0 to 100 for satisfaction, purchases for activity.
    """

    topic: ClassVar[str] = "budget-set.v1"

    direction: Literal["top_down", "bottom_up"]
    level: Literal["programme", "segment", "member"]
    who: str = ""
    measure: Literal["revenue", "profit", "satisfaction", "activity"]
    from_on: date
    until_on: date
    value: str
    version: int


class FocusItem(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A question of a focus audit and how it was scored, with what was seen."""

    item: str
    score: int
    evidence: str = ""


class FocusAssessed(Event, frozen=True, kw_only=True):
    """A focus audit of one factor (stream `focus-<factor>`), each item scored on the same scale, of the programme or
    of one segment (`attribute=value`).
    """

    topic: ClassVar[str] = "focus-assessed.v1"

    factor: Literal["organisation", "communications", "information"]
    scale: tuple[int, int]
    items: list[FocusItem]
    assessor: str
    segment: str = ""


AnyMemberEvent: TypeAlias = (
    MemberEnrolled
    | MemberProfileChanged
    | MemberClosed
    | MemberErased
    | MembersMerged
    | MergeUndone
    | PurchaseRecorded
    | PurchaseReturned
    | PointsAccrued
    | PointsRedeemed
    | RedemptionReversed
    | PointsHeld
    | HoldCaptured
    | HoldReleased
    | PointsExpired
    | PointsClawedBack
    | PointsAdjusted
    | PointsTransferredOut
    | PointsTransferredIn
    | SurveyAnswered
    | ComplaintOpened
    | ComplaintResolved
    | FollowUpScheduled
    | FollowUpCompleted
    | CostAttributed
    | WalletShareSurveyed
)
AnySteeringEvent: TypeAlias = (
    SurveyDefined
    | AnalysisSet
    | BaselineFrozen
    | ObjectiveDefined
    | ObjectiveMeasured
    | NonconformityRaised
    | CauseFound
    | CorrectiveActionPlanned
    | CorrectiveActionDone
    | CorrectiveActionVerified
    | BudgetSet
    | FocusAssessed
)
AnyEvent: TypeAlias = AnyMemberEvent | ProgrammeCreated | TermsPublished | AnySteeringEvent

TOPICS: dict[str, type[Event]] = {event.topic: event for event in AnyEvent.__args__}
