"""Random histories of satisfaction that the core decided, in programmes of several journals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from ledger.codec import encode
from ledger.commands import (
    CloseMember,
    CompleteFollowUp,
    EnrolMember,
    EraseMember,
    MergeMembers,
    OpenComplaint,
    PurchaseLine,
    RecordPurchase,
    RecordSurvey,
    ResolveComplaint,
    ScheduleFollowUp,
    UndoMerge,
)
from ledger.events import FollowUpCompleted, SurveyAnswered
from ledger.rejections import Rejection
from ledger.store.database import Database
from ledger.store.journal import Record, append, create_journals, lock_head, store_head
from tests.projections.histories import TERMS, record
from tests.streams import Streams

ZONE = "Asia/Shanghai"
START = datetime(2026, 1, 30, 15, 30, tzinfo=UTC)
CHANNELS = ("", "app", "shop\\1")
STORES = ("", "s1")
TOUCHPOINTS = ("", "delivery", "名前")
SURVEYS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "NPS": ((0, 10), ("q",)),
    "CSAT": ((1, 5), ("q", "r")),
    "CES": ((1, 7), ("q",)),
    "ACSI": ((1, 10), ("q1", "q2", "q3")),
}


class History:
    """Events of a few members in the order in which they were recorded: much of it late, some merges, some ends."""

    def __init__(self, seed: int, commands: int, members: int = 5) -> None:
        self._random = Random(seed)
        self._streams = Streams([TERMS])
        self.members = [("back\\slash" if number % 2 else "m") + str(number) for number in range(members)]
        self.events: list[Any] = []
        self.commands: list[Any] = []
        self.now = START
        self._open: dict[str, list[tuple[str, str]]] = {"complaint": [], "follow_up": []}
        self._number = 0
        for member in self.members:
            self._ask(EnrolMember, member, 0)
        for _ in range(commands):
            self._random.choices(self._verbs, self._weights)[0](self)

    def _ask(self, kind: Any, member: str, hours: float, id: str = "", **fields: Any) -> bool:
        self._number += 1
        at = self.now + timedelta(hours=hours, microseconds=self._number)
        command = kind(
            id=id or f"{kind.__name__}-{self._number}",
            source=self._random.choice(["till", "shop\\2"]),
            programme="club",
            occurred_at=at,
            member=member,
            **fields,
        )
        decision = self._streams.handle(command)
        if isinstance(decision, Rejection):
            return False
        self.now = max(self.now, at)
        self.commands.append(command)
        self.events += [self._as_recorded(event) for events in decision.values() for event in events]
        return True

    def _as_recorded(self, event: Any) -> Any:
        """With weights of a survey; and as it was once recorded: a follow-up kept before it was promised."""
        if isinstance(event, FollowUpCompleted) and self._random.random() < 0.3:
            return replace(event, occurred_at=event.occurred_at - timedelta(hours=450))
        if isinstance(event, SurveyAnswered) and event.instrument == "ACSI" and self._random.random() < 0.4:
            weights = self._random.choice([{"q1": 2, "q2": 1, "q3": 1}, {"q1": 0, "q2": 3, "q3": 1}, {"q9": 1}])
            return replace(event, survey="yearly", weights=weights)
        return event

    def _who(self) -> str:
        return self._random.choice(self.members)

    def _when(self) -> float:
        return self._random.choice([-400, -60, -9, -1, 0, 0, 2, 7, 30])

    def _place(self) -> dict[str, str]:
        choose = self._random.choice
        return {"channel": choose(CHANNELS), "store": choose(STORES), "touchpoint": choose(TOUCHPOINTS)}

    def _answer(self) -> None:
        choose = self._random.choice
        instrument = choose(list(SURVEYS))
        scale, questions = SURVEYS[instrument]
        scale = choose([scale, scale, scale, (0, 10), (1, 5)])
        number = choose([len(questions), 1])
        answers: dict[str, Any] = {
            question: choose([choose(range(scale[0], scale[1] + 1)), scale[1], scale[1], scale[1] - 0.35])
            for question in questions[:number]
        }
        if self._random.random() < 0.2:
            answers["why"] = 'so "so" \\ \u2028 名'
        if self._random.random() < 0.1:
            answers = {"why": "no number"}
        purchase = choose([None, "p-1"])
        self._ask(
            RecordSurvey, self._who(), self._when(), instrument=instrument, answers=answers, scale=scale,
            purchase=purchase, **self._place(),
        )  # fmt: skip

    def _purchase(self) -> None:
        place = self._place()
        place.pop("touchpoint")
        lines = [PurchaseLine(sku="sku", quantity=1, amount_minor=100)]
        self._ask(RecordPurchase, self._who(), self._when(), currency="CNY", lines=lines, **place)

    def _complain(self) -> None:
        member, id = self._who(), self._random.choice(["", "", "again"])
        id = id or f"complaint-{self._number}"
        if self._ask(OpenComplaint, member, self._when(), id, category="slow", **self._place()):
            self._open["complaint"].append((member, id))

    def _resolve(self) -> None:
        member, id = self._random.choice(self._open["complaint"][-8:] or [(self._who(), "unknown")])
        self._ask(ResolveComplaint, member, self._when(), complaint=id, outcome="refunded")

    def _promise(self) -> None:
        member, id = self._who(), self._random.choice(["", "", "again"])
        id = id or f"follow-up-{self._number}"
        place = self._place()
        place.pop("store")
        due_at = self.now + timedelta(hours=self._random.choice([-200, 3, 24, 80]))
        if self._ask(ScheduleFollowUp, member, self._when(), id, due_at=due_at, reason="call", **place):
            self._open["follow_up"].append((member, id))

    def _keep(self) -> None:
        member, id = self._random.choice(self._open["follow_up"][-8:] or [(self._who(), "unknown")])
        self._ask(CompleteFollowUp, member, self._when(), follow_up=id, outcome="reached")

    def _merge(self) -> None:
        self._ask(MergeMembers, self._who(), 1, into=self._who())

    def _undo_merge(self) -> None:
        self._ask(UndoMerge, self._who(), 1)

    def _end(self) -> None:
        self._ask(self._random.choice([CloseMember, EraseMember, EraseMember]), self._who(), 1)

    _verbs = (_answer, _purchase, _complain, _resolve, _promise, _keep, _merge, _undo_merge, _end)
    _weights = (20, 10, 8, 8, 8, 8, 1.5, 3, 0.8)


def new_programme(database: Database, name: str, journals: int = 1) -> list[int]:
    """The journals of a programme in Shanghai."""
    with database.transaction() as cur:
        found = create_journals(cur, "programme", name, journals)
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals) VALUES (%s, %s, 'CNY', %s, %s)",
            (name, name, ZONE, journals),
        )
    return found


def journal_of(journals: Sequence[int], member: str) -> int:
    """The journal of a member."""
    return journals[crc32(member.encode()) % len(journals)]


def record_members(
    database: Database, journals: Sequence[int], events: Sequence[Any], versions: dict[str, int]
) -> None:
    """Append events to the journals of their members."""
    for journal in journals:
        record(
            database, journal, [event for event in events if journal_of(journals, event.member) == journal], versions
        )


def record_steering(database: Database, journal: int, stream: str, events: Sequence[Any], after: int = 0) -> None:
    """Append events to a stream that is no member's and has so many."""
    records: list[Record] = [
        (stream, version, event.topic, encode(event), None, None, None)
        for version, event in enumerate(events, after + 1)
    ]
    with database.connection() as cur:
        head = lock_head(cur, journal, begin=True)
        append(cur, head, records)
        store_head(cur, head, commit=True)
