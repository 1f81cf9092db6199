"""Adjustments: a balance is corrected by hand, up or down."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldReleased, PointsAdjusted
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    adjust,
    claw_back,
    close,
    given,
    happened,
    hold,
    layer,
    part,
    refusals,
    terms,
    unless_open,
)


def test_up_opens_a_lot_that_is_available_at_once() -> None:
    """Expiry as the terms say; no activation."""
    given(terms=terms(activation="3D", expiry="10D")).when(adjust(7, day=1)).then(
        happened(PointsAdjusted, points=7, lot=layer(1, 7, 1, 1, 11), repaid=0, allocations=[], approver="lee")
    ).leaves(active=7)


def test_up_repays_arrears_first_and_uses_up_a_lot_number() -> None:
    """Also where nothing is left for the lot."""
    scenario = given(claw_back(10), terms=terms(policy="arrears"))
    scenario.when(adjust(4)).then(happened(PointsAdjusted, points=4, lot=None, repaid=4)).leaves(arrears=6)
    scenario.when(adjust(9, "more")).then(happened(PointsAdjusted, lot=layer(2, 3), repaid=6)).leaves(arrears=0)


def test_down_takes_available_layers_in_spending_order() -> None:
    """After what timed out was released."""
    given(accrue(10), hold(8)).when(adjust(-9, day=2)).then(
        happened(HoldReleased, why="timed_out"),
        happened(PointsAdjusted, points=-9, lot=None, allocations=[part(1, 2), part(1, 7, 2)]),
    ).leaves(active=1, spent=0)


@refusals(
    ("TERMS_MISSING", [close()], adjust(0), NOT_YET),
    *unless_open(adjust(0)),
    ("POINTS_ZERO", [], adjust(0)),
    ("INSUFFICIENT_POINTS", [accrue(10), hold(1)], adjust(-10)),
    ("INSUFFICIENT_POINTS", [accrue(10)], adjust(-10), terms(activation="1D")),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A correction cannot make a balance negative."""
    given(*history, terms=under).when(refused).then(code)
