"""The value of all members of a programme: totals, whale curve and cohorts, from sums that never rescan members.

The sums count members as they are recorded. For those that were merged, readers take away what each record contributed
and add what the person does; that is exact, and costs as much as there are merged members.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.lifetime import SELECTED_DAYS, SELECTED_FIGURES, figures_of
from projections.lifetime_figures import (
    REPURCHASE_WINDOWS_DAYS,
    TOTALS,
    Contributions,
    Figures,
    add_to,
    bucket_floor,
    by_month,
    combined,
    month_contributions,
    person_correction,
)
from projections.lifetime_reads import inactive_after
from projections.persons import MERGED_MEMBERS
from projections.trading import business_day, first_of_month, month_of, time_zone_of


class WhalePoint(Struct, frozen=True, kw_only=True):
    """The most profitable customers down to `profit_from_minor` each: how many, and their profit together.

    `profit_share` is of the operating profit; None where that is not above 0.
    """

    profit_from_minor: int
    customers: int
    customers_share: float
    profit_minor: int
    profit_share: float | None


class ProgrammeValue(Struct, frozen=True, kw_only=True):
    """Sums over all persons of a programme. Money is in minor units of its currency.

    Customers have purchased; prospects are open and have not; who is active purchased within the programme's threshold.
    Revenue is net of returns. Members with a line whose cost is unknown have no profit: they are counted apart and are
    in neither the operating profit nor the whale curve; goods cost is that of the lines whose cost is known.
    """

    on: date
    members: int
    open: int
    closed: int
    erased: int
    merged: int
    """Records that are another member's now; not among `members`."""
    prospects: int
    customers: int
    active: int
    inactive: int
    inactive_after_days: int
    purchases: int
    returns: int
    units: int
    purchased_minor: int
    returned_minor: int
    revenue_minor: int
    goods_cost_minor: int
    attributed_cost_minor: int
    uncosted_lines: int
    profitable_members: int
    profit_minor: int
    unprofitable_members: int
    loss_minor: int
    operating_profit_minor: int
    """The profit of the profitable members less the losses of the others."""
    unknown_profit_members: int
    unknown_profit_revenue_minor: int
    points_earned: int
    points_redeemed: int
    redemption_rate: float | None
    whale_curve: list[WhalePoint]
    """From the most profitable customers to all with a known profit; exact at its points, which lie at most 1/16 of
    their profit apart."""


class CohortMonth(Struct, frozen=True, kw_only=True):
    """A month of a cohort. `retention` is the share of its members with a purchase in the month."""

    month: date
    active_members: int
    retention: float
    purchases: int
    revenue_minor: int


class Repurchase(Struct, frozen=True, kw_only=True):
    """How many of the customers whose window has passed purchased again, on another day, inside it."""

    window_days: int
    customers: int
    repurchased: int
    rate: float | None


class Cohort(Struct, frozen=True, kw_only=True):
    """The members who enrolled in a month."""

    cohort: date
    members: int
    customers: int
    months: list[CohortMonth]
    repurchase: list[Repurchase]


def read_programme_value(cur: PgCursor, journals: Sequence[int], at: datetime) -> ProgrammeValue:
    """The totals of a programme by all that the projection has folded in; `at` tells active from inactive members."""
    on = business_day(at, time_zone_of(cur, journals[0]))
    inactive_after_days = inactive_after(cur, journals[0])
    earliest = on - timedelta(days=inactive_after_days)
    cur.execute(_SELECT_TOTALS, (list(journals),))
    sums = [int(value) for value in cur.fetchone() or ()]
    cur.execute(
        "SELECT coalesce(sum(members), 0)::bigint FROM lifetime_last_days WHERE journal = ANY (%s) AND last_day >= %s",
        (list(journals), earliest),
    )
    (active,) = cur.fetchone() or (0,)
    cur.execute(
        "SELECT bucket, sum(members)::bigint, sum(profit_minor)::bigint FROM lifetime_profits"
        " WHERE journal = ANY (%s) GROUP BY bucket",
        (list(journals),),
    )
    found: Contributions = {("lifetime_profits", (bucket,)): [*bucket_sums] for bucket, *bucket_sums in cur.fetchall()}
    found["lifetime_totals", ()] = list(sums)
    found["lifetime_last_days", (earliest.toordinal(),)] = [active]
    add_to(found, _correction(cur, journals))
    return programme_value(found, sums[TOTALS.index("members_merged")], on, inactive_after_days)


def programme_value(found: Contributions, merged: int, on: date, inactive_after_days: int) -> ProgrammeValue:
    """The totals on a day from what all persons contribute; `merged` counts the records that are another member's."""
    totals = dict(zip(TOTALS, found.get(("lifetime_totals", ()), [0] * len(TOTALS)), strict=True))
    earliest = (on - timedelta(days=inactive_after_days)).toordinal()
    active = sum(
        members[0]
        for (table, key), members in found.items()
        if table == "lifetime_last_days" and int(key[0]) >= earliest
    )
    operating_profit = totals["profit_minor"] - totals["loss_minor"]
    earned = totals["points_earned"]
    return ProgrammeValue(
        on=on,
        members=sum(totals[f"members_{status}"] for status in ("unknown", "open", "closed", "erased")),
        open=totals["members_open"],
        closed=totals["members_closed"],
        erased=totals["members_erased"],
        merged=merged,
        prospects=totals["prospects"],
        customers=totals["customers"],
        active=active,
        inactive=totals["customers"] - active,
        inactive_after_days=inactive_after_days,
        purchases=totals["purchases"],
        returns=totals["returns"],
        units=totals["units"] - totals["returned_units"],
        purchased_minor=totals["revenue_minor"],
        returned_minor=totals["returned_minor"],
        revenue_minor=totals["revenue_minor"] - totals["returned_minor"],
        goods_cost_minor=totals["goods_cost_minor"],
        attributed_cost_minor=totals["attributed_cost_minor"],
        uncosted_lines=totals["uncosted_lines"],
        profitable_members=totals["profitable_members"],
        profit_minor=totals["profit_minor"],
        unprofitable_members=totals["unprofitable_members"],
        loss_minor=totals["loss_minor"],
        operating_profit_minor=operating_profit,
        unknown_profit_members=totals["unknown_profit_members"],
        unknown_profit_revenue_minor=totals["unknown_profit_revenue_minor"],
        points_earned=earned,
        points_redeemed=totals["points_redeemed"],
        redemption_rate=totals["points_redeemed"] / earned if earned else None,
        whale_curve=_whale_curve(found, operating_profit),
    )


def _whale_curve(found: Contributions, operating_profit: int) -> list[WhalePoint]:
    buckets = {key: sums for (table, key), sums in found.items() if table == "lifetime_profits"}
    ranked = sorted(((int(key[0]), *sums) for key, sums in buckets.items() if sums[0]), reverse=True)
    everyone = sum(members for _, members, _ in ranked)
    points, customers, profit = [], 0, 0
    for bucket, members, profit_minor in ranked:
        customers += members
        profit += profit_minor
        points.append(
            WhalePoint(
                profit_from_minor=bucket_floor(bucket) if bucket >= 0 else bucket_floor(bucket - 1) + 1,
                customers=customers,
                customers_share=customers / everyone,
                profit_minor=profit,
                profit_share=profit / operating_profit if operating_profit > 0 else None,
            )
        )
    return points


def read_cohorts(cur: PgCursor, journals: Sequence[int], at: datetime) -> list[Cohort]:
    """The cohorts of a programme by month of enrolment, oldest first; `at` tells which windows have passed."""
    on = business_day(at, time_zone_of(cur, journals[0]))
    found = _correction(cur, journals, months=True)
    cur.execute(
        "SELECT cohort, sum(members)::bigint FROM cohorts WHERE journal = ANY (%s) GROUP BY cohort", (list(journals),)
    )
    add_to(found, {("cohorts", (_month(cohort),)): [members] for cohort, members in cur.fetchall()})
    cur.execute(
        "SELECT cohort, month, sum(active_members)::bigint, sum(purchases)::bigint, sum(net_revenue_minor)::bigint"
        " FROM cohort_months WHERE journal = ANY (%s) GROUP BY cohort, month",
        (list(journals),),
    )
    add_to(found, {("cohort_months", (_month(cohort), _month(month))): [*sums] for cohort, month, *sums in cur})
    cur.execute(
        "SELECT cohort, first_day, sum(members)::bigint,"
        f" {', '.join(f'sum(within_{days}_days)::bigint' for days in REPURCHASE_WINDOWS_DAYS)}"
        " FROM cohort_repurchases WHERE journal = ANY (%s) GROUP BY cohort, first_day",
        (list(journals),),
    )
    add_to(
        found, {("cohort_repurchases", (_month(cohort), first.toordinal())): [*sums] for cohort, first, *sums in cur}
    )
    by_cohort: dict[int, Contributions] = {}
    for (table, key), sums in found.items():
        by_cohort.setdefault(int(key[0]) if table in _COHORT_TABLES else -1, {})[table, key] = sums
    by_cohort.pop(-1, None)
    return [cohort for month, sums in sorted(by_cohort.items()) if (cohort := _cohort(month, sums, on)).members]


_COHORT_TABLES = ("cohorts", "cohort_months", "cohort_repurchases")


def _cohort(month: int, found: Contributions, on: date) -> Cohort:
    members = found.get(("cohorts", (month,)), [0])[0]
    firsts = [(int(key[1]), sums) for (table, key), sums in found.items() if table == "cohort_repurchases"]
    repurchase = []
    for number, window in enumerate(REPURCHASE_WINDOWS_DAYS):
        passed = [sums for first, sums in firsts if first + window < on.toordinal()]
        customers, again = sum(sums[0] for sums in passed), sum(sums[1 + number] for sums in passed)
        repurchase.append(
            Repurchase(
                window_days=window,
                customers=customers,
                repurchased=again,
                rate=again / customers if customers else None,
            )
        )
    months = [
        CohortMonth(
            month=first_of_month(int(key[1])),
            active_members=active,
            retention=active / members if members else 0.0,
            purchases=purchases,
            revenue_minor=revenue,
        )
        for (table, key), (active, purchases, revenue) in sorted(
            item for item in found.items() if item[0][0] == "cohort_months" and any(item[1])
        )
    ]
    customers = sum(sums[0] for _, sums in firsts)
    return Cohort(
        cohort=first_of_month(month), members=members, customers=customers, months=months, repurchase=repurchase
    )


def _month(first_day: date) -> int:
    return month_of(first_day.toordinal())


# --- members that were merged ---------------------------------------------------------------------------------------


def _correction(cur: PgCursor, journals: Sequence[int], *, months: bool = False) -> Contributions:
    """What persons of several records contribute, less what their records do. With or without `cohort_months`."""
    cur.execute(_SELECT_FAMILIES, {"journals": list(journals), "months": months})
    correction: Contributions = {}
    for _, rows in groupby(cur.fetchall(), key=lambda row: row[0]):
        records: list[Figures] = []
        traded: list[list[int]] = []
        for _, _, days, *row in rows:  # the survivor first
            record = figures_of(row)
            records.append(record)
            if months:
                own = days or []
                traded += own
                add_to(correction, month_contributions(record.cohort, by_month(own)), -1)
        add_to(correction, person_correction(records))
        if months:
            person = combined(records[0], records[1:])
            add_to(correction, month_contributions(person.cohort, by_month(sorted(traded))))
    return correction


_SELECT_TOTALS = (
    f"SELECT {', '.join(f'coalesce(sum({name}), 0)::bigint' for name in TOTALS)} FROM lifetime_totals"
    " WHERE journal = ANY (%s)"
)

_SELECT_FAMILIES = f"""
WITH RECURSIVE {MERGED_MEMBERS}, families AS (
    SELECT person, member FROM merged UNION SELECT person, person FROM merged
)
SELECT person, lifetime.member, CASE WHEN %(months)s THEN {SELECTED_DAYS} END, {SELECTED_FIGURES}
FROM families JOIN lifetime ON journal = ANY (%(journals)s) AND lifetime.member = families.member
ORDER BY person, lifetime.member <> person, lifetime.member
"""
