"""Lifetime figures of one member: how they grow by an event, how those of merged members add up, and what they
contribute to the figures of the programme. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import add
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from projections.movements import later
from projections.trading import Cost, Purchase, Return, WalletSurvey, month_of

BUCKETS_PER_OCTAVE = 16
REPURCHASE_WINDOWS_DAYS = (30, 90, 365)
STATUSES = ("unknown", "open", "closed", "erased", "merged")

DAY_SUMS = (
    "purchases",
    "units",
    "revenue_minor",
    "returns",
    "returned_units",
    "returned_minor",
    "goods_cost_minor",
    "attributed_cost_minor",
    "uncosted_lines",
)
"""What is summed for each member and day, and for each member."""
PURCHASES, UNITS, REVENUE, RETURNS, RETURNED_UNITS, RETURNED, GOODS_COST, ATTRIBUTED, UNCOSTED = range(len(DAY_SUMS))

TOTALS = (
    *(f"members_{status}" for status in STATUSES),
    "prospects",
    "customers",
    *DAY_SUMS,
    "profitable_members",
    "profit_minor",
    "unprofitable_members",
    "loss_minor",
    "unknown_profit_members",
    "unknown_profit_revenue_minor",
    "points_earned",
    "points_redeemed",
)
"""What is summed over the members of a journal. `loss_minor` is positive."""

Key: TypeAlias = tuple[int | str, ...]
Sums: TypeAlias = list[int]
Months: TypeAlias = Mapping[int, Sequence[int]]
"""Month -> purchases and revenue net of returns."""


class Figures(Struct, gc=False):
    """Everything that the events of one member add up to. Days are ordinals, months one number each, instants text."""

    status: str = "unknown"
    enrolled_at: str | None = None
    cohort: int | None = None
    """The month of enrolment."""
    survivor: str | None = None
    """Whom it was merged into."""
    first_purchase_at: str | None = None
    last_purchase_at: str | None = None
    first_day: int | None = None
    second_day: int | None = None
    """The second day with a purchase."""
    last_day: int | None = None
    points_earned: int = 0
    points_redeemed: int = 0
    surveyed_at: str | None = None
    yearly_spend_minor: int | None = None
    survey_currency: str | None = None
    channels: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    active_months: tuple[int, ...] = ()
    """Months with a purchase, ascending."""
    sums: Sums = []

    @property
    def profit_minor(self) -> int | None:
        """Revenue net of returns less all costs; None where the cost of any line is unknown."""
        return None if self.sums[UNCOSTED] else net_profit(self.sums)

    @property
    def is_customer(self) -> bool:
        """Whether it ever purchased."""
        return self.first_day is not None

    def copy(self) -> Figures:
        """A copy that does not share what changes."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Figures(**fields | {"sums": list(self.sums)})

    def enrol(self, instant: str, day: int) -> None:
        """Enrolled on a day; the first enrolment counts."""
        if self.enrolled_at is None:
            self.enrolled_at, self.cohort = instant, month_of(day)

    def purchase(self, event: Purchase, instant: str, day: int) -> Sums:
        """Count a purchase; what it adds to its day."""
        units = revenue = cost = uncosted = 0
        for line in event.lines:
            units += line.quantity
            revenue += line.amount_minor
            if line.cost_minor is None:
                uncosted += 1
            else:
                cost += line.cost_minor
        sums = self.sums
        sums[PURCHASES] += 1
        sums[UNITS] += units
        sums[REVENUE] += revenue
        sums[GOODS_COST] += cost
        sums[UNCOSTED] += uncosted
        last = self.last_purchase_at
        if last is None or instant[:-1] < last[:-1]:
            self.first_purchase_at = _earlier_of(self.first_purchase_at, instant)
            self.last_purchase_at = last or instant
        else:
            self.last_purchase_at = instant
        if day != self.last_day:
            self._count_day(day)
            month = month_of(day)
            if month not in self.active_months:
                self.active_months = tuple(sorted((*self.active_months, month)))
        if event.channel not in self.channels:
            self.channels = _with(self.channels, event.channel)
        if event.store not in self.stores:
            self.stores = _with(self.stores, event.store)
        return [1, units, revenue, 0, 0, 0, cost, 0, uncosted]

    def _count_day(self, day: int) -> None:
        first, second = self.first_day, self.second_day
        if first is None or day < first:
            self.first_day, self.second_day = day, first
        elif day > first and (second is None or day < second):
            self.second_day = day
        self.last_day = day if self.last_day is None else max(self.last_day, day)

    def give_back(self, event: Return) -> Sums:
        """Count a return; what it adds to its day."""
        added = _return_sums(event)
        _add(self.sums, added)
        return added

    def attribute(self, event: Cost) -> Sums:
        """Count a cost; what it adds to its day."""
        added = [0] * len(DAY_SUMS)
        added[ATTRIBUTED] = event.amount_minor
        _add(self.sums, added)
        return added

    def survey(self, event: WalletSurvey, instant: str) -> None:
        """Take a wallet survey: the newest counts, of the same instant the one recorded later."""
        if self.surveyed_at is None or later(instant, self.surveyed_at) == instant:
            self.surveyed_at = instant
            self.yearly_spend_minor, self.survey_currency = event.yearly_spend_minor, event.currency


def new_figures() -> Figures:
    """Those of a member without any event."""
    return Figures(sums=[0] * len(DAY_SUMS))


def net_profit(sums: Sequence[int]) -> int:
    """Revenue less what was returned, the cost of goods and attributed costs."""
    return sums[REVENUE] - sums[RETURNED] - sums[GOODS_COST] - sums[ATTRIBUTED]


def _return_sums(event: Return) -> Sums:
    units = sum(line.quantity for line in event.unmatched)
    cost, uncosted = 0, len(event.unmatched)
    for match in event.matches:
        units += sum(quantity for _, quantity, _ in match.lines)
        if match.cost_minor is None:
            uncosted += len(match.lines)
        else:
            cost += match.cost_minor
    return [0, 0, 0, 1, units, event.amount_minor, -cost, 0, uncosted]


def _add(sums: Sums, added: Sums) -> None:
    sums[:] = map(add, sums, added)


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if not name or name in names else tuple(sorted((*names, name)))


def _earlier_of(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one or other
    return other if later(one, other) == one else one


def _later_of(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one or other
    return later(one, other)


# --- one person -----------------------------------------------------------------------------------------------------


def combined(survivor: Figures, absorbed: Sequence[Figures]) -> Figures:
    """The figures of a person: of a member and of all that were merged into it. Its status is the survivor's."""
    person = survivor.copy()
    for other in absorbed:
        _add(person.sums, other.sums)
        person.points_earned += other.points_earned
        person.points_redeemed += other.points_redeemed
        if _earlier_of(person.enrolled_at, other.enrolled_at) != person.enrolled_at:
            person.enrolled_at, person.cohort = other.enrolled_at, other.cohort
        person.first_purchase_at = _earlier_of(person.first_purchase_at, other.first_purchase_at)
        person.last_purchase_at = _later_of(person.last_purchase_at, other.last_purchase_at)
        for day in (other.first_day, other.second_day, other.last_day):
            if day is not None:
                person._count_day(day)
        person.active_months = tuple(sorted({*person.active_months, *other.active_months}))
        person.channels = tuple(sorted({*person.channels, *other.channels}))
        person.stores = tuple(sorted({*person.stores, *other.stores}))
        if _later_of(person.surveyed_at, other.surveyed_at) != person.surveyed_at:
            person.surveyed_at = other.surveyed_at
            person.yearly_spend_minor, person.survey_currency = other.yearly_spend_minor, other.survey_currency
    return person


# --- the programme --------------------------------------------------------------------------------------------------

Contributions: TypeAlias = dict[tuple[str, Key], Sums]
"""(table, key) -> what is added to the sums of that row."""

ProgrammeTable: TypeAlias = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]
PROGRAMME_TABLES: dict[str, ProgrammeTable] = {
    "lifetime_totals": ((), TOTALS),
    "lifetime_profits": ((("bucket", "integer"),), ("members", "profit_minor")),
    "lifetime_last_days": ((("last_day", "date"),), ("members",)),
    "cohorts": ((("cohort", "date"),), ("members",)),
    "cohort_repurchases": (
        (("cohort", "date"), ("first_day", "date")),
        ("members", *(f"within_{days}_days" for days in REPURCHASE_WINDOWS_DAYS)),
    ),
    "cohort_months": ((("cohort", "date"), ("month", "date")), ("active_members", "purchases", "net_revenue_minor")),
}
"""Tables of sums over the members of a journal: key columns with their types, and the sums. Days are ordinals and
months one number each until they are written.
"""


class Standing(NamedTuple):
    """What of a member's figures is counted in those of its programme by what it comes to; the rest is plain sums."""

    status: str
    is_customer: bool
    has_traded: bool
    profit_minor: int | None
    revenue_minor: int
    """Net of returns."""
    cohort: int | None
    first_day: int | None
    second_day: int | None
    last_day: int | None


def standing(figures: Figures) -> Standing:
    """The standing of a member as it is now."""
    sums, first_day = figures.sums, figures.first_day
    return Standing(
        figures.status,
        first_day is not None,
        any(sums),
        None if sums[UNCOSTED] else net_profit(sums),
        sums[REVENUE] - sums[RETURNED],
        figures.cohort,
        first_day,
        figures.second_day,
        figures.last_day,
    )


def contributions(figures: Figures) -> Contributions:
    """What a member adds to the figures of its programme, but for `cohort_months`."""
    found: Contributions = {}
    count_standing(found, standing(figures))
    add_sums(found, figures.sums, figures.points_earned, figures.points_redeemed)
    return found


def add_sums(total: Contributions, sums: Sequence[int], points_earned: int, points_redeemed: int) -> None:
    """Add plain sums, of one member or of many, to the totals of the programme."""
    row = _row(total, _TOTALS_KEY, len(TOTALS))
    row[_FIRST_SUM : _FIRST_SUM + len(sums)] = map(add, row[_FIRST_SUM:], sums)
    row[-2] += points_earned
    row[-1] += points_redeemed


def count_standing(total: Contributions, found: Standing, sign: int = 1) -> None:
    """Add what a member counts as, or take it away (`sign` -1)."""
    row = _row(total, _TOTALS_KEY, len(TOTALS))
    row[_STATUS_PLACES[found.status]] += sign
    if found.is_customer:
        row[_CUSTOMERS] += sign
    elif found.status == "open":
        row[_PROSPECTS] += sign
    profit, cohort, first_day = found.profit_minor, found.cohort, found.first_day
    if profit is None:
        row[_UNKNOWN] += sign
        row[_UNKNOWN + 1] += sign * found.revenue_minor
    else:
        if profit:
            place = _PROFITABLE if profit > 0 else _UNPROFITABLE
            row[place] += sign
            row[place + 1] += sign * abs(profit)
        if found.has_traded or found.is_customer:
            row = _row(total, ("lifetime_profits", (bucket_of(profit),)), 2)
            row[0] += sign
            row[1] += sign * profit
    if found.last_day is not None:
        _row(total, ("lifetime_last_days", (found.last_day,)), 1)[0] += sign
    if cohort is not None:
        _row(total, ("cohorts", (cohort,)), 1)[0] += sign
        if first_day is not None:
            row = _row(total, ("cohort_repurchases", (cohort, first_day)), 1 + len(REPURCHASE_WINDOWS_DAYS))
            row[0] += sign
            if found.second_day is not None:
                for place, days in enumerate(REPURCHASE_WINDOWS_DAYS, 1):
                    row[place] += sign * (found.second_day - first_day <= days)


def _row(total: Contributions, key: tuple[str, Key], size: int) -> Sums:
    row = total.get(key)
    if row is None:
        row = total[key] = [0] * size
    return row


_TOTALS_KEY: tuple[str, Key] = ("lifetime_totals", ())
_STATUS_PLACES = {status: TOTALS.index(f"members_{status}") for status in STATUSES}
_PROSPECTS, _CUSTOMERS, _FIRST_SUM, _PROFITABLE, _UNPROFITABLE, _UNKNOWN = map(
    TOTALS.index,
    ("prospects", "customers", DAY_SUMS[0], "profitable_members", "unprofitable_members", "unknown_profit_members"),
)
"""Places in `TOTALS`; the sum that belongs to a number of members comes after it."""


def month_contributions(cohort: int | None, months: Months) -> Contributions:
    """What a member of a cohort adds to `cohort_months` by its trade of each month."""
    if cohort is None:
        return {}
    return {
        ("cohort_months", (cohort, month)): [int(purchases > 0), purchases, revenue]
        for month, (purchases, revenue) in months.items()
    }


def add_to(total: Contributions, part: Contributions, sign: int = 1) -> None:
    """Add contributions to others, or take them away (`sign` -1)."""
    for key, sums in part.items():
        known = total.get(key)
        if known is None:
            total[key] = [sign * value for value in sums]
        else:
            for index, value in enumerate(sums):
                known[index] += sign * value


def person_correction(records: Sequence[Figures]) -> Contributions:
    """What a person of several records contributes, less what its records do; the survivor's record is the first."""
    correction: Contributions = {}
    for record in records:
        add_to(correction, contributions(record), -1)
    add_to(correction, contributions(combined(records[0], records[1:])))
    return correction


# --- buckets of profit ----------------------------------------------------------------------------------------------


def bucket_of(profit: int) -> int:
    """The bucket of a profit: 0 for none, 1, 2 … for profits, -1, -2 … for losses; sixteen an octave, evenly wide
    inside it, so that a bucket is at most 1/16 of its lower bound wide. In integers alone.
    """
    size = abs(profit)
    if not size:
        return 0
    octave = size.bit_length() - 1
    bucket = 1 + BUCKETS_PER_OCTAVE * octave + (((size * BUCKETS_PER_OCTAVE) >> octave) - BUCKETS_PER_OCTAVE)
    return bucket if profit > 0 else -bucket


def bucket_floor(bucket: int) -> int:
    """The profit of the bucket that is nearest to zero."""
    if not bucket:
        return 0
    octave, step = divmod(abs(bucket) - 1, BUCKETS_PER_OCTAVE)
    size = -((-(BUCKETS_PER_OCTAVE + step) << octave) // BUCKETS_PER_OCTAVE)
    return size if bucket > 0 else -size


def by_month(days: Iterable[Sequence[int]]) -> dict[int, list[int]]:
    """(day, purchases, net revenue) in the order of days, summed by month."""
    found: dict[int, list[int]] = {}
    for month, rows in groupby(days, key=lambda row: month_of(row[0])):
        traded = list(rows)
        found[month] = [sum(row[1] for row in traded), sum(row[2] for row in traded)]
    return found
