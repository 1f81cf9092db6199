"""Reads of the liability: the roll-forward, what is behind it, and what it is expected to come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from typing import Annotated, Any, Final, Literal, TypeVar

from litestar import Request, Response
from litestar.params import QueryParameter
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.liability_evidence import (
    Adjustments,
    CellEvent,
    CutOff,
    cell_figure,
    read_adjustments,
    read_cut_off,
    read_event_page,
)
from projections.liability_flows import FLOWS
from service.http.access import FIGURES
from service.http.command_handlers import ProgrammeName
from service.http.member_reads import AtLeast, Limit, read_route
from service.http.problems import invalid
from service.http.reading import place_of, read_programme
from service.liability_figures import (
    ExpectedBreakage,
    Liability,
    Revenue,
    parse_amount,
    parse_month,
    parse_rate,
    read_breakage_figures,
    read_liability_figures,
    read_revenue_figures,
    until_month_of,
)

RATES_MAX: Final = 100

_MONTH: Final = {"pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$", "examples": ["2026-11"]}
FromMonth = Annotated[
    str | None, QueryParameter(description="The first month; none: from the beginning.", schema_extra=_MONTH)
]
ToMonth = Annotated[
    str | None, QueryParameter(description="The last month; none: the current one.", schema_extra=_MONTH)
]
Vintage = Annotated[
    str, QueryParameter(description="The month in which points were earned; 0001-01: unknown.", schema_extra=_MONTH)
]
Month = Annotated[str, QueryParameter(description="The month in which things happened to them.", schema_extra=_MONTH)]
Rates = Annotated[
    list[str] | None,
    QueryParameter(
        description="Redemption rates that hold from a month on, instead of the chain-ladder: 2026-01=95%.",
        max_items=RATES_MAX,
    ),
]
Flow = Annotated[str | None, QueryParameter(description="Only one flow.", schema_extra={"enum": list(FLOWS)})]

T = TypeVar("T")


class CellEvents(Struct, frozen=True, kw_only=True):
    """Events behind a cell of the roll-forward, and the points that all of them add up to; `next` is the `after` of the
    next page, None where this is the last.

    An event with several flows is on one page, whatever the limit, and a page that is not the last may be empty.
    """

    points: int
    events: list[CellEvent]
    next: str | None


class CutOffs(Struct, frozen=True, kw_only=True):
    """What occurred in one month and was recorded in another."""

    cut_off: list[CutOff]


class ManualAdjustments(Struct, frozen=True, kw_only=True):
    """Manual adjustments by approver and reason."""

    adjustments: list[Adjustments]


def _route(path: str, name: str) -> Any:
    return read_route(f"/programmes/{{programme:str}}/liability{path}", name, FIGURES, ["liability"])


def _parsed(field: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise invalid(field, str(error), text[:40]) from error


def _range(from_month: str | None, to_month: str | None) -> tuple[date | None, date | None]:
    return (
        None if from_month is None else _parsed("from_month", parse_month, from_month),
        None if to_month is None else _parsed("to_month", parse_month, to_month),
    )


def _rates(rates: Sequence[str] | None) -> dict[date, Fraction]:
    return dict(_parsed("rate", parse_rate, rate) for rate in rates or ())


@_route("", "ReadLiability")
async def liability(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    from_month: FromMonth = None,
    to_month: ToMonth = None,
    by: Literal["vintage", "month"] = "vintage",
    vintage: Annotated[
        str | None, QueryParameter(description="Only points earned in this month, by month.", schema_extra=_MONTH)
    ] = None,
    at_least: AtLeast = None,
) -> Response[Liability]:
    """Points that members can still spend, rolled forward over a range of months: what was there, what came and went,
    and what is left, by the month of earning or month by month.
    """
    first, last = _range(from_month, to_month)
    of = None if vintage is None else _parsed("vintage", parse_month, vintage)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Liability:
        return read_liability_figures(cursor, info, from_month=first, to_month=last, by=by, vintage=of)

    return await read_programme(request, programme, ("liability", "balances"), at_least, read)


@_route("/events", "ReadLiabilityEvents")
async def events(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    vintage: Vintage,
    month: Month,
    flow: Flow = None,
    after: Annotated[
        str | None,
        QueryParameter(
            description="The `next` of the page before.", schema_extra={"pattern": "^[0-9]{1,9}:[0-9]{1,18}$"}
        ),
    ] = None,
    limit: Limit = 100,
    at_least: AtLeast = None,
) -> Response[CellEvents]:
    """The events behind a cell of the roll-forward, read from the log and folded again: their points add up to it."""
    place = parse_place(after)
    if flow is not None and flow not in FLOWS:
        raise invalid("flow", f"must be one of {', '.join(FLOWS)}", flow[:40])
    earned_in, occurred_in = _parsed("vintage", parse_month, vintage), _parsed("month", parse_month, month)
    cell = cell_figure(earned_in, occurred_in, flow or "")

    def read(cursor: PgCursor, info: ProgrammeInfo) -> CellEvents:
        page = read_event_page(cursor, info.journals, cell, after=place, limit=limit)
        following = None if page.next is None else "{}:{}".format(*page.next)
        return CellEvents(points=page.points, events=page.events, next=following)

    return await read_programme(request, programme, "liability", at_least, read)


def parse_place(after: str | None) -> tuple[int, int]:
    """A cursor as journal and position. Raises Problem where it is none."""
    if not after:
        return 0, 0
    place = place_of(after)
    if place is None:
        raise invalid("after", "must be the `next` of a page, such as 1:42", after[:40])
    return place


@_route("/cut-off", "ReadLiabilityCutOff")
async def cut_off(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    from_month: FromMonth = None,
    to_month: ToMonth = None,
    at_least: AtLeast = None,
) -> Response[CutOffs]:
    """What occurred in one month and was recorded in another, of what occurred in a range of months."""
    first, last = _range(from_month, to_month)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> CutOffs:
        until = until_month_of(info, last)
        return CutOffs(cut_off=read_cut_off(cursor, info.journals, from_month=first, until_month=until))

    return await read_programme(request, programme, "liability", at_least, read)


@_route("/adjustments", "ReadLiabilityAdjustments")
async def adjustments(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    from_month: FromMonth = None,
    to_month: ToMonth = None,
    at_least: AtLeast = None,
) -> Response[ManualAdjustments]:
    """Manual adjustments that occurred in a range of months, by who approved them and why."""
    first, last = _range(from_month, to_month)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> ManualAdjustments:
        until = until_month_of(info, last)
        return ManualAdjustments(
            adjustments=read_adjustments(cursor, info.journals, from_month=first, until_month=until)
        )

    return await read_programme(request, programme, "liability", at_least, read)


@_route("/breakage", "ReadBreakage")
async def breakage(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    to_month: ToMonth = None,
    rate: Rates = None,
    at_least: AtLeast = None,
) -> Response[ExpectedBreakage]:
    """How much of what is open at the end of a month is expected never to be redeemed."""
    _, last = _range(None, to_month)
    set_rates = _rates(rate)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> ExpectedBreakage:
        return read_breakage_figures(cursor, info, to_month=last, rates=set_rates)

    return await read_programme(request, programme, "liability", at_least, read)


@_route("/revenue", "ReadDeferredRevenue")
async def revenue(
    request: Request[Any, Any, Any],
    programme: ProgrammeName,
    point_value: Annotated[
        str, QueryParameter(description="What a redeemed point is worth, in minor units: 1 or 0.8.", max_length=32)
    ],
    from_month: FromMonth = None,
    to_month: ToMonth = None,
    rate: Rates = None,
    at_least: AtLeast = None,
) -> Response[Revenue]:
    """The revenue deferred for points (IFRS 15), by vintage: opening + additions - recognised = closing."""
    first, last = _range(from_month, to_month)
    set_rates, point_minor = _rates(rate), _parsed("point_value", parse_amount, point_value)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> Revenue:
        return read_revenue_figures(
            cursor, info, from_month=first, to_month=last, point_minor=point_minor, rates=set_rates
        )

    return await read_programme(request, programme, ("liability", "lifetime"), at_least, read)


HANDLERS: Final = (liability, events, cut_off, adjustments, breakage, revenue)
