"""When a multiplier applies, compiled: what of its condition a purchase decides and what each line decides.

Two conditions are disjoint when one thing that both ask about can never satisfy both (`are_disjoint`); only rules that
are not need a stacking order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from ledger.terms_document import WEEKDAYS, LocalTime, When

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES


class Moment(Struct, frozen=True, gc=False):
    """What conditions ask of a purchase, beside its lines. `week_minute` counts from Monday 00:00 local time."""

    at: datetime
    week_minute: int
    channel: str
    store: str
    first_purchase: bool
    attributes: dict[str, str]


class Condition(Struct, frozen=True, kw_only=True):
    """A compiled `when`. None stands for "not asked". `week` has a 1 for every local minute of the week that fits."""

    categories: frozenset[str] | None
    channels: frozenset[str] | None
    stores: frozenset[str] | None
    week: bytes | None
    first_purchase: bool | None
    attributes: dict[str, str]
    start: datetime | None
    end: datetime | None

    def holds(self, moment: Moment) -> bool:
        """Whether the purchase satisfies everything but the categories, which each line answers for itself."""
        return (
            (self.first_purchase is None or self.first_purchase == moment.first_purchase)
            and (self.channels is None or moment.channel in self.channels)
            and (self.stores is None or moment.store in self.stores)
            and (self.start is None or self.start <= moment.at)
            and (self.end is None or moment.at < self.end)
            and (self.week is None or self.week[moment.week_minute] == 1)
            and (
                not self.attributes
                or all(moment.attributes.get(name) == value for name, value in self.attributes.items())
            )
        )


def condition(when: When) -> Condition:
    """Compile the condition of a rule."""
    return Condition(
        categories=_names(when.categories),
        channels=_names(when.channels),
        stores=_names(when.stores),
        week=_week(when),
        first_purchase=when.first_purchase,
        attributes=when.attributes or {},
        start=when.from_ and when.from_.astimezone(UTC),
        end=when.until and when.until.astimezone(UTC),
    )


def are_disjoint(one: Condition, other: Condition) -> bool:
    """Whether no line of any purchase can satisfy both: they share no category, channel, store or local minute of the
    week, ask for the opposite about the first purchase or for different values of one attribute, or one ends before the
    other begins.
    """
    return (
        _apart(one.categories, other.categories)
        or _apart(one.channels, other.channels)
        or _apart(one.stores, other.stores)
        or (one.week is not None and other.week is not None and not _common_minutes(one.week, other.week))
        or {one.first_purchase, other.first_purchase} == {True, False}
        or any(name in other.attributes and other.attributes[name] != value for name, value in one.attributes.items())
        or (one.end is not None and other.start is not None and one.end <= other.start)
        or (other.end is not None and one.start is not None and other.end <= one.start)
    )


def week_minute(at: datetime, zone: ZoneInfo) -> int:
    """Minutes of the local wall clock since Monday 00:00. An hour that comes twice has the same minutes twice."""
    local = at.astimezone(zone)
    return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute


def _names(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _apart(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return one is not None and other is not None and one.isdisjoint(other)


def _common_minutes(one: bytes, other: bytes) -> bool:
    return int.from_bytes(one, "big") & int.from_bytes(other, "big") != 0


def _week(when: When) -> bytes | None:
    if when.weekdays is None and when.local_time is None:
        return None
    week = bytearray(WEEK_MINUTES)
    first, length = _window(when.local_time)
    for day in range(7) if when.weekdays is None else map(WEEKDAYS.index, when.weekdays):
        for minute in range(day * DAY_MINUTES + first, day * DAY_MINUTES + first + length):
            week[minute % WEEK_MINUTES] = 1
    return bytes(week)


def _window(window: LocalTime | None) -> tuple[int, int]:
    """First minute of the day, and how many minutes on from it: past midnight where `until` is not after `from`."""
    if window is None:
        return 0, DAY_MINUTES
    first, until = clock_minute(window.from_), clock_minute(window.until)
    return first, (until - first) % DAY_MINUTES


def clock_minute(text: str) -> int:
    """Minutes since midnight of `HH:MM`."""
    return int(text[:2]) * 60 + int(text[3:])
