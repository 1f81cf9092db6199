"""What was recorded since a cursor: in pages, or as a stream of server-sent events that goes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from ledger.codec import MEMBER_STREAM
from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor, sentence
from service.http.access import FIGURES, ROLES, backend_of
from service.http.backend import Backend
from service.http.command_handlers import ProgrammeName
from service.http.description import READ_PROBLEMS
from service.http.log_events import cursor_text, cursors_of, moved
from service.http.member_reads import read_route
from service.http.paths import decoded
from service.http.problems import problem, problem_of
from service.http.reading import read_programme
from service.log_events import EVENTS_MAX, LogEvent, read_changes, read_stream

STREAM_PAGE: Final = 200
STREAM_CHARACTERS_MAX: Final = 160
"""A prefix and an identifier of 128 characters."""
KEEP_ALIVE_SECONDS: Final = 15.0
RETRY_MS: Final = 1_000
_log = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder().encode

After = Annotated[
    str | None,
    QueryParameter(
        description="The `next` of the page before, or the id of an event of the stream; none: from the first."
    ),
]


class Changes(Struct, frozen=True, kw_only=True):
    """Events recorded since a cursor, each journal in its order. `next` is the cursor behind them; where `events` is
    empty, nothing more was recorded yet, and the same cursor may be asked for again.
    """

    events: list[LogEvent]
    next: str


class StreamEvents(Struct, frozen=True, kw_only=True):
    """Events of a stream; `next` is the `after` of the next page, None where this is the last."""

    stream: str
    events: list[LogEvent]
    next: int | None


@read_route("/programmes/{programme:str}/streams/{stream:str}/events", "ReadStreamOfAnything", FIGURES, ["log"],
            headers=())  # fmt: skip
async def stream_events(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    stream: Annotated[str, PathParameter(description="The stream, percent-encoded, such as objective-nps.")],
    after: Annotated[int, QueryParameter(ge=0, le=2**63 - 1, description="Go on after this version.")] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=EVENTS_MAX)] = 100,
) -> Response[StreamEvents]:
    """The events of a stream of the programme, of whatever kind, as they stand in the log."""
    name = decoded("stream", stream, STREAM_CHARACTERS_MAX)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> StreamEvents:
        is_member = name.startswith(MEMBER_STREAM)
        journal = journal_of(info, name.removeprefix(MEMBER_STREAM)) if is_member else info.journals[0]
        found = read_stream(cursor, journal, name, after=after, limit=limit)
        return StreamEvents(stream=name, events=found, next=found[-1].version if len(found) == limit else None)

    return await read_programme(request, programme, None, None, read)


@read_route("/programmes/{programme:str}/changes", "ReadChanges", FIGURES, ["log"], headers=())
async def changes(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    after: After = None,
    limit: Annotated[int, QueryParameter(ge=1, le=EVENTS_MAX)] = 100,
) -> Response[Changes]:
    """The events of the programme since a cursor: every one, once, in the order of its journal."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Changes:
        cursors = cursors_of(after, info.journals)
        events = read_changes(cursor, cursors, limit)
        return Changes(events=events, next=cursor_text(moved(cursors, events)))

    return await read_programme(request, programme, None, None, read)


@get(
    "/programmes/{programme:str}/changes/stream",
    name="StreamChanges",
    operation_id="StreamChanges",
    tags=["log"],
    opt={ROLES: FIGURES},
    responses=READ_PROBLEMS,
    media_type="text/event-stream",
)
async def stream(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    after: After = None,
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", description="Where to go on, before `after`.")
    ] = None,
) -> Stream:
    """The same as server-sent events, as they are recorded: `event` is the topic, `id` the cursor behind it."""
    backend = backend_of(request)
    info = await backend.programme(decoded("programme", programme))
    cursors = cursors_of(last_event_id or after, info.journals)
    if backend.streams >= backend.limits.streams:
        raise problem(
            "TOO_MANY_REQUESTS", "There are as many streams as this server takes.", headers={"Retry-After": "10"}
        )
    return Stream(_events(backend, cursors), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(backend: Backend, cursors: dict[int, int]) -> AsyncIterator[bytes]:
    backend.streams += 1
    try:
        yield b": as they are recorded\n\n"
        while not backend.stopping.is_set():
            grown = backend.growth()
            after = cursors
            try:
                found = await backend.read(lambda cursor, after=after: read_changes(cursor, after, STREAM_PAGE))
            except Exception as error:
                if problem_of(error).details.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                _log.warning("a stream ends, to be asked for again: the database failed: %s", sentence(error))
                return
            messages = []
            for event in found:
                cursors = moved(cursors, (event,))
                messages.append(_message(event, cursor_text(cursors)))
            if messages:
                yield b"".join(messages)
            elif not await backend.wait_for(grown, KEEP_ALIVE_SECONDS):
                yield b": still here\n\n"
    finally:
        backend.streams -= 1


def _message(event: LogEvent, cursor: str) -> bytes:
    """An event of the stream; what is recorded is JSON of one line."""
    return f"id: {cursor}\nevent: {event.topic}\nretry: {RETRY_MS}\ndata: ".encode() + _encode(event) + b"\n\n"


HANDLERS: Final = (stream_events, changes, stream)
