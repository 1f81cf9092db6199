"""Reads of a whole programme: what it is, its pyramid, value, satisfaction and objectives, and refused messages."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from litestar import Request, Response
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from consumers.rejected import read_rejected
from ledger.programmes import ProgrammeInfo
from ledger.programmes import read_programme as read_info
from ledger.store.database import PgCursor
from projections.charts import Chart, ChartUnknown, NamedChart, read_chart, read_charts
from projections.programme_value import ProgrammeValue, read_programme_value
from projections.pyramid import Measure, Migration, Period, Pyramid, read_migration, read_pyramid
from projections.timelines import Entry, read_member_timeline, read_timeline
from service.http.access import FIGURES, REFUSED
from service.http.command_handlers import ProgrammeName
from service.http.member_reads import PAGE_MAX, AtLeast, Limit, read_route
from service.http.paths import decoded
from service.http.problems import invalid, problem
from service.http.reading import read_programme
from service.objectives_figures import Objectives, read_objectives_figures

DAYS_SHOWN: Final = {"day": 30, "week": 13 * 7, "month": 365}
TIMELINE_DAYS_MAX: Final = 3_700
CHART_CHARACTERS_MAX: Final = 128

FromOn = Annotated[date | None, QueryParameter(description="The first day.")]
UntilOn = Annotated[date | None, QueryParameter(description="The day after the last one.")]


class ProgrammeFacts(Struct, frozen=True, kw_only=True):
    """What a programme is. `terms_versions`: how many versions of its terms were published."""

    programme: str
    currency: str
    time_zone: str
    journals: list[int]
    terms_versions: int


class PyramidMigration(Struct, frozen=True, kw_only=True):
    """Who moved from which band of an earlier period to which of a later one: the cells that anybody is in."""

    by: Measure
    earlier: Period
    later: Period
    migration: list[Migration]


class Timeline(Struct, frozen=True, kw_only=True):
    """The figures of satisfaction of each period."""

    entries: list[Entry]


class Charts(Struct, frozen=True, kw_only=True):
    """The control charts of a programme."""

    charts: list[NamedChart]


class RefusedMessage(Struct, frozen=True, kw_only=True):
    """A message that was refused, and why. Texts are "" where they could not be read."""

    number: int
    status: Literal["open", "resolved"]
    code: str
    field: str
    rule: str
    value: str
    type: str
    source: str
    id: str
    member: str
    origin: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None


class RefusedMessages(Struct, frozen=True, kw_only=True):
    """Refused messages of the programme without their bodies, newest first; `next` is the `before` of the next page."""

    messages: list[RefusedMessage]
    next: int | None


def _route(path: str, name: str, roles: frozenset[Any] = FIGURES, tag: str = "programme") -> Any:
    return read_route(f"/programmes/{{programme:str}}{path}", name, roles, [tag])


def _last_year(info: ProgrammeInfo, from_on: date | None, until_on: date | None) -> Period:
    """The period asked for; by default of the 365 days up to its end, or today."""
    until = until_on or _today(info) + timedelta(days=1)
    return Period(from_on or _days_before(until, 365), until)


def _today(info: ProgrammeInfo) -> date:
    return datetime.now(ZoneInfo(info.programme.time_zone)).date()


@_route("", "ReadProgramme")
async def facts(request: Request[Any, Any, Any], programme: ProgrammeName) -> Response[ProgrammeFacts]:
    """What a programme is: currency, time zone, journals, versions of its terms."""

    def read(cursor: PgCursor, known: ProgrammeInfo) -> ProgrammeFacts:
        info = read_info(cursor, known.programme.programme) or known
        return ProgrammeFacts(
            programme=info.programme.programme,
            currency=info.programme.currency,
            time_zone=info.programme.time_zone,
            journals=info.journals,
            terms_versions=info.terms_versions,
        )

    return await read_programme(request, programme, None, None, read)


@_route("/pyramid", "ReadPyramid")
async def pyramid(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    by: Measure = "revenue",
    from_on: FromOn = None,
    until_on: UntilOn = None,
    at_least: AtLeast = None,
) -> Response[Pyramid]:
    """The pyramid of members by revenue or profit in a period, by default of the last 365 days."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Pyramid:
        return read_pyramid(cursor, info.journals, by=by, period=_last_year(info, from_on, until_on))

    return await read_programme(request, programme, "lifetime", at_least, read)


@_route("/pyramid/migration", "ReadPyramidMigration")
async def migration(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    earlier_from: Annotated[date, QueryParameter(description="The first day of the earlier period.")],
    earlier_until: Annotated[date, QueryParameter(description="The day after its last.")],
    by: Measure = "revenue",
    from_on: FromOn = None,
    until_on: UntilOn = None,
    at_least: AtLeast = None,
) -> Response[PyramidMigration]:
    """Who moved between bands of the pyramid from an earlier period to a later one, by default the last 365 days."""
    earlier = Period(earlier_from, earlier_until)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> PyramidMigration:
        later = _last_year(info, from_on, until_on)
        cells = read_migration(cursor, info.journals, by=by, earlier=earlier, later=later)
        return PyramidMigration(by=by, earlier=earlier, later=later, migration=cells)

    return await read_programme(request, programme, "lifetime", at_least, read)


@_route("/value", "ReadValue")
async def value(
    request: Request[Any, Any, Any], programme: ProgrammeName, at_least: AtLeast = None
) -> Response[ProgrammeValue]:
    """What the members are worth all together."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> ProgrammeValue:
        return read_programme_value(cursor, info.journals, datetime.now(UTC))

    return await read_programme(request, programme, "lifetime", at_least, read)


@_route("/satisfaction", "ReadSatisfaction")
async def satisfaction(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    by: Literal["day", "week", "month"] = "month",
    from_on: FromOn = None,
    until_on: UntilOn = None,
    per: Literal["programme", "channel", "store", "touchpoint"] = "programme",
    only: Annotated[str | None, QueryParameter(max_length=128)] = None,
    member: Annotated[str | None, QueryParameter(min_length=1, max_length=64)] = None,
    at_least: AtLeast = None,
) -> Response[Timeline]:
    """NPS, CSAT, CES, ACSI and complaints of each day, week or month, of all, per channel, store or touchpoint, or of
    one member with those merged into it.
    """
    if only is not None and per == "programme":
        raise invalid("only", "needs per to be channel, store or touchpoint")
    if member is not None and per != "programme":
        raise invalid("member", "does not go together with per")

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Timeline:
        today = _today(info)
        until = until_on or today + timedelta(days=1)
        first = from_on or _days_before(until, DAYS_SHOWN[by])
        if (until - first).days > TIMELINE_DAYS_MAX:
            raise invalid("from_on", f"must be at most {TIMELINE_DAYS_MAX:,} days before until_on")
        edges: dict[str, Any] = {"by": by, "from_on": first, "until_on": until, "today": today}
        if member is not None:
            return Timeline(entries=read_member_timeline(cursor, info.journals, member, **edges))
        return Timeline(entries=read_timeline(cursor, info.journals, per=per, only=only, **edges))

    return await read_programme(request, programme, "satisfaction", at_least, read)


@_route("/satisfaction/charts", "ReadCharts")
async def charts(
    request: Request[Any, Any, Any], programme: ProgrammeName, at_least: AtLeast = None
) -> Response[Charts]:
    """The control charts that there are: those for which a baseline was frozen."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Charts:
        return Charts(charts=read_charts(cursor, info.journals))

    return await read_programme(request, programme, "satisfaction", at_least, read)


@_route("/satisfaction/charts/{chart:str}", "ReadChart")
async def chart(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    chart: Annotated[str, PathParameter(description="The chart, percent-encoded.")],
    from_on: FromOn = None,
    until_on: UntilOn = None,
    at_least: AtLeast = None,
) -> Response[Chart]:
    """A control chart, by default of the last 365 days: its points, each judged by the baseline frozen before it, with
    the rules that it completes.
    """
    name = decoded("chart", chart, CHART_CHARACTERS_MAX)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Chart:
        today = _today(info)
        until = until_on or today + timedelta(days=1)
        first = from_on or _days_before(until, 365)
        if (until - first).days > TIMELINE_DAYS_MAX:
            raise invalid("from_on", f"must be at most {TIMELINE_DAYS_MAX:,} days before until_on")
        try:
            return read_chart(cursor, info.journals, name, from_on=first, until_on=until, today=today)
        except ChartUnknown as error:
            raise problem("NOT_FOUND", str(error), field="chart") from error

    return await read_programme(request, programme, "satisfaction", at_least, read)


@_route("/objectives", "ReadObjectives")
async def objectives(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    as_of: Annotated[date | None, QueryParameter(description="As it stood at the end of this day; none: now.")] = None,
    at_least: AtLeast = None,
) -> Response[Objectives]:
    """Quality objectives, what they came to, and what is to be done next by whom."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Objectives:
        return read_objectives_figures(cursor, info, as_of)

    return await read_programme(request, programme, "steering" if as_of is None else None, at_least, read)


@_route("/rejected", "ReadRejected", REFUSED)
async def rejected(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    status: Literal["open", "resolved", "all"] = "open",
    code: Annotated[str, QueryParameter(max_length=64)] = "",
    before: Annotated[int, QueryParameter(ge=1, le=2**63 - 1, description="Go on below this number.")] = 2**63 - 1,
    limit: Limit = 100,
) -> Response[RefusedMessages]:
    """Messages that were refused on a way in that keeps them, such as Kafka and files."""

    def read(cursor: PgCursor, info: ProgrammeInfo) -> RefusedMessages:
        return refused_page(cursor, info.programme.programme, status=status, code=code, before=before, limit=limit)

    return await read_programme(request, programme, None, None, read)


def refused_page(
    cursor: PgCursor, programme: str, *, status: Literal["open", "resolved", "all"], code: str, before: int, limit: int
) -> RefusedMessages:
    """Refused messages of a programme below a number, newest first; `code` "" is every one."""
    found = read_rejected(
        cursor,
        programme=programme,
        status="" if status == "all" else status,
        code=code,
        before=before,
        limit=min(limit, PAGE_MAX),
    )
    names = RefusedMessage.__struct_fields__
    messages = [RefusedMessage(**{name: getattr(one, name) for name in names}) for one in found]
    return RefusedMessages(messages=messages, next=found[-1].number if len(found) == limit else None)


def _days_before(day: date, days: int) -> date:
    return day - timedelta(days=min(days, (day - date.min).days))


HANDLERS: Final = (facts, pyramid, migration, value, satisfaction, charts, chart, objectives, rejected)
