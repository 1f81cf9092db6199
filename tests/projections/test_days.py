"""Days of instants: converted once an hour where that is enough, and the same as one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.trading import day_of

ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns")


def text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


@given(
    st.integers(0, 128 * 365 * 24 * 60),
    st.integers(0, 3_600 * 1_000_000),
    st.sampled_from(ZONES),
)
def test_the_day_is_that_of_the_instant_in_the_time_zone(minute: int, microseconds: int, zone: str) -> None:
    instant = datetime(1972, 2, 1, tzinfo=UTC) + timedelta(minutes=minute)
    for at in (instant, instant + timedelta(microseconds=microseconds)):
        assert day_of(text(at), zone) == at.astimezone(ZoneInfo(zone)).toordinal()


@pytest.mark.parametrize(
    "hour",
    [
        datetime(1990, 10, 28, 2, tzinfo=UTC),  # in St John's midnight came, and a minute later 23:01 of the day before
        datetime(1990, 4, 1, 3, tzinfo=UTC),
        datetime(2026, 3, 1, 3, tzinfo=UTC),  # its midnight, half past an hour of UTC
    ],
)
def test_an_hour_in_which_a_day_begins_or_ends_twice(hour: datetime) -> None:
    zone = "America/St_Johns"
    for minute in range(60):
        at = hour + timedelta(minutes=minute)
        assert day_of(text(at), zone) == at.astimezone(ZoneInfo(zone)).toordinal()


def test_the_last_day_of_the_calendar_is_that_where_it_is_not_over() -> None:
    assert day_of("9999-12-31T15:59:59Z", "Asia/Shanghai") == date.max.toordinal()
    assert day_of("9999-12-31T18:14:59Z", "Asia/Kathmandu") == date.max.toordinal()
    with pytest.raises(OverflowError):
        day_of("9999-12-31T16:00:00Z", "Asia/Shanghai")
