"""Random histories that the core decided, and journals that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from ledger.codec import MEMBER_STREAM, encode
from ledger.commands import (
    AccruePoints,
    AdjustPoints,
    CaptureHold,
    ClawBackPoints,
    CloseMember,
    EnrolMember,
    EraseMember,
    ExpirePoints,
    HoldPoints,
    MergeMembers,
    PurchaseLine,
    RecordPurchase,
    RecordReturn,
    RedeemPoints,
    ReleaseHold,
    ReverseRedemption,
    TransferPoints,
    UndoMerge,
)
from ledger.rejections import Rejection
from ledger.store.database import Database
from ledger.store.journal import append, create_journals, lock_head, store_head
from tests.streams import Streams

START = datetime(2026, 1, 1, 8, 30, 0, 250000, tzinfo=UTC)
TERMS: dict[str, Any] = {
    "name": "club terms",
    "effective_from": "2020-01-01T00:00:00Z",
    "currency": "CNY",
    "time_zone": "UTC",
    "earning": {"rate": "0.5", "activation": "2D", "expiry": {"kind": "after", "period": "20D"}},
    "redemption": {"hold_timeout": "4D", "reversal_window": "40D", "reversal_of_expired": {"extend_days": 3}},
    "returns": {"window": "40D", "late_grace": "5D", "policy": "arrears", "unmatched": "base_rate"},
}
NEVER_EXPIRING = {**TERMS, "earning": {"rate": "0.1", "activation": "0D", "expiry": {"kind": "never"}}}


class History:
    """Events of several members in the order of one journal, and the states they led to."""

    def __init__(self, seed: int, commands: int, members: int = 5, terms: dict[str, Any] | None = None) -> None:
        self._random = Random(seed)
        self._streams = Streams([terms or self._random.choice([TERMS, NEVER_EXPIRING])])
        # Names that COPY must not trip over stand among the plain ones.
        odd = ["back\\slash", 'quo"te', "名前 café", "tab-less\\N", "\\.", "None", "\u2028 line"]
        names = (odd[number % len(odd)] if number % 2 else "m" for number in range(members))
        self.members = [f"{name}{number}" for number, name in enumerate(names)]
        self.events: list[Any] = []
        self.commands: list[Any] = []
        self.now = START
        self._kept: dict[str, list[tuple[str, str, str]]] = {"purchase": [], "redemption": [], "hold": []}
        self._number = 0
        for member in self.members:
            self._ask(EnrolMember, member, 0)
        self.more(commands)

    def state(self, member: str) -> Any:
        """The state that the core has of a member."""
        return self._streams.member(member)

    def of(self, member: str) -> list[Any]:
        """The events of one member."""
        return [event for event in self.events if event.member == member]

    def more(self, commands: int) -> None:
        """Ask for more at random; what is refused leaves nothing."""
        for _ in range(commands):
            self._random.choices(self._verbs, self._weights)[0](self)

    def _ask(self, kind: Any, member: str, shift: float, keeps: str = "", **fields: Any) -> None:
        self._number += 1
        at = self.now + timedelta(hours=round(shift * 24))
        source, id = self._random.choice(["till", "shop\\2"]), f"{kind.__name__}-{self._number}"
        command = kind(id=id, source=source, programme="club", occurred_at=at, member=member, **fields)
        decision = self._streams.handle(command)
        if isinstance(decision, Rejection):
            return
        self.now = max(self.now, at)
        self.commands.append(command)
        if keeps:
            self._kept[keeps].append((member, source, id))
        self.events += [event for events in decision.values() for event in events]

    def _who(self) -> str:
        return self._random.choice(self.members)

    def _when(self) -> float:
        return self._random.choice([-6, -2, -0.5, 0, 0, 0.25, 1, 3])

    def _points(self) -> int:
        return self._random.choice([1, 3, 5, 10, 40, 120])

    def _referring(self, what: str) -> tuple[str, dict[str, Any]]:
        member, source, id = self._random.choice(self._kept[what][-6:] or [(self._who(), "till", "unknown")])
        member = self.state(member).merged_into or member
        return member, {what: id, f"{what}_source": source}

    def _purchase(self) -> None:
        lines = [
            PurchaseLine(sku=f"sku{number}", quantity=2, amount_minor=self._random.choice([0, 30, 99, 250]))
            for number in range(self._random.randint(1, 3))
        ]
        self._ask(RecordPurchase, self._who(), self._when(), "purchase", currency="CNY", lines=lines)

    def _return(self) -> None:
        member, fields = self._referring("purchase")
        amount = self._random.choice([None, 10, 60])
        self._ask(RecordReturn, member, self._when(), currency="CNY", amount_minor=amount, **fields)

    def _accrue(self) -> None:
        self._ask(AccruePoints, self._who(), self._when(), points=self._points(), reason='say "hi" \\o/')

    def _redeem(self) -> None:
        self._ask(RedeemPoints, self._who(), self._when(), "redemption", points=self._points())

    def _reverse(self) -> None:
        member, fields = self._referring("redemption")
        self._ask(ReverseRedemption, member, self._when(), points=self._random.choice([None, 1, 4]), **fields)

    def _hold(self) -> None:
        self._ask(HoldPoints, self._who(), self._when(), "hold", points=self._points())

    def _capture(self) -> None:
        member, fields = self._referring("hold")
        points, rest = self._random.choice([(None, False), (1, False), (2, True)])
        self._ask(CaptureHold, member, self._when(), "redemption", points=points, release_rest=rest, **fields)

    def _release(self) -> None:
        member, fields = self._referring("hold")
        self._ask(ReleaseHold, member, self._random.choice([0, 0, 2]), **fields)

    def _expire(self) -> None:
        self._ask(ExpirePoints, self._who(), self._random.choice([0, 8]))

    def _claw_back(self) -> None:
        self._ask(ClawBackPoints, self._who(), self._when(), points=self._points(), reason="fraud")

    def _adjust(self) -> None:
        points = self._random.choice([-20, -3, 5, 50])
        self._ask(AdjustPoints, self._who(), self._when(), points=points, reason="by hand", approver="lee")

    def _transfer(self) -> None:
        self._ask(TransferPoints, self._who(), self._when(), to=self._who(), points=self._points())

    def _merge(self) -> None:
        self._ask(MergeMembers, self._who(), 1, into=self._who())

    def _undo_merge(self) -> None:
        merged = [member for member in self.members if self.state(member).status == "merged"]
        if merged:
            self._ask(UndoMerge, self._random.choice(merged), 1)

    def _end(self) -> None:
        self._ask(self._random.choice([CloseMember, EraseMember]), self._who(), 1)

    _verbs = (
        _purchase, _return, _accrue, _redeem, _reverse, _hold, _capture, _release,
        _expire, _claw_back, _adjust, _transfer, _merge, _undo_merge, _end,
    )  # fmt: skip
    _weights = (20, 6, 8, 14, 7, 8, 5, 5, 4, 4, 4, 5, 1.5, 1.5, 0.4)


def new_journals(database: Database, count: int = 1, name: str = "club") -> list[int]:
    """The journals of a programme."""
    with database.transaction() as cur:
        return create_journals(cur, "programme", name, count)


def record(
    database: Database, journal: int, events: Iterable[Any], versions: dict[str, int], *, each: int = 50
) -> None:
    """Append events, a few in a transaction; `versions` has the version of each stream and is moved on."""
    pending = list(events)
    for start in range(0, len(pending), each):
        with database.connection() as cur:
            head = lock_head(cur, journal, begin=True)
            append(cur, head, [_record(event, versions) for event in pending[start : start + each]])
            store_head(cur, head, commit=True)


def _record(event: Any, versions: dict[str, int]) -> Any:
    stream = MEMBER_STREAM + event.member
    versions[stream] = versions.get(stream, 0) + 1
    return (stream, versions[stream], type(event).topic, encode(event), None, None, None)
