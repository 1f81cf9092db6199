"""What writers look up beside the log, against the log: journals, programmes, terms and surveys."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Final

import msgspec

from audit.rows import UNREADABLE, Owner, Problem
from ledger.codec import PROGRAMME_STREAM, decode
from ledger.events import ProgrammeCreated, SurveyDefined, TermsPublished
from ledger.store.database import PgCursor

SURVEY_STREAMS: Final = ("survey-", "survey.")
"""From the first name on and before the second: a full stop comes after a hyphen."""


class _Tables(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one programme, in one snapshot. `programme` has name, currency, time_zone, journals, terms_versions,
    revision; `terms` by version: effective_from as text, for it may be no time that Python knows, and the document;
    `surveys` by name and version: defined_at as text, instrument, scale, questions and weights.
    """

    programme: tuple[Any, ...] | None
    terms: dict[int, tuple[str, bytes]]
    surveys: dict[tuple[str, int], tuple[str, str, tuple[int, int], list[str], list[int]]]
    ordinals: list[int]
    events: list[tuple[int, str, bytes]]
    """Position, topic and state of the programme's own stream."""
    survey_events: list[tuple[int, str, bytes]]
    """The same of the streams of its surveys."""


def strays(cur: PgCursor) -> list[str]:
    """What belongs to no journal, in words: events, programmes, terms, surveys."""
    cur.execute(
        "WITH RECURSIVE found (journal) AS ("
        " SELECT min(journal) FROM events UNION ALL"
        " SELECT (SELECT min(journal) FROM events WHERE journal > found.journal) FROM found WHERE journal IS NOT NULL)"
        " SELECT journal, (SELECT min(position) FROM events WHERE events.journal = found.journal) FROM found"
        " WHERE journal IS NOT NULL AND journal NOT IN (SELECT journal FROM journals) ORDER BY journal"
    )
    result = [f"position {position} is in journal {journal}, which does not exist" for journal, position in cur]
    cur.execute(
        "SELECT 'programmes', programme FROM programmes WHERE programme NOT IN"
        " (SELECT name FROM journals WHERE kind = 'programme' AND ordinal = 0)"
        " UNION SELECT 'terms', programme FROM terms WHERE programme NOT IN"
        " (SELECT name FROM journals WHERE kind = 'programme' AND ordinal = 0)"
        " UNION SELECT 'surveys', programme FROM surveys WHERE programme NOT IN"
        " (SELECT name FROM journals WHERE kind = 'programme' AND ordinal = 0) ORDER BY 1, 2"
    )
    return result + [f"the table of {what} has {name!r}, which has no journal" for what, name in cur]


def programme_problem(cur: PgCursor, owner: Owner, journal: int) -> Problem | None:
    """What differs between a programme's first journal, its own stream and its surveys', and the rows that writers look
    up.
    """
    tables = _read(cur, journal, owner.programme)
    published: list[TermsPublished] = []
    created: ProgrammeCreated | None = None
    for position, topic, state in tables.events:
        try:
            event = decode(topic, state)
        except UNREADABLE as error:
            return Problem(position, f"position {position} cannot be read as a {topic}: {error}")
        if isinstance(event, ProgrammeCreated):
            if created is not None:
                return Problem(position, f"position {position} creates the programme a second time")
            created = event
            words = _creation_words(tables, event)
        elif isinstance(event, TermsPublished) and created is not None:
            published.append(event)
            words = _terms_words(tables, event, len(published))
        else:
            words = "is not what the stream of a programme holds there: its creation first, then terms"
        if words is not None:
            return Problem(position, f"position {position} {words}")
    return _survey_problem(tables) or _left_over(tables, created, len(published))


def _creation_words(tables: _Tables, event: ProgrammeCreated) -> str | None:
    if tables.programme is None:
        return "creates the programme, which is missing in the table of programmes"
    columns = ("name", "currency", "time_zone", "journals")
    said = (event.name, event.currency, event.time_zone, event.journals)
    for column, recorded, found in zip(columns, said, tables.programme, strict=False):
        if recorded != found:
            return f"recorded the {column} {recorded!r}; the table of programmes has {found!r}"
    if tables.ordinals != list(range(event.journals)):
        return f"recorded {event.journals} journals; the table of journals has those of ordinal {tables.ordinals}"
    return None


def _terms_words(tables: _Tables, event: TermsPublished, number: int) -> str | None:
    if event.version != number:
        return f"publishes version {event.version} of the terms, where version {number} must come"
    if number not in tables.terms:
        return f"published version {number} of the terms, which is missing in the table of terms"
    effective_from, document = tables.terms[number]
    if not _is_instant(effective_from, event.effective_from):
        return (
            f"published version {number} of the terms from {event.effective_from.isoformat()};"
            f" the table of terms has {effective_from}"
        )
    if document != bytes(event.document):
        return f"published version {number} of the terms, whose document in the table of terms is another"
    return None


def _survey_problem(tables: _Tables) -> Problem | None:
    defined: Counter[str] = Counter()
    for position, topic, state in tables.survey_events:
        try:
            event = decode(topic, state)
        except UNREADABLE as error:
            return Problem(position, f"position {position} cannot be read as a {topic}: {error}")
        if not isinstance(event, SurveyDefined):
            return Problem(position, f"position {position} is not what the stream of a survey holds: definitions")
        defined[event.survey] += 1
        words = _survey_words(tables, event, defined[event.survey])
        if words is not None:
            return Problem(position, f"position {position} {words}")
    return None


def _survey_words(tables: _Tables, event: SurveyDefined, number: int) -> str | None:
    if event.version != number:
        return f"defines version {event.version} of the survey {event.survey!r}, where version {number} must come"
    name = f"version {number} of the survey {event.survey!r}"
    found = tables.surveys.get((event.survey, number))
    if found is None:
        return f"defined {name}, which is missing in the table of surveys"
    defined_at, *definition = found
    if not _is_instant(defined_at, event.occurred_at):
        return f"defined {name} at {event.occurred_at.isoformat()}; the table of surveys has {defined_at}"
    for what, recorded, stored in zip(
        ("instrument", "scale", "questions", "weights"),
        (event.instrument, event.scale, event.questions, event.weights),
        definition,
        strict=True,
    ):
        if recorded != stored:
            return f"defined {name} with the {what} {recorded!r}; the table of surveys has {stored!r}"
    return None


def _left_over(tables: _Tables, created: ProgrammeCreated | None, published: int) -> Problem | None:
    if created is None:
        return Problem(None, "the journal is a programme's, but no event creates the programme")
    extra = sorted(tables.terms.keys() - set(range(1, published + 1)))
    if extra:
        return Problem(None, f"the table of terms has version {extra[0]}, which no event published")
    if tables.programme is not None and tables.programme[4] != published:
        words = f"counts {tables.programme[4]} versions of the terms, where {published} were published"
        return Problem(None, f"the table of programmes {words}")
    defined = len(tables.survey_events)
    if len(tables.surveys) != defined:
        words = f"has {len(tables.surveys)} versions of surveys, where {defined} were defined"
        return Problem(None, f"the table of surveys {words}")
    if tables.programme is not None and tables.programme[5] != published + defined:
        words = f"has the revision {tables.programme[5]}, where {published + defined} terms and surveys were recorded"
        return Problem(None, f"the table of programmes {words}")
    return None


def _is_instant(text: str, instant: datetime) -> bool:
    try:
        return datetime.fromisoformat(text) == instant
    except ValueError:  # infinity, or before Christ
        return False


def _read(cur: PgCursor, journal: int, programme: str) -> _Tables:
    cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")  # terms may be published meanwhile
    cur.execute(
        "SELECT name, currency, time_zone, journals, terms_versions, revision FROM programmes WHERE programme = %s",
        (programme,),
    )
    row = cur.fetchone()
    cur.execute("SELECT version, effective_from::text, document FROM terms WHERE programme = %s", (programme,))
    terms = {version: (effective_from, bytes(document)) for version, effective_from, document in cur}
    cur.execute(
        "SELECT survey, version, defined_at::text, instrument, lowest, highest, questions, weights FROM surveys"
        " WHERE programme = %s",
        (programme,),
    )
    surveys = {
        (survey, version): (defined_at, instrument, (lowest, highest), questions, weights)
        for survey, version, defined_at, instrument, lowest, highest, questions, weights in cur
    }
    cur.execute("SELECT ordinal FROM journals WHERE kind = 'programme' AND name = %s ORDER BY 1", (programme,))
    ordinals = [ordinal for (ordinal,) in cur]
    cur.execute(
        "SELECT position, topic, state FROM events WHERE journal = %s AND originator_id = %s ORDER BY position",
        (journal, PROGRAMME_STREAM + programme),
    )
    events = [(position, topic, bytes(state)) for position, topic, state in cur]
    cur.execute(
        "SELECT position, topic, state FROM events WHERE journal = %s AND originator_id >= %s AND originator_id < %s"
        " ORDER BY position",
        (journal, *SURVEY_STREAMS),
    )
    survey_events = [(position, topic, bytes(state)) for position, topic, state in cur]
    cur.execute("COMMIT")
    return _Tables(
        programme=row, terms=terms, surveys=surveys, ordinals=ordinals, events=events, survey_events=survey_events
    )
