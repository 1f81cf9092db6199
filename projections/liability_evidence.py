"""What is behind the liability: the events of a cell, the cut-off between months, and manual adjustments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.batch import read_batch
from projections.liability import flow_vintages, month_at, read_vintages
from projections.liability_flows import FLOWS, flows, lots_named
from projections.liability_reads import RESOLVED, UNKNOWN_VINTAGE, check_range, month_after
from projections.movements import MOVEMENT_TOPICS
from projections.trading import first_of_month, month_of, time_zone_of

EVENTS_AT_ONCE = 5_000
POSITIONS_A_PAGE = 20_000
"""How many positions a page of events looks at: what bounds the time that it takes."""


class Cell(Struct, frozen=True, kw_only=True):
    """What one flow did to a vintage in a month, in one journal; the events behind it lie between the positions."""

    vintage: date
    month: date
    flow: str
    points: int
    journal: int
    first_position: int
    last_position: int


class CellEvent(Struct, frozen=True, kw_only=True):
    """An event behind a cell, and what it adds to it."""

    journal: int
    position: int
    member: str
    topic: str
    occurred_at: str
    recorded_at: str
    source: str
    id: str
    vintage: date
    flow: str
    points: int


class FigureOf(Struct, frozen=True, kw_only=True):
    """What a figure of the roll-forward is of: a vintage (None: all of them), months (None: from the beginning) until
    before another, and flows.
    """

    vintage: date | None
    from_month: date | None
    until_month: date
    flows: tuple[str, ...]


class EventPage(Struct, frozen=True, kw_only=True):
    """Events behind a figure in order of journal and position, what all of them add up to, and the place to go on
    after; None: these are the last.
    """

    events: list[CellEvent]
    points: int
    next: tuple[int, int] | None


class CutOff(Struct, frozen=True, kw_only=True):
    """Events of one topic that occurred in one month and were recorded in another. Positions are those of a journal."""

    occurred_in: date
    recorded_in: date
    topic: str
    events: int
    points: int
    owed: int
    journal: int
    first_position: int
    last_position: int


class Adjustments(Struct, frozen=True, kw_only=True):
    """Manual adjustments that one approver gave for one reason, in all journals."""

    approver: str
    reason: str
    events: int
    points_up: int
    points_down: int


# --- behind a cell --------------------------------------------------------------------------------------------------

_COLUMNS = "journal, occurred_in, flow, points, first_position, last_position"
_WITH_CELLS = f"WITH {RESOLVED.format(columns=_COLUMNS, table='liability_cells')}"
_SELECT_CELLS = f"""
{_WITH_CELLS}
SELECT vintage, occurred_in, flow, sum(points)::bigint, journal, min(first_position), max(last_position) FROM resolved
WHERE occurred_in >= %(begin)s AND occurred_in < %(until)s AND (%(vintage)s::date IS NULL OR vintage = %(vintage)s)
GROUP BY vintage, occurred_in, flow, journal ORDER BY vintage, occurred_in, flow, journal
"""
_SELECT_SPANS = f"""
{_WITH_CELLS}
SELECT journal, min(first_position) - 1, max(last_position), sum(points)::bigint FROM resolved
WHERE (%(vintage)s::date IS NULL OR vintage = %(vintage)s) AND occurred_in >= %(begin)s AND occurred_in < %(until)s
    AND flow = ANY (%(flows)s)
GROUP BY journal ORDER BY journal
"""


def read_cells(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    from_month: date | None = None,
    until_month: date,
    vintage: date | None = None,
) -> list[Cell]:
    """The cells of a range of months, of all vintages or one, each with the positions behind it."""
    check_range(from_month, until_month)
    cur.execute(
        _SELECT_CELLS,
        {
            "journals": list(journals),
            "unknown": UNKNOWN_VINTAGE,
            "begin": from_month or date.min,
            "until": until_month,
            "vintage": vintage,
        },
    )
    return [Cell(**dict(zip(Cell.__struct_fields__, row, strict=True))) for row in cur.fetchall()]


def read_cell_events(
    cur: PgCursor, journals: Sequence[int], vintage: date, month: date, flow: str = ""
) -> Iterator[CellEvent]:
    """The events behind a cell, read from the log and folded again, journal by journal in order of position.

    `flow` "" stands for all of them. Their points add up to the cell's; memory is bounded by what is read at once.
    """
    asked = cell_figure(vintage, month, flow)
    for journal, after, last, _ in _spans(cur, journals, asked):
        for start in range(after, last, EVENTS_AT_ONCE):
            yield from _events_behind(cur, journals, journal, start, min(EVENTS_AT_ONCE, last - start), asked)


def cell_figure(vintage: date, month: date, flow: str = "") -> FigureOf:
    """A cell as a figure; `flow` "" stands for all of them."""
    return FigureOf(vintage=vintage, from_month=month, until_month=month_after(month), flows=(flow,) if flow else FLOWS)


def read_event_page(
    cur: PgCursor, journals: Sequence[int], asked: FigureOf, *, after: tuple[int, int] = (0, 0), limit: int
) -> EventPage:
    """A page of the events behind a figure, after a journal and a position in it, read as `read_cell_events` does.

    An event with several flows is on one page, which then may be longer than `limit`; a page that looked at
    20,000 positions ends there, and then may be shorter, or empty, though it is not the last.

    Raises ValueError unless both months are first days and the range has one.
    """
    check_range(asked.from_month, asked.until_month)
    spans = _spans(cur, journals, asked)
    points = sum(each[3] for each in spans)
    found: list[CellEvent] = []
    looked_at = 0
    for journal, start, last, _ in spans:
        at = max(start, after[1]) if journal == after[0] else start if journal > after[0] else last
        while at < last:
            if len(found) >= limit or looked_at >= POSITIONS_A_PAGE:
                return EventPage(events=found, points=points, next=(journal, at))
            batch = min(EVENTS_AT_ONCE, last - at)
            found += _events_behind(cur, journals, journal, at, batch, asked)
            if len(found) > limit:
                end = found[limit - 1].position
                beyond = next((number for number, event in enumerate(found[limit:]) if event.position != end), None)
                if beyond is not None:
                    return EventPage(events=found[: limit + beyond], points=points, next=(journal, end))
            at += batch
            looked_at += batch
    return EventPage(events=found, points=points, next=None)


def _spans(cur: PgCursor, journals: Sequence[int], asked: FigureOf) -> list[tuple[int, int, int, int]]:
    """Journals with the positions, after the first and up to the last, between which the events of a figure are, and
    with its points.
    """
    cur.execute(
        _SELECT_SPANS,
        {
            "journals": list(journals),
            "unknown": UNKNOWN_VINTAGE,
            "vintage": asked.vintage,
            "begin": asked.from_month or date.min,
            "until": asked.until_month,
            "flows": list(asked.flows),
        },
    )
    return cur.fetchall()


def _events_behind(
    cur: PgCursor, journals: Sequence[int], journal: int, after: int, limit: int, asked: FigureOf
) -> Iterator[CellEvent]:
    time_zone = time_zone_of(cur, journal)
    months = range(month_of((asked.from_month or date.min).toordinal()), month_of(asked.until_month.toordinal()))
    vintage = None if asked.vintage is None else month_of(asked.vintage.toordinal())
    found = [
        each
        for each in read_batch(cur, journal, after=after, limit=limit, topics=MOVEMENT_TOPICS).view(flows)
        if month_at(each.movement.occurred_at, time_zone) in months
    ]
    lots = lots_named(found)
    vintages: dict[str, int | None] = {
        **dict.fromkeys(lots, month_of(UNKNOWN_VINTAGE.toordinal())),
        **read_vintages(cur, list(journals), lots),
    }
    for each in found:
        movement = each.movement
        for name, (origin, _), points in flow_vintages(each, time_zone, vintages):
            if origin is not None and vintage in (None, origin) and name in asked.flows:
                yield CellEvent(
                    journal=journal,
                    position=movement.row[0],
                    member=movement.row[1],
                    topic=movement.row[3],
                    occurred_at=movement.occurred_at,
                    recorded_at=(movement.row[5] or "").replace(" ", "T").replace("+00", "Z"),
                    source=movement.source,
                    id=movement.id,
                    vintage=first_of_month(origin),
                    flow=name,
                    points=points,
                )


# --- cut-off and adjustments ----------------------------------------------------------------------------------------


def read_cut_off(
    cur: PgCursor, journals: Sequence[int], *, from_month: date | None = None, until_month: date
) -> list[CutOff]:
    """Events that were recorded in another month than they occurred in, of those that occurred in a range of months."""
    check_range(from_month, until_month)
    cur.execute(
        "SELECT occurred_in, recorded_in, topic, events, points, owed - repaid + merged - written_off, journal,"
        " first_position, last_position FROM liability_activity WHERE journal = ANY (%s)"
        " AND occurred_in <> recorded_in AND occurred_in >= %s AND occurred_in < %s ORDER BY 1, 2, 3, journal",
        (list(journals), from_month or date.min, until_month),
    )
    return [CutOff(**dict(zip(CutOff.__struct_fields__, row, strict=True))) for row in cur.fetchall()]


def read_adjustments(
    cur: PgCursor, journals: Sequence[int], *, from_month: date | None = None, until_month: date
) -> list[Adjustments]:
    """Manual adjustments that occurred in a range of months, by approver and reason."""
    check_range(from_month, until_month)
    cur.execute(
        "SELECT approver, reason, sum(events)::bigint, sum(points_up)::bigint, sum(points_down)::bigint"
        " FROM liability_adjustments WHERE journal = ANY (%s) AND occurred_in >= %s AND occurred_in < %s"
        " GROUP BY approver, reason ORDER BY approver, reason",
        (list(journals), from_month or date.min, until_month),
    )
    return [Adjustments(**dict(zip(Adjustments.__struct_fields__, row, strict=True))) for row in cur.fetchall()]
