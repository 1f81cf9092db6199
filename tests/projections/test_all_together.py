"""All read models over one random history: what they have after whatever cuts and crashes is what a rebuild has.

The history has every kind of event, in several journals: what members do, much of it late, as the core decided it, and
the steering of their programme.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import Any, ClassVar
from uuid import uuid4

from eventsourcing.persistence import PersistenceError
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.commands import (
    AttributeCost,
    ChangeProfile,
    CompleteFollowUp,
    OpenComplaint,
    PurchaseLine,
    RecordPurchase,
    RecordSurvey,
    RecordWalletShare,
    ResolveComplaint,
    ScheduleFollowUp,
)
from ledger.events import AnalysisSet, Band, BaselineFrozen, Event, MemberProfileChanged
from ledger.store.database import Database
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from service.read_models import read_models
from tests.projections.histories import START, History, record
from tests.projections.test_exactly_once import Cut
from tests.satisfaction.histories import journal_of, new_programme, record_steering
from tests.steering_reads.histories import Steered

JOURNALS = 3
SCALES = {"NPS": (0, 10), "CSAT": (1, 5), "CES": (1, 7), "ACSI": (1, 10)}
STEPS = ("prepare", "load", "before write", "after write")


class FullHistory(History):
    """What members do, say and are promised, besides their points."""

    def _purchase(self) -> None:
        member, choose = self._who(), self._random.choice
        costs = [None, 20] if member == self.members[0] else [0, 20]  # of the others the profit is known
        lines = [
            PurchaseLine(sku=f"{number}", quantity=2, amount_minor=choose([0, 30, 250]), cost_minor=choose(costs))
            for number in range(self._random.randint(1, 3))
        ]
        place = {"channel": choose(["", "app", 'p"os']), "store": choose(["", "s\\1"])}
        self._ask(RecordPurchase, member, self._when(), "purchase", currency="CNY", lines=lines, **place)

    def _cost(self) -> None:
        self._ask(AttributeCost, self._who(), self._when(), currency="CNY", amount_minor=self._points())

    def _wallet(self) -> None:
        self._ask(RecordWalletShare, self._who(), self._when(), currency="CNY", yearly_spend_minor=self._points())

    def _profile(self) -> None:
        attributes = {self._random.choice(["tier", "city"]): self._random.choice(["gold", "a=b\\c", None])}
        self._ask(ChangeProfile, self._who(), self._when(), attributes=attributes)
        if self.events and isinstance(self.events[-1], MemberProfileChanged) and self._random.random() < 0.5:
            self.events[-1] = replace(self.events[-1], sealed=b"sealed")  # as the shell seals personal data

    def _answer(self) -> None:
        instrument = self._random.choice(list(SCALES))
        scale = SCALES[instrument]
        answers = {"q": self._random.choice([*range(scale[0], scale[1] + 1), scale[1] - 0.35])}
        place = {"channel": self._random.choice(["", "app"]), "touchpoint": self._random.choice(["", "名前"])}
        self._ask(
            RecordSurvey, self._who(), self._when(), instrument=instrument, scale=scale, answers=answers, **place
        )  # fmt: skip

    def _complain(self) -> None:
        self._kept.setdefault("complaint", [])
        self._ask(OpenComplaint, self._who(), self._when(), "complaint", category="slow", store="s\\1")

    def _resolve(self) -> None:
        self._end_one(ResolveComplaint, "complaint")

    def _promise(self) -> None:
        self._kept.setdefault("follow_up", [])
        due_at = self.now + timedelta(days=self._when())
        self._ask(ScheduleFollowUp, self._who(), self._when(), "follow_up", due_at=due_at, reason="call")

    def _keep(self) -> None:
        self._end_one(CompleteFollowUp, "follow_up")

    def _end_one(self, kind: Any, what: str) -> None:
        if begun := self._kept.get(what):
            member, _, id = self._random.choice(begun[-6:])
            self._ask(kind, member, self._when(), **{what: id})

    _verbs: ClassVar[Any] = (
        _purchase, *History._verbs[1:],
        _cost, _wallet, _profile, _answer, _complain, _resolve, _promise, _keep,
    )  # fmt: skip
    _weights: ClassVar[Any] = (*History._weights, 3, 2, 4, 12, 5, 5, 5, 5)


class FullSteering:
    """What a programme is steered by, each stream's events in order: those of its streams and what makes no stream."""

    def __init__(self, seed: int, steps: int) -> None:
        self.events: list[Event] = [event for event in Steered(seed, steps).events if not hasattr(event, "member")]
        random = Random(seed)
        common = {"programme": "club", "source": "desk", "occurred_at": START}
        for number in range(1, random.randint(2, 5)):
            bands = [Band(name=f"band\\{number}", share_percent="100")]
            analysis = AnalysisSet(
                id=f"a{number}", version=number, inactive_after_days=30 * number, bands=bands, **common
            )  # fmt: skip
            baseline = BaselineFrozen(
                id=f"f{number}", chart="late", version=number, kind="individuals", figure="nps", period="day",
                from_on=date(2026, 1, 1), until_on=date(2026, 1, 1 + number), points=8, centre="4.10", sigma="0.5",
                **common,
            )  # fmt: skip
            for event in (analysis, baseline):
                self.events.insert(random.randint(0, len(self.events)) if number == 1 else len(self.events), event)


def record_all(database: Database, journals: Sequence[int], events: Sequence[Any], versions: dict[str, int]) -> None:
    """Append events of members to their journals, in their order; those of steering to the first."""
    for journal in journals:
        mine = [event for event in events if hasattr(event, "member") and journal_of(journals, event.member) == journal]
        record(database, journal, mine, versions)
    steering = [event for event in events if not hasattr(event, "member")]
    record_steering(database, journals[0], "steering", steering, versions.get("", 0))
    versions[""] = versions.get("", 0) + len(steering)


def mixed(seed: int, commands: int) -> list[Any]:
    """The events of members and of steering, one after the other at random."""
    random = Random(seed)
    pending = [FullHistory(seed, commands).events, FullSteering(seed, commands // 3).events]
    found = []
    while any(pending):
        found.append(random.choice([events for events in pending if events]).pop(0))
    return found


def check_rebuild(database: Database, dsn: str, batch_events_max: int) -> None:
    models = read_models()
    with database.connection() as cur:
        live = table_digests(cur, models)
    rebuild(dsn, read_models(), batch_events_max=batch_events_max)
    with database.connection() as cur:
        assert table_digests(cur, models) == live


@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller seed is no smaller history
)
@given(seed=st.integers(0, 10**9), commands=st.integers(0, 120), cuts=st.data())
def test_what_is_folded_in_step_by_step_is_what_a_rebuild_makes(
    database: Database, database_dsn: str, seed: int, commands: int, cuts: st.DataObject
) -> None:
    """However events are recorded and batches cut, whoever runs together, and wherever connections break."""
    journals = new_programme(database, f"club-{uuid4()}", JOURNALS)
    events, versions, start = mixed(seed, commands), dict[str, int](), 0
    kept = Runner(database, read_models(), batch_events_max=cuts.draw(st.sampled_from([3, 17, 1000])))
    while start < len(events):
        size = cuts.draw(st.integers(max(1, len(events) // 6), len(events)))
        record_all(database, journals, events[start : start + size], versions)
        start += size
        how = cuts.draw(st.sampled_from(["kept", "anew", "apart", "cut", "behind"]))
        models: list[Any] = read_models()
        if how == "kept":
            kept.run_once()
        elif how == "anew":
            Runner(database, models, batch_events_max=cuts.draw(st.sampled_from([5, 29])), threads=2).run_once()
        elif how == "apart":
            half = cuts.draw(st.integers(1, len(models) - 1))
            for group in (models[half:], models[:half]):
                Runner(database, group, batch_events_max=cuts.draw(st.sampled_from([7, 1000]))).run_once()
        elif how == "cut":
            number = cuts.draw(st.integers(0, len(models) - 1))
            models[number] = Cut(models[number], cuts.draw(st.sampled_from(STEPS)), cuts.draw(st.integers(1, 4)))
            broken = Runner(database, models, batch_events_max=11)
            try:
                broken.run_once()
            except PersistenceError:
                broken.run_once()  # with what it remembers
    Runner(database, read_models()).run_once()
    check_rebuild(database, database_dsn, cuts.draw(st.sampled_from([11, 1000])))


def test_the_history_is_of_every_kind(database: Database, database_dsn: str) -> None:
    """Every table of every read model has rows, and late events are many: what the property says is of all of them."""
    events = mixed(7, 500)
    journals = new_programme(database, "club", JOURNALS)
    record_all(database, journals, events, {})
    Runner(database, read_models(), batch_events_max=50).run_once()
    with database.connection() as cur:
        empty = [table for table, (rows, _) in table_digests(cur, read_models()).items() if not rows]
    assert empty == []
    times = [event.occurred_at for event in events if hasattr(event, "member")]
    assert sum(at < max(times[:number], default=at) for number, at in enumerate(times)) > len(times) // 5
    check_rebuild(database, database_dsn, 70)


def test_each_read_model_alone_makes_what_all_make_together(database: Database, database_dsn: str) -> None:
    """A batch has the content of only those events that somebody who runs asked for."""
    journals = new_programme(database, "club", JOURNALS)
    record_all(database, journals, mixed(7, 500), {})
    for model in read_models():
        Runner(database, [model], batch_events_max=300).run_once()
    check_rebuild(database, database_dsn, 300)
