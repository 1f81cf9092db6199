"""The figures of persons and of their programme, computed anew from whole histories, one person and day at a time.

Written from docs/value.md, apart from the read model, and slow.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from ledger.events import (
    CostAttributed,
    MemberClosed,
    MemberEnrolled,
    MembersMerged,
    MergeUndone,
    PointsAccrued,
    PointsRedeemed,
    PurchaseRecorded,
    PurchaseReturned,
    RedemptionReversed,
    WalletShareSurveyed,
)

MONTHS_A_YEAR = 12


class Person:
    """A member and all that it has taken over, by the events of all of them."""

    def __init__(self, name: str, members: list[str], events: list[Any], zone: str) -> None:
        self.name = name
        self.members = members
        self.events = [event for event in events if event.member in members]
        self._zone = ZoneInfo(zone)
        self.purchases = self._all(PurchaseRecorded)
        self.returns = self._all(PurchaseReturned)
        self.costs = self._all(CostAttributed)

    def _all(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def day(self, event: Any) -> date:
        return event.occurred_at.astimezone(self._zone).date()

    @property
    def days(self) -> list[date]:
        return sorted({self.day(event) for event in self.purchases})

    @property
    def purchased(self) -> int:
        return sum(line.amount_minor for event in self.purchases for line in event.lines)

    @property
    def returned(self) -> int:
        return sum(event.amount_minor for event in self.returns)

    @property
    def uncosted(self) -> int:
        lines = sum(line.cost_minor is None for event in self.purchases for line in event.lines)
        matches = [match for event in self.returns for match in event.matches if match.cost_minor is None]
        return lines + sum(len(match.lines) for match in matches) + sum(len(event.unmatched) for event in self.returns)

    @property
    def profit(self) -> int | None:
        if self.uncosted:
            return None
        goods = sum(line.cost_minor for event in self.purchases for line in event.lines)
        goods -= sum(match.cost_minor for event in self.returns for match in event.matches)
        return self.purchased - self.returned - goods - sum(event.amount_minor for event in self.costs)

    @property
    def enrolled_at(self) -> datetime:
        return min(event.occurred_at for event in self._all(MemberEnrolled))

    @property
    def cohort(self) -> date:
        return self.enrolled_at.astimezone(self._zone).date().replace(day=1)

    @property
    def earned(self) -> int:
        return sum(event.points for event in self._all(PointsAccrued))

    @property
    def redeemed(self) -> int:
        taken = sum(event.points for event in self._all(PointsRedeemed))
        return taken - sum(event.points for event in self._all(RedemptionReversed))

    def repurchased(self, window: int) -> bool:
        return len(self.days) > 1 and (self.days[1] - self.days[0]).days <= window

    def months(self) -> dict[date, tuple[int, int]]:
        """Purchases and revenue net of returns of each month with either."""
        found: dict[date, list[int]] = defaultdict(lambda: [0, 0])
        for event in self.purchases:
            month = found[self.day(event).replace(day=1)]
            month[0] += 1
            month[1] += sum(line.amount_minor for line in event.lines)
        for event in self.returns:
            found[self.day(event).replace(day=1)][1] -= event.amount_minor
        return {month: (purchases, revenue) for month, (purchases, revenue) in found.items()}

    def between(self, start: date, end: date) -> tuple[int, int]:
        """Purchases and revenue net of returns from one day until before another."""
        purchases = [event for event in self.purchases if start <= self.day(event) < end]
        revenue = sum(line.amount_minor for event in purchases for line in event.lines)
        revenue -= sum(event.amount_minor for event in self.returns if start <= self.day(event) < end)
        return len(purchases), revenue

    def figures(self, on: date) -> dict[str, Any]:
        """What `read_lifetime` must say, by the names of its fields."""
        days, purchases = self.days, self.purchases
        units = sum(line.quantity for event in purchases for line in event.lines)
        back = sum(line[1] for event in self.returns for match in event.matches for line in match.lines)
        back += sum(line.quantity for event in self.returns for line in event.unmatched)
        surveys = self._all(WalletShareSurveyed)
        newest = max((survey.occurred_at for survey in surveys), default=None)
        spends = [survey.yearly_spend_minor for survey in surveys if survey.occurred_at == newest]
        gaps = [(after - before).days for before, after in pairwise(days)]
        tenure = None
        if days:
            tenure = 0
            while _months_after(days[0], tenure + 1) <= on:
                tenure += 1
        found: dict[str, Any] = {
            "members": self.members,
            "enrolled_at": self.enrolled_at,
            "first_purchase_at": min((event.occurred_at for event in purchases), default=None),
            "last_purchase_at": max((event.occurred_at for event in purchases), default=None),
            "purchases": len(purchases),
            "purchase_days": len(days),
            "returns": len(self.returns),
            "units": units - back,
            "revenue_minor": self.purchased - self.returned,
            "profit_minor": self.profit,
            "uncosted_lines": self.uncosted,
            "average_basket_minor": round(self.purchased / len(purchases)) if purchases else None,
            "tenure_months": tenure,
            "tenure_days": (on - days[0]).days if days else None,
            "months_active": len({day.replace(day=1) for day in days}),
            "recency_days": (on - days[-1]).days if days else None,
            "frequency": max(0, len(days) - 1),
            "median_days_between_purchases": median(gaps) if gaps else None,
            "points_earned": self.earned,
            "points_redeemed": self.redeemed,
            "channels": sorted({event.channel for event in purchases} - {""}),
            "yearly_spend_minor": spends[-1] if spends else None,
        }
        for window in (30, 90, 365):
            passed = bool(days) and on > days[0] + timedelta(days=window)
            found[f"repurchased_within_{window}_days"] = self.repurchased(window) or (False if passed else None)
        return found


def _months_after(day: date, months: int) -> date:
    """The same day of a later month; the first of the month after where that month has no such day."""
    month = day.month - 1 + months
    try:
        return date(day.year + month // MONTHS_A_YEAR, month % MONTHS_A_YEAR + 1, day.day)
    except ValueError:
        return date(day.year + (month + 1) // MONTHS_A_YEAR, (month + 1) % MONTHS_A_YEAR + 1, 1)


def persons(events: list[Any], zone: str = "UTC") -> list[Person]:
    """The persons whom a history leaves, by name."""
    members = sorted({event.member for event in events})
    into: dict[str, str] = {}
    for event in events:
        if isinstance(event, MembersMerged) and event.side == "out":
            into[event.member] = event.other
        elif isinstance(event, MergeUndone) and event.side == "in":
            del into[event.member]

    def root(member: str) -> str:
        return root(into[member]) if member in into else member

    found = []
    for member in members:
        if member not in into:
            others = sorted(other for other in members if other != member and root(other) == member)
            found.append(Person(member, [member, *others], events, zone))
    return found


def totals(people: list[Person]) -> dict[str, int]:
    """Sums over persons, by the names of `ProgrammeValue`."""
    profits = [person.profit for person in people if person.profit is not None]
    unknown = [person for person in people if person.profit is None]
    closed = sum(
        any(isinstance(e, MemberClosed) and e.member == person.name for e in person.events) for person in people
    )
    return {
        "members": len(people),
        "open": len(people) - closed,
        "closed": closed,
        "customers": sum(bool(person.purchases) for person in people),
        "purchases": sum(len(person.purchases) for person in people),
        "returns": sum(len(person.returns) for person in people),
        "revenue_minor": sum(person.purchased - person.returned for person in people),
        "profit_minor": sum(profit for profit in profits if profit > 0),
        "loss_minor": -sum(profit for profit in profits if profit < 0),
        "operating_profit_minor": sum(profits),
        "profitable_members": sum(profit > 0 for profit in profits),
        "unprofitable_members": sum(profit < 0 for profit in profits),
        "unknown_profit_members": len(unknown),
        "unknown_profit_revenue_minor": sum(person.purchased - person.returned for person in unknown),
        "points_earned": sum(person.earned for person in people),
        "points_redeemed": sum(person.redeemed for person in people),
    }
