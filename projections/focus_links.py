"""Whether focus leads to value: focus → satisfaction → behaviour → value, each some quarters after the one before, in
the segments that were audited.

The statistics are those of `projections.links`, with sample size, confidence interval and warnings. Few programmes are
audited often enough to show a link: then that is what the answer says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from ledger.store.database import PgCursor
from projections.calendar_periods import Days, periods_between
from projections.focus import FocusAudit
from projections.links import Link, chain
from projections.persons import MERGED_MEMBERS

PERIOD: Final = "quarter"
LAG_PERIODS: Final = 1
PERIODS_MAX: Final = 80
STEPS: Final = {
    "focus": "mean index of the audits of the quarter, of whatever factor",
    "satisfaction": "mean ACSI index of the answers of the quarter",
    "behaviour": "purchases by buyer in the quarter",
    "value": "revenue net of returns by buyer in the quarter, in minor units",
}
"""The steps of the chain, and what each is measured by."""

_Series = dict[str, dict[str, list[float | None]]]


def read_focus_links(
    cur: PgCursor, journals: Sequence[int], audits: Sequence[FocusAudit], as_of: date, lag: int = LAG_PERIODS
) -> list[Link]:
    """The links of every audited segment (the programme is the segment ""), over the whole quarters up to the end of a
    day, from that of the first audit on, at most 80: two queries. Without a whole quarter there are none.
    """
    if not audits:
        return []
    first = min(audit.assessed_on for audit in audits)
    quarters = list(periods_between(first, as_of + timedelta(days=1), PERIOD))[-PERIODS_MAX:]
    if not quarters:
        return []
    segments = sorted({audit.segment for audit in audits})
    series: _Series = {segment: {step: [None] * len(quarters) for step in STEPS} for segment in segments}
    _add_focus(series, audits, quarters)
    split = [segment.partition("=") for segment in segments]
    parameters = {
        "journals": list(journals),
        "from_on": [quarter.from_on for quarter in quarters],
        "until_on": [quarter.until_on for quarter in quarters],
        "segments": segments,
        "attributes": [attribute for attribute, _, _ in split],
        "values": [value for _, _, value in split],
    }
    cur.execute(_SATISFACTION, parameters)
    for segment, number, mean in cur.fetchall():
        series[segment]["satisfaction"][number - 1] = float(mean)
    cur.execute(_TRADE, parameters)
    for segment, number, purchases, revenue in cur.fetchall():
        series[segment]["behaviour"][number - 1] = float(purchases)
        series[segment]["value"][number - 1] = float(revenue)
    return chain(series, lag)


def _add_focus(series: _Series, audits: Sequence[FocusAudit], quarters: Sequence[Days]) -> None:
    for index, quarter in enumerate(quarters):
        for segment, steps in series.items():
            found = [
                audit.index
                for audit in audits
                if audit.segment == segment and quarter.from_on <= audit.assessed_on < quarter.until_on
            ]
            if found:
                steps["focus"][index] = float(sum(found) / len(found))


_QUARTERS: Final = (
    "unnest(%(from_on)s::date[], %(until_on)s::date[]) WITH ORDINALITY AS quarter (from_on, until_on, number)"
)
_SEGMENTS: Final = """
    unnest(%(segments)s::text[], %(attributes)s::text[], %(values)s::text[]) AS segments (segment, attribute, value)
    ON segment = '' OR EXISTS (
        SELECT FROM member_attributes held WHERE held.journal = ANY (%(journals)s)
        AND held.attribute = segments.attribute AND held.value = segments.value AND held.member = persons_of.member
    )
"""

_SATISFACTION: Final = f"""
WITH RECURSIVE {MERGED_MEMBERS}, persons_of AS (
    SELECT number, coalesce(person, member) AS member, sum(score) AS score, count(*) AS answers
    FROM {_QUARTERS} JOIN survey_answers ON journal = ANY (%(journals)s) AND day >= from_on AND day < until_on
        AND instrument = 'ACSI' AND score IS NOT NULL
    LEFT JOIN merged USING (journal, member)
    GROUP BY 1, 2
)
SELECT segment, number, sum(score) / sum(answers) FROM persons_of JOIN {_SEGMENTS} GROUP BY segment, number
"""
_TRADE: Final = f"""
WITH RECURSIVE {MERGED_MEMBERS}, persons_of AS (
    SELECT number, coalesce(person, member) AS member, sum(purchases) AS purchases,
        sum(revenue_minor - returned_minor) AS revenue
    FROM {_QUARTERS} JOIN trade_days ON journal = ANY (%(journals)s) AND day >= from_on AND day < until_on
    LEFT JOIN merged USING (journal, member)
    GROUP BY 1, 2 HAVING sum(purchases) > 0
)
SELECT segment, number, avg(purchases), avg(revenue) FROM persons_of JOIN {_SEGMENTS} GROUP BY segment, number
"""
