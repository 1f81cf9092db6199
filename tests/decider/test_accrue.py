"""Accruals by hand: as the accrual of a purchase, with the given points."""

from __future__ import annotations

from typing import Any

from ledger.events import PointsAccrued
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    claw_back,
    close,
    given,
    happened,
    layer,
    on,
    refusals,
    terms,
    unless_open,
)


def test_points_come_under_the_terms_activation_and_expiry() -> None:
    """Available and expiring counted from the time of the accrual."""
    given(terms=terms(activation="3D", expiry="1M")).when(accrue(30, day=2)).then(
        happened(
            PointsAccrued,
            lot="ann.000001",
            points=30,
            available_at=on(5),
            expires_at=on(33),
            purchase=None,
            reason="welcome",
        )
    ).layers(layer(1, 30, 2, 5, 33))


def test_arrears_are_repaid_first_where_they_are_not_younger() -> None:
    """Owed since day 5: points of day 5 repay, points of day 4 do not."""
    owing = given(accrue(4), claw_back(10, day=5), terms=terms(policy="arrears"))
    owing.when(accrue(5, "a", day=4)).then(happened(PointsAccrued, repaid=0)).leaves(arrears=6)
    owing.when(accrue(8, "b", day=5)).then(happened(PointsAccrued, repaid=6)).leaves(arrears=0, active=7)


@refusals(("TERMS_MISSING", [close()], accrue(1), NOT_YET), *unless_open(accrue(1)))
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Points are given to open members, under terms."""
    given(*history, terms=under).when(refused).then(code)
