"""Periods of the calendar: days, ISO weeks (from Monday), months, quarters and years, by the days they have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

_MONTHS = {"month": 1, "quarter": 3, "year": 12}


class Days(NamedTuple):
    """The days from `from_on` until before `until_on`."""

    from_on: date
    until_on: date

    @property
    def count(self) -> int:
        """How many; 0 or less where there are none."""
        return (self.until_on - self.from_on).days


def period_with(day: date, period: str) -> Days:
    """The period (day, week, month, quarter or year) that a day is in."""
    if period == "day":
        return Days(day, day + timedelta(days=1))
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return Days(monday, monday + timedelta(days=7))
    months = _MONTHS[period]
    first = day.replace(month=day.month - (day.month - 1) % months, day=1)
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return Days(first, date(year, month + 1, 1))


def periods_between(first: date, until: date, period: str) -> Iterator[Days]:
    """The periods from the one that `first` is in, as long as they are over before `until` begins."""
    days = period_with(first, period)
    while days.until_on <= until:
        yield days
        days = period_with(days.until_on, period)


def start_of(day: date, time_zone: str) -> datetime:
    """The instant at which a day begins in a time zone."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone))


def day_at(at: datetime, time_zone: str) -> date:
    """The day of an instant in a time zone."""
    return at.astimezone(ZoneInfo(time_zone)).date()
