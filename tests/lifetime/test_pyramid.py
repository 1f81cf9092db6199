"""The pyramid: bands, shares, ties, and who moved."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest

from ledger.commands import PurchaseLine
from ledger.events import MemberEnrolled, PurchaseRecorded
from ledger.store.database import Database
from projections.pyramid import (
    CURRY,
    Measure,
    Migration,
    Period,
    Pyramid,
    read_migration,
    read_pyramid,
    read_pyramid_and_migration,
)
from tests.lifetime.events import Programme, analysis, at, enrolled, merged, purchased

HALVES = [("top", "50"), ("rest", "50")]


def read(
    programme: Programme, by: Measure = "revenue", days: tuple[float, float] | None = None, bands=HALVES
) -> Pyramid:
    programme.project()
    with programme.database.connection() as cur:
        return read_pyramid(cur, programme.journals, by=by, period=_period(days), bands=bands)


def _period(days: tuple[float, float] | None) -> Period:
    return Period() if days is None else Period(at(days[0]).date(), at(days[1]).date())


def members(found: Pyramid) -> dict[str, int]:
    return {band.name: band.members for band in found.bands}


def cdnow() -> list[tuple[str, date, int]]:
    """Customer, day and cents of every purchase in the CDNOW data of the package `lifetimes`."""
    package = find_spec("lifetimes")  # found, not imported: only its data is wanted
    if package is None or package.origin is None:
        pytest.skip("the package lifetimes is not installed")
    text = (Path(package.origin).parent / "datasets" / "CDNOW_master.txt").read_text("utf-8")
    rows = [line.split() for line in text.splitlines()[1:]]
    return [
        (customer, datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date(), int(Decimal(dollars) * 100))
        for customer, day, _, dollars in (row for row in rows if row)
    ]


def test_cdnow_by_revenue(database: Database) -> None:
    """Top 1 % has 15.84 % of the revenue, top 5 % 36.68 %, top 20 % 67.78 %; by periods, everybody is somewhere."""
    programme = Programme(database, 2)
    events, seen = [], set()
    for number, (customer, day, cents) in enumerate(cdnow()):
        common = {
            "programme": "club", "member": customer, "source": "shop", "id": str(number),
            "occurred_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        }  # fmt: skip
        if customer not in seen:
            seen.add(customer)
            events.append(MemberEnrolled(**common))
        lines = [PurchaseLine(sku="cd", quantity=1, amount_minor=cents)]
        until = {"returnable_until": common["occurred_at"], "keep_until": common["occurred_at"]}
        events.append(PurchaseRecorded(currency="USD", lines=lines, terms=1, **until, **common))
    for start in range(0, len(events), 10_000):
        programme.record(*events[start : start + 10_000])
    found = read(programme, bands=None)
    assert [band.name for band in found.bands] == [*(name for name, _ in CURRY), "inactive", "prospect"]
    assert [band.members for band in found.bands] == [235, 943, 3536, 18856, 0, 0]
    shares = [band.revenue_share for band in found.bands if band.revenue_share is not None]
    assert [round(100 * sum(shares[:count]), 2) for count in (1, 2, 3)] == [15.84, 36.68, 67.78]
    assert sum(band.unknown_profit_members for band in found.bands) == 23_570
    assert members(read(programme, "profit", bands=None))["unknown profit"] == 23_570
    periods = [Period(None, date(1997, 7, 1)), Period(date(1997, 7, 1), date(1998, 7, 1))]
    with database.connection() as cur:
        bands = [members(read_pyramid(cur, programme.journals, by="revenue", period=period)) for period in periods]
        moved = read_migration(cur, programme.journals, by="revenue", earlier=periods[0], later=periods[1])
    for side, expected in zip(("from_band", "to_band"), bands, strict=True):
        assert {
            name: sum(cell.members for cell in moved if getattr(cell, side) == name) for name in expected
        } == expected


def test_profit_ranks_whom_it_is_known_of(database: Database) -> None:
    """Revenue would rank them the other way round; the one without a cost stands apart, though it is active."""
    programme = Programme(database)
    programme.record(
        *(enrolled(name, 0) for name in ("ann", "bob", "cat", "dan")),
        purchased("ann", 1, (1, 1000, 990)),
        purchased("bob", 1, (1, 500, 100)),
        purchased("cat", 1, (1, 2000, None)),
    )
    found = read(programme, "profit")
    assert members(found) == {"top": 1, "rest": 1, "unknown profit": 1, "inactive": 0, "prospect": 1}
    top, rest, unknown, _, _ = found.bands
    assert (top.profit_minor, rest.profit_minor, unknown.profit_minor) == (400, 10, 0)
    assert (top.profit_share, unknown.revenue_minor, unknown.unknown_profit_members) == (400 / 410, 2000, 1)
    assert (top.least_minor, unknown.least_minor, found.active) == (400, None, 3)


def test_equal_values_are_ranked_by_name(database: Database) -> None:
    """In code point order, over journals, whatever the order of recording."""
    programme = Programme(database, 4)
    names = ["b", "a", "Z", "é", "c", "d"]
    programme.record(*(enrolled(name, 0) for name in names), *(purchased(name, 1, (1, 100, 50)) for name in names))
    programme.project()
    with database.connection() as cur:
        earlier = read_migration(cur, programme.journals, by="revenue", earlier=Period(), later=Period(), bands=HALVES)
        cur.execute("SELECT member FROM lifetime ORDER BY member")
        assert [name for (name,) in cur.fetchall()] == ["Z", "a", "b", "c", "d", "é"]
    assert [(cell.from_band, cell.to_band, cell.members) for cell in earlier] == [
        ("top", "top", 3),
        ("rest", "rest", 3),
    ]


def test_bands_outside_the_active(database: Database) -> None:
    """Who bought before is inactive, who never did a prospect; who was not there yet is in no band."""
    programme = Programme(database)
    programme.record(
        *(enrolled(name, 0) for name in ("early", "late", "never")),
        enrolled("new", 200),
        purchased("early", 10, (1, 100, 50)),
        purchased("late", 150, (1, 100, 50)),
        purchased("new", 210, (1, 70, 50)),
    )
    assert members(read(programme, days=(0, 100))) == {"top": 0, "rest": 1, "inactive": 0, "prospect": 2}
    assert members(read(programme, days=(100, 200))) == {"top": 0, "rest": 1, "inactive": 1, "prospect": 1}
    assert members(read(programme)) == {"top": 1, "rest": 2, "inactive": 0, "prospect": 1}


def test_the_migration_matrix(database: Database) -> None:
    programme = Programme(database)
    programme.record(
        *(enrolled(name, 0) for name in ("up", "down", "gone", "none")),
        enrolled("new", 150),
        *(purchased(name, 10, (1, amount, 1)) for name, amount in (("up", 50), ("down", 90), ("gone", 80))),
        *(purchased(name, 160, (1, amount, 1)) for name, amount in (("up", 500), ("down", 40), ("new", 45))),
    )
    programme.project()
    with database.connection() as cur:
        found = read_migration(
            cur, programme.journals, by="revenue", earlier=_period((0, 100)), later=_period((100, 200)), bands=HALVES
        )
    assert found == [
        Migration(from_band="top", to_band="rest", members=1, change_minor=-50),
        Migration(from_band="rest", to_band="top", members=1, change_minor=450),
        Migration(from_band="rest", to_band="inactive", members=1, change_minor=-80),
        Migration(from_band="prospect", to_band="prospect", members=1, change_minor=0),
        Migration(from_band="not yet", to_band="rest", members=1, change_minor=45),
    ]


@pytest.mark.parametrize("by", ["revenue", "profit"])
def test_the_pyramid_beside_a_migration_is_that_of_the_later_period(database: Database, by: Measure) -> None:
    """With members in every band, from several bands of before, merged ones, and one whose cost is not known."""
    programme = Programme(database, 3)
    names = [f"m{number}" for number in range(12)]
    programme.record(
        *(enrolled(name, 0) for name in names),
        enrolled("new", 150),
        *(purchased(name, 10, (1, 100 + number % 3, 10)) for number, name in enumerate(names[:8])),
        *(purchased(name, 160, (1, 90 + number % 4, 10)) for number, name in enumerate(names[4:11])),
        purchased("new", 160, (1, 500, None)),
        *merged("m5", "m6", 170),
    )
    programme.project()
    bands = [("top", "20"), ("next", "30"), ("rest", "50")]
    earlier, later = _period((0, 100)), _period((100, 200))
    with database.connection() as cur:
        alone = read_pyramid(cur, programme.journals, by=by, period=later, bands=bands)
        found, moved = read_pyramid_and_migration(
            cur, programme.journals, by=by, earlier=earlier, later=later, bands=bands
        )
    assert found == alone
    assert all(band.members for band in found.bands)
    assert len({cell.from_band for cell in moved if cell.to_band == "rest"}) > 1


def test_merged_members_are_ranked_as_one(database: Database) -> None:
    programme = Programme(database, 3)
    programme.record(
        *(enrolled(name, 0) for name in ("ann", "bob", "cat")),
        *(purchased(name, 1, (1, amount, 10)) for name, amount in (("ann", 100), ("bob", 60), ("cat", 60))),
        *merged("bob", "cat", 5),
    )
    top, rest, _, _ = read(programme).bands
    assert (top.members, top.revenue_minor, rest.revenue_minor) == (1, 120, 100)


def test_the_programmes_own_bands(database: Database) -> None:
    programme = Programme(database, 2)
    programme.record(analysis(0, 1, 90, [("gold", "12.5"), ("rest", "87.5")]))
    programme.record(*(event for n in range(8) for event in (enrolled(f"m{n}", 0), purchased(f"m{n}", 1, (1, n, 0)))))
    assert members(read(programme, bands=None)) == {"gold": 1, "rest": 7, "inactive": 0, "prospect": 0}


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([("a", "50"), ("b", "49")], "add up to 100, got 99"),
        ([("a", "50"), ("a", "50")], "a name of its own"),
        ([("inactive", "100")], "a name of its own"),
        ([("a", "x"), ("b", "100")], "the share of 'a' must be a number"),
        ([("a", "0"), ("b", "100")], "the share of 'a' must be a number"),
        ([], "add up to 100, got 0"),
    ],
)
def test_bands_that_make_no_sense(database: Database, bands: list[tuple[str, str]], message: str) -> None:
    programme = Programme(database)
    with pytest.raises(ValueError, match=message):
        read(programme, bands=bands)
    with pytest.raises(ValueError, match="begin before it ends"):
        read(programme, days=(5, 5))
