"""Deciding on the programme itself: its creation and the versions of its terms. Pure, as `ledger.decider`."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Struct

from ledger.commands import CreateProgramme, PublishTerms
from ledger.events import ProgrammeCreated, TermsPublished
from ledger.rejections import Rejection
from ledger.terms import TermsDocument, parse_terms


class ProgrammeState(Struct, kw_only=True):
    """A programme after `version` events of its stream; version 0 is one that does not exist yet."""

    version: int = 0
    currency: str = ""
    time_zone: str = ""
    terms_versions: int = 0


def decide_programme(
    state: ProgrammeState, command: CreateProgramme | PublishTerms
) -> tuple[ProgrammeCreated | TermsPublished, ...] | Rejection:
    """What a command to a programme does."""
    if isinstance(command, CreateProgramme):
        return _create(state, command)
    return _publish(state, command)


def _create(state: ProgrammeState, command: CreateProgramme) -> tuple[ProgrammeCreated, ...] | Rejection:
    if state.version:
        return Rejection("PROGRAMME_EXISTS", "programme", "exists already", command.programme)
    try:
        ZoneInfo(command.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return Rejection("INVALID_FIELD", "time_zone", "must be an IANA time zone, such as UTC", command.time_zone)
    return (
        ProgrammeCreated(
            programme=command.programme,
            occurred_at=command.occurred_at,
            source=command.source,
            id=command.id,
            name=command.name,
            currency=command.currency,
            time_zone=command.time_zone,
            journals=command.journals,
        ),
    )


def _publish(state: ProgrammeState, command: PublishTerms) -> tuple[TermsPublished, ...] | Rejection:
    if state.version == 0:
        return Rejection("PROGRAMME_UNKNOWN", "programme", "must be created first", command.programme)
    document = parse_terms(command.document)
    if not isinstance(document, TermsDocument):
        first, more = document[0], len(document) - 1
        rule = f"{first.rule}; and {more} more problems" if more else first.rule
        return Rejection("TERMS_INVALID", first.path, rule, first.value)
    if document.currency != state.currency:
        rule = f"must be {state.currency}, the programme's"
        return Rejection("TERMS_INVALID", "currency", rule, document.currency)
    if document.time_zone != state.time_zone:
        rule = f"must be {state.time_zone}, the programme's"
        return Rejection("TERMS_INVALID", "time_zone", rule, document.time_zone)
    return (
        TermsPublished(
            programme=command.programme,
            occurred_at=command.occurred_at,
            source=command.source,
            id=command.id,
            version=state.terms_versions + 1,
            effective_from=document.effective_from,
            document=msgspec.Raw(canonical_document(document)),
        ),
    )


def canonical_document(document: TermsDocument) -> bytes:
    """The document as recorded. What is left out means its default for ever: defaults of the format never change."""
    return msgspec.json.encode(document)
