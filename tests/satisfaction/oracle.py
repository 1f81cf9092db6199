"""Satisfaction figures the slow way: over all events, for one period and one group at a time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from ledger.events import (
    ComplaintOpened,
    ComplaintResolved,
    FollowUpCompleted,
    FollowUpScheduled,
    MemberClosed,
    MemberErased,
    MembersMerged,
    MergeUndone,
    PurchaseRecorded,
    SurveyAnswered,
)
from tests.satisfaction.histories import ZONE


def day_of(at: datetime) -> date:
    return at.astimezone(ZoneInfo(ZONE)).date()


def score_of(event: SurveyAnswered) -> Fraction | None:
    """The score to six decimals."""
    numbers = {name: Fraction(str(given)) for name, given in event.answers.items() if not isinstance(given, str)}
    lowest, highest = event.scale
    if not numbers:
        return None
    if event.instrument == "NPS":
        return next(iter(numbers.values())) if len(numbers) == 1 and event.scale == (0, 10) else None
    if event.instrument == "ACSI":
        weights = {name: event.weights.get(name, 0) if event.weights else 1 for name in numbers}
        if sum(weights.values()) == 0:
            return None
        mean = sum(weights[name] * number for name, number in numbers.items()) / sum(weights.values())
        return round(100 * (mean - lowest) / (highest - lowest), 6)
    return round(sum(numbers.values()) / len(numbers), 6)


def is_satisfied(event: SurveyAnswered) -> bool | None:
    score = score_of(event)
    if score is None:
        return None
    lowest, highest = event.scale
    return {
        "NPS": score >= 9,
        "CSAT": score >= highest - 1,
        "CES": 3 * (score - lowest) >= 2 * (highest - lowest),
        "ACSI": 3 * score >= 200,
    }[event.instrument]


class Service:
    """Complaints and follow-ups of a history, each opening beside its end."""

    def __init__(self, events: Sequence[Any]) -> None:
        self.complaints: list[tuple[ComplaintOpened, ComplaintResolved | None]] = []
        self.follow_ups: list[tuple[FollowUpScheduled, FollowUpCompleted | None]] = []
        for event in events:
            if isinstance(event, ComplaintOpened):
                self.complaints.append((event, None))
            elif isinstance(event, FollowUpScheduled):
                self.follow_ups.append((event, None))
            elif isinstance(event, ComplaintResolved):
                self._end(self.complaints, event, event.complaint)
            elif isinstance(event, FollowUpCompleted):
                self._end(self.follow_ups, event, event.follow_up)

    @staticmethod
    def _end(pairs: list[Any], end: Any, id: str) -> None:
        newest = max(number for number, (begun, _) in enumerate(pairs) if (begun.member, begun.id) == (end.member, id))
        assert pairs[newest][1] is None
        pairs[newest] = (pairs[newest][0], end)


def figures(
    events: Sequence[Any], from_on: date, until_on: date, today: date, per: str = "programme", value: str = ""
) -> dict[str, Any]:
    """Counts, and value, number and standard error of figures, of the days from `from_on` until before `until_on`."""
    service = Service(events)

    def here(event: Any) -> bool:
        return per == "programme" or getattr(event, per, "") == value

    def inside(at: datetime, last: date = today) -> bool:
        return from_on <= day_of(at) < until_on and day_of(at) <= last

    answers = [event for event in events if isinstance(event, SurveyAnswered) and here(event)]
    answers = [event for event in answers if inside(event.occurred_at)]
    scores: dict[str, list[Any]] = {"NPS": [], "CSAT": [], "CES": [], "ACSI": []}
    for event in answers:
        score = score_of(event)
        if score is not None:
            if event.instrument == "CES":
                lowest, highest = event.scale
                score = 1 + (score - lowest) * 6 / (highest - lowest)
            scores[event.instrument].append(is_satisfied(event) if event.instrument == "CSAT" else score)
    groups = [100 if score >= 9 else -100 if score <= 6 else 0 for score in scores["NPS"]]
    shares = [100 if happy else 0 for happy in scores["CSAT"]]
    purchases = [event for event in events if isinstance(event, PurchaseRecorded) and inside(event.occurred_at)]
    if per != "touchpoint":
        purchases = [event for event in purchases if here(event)]
    opened = [begun for begun, _ in service.complaints if here(begun) and inside(begun.occurred_at)]
    took = [
        (end.occurred_at - begun.occurred_at).total_seconds()
        for begun, end in service.complaints
        if here(begun) and end is not None and inside(end.occurred_at)
    ]
    due = [
        (begun, end)
        for begun, end in service.follow_ups
        if (here(begun) or (per == "store" and not value)) and inside(begun.due_at, today - timedelta(days=1))
    ]
    in_time = [end for begun, end in due if end is not None and end.occurred_at <= begun.due_at]
    late = [
        end
        for begun, end in due
        if end is not None and end.occurred_at > begun.due_at and day_of(end.occurred_at) <= today
    ]
    return {
        "responses": len(answers),
        "purchases": len(purchases),
        "complaints": len(opened),
        "resolved": len(took),
        "follow_ups": len(due),
        "nps": (mean(groups), len(groups), statistics.pstdev(groups) / math.sqrt(len(groups)) if groups else None),
        "csat": (mean(shares), len(shares), statistics.pstdev(shares) / math.sqrt(len(shares)) if shares else None),
        "ces": (mean(scores["CES"]), len(scores["CES"]), sample_error(scores["CES"])),
        "acsi": (mean(scores["ACSI"]), len(scores["ACSI"]), sample_error(scores["ACSI"])),
        "complaint_rate": (100_000 * len(opened) / len(purchases) if purchases else None, len(purchases), None),
        "resolution_time": (mean(took), len(took), None),
        "resolution_time_median": (statistics.median(took) if took else None, len(took), None),
        "follow_up_rate": (100 * len(in_time) / len(due) if due else None, len(due), None),
        "late_rate": (100 * len(late) / len(due) if due else None, len(due), None),
    }


def mean(values: Sequence[Any]) -> float | None:
    return float(sum(values) / len(values)) if values else None


def sample_error(values: Sequence[Fraction]) -> float | None:
    if len(values) < 2:
        return None
    return statistics.stdev(float(value) for value in values) / math.sqrt(len(values))


def merged_into(events: Sequence[Any]) -> dict[str, str]:
    """Of each member that is merged: into whom."""
    into: dict[str, str] = {}
    for event in events:
        if isinstance(event, MembersMerged) and event.side == "out":
            into[event.member] = event.other
        elif isinstance(event, MergeUndone) and event.side == "in":
            del into[event.member]
    return into


def survivor(into: dict[str, str], member: str) -> str:
    while member in into:
        member = into[member]
    return member


def stands_for(into: dict[str, str], member: str) -> set[str]:
    """A member and who ended in it, at whatever remove."""
    found = {member}
    while more := {one for one, other in into.items() if other in found} - found:
        found |= more
    return found


def latest(events: Sequence[Any], member: str, as_of: datetime) -> dict[str, SurveyAnswered]:
    """The newest answer by instrument of a member and whom it stands for."""
    members = stands_for(merged_into(events), member)
    found: dict[str, SurveyAnswered] = {}
    for event in events:
        if isinstance(event, SurveyAnswered) and event.member in members and event.occurred_at <= as_of:
            known = found.get(event.instrument)
            newer = known is None or event.occurred_at >= known.occurred_at
            if newer and score_of(event) is not None:
                found[event.instrument] = event
    return found


def satisfied_leavers(events: Sequence[Any], members: Sequence[str], now: datetime, days: int | None) -> dict[str, str]:
    """How each satisfied member left that has."""
    into = merged_into(events)
    found = {}
    for member in members:
        if member in into:
            continue
        answers = latest(events, member, now).values()
        last = max(answers, key=lambda event: event.occurred_at, default=None)
        if last is None or not is_satisfied(last):
            continue
        ends = [event for event in events if isinstance(event, MemberClosed | MemberErased) and event.member == member]
        bought = [
            event.occurred_at
            for event in events
            if isinstance(event, PurchaseRecorded) and event.member in stands_for(into, member)
        ]
        if ends:
            found[member] = "erased" if isinstance(ends[-1], MemberErased) else "closed"
        elif days is not None and bought and (day_of(now) - day_of(max(bought))).days > days:
            found[member] = "inactive"
    return found
