"""Satisfaction: how fast its read model is filled, and how long its reads take, on about a million answers."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from benchmarks.measuring import append_all, embedded_server, fresh_database, median
from ledger.codec import MEMBER_STREAM, encode
from ledger.commands import PurchaseLine
from ledger.events import (
    AnyMemberEvent,
    ComplaintOpened,
    ComplaintResolved,
    FollowUpCompleted,
    FollowUpScheduled,
    MemberEnrolled,
    PurchaseRecorded,
    SurveyAnswered,
)
from ledger.store.database import Database, PgCursor
from ledger.store.journal import Record, create_journals
from projections.rebuild import rebuild
from projections.runner import Runner
from projections.satisfaction import Satisfaction
from projections.satisfaction_members import read_latest_answers, read_satisfied_leavers
from projections.timelines import read_member_timeline, read_timeline

PROGRAMME = "bench"
JOURNALS = 4
ANSWERS = 1_000_000
ANSWERS_PER_MEMBER = 5
FOLLOWED_ANSWERS = 25_000
READS = 20
LOOK_UPS = 300
TIMELINE_MS_MAX = 50.0
LOOK_UP_MS_MAX = 1.0

_START = datetime(2025, 1, 1, 2, tzinfo=UTC)
_YEAR: dict[str, Any] = {"from_on": date(2025, 1, 1), "until_on": date(2026, 1, 1), "today": date(2026, 1, 1)}
_INSTRUMENTS = (("NPS", (0, 10), ("q",)), ("CSAT", (1, 5), ("q",)), ("CES", (1, 7), ("q",)),
                ("ACSI", (1, 10), ("q1", "q2", "q3")))  # fmt: skip


def measure(dsn_admin: str, answers: int = ANSWERS) -> dict[str, Any]:
    """Build a year of about so many answers and as many purchases in a database of its own, and measure.

    `dsn_admin` logs in to a server where databases and roles may be created. Raises AssertionError where a figure is
    wrong; whether times reach their targets is said under `met`.
    """
    dsn = fresh_database(dsn_admin)
    database = Database(dsn)
    try:
        journals = _build(database, answers)
        report = rebuild(dsn, [Satisfaction()])
        results: dict[str, Any] = {
            "events": report.events_count,
            "answers": answers,
            "rebuild_events_per_second": round(report.events_count / report.fill_seconds),
        }
        results |= _measure_following(database, journals)
        with database.connection() as cur:
            cur.execute("VACUUM ANALYZE")
            results |= _measure_reads(cur, journals, answers)
    finally:
        database.close()
    results["met"] = {
        "timeline": results["year_by_month_ms"] <= TIMELINE_MS_MAX,
        "latest": results["latest_answers_ms"] <= LOOK_UP_MS_MAX,
    }
    return results


def _build(database: Database, answers: int) -> list[int]:
    with database.transaction() as cur:
        journals = create_journals(cur, "programme", PROGRAMME, JOURNALS)
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals)"
            " VALUES (%s, %s, 'CNY', 'Asia/Shanghai', %s)",
            (PROGRAMME, PROGRAMME, JOURNALS),
        )
    for ordinal, journal in enumerate(journals):
        append_all(database, journal, _history(ordinal, answers // JOURNALS))
    return journals


def _history(ordinal: int, count: int, prefix: str = "m") -> Iterator[Record]:
    """A year: purchases, an answer after each, and for every fiftieth a complaint and a promised follow-up."""
    choose = random.Random(ordinal)
    versions: dict[str, int] = defaultdict(int)
    members = max(1, count // ANSWERS_PER_MEMBER)
    step = timedelta(days=360) / count

    def record(event: AnyMemberEvent) -> Record:
        versions[event.member] += 1
        return (MEMBER_STREAM + event.member, versions[event.member], event.topic, encode(event), None, None, None)

    for number in range(count):
        member = f"{prefix}{ordinal}-{choose.randrange(members):06d}"
        at = _START + step * number

        def of(
            kind: Any, id: str, after_hours: int = 0, *, at: datetime = at, member: str = member, **fields: Any
        ) -> Any:
            occurred_at = at + timedelta(hours=after_hours)
            return kind(programme=PROGRAMME, member=member, source="pos", id=id, occurred_at=occurred_at, **fields)

        if member not in versions:
            yield record(of(MemberEnrolled, f"e-{number}"))
        place = {"channel": choose.choice(("app", "pos", "web")), "store": f"store-{choose.randrange(20):02d}"}
        touchpoint = choose.choice(("till", "delivery", "hotline"))
        line = PurchaseLine(sku="sku-1", quantity=1, amount_minor=3_000, category="food")
        until = at + timedelta(days=30)
        yield record(
            of(PurchaseRecorded, f"p-{number}", currency="CNY", lines=[line], terms=1, returnable_until=until,
               keep_until=until, **place)
        )  # fmt: skip
        instrument, scale, questions = _INSTRUMENTS[number % 4]
        answers = {question: choose.randint(*scale) for question in questions}
        yield record(
            of(SurveyAnswered, f"a-{number}", 1, instrument=instrument, scale=scale, answers=answers,
               touchpoint=touchpoint, **place)
        )  # fmt: skip
        if number % 50 == 0:
            due_at = at + timedelta(hours=48)
            yield record(of(ComplaintOpened, f"c-{number}", 2, touchpoint=touchpoint, **place))
            yield record(of(FollowUpScheduled, f"f-{number}", 3, due_at=due_at, touchpoint=touchpoint))
            yield record(of(ComplaintResolved, f"r-{number}", 20, complaint=f"c-{number}", opened_at=at))
            yield record(of(FollowUpCompleted, f"d-{number}", number % 60, follow_up=f"f-{number}", due_at=due_at))


def _measure_following(database: Database, journals: list[int]) -> dict[str, float]:
    """The runner on what comes in, beside all that is there already."""
    for ordinal, journal in enumerate(journals):
        append_all(database, journal, _history(ordinal, FOLLOWED_ANSWERS // JOURNALS, "n"))
    started = time.perf_counter()
    count = Runner(database, [Satisfaction()]).run_once()
    return {"follow_events_per_second": round(count / (time.perf_counter() - started))}


def _measure_reads(cur: PgCursor, journals: list[int], answers: int) -> dict[str, Any]:
    entries = read_timeline(cur, journals, by="month", **_YEAR)
    if sum(entry.responses for entry in entries) != answers + FOLLOWED_ANSWERS // JOURNALS * JOURNALS:
        raise AssertionError("the timeline has lost answers")
    member = "m0-000001"
    return {
        "year_by_month_ms": _ms(lambda: read_timeline(cur, journals, by="month", **_YEAR)),
        "year_by_week_ms": _ms(lambda: read_timeline(cur, journals, by="week", **_YEAR)),
        "year_by_day_ms": _ms(lambda: read_timeline(cur, journals, by="day", **_YEAR)),
        "year_by_month_and_store_ms": _ms(lambda: read_timeline(cur, journals, by="month", per="store", **_YEAR)),
        "year_by_month_with_median_ms": _ms(lambda: read_timeline(cur, journals, by="month", median=True, **_YEAR)),
        "member_by_month_ms": _ms(lambda: read_member_timeline(cur, journals, member, by="month", **_YEAR)),
        "latest_answers_ms": _ms(lambda: read_latest_answers(cur, journals, member), LOOK_UPS),
        "satisfied_leavers_ms": _ms(
            lambda: read_satisfied_leavers(cur, journals, now=datetime(2026, 1, 1, tzinfo=UTC), inactive_after_days=90),
            3,
        ),
    }


def _ms(read: Callable[[], object], times: int = READS) -> float:
    """Milliseconds that a read takes, the median of several."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        read()
        taken.append(1000 * (time.perf_counter() - started))
    return round(median(taken), 2)


if __name__ == "__main__":
    with embedded_server() as server_dsn:
        print(json.dumps(measure(server_dsn), indent=2))
