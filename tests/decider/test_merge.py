"""Merging: everything of `member` moves into `into`, and is there from then on."""

from __future__ import annotations

from typing import Any

from ledger.events import MembersMerged, PointsClawedBack, PurchaseReturned, RedemptionReversed
from tests.decider.scenario import (
    accrue,
    bring_back,
    claw_back,
    close,
    enrol,
    erase,
    given,
    happened,
    hold,
    layer,
    merge,
    part,
    purchase,
    redeem,
    refusals,
    reverse,
    terms,
)


def test_layers_arrive_opened_at_the_merge_and_available_at_the_later_of_both() -> None:
    """An available layer is available from the merge on, a pending one keeps its date; lots keep their names.

    before  ann 000001 30 (since day 0), 000002 10 pending until 14     bob nothing
    apply   merge on day 7
    after   ann nothing     bob ann.000001 30 available 7, ann.000002 10 available 14
    """
    moved = [layer(1, 30, 7), layer(2, 10, 7, 14)]
    given(accrue(30), purchase(day=5), terms=[terms(), terms(day=1, activation="9D")]).when(merge(day=7)).then(
        happened(MembersMerged, side="out", other="bob", lots=[layer(1, 30), layer(2, 10, 5, 14)])
    ).then(happened(MembersMerged, side="in", other="ann", lots=moved), of="bob").layers().layers(
        *moved, of="bob"
    ).leaves("bob", active=30, pending=10)


def test_layers_that_become_alike_are_one() -> None:
    """What tells them apart is when they became available, which the merge makes the same.

    before  ann 000001 20 available 0, 000001 10 available 2 (given back)
    apply   merge on day 7
    after   bob 000001 30 available 7
    """
    given(accrue(30), redeem(10, day=1), reverse(day=2)).when(merge(day=7)).layers(layer(1, 30, 7), of="bob")


def test_arrears_move_and_are_owed_since_the_merge() -> None:
    """A debt that came on day 7 is not repaid by points of day 6, which as of day 6 met no debt."""
    owing = given(accrue(4), claw_back(10), merge(day=7), terms=terms(policy="arrears"))
    owing.when(accrue(5, member="bob", day=6)).leaves(arrears=6, active=5)
    owing.when(accrue(5, "later", member="bob", day=7)).leaves(arrears=1, active=5)


def test_a_purchase_that_came_by_merge_can_be_returned_to_the_other_member() -> None:
    """The points come from its own lot, wherever that lies now."""
    given(purchase(), accrue(30, member="bob"), merge(day=7)).when(bring_back(member="bob", day=8)).then(
        happened(PurchaseReturned), happened(PointsClawedBack, due=10, allocations=[part(1, 10, 7)])
    )


def test_a_return_dated_before_the_merge_does_not_take_what_came_with_it() -> None:
    """As of that day the other member did not have it yet: a past balance must not go negative."""
    given(purchase(), merge(day=7)).when(bring_back(member="bob", day=6)).then(
        happened(PurchaseReturned), happened(PointsClawedBack, due=10, allocations=[], waived=10)
    )


def test_a_redemption_that_came_by_merge_can_be_reversed() -> None:
    """Its points come back where the member is now."""
    given(accrue(30), redeem(10, day=1), merge(day=7)).when(reverse(member="bob", day=8)).then(
        happened(RedemptionReversed, restored=[part(1, 10, 8)])
    ).leaves(active=30)


def test_what_is_too_old_for_the_other_member_is_forgotten_on_arrival() -> None:
    """Also where the merge is dated as the other member's newest event, so that its newest time does not move."""
    scenario = given(accrue(30), redeem(10, day=1), accrue(1, "late", member="bob", day=27), merge(day=27))
    scenario.when(reverse(member="bob", day=2)).then("REDEMPTION_NOT_FOUND")


def test_the_other_members_open_holds_do_not_matter() -> None:
    """Only the member that ends must be settled."""
    given(accrue(5, member="bob"), hold(5, member="bob")).when(merge(day=1)).then(happened(MembersMerged, side="out"))


@refusals(
    ("MEMBER_UNKNOWN", [], merge(member="nobody")),
    ("MEMBER_UNKNOWN", [], merge(into="nobody")),
    ("MEMBER_MERGED", [merge()], merge()),
    ("MEMBER_MERGED", [enrol("cyd"), merge("cyd", member="bob")], merge()),
    ("MEMBER_CLOSED", [close()], merge(into="nobody")),
    ("MEMBER_CLOSED", [close(member="bob")], merge()),
    ("MEMBER_ERASED", [erase()], merge(into="ann")),
    ("SAME_MEMBER", [accrue(5), hold(5, day=3)], merge(into="ann", day=2)),
    ("OPEN_HOLDS", [accrue(5), hold(5, day=3)], merge(day=2)),
    ("OCCURRED_BEFORE_LATEST", [accrue(5, day=3)], merge(day=2)),
    ("OCCURRED_BEFORE_LATEST", [accrue(5, member="bob", day=3)], merge(day=2)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of the two members, the one that would end is judged first."""
    given(*history, terms=under).when(refused).then(code)
