"""The customer pyramid of a period, and who moved to its bands from those of an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final, cast

from litestar import Response
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.pyramid import ABSENT, Measure, Migration, Period, Pyramid, read_pyramid_and_migration
from service.http.access import FIGURES
from service.web.asked import Asked, Text
from service.web.charts import Chart
from service.web.languages import N_
from service.web.last_days import end_of_figures, end_of_trade
from service.web.rendering import translated
from service.web.visits import Visit, page

DAYS_SHOWN: Final = 365

BAND_TITLES: Final = (
    N_("top 1 %"),
    N_("next 4 %"),
    N_("next 15 %"),
    N_("remaining 80 %"),
    N_("inactive"),
    N_("prospect"),
    N_("unknown profit"),
    N_("not yet"),
)
"""Bands whose names are not the programme's own."""


class Matrix(Struct, frozen=True, kw_only=True):
    """Who moved: a row for each band of the earlier period, with what is in each band of the later."""

    columns: list[str]
    rows: list[tuple[str, list[Migration | None], int]]
    totals: list[int]
    members: int


@page("/pyramid", "pyramid", FIGURES)
async def pyramid(
    visit: Visit,
    by: Text = "",
    from_on: Text = "",
    until_on: Text = "",
    earlier_from: Text = "",
    earlier_until: Text = "",
) -> Response[Any]:
    """The pyramid by revenue or profit, by default of the last 365 days with trade, against the 365 days before."""
    asked = Asked(visit)
    measure = cast(Measure, asked.choice("by", by, ("revenue", "profit")))
    end = None if until_on else await end_of_figures(visit, end_of_trade)
    later = _period(asked, ("from_on", from_on), ("until_on", until_on), end)
    earlier = _period(asked, ("earlier_from", earlier_from), ("earlier_until", earlier_until), later.from_on)
    found: Pyramid | None = None
    moved: list[Migration] = []
    if not asked.errors:

        def read(cursor: PgCursor, info: ProgrammeInfo) -> tuple[Pyramid, list[Migration]]:
            return read_pyramid_and_migration(cursor, info.journals, by=measure, earlier=earlier, later=later)

        found, moved = await visit.read(read, "lifetime")
    answer: Response[Any] = visit.render(
        "pyramid.html",
        asked.status,
        found=found,
        matrix=_matrix([band.name for band in found.bands], moved) if found else None,
        chart=_chart(visit, found) if found else None,
        titles=_titles(visit, [band.name for band in found.bands]) if found else {},
        form={
            "by": measure,
            "from_on": from_on or later.from_on,
            "until_on": until_on or later.until_on,
            "earlier_from": earlier_from or earlier.from_on,
            "earlier_until": earlier_until or earlier.until_on,
        },
        errors=asked.errors,
        earlier=earlier,
        later=later,
    )
    return answer


def _period(asked: Asked, first: tuple[str, str], end: tuple[str, str], default_end: date | None) -> Period:
    """A period of a form; by default of the 365 days before its end."""
    from_on, until_on = asked.day(*first), asked.day(*end) or default_end
    asked.period(from_on, end[0], until_on)
    if from_on is None and until_on is not None:
        from_on = until_on - min(timedelta(days=DAYS_SHOWN), until_on - date.min)
        asked.period(from_on, end[0], until_on)
    return Period(from_on, until_on)


def _matrix(bands: list[str], moved: list[Migration]) -> Matrix:
    cells = {(cell.from_band, cell.to_band): cell for cell in moved}
    columns = [*bands, *([ABSENT] if any(cell.to_band == ABSENT for cell in moved) else [])]
    rows = []
    for band in (*bands, ABSENT):
        row = [cells.get((band, column)) for column in columns]
        members = sum(cell.members for cell in row if cell)
        if members or band != ABSENT:
            rows.append((band, row, members))
    totals = [sum(cell.members for cell in moved if cell.to_band == column) for column in columns]
    return Matrix(columns=columns, rows=rows, totals=totals, members=sum(totals))


def _titles(visit: Visit, bands: Sequence[str]) -> dict[str, str]:
    """Names of bands as they are shown; those of the programme's own as they are."""
    code = visit.language.code
    return {band: translated(code, band) if band in BAND_TITLES else band for band in (*bands, ABSENT)}


def _chart(visit: Visit, found: Pyramid) -> Chart:
    """Shares of each band, from the top."""
    _ = visit.gettext
    shown = _titles(visit, [band.name for band in found.bands])
    titles = [shown[band.name] for band in found.bands]
    measures = (
        (_("of the members"), "members_share", "--chart-6"),
        (_("of the revenue"), "revenue_share", "--chart-1"),
        (_("of the profit"), "profit_share", "--chart-2"),
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": titles,
            "x": [None if getattr(band, field) is None else 100 * getattr(band, field) for band in found.bands],
            "marker": {"color": colour},
            "hovertemplate": "%{y}: %{x:.1f} %",
        }
        for name, field, colour in measures
        if any(getattr(band, field) is not None for band in found.bands)
    ]
    layout = {
        "barmode": "group",
        "xaxis": {"ticksuffix": " %"},
        "yaxis": {"autorange": "reversed", "type": "category"},
    }
    return Chart(title=_("Shares of the bands"), traces=traces, layout=layout)


HANDLERS: Final = (pyramid,)
