"""What one member's stream comes to: points by the core's fold, trade and satisfaction by those of the read models.

Events are folded in the order of recording, all at once or one by one, with the same result. The figures are integers
that add up: over members to those of the programme, and event by event to a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

from msgspec import Struct

from ledger.codec import MEMBER_STREAM, decode_member_event
from ledger.events import AnyMemberEvent
from ledger.evolver import evolve
from ledger.figures import figures
from ledger.member import initial
from ledger.store.journal import LightRow
from ledger.upcasters import upcast_event
from ledger.values import FAR
from projections.batch import Batch, Row
from projections.lifetime import fold_lifetimes
from projections.lifetime_figures import DAY_SUMS, Figures, new_figures
from projections.satisfaction import Place, Satisfaction
from projections.trading import business_day

_POINTS: Final = ("active", "pending", "held", "expired", "spent", "arrears", "balance")
_ANSWERS: Final = (
    "answers",
    "scored",
    "promoters",
    "detractors",
    "satisfied",
    "weighted",
    "score_millionths",
)
_SERVICE: Final = (
    "complaints",
    "resolved",
    "resolution_microseconds",
    "follow_ups",
    "follow_ups_in_time",
    "follow_ups_late",
)
_TRADE: Final = tuple(
    {"units": "purchased_units", "revenue_minor": "purchased_minor"}.get(name, name) for name in DAY_SUMS
)
"""Before returns, which have sums of their own; `MemberLifetime.revenue_minor` and `units` are net of them."""
_FROM_COMPLAINTS_ON: Final = slice(1, None)
"""Of the sums of a service day: before them are the purchases, which trade counts."""

_satisfaction = Satisfaction()


class KnownEvent(NamedTuple):
    """An event that counts: as projections read it, and decoded."""

    row: Row
    event: AnyMemberEvent


class Tier(Struct, frozen=True, kw_only=True):
    """Points that expire on one business day (None: never): available, not available yet, and held."""

    expires_on: date | None
    active: int
    pending: int
    held: int


class _Opened(dict[tuple[str, str], tuple[int, Place]]):
    """What was opened, as the read model's fold has it. Something may have ended, by business time, before it began: as
    of an instant in between only its end is known, and counts.
    """

    def __missing__(self, key: tuple[str, str]) -> tuple[int, Place]:
        return 0, (("programme", ""),)


def known_event(row: LightRow, as_of: datetime) -> KnownEvent | None:
    """An event of a member's stream, if it had occurred by `as_of`."""
    position, stream, version, stored_topic, stored_state, recorded_at = row
    topic, state = upcast_event(stored_topic, stored_state)
    event = decode_member_event(topic, state)
    if event.occurred_at > as_of:
        return None
    member = stream.removeprefix(MEMBER_STREAM)
    return KnownEvent(Row(position, member, version, topic, state.decode(), recorded_at.isoformat()), event)


class MemberFold:
    """One member of a journal, by the events folded so far. `time_zone` is the programme's."""

    def __init__(self, journal: int, member: str, time_zone: str) -> None:
        self.member = member
        self.position = 0
        """Of the newest event folded."""
        self._journal = journal
        self._time_zone = time_zone
        self._state = initial(member)
        self._lifetimes: dict[str, Figures] = {}
        self._answers: dict[tuple[str, int, int], list[int]] = {}
        self._service = [0] * len(_SERVICE)
        self._complaints = _Opened()
        self._follow_ups = _Opened()

    @property
    def events(self) -> int:
        """How many events were folded."""
        return self._state.version

    @property
    def trade(self) -> Figures:
        """Lifetime figures of the record."""
        return self._lifetimes.get(self.member) or new_figures()

    def fold(self, known: Sequence[KnownEvent]) -> None:
        """Fold further events, in the order of recording.

        Raises ledger.member.HistoryError where they take what those before do not give.
        """
        for entry in known:
            evolve(self._state, entry.event)
        if known:
            batch = Batch(self._journal, self.position, [entry.row for entry in known])
            self.position = known[-1].row.position
            fold_lifetimes(batch, self._time_zone, self._lifetimes)
            self._fold_satisfaction(batch)

    def _fold_satisfaction(self, batch: Batch) -> None:
        memory = {"time_zone": self._time_zone, "complaints": self._complaints, "follow_ups": self._follow_ups}
        changes = _satisfaction.apply(batch, memory)
        for (per, _, _, instrument, lowest, highest), sums in changes.answer_days.items():
            if per == "programme":
                known = self._answers.setdefault((instrument, lowest, highest), [0] * len(_ANSWERS))
                _add(known, sums[: len(_ANSWERS)])
        for (per, _, _), sums in changes.service_days.items():
            if per == "programme":
                _add(self._service, sums[_FROM_COMPLAINTS_ON])

    def figures(self, at: datetime) -> dict[str, int]:
        """What the member comes to at an instant, by name; none that is 0. Money is in minor units.

        Scores are summed in millionths, each on its own scale (ACSI: from 0 to 100).
        """
        if not self.events:
            return {}
        points = figures(self._state, at)
        found = {name: getattr(points, name) for name in _POINTS}
        trade = self.trade
        found[f"members_{self._state.status}"] = 1
        found |= zip(_TRADE, trade.sums, strict=True)
        found |= {"points_earned": trade.points_earned, "points_redeemed": trade.points_redeemed}
        for (instrument, lowest, highest), sums in self._answers.items():
            start = f"{instrument.lower()}_{lowest}_to_{highest}_"
            found |= {start + name: value for name, value in zip(_ANSWERS, sums, strict=True)}
        found |= zip(_SERVICE, self._service, strict=True)
        return {name: value for name, value in found.items() if value}

    def tiers(self, at: datetime) -> dict[date | None, list[int]]:
        """Points by the business day on which they expire (None: never): active, pending, held."""
        found: dict[date | None, list[int]] = {}
        for layer in self._state.unexpired(at):
            known = found.setdefault(self._day(layer.expires_at), [0, 0, 0])
            known[layer.available_at > at] += layer.points
        for hold in self._state.holds.values():
            for allocation in hold.allocations:
                found.setdefault(self._day(allocation.expires_at or FAR), [0, 0, 0])[2] += allocation.points
        return found

    def _day(self, expires_at: datetime) -> date | None:
        return None if expires_at == FAR else business_day(expires_at, self._time_zone)


def tiers_in_order(found: dict[date | None, list[int]]) -> list[Tier]:
    """Tiers by the day of expiry, those that never expire last."""
    return [
        Tier(expires_on=day, active=sums[0], pending=sums[1], held=sums[2])
        for day, sums in sorted(found.items(), key=lambda item: (item[0] is None, item[0] or date.min))
    ]


def add_figures(total: dict[str, int], added: Iterable[tuple[str, int]], sign: int = 1) -> None:
    """Add figures to others by name, or take them away (`sign` -1); what comes to 0 is left out."""
    for name, value in added:
        total[name] = total.get(name, 0) + sign * value
        if not total[name]:
            del total[name]


def _add(known: list[int], added: Sequence[int]) -> None:
    for index, value in enumerate(added):
        known[index] += value
