"""Reversals: a redemption's points go back to their own lots, available from the reversal on."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.events import RedemptionReversed
from tests.decider.scenario import (
    NOT_YET,
    accrue,
    capture,
    claw_back,
    close,
    given,
    happened,
    hold,
    layer,
    part,
    redeem,
    refusals,
    reverse,
    terms,
    unless_open,
)

TWO_LOTS = [accrue(10, "a"), accrue(10, "b", day=1), redeem(15, day=2)]


def test_points_come_back_to_their_lots_as_layers_of_their_own() -> None:
    """So that as of the days in between they are not there.

    before  000002 5 available 1
    apply   reverse on day 4
    after   000002 5 available 1, 000001 10 available 4, 000002 5 available 4
    """
    given(*TWO_LOTS).when(reverse(day=4)).then(
        happened(RedemptionReversed, points=15, restored=[part(1, 10, 4), part(2, 5, 4)], forfeited=[])
    ).layers(layer(2, 5, 1), layer(1, 10, 4), layer(2, 5, 4)).leaves(active=20, spent=0)


def test_part_of_a_redemption_is_reversed_in_the_order_of_its_allocations() -> None:
    """12 of 15: all of the first lot and 2 of the second; then what is left."""
    scenario = (
        given(*TWO_LOTS)
        .when(reverse(points=12, day=4))
        .then(happened(RedemptionReversed, restored=[part(1, 10, 4), part(2, 2, 4)]))
    )
    scenario.when(reverse(id="rest", day=5)).then(happened(RedemptionReversed, points=3, restored=[part(2, 3, 5)]))
    scenario.when(reverse(id="more", day=5)).then("REVERSAL_EXCEEDS_REDEMPTION")


@pytest.mark.parametrize(
    ("rule", "restored", "forfeited", "active", "expired"),
    [
        ("forfeit", [], [part(1, 10, 0, 5)], 0, 10),
        ({"extend_days": 7}, [part(1, 10, 5, 12)], [], 10, 0),
    ],
)
def test_points_that_expired_meanwhile_follow_the_terms(
    rule: Any, restored: list[Any], forfeited: list[Any], active: int, expired: int
) -> None:
    """At the very instant of expiry they are expired."""
    given(accrue(10), redeem(10), terms=terms(expiry="5D", reversal_of_expired=rule)).when(reverse(day=5)).then(
        happened(RedemptionReversed, restored=restored, forfeited=forfeited)
    ).leaves(active=active, expired=expired, spent=0)


def test_a_captured_hold_is_reversed_under_the_id_of_the_capture() -> None:
    """A capture is a redemption."""
    given(accrue(10), hold(8), capture(points=5, day=1)).when(reverse("capture", day=2)).then(
        happened(RedemptionReversed, redemption="capture", restored=[part(1, 5, 2)])
    ).leaves(active=7, held=3, spent=0)


def test_a_layer_that_gets_points_back_counts_as_opened_then() -> None:
    """Redeemed and reversed when it became available, it is one layer again; earlier clawbacks pass it by."""
    given(accrue(10), redeem(4, day=3), terms=terms(activation="3D")).when(reverse(day=3)).layers(layer(1, 10, 3))


def test_reversed_points_repay_no_arrears() -> None:
    """They are the member's own points, given back, not new ones."""
    given(accrue(10), redeem(10), claw_back(4, day=1), terms=terms(policy="arrears")).when(reverse(day=2)).leaves(
        active=10, arrears=4
    )


PAIR = [accrue(10), redeem(1), redeem(1, source="shop")]


@refusals(
    ("TERMS_MISSING", [close()], reverse(), NOT_YET),
    *unless_open(reverse()),
    ("REDEMPTION_NOT_FOUND", [], reverse()),
    ("REDEMPTION_NOT_FOUND", PAIR, reverse(redemption_source="desk")),
    ("REDEMPTION_NOT_FOUND", [*PAIR, accrue(1, "late", day=26)], reverse()),  # forgotten: window 20, grace 5
    ("REDEMPTION_AMBIGUOUS", PAIR, reverse(source="desk", day=-1)),
    ("REVERSAL_BEFORE_REDEMPTION", PAIR, reverse(day=-1, points=2)),
    ("REVERSAL_WINDOW_PASSED", PAIR, reverse(day=20.1, points=2)),
    ("REVERSAL_EXCEEDS_REDEMPTION", PAIR, reverse(points=2)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """More than was redeemed never comes back."""
    given(*history, terms=under).when(refused).then(code)
