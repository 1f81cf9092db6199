"""Periods: what they may be, and where they lead, at the ends of months and where clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.periods import (
    Period,
    date_after,
    end_of_day_mover,
    is_surely_longer,
    last_day_of_month,
    mover,
    mover_of_both,
    next_yearly,
    parse_period,
    start_of_day,
)

NEW_YORK = ZoneInfo("America/New_York")
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "America/New_York",
        "Asia/Shanghai",
        "Australia/Lord_Howe",
        "America/Havana",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
    )
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize("text", ["0D", "14D", "2W", "12M", "1Y", "100Y", "24h", "30m", "36500D"])
def test_a_period_reads_back_as_written(text: str) -> None:
    assert str(parse_period(text)) == text


@pytest.mark.parametrize("text", ["", "14", "D", "14d", "-1D", "+1D", "1.5D", "014D", "1 D", "14D\n", "P14D", "٣D"])
def test_what_is_no_period_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="must be a whole number and one of D, W, M"):
        parse_period(text)


@pytest.mark.parametrize(("text", "most"), [("101Y", "100Y"), ("1201M", "1200M"), ("36501D", "36500D")])
def test_a_period_of_more_than_a_century_is_refused(text: str, most: str) -> None:
    with pytest.raises(ValueError, match=f"must not be more than {most}"):
        parse_period(text)


@pytest.mark.parametrize(
    ("start", "period", "end"),
    [
        ("2017-01-31", "1M", "2017-02-28"),
        ("2016-01-31", "1M", "2016-02-29"),
        ("2016-02-29", "12M", "2017-02-28"),
        ("2016-02-29", "1Y", "2017-02-28"),
        ("2016-02-29", "4Y", "2020-02-29"),
        ("2016-02-29", "48M", "2020-02-29"),
        ("2017-12-31", "2M", "2018-02-28"),
        ("2017-08-31", "1M", "2017-09-30"),
        ("2017-11-15", "2M", "2018-01-15"),
        ("2017-12-01", "1M", "2018-01-01"),
        ("2017-02-28", "1M", "2017-03-28"),
        ("2016-02-28", "2D", "2016-03-01"),
        ("2017-02-28", "2W", "2017-03-14"),
        ("2017-02-28", "0M", "2017-02-28"),
    ],
)
def test_dates_move_by_the_calendar_and_stay_in_the_month(start: str, period: str, end: str) -> None:
    assert date_after(date.fromisoformat(start), parse_period(period)) == date.fromisoformat(end)


@pytest.mark.parametrize(
    ("why", "start", "period", "end"),
    [
        ("winter to summer keeps the wall clock", "2017-03-01T10:00-05:00", "14D", "2017-03-15T10:00-04:00"),
        ("summer to winter keeps the wall clock", "2017-11-01T10:00-04:00", "1W", "2017-11-08T10:00-05:00"),
        (
            "a year later is in the same season",
            "2017-07-01T23:59:59.999999-04:00",
            "12M",
            "2018-07-01T23:59:59.999999-04:00",
        ),
        ("the local date counts, not that of UTC", "2017-01-30T22:00-05:00", "1M", "2017-02-28T22:00-05:00"),
        ("a skipped hour is moved on", "2017-02-12T02:30-05:00", "1M", "2017-03-12T03:30-04:00"),
        ("of an hour that comes twice the first", "2017-10-05T01:30-04:00", "1M", "2017-11-05T01:30-04:00"),
        ("from the second pass of an hour too", "2017-11-05T01:30-05:00", "1D", "2017-11-06T01:30-05:00"),
        ("nothing later is the very instant", "2017-11-05T01:30-05:00", "0D", "2017-11-05T01:30-05:00"),
        ("hours are exact over the change", "2017-03-11T12:00-05:00", "24h", "2017-03-12T13:00-04:00"),
        ("minutes are not months", "2017-03-12T01:45-05:00", "30m", "2017-03-12T03:15-04:00"),
    ],
)
def test_instants_move_in_the_time_zone(why: str, start: str, period: str, end: str) -> None:
    assert mover(parse_period(period), NEW_YORK)(utc(start)) == utc(end), why


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("America/New_York", "2017-03-13", "2017-03-13T04:00Z"),
        ("Asia/Shanghai", "2026-02-01", "2026-01-31T16:00Z"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00Z"),  # midnight to 01:00 is skipped
        ("America/Havana", "2017-11-05", "2017-11-05T04:00Z"),  # 00:00 to 01:00 comes twice
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00Z"),  # the whole day is skipped
    ],
)
def test_a_day_starts_at_its_first_instant(zone: str, day: str, start: str) -> None:
    assert start_of_day(date.fromisoformat(day), ZoneInfo(zone)) == utc(start)


def test_the_end_of_a_month_is_the_first_instant_of_the_next_one() -> None:
    move = end_of_day_mover(last_day_of_month, NEW_YORK)
    assert move(utc("2017-02-28T23:59:59-05:00")) == utc("2017-03-01T00:00-05:00")
    assert move(utc("2017-03-01T00:00-05:00")) == utc("2017-04-01T00:00-04:00")


@pytest.mark.parametrize(
    ("day", "month_day", "found"),
    [
        ("2017-12-31", (12, 31), "2017-12-31"),
        ("2017-12-30", (12, 31), "2017-12-31"),
        ("2018-01-01", (12, 31), "2018-12-31"),
        ("2017-03-01", (2, 29), "2018-02-28"),
        ("2019-03-01", (2, 29), "2020-02-29"),
        ("2020-02-29", (2, 29), "2020-02-29"),
    ],
)
def test_the_next_yearly_day_is_on_or_after_the_day(day: str, month_day: tuple[int, int], found: str) -> None:
    assert next_yearly(date.fromisoformat(day), *month_day) == date.fromisoformat(found)


@pytest.mark.parametrize(
    ("one", "other", "longer", "longer_or_equal"),
    [
        ("12M", "14D", True, True),
        ("1Y", "12M", False, True),
        ("13M", "1Y", True, True),
        ("1M", "28D", False, False),
        ("1M", "32D", False, False),
        ("35D", "1M", True, True),
        ("2W", "14D", False, True),
        ("1D", "24h", False, False),
        ("1D", "12h", True, True),
        ("0D", "0h", False, True),
        ("0D", "1m", False, False),
    ],
)
def test_a_period_is_longer_only_where_it_surely_is(one: str, other: str, longer: bool, longer_or_equal: bool) -> None:
    periods = parse_period(one), parse_period(other)
    assert is_surely_longer(*periods) is longer
    assert is_surely_longer(*periods, or_equal=True) is longer_or_equal


def test_two_periods_of_days_count_as_one() -> None:
    """A return window that ends in a skipped hour does not shift the grace behind it."""
    both = mover_of_both(parse_period("1W"), parse_period("1D"), NEW_YORK)
    assert both(utc("2017-03-05T02:30-05:00")) == utc("2017-03-13T02:30-04:00")


def test_months_and_then_days_go_one_after_the_other() -> None:
    both = mover_of_both(parse_period("1M"), parse_period("1D"), NEW_YORK)
    assert both(utc("2017-01-31T10:00-05:00")) == utc("2017-03-01T10:00-05:00")


def wall_to_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which clocks in the zone show `wall`; where none does, as if clocks had not moved yet."""
    offsets = [(wall.replace(tzinfo=UTC) + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in (-30, 30)]
    instants = sorted((wall - offset).replace(tzinfo=UTC) for offset in offsets if offset is not None)
    shown = [instant for instant in instants if instant.astimezone(zone).replace(tzinfo=None) == wall]
    before = offsets[0]
    assert before is not None
    return shown[0] if shown else (wall - before).replace(tzinfo=UTC)


def slow_date_after(day: date, count: int, unit: str) -> date:
    if unit in "DW":
        return date.fromordinal(day.toordinal() + count * (7 if unit == "W" else 1))
    year, month = day.year, day.month
    for _ in range(count * (12 if unit == "Y" else 1)):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    for day_of_month in range(day.day, 0, -1):
        try:
            return date(year, month, day_of_month)
        except ValueError:
            continue
    raise AssertionError


@given(
    at=st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2035-01-01"), timezones=st.just(UTC)),
    count=st.integers(1, 40),
    unit=st.sampled_from(["D", "W", "M", "Y"]),
    zone=st.sampled_from(ZONES),
)
def test_calendar_periods_agree_with_the_slow_way(at: datetime, count: int, unit: str, zone: ZoneInfo) -> None:
    local = at.astimezone(zone).replace(tzinfo=None)
    expected = wall_to_utc(datetime.combine(slow_date_after(local.date(), count, unit), local.time()), zone)
    assert mover(Period(count, unit), zone)(at) == expected  # type: ignore[arg-type]


@given(
    at=st.datetimes(datetime.fromisoformat("2016-01-01"), datetime.fromisoformat("2018-01-01"), timezones=st.just(UTC)),
    months=st.integers(1, 24),
)
def test_what_a_memo_answers_is_what_a_fresh_one_does(at: datetime, months: int) -> None:
    """The memo is by local date: two instants of one local day must not answer for each other."""
    used = mover(Period(months, "M"), NEW_YORK)
    for hours in range(-30, 31, 6):
        used(at + timedelta(hours=hours))
    assert used(at) == mover(Period(months, "M"), NEW_YORK)(at)
