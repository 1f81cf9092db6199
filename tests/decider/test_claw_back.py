"""Clawbacks by command: points taken back for a reason other than a return."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.events import PointsClawedBack
from tests.decider.scenario import (
    NOT_YET,
    accrue,
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


def stock(policy: str) -> Any:
    """000001 5 available for ever, 000002 4 available until 11, 000003 6 pending until 22, 1 more held."""
    versions = [
        terms(policy=policy),
        terms(policy=policy, day=1, expiry="10D"),
        terms(policy=policy, day=2, activation="20D"),
    ]
    return given(accrue(6, "a"), hold(1), accrue(4, "b", day=1), accrue(6, "c", day=2), terms=versions)


@pytest.mark.parametrize(
    ("policy", "taken", "arrears", "waived"),
    [
        ("only_pending", [part(3, 6, 22)], 0, 12),
        ("within_balance", [part(2, 4, 1, 11), part(1, 5), part(3, 6, 22)], 0, 3),
        ("arrears", [part(2, 4, 1, 11), part(1, 5), part(3, 6, 22)], 3, 0),
    ],
)
def test_more_than_there_is(policy: str, taken: list[Any], arrears: int, waived: int) -> None:
    """18 are due where 15 lie open: available layers first, then pending ones; what is held is not touched."""
    stock(policy).when(claw_back(18, day=3)).then(
        happened(
            PointsClawedBack,
            due=18,
            allocations=taken,
            arrears=arrears,
            waived=waived,
            policy=policy,
            purchase=None,
            reason="fraud",
        )
    ).leaves(arrears=arrears, held=1)


def test_a_clawback_touches_only_what_was_there_and_not_expired_then() -> None:
    """Dated day 1.5, 000003 was not opened yet; dated day 11, 000002 is expired."""
    stock("within_balance").when(claw_back(18, day=1.5)).layers(layer(3, 6, 2, 22))
    stock("within_balance").when(claw_back(18, day=11)).layers(layer(2, 4, 1, 1, 11))


def test_arrears_are_owed_since_the_latest_of_what_added_to_them() -> None:
    """A late clawback does not make an older debt older."""
    given(claw_back(5, "a", day=5), claw_back(2, "b", day=1), terms=terms(policy="arrears")).when(
        accrue(9, day=4)
    ).leaves(arrears=7, active=9)


@refusals(("TERMS_MISSING", [close()], claw_back(1), NOT_YET), *unless_open(claw_back(1)))
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Never for want of points: the policy says what becomes of the rest."""
    given(*history, terms=under).when(refused).then(code)
