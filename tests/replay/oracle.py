"""Points and satisfaction of a member the slow way: over all events that count, for each question anew.

Written from docs/rules.md, docs/satisfaction.md and what events say, apart from the core and the read models. Lifetime
figures have an oracle of their own in tests/lifetime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ledger.events import ComplaintOpened, ComplaintResolved, FollowUpCompleted, FollowUpScheduled, SurveyAnswered
from tests.lifetime.oracle import Person
from tests.satisfaction.oracle import is_satisfied, score_of

NEVER = None


class Points:
    """Layers by lot, availability and expiry; holds by their command; and totals."""

    def __init__(self, events: Sequence[Any]) -> None:
        self.layers: Counter[Any] = Counter()
        self.holds: dict[Any, Counter[Any]] = {}
        self.spent = self.expired = self.arrears = 0
        for event in events:
            getattr(self, "_" + type(event).__name__, lambda _: None)(event)
        assert min([*self.layers.values(), self.arrears]) >= 0

    def _put(self, parts: Sequence[Any]) -> None:
        for part in parts:
            self.layers[part.lot, part.available_at, part.expires_at] += part.points

    def _take(self, parts: Sequence[Any]) -> int:
        for part in parts:
            self.layers[part.lot, part.available_at, part.expires_at] -= part.points
        return sum(part.points for part in parts)

    def _PointsAccrued(self, event: Any) -> None:  # noqa: N802
        self.layers[event.lot, event.available_at, event.expires_at] += event.points - event.repaid
        self.arrears -= event.repaid

    def _PointsRedeemed(self, event: Any) -> None:  # noqa: N802
        self.spent += self._take(event.allocations)

    def _RedemptionReversed(self, event: Any) -> None:  # noqa: N802
        self._put(event.restored)
        self.spent -= event.points
        self.expired += sum(part.points for part in event.forfeited)

    def _PointsHeld(self, event: Any) -> None:  # noqa: N802
        self._take(event.allocations)
        self.holds[event.source, event.id] = Counter()
        for part in event.allocations:
            self.holds[event.source, event.id][part.expires_at] += part.points

    def _unhold(self, event: Any) -> None:
        for part in event.allocations:
            self.holds[event.hold_source, event.hold][part.expires_at] -= part.points

    def _HoldCaptured(self, event: Any) -> None:  # noqa: N802
        self._unhold(event)
        self.spent += event.points

    def _HoldReleased(self, event: Any) -> None:  # noqa: N802
        self._unhold(event)
        for part in event.allocations:
            self.layers[part.lot, max(part.available_at, event.occurred_at), part.expires_at] += part.points

    def _PointsExpired(self, event: Any) -> None:  # noqa: N802
        self.expired += self._take(event.allocations)

    def _PointsClawedBack(self, event: Any) -> None:  # noqa: N802
        self._take(event.allocations)
        self.arrears += event.arrears

    def _PointsAdjusted(self, event: Any) -> None:  # noqa: N802
        self._take(event.allocations)
        self.arrears -= event.repaid
        self._put([event.lot] if event.lot else [])

    def _PointsTransferredOut(self, event: Any) -> None:  # noqa: N802
        self._take(event.allocations)

    def _PointsTransferredIn(self, event: Any) -> None:  # noqa: N802
        self.arrears -= event.repaid
        self._put(event.lots)

    def _MemberClosed(self, event: Any) -> None:  # noqa: N802
        self._take(event.forfeited)
        self.arrears -= event.arrears_written_off

    _MemberErased = _MemberClosed

    def _MembersMerged(self, event: Any) -> None:  # noqa: N802
        if event.side == "in":
            self._put(event.lots)
            self.arrears += event.arrears
        else:
            self.layers.clear()
            self.arrears = 0

    def _MergeUndone(self, event: Any) -> None:  # noqa: N802
        if event.side == "in":
            self._put(event.lots)
            self.arrears += event.arrears
        else:
            self._take(event.lots)
            self.arrears -= event.arrears

    def tiers(self, at: datetime) -> dict[datetime | None, tuple[int, int, int]]:
        """Active, pending and held points by the instant of expiry; none that are 0."""
        found: dict[datetime | None, list[int]] = {}
        for (_, available_at, expires_at), points in self.layers.items():
            if expires_at is NEVER or expires_at > at:
                found.setdefault(expires_at, [0, 0, 0])[available_at > at] += points
        for hold in self.holds.values():
            for expires_at, points in hold.items():
                found.setdefault(expires_at, [0, 0, 0])[2] += points
        return {expires_at: (*points,) for expires_at, points in found.items() if any(points)}  # type: ignore[misc]

    def figures(self, at: datetime) -> dict[str, int]:
        active, pending, held = (sum(points) for points in zip((0, 0, 0), *self.tiers(at).values(), strict=True))
        overdue = sum(
            points for (_, _, expires_at), points in self.layers.items() if expires_at is not NEVER and expires_at <= at
        )
        return {
            "active": active,
            "pending": pending,
            "held": held,
            "expired": self.expired + overdue,
            "spent": self.spent,
            "arrears": self.arrears,
            "balance": active + pending + held,
        }


def satisfaction(events: Sequence[Any]) -> dict[str, int]:
    """Counts of answers by instrument and scale, and of complaints and follow-ups."""
    found: Counter[str] = Counter()
    for event in events:
        if isinstance(event, SurveyAnswered):
            start = f"{event.instrument.lower()}_{event.scale[0]}_to_{event.scale[1]}_"
            score = score_of(event)
            found[start + "answers"] += 1
            if score is not None:
                found[start + "scored"] += 1
                found[start + "promoters"] += event.instrument == "NPS" and score >= 9
                found[start + "detractors"] += event.instrument == "NPS" and score <= 6
                found[start + "satisfied"] += bool(is_satisfied(event))
                found[start + "weighted"] += event.instrument == "ACSI" and bool(event.weights)
                found[start + "score_millionths"] += int(score * 1_000_000)
        elif isinstance(event, ComplaintOpened):
            found["complaints"] += 1
        elif isinstance(event, ComplaintResolved):
            found["resolved"] += 1
            found["resolution_microseconds"] += (event.occurred_at - event.opened_at) // timedelta(microseconds=1)
        elif isinstance(event, FollowUpScheduled):
            found["follow_ups"] += 1
        elif isinstance(event, FollowUpCompleted):
            found["follow_ups_in_time"] += event.occurred_at <= event.due_at
            found["follow_ups_late"] += event.occurred_at > event.due_at
    return dict(found)


def trade(member: str, events: Sequence[Any]) -> dict[str, int]:
    """Sums over the purchases, returns and costs of one record."""
    record = Person(member, [member], list(events), "UTC")
    return {
        "purchases": len(record.purchases),
        "purchased_minor": record.purchased,
        "returns": len(record.returns),
        "returned_minor": record.returned,
        "uncosted_lines": record.uncosted,
        "points_earned": record.earned,
    }


def status(events: Sequence[Any]) -> str:
    """What the newest event that changes it says."""
    found = "unknown"
    for event in events:
        kind, side = type(event).__name__, getattr(event, "side", "")
        found = {
            "MemberEnrolled": "open",
            "MemberClosed": "closed",
            "MemberErased": "erased",
            "MembersMergedout": "merged",
            "MergeUndonein": "open",
        }.get(kind + side, found)
    return found


def figures(member: str, events: Sequence[Any], at: datetime) -> dict[str, int]:
    """What `MemberFold.figures` must say of a member, apart from units and costs of goods."""
    if not events:
        return {}
    points = Points(events).figures(at)
    found = points | trade(member, events) | satisfaction(events) | {"members_" + status(events): 1}
    found["points_redeemed"] = points["spent"]
    return {name: value for name, value in found.items() if value}
