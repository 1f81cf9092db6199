"""Profile changes: attributes that terms may refer to."""

from __future__ import annotations

from typing import Any

from ledger.events import MemberProfileChanged
from tests.decider.scenario import given, happened, profile, refusals, unless_open


def test_attributes_are_set_and_null_removes_one() -> None:
    """The event says what changes; what it does not name stays."""
    scenario = given(profile(attributes={"tier": "gold", "staff": "yes"})).when(profile(attributes={"tier": None}))
    scenario.then(happened(MemberProfileChanged, attributes={"tier": None}))
    assert scenario.streams.member("ann").attributes == {"staff": "yes"}


@refusals(*unless_open(profile()), ("NOTHING_TO_CHANGE", [], profile()))
def test_refuses(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """An empty change of an ended membership is refused for the membership."""
    given(*history, terms=under).when(refused).then(code)
