"""The first page of a programme: how large it is, whether it moves, and what needs somebody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from litestar import Response

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.programme_value import read_programme_value
from service.http.access import FIGURES
from service.read_models import projection_lags
from service.web import overview_reads as reads
from service.web.charts import Chart
from service.web.visits import Visit, page

EVENTS_SHOWN: Final = 12


@page("", "overview", FIGURES)
async def overview(visit: Visit) -> Response[Any]:
    """Members, points, growth, lag, refused messages, and the newest events."""
    now = datetime.now(UTC)

    def read(cursor: PgCursor, info: ProgrammeInfo) -> dict[str, Any]:
        return {
            "value": read_programme_value(cursor, info.journals, now),
            "outstanding": reads.read_outstanding(cursor, info.journals),
            "months": reads.read_months(cursor, info.journals),
            "growth": reads.read_growth(cursor, info.journals, now),
            "lags": projection_lags(cursor, info.journals),
            "newest": reads.read_newest(cursor, info.journals, EVENTS_SHOWN),
            "rejected": reads.count_open_rejected(cursor, info.programme.programme),
        }

    found = await visit.read(read, "lifetime")
    return visit.render(
        "overview.html", **found, chart=_chart(visit, found["months"]), rejected_max=reads.REJECTED_COUNTED_MAX
    )


def _chart(visit: Visit, months: list[reads.MonthOfPoints]) -> Chart:
    _ = visit.gettext
    on = [f"{month.month:%Y-%m}" for month in months]
    traces = [
        {"type": "bar", "name": name, "x": on, "y": [getattr(month, field) for month in months]}
        for field, name in (("issued", _("Issued")), ("redeemed", _("Redeemed")), ("expired", _("Expired")))
    ]
    return Chart(
        title=_("Points by month"),
        traces=traces,
        layout={"barmode": "group", "xaxis": {"type": "category"}},
    )


HANDLERS: Final = (overview,)
