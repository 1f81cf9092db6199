"""Enrolment: unknown → open."""

from __future__ import annotations

from typing import Any

from ledger.events import MemberEnrolled
from tests.decider.scenario import close, enrol, erase, given, happened, merge, refusals


def test_a_stranger_is_enrolled_with_what_the_message_says() -> None:
    """Channel, store, referrer and attributes are recorded."""
    told = {"channel": "app", "store": "s1", "referrer": "ann", "attributes": {"tier": "gold"}}
    given().when(enrol("cyd", **told)).then(happened(MemberEnrolled, member="cyd", automatic=False, **told))


@refusals(
    ("MEMBER_ALREADY_ENROLLED", [], enrol("ann")),
    ("MEMBER_MERGED", [merge()], enrol("ann")),
    ("MEMBER_CLOSED", [close()], enrol("ann")),
    ("MEMBER_ERASED", [erase()], enrol("ann")),
    ("MEMBER_ERASED", [close(), erase()], enrol("ann")),
)
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """A membership begins once."""
    given(*history, terms=under).when(refused).then(code)
