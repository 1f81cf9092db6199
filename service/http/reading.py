"""Reading over HTTP: as fresh as was asked for, saying how fresh, and with an entity tag."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from litestar import Request, Response
from msgspec import Struct

from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor
from service.http.access import backend_of, header
from service.http.answers import Encoded
from service.http.backend import Backend
from service.http.paths import decoded
from service.http.problems import invalid, problem

AS_OF: Final = "Ledger-As-Of"
BEHIND: Final = "Ledger-Behind"
KNOWN_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.005
PAUSE_SECONDS_MAX: Final = 0.1
POSITION_MAX: Final = 2**63 - 1

T = TypeVar("T")
Projections: TypeAlias = str | tuple[str, ...] | None
"""The read model that something is read from, or several; None: the log."""

encode: Final = msgspec.json.Encoder(decimal_format="string").encode


class Freshness(Struct, frozen=True):
    """How far a read model is: by journal, the position folded in, and the position recorded."""

    folded: dict[int, int]
    recorded: dict[int, int]

    def headers(self) -> dict[str, str]:
        """As headers of an answer that was read after this."""
        behind = sum(self.recorded[journal] - at for journal, at in self.folded.items())
        return {AS_OF: ",".join(f"{journal}:{at}" for journal, at in self.folded.items()), BEHIND: str(behind)}

    def lacks(self, wanted: Mapping[int, int]) -> dict[int, int]:
        """What of the positions wanted is not folded in."""
        return {journal: at for journal, at in wanted.items() if self.folded.get(journal, 0) < at}


def read_freshness(cursor: PgCursor, projection: str | tuple[str, ...], journals: Sequence[int]) -> Freshness:
    """How far a projection is in some journals, of several the last of them, in one round trip."""
    projections = (projection,) if isinstance(projection, str) else projection
    cursor.execute(_SELECT_FRESHNESS, (list(projections), list(journals)))
    return _freshness_of(cursor.fetchall())


_SELECT_FRESHNESS = """
SELECT journal, position, (SELECT min(coalesce((SELECT max(folded.position) FROM projections folded
    WHERE projection = wanted AND folded.journal = journals.journal), 0)) FROM unnest(%s::text[]) AS wanted)
FROM journals WHERE journal = ANY (%s) ORDER BY journal
"""


def _freshness_of(rows: Sequence[tuple[Any, ...]]) -> Freshness:
    return Freshness(
        {journal: folded for journal, _, folded in rows}, {journal: recorded for journal, recorded, _ in rows}
    )


async def _freshness(
    backend: Backend, projections: tuple[str, ...], journals: Sequence[int], wanted: Mapping[int, int]
) -> Freshness:
    """How far projections were a moment ago, where that is far enough; else now, looked up once for all who ask.

    Positions only move on, so what was folded in then is in what is read after it.
    """
    name = projections, tuple(journals)
    known = backend.freshness.get(name)
    if known is not None and time.monotonic() - known[0] < KNOWN_SECONDS and not known[1].lacks(wanted):
        found: Freshness = known[1]
        return found
    looked_up: Freshness = await backend.refreshing.get(name, lambda: _look_up(backend, projections, journals))
    return looked_up


async def _look_up(backend: Backend, projections: tuple[str, ...], journals: Sequence[int]) -> Freshness:
    now = time.monotonic()
    found = _freshness_of(await backend.freshness_reader.rows(_SELECT_FRESHNESS, (list(projections), list(journals))))
    backend.freshness[projections, tuple(journals)] = now, found
    return found


def positions(text: str | None, info: ProgrammeInfo) -> dict[int, int]:
    """`at_least` as journal → position. Raises Problem where it is not what a write returned."""
    found: dict[int, int] = {}
    for part in () if text is None else text.split(","):
        place = place_of(part.strip())
        if place is None:
            raise invalid(
                "at_least", "must be as the header Ledger-Position of a write had it, such as 1:42", text or ""
            )
        journal, position = place
        if journal not in info.journals:
            raise invalid("at_least", f"journal {journal} is not one of the programme's", text or "")
        found[journal] = position
    return found


def place_of(text: str) -> tuple[int, int] | None:
    """A journal and a position in it, of a text such as 1:42; None where it is none."""
    journal, _, position = text.partition(":")
    return (int(journal), int(position)) if is_number(journal) and is_number(position) else None


def is_number(text: str) -> bool:
    """Whether a text is a position: decimal digits of a 64-bit number."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= POSITION_MAX


async def read_member(
    request: Request[Any, Any, Any],
    programme: str,
    member: str,
    projection: Projections,
    at_least: str | None,
    read: Callable[[PgCursor, ProgrammeInfo, int, str], Any],
) -> Response[Any]:
    """Answer with what is read of a member; `read` gets cursor, programme, the member's journal and its name."""
    info = await backend_of(request).programme(decoded("programme", programme))
    name = decoded("member", member)
    journal = journal_of(info, name)
    journals = [journal]
    return await answered(
        request, info, journals, projection, at_least, lambda cursor: read(cursor, info, journal, name)
    )


async def read_programme(
    request: Request[Any, Any, Any],
    programme: str,
    projection: Projections,
    at_least: str | None,
    read: Callable[[PgCursor, ProgrammeInfo], Any],
) -> Response[Any]:
    """Answer with what is read of a whole programme, as of one moment."""
    info = await backend_of(request).programme(decoded("programme", programme))

    def at_once(cursor: PgCursor) -> Any:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # its statements see one state
        found = read(cursor, info)
        cursor.execute("COMMIT")
        return found

    return await answered(request, info, info.journals, projection, at_least, at_once)


async def answered(
    request: Request[Any, Any, Any],
    info: ProgrammeInfo,
    journals: Sequence[int],
    projection: Projections,
    at_least: str | None,
    read: Callable[[PgCursor], Any],
) -> Response[Any]:
    """Read, as fresh as was asked for, and answer. Without a `projection` what is read is the log, which is fresh."""
    backend = backend_of(request)

    def found() -> Awaitable[bytes]:
        return backend.read(lambda cursor: encode(read(cursor)))

    return await answered_with(request, info, journals, projection, at_least, found)


async def answered_with(
    request: Request[Any, Any, Any],
    info: ProgrammeInfo,
    journals: Sequence[int],
    projection: Projections,
    at_least: str | None,
    find: Callable[[], Awaitable[bytes]],
) -> Response[Any]:
    """As `answered`, with the body that `find` finds."""
    backend = backend_of(request)
    wanted = positions(at_least, info)
    headers = {}
    if projection is not None:
        projections = (projection,) if isinstance(projection, str) else projection
        headers = (await _fresh(backend, projections, sorted({*journals, *wanted}), wanted)).headers()
    try:
        found = await find()
    except ValueError as error:  # what a read refuses of its arguments
        raise invalid("query", str(error)) from error
    return tagged(request, found, headers)


async def _fresh(
    backend: Backend, projections: tuple[str, ...], journals: Sequence[int], wanted: Mapping[int, int]
) -> Freshness:
    """How far projections are, as soon as that is far enough. Raises Problem where it is not in time."""
    deadline = time.monotonic() + backend.limits.wait_seconds
    pause = PAUSE_SECONDS
    while lacking := (freshness := await _freshness(backend, projections, journals, wanted)).lacks(wanted):
        if time.monotonic() >= deadline or backend.stopping.is_set():
            words = ", ".join(
                f"journal {journal} is at {freshness.folded.get(journal, 0)}, {at} was asked for"
                for journal, at in lacking.items()
            )
            behind = f"After {backend.limits.wait_seconds:g} s {' or '.join(projections)} is behind"
            detail = f"{behind}: {words}. loyalty project folds."
            raise problem("NOT_THERE_YET", detail, headers=freshness.headers() | {"Retry-After": "1"})
        await asyncio.sleep(pause)
        pause = min(2 * pause, PAUSE_SECONDS_MAX)
    return freshness


def tagged(request: Request[Any, Any, Any], body: bytes, headers: dict[str, str]) -> Response[Any]:
    """An answer with the entity tag of its body; 304 without one where the client has it already."""
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = headers | {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if _has(header(request, b"if-none-match"), tag):
        return Encoded(b"", status_code=304, headers=headers)
    return Encoded(body, headers=headers)


def _has(if_none_match: str, tag: str) -> bool:
    if not if_none_match:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in known or "*" in known
