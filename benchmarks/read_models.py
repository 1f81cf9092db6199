"""All read models together: what one process folds a second, following and rebuilding, and which of them takes how
long, on a log like that of a programme: mostly purchases and their points, some of everything else.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from benchmarks.measuring import append_all, embedded_server, fresh_database, median
from benchmarks.projections import spend
from ledger.codec import MEMBER_STREAM, encode
from ledger.commands import PurchaseLine
from ledger.events import (
    Allocation,
    AnyEvent,
    ComplaintOpened,
    ComplaintResolved,
    CostAttributed,
    FollowUpCompleted,
    FollowUpScheduled,
    MemberEnrolled,
    MemberEvent,
    MemberProfileChanged,
    ObjectiveDefined,
    ObjectiveMeasured,
    Part,
    PointsAccrued,
    PointsClawedBack,
    PointsRedeemed,
    PurchaseRecorded,
    PurchaseReturned,
    ReturnMatch,
    SurveyAnswered,
)
from ledger.store.database import Database, PgCursor
from ledger.store.journal import Record, create_journals
from projections.batch import Batch
from projections.protocol import Projection
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from service.read_models import read_models
from service.runtime import settle_for_batches

PROGRAMME = "bench"
JOURNALS = 4
EVENTS = 400_000
FOLLOWED_EVENTS = 100_000
EVENTS_PER_MEMBER = 25
ROUNDS = 3
EVENTS_PER_SECOND_MIN = 30_000

_START = datetime(2025, 1, 1, 2, tzinfo=UTC)
_YEAR = timedelta(days=365)


def measure(dsn_admin: str, events: int = EVENTS, followed_events: int = FOLLOWED_EVENTS) -> dict[str, Any]:
    """Rebuild on a log of about `events` events, then follow `followed_events` that come after them, in turns.

    A runner that follows lives long: of each, what it folds first, when it remembers nothing yet, is told apart from
    what it folds then.

    `dsn_admin` logs in to a server where databases and roles may be created. Raises AssertionError where the rows that
    were followed are not those of a rebuild; whether the figures reach their targets is said under `met`.
    """
    settle_for_batches()
    dsn = fresh_database(dsn_admin)
    database = Database(dsn)
    try:
        histories = _begin(database, events)
        for journal, history in histories.items():
            append_all(database, journal, islice(history, events // JOURNALS))
        rebuilds: list[float] = []
        followed: dict[int, list[float]] = {1: [], 2: []}
        begun: dict[int, list[float]] = {1: [], 2: []}
        times, cpu = Times(), 0.0
        for _ in range(ROUNDS):
            report = rebuild(dsn, read_models())
            rebuilds.append(report.events_count / report.fill_seconds)
            for threads in followed:
                counted = Times()
                models = [Timed(model, counted) if threads == 1 else model for model in read_models()]
                runner = Runner(database, models, threads=threads)
                for rates in (begun, followed):
                    for journal, history in histories.items():
                        append_all(database, journal, islice(history, followed_events // JOURNALS))
                    counted.forget()
                    started = time.process_time()
                    rates[threads].append(_follow(runner))
                cpu += time.process_time() - started
                times.add_all(counted)
        with database.connection() as cur:
            live = table_digests(cur, read_models())
        rebuild(dsn, read_models())
        with database.connection() as cur:
            assert table_digests(cur, read_models()) == live, "the tables that followed differ from the rebuilt ones"
            topics = _topics(cur)
    finally:
        database.close()
    results: dict[str, Any] = {
        "events": sum(topics.values()),
        "rebuild_events_per_second": round(median(rebuilds)),
        "follow_events_per_second_two_threads": round(median(followed[2])),
        "follow_events_per_second_one_thread": round(median(followed[1])),
        "begin_events_per_second_two_threads": round(median(begun[2])),
        "begin_events_per_second_one_thread": round(median(begun[1])),
        "follow_python_us_per_event": round(1e6 * cpu / (2 * ROUNDS * followed_events), 2),
        "follow_us_per_event": times.us_per_event(ROUNDS * followed_events),
        "events_by_topic": topics,
    }
    results["met"] = {
        "rebuild": results["rebuild_events_per_second"] >= EVENTS_PER_SECOND_MIN,
        "follow": results["follow_events_per_second_two_threads"] >= EVENTS_PER_SECOND_MIN,
    }
    return results


def _follow(runner: Runner) -> float:
    started = time.perf_counter()
    count = runner.run_once()
    return count / (time.perf_counter() - started)


def _topics(cur: PgCursor) -> dict[str, int]:
    cur.execute("SELECT topic, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC")
    return dict(cur.fetchall())


# --- the share of each ----------------------------------------------------------------------------------------------


class Times:
    """Seconds by projection and step. What projections share (a decoded view) is the first one's that asks for it."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, projection: str, step: str, seconds: float) -> None:
        """Count the time of a step."""
        self._seconds[projection][step] += seconds

    def add_all(self, others: Times) -> None:
        """Count what another has counted."""
        for projection, steps in others._seconds.items():
            for step, seconds in steps.items():
                self.add(projection, step, seconds)

    def forget(self) -> None:
        """Begin anew."""
        self._seconds.clear()

    def us_per_event(self, events: int) -> dict[str, dict[str, float]]:
        """Microseconds an event, by projection and step, and of each projection in all."""
        return {
            projection: {
                step: round(1e6 * taken / events, 2) for step, taken in {**steps, "all": sum(steps.values())}.items()
            }
            for projection, steps in self._seconds.items()
        }


class Timed:
    """A projection whose steps are timed."""

    def __init__(self, projection: Projection, times: Times) -> None:
        self._projection = projection
        self._times = times
        self.name = projection.name
        self.version = projection.version
        self.tables = projection.tables
        self.topics = projection.topics

    def prepare(self, cur: PgCursor) -> None:
        self._timed("prepare", cur)

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        self._timed("load", cur, batch, memory)

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Any:
        return self._timed("apply", batch, memory)

    def write(self, cur: PgCursor, journal: int, changes: Any) -> None:
        self._timed("write", cur, journal, changes)

    def _timed(self, step: str, *arguments: Any) -> Any:
        started = time.perf_counter()
        result = getattr(self._projection, step)(*arguments)
        self._times.add(self.name, step, time.perf_counter() - started)
        return result


# --- the log --------------------------------------------------------------------------------------------------------


def _begin(database: Database, events: int) -> dict[int, Iterator[Record]]:
    """The journals of a new programme, each with its history without an end: about `events` events a year in all."""
    with database.transaction() as cur:
        journals = create_journals(cur, "programme", PROGRAMME, JOURNALS)
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals)"
            " VALUES (%s, %s, 'CNY', 'Asia/Shanghai', %s)",
            (PROGRAMME, PROGRAMME, JOURNALS),
        )
    mine = events // JOURNALS
    members = max(1, mine // EVENTS_PER_MEMBER)
    return {journal: History(ordinal, members, mine).records() for ordinal, journal in enumerate(journals)}


class History:
    """The history of a journal: purchases and what they earn; a redemption for every fifth purchase, an answer for
    every tenth, a return for every 25th, and now and then a cost, a change of a profile, a follow-up, a complaint. In
    the first journal of the programme, an objective that is measured every day.
    """

    def __init__(self, ordinal: int, members: int, events_per_year: int) -> None:
        self._ordinal = ordinal
        self._members = members
        self._purchases_per_year = max(365, events_per_year * 2 // 5)
        self._choose = random.Random(ordinal)
        self._versions: dict[str, int] = defaultdict(int)
        self._layers: dict[str, list[Allocation]] = defaultdict(list)
        self._number = 0
        self._at = _START

    def records(self) -> Iterator[Record]:
        """One purchase after another, with what follows from it."""
        while True:
            self._at = _START + _YEAR * self._number / self._purchases_per_year
            member = f"m{self._ordinal}-{self._choose.randrange(self._members):06d}"
            events = [*self._purchase(member), *self._service(member)]
            if not self._ordinal:
                events += self._objective()
            yield from map(self._record, events)
            self._number += 1

    def _record(self, event: AnyEvent) -> Record:
        stream = MEMBER_STREAM + event.member if isinstance(event, MemberEvent) else "objective-answer-time"
        self._versions[stream] += 1
        return (stream, self._versions[stream], event.topic, encode(event), None, None, None)

    def _event(self, kind: Any, what: str, days: float = 0.0, **fields: Any) -> Any:
        id, at = f"{what}-{self._number}", self._at + timedelta(days=days)
        return kind(programme=PROGRAMME, source="pos", id=id, occurred_at=at, **fields)

    def _place(self) -> dict[str, str]:
        return {
            "channel": self._choose.choice(("app", "pos", "web")),
            "store": f"store-{self._choose.randrange(20):02d}",
        }

    def _purchase(self, member: str) -> Iterator[AnyEvent]:
        event, at, number, mine = self._event, self._at, self._number, {"member": member}
        if MEMBER_STREAM + member not in self._versions:
            yield event(MemberEnrolled, "enrol", attributes={"city": f"city-{number % 30}"}, **mine)
        order, points, layers = f"p-{number}", self._choose.randrange(20, 900), self._layers[member]
        half = {"quantity": 1, "amount_minor": points * 50, "cost_minor": points * 30, "category": "food"}
        lines = [PurchaseLine(sku=f"sku-{n}", **half) for n in (1, 2)]
        kept = {"terms": 1, "keep_until": at + timedelta(days=60)}
        yield event(
            PurchaseRecorded, "p", currency="CNY", lines=lines, returnable_until=at + timedelta(days=30), **kept,
            **self._place(), **mine,
        )  # fmt: skip
        expires_at = at.replace(microsecond=0) + timedelta(days=365)
        layers.append(Allocation(f"lot-{number}", points, at + timedelta(days=1), expires_at))
        yield event(
            PointsAccrued, "p", lot=f"lot-{number}", points=points, available_at=layers[-1].available_at,
            expires_at=expires_at, purchase=order, base_minor=points * 100, weights=[points, points], scale=2, terms=1,
            parts=[Part(rules=["base"], base_minor=points * 100, rate="1/100")], **mine,
        )  # fmt: skip
        if number % 5 == 0:
            taken, layers[:] = spend(layers, points // 2)
            reversible_until = at + timedelta(days=30)
            yield event(
                PointsRedeemed, "r", points=points // 2, allocations=taken, reversible_until=reversible_until, **kept,
                **mine,
            )  # fmt: skip
        if number % 25 == 7:
            returned = {"lines": [(0, 1, points * 50)], "points_due": points // 2, "cost_minor": points * 30}
            match = ReturnMatch(purchase=order, purchase_source="pos", **returned)
            bought = {"currency": "CNY", "amount_minor": points * 50, "terms": 1}
            yield event(PurchaseReturned, "b", 3, matches=[match], **bought, **self._place(), **mine)
            taken, layers[:] = spend(layers, points // 2)
            yield event(
                PointsClawedBack, "b", 3, due=points // 2, allocations=taken, policy="arrears", terms=1, purchase=order,
                purchase_source="pos", **mine,
            )  # fmt: skip

    def _service(self, member: str) -> Iterator[AnyEvent]:
        event, number, mine = self._event, self._number, {"member": member}
        asked = {"touchpoint": self._choose.choice(("till", "delivery", "hotline"))}
        if number % 10 == 3:
            instrument, scale, questions = _SURVEYS[number // 10 % len(_SURVEYS)]
            answers = {question: self._choose.randint(*scale) for question in questions}
            given = {"instrument": instrument, "scale": scale, "answers": answers}
            yield event(SurveyAnswered, "a", 0.1, **given, **asked, **self._place(), **mine)
        if number % 50 == 11:
            due_at = self._at + timedelta(days=2)
            yield event(FollowUpScheduled, "f", due_at=due_at, **asked, **mine)
            yield event(FollowUpCompleted, "d", 1 + number % 3, follow_up=f"f-{number}", due_at=due_at, **mine)
            yield event(MemberProfileChanged, "m", attributes={"city": f"city-{number % 30}"}, **mine)
        if number % 100 == 13:
            yield event(CostAttributed, "k", currency="CNY", amount_minor=500, **mine)
        if number % 500 == 17:
            opened_at = self._at + timedelta(days=1)
            yield event(ComplaintOpened, "c", 1, **asked, **self._place(), **mine)
            yield event(ComplaintResolved, "e", 2, complaint=f"c-{number}", opened_at=opened_at, **mine)

    def _objective(self) -> Iterator[AnyEvent]:
        named = {"objective": "answer-time", "version": 1}
        if not self._number:
            yield self._event(
                ObjectiveDefined, "o", comparator="<=", target="10", unit="s", direction="down", period="day",
                owner="service", **named,
            )  # fmt: skip
        if self._number % (self._purchases_per_year // 365) == 0:
            day = self._at.date()
            yield self._event(ObjectiveMeasured, "v", period_on=day, value="9", attained=True, **named)


_SURVEYS = (
    ("NPS", (0, 10), ("q",)),
    ("CSAT", (1, 5), ("q",)),
    ("CES", (1, 7), ("q",)),
    ("ACSI", (1, 10), ("q1", "q2", "q3")),
)


if __name__ == "__main__":
    with embedded_server() as server_dsn:
        print(json.dumps(measure(server_dsn), indent=2))
