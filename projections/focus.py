"""Focus audit: how the organisation, its communications and its information score in audits; and for information, how
complete and how current the data of members are in this ledger.

A score is on 0 to 100: the mean over the items of the distance of their score from the lowest of the scale, in percent
of the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.calendar_periods import day_at, start_of
from projections.steering_rows import FocusAssessment, FocusItemScore, read_rows

CURRENT_FOR_DAYS: Final = 365
_TENTH = Decimal("0.1")


class ScoredItem(Struct, frozen=True, kw_only=True):
    """An item of an audit: its score on the scale of the audit and on 0 to 100, and what was seen."""

    item: str
    score: Decimal
    index: Decimal
    evidence: str


class FocusAudit(Struct, frozen=True, kw_only=True):
    """An audit of a factor, of the programme (`segment` empty) or of a segment. `index` is on 0 to 100."""

    factor: str
    segment: str
    assessed_at: datetime
    assessed_on: date
    assessor: str
    lowest: Decimal
    highest: Decimal
    index: Decimal
    items: list[ScoredItem]


class AttributeCoverage(Struct, frozen=True, kw_only=True):
    """Of how many open members an attribute is known."""

    attribute: str
    members: int
    percent: Decimal


class MemberDataQuality(Struct, frozen=True, kw_only=True):
    """How complete and how current the data of open members are, as far as the ledger can tell.

    Personal data are sealed: that there are some is known, what they are is not. Data are current where personal data
    or attributes were given or changed within `current_for_days` days. Percents are None where nobody is a member.
    """

    open_members: int
    with_personal_percent: Decimal | None
    with_attributes_percent: Decimal | None
    current_percent: Decimal | None
    current_for_days: int
    median_age_days: int | None
    """Of the newest change of those that have any data."""
    attributes: list[AttributeCoverage]


def read_audits(cur: PgCursor, journal: int, time_zone: str, as_of: date) -> list[FocusAudit]:
    """All audits up to the end of a day, by factor and segment, the newest first: two queries.

    `journal` is the programme's first.
    """
    before = start_of(as_of + timedelta(days=1), time_zone)
    items: dict[int, list[FocusItemScore]] = {}
    for item in read_rows(cur, FocusItemScore, journal):
        items.setdefault(item.position, []).append(item)
    audits = [
        _audit(row, items[row.position], time_zone)
        for row in read_rows(cur, FocusAssessment, journal, "occurred_at < %s", before)
    ]
    newest_first = sorted(audits, key=lambda audit: audit.assessed_at, reverse=True)
    return sorted(newest_first, key=lambda audit: (audit.factor, audit.segment))


def _audit(row: FocusAssessment, items: Sequence[FocusItemScore], time_zone: str) -> FocusAudit:
    width = row.highest - row.lowest
    scored = [
        ScoredItem(
            item=item.item,
            score=item.score,
            index=(100 * (item.score - row.lowest) / width).quantize(_TENTH),
            evidence=item.evidence,
        )
        for item in items
    ]
    total = sum((item.score - row.lowest for item in items), Decimal(0))
    return FocusAudit(
        factor=row.factor,
        segment=row.segment,
        assessed_at=row.occurred_at,
        assessed_on=day_at(row.occurred_at, time_zone),
        assessor=row.assessor,
        lowest=row.lowest,
        highest=row.highest,
        index=(100 * total / (len(items) * width)).quantize(_TENTH),
        items=scored,
    )


def read_member_data_quality(cur: PgCursor, journals: Sequence[int], at: datetime) -> MemberDataQuality:
    """How complete and current the data of members are; their age is that at an instant: two queries."""
    journals = list(journals)
    cur.execute(_QUALITY, {"journals": journals, "at": at, "since": at - timedelta(days=CURRENT_FOR_DAYS)})
    members, personal, attributed, current, median_age_days = cur.fetchone() or (0, 0, 0, 0, None)
    cur.execute(_COVERAGE, {"journals": journals})
    return MemberDataQuality(
        open_members=members,
        with_personal_percent=_percent(personal, members),
        with_attributes_percent=_percent(attributed, members),
        current_percent=_percent(current, members),
        current_for_days=CURRENT_FOR_DAYS,
        median_age_days=None if median_age_days is None else int(median_age_days),
        attributes=[
            AttributeCoverage(attribute=attribute, members=known, percent=_percent(known, members) or Decimal(0))
            for attribute, known in cur.fetchall()
        ],
    )


def _percent(part: int, whole: int) -> Decimal | None:
    return (Decimal(100 * part) / whole).quantize(_TENTH) if whole else None


_QUALITY: Final = """
SELECT count(*), count(personal_at), count(*) FILTER (WHERE held), count(*) FILTER (WHERE changed_at >= %(since)s),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY floor(extract(epoch FROM %(at)s - changed_at) / 86400))
        FILTER (WHERE changed_at <= %(at)s)
FROM (
    SELECT personal_at, greatest(personal_at, attributes_at) AS changed_at, EXISTS (
        SELECT FROM member_attributes known WHERE known.journal = profile.journal AND known.member = profile.member
    ) AS held
    FROM member_profiles profile WHERE journal = ANY (%(journals)s) AND status = 'open'
) members
"""
_COVERAGE: Final = """
SELECT attribute, count(*) FROM member_attributes JOIN member_profiles USING (journal, member)
WHERE journal = ANY (%(journals)s) AND status = 'open' GROUP BY attribute ORDER BY count(*) DESC, attribute
"""
