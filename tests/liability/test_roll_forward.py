"""The roll-forward beside the core's events and the core's own figures, however batches are cut."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4
from zlib import crc32
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.events import (
    Allocation,
    MemberEnrolled,
    OpenedLot,
    PointsAccrued,
    PointsTransferredIn,
    PointsTransferredOut,
)
from ledger.store.database import Database, PgCursor, connect
from ledger.values import FAR
from projections import liability_evidence
from projections.as_of import balance_as_of
from projections.balances import Balances
from projections.calendar_periods import start_of
from projections.liability import Liability
from projections.liability_evidence import (
    CellEvent,
    FigureOf,
    cell_figure,
    read_adjustments,
    read_cell_events,
    read_cells,
    read_cut_off,
    read_event_page,
)
from projections.liability_flows import FLOWS
from projections.liability_reads import UNKNOWN_VINTAGE, compare_with_balances, read_roll_forward
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from tests.liability.oracle import expected_flows
from tests.projections.histories import History, new_journals, record

KOLKATA = "Asia/Kolkata"
END = date(2030, 1, 1)
MONTHS = [date(2025, 11, 1), date(2025, 12, 1), *(date(2026, month, 1) for month in range(1, 7))]

histories = settings(max_examples=8)


def new_programme(database: Database, journals: int, time_zone: str = KOLKATA) -> list[int]:
    name = f"club-{uuid4()}"
    numbers = new_journals(database, journals, name)
    with database.transaction() as cur:
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals) VALUES (%s, %s, 'CNY', %s, %s)",
            (name, name, time_zone, journals),
        )
    return numbers


@contextmanager
def reading(database: Database) -> Iterator[PgCursor]:
    """A cursor of the reader role, which everything here must do with."""
    connection = connect(database.dsn, "loyalty_reader")
    try:
        with connection.cursor() as cur:
            yield cur
    finally:
        connection.close()


def home(journals: list[int], member: str) -> int:
    return journals[crc32(member.encode()) % len(journals)]


def shown_flows(cur, journals: list[int]) -> Counter:
    """What the cells say of each vintage, month and flow, each month a roll-forward of its own."""
    shown: Counter = Counter()
    for month, following in zip(MONTHS, [*MONTHS[1:], END], strict=True):
        roll = read_roll_forward(cur, journals, from_month=month, until_month=following)
        for line in roll.lines:
            for flow, points in line.flows.items():
                if points:
                    shown[line.month, month, flow] += points
    return shown


@histories
@given(seed=st.integers(0, 10**9), commands=st.integers(20, 200), cuts=st.data())
def test_cells_equal_the_events_and_the_rebuild(
    database: Database, database_dsn: str, seed: int, commands: int, cuts: st.DataObject
) -> None:
    """Vintages survive holds, reversals, transfers and merges, also from one journal to another."""
    history = History(seed, commands)
    journals = new_programme(database, cuts.draw(st.sampled_from([1, 3])))
    versions: dict[str, int] = {}
    projections = [Balances(), Liability(lots_remembered_max=cuts.draw(st.sampled_from([0, 2, 1000])))]
    start = 0
    while start < len(history.events):
        size = cuts.draw(st.integers(1, max(1, len(history.events) // 2)))
        stretch = history.events[start : start + size]
        for journal in journals:
            record(database, journal, [e for e in stretch if home(journals, e.member) == journal], versions)
        start += size
        Runner(database, projections, batch_events_max=cuts.draw(st.sampled_from([1, 7, 1000]))).run_once()
    zone = ZoneInfo(KOLKATA)
    expected = expected_flows(history.events, zone)
    with reading(database) as cur:
        shown = shown_flows(cur, journals)
        assert shown == expected
        agreement = compare_with_balances(cur, journals)
        assert agreement.comparable
        assert agreement.agrees
        check_ends(cur, journals, history)
        check_drill_down(cur, journals, expected)
        live = table_digests(cur, projections)
    rebuild(database_dsn, projections, batch_events_max=cuts.draw(st.sampled_from([3, 50, 1000])))
    with reading(database) as cur:
        assert table_digests(cur, projections) == live


def check_ends(cur, journals: list[int], history: History) -> None:
    """The split at the end of each month is what the core says of the members at its last instant."""
    for end in MONTHS[1:]:
        at = start_of(end, KOLKATA).astimezone(UTC) - timedelta(microseconds=1)
        members = [balance_as_of(cur, home(journals, name), name, at, FAR) for name in history.members]
        roll = read_roll_forward(cur, journals, until_month=end)
        total = roll.total
        assert total.pending == sum(member.pending for member in members)
        assert total.available == sum(member.active for member in members)
        assert total.held == sum(member.held for member in members)
        assert roll.arrears.closing == sum(member.arrears for member in members)
        for line in (*roll.lines, total):
            assert line.opening == 0
            assert line.closing == sum(line.flows.values())
            assert line.closing == line.pending + line.available + line.overdue + line.held
            assert min(line.pending, line.available, line.overdue, line.held) >= 0
    by_month = read_roll_forward(cur, journals, from_month=MONTHS[1], until_month=END, by="month")
    by_vintage = read_roll_forward(cur, journals, from_month=MONTHS[1], until_month=END)
    assert by_month.total == by_vintage.total
    assert by_month.arrears == by_vintage.arrears
    closing = by_month.total.opening
    for line in by_month.lines:
        assert line.opening == closing
        closing = line.closing
        until = read_roll_forward(cur, journals, until_month=(line.month + timedelta(days=31)).replace(day=1)).total
        assert (line.pending, line.available, line.overdue, line.held) == (
            until.pending, until.available, until.overdue, until.held,
        )  # fmt: skip
    assert closing == by_month.total.closing
    for line in by_vintage.lines:
        alone = read_roll_forward(cur, journals, from_month=MONTHS[1], until_month=END, by="month", only=line.month)
        assert (alone.total.opening, alone.total.flows) == (line.opening, line.flows)
        assert (alone.total.pending, alone.total.available, alone.total.overdue, alone.total.held) == (
            line.pending, line.available, line.overdue, line.held,
        )  # fmt: skip


def check_drill_down(cur, journals: list[int], expected: Counter) -> None:
    """The events behind a cell add up to it, flow by flow, and lie between the positions that it names."""
    cells = read_cells(cur, journals, until_month=END)
    of_cells: Counter = Counter()
    for cell in cells:
        of_cells[cell.vintage, cell.month, cell.flow] += cell.points
    assert Counter({key: points for key, points in of_cells.items() if points}) == expected
    for vintage, month in list({key[:2] for key in expected})[:4]:
        sums: Counter = Counter()
        positions: dict[tuple[int, str], list[int]] = defaultdict(list)
        whole = list(read_cell_events(cur, journals, vintage, month))
        assert in_pages(cur, journals, cell_figure(vintage, month)) == whole
        for event in whole:
            sums[event.flow] += event.points
            positions[event.journal, event.flow].append(event.position)
        named = [cell for cell in cells if (cell.vintage, cell.month) == (vintage, month)]
        assert {(cell.journal, cell.flow): (cell.first_position, cell.last_position) for cell in named} == {
            key: (min(found), max(found)) for key, found in positions.items()
        }
        assert {flow: sums[flow] for flow in FLOWS if sums[flow]} == {
            flow: expected[vintage, month, flow] for flow in FLOWS if expected[vintage, month, flow]
        }

    everything = FigureOf(vintage=None, from_month=None, until_month=END, flows=FLOWS)
    of_events: Counter = Counter()
    for event in in_pages(cur, journals, everything):
        of_events[event.flow] += event.points
    by_flow: Counter = Counter()
    for (_, _, flow), points in expected.items():
        by_flow[flow] += points
    assert {flow: of_events[flow] for flow in FLOWS} == {flow: by_flow[flow] for flow in FLOWS}


def in_pages(cur, journals: list[int], asked: FigureOf) -> list[CellEvent]:
    """The events of a figure page by page, where a page reads little at a time and looks at few positions."""
    found: list[CellEvent] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liability_evidence, "EVENTS_AT_ONCE", 16)
        patch.setattr(liability_evidence, "POSITIONS_A_PAGE", 32)
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            page = read_event_page(cur, journals, asked, after=after, limit=2)
            assert len({(event.journal, event.position) for event in page.events}) <= 2
            found += page.events
            after = page.next
        assert sum(event.points for event in found) == page.points
    return found


# --- a small history, by hand ---------------------------------------------------------------------------------------


def common(member: str, day: str) -> dict:
    return {"programme": "club", "member": member, "source": "till", "occurred_at": datetime.fromisoformat(day)}


def transfer(ann: str, bob: str) -> dict[str, list]:
    """Ann earns 100 late in January in Kolkata (still the 31st in UTC is February there), and gives Bob 40 in March."""
    available = datetime(2026, 2, 2, tzinfo=UTC)
    earned = PointsAccrued(
        id="2", points=100, lot=f"{ann}.000001", available_at=available, terms=1, **common(ann, "2026-01-31T18:29:59Z")
    )
    given = Allocation(f"{ann}.000001", 40, available)
    at = "2026-03-01T00:00:00+05:30"
    came = OpenedLot(f"{ann}.000001", 40, datetime.fromisoformat(at), datetime.fromisoformat(at))
    return {
        ann: [
            MemberEnrolled(id="1", **common(ann, "2026-01-01T00:00:00Z")),
            earned,
            PointsTransferredOut(id="3", to=bob, points=40, allocations=[given], **common(ann, at)),
        ],
        bob: [
            MemberEnrolled(id="1", **common(bob, "2026-01-01T00:00:00Z")),
            PointsTransferredIn(id="3", sender=ann, points=40, lots=[came], **common(bob, at)),
        ],
    }


def two_members(journals: list[int]) -> tuple[str, str]:
    """Names that are at home in the first and in the second journal."""
    names = [f"m{number}" for number in range(50)]
    return tuple(next(name for name in names if home(journals, name) == journal) for journal in journals)


def test_a_vintage_goes_with_the_points_to_another_journal(database: Database) -> None:
    journals = new_programme(database, 2)
    ann, bob = two_members(journals)
    events = transfer(ann, bob)
    record(database, journals[1], events[bob], {})
    Runner(database, [Liability()]).run_once()
    with reading(database) as cur:
        (line,) = read_roll_forward(cur, journals, until_month=END).lines
        assert (line.month, line.closing) == (UNKNOWN_VINTAGE, 40)  # its journal has not been heard of yet
    record(database, journals[0], events[ann], {})
    Runner(database, [Liability()]).run_once()
    with reading(database) as cur:
        (line,) = read_roll_forward(cur, journals, until_month=END).lines
        assert (line.month, line.closing) == (date(2026, 1, 1), 100)
        assert {flow: points for flow, points in line.flows.items() if points} == {
            "earned": 100, "transferred_in": 40, "transferred_out": -40,
        }  # fmt: skip
        found = list(read_cell_events(cur, journals, date(2026, 1, 1), date(2026, 3, 1)))
        assert [(each.member, each.flow, each.points) for each in found] == [
            (ann, "transferred_out", -40),
            (bob, "transferred_in", 40),
        ]
        cur.execute(
            "SELECT vintage, month, opening, earned, came_in, went_out, closing"
            " FROM loyalty_read.liability_rollforward ORDER BY month"
        )
        assert cur.fetchall() == [
            (date(2026, 1, 1), date(2026, 1, 1), 0, 100, 0, 0, 100),
            (date(2026, 1, 1), date(2026, 3, 1), 100, 0, 40, 40, 100),
        ]


def test_the_month_is_that_of_the_programme(database: Database) -> None:
    """18:29:59 UTC on 31 January is the last second of January in Kolkata; pending until 2 February, UTC."""
    journals = new_programme(database, 1)
    record(database, journals[0], transfer("ann", "bob")["ann"][:2], {})
    Runner(database, [Liability()]).run_once()
    with reading(database) as cur:
        (line,) = read_roll_forward(cur, journals, until_month=date(2026, 2, 1)).lines
        assert (line.closing, line.pending, line.available) == (100, 100, 0)
        (line,) = read_roll_forward(cur, journals, until_month=date(2026, 3, 1)).lines
        assert (line.closing, line.pending, line.available) == (100, 0, 100)


def test_cut_off_and_adjustments(database: Database) -> None:
    """Everything of the history was recorded now, years later or earlier than it occurred, and is named so."""
    history = History(11, 250)
    journals = new_programme(database, 1)
    record(database, journals[0], history.events, {})
    Runner(database, [Liability()]).run_once()
    adjusted = [event for event in history.events if type(event).__name__ == "PointsAdjusted"]
    moved = {event.id for event in history.events if type(event).topic.startswith("points-adjusted")}
    with reading(database) as cur:
        found = read_cut_off(cur, journals, until_month=END)
        assert adjusted
        assert sum(each.events for each in found if each.topic == "points-adjusted.v1") == len(adjusted)
        for each in found:
            assert each.occurred_in != each.recorded_in
            assert each.first_position <= each.last_position
        (shown,) = read_adjustments(cur, journals, until_month=END)
    assert len(moved) == shown.events == len(adjusted)
    assert (shown.approver, shown.reason) == ("lee", "by hand")
    assert shown.points_up == sum(max(event.points, 0) for event in adjusted)
    assert shown.points_down == sum(max(-event.points, 0) for event in adjusted)


@pytest.mark.parametrize(
    ("begin", "until", "message"),
    [
        (date(2026, 1, 2), END, "from: must be the first day of a month"),
        (None, date(2026, 1, 2), "until: must be the first day of a month"),
        (END, END, "the range has no month: it begins with 2030-01 and ends with 2029-12"),
    ],
)
def test_ranges_that_are_none(database: Database, begin: date | None, until: date, message: str) -> None:
    with database.connection() as cur, pytest.raises(ValueError, match=message):
        read_roll_forward(cur, [1], from_month=begin, until_month=until)
