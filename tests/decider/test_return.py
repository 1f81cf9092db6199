"""Returns: which purchases the goods came from, and what is taken back for them."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.commands import ReturnLine
from ledger.events import PointsClawedBack, PurchaseReturned, ReturnMatch
from tests.decider.scenario import (
    NOT_YET,
    Scenario,
    accrue,
    back,
    bring_back,
    given,
    happened,
    layer,
    line,
    merge,
    part,
    purchase,
    redeem,
    refusals,
    terms,
    unless_open,
)


def match(lines: list[tuple[int, int, int]], due: int, purchase: str = "purchase") -> ReturnMatch:
    """Of lines whose cost is not known: what comes back without goods brings back no cost."""
    cost = None if any(quantity for _, quantity, _ in lines) else 0
    return ReturnMatch(purchase=purchase, purchase_source="till", lines=lines, points_due=due, cost_minor=cost)


BASKET = purchase(line("tea", 33, 3), line("cup", 33), line("pot", 34))
"""Earns 10 points."""

# --- what the goods had cost --------------------------------------------------------------------------------------


def cost_of(scenario: Scenario) -> int | None:
    cost: int | None = scenario.outcome[scenario.command.member][0].matches[0].cost_minor
    return cost


def test_partial_returns_bring_back_exactly_what_the_goods_had_cost() -> None:
    """Cumulative by pieces: 100 for three is 33, then 66 − 33, then 100 − 66; an amount alone brings no goods."""
    scenario = given(purchase(line("tea", 90, 3, cost_minor=100)))
    costs = [cost_of(scenario.when(bring_back(id="discount", amount_minor=30, day=1)))]
    for number in range(3):
        costs.append(cost_of(scenario.when(bring_back(id=f"r{number}", lines=[back("tea", 20)], day=1))))
    assert costs == [0, 33, 33, 34]


def test_the_cost_is_unknown_only_where_goods_of_unknown_cost_come_back() -> None:
    scenario = given(purchase(line("tea", 50, 1, cost_minor=0), line("cup", 50, 2), line("box", 0, 0, cost_minor=9)))
    assert cost_of(scenario.when(bring_back(id="tea", lines=[back("tea", 50)], day=1))) == 0
    assert cost_of(scenario.when(bring_back(id="part", lines=[back("cup", 5, 0)], day=1))) == 0
    assert cost_of(scenario.when(bring_back(id="cup", lines=[back("cup", 45, 2)], day=1))) is None


def test_a_merge_carries_what_goods_had_cost_and_what_came_back_of_them() -> None:
    scenario = given(
        purchase(line("tea", 90, 3, cost_minor=100)), bring_back(lines=[back("tea", 30)], day=1), merge(day=2)
    )
    assert cost_of(scenario.when(bring_back(id="rest", member="bob", day=3))) == 67


# --- that name their purchase -------------------------------------------------------------------------------------


def test_a_whole_return_takes_back_what_the_purchase_earned() -> None:
    """All of each line that is left, and all its points."""
    given(BASKET).when(bring_back(day=1)).then(
        happened(
            PurchaseReturned,
            matches=[match([(0, 3, 33), (1, 1, 33), (2, 1, 34)], 10)],
            amount_minor=100,
            referenced=True,
            unmatched=[],
        ),
        happened(PointsClawedBack, due=10, allocations=[part(1, 10)], waived=0, arrears=0, purchase="purchase"),
    ).leaves(balance=0)


def test_partial_returns_add_up_to_exactly_what_was_earned() -> None:
    """Due is cumulative: 3, then 6 − 3, then 10 − 6. Rounding each by itself would leak a point."""
    scenario = given(BASKET)
    for sku, amount, quantity, due in (("tea", 33, 3, 3), ("cup", 33, 1, 3), ("pot", 34, 1, 4)):
        scenario.when(bring_back(id=sku, lines=[back(sku, amount, quantity)], day=1)).then(
            happened(PurchaseReturned), happened(PointsClawedBack, due=due)
        )
    scenario.leaves(balance=0).when(bring_back(id="again")).then("RETURN_EXCEEDS_PURCHASE")


def test_an_amount_is_spread_over_the_lines_by_prefix_sums() -> None:
    """50 of 100 over 33, 33 and 34: 16, 33 − 16 and 50 − 33; no quantities."""
    given(BASKET).when(bring_back(amount_minor=50)).then(
        happened(PurchaseReturned, matches=[match([(0, 0, 16), (1, 0, 17), (2, 0, 17)], 5)]),
        happened(PointsClawedBack, due=5),
    )


def test_a_line_is_taken_from_all_lines_of_its_sku_in_their_order() -> None:
    """Quantity and amount each as far as left."""
    given(purchase(line("tea", 40, 1), line("tea", 60, 2))).when(bring_back(lines=[back("tea", 50, 2)])).then(
        happened(PurchaseReturned, matches=[match([(0, 1, 40), (1, 1, 10)], 5)]), happened(PointsClawedBack, due=5)
    )


def test_a_line_of_no_amount_returns_its_weight_with_its_last_piece() -> None:
    """Where discounts earn, a gift earns; two of them earn 4, which go with the second."""
    generous = terms()
    generous["earning"]["base"] = {"discounts": "before"}
    scenario = given(purchase(line("tea", 0, 2, discount_minor=40)), terms=generous)
    scenario.when(bring_back(id="one", lines=[back("tea", 0)])).then(
        happened(PurchaseReturned, matches=[match([(0, 1, 0)], 0)])
    )
    scenario.when(bring_back(id="two", lines=[back("tea", 0)])).then(
        happened(PurchaseReturned, matches=[match([(0, 1, 0)], 4)]), happened(PointsClawedBack, due=4)
    )
    scenario = given(purchase(line("tea", 10), line("gift", 0, 0, discount_minor=40)), terms=generous)
    scenario.when(bring_back()).then(happened(PurchaseReturned), happened(PointsClawedBack, due=5))


def test_a_return_too_small_for_a_point_takes_back_nothing_yet() -> None:
    """It counts with the next one."""
    scenario = given(purchase())
    scenario.when(bring_back(id="r1", amount_minor=9)).then(happened(PurchaseReturned, matches=[match([(0, 0, 9)], 0)]))
    scenario.when(bring_back(id="r2", amount_minor=1)).then(
        happened(PurchaseReturned, matches=[match([(0, 0, 1)], 1)]), happened(PointsClawedBack, due=1)
    )


def test_the_purchase_of_the_returns_own_source_is_meant_before_others() -> None:
    """A source that is named wins; a source of its own next; else the only one."""
    two = [purchase(line("tea", 100)), purchase(line("tea", 200), source="shop")]
    given(*two).when(bring_back(source="shop")).then(
        happened(PurchaseReturned, amount_minor=200), happened(PointsClawedBack, purchase_source="shop")
    )
    given(*two).when(bring_back(source="shop", purchase_source="till")).then(
        happened(PurchaseReturned, amount_minor=100), happened(PointsClawedBack, purchase_source="till")
    )
    given(two[0]).when(bring_back(source="desk")).then(
        happened(PurchaseReturned, amount_minor=100), happened(PointsClawedBack, purchase_source="till")
    )


# --- that do not --------------------------------------------------------------------------------------------------

TEAS = [purchase(line("tea", 40), id="old", day=1), purchase(line("tea", 60), id="new", day=3)]


def test_unreferenced_lines_come_from_the_newest_purchase_first() -> None:
    """Newest by business time, then latest recorded; never one after the return."""
    given(TEAS[1], TEAS[0]).when(bring_back(None, lines=[back("tea", 80, 2)], day=4)).then(
        happened(
            PurchaseReturned,
            referenced=False,
            matches=[match([(0, 1, 60)], 6, "new"), match([(0, 1, 20)], 2, "old")],
        ),
        happened(PointsClawedBack, due=6, purchase="new"),
        happened(PointsClawedBack, due=2, purchase="old"),
    )
    given(purchase(line("tea", 40), id="first"), purchase(line("tea", 60), id="last")).when(
        bring_back(None, lines=[back("tea", 40)])
    ).then(happened(PurchaseReturned, matches=[match([(0, 1, 40)], 4, "last")]), happened(PointsClawedBack, due=4))
    given(*TEAS).when(bring_back(None, lines=[back("tea", 40)], day=2)).then(
        happened(PurchaseReturned, matches=[match([(0, 1, 40)], 4, "old")]), happened(PointsClawedBack, due=4)
    )


def test_what_matches_nothing_takes_back_the_base_rate() -> None:
    """All unmatched lines together: 15 + 8 at one for ten is 2, not 1 + 0."""
    given(accrue(30), terms=terms(unmatched="base_rate")).when(
        bring_back(None, lines=[back("tea", 15), back("cup", 8, 0)])
    ).then(
        happened(
            PurchaseReturned,
            matches=[],
            unmatched=[
                ReturnLine(sku="tea", quantity=1, amount_minor=15),
                ReturnLine(sku="cup", quantity=0, amount_minor=8),
            ],
            unmatched_points_due=2,
        ),
        happened(PointsClawedBack, due=2, purchase=None, allocations=[part(1, 2)]),
    )


# --- where the points come from -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "taken", "arrears", "waived"),
    [
        ("only_pending", [], 0, 10),
        ("within_balance", [part(1, 4)], 0, 6),
        ("arrears", [part(1, 4)], 6, 0),
    ],
)
def test_the_policy_says_what_happens_to_points_that_were_spent(
    policy: str, taken: list[Any], arrears: int, waived: int
) -> None:
    """10 earned, available, 6 of them spent, then all goods come back."""
    given(purchase(), redeem(6, day=1), terms=terms(policy=policy)).when(bring_back(day=2)).then(
        happened(PurchaseReturned),
        happened(PointsClawedBack, due=10, allocations=taken, arrears=arrears, waived=waived, policy=policy),
    ).leaves(arrears=arrears)


def test_the_purchases_own_lot_pays_first_then_available_then_pending_layers() -> None:
    """Not the spending order alone, in which 000003 would pay first.

    before  000001 4 left of its own 10, 000003 1 expiring 31, 000002 2 available, 000004 5 pending
    apply   return, 10 due
    after   000004 2 pending
    """
    versions = [
        terms(),
        terms(day=1, expiry="30D"),
        terms(day=2, activation="20D"),
    ]
    given(
        purchase(),
        redeem(6),
        accrue(2, "two", day=0.5),
        accrue(1, "three", day=1),
        accrue(5, "four", day=2),
        terms=versions,
    ).when(bring_back(day=3)).then(
        happened(PurchaseReturned),
        happened(
            PointsClawedBack,
            allocations=[part(1, 4), part(3, 1, 1, 31), part(2, 2, 0.5), part(4, 3, 22)],
            waived=0,
        ),
    ).layers(layer(4, 2, 2, 22))


def test_a_return_does_not_touch_layers_opened_after_it() -> None:
    """A late message of day 2 cannot take points of day 5: as of day 2 they were not there."""
    given(purchase(), redeem(10, day=1), accrue(30, day=5)).when(bring_back(day=2)).then(
        happened(PurchaseReturned), happened(PointsClawedBack, allocations=[], waived=10)
    ).leaves(active=0, pending=30)


PAIR = [purchase(), purchase(source="shop")]


@refusals(
    ("TERMS_MISSING", [], bring_back(currency="EUR"), NOT_YET),
    *unless_open(bring_back(currency="EUR")),
    ("CURRENCY_MISMATCH", [], bring_back(None, currency="EUR")),
    ("PURCHASE_REQUIRED", [], bring_back(None)),
    ("PURCHASE_REQUIRED", [], bring_back(None, amount_minor=0)),
    ("NOTHING_TO_RETURN", [], bring_back("none", amount_minor=0)),
    ("NOTHING_TO_RETURN", [], bring_back("none", lines=[back("tea", 1), back("tea", 0, 0)])),
    ("NOTHING_TO_RETURN", [], bring_back(None, lines=[back("tea", 0, 0)])),
    ("PURCHASE_NOT_FOUND", [], bring_back()),
    ("PURCHASE_NOT_FOUND", [purchase()], bring_back(purchase_source="shop")),
    ("PURCHASE_NOT_FOUND", [purchase(), accrue(1, day=26)], bring_back(day=1)),  # forgotten: window 20, grace 5
    ("PURCHASE_AMBIGUOUS", PAIR, bring_back(source="desk", day=-1)),
    ("RETURN_BEFORE_PURCHASE", [purchase(day=2)], bring_back(amount_minor=101, day=1)),
    ("RETURN_WINDOW_PASSED", [purchase()], bring_back(amount_minor=101, day=20.1)),
    ("RETURN_EXCEEDS_PURCHASE", [purchase()], bring_back(amount_minor=101)),
    ("RETURN_EXCEEDS_PURCHASE", [purchase()], bring_back(lines=[back("tea", 101)])),
    ("RETURN_EXCEEDS_PURCHASE", [purchase()], bring_back(lines=[back("tea", 1, 2)])),
    ("RETURN_EXCEEDS_PURCHASE", [purchase()], bring_back(lines=[back("cup", 1)])),
    ("RETURN_EXCEEDS_PURCHASE", [purchase(line("tea", 0, 0))], bring_back()),
    ("RETURN_UNMATCHED", [], bring_back(None, lines=[back("tea", 1)])),
    ("RETURN_UNMATCHED", [purchase()], bring_back(None, lines=[back("tea", 100), back("tea", 0)])),
    ("RETURN_UNMATCHED", [purchase()], bring_back(None, lines=[back("tea", 1)], day=-1)),
    ("RETURN_UNMATCHED", [purchase()], bring_back(None, lines=[back("tea", 1)], day=20.1)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A refused return leaves the purchase as it was."""
    given(*history, terms=under).when(refused).then(code)


def test_the_window_ends_with_its_last_instant() -> None:
    """Day 20 is inside a window of 20 days."""
    given(purchase()).when(bring_back(day=20)).then(happened(PurchaseReturned), happened(PointsClawedBack, due=10))
