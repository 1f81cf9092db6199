"""Redemptions: available layers in spending order."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldReleased, PointsRedeemed
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    close,
    given,
    happened,
    hold,
    layer,
    on,
    part,
    redeem,
    refusals,
    terms,
    unless_open,
)

SOON_AND_LATE = [terms(), terms(day=1, expiry="40D"), terms(day=2, expiry="10D")]


def test_soonest_expiry_pays_first_and_never_is_last() -> None:
    """Whatever the order in which the lots came.

    before  000003 expires 12: 10     000002 expires 41: 10     000001 never: 10
    apply   redeem 25
    after   000001 never: 5
    """
    given(accrue(10, "a"), accrue(10, "b", day=1), accrue(10, "c", day=2), terms=SOON_AND_LATE).when(
        redeem(25, day=3)
    ).then(
        happened(
            PointsRedeemed,
            points=25,
            allocations=[part(3, 10, 2, 12), part(2, 10, 1, 41), part(1, 5)],
            reversible_until=on(23),
            keep_until=on(28),
        )
    ).layers(layer(1, 5)).leaves(active=5, spent=25)


def test_of_equal_expiry_the_earliest_available_pays_first_then_the_lot_name() -> None:
    """000002 was recorded later but is available earlier; 000003 and 000001 differ by name only."""
    given(accrue(10, "a", day=2), accrue(10, "b", day=1), accrue(10, "c", day=2)).when(redeem(15, day=3)).then(
        happened(PointsRedeemed, allocations=[part(2, 10, 1), part(1, 5, 2)])
    )


def test_a_late_redemption_spends_what_was_there_then() -> None:
    """Points of day 5 do not pay on day 4; points that expired by day 12 still pay on day 11."""
    given(accrue(10, "a"), accrue(10, "b", day=5)).when(redeem(11, day=4)).then("INSUFFICIENT_POINTS")
    given(accrue(10), accrue(1, "b", day=30), terms=terms(expiry="12D")).when(redeem(10, day=11)).then(
        happened(PointsRedeemed, allocations=[part(1, 10, 0, 12)])
    )


def test_holds_that_timed_out_are_released_first() -> None:
    """Their points, back since now, pay as well."""
    given(accrue(10), hold(8)).when(redeem(10, day=2)).then(
        happened(HoldReleased, hold="hold", points=8, why="timed_out"),
        happened(PointsRedeemed, allocations=[part(1, 2), part(1, 8, 2)]),
    ).leaves(held=0, active=0, spent=10)


def test_a_refusal_records_no_release_either() -> None:
    """Nothing is recorded by a command that is refused."""
    given(accrue(10), hold(8)).when(redeem(11, day=2)).then("INSUFFICIENT_POINTS").leaves(held=8, active=2)


PICKY = terms(minimum=10, step=5)


@refusals(
    ("TERMS_MISSING", [close()], redeem(1), NOT_YET),
    *unless_open(redeem(1)),
    ("POINTS_BELOW_MINIMUM", [], redeem(9), PICKY),
    ("POINTS_NOT_A_STEP", [], redeem(11), PICKY),
    ("INSUFFICIENT_POINTS", [accrue(14)], redeem(15), PICKY),
    ("INSUFFICIENT_POINTS", [accrue(10)], redeem(10, day=2.9), terms(activation="3D")),
    ("INSUFFICIENT_POINTS", [accrue(10)], redeem(10, day=3), terms(expiry="3D")),
    ("INSUFFICIENT_POINTS", [accrue(10), hold(1)], redeem(10, day=1)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Pending, expired and held points do not pay."""
    given(*history, terms=under).when(refused).then(code)
