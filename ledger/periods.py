"""Periods of time as terms write them, `14D` or `30m`, and the instants they lead to in a programme's time zone.

A period is a whole number and one unit. `D`, `W`, `M`, `Y` are calendar units: they move the date on the wall calendar
of the time zone and keep the time of day. `h` and `m` are clock units: exactly so many hours or minutes, whatever
clocks on walls do. Note that `M` is months and `m` is minutes.

Where the calendar is not smooth:

- a day that a month lacks becomes that month's last day (31 January + 1M is 28 or 29 February);
- a time of day that is skipped when clocks go forward becomes as much later as clocks moved (02:30 becomes 03:30);
- a time of day that comes twice when clocks go back is the first of the two.

Instants come in and go out in UTC.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypeAlias, cast
from zoneinfo import ZoneInfo

from msgspec import Struct

Unit: TypeAlias = Literal["D", "W", "M", "Y", "h", "m"]
Move: TypeAlias = Callable[[datetime], datetime]

PERIOD_PATTERN = r"^(0|[1-9][0-9]{0,5})[DWMYhm](?![\s\S])"
YEARS_MAX = 100
"""No period is longer than this, so that date arithmetic on a sane instant stays inside the calendar."""

MEMO_MAX = 4_096
"""Local dates whose result is kept at most; past it the memo starts anew."""

_IN_A_CENTURY: dict[Unit, int] = {
    "D": 365 * YEARS_MAX,
    "W": 52 * YEARS_MAX,
    "M": 12 * YEARS_MAX,
    "Y": YEARS_MAX,
    "h": 24 * 365 * YEARS_MAX,
    "m": 999_999,
}


class Period(Struct, frozen=True, gc=False):
    """A whole number of one unit."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def is_calendar(self) -> bool:
        """Whether it moves dates (D, W, M, Y) and not clocks (h, m)."""
        return self.unit not in ("h", "m")

    @property
    def months(self) -> int:
        """Months in it; 0 where the unit is not M or Y."""
        return self.count * {"M": 1, "Y": 12}.get(self.unit, 0)

    @property
    def days(self) -> int:
        """Days in it; 0 where the unit is not D or W."""
        return self.count * {"D": 1, "W": 7}.get(self.unit, 0)

    @property
    def clock(self) -> timedelta:
        """Hours or minutes in it; nothing where the unit is of the calendar."""
        return timedelta(minutes=self.count * {"h": 60, "m": 1}.get(self.unit, 0))


def parse_period(text: str) -> Period:
    """Read `14D`, `2W`, `12M`, `1Y`, `24h`, `30m`. ValueError, with the rule in words, for anything else."""
    if not re.match(PERIOD_PATTERN, text):
        raise ValueError("must be a whole number and one of D, W, M (months), Y, h, m (minutes), such as 14D")
    period = Period(int(text[:-1]), cast(Unit, text[-1]))
    if period.count > _IN_A_CENTURY[period.unit]:
        raise ValueError(f"must not be more than {_IN_A_CENTURY[period.unit]}{period.unit}")
    return period


def is_surely_longer(period: Period, other: Period, *, or_equal: bool = False) -> bool:
    """Whether `period` from any instant in any time zone ends after (`or_equal`: not before) `other` does.

    Within one family of units that is exact; across families a month is 28 to 31 days, a year 365 or 366, and a day may
    be two hours shorter or longer where clocks change.
    """
    if period.count == 0 and other.count == 0:
        return or_equal
    if bool(period.months) == bool(other.months) and period.is_calendar and other.is_calendar:
        ours, theirs = period.months or period.days, other.months or other.days
        return ours >= theirs if or_equal else ours > theirs
    least, most = _range_minutes(period)[0], _range_minutes(other)[1]
    return least >= most if or_equal else least > most


def _range_minutes(period: Period) -> tuple[int, int]:
    slack = 120 if period.is_calendar and period.count else 0
    clock = period.clock // timedelta(minutes=1)
    least = (period.months * 365 // 12 - 3 if period.months else period.days) * 1440 + clock - slack
    most = (period.months * 366 // 12 + 3 if period.months else period.days) * 1440 + clock + slack
    return max(0, least), most


def date_after(day: date, period: Period) -> date:
    """The date a calendar period later; a day that the month lacks becomes its last."""
    if not period.months:
        return day + timedelta(days=period.days)
    years, month0 = divmod(day.month - 1 + period.months, 12)
    year, month = day.year + years, month0 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def last_day_of_month(day: date) -> date:
    """The last day of the month that the day is in."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def next_yearly(day: date, month: int, day_of_month: int) -> date:
    """The first such day of a year on or after `day`; 29 February is the 28th in a common year."""
    for year in (day.year, day.year + 1):
        found = date(year, month, min(day_of_month, monthrange(year, month)[1]))
        if found >= day:
            break
    return found


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, in UTC (where midnight is skipped, the instant the clocks went forward)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def mover(period: Period, zone: ZoneInfo) -> Move:
    """The function from an instant to the one a period later, compiled once, cheap to call.

    It raises OverflowError past the year 9999.
    """
    if period.count == 0:
        return _same
    if not period.is_calendar:
        return _by_clock(period.clock)
    if period.months:
        return _by_months(period, zone)
    return _by_clock(timedelta(days=period.days)) if zone.key == "UTC" else _by_days(timedelta(days=period.days), zone)


def mover_of_both(period: Period, further: Period, zone: ZoneInfo) -> Move:
    """The function from an instant to the one `period` and then `further` later; two of days or weeks count as one."""
    if period.days and further.days:
        return mover(Period(period.days + further.days, "D"), zone)
    first, second = mover(period, zone), mover(further, zone)
    return lambda at: second(first(at))


def end_of_day_mover(target: Callable[[date], date], zone: ZoneInfo) -> Move:
    """The function from an instant to the end (exclusive) of the local day that `target` names for its local date."""
    memo: dict[int, datetime] = {}

    def moved(at: datetime) -> datetime:
        local = at.astimezone(zone)
        ordinal = local.toordinal()
        found = memo.get(ordinal)
        if found is None:
            if len(memo) >= MEMO_MAX:
                memo.clear()
            found = memo[ordinal] = start_of_day(target(local.date()) + timedelta(days=1), zone)
        return found

    return moved


_QUARTERS = range(0, 24 * 60, 15)


def _same(at: datetime) -> datetime:
    return at


def _by_clock(length: timedelta) -> Move:
    return lambda at: at + length


def _by_days(length: timedelta, zone: ZoneInfo) -> Move:
    # Adding to a datetime that has a zone moves the wall clock; the way back to UTC then settles gaps and folds.
    return _remembered(lambda at: (at.astimezone(zone) + length).astimezone(UTC))


def _by_months(period: Period, zone: ZoneInfo) -> Move:
    def moved(at: datetime) -> datetime:
        local = at.astimezone(zone)
        days = date_after(local.date(), period).toordinal() - local.toordinal()
        return (local + timedelta(days=days)).astimezone(UTC)

    return _remembered(moved)


def _remembered(move: Move) -> Move:
    """The same move, remembering for each UTC day by how much it moves, where that is the same all day.

    It is, but for days on which a clock changes at either end or two local dates move differently: a day is tried at
    every quarter of an hour, which is where clocks change (since 1972 all of them), and those days are not remembered.
    """
    memo: dict[int, timedelta | None] = {}

    def moved(at: datetime) -> datetime:
        ordinal = at.toordinal()
        length = memo.get(ordinal)
        if length is not None:
            return at + length
        if ordinal not in memo:
            if len(memo) >= MEMO_MAX:
                memo.clear()
            memo[ordinal] = _same_all_day(move, at)
        return move(at)

    return moved


def _same_all_day(move: Move, at: datetime) -> timedelta | None:
    start = at.replace(hour=0, minute=0, second=0, microsecond=0)
    lengths = {move(start + timedelta(minutes=minutes)) - start - timedelta(minutes=minutes) for minutes in _QUARTERS}
    return lengths.pop() if len(lengths) == 1 else None
