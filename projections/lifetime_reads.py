"""Lifetime figures of a member as people read them, of now from the read model, of the past from the log itself.

A member and all that were merged into it are one person: the survivor's figures are those of all of them together, and
a merged member has none of its own. What each figure means is in docs/value.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise
from statistics import median

import msgspec
from msgspec import Struct

from ledger.store.database import PgCursor
from ledger.store.journal import read_streams
from projections.batch import Batch
from projections.lifetime import (
    ANALYSIS_TOPIC,
    SELECTED_DAYS,
    SELECTED_FIGURES,
    Analysis,
    figures_of,
    fold_lifetimes,
)
from projections.lifetime_figures import (
    ATTRIBUTED,
    GOODS_COST,
    PURCHASES,
    REPURCHASE_WINDOWS_DAYS,
    RETURNED,
    RETURNED_UNITS,
    RETURNS,
    REVENUE,
    UNCOSTED,
    UNITS,
    Figures,
    combined,
    new_figures,
)
from projections.member_streams import known_events, occurred_by, read_family
from projections.trading import business_day, time_zone_of

INACTIVE_AFTER_DAYS_DEFAULT = 365


class MemberLifetime(Struct, frozen=True, kw_only=True):
    """Value and behaviour of a member at an instant. Money is in minor units of the programme's currency.

    A figure that cannot be told is None: profit where the cost of a line is unknown (`uncosted_lines` says of how
    many), repurchase while its window is still open, share of wallet without a survey. `membership` is that of the
    ledger; where it is `merged`, the figures are those of `merged_into` and are not repeated here.
    """

    member: str
    membership: str
    merged_into: str | None
    members: list[str]
    """The member and those merged into it."""
    at: datetime
    on: date
    """The business day of `at`, from which tenure, recency and windows are counted."""
    enrolled_at: datetime | None
    status: str
    """prospect, active or inactive."""
    inactive_after_days: int

    first_purchase_at: datetime | None
    last_purchase_at: datetime | None
    purchases: int
    purchase_days: int
    returns: int
    units: int
    """Net of returned ones."""
    returned_units: int
    revenue_minor: int
    """Net of returns."""
    purchased_minor: int
    returned_minor: int
    goods_cost_minor: int | None
    attributed_cost_minor: int
    profit_minor: int | None
    uncosted_lines: int
    average_basket_minor: int | None
    """What was purchased by purchase, before returns, rounded half to even."""
    repeat_value_minor: int
    """Revenue net of returns of all days after the first purchase day."""

    tenure_months: int | None
    tenure_days: int | None
    months_active: int
    recency_days: int | None
    frequency: int
    """Purchase days after the first."""
    median_days_between_purchases: float | None
    """Between one purchase day and the next."""
    repurchased_within_30_days: bool | None
    repurchased_within_90_days: bool | None
    repurchased_within_365_days: bool | None

    last_12_months_revenue_minor: int
    yearly_spend_minor: int | None
    surveyed_at: datetime | None
    share_of_wallet: float | None
    """Revenue of the last 12 months by the yearly spend of the newest survey."""

    points_earned: int
    points_redeemed: int
    redemption_rate: float | None
    channels: list[str]
    stores: list[str]


def read_lifetime(cur: PgCursor, journals: Sequence[int], journal: int, member: str, at: datetime) -> MemberLifetime:
    """The figures of a member by all that the projection has folded in: one round trip, two where it took over others.

    `journals` are those of the programme in their order, `journal` is the member's. An instant in the past judges the
    rows of today as if it were then; what had happened by then is in `lifetime_as_of`.
    """
    values = {"journals": list(journals), "journal": journal, "member": member, "first": journals[0]}
    cur.execute(_SELECT_MEMBER, values)
    found = cur.fetchone()
    if found is None:
        return _read(member, {}, [], at, time_zone_of(cur, journals[0]), inactive_after(cur, journals[0]))
    time_zone, inactive_after_days, has_absorbed, traded, *row = found
    family = {member: figures_of(row)}
    days = list(traded or [])
    if has_absorbed:
        cur.execute(_SELECT_ABSORBED, values)
        for name, traded, *row in cur.fetchall():
            family[name] = figures_of(row)
            days += traded or []
    return _read(member, family, days, at, time_zone or "UTC", inactive_after_days)


def inactive_after(cur: PgCursor, journal: int) -> int:
    """Days without a purchase after which a member is inactive, as the programme of this first journal has set it."""
    cur.execute("SELECT inactive_after_days FROM lifetime_analysis WHERE journal = %s", (journal,))
    row = cur.fetchone()
    return INACTIVE_AFTER_DAYS_DEFAULT if row is None else int(row[0])


def lifetime_as_of(
    cur: PgCursor, journals: Sequence[int], journal: int, member: str, as_of: datetime, as_known_at: datetime
) -> MemberLifetime:
    """The figures of a member by the events that had occurred by `as_of` and were recorded by `as_known_at`.

    Folded from the streams of the member and of those that had been merged into it.
    """
    time_zone = time_zone_of(cur, journals[0])
    streams = read_family(cur, journals, journal, member, as_of, as_known_at)
    events = occurred_by((row for rows in streams.values() for row in rows), as_of)
    changes = fold_lifetimes(Batch(journal, 0, events), time_zone, {})
    family = {name: changes.members.get(name) or new_figures() for name in streams}
    days = [(day, sums[PURCHASES], sums[REVENUE] - sums[RETURNED]) for (_, day), sums in sorted(changes.days.items())]
    inactive_after_days = inactive_after_as_of(cur, journals[0], as_of, as_known_at)
    return _read(member, family, days, as_of, time_zone, inactive_after_days)


def inactive_after_as_of(cur: PgCursor, journal: int, as_of: datetime, as_known_at: datetime) -> int:
    """As `inactive_after`, by what had been set by `as_of` and recorded by `as_known_at`."""
    settings = [
        msgspec.json.decode(row[4] or "", type=Analysis)
        for row in occurred_by(known_events(read_streams(cur, journal, [("analysis", 0)]), as_known_at), as_of)
        if row[3] == ANALYSIS_TOPIC
    ]
    return settings[-1].inactive_after_days if settings else INACTIVE_AFTER_DAYS_DEFAULT


# --- the figures ----------------------------------------------------------------------------------------------------


def _read(
    member: str,
    family: dict[str, Figures],
    days: Sequence[Sequence[int]],
    at: datetime,
    time_zone: str,
    inactive_after_days: int,
) -> MemberLifetime:
    own = family.pop(member, None) or new_figures()
    if own.survivor is not None:  # its figures are its survivor's
        person, others, days = new_figures(), [], []
    else:
        others = sorted(family)
        person = combined(own, [family[name] for name in others])
    on = business_day(at, time_zone)
    today = on.toordinal()
    sums, first, last = person.sums, person.first_day, person.last_day
    net = sums[REVENUE] - sums[RETURNED]
    bought_on = sorted({day for day, purchases, _ in days if purchases})
    gaps = [later - earlier for earlier, later in pairwise(bought_on)]
    year_ago = _year_before(on).toordinal()
    last_12_months = sum(revenue for day, _, revenue in days if year_ago < day <= today)
    spend = person.yearly_spend_minor
    repurchased = {
        f"repurchased_within_{window}_days": _repurchased(person, window, today) for window in REPURCHASE_WINDOWS_DAYS
    }
    return MemberLifetime(
        member=member,
        membership=own.status,
        merged_into=own.survivor,
        members=[member, *others],
        at=at,
        on=on,
        enrolled_at=_instant(person.enrolled_at if own.survivor is None else own.enrolled_at),
        status=_status(last, today, inactive_after_days),
        inactive_after_days=inactive_after_days,
        first_purchase_at=_instant(person.first_purchase_at),
        last_purchase_at=_instant(person.last_purchase_at),
        purchases=sums[PURCHASES],
        purchase_days=len(bought_on),
        returns=sums[RETURNS],
        units=sums[UNITS] - sums[RETURNED_UNITS],
        returned_units=sums[RETURNED_UNITS],
        revenue_minor=net,
        purchased_minor=sums[REVENUE],
        returned_minor=sums[RETURNED],
        goods_cost_minor=None if sums[UNCOSTED] else sums[GOODS_COST],
        attributed_cost_minor=sums[ATTRIBUTED],
        profit_minor=person.profit_minor,
        uncosted_lines=sums[UNCOSTED],
        average_basket_minor=_divided(sums[REVENUE], sums[PURCHASES]),
        repeat_value_minor=sum(revenue for day, _, revenue in days if first is not None and day > first),
        tenure_months=None if first is None else _months_between(date.fromordinal(first), on),
        tenure_days=None if first is None else max(0, today - first),
        months_active=len(person.active_months),
        recency_days=None if last is None else max(0, today - last),
        frequency=max(0, len(bought_on) - 1),
        median_days_between_purchases=float(median(gaps)) if gaps else None,
        **repurchased,
        last_12_months_revenue_minor=last_12_months,
        yearly_spend_minor=spend,
        surveyed_at=_instant(person.surveyed_at),
        share_of_wallet=last_12_months / spend if spend else None,
        points_earned=person.points_earned,
        points_redeemed=person.points_redeemed,
        redemption_rate=person.points_redeemed / person.points_earned if person.points_earned else None,
        channels=list(person.channels),
        stores=list(person.stores),
    )


def _status(last_day: int | None, today: int, inactive_after_days: int) -> str:
    if last_day is None:
        return "prospect"
    return "active" if today - last_day <= inactive_after_days else "inactive"


def _repurchased(person: Figures, window_days: int, today: int) -> bool | None:
    first, second = person.first_day, person.second_day
    if first is None:
        return None
    if second is not None and second - first <= window_days:
        return True
    return False if today > first + window_days else None


def _months_between(first: date, last: date) -> int:
    """Whole months elapsed, never below 0."""
    months = 12 * (last.year - first.year) + last.month - first.month
    return max(0, months - (last.day < first.day))


def _year_before(day: date) -> date:
    """The same day a year before; 28 February before 29 February."""
    return day.replace(year=day.year - 1, day=28 if (day.month, day.day) == (2, 29) else day.day)


def _divided(amount: int, number: int) -> int | None:
    """The quotient, rounded half to even; None by nothing."""
    if not number:
        return None
    quotient, rest = divmod(amount, number)
    return quotient + (2 * rest > number or (2 * rest == number and quotient % 2 == 1))


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# OFFSET 0: one index descent each, whatever the planner thinks of how many members were merged.
_ABSORBED = """
SELECT absorbed.journal, absorbed.member FROM lifetime absorbed
WHERE absorbed.journal = ANY (%(journals)s) AND absorbed.survivor = {survivor} AND absorbed.survivor IS NOT NULL
OFFSET 0
"""

_SELECT_MEMBER = f"""
SELECT
    (SELECT time_zone FROM programmes WHERE programme = (SELECT name FROM journals WHERE journal = %(first)s)),
    coalesce(
        (SELECT inactive_after_days FROM lifetime_analysis WHERE journal = %(first)s), {INACTIVE_AFTER_DAYS_DEFAULT}
    ),
    EXISTS ({_ABSORBED.format(survivor="%(member)s")}),
    {SELECTED_DAYS}, {SELECTED_FIGURES}
FROM lifetime WHERE journal = %(journal)s AND member = %(member)s
"""

_SELECT_ABSORBED = f"""
WITH RECURSIVE family AS (
    ({_ABSORBED.format(survivor="%(member)s")})
    UNION
    SELECT more.* FROM family, LATERAL ({_ABSORBED.format(survivor="family.member")}) more
)
SELECT lifetime.member, {SELECTED_DAYS}, {SELECTED_FIGURES}
FROM family JOIN lifetime USING (journal, member)
"""
