"""The liability: rolled forward, the events behind each of its figures, the cut-off, and manual adjustments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

from litestar import Response
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.liability_evidence import (
    Adjustments,
    CutOff,
    EventPage,
    FigureOf,
    read_adjustments,
    read_cut_off,
    read_event_page,
)
from projections.liability_flows import FLOWS
from projections.liability_reads import UNKNOWN_VINTAGE, Line, RollForward, month_after, month_before
from service.http.access import FIGURES
from service.http.liability_reads import parse_place
from service.liability_figures import COLUMNS, Liability, read_liability_figures, until_month_of
from service.web.asked import Asked, Text
from service.web.charts import Chart
from service.web.languages import N_
from service.web.visits import Visit, page

EVENTS_SHOWN: Final = 50
ALWAYS_SHOWN: Final = ("earned", "redeemed", "expired")
"""Columns that are there even if all of it is 0; of the others, those are left out."""

EVERYTHING: Final = N_("everything")
COLUMN_TITLES: Final = {
    "earned": N_("Earned"),
    "in": N_("Came in"),
    "redeemed": N_("Redeemed"),
    "expired": N_("Expired"),
    "clawed back": N_("Clawed back"),
    "adjusted": N_("Adjusted"),
    "out": N_("Went out"),
    "reversed": N_("Reversed"),
    "repaid": N_("Repaid arrears"),
    "forfeited": N_("Forfeited"),
}
FLOW_TITLES: Final = {
    "earned": N_("Earned"),
    "repaid": N_("Repaid arrears"),
    "adjusted_up": N_("Adjusted up"),
    "transferred_in": N_("Transferred in"),
    "merged_in": N_("Merged in"),
    "redeemed": N_("Redeemed"),
    "reversed": N_("Reversed"),
    "expired": N_("Expired"),
    "clawed_back": N_("Clawed back"),
    "adjusted_down": N_("Adjusted down"),
    "transferred_out": N_("Transferred out"),
    "merged_out": N_("Merged out"),
    "forfeited": N_("Forfeited"),
}


class FigureShown(Struct, frozen=True):
    """A figure of the table, and the address of the events behind it; "" where there are none."""

    points: int
    address: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """A line of the roll-forward as it is shown; `address` is that of the vintage month by month, or ""."""

    line: Line
    address: str
    opening: FigureShown
    flows: dict[str, FigureShown]
    closing: FigureShown


# --- the roll-forward -----------------------------------------------------------------------------------------------


@page("/liability", "liability", FIGURES)
async def liability(
    visit: Visit, from_month: Text = "", to_month: Text = "", by: Text = "", vintage: Text = ""
) -> Response[Any]:
    """The roll-forward by vintage or by month, or of one vintage by month."""
    asked = Asked(visit)
    first, last = asked.months(from_month, to_month)
    of, lines = asked.month("vintage", vintage), asked.choice("by", by, ("vintage", "month"))
    form = {"from_month": from_month, "to_month": to_month, "by": lines, "vintage": vintage}
    found: Liability | None = None
    if not asked.errors:
        found = await visit.read(
            lambda cursor, info: read_liability_figures(
                cursor, info, from_month=first, to_month=last, by="month" if lines == "month" else "vintage", vintage=of
            ),
            "liability",
        )
    shown: dict[str, Any] = {}
    if found is not None:
        rolled = found.roll_forward
        shown = {
            "rows": [_row(visit, rolled, line, of) for line in rolled.lines],
            "total": _row(visit, rolled, rolled.total, of, is_total=True),
            "columns": [column for column in COLUMNS if column in ALWAYS_SHOWN or _occurred(rolled, column)],
            "last_month": month_before(rolled.until_month),
            "chart": _chart(visit, rolled),
        }
    answer: Response[Any] = visit.render(
        "liability.html",
        asked.status,
        found=found,
        form=form,
        errors=asked.errors,
        titles=COLUMN_TITLES,
        unknown=UNKNOWN_VINTAGE,
        **shown,
    )
    return answer


def _row(visit: Visit, found: RollForward, line: Line, of: date | None, *, is_total: bool = False) -> Row:
    """A line with the addresses of what is behind it; the total has no month of its own."""
    begin, until, vintage = found.from_month, found.until_month, of
    address = ""
    if not is_total and found.by == "month":
        begin, until = line.month, month_after(line.month)
    elif not is_total:
        vintage = line.month
        asked = {"from_month": _text(begin), "to_month": _text(month_before(until)), "vintage": _text(vintage)}
        address = visit.url("/liability", **asked)

    def behind(points: int, first: date | None, end: date | None, column: str = "") -> FigureShown:
        if not points or end is None:
            return FigureShown(points)
        asked = {"vintage": _text(vintage), "from_month": _text(first), "to_month": _text(month_before(end))}
        return FigureShown(points, visit.url("/liability/events", **asked, column=column))

    return Row(
        line=line,
        address=address,
        opening=behind(line.opening, None, begin),
        flows={
            column: behind(sum(line.flows[flow] for flow in flows), begin, until, column)
            for column, flows in COLUMNS.items()
        },
        closing=behind(line.closing, None, until),
    )


def _occurred(found: RollForward, column: str) -> bool:
    return any(line.flows[flow] for line in found.lines for flow in COLUMNS[column])


def _text(month: date | None) -> str:
    return "" if month is None else month.isoformat()[:7]


def _chart(visit: Visit, found: RollForward) -> Chart:
    _ = visit.gettext
    on = [_("unknown") if line.month == UNKNOWN_VINTAGE else _text(line.month) for line in found.lines]
    pockets = (
        ("available", _("Available"), "--chart-1"),
        ("pending", _("Pending"), "--chart-3"),
        ("held", _("Held"), "--chart-5"),
        ("overdue", _("Overdue"), "--chart-2"),
    )
    traces = [
        {"type": "bar", "name": name, "x": on, "y": [getattr(line, field) for line in found.lines],
         "marker": {"color": colour}}
        for field, name, colour in pockets
    ]  # fmt: skip
    title = _("Points outstanding by month of earning") if found.by == "vintage" else _("Points outstanding by month")
    return Chart(title=title, traces=traces, layout={"barmode": "relative", "xaxis": {"type": "category"}})


# --- behind it ------------------------------------------------------------------------------------------------------


@page("/liability/events", "liability", FIGURES, "liability-events")
async def events(
    visit: Visit, vintage: Text = "", from_month: Text = "", to_month: Text = "", column: Text = "", after: Text = ""
) -> Response[Any]:
    """The events behind a figure of the roll-forward, page by page."""
    asked = Asked(visit)
    first, last = asked.months(from_month, to_month)
    of = asked.month("vintage", vintage)
    named = asked.choice("column", column, ("", *COLUMNS))
    form = {"vintage": vintage, "from_month": from_month, "to_month": to_month, "column": column}
    place = parse_place(after)
    found: EventPage | None = None
    if not asked.errors:

        def read(cursor: PgCursor, info: ProgrammeInfo) -> EventPage:
            flows = COLUMNS.get(named, FLOWS)
            figure = FigureOf(vintage=of, from_month=first, until_month=until_month_of(info, last), flows=flows)
            return read_event_page(cursor, info.journals, figure, after=place, limit=EVENTS_SHOWN)

        found = await visit.read(read, "liability")
    following = found.next if found is not None else None
    answer: Response[Any] = visit.render(
        "liability_events.html",
        asked.status,
        found=found,
        times=[(_instant(event.occurred_at), _instant(event.recorded_at)) for event in found.events] if found else [],
        form=form,
        errors=asked.errors,
        vintage=of,
        first=first,
        last=last,
        column=COLUMN_TITLES.get(named, EVERYTHING),
        columns=[("", EVERYTHING), *COLUMN_TITLES.items()],
        flows=FLOW_TITLES,
        unknown=UNKNOWN_VINTAGE,
        after=after,
        start=visit.url("/liability/events", **form),
        following=visit.url("/liability/events", **form, after="{}:{}".format(*following)) if following else None,
    )
    return answer


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@page("/liability/cut-off", "liability", FIGURES, "liability-cut-off")
async def cut_off(visit: Visit, from_month: Text = "", to_month: Text = "") -> Response[Any]:
    """What occurred in one month and was recorded in another."""
    asked = Asked(visit)
    first, last = asked.months(from_month, to_month)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[CutOff]:
        return read_cut_off(cursor, info.journals, from_month=first, until_month=until_month_of(info, last))

    found: Sequence[CutOff] = () if asked.errors else await visit.read(read, "liability")
    return _report(visit, asked, "liability_cut_off.html", found, from_month, to_month)


@page("/liability/adjustments", "liability", FIGURES, "liability-adjustments")
async def adjustments(visit: Visit, from_month: Text = "", to_month: Text = "") -> Response[Any]:
    """Manual adjustments by who approved them and why."""
    asked = Asked(visit)
    first, last = asked.months(from_month, to_month)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[Adjustments]:
        return read_adjustments(cursor, info.journals, from_month=first, until_month=until_month_of(info, last))

    found: Sequence[Adjustments] = () if asked.errors else await visit.read(read, "liability")
    return _report(visit, asked, "liability_adjustments.html", found, from_month, to_month)


def _report(
    visit: Visit, asked: Asked, template: str, found: Sequence[Any], from_month: str, to_month: str
) -> Response[Any]:
    form = {"from_month": from_month, "to_month": to_month}
    events_address = visit.url("/liability/events", **form, column="adjusted")
    answer: Response[Any] = visit.render(
        template, asked.status, found=found, form=form, errors=asked.errors, events_address=events_address
    )
    return answer


HANDLERS: Final = (liability, events, cut_off, adjustments)
