"""Events built by hand, and a programme to record them in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zlib import crc32

from ledger.codec import MEMBER_STREAM, encode
from ledger.commands import PurchaseLine
from ledger.events import (
    AnalysisSet,
    Band,
    CostAttributed,
    MemberEnrolled,
    MembersMerged,
    MergeUndone,
    PointsAccrued,
    PointsRedeemed,
    PurchaseRecorded,
    PurchaseReturned,
    ReturnMatch,
    WalletShareSurveyed,
)
from ledger.store.database import Database
from ledger.store.journal import append, create_journals, lock_head, store_head
from projections.lifetime import Lifetime
from projections.runner import Runner

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_ids = count(1)


def at(days: float) -> datetime:
    """So many days after the start, at noon UTC."""
    return START + timedelta(days=days)


def event(of: Any, /, member: str, days: float, **fields: Any) -> Any:
    """An event of a member."""
    common = {"programme": "club", "source": "till", "id": f"id-{next(_ids)}", "occurred_at": at(days)}
    return of(member=member, **common, **fields)


def enrolled(member: str, days: float) -> MemberEnrolled:
    return event(MemberEnrolled, member, days)


def purchased(
    member: str, days: float, *lines: tuple[int, int, int | None], channel: str = "", store: str = ""
) -> PurchaseRecorded:
    """A purchase of lines of (quantity, amount, cost)."""
    return event(
        PurchaseRecorded, member, days, currency="CNY", terms=1, returnable_until=at(days + 30),
        keep_until=at(days + 60), channel=channel, store=store,
        lines=[
            PurchaseLine(sku=f"sku-{number}", quantity=quantity, amount_minor=amount, cost_minor=cost)
            for number, (quantity, amount, cost) in enumerate(lines)
        ],
    )  # fmt: skip


def returned(member: str, days: float, amount: int, cost: int | None, quantity: int = 1) -> PurchaseReturned:
    """A return of one line of one purchase."""
    match = ReturnMatch(
        purchase="x", purchase_source="till", lines=[(0, quantity, amount)], points_due=0, cost_minor=cost
    )
    return event(PurchaseReturned, member, days, currency="CNY", amount_minor=amount, terms=1, matches=[match])


def charged(member: str, days: float, amount: int) -> CostAttributed:
    return event(CostAttributed, member, days, currency="CNY", amount_minor=amount, kind="service")


def surveyed(member: str, days: float, spend: int) -> WalletShareSurveyed:
    return event(WalletShareSurveyed, member, days, currency="CNY", yearly_spend_minor=spend)


def accrued(member: str, days: float, points: int) -> PointsAccrued:
    lot = f"{member}.{next(_ids):06d}"
    return event(PointsAccrued, member, days, lot=lot, points=points, available_at=at(days), terms=1)


def redeemed(member: str, days: float, points: int) -> PointsRedeemed:
    until = {"reversible_until": at(days), "keep_until": at(days)}
    return event(PointsRedeemed, member, days, points=points, allocations=[], terms=1, **until)


def merged(member: str, into: str, days: float) -> list[MembersMerged]:
    """Both sides of a merge."""
    return [
        event(MembersMerged, member, days, side="out", other=into),
        event(MembersMerged, into, days, side="in", other=member),
    ]


def unmerged(member: str, into: str, days: float) -> list[MergeUndone]:
    """Both sides of its undoing."""
    return [
        event(MergeUndone, into, days, side="out", other=member),
        event(MergeUndone, member, days, side="in", other=into),
    ]


def analysis(days: float, version: int, inactive_after_days: int, bands: list[tuple[str, str]]) -> AnalysisSet:
    shares = [Band(name=name, share_percent=share) for name, share in bands]
    common = {"programme": "club", "source": "desk", "id": f"id-{next(_ids)}", "occurred_at": at(days)}
    return AnalysisSet(version=version, inactive_after_days=inactive_after_days, bands=shares, **common)


class Programme:
    """A programme in a database, with the read model of lifetime figures."""

    def __init__(self, database: Database, journals: int = 1, time_zone: str = "UTC", name: str = "club") -> None:
        self.database = database
        self.name = name
        with database.transaction() as cur:
            self.journals = create_journals(cur, "programme", name, journals)
            cur.execute(
                "INSERT INTO programmes (programme, name, currency, time_zone, journals)"
                " VALUES (%s, '', 'CNY', %s, %s)",
                (name, time_zone, journals),
            )
        self._versions: dict[str, int] = {}

    def journal_of(self, member: str) -> int:
        return self.journals[crc32(member.encode()) % len(self.journals)]

    def record(self, *events: Any) -> None:
        """Append events to the journals of their members; those of no member to the first."""
        by_journal: dict[int, list[Any]] = {}
        for one in events:
            member = getattr(one, "member", None)
            journal = self.journals[0] if member is None else self.journal_of(member)
            stream = "analysis" if member is None else MEMBER_STREAM + member
            self._versions[stream] = self._versions.get(stream, 0) + 1
            record = (stream, self._versions[stream], type(one).topic, encode(one), None, None, None)
            by_journal.setdefault(journal, []).append(record)
        for journal, records in by_journal.items():
            with self.database.connection() as cur:
                head = lock_head(cur, journal, begin=True)
                append(cur, head, records)
                store_head(cur, head, commit=True)

    def project(self, batch_events_max: int = 10_000) -> None:
        """Fold in what was recorded."""
        Runner(self.database, [Lifetime()], batch_events_max=batch_events_max).run_once()
