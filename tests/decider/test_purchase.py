"""Purchases: recorded, then earned by the terms in force at their time."""

from __future__ import annotations

from typing import Any

from ledger.events import PointsAccrued, PurchaseRecorded
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    claw_back,
    close,
    given,
    happened,
    layer,
    line,
    on,
    purchase,
    refusals,
    terms,
    unless_open,
)


def test_a_purchase_opens_a_lot() -> None:
    """Available after the activation, expiring by the terms, both from the time of the purchase."""
    given(terms=terms(activation="3D", expiry="30D", window="14D", late_grace="7D")).when(
        purchase(line("tea", 128), line("cup", 30), day=2)
    ).then(
        happened(PurchaseRecorded, returnable_until=on(16), keep_until=on(23), terms=1),
        happened(
            PointsAccrued,
            lot="ann.000001",
            points=15,
            available_at=on(5),
            expires_at=on(32),
            purchase="purchase",
            weights=[128, 30],
            scale=10,
            base_minor=158,
            repaid=0,
        ),
    ).layers(layer(1, 15, 2, 5, 32)).leaves(pending=15, active=0)


def test_a_purchase_that_earns_nothing_is_recorded_without_accrual() -> None:
    """And its lot number stays free."""
    given(purchase(line("tea", 9), id="small")).when(purchase()).layers(layer(1, 10))
    given().when(purchase(line("tea", 0, quantity=0))).then(happened(PurchaseRecorded))


def test_the_terms_in_force_at_the_purchase_decide_however_late_it_comes() -> None:
    """A late message of day 4 earns by the terms of day 4."""
    both = [terms(rate="0.1"), terms(rate="0.5", day=5)]
    given(purchase(id="newer", day=6), terms=both).when(purchase(day=4)).then(
        happened(PurchaseRecorded, terms=1), happened(PointsAccrued, points=10, terms=1)
    )


def test_a_purchase_may_be_dated_before_the_enrolment() -> None:
    """Late and replayed histories are normal."""
    given().when(purchase(day=-60)).then(happened(PurchaseRecorded), happened(PointsAccrued, points=10))


def test_the_same_goods_twice_are_two_purchases() -> None:
    """Only the idempotency key decides, never content."""
    given(purchase(id="first")).when(purchase()).leaves(active=20)


def test_arrears_are_repaid_first() -> None:
    """The rest opens the lot, which has its number also where nothing is left of it."""
    owing = [accrue(4), claw_back(19)]
    scenario = given(*owing, terms=terms(policy="arrears"))
    scenario.when(purchase()).then(
        happened(PurchaseRecorded), happened(PointsAccrued, lot="ann.000002", points=10, repaid=10)
    ).layers().leaves(arrears=5)
    scenario.when(purchase(id="next")).layers(layer(3, 5)).leaves(arrears=0, active=5)


def test_a_purchase_dated_before_the_debt_does_not_repay_it() -> None:
    """As of its day nothing was owed."""
    given(accrue(4), claw_back(10, day=5), terms=terms(policy="arrears")).when(purchase(day=4)).then(
        happened(PurchaseRecorded), happened(PointsAccrued, repaid=0)
    ).leaves(arrears=6, active=10)


def test_a_cap_cuts_the_points_and_leaves_the_weights() -> None:
    """A return spreads what was earned over what was bought, cap or not."""
    given(terms=terms(cap=7)).when(purchase()).then(
        happened(PurchaseRecorded),
        happened(PointsAccrued, points=7, cap="purchase", before_cap=10, weights=[100], scale=10),
    )


@refusals(
    ("TERMS_MISSING", [close()], purchase(), NOT_YET),
    *unless_open(purchase(currency="EUR")),
    ("CURRENCY_MISMATCH", [], purchase(currency="EUR")),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A purchase of an ended membership is not recorded, whatever its currency."""
    given(*history, terms=under).when(refused).then(code)
