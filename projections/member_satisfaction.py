"""Satisfaction of one member: its latest answers, its complaints, and what it was promised. Of now from the read model,
of the past from the log itself, by the same fold.

A member stands for all that were merged into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.copying import NULL
from projections.member_streams import read_family
from projections.satisfaction import Changes, Satisfaction
from projections.satisfaction_members import LatestAnswer, read_latest_answers, read_merged_members


class OpenComplaint(Struct, frozen=True, kw_only=True):
    """A complaint that is not resolved; `member` is whose it was."""

    member: str
    complaint: str
    category: str
    opened_at: datetime


class OpenFollowUp(Struct, frozen=True, kw_only=True):
    """A follow-up that was promised and is not completed; overdue where it was due before the instant asked for."""

    member: str
    follow_up: str
    reason: str
    due_at: datetime
    overdue: bool


class MemberSatisfaction(Struct, frozen=True, kw_only=True):
    """What a member answered and complained of, and what was promised to it. Open ones are listed, the oldest first."""

    latest_answers: list[LatestAnswer]
    complaints: int
    open_complaints: list[OpenComplaint]
    follow_ups: int
    follow_ups_in_time: int
    follow_ups_late: int
    open_follow_ups: list[OpenFollowUp]


class _Complaint(NamedTuple):
    opened_at: datetime
    member: str
    complaint: str
    category: str
    resolved_at: datetime | None


class _FollowUp(NamedTuple):
    due_at: datetime
    member: str
    follow_up: str
    reason: str
    completed_at: datetime | None


def read_member_satisfaction(cur: PgCursor, journals: Sequence[int], member: str, at: datetime) -> MemberSatisfaction:
    """By all that the projection has folded in, judged at an instant. `journals` are those of the programme."""
    members = read_merged_members(cur, journals, member)
    cur.execute(
        "SELECT opened_at, member, complaint, category, resolved_at FROM complaints"
        " WHERE journal = ANY (%s) AND member = ANY (%s)",
        (list(journals), members),
    )
    complaints = [_Complaint(*row) for row in cur.fetchall()]
    cur.execute(
        "SELECT due_at, member, follow_up, reason, completed_at FROM follow_ups"
        " WHERE journal = ANY (%s) AND member = ANY (%s)",
        (list(journals), members),
    )
    follow_ups = [_FollowUp(*row) for row in cur.fetchall()]
    return _satisfaction(read_latest_answers(cur, journals, member), complaints, follow_ups, at)


def satisfaction_as_of(
    cur: PgCursor, journals: Sequence[int], journal: int, member: str, as_of: datetime, as_known_at: datetime
) -> MemberSatisfaction:
    """By the events that had occurred by `as_of` and were recorded by `as_known_at`, folded from the streams of the
    member, whose journal is `journal`, and of those that had been merged into it by then.
    """
    streams = read_family(cur, journals, journal, member, as_of, as_known_at)
    batch = Batch(journal, 0, [row for rows in streams.values() for row in rows])
    fold, memory = Satisfaction(), dict[str, Any]()
    fold.load(cur, batch, memory)
    changes = fold.apply(batch, memory)
    resolved = {(name, id, position): _instant(at) for name, id, position, at, *_ in changes.resolutions}
    completed = {(name, id, position): _instant(at) for name, id, position, at, *_ in changes.completions}

    def by_then(at: datetime | None) -> datetime | None:
        return None if at is None or at > as_of else at

    complaints = [
        _Complaint(_instant(opened_at), name, id, category, by_then(resolved.get((name, id, position))))
        for name, id, position, _, category, _, _, _, _, opened_at, _ in changes.complaints
        if _instant(opened_at) <= as_of
    ]
    follow_ups = [
        _FollowUp(_instant(due_at), name, id, reason, by_then(completed.get((name, id, position))))
        for name, id, position, _, reason, _, _, promised_at, due_at, _ in changes.follow_ups
        if _instant(promised_at) <= as_of
    ]
    return _satisfaction(_latest(changes, as_of), complaints, follow_ups, as_of)


def _latest(changes: Changes, as_of: datetime) -> list[LatestAnswer]:
    """The newest answer to each instrument; at one instant, that of the first member by name, its last recorded."""
    latest: dict[str, LatestAnswer] = {}
    for member, _, _, at, instrument, _, score, happy, _, lowest, highest, *_ in sorted(changes.answers, key=_order):
        answered_at, known = _instant(at), latest.get(instrument)
        if score is not NULL and answered_at <= as_of and (known is None or known.occurred_at < answered_at):
            latest[instrument] = LatestAnswer(
                member=member,
                instrument=instrument,
                score=Decimal(score),
                satisfied=happy,
                lowest=lowest,
                highest=highest,
                occurred_at=answered_at,
            )
    return [latest[instrument] for instrument in sorted(latest)]


def _order(answer: tuple[Any, ...]) -> tuple[str, int]:
    return answer[0], -answer[1]


def _satisfaction(
    answers: list[LatestAnswer], complaints: Iterable[_Complaint], follow_ups: Iterable[_FollowUp], at: datetime
) -> MemberSatisfaction:
    complaints, follow_ups = sorted(complaints, key=_age), sorted(follow_ups, key=_age)
    kept = [found for found in follow_ups if found.completed_at is not None]
    in_time = sum(found.completed_at <= found.due_at for found in kept if found.completed_at is not None)
    return MemberSatisfaction(
        latest_answers=answers,
        complaints=len(complaints),
        open_complaints=[
            OpenComplaint(
                member=found.member, complaint=found.complaint, category=found.category, opened_at=found.opened_at
            )
            for found in complaints
            if found.resolved_at is None
        ],
        follow_ups=len(follow_ups),
        follow_ups_in_time=in_time,
        follow_ups_late=len(kept) - in_time,
        open_follow_ups=[
            OpenFollowUp(
                member=found.member,
                follow_up=found.follow_up,
                reason=found.reason,
                due_at=found.due_at,
                overdue=found.due_at < at,
            )
            for found in follow_ups
            if found.completed_at is None
        ],
    )


def _age(found: _Complaint | _FollowUp) -> tuple[datetime, str, str]:
    return found[:3]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
