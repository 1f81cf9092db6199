"""Satisfaction of members: their latest answers, and satisfied members who left.

A member stands for all that were merged into it, and into them: what they answered counts as its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.trading import time_zone_of


class LatestAnswer(Struct, frozen=True, kw_only=True):
    """The newest answer to an instrument that has a score, by business time; `member` is who gave it.

    `score` is on the scale from `lowest` to `highest`, of ACSI an index from 0 to 100.
    """

    member: str
    instrument: str
    score: Decimal
    satisfied: bool
    lowest: int
    highest: int
    occurred_at: datetime


class Leaver(Struct, frozen=True, kw_only=True):
    """A member whose last answer said that it was satisfied, and who left: `how` is closed, erased or inactive.

    One that is inactive left on the first day on which it was: at its start, in the time zone of the programme.
    """

    member: str
    how: str
    left_at: datetime
    last_purchase_at: datetime | None
    instrument: str
    score: Decimal
    answered_at: datetime


def read_merged_members(cur: PgCursor, journals: Sequence[int], member: str) -> list[str]:
    """A member and all that are merged into it, directly or through others."""
    cur.execute(
        'WITH RECURSIVE merged (member) AS (SELECT %s COLLATE "C" UNION'
        " SELECT found.member FROM merged JOIN satisfaction_members found"
        " ON journal = ANY (%s) AND merged_into = merged.member) SELECT member FROM merged",
        (member, list(journals)),
    )
    return [name for (name,) in cur.fetchall()]


def read_latest_answers(
    cur: PgCursor, journals: Sequence[int], member: str, as_of: datetime | None = None
) -> list[LatestAnswer]:
    """The latest answer of a member to each instrument, in the order of their names; with `as_of`, the latest by then.

    Who is merged is as it is now.
    """
    members = read_merged_members(cur, journals, member)
    table = "latest_answers" if as_of is None else "survey_answers"
    cur.execute(
        "SELECT DISTINCT ON (instrument) member, instrument, score, satisfied, lowest, highest, occurred_at"
        f" FROM {table} WHERE journal = ANY (%s) AND member = ANY (%s) AND score IS NOT NULL AND occurred_at <= %s"
        " ORDER BY instrument, occurred_at DESC, member, position DESC",
        (list(journals), members, as_of or FAR),
    )
    return [_latest_answer(*row) for row in cur.fetchall()]


def _latest_answer(
    member: str, instrument: str, score: Decimal, satisfied: bool, lowest: Decimal, highest: Decimal, at: datetime
) -> LatestAnswer:
    return LatestAnswer(
        member=member,
        instrument=instrument,
        score=score,
        satisfied=satisfied,
        lowest=int(lowest),
        highest=int(highest),
        occurred_at=at,
    )


def read_satisfied_leavers(
    cur: PgCursor,
    journals: Sequence[int],
    *,
    now: datetime,
    inactive_after_days: int | None = None,
    after: str = "",
    limit: int = 1_000,
) -> list[Leaver]:
    """Members whose last answer, to whatever instrument, was a satisfied one, and who have left: closed, erased, or
    (with `inactive_after_days`) inactive as in the lifetime figures: the last purchase is more days ago than that, by
    days of the programme. At most `limit`, by name, beyond `after`.

    A member that never bought anything cannot become inactive.
    """
    zone = ZoneInfo(time_zone_of(cur, journals[0]))
    inactive = None if inactive_after_days is None else timedelta(days=inactive_after_days)
    bought_before = None if inactive is None else _start_of(now.astimezone(zone).date() - inactive, zone)
    cur.execute(_LEAVERS, {"journals": list(journals), "bought_before": bought_before, "after": after, "limit": limit})

    def left_at(ended_at: datetime | None, last_purchase_at: datetime) -> datetime:
        if ended_at is not None:
            return ended_at
        assert inactive is not None  # the others are inactive
        return _start_of(last_purchase_at.astimezone(zone).date() + inactive + timedelta(days=1), zone)

    return [
        Leaver(
            member=member,
            how=how,
            left_at=left_at(ended_at, last_purchase_at),
            last_purchase_at=last_purchase_at,
            instrument=instrument,
            score=score,
            answered_at=answered_at,
        )
        for member, how, ended_at, last_purchase_at, instrument, score, answered_at in cur.fetchall()
    ]


def _start_of(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)


# Few are merged: only their chains are walked, to the member that has not ended in another.
_LEAVERS: Final = """
WITH RECURSIVE chain (member, survivor) AS (
    SELECT member, merged_into FROM satisfaction_members WHERE journal = ANY (%(journals)s) AND merged_into IS NOT NULL
    UNION  -- not ALL: journals at different positions may show merges that go round in a circle for a moment
    SELECT chain.member, further.merged_into FROM chain JOIN satisfaction_members further
    ON journal = ANY (%(journals)s) AND further.member = survivor AND further.merged_into IS NOT NULL
), merged AS (
    SELECT member, survivor FROM chain
    WHERE NOT EXISTS (SELECT FROM chain further WHERE further.member = chain.survivor)
), bought AS (
    SELECT survivor AS member, max(last_purchase_at) AS last_purchase_at
    FROM merged JOIN satisfaction_members USING (member) WHERE journal = ANY (%(journals)s) GROUP BY survivor
), last AS (
    SELECT DISTINCT ON (coalesce(survivor, answer.member)) coalesce(survivor, answer.member) AS member, instrument,
        score, satisfied, occurred_at
    FROM latest_answers answer LEFT JOIN merged USING (member) WHERE journal = ANY (%(journals)s)
    ORDER BY coalesce(survivor, answer.member), occurred_at DESC, answer.member, position DESC
), members AS (
    SELECT found.member, status, ended_at, greatest(found.last_purchase_at, bought.last_purchase_at) AS last_purchase_at
    FROM satisfaction_members found LEFT JOIN bought USING (member)
    WHERE journal = ANY (%(journals)s) AND merged_into IS NULL
)
SELECT member, CASE status WHEN 'open' THEN 'inactive' ELSE status END,
    CASE WHEN status <> 'open' THEN ended_at END, last_purchase_at, instrument, score, occurred_at
FROM members JOIN last USING (member)
WHERE satisfied AND member > %(after)s
    AND (status IN ('closed', 'erased') OR status = 'open' AND last_purchase_at < %(bought_before)s)
ORDER BY member LIMIT %(limit)s
"""
