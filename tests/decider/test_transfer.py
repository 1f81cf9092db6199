"""Transfers: available points move to another member, with their expiry."""

from __future__ import annotations

from typing import Any

from ledger.events import HoldReleased, PointsTransferredIn, PointsTransferredOut
from tests.decider.scenario import (
    accrue,
    claw_back,
    close,
    erase,
    given,
    happened,
    hold,
    layer,
    merge,
    part,
    refusals,
    terms,
    transfer,
    unless_open,
)


def test_layers_move_in_spending_order_and_keep_lot_and_expiry() -> None:
    """They are opened and available with the receiver from the transfer on.

    before  ann 000002 10 until 11, 000001 10      bob nothing
    apply   transfer 15 on day 3
    after   ann 000001 5                           bob ann.000002 10 until 11, ann.000001 5
    """
    given(accrue(10, "a"), accrue(10, "b", day=1), terms=[terms(), terms(day=1, expiry="10D")]).when(
        transfer(15, day=3)
    ).then(happened(PointsTransferredOut, to="bob", points=15, allocations=[part(2, 10, 1, 11), part(1, 5)])).then(
        happened(PointsTransferredIn, sender="ann", points=15, lots=[layer(2, 10, 3, 3, 11), layer(1, 5, 3)], repaid=0),
        of="bob",
    ).layers(layer(1, 5)).layers(layer(2, 10, 3, 3, 11), layer(1, 5, 3), of="bob").leaves(spent=0)


def test_the_receivers_arrears_are_repaid_first() -> None:
    """From the allocations in their order: 12 of the 15 are gone, all of 000002 and 2 of 000001."""
    given(
        accrue(10, "a"),
        accrue(10, "b", day=1),
        claw_back(12, member="bob"),
        terms=[terms(policy="arrears"), terms(day=1, expiry="10D")],
    ).when(transfer(15, day=3)).then(
        happened(PointsTransferredIn, points=15, repaid=12, lots=[layer(1, 3, 3)]), of="bob"
    ).leaves("bob", arrears=0, active=3)


def test_a_transfer_dated_before_the_debt_does_not_repay_it() -> None:
    """The same dating rule as for accruals."""
    given(accrue(10), claw_back(12, member="bob", day=5), terms=terms(policy="arrears")).when(
        transfer(10, day=4)
    ).leaves("bob", arrears=12, active=10)


def test_the_senders_holds_that_timed_out_are_released_first() -> None:
    """The receiver's are left alone."""
    given(accrue(10), hold(8), accrue(5, member="bob"), hold(5, member="bob")).when(transfer(10, day=2)).then(
        happened(HoldReleased, why="timed_out"), happened(PointsTransferredOut, points=10)
    ).leaves("bob", active=10, held=5)


def test_no_minimum_and_no_step_apply() -> None:
    """They bind redemptions only."""
    given(accrue(10), terms=terms(minimum=10, step=5)).when(transfer(3)).leaves("bob", active=3)


@refusals(
    *[row for row in unless_open(transfer(1)) if row[0] == "MEMBER_UNKNOWN"],
    ("MEMBER_UNKNOWN", [], transfer(1, to="nobody")),
    ("MEMBER_MERGED", [merge()], transfer(1)),
    ("MEMBER_MERGED", [merge()], transfer(1, to="ann", member="bob")),
    ("MEMBER_CLOSED", [close()], transfer(1, to="nobody")),
    ("MEMBER_CLOSED", [close(member="bob")], transfer(1)),
    ("MEMBER_ERASED", [erase()], transfer(1, to="ann")),
    ("MEMBER_ERASED", [erase(member="bob")], transfer(1)),
    ("SAME_MEMBER", [], transfer(1, to="ann")),
    ("INSUFFICIENT_POINTS", [accrue(10), hold(1)], transfer(10)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Of the two members, the sender is judged first; refused, neither changes."""
    given(*history, terms=under).when(refused).then(code)
