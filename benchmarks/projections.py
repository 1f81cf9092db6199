"""Projections: how fast balances and statements are rebuilt, followed and read, beside the stock runner of the library.

Both runners are measured in the same run, on the same store and the same events.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection as StockProjection
from eventsourcing.projection import ProjectionRunner

from benchmarks.measuring import embedded_server, fresh_database
from ledger.codec import MEMBER_STREAM, decode_member_event, encode
from ledger.commands import PurchaseLine
from ledger.events import (
    Allocation,
    AnyMemberEvent,
    MemberEnrolled,
    Part,
    PointsAccrued,
    PointsRedeemed,
    PurchaseRecorded,
)
from ledger.evolver import evolve
from ledger.figures import figures
from ledger.member import Member, initial
from ledger.store.database import Database, connect
from ledger.store.journal import Record, append, create_journals, lock_head, read_light, store_head
from ledger.store.recorders import JournalTrackingRecorder
from projections.balances import Balances, read_balance
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from projections.statement import Statement, read_statement

PROGRAMME = "bench"
JOURNALS = 4
EVENTS = 400_000
EVENTS_PER_MEMBER = 25
APPEND_EVENTS = 5_000
STOCK_EVENTS = 1_500
LOOK_UPS = 1_000
REBUILD_EVENTS_PER_SECOND_MIN = 60_000
STOCK_RATIO_MIN = 50
LOOK_UP_MS_MAX = 1.0

_START = datetime(2025, 1, 1, 10, tzinfo=UTC)


def measure(dsn_admin: str, events: int = EVENTS) -> dict[str, Any]:
    """Build a log of about `events` events in a database of its own, measure, and check what was built.

    `dsn_admin` logs in to a server where databases and roles may be created. Raises AssertionError where a result is
    wrong; whether the figures reach their targets is said under `met`.
    """
    dsn = fresh_database(dsn_admin)
    database = Database(dsn)
    try:
        journals, members = _build(database, events)
        total = _count(database)
        results: dict[str, Any] = {"events": total, "members": members, "journals": len(journals)}
        results |= _measure_rebuild(dsn, total)
        results |= _measure_live(database, total)
        _check_balances(database, journals)
        results |= _measure_look_ups(database)
        results |= _measure_stock(dsn, database, journals[0])
    finally:
        database.close()
    results["ratio_to_stock_live"] = round(results["live_events_per_second"] / results["stock_events_per_second"], 1)
    results["ratio_to_stock_rebuild"] = round(
        results["rebuild_events_per_second"] / results["stock_events_per_second"], 1
    )
    results["met"] = {
        "rebuild": results["rebuild_events_per_second"] >= REBUILD_EVENTS_PER_SECOND_MIN,
        "ratio_to_stock": results["ratio_to_stock_rebuild"] >= STOCK_RATIO_MIN,
        "look_up": results["balance_ms_median"] < LOOK_UP_MS_MAX,
    }
    return results


# --- the log --------------------------------------------------------------------------------------------------------


def _build(database: Database, events: int) -> tuple[list[int], int]:
    with database.transaction() as cur:
        journals = create_journals(cur, "programme", PROGRAMME, JOURNALS)
    members = max(JOURNALS, events // EVENTS_PER_MEMBER)
    for ordinal, journal in enumerate(journals):
        mine = [f"m{number:07d}" for number in range(ordinal, members, JOURNALS)]
        _append_all(database, journal, _history(mine, events // JOURNALS, random.Random(ordinal)))
    return journals, members


def _append_all(database: Database, journal: int, records: Iterator[Record]) -> None:
    while pending := list(islice(records, APPEND_EVENTS)):
        with database.connection() as cur:
            head = lock_head(cur, journal, begin=True)
            append(cur, head, pending)
            store_head(cur, head, commit=True)


def _history(members: list[str], count: int, choose: random.Random) -> Iterator[Record]:
    """Half purchases, nearly as many accruals, and a redemption for about every fifth purchase."""
    versions: dict[str, int] = defaultdict(int)
    states: dict[str, list[Allocation]] = defaultdict(list)

    def record(event: AnyMemberEvent) -> Record:
        versions[event.member] += 1
        return (MEMBER_STREAM + event.member, versions[event.member], event.topic, encode(event), None, None, None)

    for number, member in enumerate(members):
        yield record(_event(MemberEnrolled, member, f"enrol-{number}", _START))
    for number in range((count - len(members)) * 5 // 11):
        member = members[choose.randrange(len(members))]
        at = _START + timedelta(seconds=20 * number, microseconds=number % 3)
        order, points = f"order-{number}", choose.randrange(20, 900)
        lot = f"{member}.{versions[member]:06d}"
        terms = {"terms": 1, "keep_until": at + timedelta(days=60)}
        lines = [PurchaseLine(sku=f"sku-{n}", quantity=1, amount_minor=points * 50, category="food") for n in (1, 2)]
        yield record(
            _event(
                PurchaseRecorded, member, order, at, currency="CNY", lines=lines, store="store-7", channel="pos",
                returnable_until=at + timedelta(days=30), **terms,
            )
        )  # fmt: skip
        layer = Allocation(lot, points, at + timedelta(days=1), at.replace(microsecond=0) + timedelta(days=365))
        states[member].append(layer)
        yield record(
            _event(
                PointsAccrued, member, order, at, lot=lot, points=points, available_at=layer.available_at, terms=1,
                expires_at=layer.expires_at, purchase=order, base_minor=points * 100, weights=[points, points], scale=2,
                parts=[Part(rules=["base"], base_minor=points * 100, rate="1/100")],
            )
        )  # fmt: skip
        if number % 5 == 0:
            taken, states[member] = _spend(states[member], points // 2)
            yield record(
                _event(
                    PointsRedeemed, member, f"redeem-{number}", at + timedelta(days=2), points=points // 2,
                    allocations=taken, reversible_until=at + timedelta(days=30), **terms,
                )
            )  # fmt: skip


def _event(kind: Any, member: str, id: str, at: datetime, **fields: Any) -> Any:
    return kind(programme=PROGRAMME, member=member, source="pos", id=id, occurred_at=at, **fields)


def _spend(layers: list[Allocation], points: int) -> tuple[list[Allocation], list[Allocation]]:
    taken: list[Allocation] = []
    left = list(layers)
    while points:
        first = left.pop(0)
        part = min(points, first.points)
        points -= part
        taken.append(Allocation(first.lot, part, first.available_at, first.expires_at))
        if part < first.points:
            left.insert(0, Allocation(first.lot, first.points - part, first.available_at, first.expires_at))
    return taken, left


def _count(database: Database) -> int:
    with database.connection() as cur:
        cur.execute("SELECT sum(position)::bigint FROM journals WHERE kind = 'programme'")
        return int(cur.fetchone()[0])  # type: ignore[index]


# --- measuring ------------------------------------------------------------------------------------------------------


def _measure_rebuild(dsn: str, total: int) -> dict[str, Any]:
    started, cpu = time.perf_counter(), time.process_time()
    report = rebuild(dsn, [Balances(), Statement()])
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert report.events_count == total
    return {
        "rebuild_events_per_second": round(total / seconds),
        "rebuild_us_per_event": round(1e6 * seconds / total, 2),
        "rebuild_python_us_per_event": round(1e6 * cpu / total, 2),
        "rebuild_swap_seconds": round(report.swap_seconds, 3),
    }


def _measure_live(database: Database, total: int) -> dict[str, Any]:
    """Fold everything again through the runner, in tables emptied for it; the rows must equal the rebuilt ones."""
    projections = [Balances(), Statement()]
    with database.connection() as cur:
        rebuilt = table_digests(cur, projections)
        for projection in projections:
            for table in projection.tables:
                cur.execute(f"DELETE FROM {table}")
            cur.execute("DELETE FROM projections WHERE projection = %s", (projection.name,))
    started = time.perf_counter()
    assert Runner(database, projections, threads=2).run_once() == total
    seconds = time.perf_counter() - started
    with database.connection() as cur:
        assert table_digests(cur, projections) == rebuilt, "the live tables differ from the rebuilt ones"
    return {"live_events_per_second": round(total / seconds)}


def _check_balances(database: Database, journals: list[int]) -> None:
    """The tables say what folding the log with the ledger's own evolver says, for every member of the first journal."""
    states: dict[str, Member] = {}
    at = _START + timedelta(days=200)
    with database.connection() as cur:
        for _, stream, _, topic, state, _ in read_light(cur, journals[0], after=0, limit=10**9):
            member = stream.removeprefix(MEMBER_STREAM)
            evolve(states.setdefault(member, initial(member)), decode_member_event(topic, state))
        for member, folded in states.items():
            shown, expected = read_balance(cur, journals[0], member, at), figures(folded, at)
            assert all(getattr(shown, name) == getattr(expected, name) for name in expected.__struct_fields__), member


def _measure_look_ups(database: Database) -> dict[str, Any]:
    choose = random.Random(7)
    at = _START + timedelta(days=200)
    with database.connection() as cur:
        cur.execute("SELECT journal, member FROM balances ORDER BY journal, member")
        found = cur.fetchall()
        wanted = [found[choose.randrange(len(found))] for _ in range(LOOK_UPS)]
        balances = [_timed(lambda key=key: read_balance(cur, *key, at)) for key in wanted]
        statements = [_timed(lambda key=key: read_statement(cur, *key, limit=50)) for key in wanted]
    return {
        "balance_ms_median": round(statistics.median(balances), 3),
        "balance_ms_p99": round(statistics.quantiles(balances, n=100)[98], 3),
        "statement_page_ms_median": round(statistics.median(statements), 3),
    }


def _timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


# --- the stock runner -----------------------------------------------------------------------------------------------


class StockView(JournalTrackingRecorder):
    """Balances (open and held) in a table, written with the tracking of each event, as the library's views do."""

    def add(self, member: str, points: int, tracking: Tracking) -> None:
        with self.database.transaction() as cur:
            self._insert_tracking(cur, tracking)
            cur.execute(
                "INSERT INTO stock_balances VALUES (%s, %s) ON CONFLICT (member)"
                " DO UPDATE SET points = stock_balances.points + excluded.points",
                (member, points),
            )


class StockMapper:
    """Gives the library's application our events."""

    def to_domain_event(self, stored_event: Any) -> AnyMemberEvent:
        return decode_member_event(stored_event.topic, stored_event.state)


class StockApplication(Application[str]):
    """A programme's journal as an application of the library."""

    def construct_mapper(self) -> Any:
        return StockMapper()


class StockBalances(StockProjection[StockView]):
    """The smallest projection of points there can be: one sum a member."""

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register
    def _(self, domain_event: PointsAccrued, tracking: Tracking) -> None:
        self.view.add(domain_event.member, domain_event.points, tracking)

    @process_event.register
    def _(self, domain_event: PointsRedeemed, tracking: Tracking) -> None:
        self.view.add(domain_event.member, -domain_event.points, tracking)


def _measure_stock(dsn: str, database: Database, journal: int) -> dict[str, Any]:
    """The library's own runner on the same journal; what it kept must agree with our statement up to the same event."""
    owner = connect(dsn)
    with owner.cursor() as cur:
        cur.execute("CREATE TABLE stock_balances (member text PRIMARY KEY, points bigint NOT NULL)")
        cur.execute("GRANT ALL ON stock_balances TO loyalty_writer")
    owner.close()
    environment = {
        "PERSISTENCE_MODULE": "ledger.store",
        "LOYALTY_DATABASE_URL": dsn,
        "LOYALTY_JOURNAL": str(journal),
        "ORIGINATOR_ID_TYPE": "text",
    }
    started = time.perf_counter()
    with ProjectionRunner(
        application_class=StockApplication, projection_class=StockBalances, view_class=StockView, env=environment
    ) as runner:
        runner.wait(STOCK_EVENTS, timeout=120)
        runner.stop()
    seconds = time.perf_counter() - started
    with database.connection() as cur:
        cur.execute("SELECT notification_id FROM tracking WHERE application_name = %s", (StockApplication.name,))
        (reached,) = cur.fetchone() or (0,)
        cur.execute(
            "SELECT count(*) FROM stock_balances FULL JOIN (SELECT member, sum(points) AS points FROM statement"
            " WHERE journal = %s AND position <= %s GROUP BY member) ours USING (member)"
            " WHERE stock_balances.points IS DISTINCT FROM ours.points",
            (journal, reached),
        )
        assert cur.fetchone() == (0,), "the stock projection differs from ours"
    return {"stock_events_per_second": round(reached / seconds), "stock_events": reached}


if __name__ == "__main__":
    with embedded_server() as server_dsn:
        print(json.dumps(measure(server_dsn), indent=2))
