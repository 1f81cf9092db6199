"""Erasure: open, closed or merged → erased."""

from __future__ import annotations

from typing import Any

from ledger.events import MemberErased
from tests.decider.scenario import accrue, close, erase, given, happened, hold, merge, part, refusals


def test_an_open_membership_ends_as_in_a_closure() -> None:
    """Its points are forfeited."""
    given(accrue(30)).when(erase(day=1)).then(happened(MemberErased, forfeited=[part(1, 30)])).leaves(balance=0)


def test_a_closed_member_can_still_be_erased() -> None:
    """Closing does not take the right to be forgotten away."""
    given(accrue(30), close(day=1)).when(erase(day=2)).then(happened(MemberErased, forfeited=[]))


def test_a_merged_member_can_still_be_erased() -> None:
    """Its points live on with the other member."""
    given(accrue(30), merge(day=1)).when(erase(day=2)).then(happened(MemberErased, forfeited=[])).leaves(
        "bob", active=30
    )


@refusals(
    ("MEMBER_UNKNOWN", [], erase(member="nobody")),
    ("MEMBER_ERASED", [erase()], erase(day=1)),
    ("OPEN_HOLDS", [accrue(5), hold(5, day=5)], erase(day=4)),
    ("OCCURRED_BEFORE_LATEST", [accrue(5, day=5)], erase(day=4)),
    ("OCCURRED_BEFORE_LATEST", [close(day=5)], erase(day=4)),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """Erasing is as final as closing, and as careful."""
    given(*history, terms=under).when(refused).then(code)
