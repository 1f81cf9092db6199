"""Undoing a merge: of what came, what is still there goes back."""

from __future__ import annotations

from typing import Any

from ledger.events import MergeUndone, PurchaseReturned, RedemptionReversed
from tests.decider.scenario import (
    accrue,
    bring_back,
    claw_back,
    close,
    erase,
    given,
    happened,
    hold,
    layer,
    merge,
    purchase,
    redeem,
    refusals,
    reverse,
    terms,
    undo_merge,
)


def test_what_is_left_of_the_layers_goes_back_available_from_the_undo_on() -> None:
    """As of a day in between the member had nothing, so nothing can be spent for that day later.

    before  bob ann.000001 18 of 30 available 7, bob.000001 5
    apply   undo on day 9
    after   ann 000001 18 available 9     bob bob.000001 5
    """
    scenario = given(accrue(30), accrue(5, member="bob", day=8), merge(day=8), redeem(12, member="bob", day=8))
    scenario.when(undo_merge(day=9)).then(happened(MergeUndone, side="in", other="bob", lots=[layer(1, 18, 9)])).then(
        happened(MergeUndone, side="out", other="ann", lots=[layer(1, 18, 8)]), of="bob"
    )
    scenario.layers(layer(1, 18, 9)).layers(layer(1, 5, 8, member="bob"), of="bob")


def test_layers_that_the_merge_made_one_go_back_once() -> None:
    """Two layers of 20 and 10 came as one of 30, of which 25 are left: not 20 and 10 again."""
    given(accrue(30), redeem(10, day=1), reverse(day=2), merge(day=7), redeem(5, member="bob", day=7)).when(
        undo_merge(day=9)
    ).layers(layer(1, 25, 9)).layers(of="bob")


def test_arrears_go_back_as_far_as_they_are_still_owed() -> None:
    """6 came, 4 were repaid: 2 go back."""
    given(accrue(4), claw_back(10), merge(day=7), accrue(4, member="bob", day=8), terms=terms(policy="arrears")).when(
        undo_merge(day=9)
    ).leaves(arrears=2).leaves("bob", arrears=0)


def test_purchases_and_redemptions_go_back() -> None:
    """Returns and reversals find them with the member again, and no more with the other."""
    scenario = given(purchase(), accrue(30), redeem(10), merge(day=7), undo_merge(day=8))
    scenario.when(bring_back(member="bob", day=9)).then("PURCHASE_NOT_FOUND")
    scenario.when(reverse(member="bob", day=9)).then("REDEMPTION_NOT_FOUND")
    scenario.when(reverse(day=9)).then(happened(RedemptionReversed, points=10))
    assert not isinstance(scenario.when(bring_back(day=9)).outcome, str)
    assert isinstance(scenario.outcome["ann"][0], PurchaseReturned)


@refusals(
    ("MEMBER_UNKNOWN", [], undo_merge(member="nobody")),
    ("MEMBER_CLOSED", [merge(), close(member="bob", day=1)], undo_merge(day=0)),
    ("MEMBER_ERASED", [merge(), erase(member="bob", day=1)], undo_merge(day=0)),
    ("MEMBER_NOT_MERGED", [], undo_merge()),
    ("MEMBER_NOT_MERGED", [close()], undo_merge()),
    ("MEMBER_NOT_MERGED", [merge(), undo_merge(day=1)], undo_merge(day=2)),
    ("MEMBER_NOT_MERGED", [merge(), erase(day=1)], undo_merge(day=2)),
    ("OPEN_HOLDS", [accrue(5), merge(day=1), hold(5, member="bob", day=3)], undo_merge(day=2)),
    ("OCCURRED_BEFORE_LATEST", [merge(day=3)], undo_merge(day=2)),
    ("OCCURRED_BEFORE_LATEST", [merge(day=3), accrue(5, member="bob", day=5)], undo_merge(day=4)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A merge is undone once, by a member that was merged, from one that is open."""
    given(*history, terms=under).when(refused).then(code)
