"""Restatement: how figures as of one instant changed between two times of knowing, event by event.

An event counts if it was recorded after the first time and by the second, and had occurred by the instant. The events
of each member are folded on from what was known first, and the effect of one is what it changes in the member's
figures: so the effects of all come to the difference, figure by figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger.codec import MEMBER_STREAM, home_journal
from ledger.store.database import PgCursor
from ledger.store.journal import LightRow, read_streams
from projections.member_fold import MemberFold, add_figures, known_event
from projections.replay import streams
from projections.trading import time_zone_of

CORRECTIONS: Final = frozenset(
    {
        "purchase-returned.v1",
        "redemption-reversed.v1",
        "points-clawed-back.v1",
        "points-adjusted.v1",
        "merge-undone.v1",
    }
)
"""Events that take back or put right what an earlier one recorded."""


class Effect(Struct, frozen=True, kw_only=True):
    """What one event changed in the figures as of the instant, by their names; nothing where it changed none.

    `late`: it had occurred when the figures were known first, but was not recorded. `correction`: it takes back or puts
    right an earlier one.
    """

    journal: int
    position: int
    member: str
    topic: str
    occurred_at: datetime
    recorded_at: datetime
    late: bool
    correction: bool
    changes: dict[str, int]


def restate(
    cur: PgCursor,
    journals: Sequence[int],
    member: str | None,
    as_of: datetime,
    known_at: datetime,
    known_again_at: datetime,
) -> Iterator[Effect]:
    """The effects of what was recorded after `known_at` and by `known_again_at`, of a member or (None) of all.

    Member by member, the events of each in the order of recording; few are in memory. `cur` is in a transaction.
    Raises ValueError where the second time is before the first.
    """
    if known_again_at < known_at:
        raise ValueError(f"and: must not be before known-at, {known_at:%Y-%m-%dT%H:%M:%SZ}")
    time_zone = time_zone_of(cur, journals[0])
    if member is not None:
        journal = home_journal(journals, member)
        rows = [row for row in read_streams(cur, journal, [(MEMBER_STREAM + member, 0)]) if row[5] <= known_again_at]
        yield from _effects(MemberFold(journal, member, time_zone), journal, rows, as_of, known_at)
        return
    for journal in journals:
        for stream, rows_of_member in streams(cur, journal, known_again_at, changed_after=known_at):
            fold = MemberFold(journal, stream.removeprefix(MEMBER_STREAM), time_zone)
            yield from _effects(fold, journal, rows_of_member, as_of, known_at)


def _effects(
    fold: MemberFold, journal: int, rows: Iterable[LightRow], as_of: datetime, known_at: datetime
) -> Iterator[Effect]:
    before: dict[str, int] | None = None
    known_first = []
    for row in rows:
        known = known_event(row, as_of)
        if known is None:
            continue
        recorded_at = row[5]
        if recorded_at <= known_at:
            known_first.append(known)
            continue
        if before is None:
            fold.fold(known_first)
            before = fold.figures(as_of)
        fold.fold([known])
        after = fold.figures(as_of)
        yield Effect(
            journal=journal,
            position=known.row.position,
            member=fold.member,
            topic=known.row.topic,
            occurred_at=known.event.occurred_at,
            recorded_at=recorded_at,
            late=known.event.occurred_at <= known_at,
            correction=known.row.topic in CORRECTIONS,
            changes=difference(before, after),
        )
        before = after


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """By how much each figure is more in the second; none that is the same."""
    found = dict(after)
    add_figures(found, before.items(), -1)
    return found
