"""The core beside the oracle: the same commands, the same refusals, the same figures, and what must always hold.

`LOYALTY_PROPERTY_EXAMPLES` sets how many histories are tried (300 by default; a nightly run wants many thousands).
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.commands import (
    AccruePoints,
    AdjustPoints,
    CaptureHold,
    ChangeProfile,
    ClawBackPoints,
    CloseMember,
    EnrolMember,
    EraseMember,
    ExpirePoints,
    HoldPoints,
    MergeMembers,
    PurchaseLine,
    RecordPurchase,
    RecordReturn,
    RedeemPoints,
    ReleaseHold,
    ReturnLine,
    ReverseRedemption,
    TransferPoints,
    UndoMerge,
)
from ledger.events import PurchaseRecorded, PurchaseReturned
from ledger.evolver import fold
from ledger.figures import figures
from ledger.member import Member, clone, initial
from ledger.postings import postings
from ledger.rejections import Rejection
from ledger.values import FAR
from tests.properties.oracle import Oracle
from tests.streams import PROGRAMME, Streams

EXAMPLES = int(os.environ.get("LOYALTY_PROPERTY_EXAMPLES", "300"))
STEPS = 40
START = datetime(2026, 1, 1, tzinfo=UTC)
MEMBERS = ("ann", "bob", "cyd")
SKUS = ("tea", "cup", "pot")
SOURCES = ("till", "shop", "desk")


@st.composite
def plain_terms(draw: st.DrawFn) -> dict[str, Any]:
    """A terms description as the oracle takes it; every policy can come with every other."""
    return {
        "rate": draw(st.sampled_from([Fraction(1), Fraction(1, 10), Fraction(1, 7), Fraction(3, 2), Fraction(3, 100)])),
        "multipliers": draw(
            st.sampled_from([{}, {"hot": Fraction(2)}, {"hot": Fraction(5, 3), "cold": Fraction(1, 2)}])
        ),
        "rounding": draw(st.sampled_from(["floor_per_purchase", "floor_per_line", "half_up_per_purchase"])),
        "tax": draw(st.sampled_from(["exclude", "include"])),
        "discounts": draw(st.sampled_from(["after", "before"])),
        "rewards": draw(st.sampled_from(["exclude", "include"])),
        "cap": draw(st.sampled_from([None, None, 25])),
        "activation": draw(st.sampled_from([0, 0, 3, 4]).map(lambda count: timedelta(days=count))),
        "expiry": draw(st.sampled_from([None, 5, 10, 20]).map(lambda n: None if n is None else timedelta(days=n))),
        "return_window": draw(st.sampled_from([4, 15, 40]).map(lambda count: timedelta(days=count))),
        "reversal_window": draw(st.sampled_from([4, 15, 40]).map(lambda count: timedelta(days=count))),
        "late_grace": draw(st.sampled_from([0, 5, 30]).map(lambda count: timedelta(days=count))),
        "hold_timeout": draw(st.sampled_from([1, 4, 12]).map(lambda count: timedelta(days=count))),
        "policy": draw(st.sampled_from(["only_pending", "within_balance", "arrears"])),
        "unmatched": draw(st.sampled_from(["base_rate", "refuse"])),
        "extend": draw(st.sampled_from([None, 3, 10]).map(lambda n: None if n is None else timedelta(days=n))),
        **draw(st.sampled_from([{"minimum": 1, "step": 1}, {"minimum": 4, "step": 1}, {"minimum": 4, "step": 2}])),
    }


def document_of(terms: dict[str, Any]) -> dict[str, Any]:
    """The same terms as an operator would write them."""

    def period(length: timedelta) -> str:
        return f"{length.days}D"

    def per_minor(rate: Fraction) -> dict[str, int]:
        return {"points": rate.numerator, "per_minor": rate.denominator}

    return {
        "name": "club terms",
        "effective_from": terms["effective_from"].isoformat(),
        "currency": PROGRAMME.currency,
        "time_zone": "UTC",
        "earning": {
            "rate": per_minor(terms["rate"]),
            "base": {"tax": terms["tax"], "discounts": terms["discounts"], "rewards": terms["rewards"]},
            "rounding": terms["rounding"],
            "multipliers": [
                {
                    "rule": f"{category} goods",
                    "multiplier": {"numerator": factor.numerator, "denominator": factor.denominator},
                    "when": {"categories": [category]},
                }
                for category, factor in terms["multipliers"].items()
            ],
            "caps": {} if terms["cap"] is None else {"purchase": terms["cap"]},
            "activation": period(terms["activation"]),
            "expiry": {"kind": "never"}
            if terms["expiry"] is None
            else {"kind": "after", "period": period(terms["expiry"])},
        },
        "redemption": {
            "minimum": terms["minimum"],
            "step": terms["step"],
            "hold_timeout": period(terms["hold_timeout"]),
            "reversal_window": period(terms["reversal_window"]),
            "reversal_of_expired": "forfeit" if terms["extend"] is None else {"extend_days": terms["extend"].days},
        },
        "returns": {
            "window": period(terms["return_window"]),
            "late_grace": period(terms["late_grace"]),
            "policy": terms["policy"],
            "unmatched": terms["unmatched"],
        },
    }


@st.composite
def purchase_line(draw: st.DrawFn) -> PurchaseLine:
    amount = draw(st.sampled_from([0, 1, 7, 10, 40, 99, 250]))
    return PurchaseLine(
        sku=draw(st.sampled_from(SKUS)),
        quantity=draw(st.sampled_from([1, 2, 3, 0])),
        amount_minor=amount,
        category=draw(st.sampled_from(["", "hot", "cold"])),
        cost_minor=draw(st.sampled_from([100, 7, None, 0])),
        tax_minor=min(amount, draw(st.sampled_from([0, 0, 3]))),
        discount_minor=draw(st.sampled_from([0, 0, 20])),
        reward=draw(st.sampled_from([False, False, True])),
    )


return_line = st.builds(
    ReturnLine,
    sku=st.sampled_from(SKUS),
    quantity=st.sampled_from([1, 0, 2, 3]),
    amount_minor=st.sampled_from([5, 0, 1, 20, 40, 99, 300]),
)
member = st.sampled_from(MEMBERS)
points = st.sampled_from([1, 2, 4, 6, 10, 15, 30, 60])
share = st.sampled_from(["third", "one", "most", "all", "over"])
some_points = st.one_of(st.none(), points)
EDGE = 100
"""From here on a shift says which of the member's edges the command meets exactly."""
moved = st.one_of(st.integers(-9, 4), st.integers(EDGE, EDGE + 12))
"""Days from the newest time that any command had (often late, sometimes on), or an edge."""
onward = st.one_of(st.sampled_from([0, 1, 2, -1, 3, 5]), st.integers(EDGE, EDGE + 12))
pick = st.integers(0, 30)


class CoreBesideOracle(RuleBasedStateMachine):
    """Every step asks both, and compares all members."""

    @initialize(
        terms=st.lists(plain_terms(), min_size=1, max_size=2),
        first_day=st.sampled_from([-30, -30, -3]),
        enrolled=pick,
        grants=st.lists(st.tuples(member, st.integers(-10, 0), points), min_size=3, max_size=6),
    )
    def begin(
        self, terms: list[dict[str, Any]], first_day: int, enrolled: int, grants: list[tuple[str, int, int]]
    ) -> None:
        starts = [START + timedelta(days=first_day), START + timedelta(days=8)]
        described = [{**one, "effective_from": start} for one, start in zip(terms, starts, strict=False)]
        self.oracle = Oracle(PROGRAMME.currency, described)
        self.core = Streams([document_of(one) for one in described])
        self.number = 0
        self.now = START
        self.known: dict[str, list[tuple[str, str, str]]] = {"purchase": [], "redemption": [], "hold": []}
        for name in MEMBERS if enrolled % 8 else MEMBERS[:2]:
            self.ask(EnrolMember, name, 0)
        for name, shift, granted in grants:
            self.ask(AccruePoints, name, shift, points=granted, reason="welcome")

    def ask(self, kind: Any, member: str, shift: int, keeps: str = "", twin: bool = False, **fields: Any) -> None:
        """Put a command to both and compare. `keeps` files its identity for later commands to refer to."""
        self.number += 1
        at = self.instant(member, shift)
        self.now = max(self.now, at)
        source, id = SOURCES[self.number % 3], f"{kind.__name__}-{self.number}"
        if twin and keeps and self.known[keeps]:  # the same id as another, from another source
            _, other_source, other_id = self.known[keeps][-1]
            candidate = SOURCES[SOURCES.index(other_source) - 1], other_id
            if candidate not in {(s, i) for _, s, i in self.known[keeps]}:
                source, id = candidate
        command = kind(id=id, source=source, programme="club", occurred_at=at, member=member, **fields)
        expected = self.oracle.handle(command)
        decision = self.core.handle(command)
        assert (decision.code if isinstance(decision, Rejection) else None) == expected, (command, decision)
        if isinstance(decision, Rejection):
            return
        if keeps:
            self.known[keeps].append((member, source, id))
        for name, events in decision.items():
            for event in events:
                assert (event.member, event.occurred_at) == (name, at)
                assert sum(posting.points for posting in postings(event)) == 0, event
                if isinstance(event, PurchaseReturned):
                    costs = {(match.purchase_source, match.purchase): match.cost_minor for match in event.matches}
                    assert costs == self.oracle.costs, event
        self.compare(command)

    def instant(self, member: str, shift: int) -> datetime:
        """So many days from now, or an instant at which something of the member begins or ends."""
        if shift < EDGE:
            return self.now + timedelta(days=shift)
        m = self.oracle.member(member)
        edges = {layer[name] for layer in m["layers"] for name in ("opened_at", "available_at", "expires_at")}
        edges |= {hold[name] for hold in m["holds"] for name in ("at", "times_out_at")}
        edges |= {entry[name] for entry in m["purchases"] + m["redemptions"] for name in ("at", "until", "keep")}
        edges |= {part["expires_at"] for entry in m["redemptions"] + m["holds"] for part in entry["left"]}
        edges |= {m["arrears_since"], m["newest"]}
        near = sorted(edge for edge in edges - {None} if abs(edge - self.now) < timedelta(days=15))
        return near[shift % len(near)] if near else self.now

    def compare(self, command: Any) -> None:
        for name, state in self.core.members.items():
            layers = [
                (layer.lot, layer.points, layer.opened_at, layer.available_at, none_if_far(layer.expires_at))
                for layer in state.layers()
            ]
            assert layers == self.oracle.layers(name), (name, command)
            assert remembered(state) == self.remembered_by_oracle(name), (name, command)
            for at in {command.occurred_at, self.now, self.now + timedelta(days=6)}:
                shown = msgspec.structs.asdict(figures(state, at))
                assert shown == self.oracle.figures(name, at), (name, at, command)

    def remembered_by_oracle(self, name: str) -> dict[str, Any]:
        """The oracle's counterpart of `remembered`."""
        m = self.oracle.member(name)
        return {
            "status": m["status"],
            "attributes": m["attributes"],
            "arrears since": m["arrears_since"],
            "purchases": [(p["source"], p["id"], p["earned"], p["due"], p["back"]) for p in m["purchases"]],
            "redemptions": [(r["source"], r["id"], parts_of(r["left"])) for r in m["redemptions"]],
            "holds": [(h["source"], h["id"], parts_of(h["left"])) for h in m["holds"]],
        }

    def refer(self, what: str, which: int, by_name: bool) -> tuple[str, dict[str, Any]]:
        """A member, and the fields that refer to something recorded (mostly its own; the newest for 0)."""
        if not self.known[what] or which == 30:
            return MEMBERS[which % 3], {what: "never heard of"}
        owner, source, id = self.known[what][-1 - which % len(self.known[what])]
        asked = self.core.members[owner]
        if asked.status == "merged" and which % 4:
            owner = asked.merged_into
        return owner, {what: id, f"{what}_source": source if by_name else None}

    # --- membership ------------------------------------------------------------------------------------------------

    def portion(self, member: str, shift: int, share: str) -> int:
        """Points to ask for, measured by what is available then."""
        active = figures(self.core.member(member), self.instant(member, shift)).active
        shares = {"one": 1, "third": active // 3, "most": active // 2 * 2, "all": active, "over": active + 1}
        return max(1 if share == "one" else 4, shares[share])

    @precondition(lambda self: any(self.core.member(name).status != "open" for name in MEMBERS))
    @rule(member=member, shift=moved)
    def enrol(self, member: str, shift: int) -> None:
        self.ask(EnrolMember, member, shift, attributes={"tier": "gold"})

    @rule(member=member, shift=moved, value=st.sampled_from(["x", None]), some=st.booleans())
    def profile(self, member: str, shift: int, value: str | None, some: bool) -> None:
        self.ask(ChangeProfile, member, shift, attributes={"tier": value} if some else {})

    @precondition(lambda self: self.number > 14)
    @rule(member=member, shift=onward, kind=st.sampled_from([CloseMember, EraseMember]), sure=pick)
    def end(self, member: str, shift: int, kind: Any, sure: int) -> None:
        if sure % 4 == 3:  # rarely, as nothing can happen to the member afterwards
            self.ask(kind, member, shift)

    @precondition(lambda self: self.number > 10)
    @rule(member=member, into=member, shift=onward)
    def merge(self, member: str, into: str, shift: int) -> None:
        self.ask(MergeMembers, member, shift, into=into)

    @precondition(lambda self: self.number % 5 == 0 or any(m.status == "merged" for m in self.core.members.values()))
    @rule(member=member, shift=onward)
    def undo_merge(self, member: str, shift: int) -> None:
        merged = [name for name, state in self.core.members.items() if state.status == "merged"]
        self.ask(UndoMerge, merged[0] if merged else member, shift)

    # --- trade -----------------------------------------------------------------------------------------------------

    @rule(
        member=member,
        shift=moved,
        lines=st.lists(purchase_line(), min_size=1, max_size=3),
        twin=st.booleans(),
        currency=st.sampled_from(["CNY"] * 9 + ["EUR"]),
    )
    def purchase(self, member: str, shift: int, lines: list[PurchaseLine], twin: bool, currency: str) -> None:
        self.ask(RecordPurchase, member, shift, "purchase", twin, lines=lines, currency=currency)

    @precondition(lambda self: self.known["purchase"])
    @rule(which=pick, shift=onward, by_name=st.booleans())
    def return_whole(self, which: int, shift: int, by_name: bool) -> None:
        member, fields = self.refer("purchase", which, by_name)
        self.ask(RecordReturn, member, shift, currency="CNY", **fields)

    @precondition(lambda self: self.known["purchase"])
    @rule(
        which=pick,
        shift=moved,
        by_name=st.booleans(),
        lines=st.lists(return_line, min_size=1, max_size=2),
        fits=st.booleans(),
    )
    def return_lines(self, which: int, shift: int, by_name: bool, lines: list[ReturnLine], fits: bool) -> None:
        member, fields = self.refer("purchase", which, by_name)
        bought = [
            line
            for purchase in self.core.member(member).purchases.values()
            if purchase.id == fields["purchase"]
            for line in purchase.lines
        ]
        if fits and bought:  # no more of a line than was bought of it, so that it often succeeds
            like = bought[which % len(bought)]
            wanted = lines[0]
            lines = [
                ReturnLine(
                    sku=like.sku,
                    quantity=min(like.quantity, wanted.quantity),
                    amount_minor=min(like.amount_minor, wanted.amount_minor),
                )
            ]
        self.ask(RecordReturn, member, shift, currency="CNY", lines=lines, **fields)

    @precondition(lambda self: self.known["purchase"])
    @rule(which=pick, shift=moved, by_name=st.booleans(), amount=st.sampled_from([5, 1, 17, 60, 0, 400]))
    def return_amount(self, which: int, shift: int, by_name: bool, amount: int) -> None:
        member, fields = self.refer("purchase", which, by_name)
        self.ask(RecordReturn, member, shift, currency="CNY", amount_minor=amount, **fields)

    @rule(member=member, shift=moved, lines=st.one_of(st.none(), st.lists(return_line, min_size=1, max_size=3)))
    def return_without_purchase(self, member: str, shift: int, lines: list[ReturnLine] | None) -> None:
        self.ask(RecordReturn, member, shift, currency="CNY", lines=lines)

    # --- points ----------------------------------------------------------------------------------------------------

    @rule(member=member, shift=moved, points=points)
    def accrue(self, member: str, shift: int, points: int) -> None:
        self.ask(AccruePoints, member, shift, points=points, reason="welcome")

    @rule(member=member, shift=moved, share=share, twin=st.booleans())
    def redeem(self, member: str, shift: int, share: str, twin: bool) -> None:
        self.ask(RedeemPoints, member, shift, "redemption", twin, points=self.portion(member, shift, share))

    @precondition(lambda self: self.known["redemption"])
    @rule(which=pick, shift=onward, by_name=st.booleans(), points=some_points)
    def reverse(self, which: int, shift: int, by_name: bool, points: int | None) -> None:
        member, fields = self.refer("redemption", which, by_name)
        self.ask(ReverseRedemption, member, shift, points=points, **fields)

    @rule(member=member, shift=moved, share=share, twin=st.booleans())
    def hold(self, member: str, shift: int, share: str, twin: bool) -> None:
        self.ask(HoldPoints, member, shift, "hold", twin, points=self.portion(member, shift, share))

    @precondition(lambda self: self.known["hold"])
    @rule(which=pick, shift=onward, by_name=st.booleans(), points=some_points, rest=st.booleans())
    def capture(self, which: int, shift: int, by_name: bool, points: int | None, rest: bool) -> None:
        member, fields = self.refer("hold", which, by_name)
        self.ask(CaptureHold, member, shift, "redemption", points=points, release_rest=rest, **fields)

    @precondition(lambda self: self.known["hold"])
    @rule(which=pick, shift=onward, by_name=st.booleans())
    def release(self, which: int, shift: int, by_name: bool) -> None:
        member, fields = self.refer("hold", which, by_name)
        self.ask(ReleaseHold, member, shift, **fields)

    @rule(member=member, shift=moved)
    def expire(self, member: str, shift: int) -> None:
        self.ask(ExpirePoints, member, shift)

    @rule(member=member, shift=moved, points=points)
    def claw_back(self, member: str, shift: int, points: int) -> None:
        self.ask(ClawBackPoints, member, shift, points=points, reason="fraud")

    @rule(member=member, shift=moved, points=st.sampled_from([5, -1, 30, -5, -20, 0]))
    def adjust(self, member: str, shift: int, points: int) -> None:
        self.ask(AdjustPoints, member, shift, points=points, reason="by hand", approver="lee")

    @rule(member=member, to=member, shift=moved, share=share)
    def transfer(self, member: str, to: str, shift: int, share: str) -> None:
        self.ask(TransferPoints, member, shift, to=to, points=self.portion(member, shift, share))

    # --- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def figures_are_never_negative(self) -> None:
        for name, state in self.core.members.items():
            shown = figures(state, self.now)
            assert min(shown.active, shown.pending, shown.held, shown.expired, shown.arrears) >= 0, (name, shown)
            assert shown.balance == shown.active + shown.pending + shown.held, (name, shown)

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for name, events in self.core.events.items():
            self.books_agree_with_the_state(name, events)
            self.replay_is_live(name, events)
            self.no_past_balance_is_negative(name, events)
        self.what_moves_between_members_adds_up()
        self.full_returns_take_back_what_was_earned()

    def books_agree_with_the_state(self, name: str, events: list[Any]) -> None:
        """The postings of a stream add up to what the member has, holds and owes."""
        booked = booked_by(events)
        state = self.core.member(name)
        assert sum(booked.values()) == 0
        assert booked["open"] == sum(layer.points for layer in state.layers())
        assert booked["held"] == figures(state, self.now).held
        assert -booked["arrears"] == state.arrears
        assert booked["redeemed"] == state.spent
        assert booked["expired"] == state.expired

    def replay_is_live(self, name: str, events: list[Any]) -> None:
        """Events that went through JSON give the live state, in one go or from any state on the way."""
        read = [msgspec.json.decode(msgspec.json.encode(event), type=type(event)) for event in events]
        assert read == events
        live = self.core.member(name)
        for cut in {0, len(read) // 3, len(read) // 2, len(read)}:
            assert fold(clone(fold(initial(name), read[:cut])), read[cut:]) == live

    def no_past_balance_is_negative(self, name: str, events: list[Any]) -> None:
        """As of any past instant no layer, hold or debt is overdrawn (folding would fail) and no figure is negative."""
        for at in {event.occurred_at for event in events}:
            then = fold(initial(name), [event for event in events if event.occurred_at <= at])
            shown = figures(then, at)
            assert min(shown.active, shown.pending, shown.held, shown.expired, shown.arrears) >= 0, (name, at, shown)

    def what_moves_between_members_adds_up(self) -> None:
        """Both sides of a transfer or a merge are booked, with the same points."""
        booked = booked_by(event for events in self.core.events.values() for event in events)
        assert booked["transferred"] == booked["merged"] == 0

    def full_returns_take_back_what_was_earned(self) -> None:
        """However a purchase came back, points due never pass what it earned, and meet it when all of it is back."""
        events = [event for events in self.core.events.values() for event in events]
        bought = {(e.source, e.id): e for e in events if isinstance(e, PurchaseRecorded)}
        earned = {(e.source, e.purchase): e.points for e in events if getattr(e, "lot", "") and hasattr(e, "weights")}
        due: Counter[tuple[str, str]] = Counter()
        left = {key: [[line.quantity, line.amount_minor] for line in e.lines] for key, e in bought.items()}
        for event in events:
            for match in event.matches if isinstance(event, PurchaseReturned) else ():
                key = match.purchase_source, match.purchase
                due[key] += match.points_due
                for index, quantity, amount in match.lines:
                    left[key][index][0] -= quantity
                    left[key][index][1] -= amount
        for key, points_due in due.items():
            assert 0 <= points_due <= earned.get(key, 0), key
            if all(pair == [0, 0] for pair in left[key]):
                assert points_due == earned.get(key, 0), key


def remembered(state: Member) -> dict[str, Any]:
    """What a state remembers besides its layers."""
    return {
        "status": state.status,
        "attributes": state.attributes,
        "arrears since": state.arrears_since,
        "purchases": [
            (p.source, p.id, p.earned, p.clawed_back, [list(pair) for pair in p.returned or [(0, 0)] * len(p.lines)])
            for p in state.purchases.values()
        ],
        "redemptions": [(r.source, r.id, allocated(r.allocations)) for r in state.redemptions.values()],
        "holds": [(h.source, h.id, allocated(h.allocations)) for h in state.holds.values()],
    }


def allocated(allocations: Any) -> list[tuple[Any, ...]]:
    return [(part.lot, part.points, part.available_at, part.expires_at) for part in allocations]


def parts_of(parts: Any) -> list[tuple[Any, ...]]:
    return [(part["lot"], part["points"], part["available_at"], part["expires_at"]) for part in parts]


def none_if_far(at: datetime) -> datetime | None:
    return None if at == FAR else at


def booked_by(events: Any) -> Counter[str]:
    """What events book on each account."""
    booked: Counter[str] = Counter()
    for event in events:
        for posting in postings(event):
            booked[posting.account] += posting.points
    return booked


CoreBesideOracle.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
)
TestCoreBesideOracle = CoreBesideOracle.TestCase
