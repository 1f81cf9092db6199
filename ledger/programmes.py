"""Programmes as a writer knows them: their journals and the terms in force, read from the database."""

from __future__ import annotations

from zlib import crc32

from msgspec import Struct

from ledger.decider import Programme
from ledger.events import ProgrammeCreated, TermsPublished
from ledger.programme_decider import ProgrammeState
from ledger.store.database import PgCursor
from ledger.store.journal import find_journals
from ledger.terms import TermsBook, compile_terms, decode_terms


class ProgrammeInfo(Struct, frozen=True, kw_only=True):
    """A programme, its journals by ordinal, and the versions of its terms."""

    programme: Programme
    time_zone: str
    journals: list[int]
    terms_versions: int
    book: TermsBook


def journal_of(info: ProgrammeInfo, member: str) -> int:
    """The journal of a member: a hash that never changes, over the number of journals that never changes."""
    return info.journals[crc32(member.encode()) % len(info.journals)]


def read_programme(cur: PgCursor, name: str) -> ProgrammeInfo | None:
    """A programme as it stands now; None where there is none."""
    cur.execute("SELECT currency, time_zone FROM programmes WHERE programme = %s", (name,))
    row = cur.fetchone()
    if row is None:
        return None
    cur.execute("SELECT document, version FROM terms WHERE programme = %s ORDER BY version", (name,))
    versions = [compile_terms(decode_terms(bytes(document)), version) for document, version in cur.fetchall()]
    return ProgrammeInfo(
        programme=Programme(programme=name, currency=row[0]),
        time_zone=row[1],
        journals=find_journals(cur, "programme", name),
        terms_versions=len(versions),
        book=TermsBook(versions),
    )


def state_of(info: ProgrammeInfo, stream_version: int) -> ProgrammeState:
    """What deciding on the programme needs; `stream_version` is the number of events of its stream."""
    return ProgrammeState(
        version=stream_version,
        currency=info.programme.currency,
        time_zone=info.time_zone,
        terms_versions=info.terms_versions,
    )


def record_programme(cur: PgCursor, event: ProgrammeCreated | TermsPublished) -> None:
    """Write what an event of a programme's stream says where writers look it up; in the event's own transaction."""
    if isinstance(event, ProgrammeCreated):
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals) VALUES (%s, %s, %s, %s, %s)",
            (event.programme, event.name, event.currency, event.time_zone, event.journals),
        )
        return
    cur.execute(
        "INSERT INTO terms (programme, version, effective_from, document) VALUES (%s, %s, %s, %s)",
        (event.programme, event.version, event.effective_from, bytes(event.document)),
    )
    cur.execute(
        "UPDATE programmes SET terms_versions = %s WHERE programme = %s",
        (event.version, event.programme),
    )
