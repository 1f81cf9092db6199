"""Reads of a member: points, lots, statement, value, satisfaction, and its stream in the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from ledger.codec import MEMBER_STREAM
from ledger.programmes import journal_of
from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.as_of import balance_as_of, statement_as_of
from projections.balances import Balance, OpenLot, read_balance, read_lots
from projections.lifetime_reads import MemberLifetime, lifetime_as_of, read_lifetime
from projections.satisfaction_members import LatestAnswer, read_latest_answers
from projections.statement import StatementEntry, read_statement
from service.http.access import FIGURES, MEMBER_FIGURES, ROLES, backend_of
from service.http.command_handlers import ProgrammeName
from service.http.description import AS_OF_HEADERS, READ_PROBLEMS
from service.http.paths import decoded
from service.http.problems import invalid
from service.http.reading import answered_with, encode, read_member
from service.log_events import EVENTS_MAX, LogEvent, read_stream

PAGE_MAX: Final = 1_000

MemberName = Annotated[str, PathParameter(description="The member, percent-encoded.")]
_INSTANT = {"format": "date-time"}
AtLeast = Annotated[
    str | None,
    QueryParameter(
        description="Answer only when this is folded in: the header Ledger-Position of a write.",
        schema_extra={"pattern": "^[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18})*$"},
    ),
]
AsOf = Annotated[
    str | None,
    QueryParameter(
        description="Only what had happened by then, as it stood then: RFC 3339 with an offset.", schema_extra=_INSTANT
    ),
]
AsKnownAt = Annotated[
    str | None, QueryParameter(description="Only what had been recorded by then.", schema_extra=_INSTANT)
]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, description="Entries of a page.")]
_CENTURIES = timedelta(days=366)


class Lots(Struct, frozen=True, kw_only=True):
    """The open lots of a member, soonest expiry first, and how many points expire when: the schedule."""

    member: str
    lots: list[OpenLot]
    expiries: list[Expiry]


class Expiry(Struct, frozen=True, kw_only=True):
    """Points that expire at an instant, unless they are spent before it."""

    expires_at: datetime
    points: int


class StatementPage(Struct, frozen=True, kw_only=True):
    """A page of a statement; `next` is the `after` of the next one, None where this is the last."""

    member: str
    entries: list[StatementEntry]
    next: int | None


class Summary(Struct, frozen=True, kw_only=True):
    """Everything about one member."""

    programme: str
    currency: str
    lifetime: MemberLifetime
    balance: Balance


class LatestAnswers(Struct, frozen=True, kw_only=True):
    """The latest answer of a member, and those merged into it, to each instrument."""

    member: str
    answers: list[LatestAnswer]


class StreamPage(Struct, frozen=True, kw_only=True):
    """Events of a member's stream; `next` is the `after` of the next page, None where this is the last."""

    member: str
    events: list[LogEvent]
    next: int | None


def instant(name: str, text: str | None) -> datetime | None:
    """An instant of the query. Raises Problem where it is not one of RFC 3339 with an offset."""
    if text is None:
        return None
    try:
        return msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)]).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise invalid(name, "must be an instant as in RFC 3339, such as 2026-11-20T04:19:52Z", text[:40]) from None


# --- what pages of the console read too -----------------------------------------------------------------------------


def lots_of(member: str, lots: list[OpenLot], now: datetime) -> Lots:
    """Open lots with the schedule of their expiries after an instant."""
    points: dict[datetime, int] = {}
    for lot in lots:
        if lot.expires_at is not None and lot.expires_at > now:
            points[lot.expires_at] = points.get(lot.expires_at, 0) + lot.points
    expiries = [Expiry(expires_at=at, points=count) for at, count in points.items()]
    return Lots(member=member, lots=lots, expiries=expiries)


def statement_page(
    cursor: PgCursor,
    journal: int,
    member: str,
    past: tuple[datetime, datetime] | None,
    *,
    after: int,
    limit: int,
    newest_first: bool,
) -> StatementPage:
    """A page of a statement; `past` is (as_of, as_known_at), None: now."""
    if past is None:
        found = read_statement(cursor, journal, member, after=after, limit=limit, newest_first=newest_first)
    else:
        known = statement_as_of(cursor, journal, member, *past)
        known = known[::-1] if newest_first else known
        beyond = [one for one in known if not after or (one.position < after) is newest_first]
        found = [one for one in beyond if one.position != after][:limit]
    return StatementPage(member=member, entries=found, next=found[-1].position if len(found) == limit else None)


def stream_page(cursor: PgCursor, journal: int, member: str, *, after: int, limit: int) -> StreamPage:
    """Events of a member's stream after a version."""
    found = read_stream(cursor, journal, MEMBER_STREAM + member, after=after, limit=limit)
    return StreamPage(member=member, events=found, next=found[-1].version if len(found) == limit else None)


# --- handlers -------------------------------------------------------------------------------------------------------


def read_route(path: str, name: str, roles: frozenset[Any], tags: list[str], *, headers: Any = AS_OF_HEADERS) -> Any:
    """What the routes of reads share."""
    return get(
        path,
        name=name,
        operation_id=name,
        tags=tags,
        opt={ROLES: roles},
        response_headers=list(headers),
        responses=READ_PROBLEMS,
    )


def _member_route(path: str, name: str, roles: frozenset[Any] = FIGURES) -> Any:
    return read_route(f"/programmes/{{programme:str}}/members/{{member:str}}/{path}", name, roles, ["members"])


@_member_route("balance", "ReadBalance", MEMBER_FIGURES)
async def balance(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    member: MemberName,
    at_least: AtLeast = None,
    as_of: AsOf = None,
    as_known_at: AsKnownAt = None,
) -> Response[Balance]:
    """The points of a member now; with `as_of` or `as_known_at` those of the past, folded from the log."""
    at, known = instant("as_of", as_of), instant("as_known_at", as_known_at)
    if at is None and known is None:
        return await _balance_now(request, programme, member, at_least)

    def read(cursor: PgCursor, _: Any, journal: int, name: str) -> Balance:
        return balance_as_of(cursor, journal, name, at or datetime.now(UTC), known or FAR)

    return await read_member(request, programme, member, None, at_least, read)


async def _balance_now(
    request: Request[Any, Any, Any], programme: str, member: str, at_least: str | None
) -> Response[Balance]:
    """The read that there are most of."""
    backend = backend_of(request)
    info = await backend.programme(decoded("programme", programme))
    name = decoded("member", member)
    journal = journal_of(info, name)

    async def find() -> bytes:
        return encode(await backend.balances.read((journal, name)))

    return await answered_with(request, info, [journal], "balances", at_least, find)


@_member_route("lots", "ReadLots", MEMBER_FIGURES)
async def lots(
    request: Request[Any, Any, Any], programme: ProgrammeName, member: MemberName, at_least: AtLeast = None
) -> Response[Lots]:
    """The open lots of a member in the order in which a redemption takes them, and when points expire."""
    now = datetime.now(UTC)

    def read(cursor: PgCursor, _: Any, journal: int, name: str) -> Lots:
        return lots_of(name, read_lots(cursor, journal, name), now)

    return await read_member(request, programme, member, "balances", at_least, read)


@_member_route("statement", "ReadStatement", MEMBER_FIGURES)
async def statement(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    member: MemberName,
    at_least: AtLeast = None,
    as_of: AsOf = None,
    as_known_at: AsKnownAt = None,
    after: Annotated[int, QueryParameter(ge=0, le=2**63 - 1, description="Go on after this position.")] = 0,
    limit: Limit = 100,
    newest_first: bool = False,
) -> Response[StatementPage]:
    """Every movement of a member's points, with the balance after it and where each point came from."""
    now = datetime.now(UTC)
    at, known = instant("as_of", as_of), instant("as_known_at", as_known_at)

    def read(cursor: PgCursor, _: Any, journal: int, name: str) -> StatementPage:
        past = None if at is None and known is None else (at or now, known or FAR)
        return statement_page(cursor, journal, name, past, after=after, limit=limit, newest_first=newest_first)

    projection = "statement" if at is None and known is None else None
    return await read_member(request, programme, member, projection, at_least, read)


@_member_route("summary", "ReadSummary")
async def summary(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    member: MemberName,
    at_least: AtLeast = None,
    as_of: AsOf = None,
    as_known_at: AsKnownAt = None,
) -> Response[Summary]:
    """What a member is worth, how it behaves, and its points."""
    now = datetime.now(UTC)
    at, known = instant("as_of", as_of), instant("as_known_at", as_known_at)

    def read(cursor: PgCursor, info: Any, journal: int, name: str) -> Summary:
        if at is None and known is None:
            lifetime = read_lifetime(cursor, info.journals, journal, name, now)
            points = read_balance(cursor, journal, name, now)
        else:
            lifetime = lifetime_as_of(cursor, info.journals, journal, name, at or now, known or FAR)
            points = balance_as_of(cursor, journal, name, at or now, known or FAR)
        return Summary(
            programme=info.programme.programme, currency=info.programme.currency, lifetime=lifetime, balance=points
        )

    projection = ("lifetime", "balances") if at is None and known is None else None
    return await read_member(request, programme, member, projection, at_least, read)


@_member_route("satisfaction", "ReadLatestAnswers")
async def satisfaction(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    member: MemberName,
    at_least: AtLeast = None,
    as_of: AsOf = None,
) -> Response[LatestAnswers]:
    """The latest answer of a member to each instrument; of those merged into it too."""
    at = instant("as_of", as_of)

    def read(cursor: PgCursor, info: Any, _: int, name: str) -> LatestAnswers:
        return LatestAnswers(member=name, answers=read_latest_answers(cursor, info.journals, name, at))

    return await read_member(request, programme, member, "satisfaction", at_least, read)


@_member_route("events", "ReadStream")
async def events(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    member: MemberName,
    after: Annotated[int, QueryParameter(ge=0, le=2**63 - 1, description="Go on after this version.")] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=EVENTS_MAX)] = 100,
) -> Response[StreamPage]:
    """The events of a member's stream as they stand in the log; personal data is sealed."""

    def read(cursor: PgCursor, _: Any, journal: int, name: str) -> StreamPage:
        return stream_page(cursor, journal, name, after=after, limit=limit)

    return await read_member(request, programme, member, None, None, read)


HANDLERS: Final = (balance, lots, statement, summary, satisfaction, events)
