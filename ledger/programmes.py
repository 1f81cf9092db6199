"""Programmes as a writer knows them: journals, terms and surveys, and what steering them came to, from the database."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ledger.codec import decode, home_journal
from ledger.decider import Programme
from ledger.events import Event, ProgrammeCreated, SurveyDefined, TermsPublished
from ledger.programme_decider import ProgrammeState
from ledger.steering_state import SteeringState, evolve_steering, initial_steering
from ledger.store.database import PgCursor
from ledger.store.journal import find_journals, read_streams
from ledger.surveys import Survey
from ledger.terms import TermsBook, compile_terms, decode_terms


class ProgrammeInfo(Struct, frozen=True, kw_only=True):
    """A programme with its surveys, its journals by ordinal, and the versions of its terms. `revision` is another one
    whenever terms or surveys were added.
    """

    programme: Programme
    revision: int
    journals: list[int]
    terms_versions: int
    book: TermsBook


def journal_of(info: ProgrammeInfo, member: str) -> int:
    """The journal of a member."""
    return home_journal(info.journals, member)


def read_programme(cur: PgCursor, name: str) -> ProgrammeInfo | None:
    """A programme as it stands now; None where there is none."""
    cur.execute("SELECT currency, time_zone, revision FROM programmes WHERE programme = %s", (name,))
    row = cur.fetchone()
    if row is None:
        return None
    currency, time_zone, revision = row
    cur.execute("SELECT document, version FROM terms WHERE programme = %s ORDER BY version", (name,))
    versions = [compile_terms(decode_terms(bytes(document)), version) for document, version in cur.fetchall()]
    return ProgrammeInfo(
        programme=Programme(programme=name, currency=currency, time_zone=time_zone, surveys=_read_surveys(cur, name)),
        revision=revision,
        journals=find_journals(cur, "programme", name),
        terms_versions=len(versions),
        book=TermsBook(versions),
    )


def read_programmes(cur: PgCursor, name: str) -> list[ProgrammeInfo]:
    """The programme of a name; all of them where there is none of that name."""
    cur.execute(
        "SELECT programme FROM programmes"
        " WHERE programme = %s OR NOT EXISTS (SELECT FROM programmes WHERE programme = %s)",
        (name, name),
    )
    found = [read_programme(cur, programme) for (programme,) in cur.fetchall()]
    return [info for info in found if info is not None]


def _read_surveys(cur: PgCursor, programme: str) -> dict[str, list[Survey]]:
    cur.execute(
        "SELECT survey, defined_at, instrument, lowest, highest, questions, weights FROM surveys WHERE programme = %s"
        " ORDER BY survey, version",
        (programme,),
    )
    surveys: dict[str, list[Survey]] = {}
    for survey, defined_at, instrument, lowest, highest, questions, weights in cur.fetchall():
        definition = Survey(
            defined_at=defined_at,
            instrument=instrument,
            scale=(lowest, highest),
            questions=frozenset(questions),
            weights=dict(zip(questions, weights, strict=False)),
        )
        surveys.setdefault(survey, []).append(definition)
    return surveys


def read_steering(cur: PgCursor, journal: int, streams: Sequence[str]) -> dict[str, SteeringState]:
    """What streams of a programme's first journal came to, by name; in one query, or none where there are none."""
    states = {stream: initial_steering(stream) for stream in streams}
    for _, stream, _, topic, state, _ in read_streams(cur, journal, [(stream, 0) for stream in states]):
        evolve_steering(states[stream], decode(topic, state))
    return states


def state_of(info: ProgrammeInfo, stream_version: int) -> ProgrammeState:
    """What deciding on the programme needs; `stream_version` is the number of events of its stream."""
    return ProgrammeState(
        version=stream_version,
        currency=info.programme.currency,
        time_zone=info.programme.time_zone,
        terms_versions=info.terms_versions,
    )


def record_programme(cur: PgCursor, event: Event) -> bool:
    """Write what an event says where writers look it up, in the event's own transaction; whether it says any such."""
    if isinstance(event, ProgrammeCreated):
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals) VALUES (%s, %s, %s, %s, %s)",
            (event.programme, event.name, event.currency, event.time_zone, event.journals),
        )
        return True
    if isinstance(event, TermsPublished):
        cur.execute(
            "INSERT INTO terms (programme, version, effective_from, document) VALUES (%s, %s, %s, %s)",
            (event.programme, event.version, event.effective_from, bytes(event.document)),
        )
        cur.execute(
            "UPDATE programmes SET terms_versions = %s, revision = revision + 1 WHERE programme = %s",
            (event.version, event.programme),
        )
        return True
    if isinstance(event, SurveyDefined):
        cur.execute(
            "INSERT INTO surveys"
            " (programme, survey, version, defined_at, instrument, lowest, highest, questions, weights)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (event.programme, event.survey, event.version, event.occurred_at, event.instrument, *event.scale,
             event.questions, event.weights),
        )  # fmt: skip
        cur.execute("UPDATE programmes SET revision = revision + 1 WHERE programme = %s", (event.programme,))
        return True
    return False
