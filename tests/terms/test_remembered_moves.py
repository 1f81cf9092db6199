"""A remembered move is the move, to the microsecond, on every kind of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.periods import date_after, mover, parse_period

ZONES = ["UTC", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", ["1D", "90D", "1M", "12M", "1Y"])
@given(first=st.integers(0, 86_399), second=st.integers(0, 86_399), day=st.integers(0, 20_000))
def test_a_second_look_at_a_day_moves_as_the_first(zone: str, text: str, first: int, second: int, day: int) -> None:
    period, local_zone = parse_period(text), ZoneInfo(zone)
    move = mover(period, local_zone)
    for seconds in (first, second):
        at = datetime(1972, 6, 1, tzinfo=UTC) + timedelta(days=day, seconds=seconds)
        local = at.astimezone(local_zone)
        moved_day = date_after(local.date(), period)
        expected = local.replace(year=moved_day.year, month=moved_day.month, day=moved_day.day, fold=local.fold)
        assert move(at) in {expected.astimezone(UTC), expected.replace(fold=0).astimezone(UTC)}
