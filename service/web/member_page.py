"""One member: balance, lots, value, satisfaction, statement and events; of now, or as it was at an instant."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from litestar import Response
from litestar.params import QueryParameter

from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.as_of import lots_as_of
from projections.balances import read_lots
from service.http.access import FIGURES
from service.http.member_reads import Lots, StatementPage, StreamPage, lots_of, statement_page, stream_page
from service.http.paths import decoded
from service.http.problems import problem
from service.member_screen import MemberScreen, read_member_screen
from service.web.charts import Chart
from service.web.fields import AsOfField, instant_field
from service.web.visits import Visit, page

MOVEMENTS_SHOWN: Final = 20
ENTRIES_SHOWN: Final = 100

After = Annotated[int, QueryParameter(ge=0, le=2**63 - 1)]
Past = tuple[datetime, datetime]
"""as_of and as_known_at, in UTC."""


@page("/members/{member:str}", "members", FIGURES, "member")
async def member_page(visit: Visit, member: str, as_of: AsOfField = "", as_known_at: AsOfField = "") -> Response[Any]:
    """Everything about a member on one page."""
    name, now = decoded("member", member), datetime.now(UTC)
    at, known = _instants(visit, as_of, as_known_at)
    past = _past(at, known, now)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> tuple[MemberScreen, Lots, StatementPage]:
        journal = journal_of(info, name)
        screen = read_member_screen(cursor, info, name, at, known)
        lots = read_lots(cursor, journal, name) if past is None else lots_as_of(cursor, journal, name, *past)
        page = statement_page(cursor, journal, name, past, after=0, limit=MOVEMENTS_SHOWN, newest_first=True)
        return screen, lots_of(name, lots, now if past is None else past[0]), page

    screen, lots, statement = await visit.read(read, "balances" if past is None else None)
    if screen.balance.version == 0 and past is None:
        raise problem("NOT_FOUND", f"There is no member {name!r}, or nothing of it is in the read models yet.")
    return visit.render(
        "member.html",
        member=name,
        screen=screen,
        lots=lots,
        statement=statement,
        chart=_chart(visit, lots),
        as_of=as_of,
        as_known_at=as_known_at,
        past=past,
        now=now if past is None else past[0],
    )


@page("/members/{member:str}/statement", "members", FIGURES, "statement")
async def statement(
    visit: Visit, member: str, as_of: AsOfField = "", as_known_at: AsOfField = "", after: After = 0
) -> Response[Any]:
    """The whole statement, page by page, newest first."""
    name = decoded("member", member)
    past = _past(*_instants(visit, as_of, as_known_at), datetime.now(UTC))

    def read(cursor: PgCursor, info: ProgrammeInfo) -> StatementPage:
        journal = journal_of(info, name)
        return statement_page(cursor, journal, name, past, after=after, limit=ENTRIES_SHOWN, newest_first=True)

    found = await visit.read(read, "statement" if past is None else None)
    return visit.render(
        "statement.html", member=name, statement=found, as_of=as_of, as_known_at=as_known_at, past=past, after=after
    )


@page("/members/{member:str}/events", "members", FIGURES, "member-events")
async def member_events(visit: Visit, member: str, after: After = 0) -> Response[Any]:
    """The events of a member's stream, in their order."""
    name = decoded("member", member)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> StreamPage:
        return stream_page(cursor, journal_of(info, name), name, after=after, limit=ENTRIES_SHOWN)

    stream = await visit.read(read)
    if not stream.events and not after:
        raise problem("NOT_FOUND", f"The log has no event of a member {name!r}.")
    return visit.render("member_events.html", member=name, stream=stream, after=after)


def _instants(visit: Visit, as_of: str, as_known_at: str) -> tuple[datetime | None, datetime | None]:
    zone = visit.info.programme.time_zone
    return instant_field("as_of", as_of, zone), instant_field("as_known_at", as_known_at, zone)


def _past(at: datetime | None, known: datetime | None, now: datetime) -> Past | None:
    return None if at is None and known is None else (at or now, known or FAR)


def _chart(visit: Visit, lots: Lots) -> Chart:
    _ = visit.gettext
    zone = ZoneInfo(visit.info.programme.time_zone)
    points: Counter[date] = Counter()
    for expiry in lots.expiries:
        points[expiry.expires_at.astimezone(zone).date()] += expiry.points
    trace = {
        "type": "bar",
        "name": _("Points"),
        "x": list(points),
        "y": list(points.values()),
        "marker": {"color": "--chart-1"},
    }
    layout = {"xaxis": {"type": "date", "tickformat": "%Y-%m-%d"}, "yaxis": {"rangemode": "tozero"}, "bargap": 0.4}
    return Chart(title=_("Points by the day on which they expire"), traces=[trace], layout=layout)


HANDLERS: Final = (member_page, statement, member_events)
