"""Satisfaction timelines: figures by day, week or month, of a programme, of its channels, stores or touchpoints, of a
member.

Days are those of the programme's time zone, weeks begin on Monday. Periods are whole ones, even at the edges of what is
asked for. `today` is the day in progress: what is dated later is not counted, and of the follow-ups neither are those
due on it, because they may still be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.satisfaction_figures import FIGURES, Figure, Tally, figure
from projections.satisfaction_members import read_merged_members
from projections.satisfaction_scores import CES_SCALE, Sums, merged, rescaled
from projections.survey_scoring import DETRACTOR_MAX, PROMOTER_MIN

By: TypeAlias = Literal["day", "week", "month"]
Per: TypeAlias = Literal["programme", "channel", "store", "touchpoint"]
Key: TypeAlias = tuple[date, str]
"""First day of a period, and channel, store or touchpoint."""

PERIODS_MAX: Final = 20_000
MEDIAN: Final = "resolution_time_median"


class Entry(Struct, frozen=True, kw_only=True):
    """A period of one group: `value` is the channel, store or touchpoint; empty for the programme and for none.

    Counts are of what there was, none is 0; `figures` are by name, see `projections.satisfaction_figures`.
    """

    period_on: date
    until_on: date
    value: str
    responses: int
    purchases: int
    complaints: int
    resolved: int
    follow_ups: int
    figures: dict[str, Figure]


# --- periods --------------------------------------------------------------------------------------------------------


def period_start(day: date, by: By) -> date:
    """The first day of the period that a day is in."""
    if by == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if by == "week" else day


def next_period(start: date, by: By) -> date:
    """The first day of the period after the one that begins on `start`."""
    if by == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + timedelta(days=7 if by == "week" else 1)


def periods(from_on: date, until_on: date, by: By) -> list[date]:
    """The first days of the periods that hold the days from `from_on` until before `until_on`.

    Raises ValueError where there are none, or more than 20,000.
    """
    if from_on >= until_on:
        raise ValueError(f"until: must be after from, {from_on}; got {until_on}")
    found = [period_start(from_on, by)]
    while (following := next_period(found[-1], by)) < until_on:
        if len(found) == PERIODS_MAX:
            raise ValueError(f"from: {from_on} to {until_on} by {by} is more than {PERIODS_MAX:,} periods at a time")
        found.append(following)
    return found


# --- of a programme -------------------------------------------------------------------------------------------------


def read_timeline(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    by: By,
    from_on: date,
    until_on: date,
    today: date,
    per: Per = "programme",
    only: str | None = None,
    median: bool = False,
) -> list[Entry]:
    """The figures of every period from `from_on` until before `until_on`, of all journals of a programme together.

    With `per`, those of each channel, store or touchpoint that something happened at in that time, or of `only` that
    one. The complaint rate of a touchpoint is over the purchases of the programme, for no purchase names one. `median`
    also has the median time to resolve, which is read from the complaints themselves.

    Raises ValueError as `periods` does.
    """
    found = read_tallies(
        cur, journals, by=by, from_on=from_on, until_on=until_on, today=today, per=per, only=only, median=median
    )
    return [entry_of(key, tally, by, median) for key, tally in found.items()]


def read_tallies(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    by: By,
    from_on: date,
    until_on: date,
    today: date,
    per: Per = "programme",
    only: str | None = None,
    median: bool = False,
) -> dict[Key, Tally]:
    """As `read_timeline`, what the figures are of: by value, then period."""
    starts = periods(from_on, until_on, by)
    parameters = {
        "journals": list(journals),
        "by": by,
        "per": per,
        "only": only,
        "from_on": starts[0],
        "until_on": min(next_period(starts[-1], by), today + timedelta(days=1)),
        "today": today,
    }
    tallies: dict[Key, Tally] = {}
    cur.execute(_ANSWERS, parameters)
    _add_answers(tallies, cur.fetchall())
    cur.execute(_SERVICE, parameters)
    programme_purchases = _add_service(tallies, cur.fetchall(), per)
    cur.execute(_LATE_SINCE, parameters)
    for *key, number in cur.fetchall():
        _of(tallies, *key).follow_ups_late -= number
    if median:
        cur.execute(_MEDIANS, parameters)
        for *key, seconds in cur.fetchall():
            _of(tallies, *key).resolution_median_seconds = float(seconds)
    values = [""] if per == "programme" else sorted({value for _, value in tallies}) if only is None else [only]
    everything = {(start, value): tallies.get((start, value)) or Tally() for value in values for start in starts}
    if per == "touchpoint":
        for (start, _), tally in everything.items():
            tally.purchases = programme_purchases.get(start, 0)
    return everything


def _of(tallies: dict[Key, Tally], start: date, value: str) -> Tally:
    return tallies.setdefault((start, value), Tally())


def _add_answers(tallies: dict[Key, Tally], rows: Iterable[tuple[Any, ...]]) -> None:
    """Add up rows of period, value, instrument, lowest, highest, and the eight sums of `satisfaction_days`."""
    for start, value, instrument, lowest, highest, *counts, total, squares in rows:
        found = _of(tallies, start, value).answered[instrument]
        answers, scored, promoters, detractors, satisfied, weighted = counts
        found.answers += answers
        found.scored += scored
        found.promoters += promoters
        found.detractors += detractors
        found.satisfied += satisfied
        found.weighted += weighted
        scores = Sums(count=scored, total=total, squares=squares)
        if instrument == "CES":
            scores = rescaled(scores, (int(lowest), int(highest)), CES_SCALE)
        found.scores = merged([found.scores, scores])


def _add_service(tallies: dict[Key, Tally], rows: Iterable[tuple[Any, ...]], per: Per) -> dict[date, int]:
    """Add up rows of period, per, value, and the seven sums of `service_days`; the purchases of the programme."""
    purchases_of_programme: dict[date, int] = {}
    for start, row_per, value, purchases, complaints, resolved, seconds, due, in_time, late in rows:
        if row_per == "programme":
            purchases_of_programme[start] = purchases
        if row_per != per:
            continue
        tally = _of(tallies, start, value)
        tally.purchases += purchases
        tally.complaints += complaints
        tally.resolved += resolved
        tally.resolution_seconds += Fraction(seconds)
        tally.follow_ups += due
        tally.follow_ups_in_time += in_time
        tally.follow_ups_late += late
    return purchases_of_programme


def entry_of(key: Key, tally: Tally, by: By, median: bool = False) -> Entry:
    """The figures of a period of a group, from what it holds."""
    start, value = key
    names = [name for name, made in FIGURES.items() if made.count is None and (median or name != MEDIAN)]
    return Entry(
        period_on=start,
        until_on=next_period(start, by),
        value=value,
        responses=tally.responses,
        purchases=tally.purchases,
        complaints=tally.complaints,
        resolved=tally.resolved,
        follow_ups=tally.follow_ups,
        figures={name: figure(name, tally) for name in names},
    )


_PERIOD: Final = "date_trunc(%(by)s, {}::timestamp)::date"
_DAYS: Final = "journal = ANY (%(journals)s) AND day >= %(from_on)s AND day < %(until_on)s"

_ANSWERS: Final = f"""
SELECT {_PERIOD.format("day")}, value, instrument, lowest, highest, sum(answers)::bigint, sum(scored)::bigint,
    sum(promoters)::bigint, sum(detractors)::bigint, sum(satisfied)::bigint, sum(weighted)::bigint,
    sum(score_sum), sum(score_squares)
FROM satisfaction_days
WHERE {_DAYS} AND per = %(per)s AND (%(only)s::text IS NULL OR value = %(only)s)
GROUP BY 1, 2, 3, 4, 5
"""

# Of a touchpoint, the purchases of the programme too. Follow-ups that are due today may still be kept.
_SERVICE: Final = f"""
SELECT {_PERIOD.format("day")}, per, value, sum(purchases)::bigint, sum(complaints)::bigint, sum(resolved)::bigint,
    sum(resolution_seconds),
    coalesce(sum(follow_ups) FILTER (WHERE day < %(today)s), 0)::bigint,
    coalesce(sum(follow_ups_in_time) FILTER (WHERE day < %(today)s), 0)::bigint,
    coalesce(sum(follow_ups_late) FILTER (WHERE day < %(today)s), 0)::bigint
FROM service_days
WHERE {_DAYS} AND (
    per = %(per)s AND (%(only)s::text IS NULL OR value = %(only)s) OR %(per)s = 'touchpoint' AND per = 'programme'
)
GROUP BY 1, 2, 3
"""

_VALUE: Final = (
    "CASE %(per)s WHEN 'channel' THEN channel WHEN 'store' THEN {} WHEN 'touchpoint' THEN touchpoint ELSE '' END"
)

# The late ones that `service_days` counts although they were completed after today.
_LATE_SINCE: Final = f"""
SELECT {_PERIOD.format("due_day")}, {_VALUE.format("''")} AS value, count(*)
FROM follow_ups
WHERE journal = ANY (%(journals)s) AND completed_at > due_at AND completed_day > %(today)s
    AND due_day >= %(from_on)s AND due_day < %(until_on)s AND due_day < %(today)s
    AND (%(only)s::text IS NULL OR {_VALUE.format("''")} = %(only)s)
GROUP BY 1, 2
"""

_MEDIANS: Final = f"""
SELECT {_PERIOD.format("resolved_day")}, {_VALUE.format("store")} AS value,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM resolved_at - opened_at)::double precision)
FROM complaints
WHERE journal = ANY (%(journals)s) AND resolved_day >= %(from_on)s AND resolved_day < %(until_on)s
    AND (%(only)s::text IS NULL OR {_VALUE.format("store")} = %(only)s)
GROUP BY 1, 2
"""


# --- of a member ----------------------------------------------------------------------------------------------------


def read_member_timeline(
    cur: PgCursor,
    journals: Sequence[int],
    member: str,
    *,
    by: By,
    from_on: date,
    until_on: date,
    today: date,
) -> list[Entry]:
    """The figures of a member, together with those of all members merged into it. Its purchases are not counted here.

    Raises ValueError as `periods` does.
    """
    starts = periods(from_on, until_on, by)
    parameters = {
        "journals": list(journals),
        "members": read_merged_members(cur, journals, member),
        "by": by,
        "from_on": starts[0],
        "until_on": min(next_period(starts[-1], by), today + timedelta(days=1)),
        "today": today,
    }
    tallies: dict[Key, Tally] = {}
    cur.execute(_MEMBER_ANSWERS, parameters)
    _add_answers(tallies, cur.fetchall())
    cur.execute(_MEMBER_SERVICE, parameters)
    _add_service(tallies, cur.fetchall(), "programme")
    cur.execute(_MEMBER_MEDIANS, parameters)
    for start, seconds in cur.fetchall():
        _of(tallies, start, "").resolution_median_seconds = float(seconds)
    return [entry_of((start, ""), tallies.get((start, "")) or Tally(), by, median=True) for start in starts]


_MEMBERS_IN_PERIOD: Final = (
    "journal = ANY (%(journals)s) AND member = ANY (%(members)s) AND {0} >= %(from_on)s AND {0} < %(until_on)s"
)

_MEMBER_ANSWERS: Final = f"""
SELECT {_PERIOD.format("day")}, '', instrument, lowest, highest, count(*), count(score),
    count(*) FILTER (WHERE instrument = 'NPS' AND score >= {PROMOTER_MIN}),
    count(*) FILTER (WHERE instrument = 'NPS' AND score <= {DETRACTOR_MAX}),
    count(*) FILTER (WHERE satisfied), count(*) FILTER (WHERE weighted), coalesce(sum(score), 0),
    coalesce(sum(score * score), 0)
FROM survey_answers WHERE {_MEMBERS_IN_PERIOD.format("day")}
GROUP BY 1, 3, 4, 5
"""

_MEMBER_SERVICE: Final = f"""
SELECT {_PERIOD.format("day")}, 'programme', '', 0, sum(opened)::bigint, sum(resolved)::bigint, sum(seconds),
    sum(due)::bigint, sum(in_time)::bigint, sum(late)::bigint
FROM (
    SELECT opened_day, 1, 0, 0, 0, 0, 0 FROM complaints WHERE {_MEMBERS_IN_PERIOD.format("opened_day")}
    UNION ALL
    SELECT resolved_day, 0, 1, extract(epoch FROM resolved_at - opened_at), 0, 0, 0
    FROM complaints WHERE {_MEMBERS_IN_PERIOD.format("resolved_day")}
    UNION ALL
    SELECT due_day, 0, 0, 0, 1, coalesce(completed_at <= due_at, false)::integer,
        coalesce(completed_at > due_at AND completed_day <= %(today)s, false)::integer
    FROM follow_ups WHERE {_MEMBERS_IN_PERIOD.format("due_day")} AND due_day < %(today)s
) happened (day, opened, resolved, seconds, due, in_time, late)
GROUP BY 1
"""

_MEMBER_MEDIANS: Final = f"""
SELECT {_PERIOD.format("resolved_day")},
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM resolved_at - opened_at)::double precision)
FROM complaints WHERE {_MEMBERS_IN_PERIOD.format("resolved_day")}
GROUP BY 1
"""
