"""Which commands have personal data, and where it goes: out of the event, and into what is sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from msgspec.structs import replace

from ledger.commands import AnyCommand, ChangeProfile, RecordSurvey
from ledger.events import MemberEvent, MemberProfileChanged, SurveyAnswered
from ledger.submissions import Malformed


def is_personal(command: AnyCommand) -> TypeGuard[ChangeProfile | RecordSurvey]:
    """Whether a command has personal data: a profile, or answers in words."""
    if isinstance(command, RecordSurvey):
        return bool(answers_in_words(command.answers))
    return type(command) is ChangeProfile


def may_be_personal(command: AnyCommand | Malformed) -> bool:
    """Whether a refused message may have personal data of a member that could be told."""
    return bool(command.member) if isinstance(command, Malformed) else is_personal(command)


def owner(command: AnyCommand | Malformed) -> tuple[str, str]:
    """Programme and member; "" where there is none."""
    return command.programme, getattr(command, "member", "")


def personal_data(command: ChangeProfile | RecordSurvey) -> dict[str, str | None]:
    """What is to be sealed, by name."""
    return command.personal if isinstance(command, ChangeProfile) else answers_in_words(command.answers)


def answers_in_words(answers: Mapping[str, int | float | str]) -> dict[str, str | None]:
    """Those answers to a survey that are no numbers."""
    return {question: answer for question, answer in answers.items() if isinstance(answer, str)}


def with_sealed(event: MemberEvent, sealed: bytes) -> MemberEvent:
    """The event with what was sealed in the place of what is personal."""
    if isinstance(event, SurveyAnswered):
        numbers = {question: answer for question, answer in event.answers.items() if not isinstance(answer, str)}
        return replace(event, answers=numbers, sealed=sealed)
    return replace(event, sealed=sealed) if isinstance(event, MemberProfileChanged) else event
