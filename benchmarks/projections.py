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
from functools import partial
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection as StockProjection
from eventsourcing.projection import ProjectionRunner

from benchmarks.measuring import append_all, embedded_server, fresh_database, median
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
from ledger.store.database import Database, PgCursor, connect
from ledger.store.journal import Record, create_journals, read_light
from ledger.store.recorders import JournalTrackingRecorder
from projections.balances import Balances, read_balance
from projections.protocol import Projection
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from projections.statement import Statement, read_statement

PROGRAMME = "bench"
JOURNALS = 4
EVENTS = 400_000
EVENTS_PER_MEMBER = 25
STOCK_EVENTS = 4_000
LOOK_UPS = 1_000
ROUNDS = 3
REBUILD_EVENTS_PER_SECOND_MIN = 60_000
STOCK_RATIO_MIN = 50
LOOK_UP_MS_MAX = 1.0

PROJECTIONS: tuple[Projection, ...] = (Balances(), Statement())
_START = datetime(2025, 1, 1, 10, tzinfo=UTC)


def measure(dsn_admin: str, events: int = EVENTS) -> dict[str, Any]:
    """Build a log of about `events` events in a database of its own, measure, and check what was built.

    `dsn_admin` logs in to a server where databases and roles may be created. Raises AssertionError where a result is
    wrong; whether the figures reach their targets is said under `met`.
    """
    dsn = fresh_database(dsn_admin)
    database = Database(dsn)
    try:
        journals, members = build_log(database, events)
        total = _count(database)
        results: dict[str, Any] = {"events": total, "members": members, "journals": len(journals)}
        results |= _measure_rebuild(dsn, database, journals[0], total)
        results |= _measure_live(database, total)
        _check_balances(database, journals)
        results |= _measure_look_ups(database)
    finally:
        database.close()
    results["met"] = {
        "rebuild": results["rebuild_events_per_second"] >= REBUILD_EVENTS_PER_SECOND_MIN,
        "ratio_to_stock": results["ratio_to_stock"] >= STOCK_RATIO_MIN,
        "look_up": results["balance_ms_median"] < LOOK_UP_MS_MAX,
    }
    return results


# --- the log --------------------------------------------------------------------------------------------------------


def build_log(database: Database, events: int) -> tuple[list[int], int]:
    """A programme with a log of about so many events; its journals, and how many members it has."""
    with database.transaction() as cur:
        journals = create_journals(cur, "programme", PROGRAMME, JOURNALS)
    members = max(JOURNALS, events // EVENTS_PER_MEMBER)
    for ordinal, journal in enumerate(journals):
        mine = [f"m{number:07d}" for number in range(ordinal, members, JOURNALS)]
        append_all(database, journal, _history(mine, events // JOURNALS, random.Random(ordinal)))
    return journals, members


def _history(members: list[str], count: int, choose: random.Random) -> Iterator[Record]:
    """Half purchases, nearly as many accruals, and a redemption for about every fifth purchase."""
    versions: dict[str, int] = defaultdict(int)
    states: dict[str, list[Allocation]] = defaultdict(list)

    def record(event: AnyMemberEvent) -> Record:
        versions[event.member] += 1
        return (MEMBER_STREAM + event.member, versions[event.member], event.topic, encode(event), None, None, None)

    for number in range((count - len(members)) * 5 // 11):
        member = members[choose.randrange(len(members))]
        at = _START + timedelta(seconds=20 * number, microseconds=number % 3)
        if member not in versions:
            yield record(_event(MemberEnrolled, member, f"enrol-{number}", at))
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
            taken, states[member] = spend(states[member], points // 2)
            yield record(
                _event(
                    PointsRedeemed, member, f"redeem-{number}", at + timedelta(days=2), points=points // 2,
                    allocations=taken, reversible_until=at + timedelta(days=30), **terms,
                )
            )  # fmt: skip


def _event(kind: Any, member: str, id: str, at: datetime, **fields: Any) -> Any:
    return kind(programme=PROGRAMME, member=member, source="pos", id=id, occurred_at=at, **fields)


def spend(layers: list[Allocation], points: int) -> tuple[list[Allocation], list[Allocation]]:
    """Take points from layers, the first ones first: what is taken, and what is left. They must be enough."""
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


def _measure_rebuild(dsn: str, database: Database, journal: int, total: int) -> dict[str, Any]:
    """Rebuilds and stretches of the stock runner, taking turns, so that both meet the same machine."""
    stock = Stock(dsn, database, journal)
    seconds, cpu, swaps, stock_rates = [], [], [], []
    for _ in range(ROUNDS):
        started, cpu_started = time.perf_counter(), time.process_time()
        report = rebuild(dsn, PROJECTIONS)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
        swaps.append(report.swap_seconds)
        assert report.events_count == total
        stock_rates.append(stock.run())
    stock.check()
    return {
        "rebuild_events_per_second": round(total / median(seconds)),
        "rebuild_events_per_second_best": round(total / min(seconds)),
        "rebuild_us_per_event": round(1e6 * median(seconds) / total, 2),
        "rebuild_python_us_per_event": round(1e6 * median(cpu) / total, 2),
        "rebuild_swap_seconds": round(median(swaps), 3),
        "stock_events_per_second": round(median(stock_rates)),
        "stock_events_per_second_best": round(max(stock_rates)),
        "ratio_to_stock": round(median([total / s / r for s, r in zip(seconds, stock_rates, strict=True)]), 1),
    }


def _measure_live(database: Database, total: int) -> dict[str, Any]:
    """Fold everything again through the runner, in tables emptied for it; the rows must equal the rebuilt ones."""
    with database.connection() as cur:
        rebuilt = table_digests(cur, PROJECTIONS)
        for projection in PROJECTIONS:
            for table in projection.tables:
                cur.execute(f"DELETE FROM {table}")
            cur.execute("DELETE FROM projections WHERE projection = %s", (projection.name,))
    started = time.perf_counter()
    assert Runner(database, PROJECTIONS, threads=2).run_once() == total
    seconds = time.perf_counter() - started
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == rebuilt, "the live tables differ from the rebuilt ones"
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
        balances = [_timed(partial(read_balance, cur, journal, member, at)) for journal, member in wanted]
        statements = [_timed(partial(read_statement, cur, journal, member, limit=50)) for journal, member in wanted]
    return {
        "balance_ms_median": round(median(balances), 3),
        "balance_ms_p99": round(statistics.quantiles(balances, n=100)[98], 3),
        "statement_page_ms_median": round(median(statements), 3),
    }


def _timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


# --- the stock runner -----------------------------------------------------------------------------------------------


_STOCK_TABLES = """
CREATE TABLE stock_balances (member text PRIMARY KEY, status text NOT NULL, version bigint NOT NULL,
    open bigint NOT NULL, earned bigint NOT NULL, spent bigint NOT NULL);
CREATE TABLE stock_lots (member text, lot text, available_at timestamptz, expires_at timestamptz, opened_at timestamptz,
    points bigint NOT NULL, PRIMARY KEY (member, lot, available_at, expires_at));
CREATE TABLE stock_statement (member text, position bigint, topic text, occurred_at timestamptz, points bigint NOT NULL,
    balance bigint NOT NULL, terms integer, reference text, source text, id text, lots json,
    PRIMARY KEY (member, position));
GRANT ALL ON stock_balances, stock_lots, stock_statement TO loyalty_writer
"""


class StockView(JournalTrackingRecorder):
    """The same read models as ours, of the topics that the log has, written event by event with its tracking."""

    def note(self, event: AnyMemberEvent, tracking: Tracking, status: str | None = None) -> None:
        with self.database.transaction() as cur:
            self._insert_tracking(cur, tracking)
            self._add(cur, event, status=status)

    def accrue(self, event: PointsAccrued, tracking: Tracking) -> None:
        with self.database.transaction() as cur:
            self._insert_tracking(cur, tracking)
            balance = self._add(cur, event, earned=event.points)
            cur.execute(
                "INSERT INTO stock_lots VALUES (%s, %s, %s, %s, %s, %s)",
                (event.member, event.lot, event.available_at, event.expires_at, event.occurred_at, event.points),
            )
            layer = Allocation(event.lot, event.points, event.available_at, event.expires_at)
            self._enter(cur, event, tracking, event.points, balance, event.purchase, [layer])

    def redeem(self, event: PointsRedeemed, tracking: Tracking) -> None:
        with self.database.transaction() as cur:
            self._insert_tracking(cur, tracking)
            balance = self._add(cur, event, spent=event.points)
            for part in event.allocations:
                key = (event.member, part.lot, part.available_at, part.expires_at)
                cur.execute(
                    "UPDATE stock_lots SET points = points - %s"
                    " WHERE (member, lot, available_at, expires_at) = (%s, %s, %s, %s) RETURNING points",
                    (part.points, *key),
                )
                if cur.fetchone() == (0,):
                    cur.execute(
                        "DELETE FROM stock_lots WHERE (member, lot, available_at, expires_at) = (%s, %s, %s, %s)", key
                    )
            self._enter(cur, event, tracking, -event.points, balance, None, event.allocations)

    def _add(
        self, cur: PgCursor, event: AnyMemberEvent, *, earned: int = 0, spent: int = 0, status: str | None = None
    ) -> int:
        cur.execute(
            "INSERT INTO stock_balances AS b VALUES (%s, coalesce(%s, 'unknown'), 1, %s, %s, %s)"
            " ON CONFLICT (member) DO UPDATE SET status = coalesce(%s, b.status), version = b.version + 1,"
            " open = b.open + excluded.open, earned = b.earned + excluded.earned, spent = b.spent + excluded.spent"
            " RETURNING open",
            (event.member, status, earned - spent, earned, spent, status),
        )
        return int((cur.fetchone() or (0,))[0])

    def _enter(
        self,
        cur: PgCursor,
        event: PointsAccrued | PointsRedeemed,
        tracking: Tracking,
        points: int,
        balance: int,
        reference: str | None,
        lots: list[Allocation],
    ) -> None:
        cur.execute(
            "INSERT INTO stock_statement VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                event.member,
                tracking.notification_id,
                event.topic,
                event.occurred_at,
                points,
                balance,
                event.terms,
                reference,
                event.source,
                event.id,
                encode(lots).decode(),
            ),
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
    """Balances, lots and statement, as a projection of the library is written."""

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.note(domain_event, tracking)

    @process_event.register
    def _(self, domain_event: MemberEnrolled, tracking: Tracking) -> None:
        self.view.note(domain_event, tracking, "open")

    @process_event.register
    def _(self, domain_event: PointsAccrued, tracking: Tracking) -> None:
        self.view.accrue(domain_event, tracking)

    @process_event.register
    def _(self, domain_event: PointsRedeemed, tracking: Tracking) -> None:
        self.view.redeem(domain_event, tracking)


class Stock:
    """The library's own runner on the same journal, run a stretch at a time: it goes on from what it has tracked."""

    def __init__(self, dsn: str, database: Database, journal: int) -> None:
        self._database = database
        self._journal = journal
        self._reached = 0
        self._environment = {
            "PERSISTENCE_MODULE": "ledger.store",
            "LOYALTY_DATABASE_URL": dsn,
            "LOYALTY_JOURNAL": str(journal),
            "ORIGINATOR_ID_TYPE": "text",
        }
        owner = connect(dsn)
        with owner.cursor() as cur:
            cur.execute(_STOCK_TABLES)
        owner.close()

    def run(self) -> float:
        """Process the next events; events/s."""
        before, started = self._reached, time.perf_counter()
        with ProjectionRunner(
            application_class=StockApplication,
            projection_class=StockBalances,
            view_class=StockView,
            env=self._environment,
        ) as runner:
            runner.wait(before + STOCK_EVENTS, timeout=120)
            runner.stop()
        seconds = time.perf_counter() - started
        with self._database.connection() as cur:
            cur.execute("SELECT notification_id FROM tracking WHERE application_name = %s", (StockApplication.name,))
            (self._reached,) = cur.fetchone() or (0,)
        return (self._reached - before) / seconds

    def check(self) -> None:
        """What it kept agrees with our statement up to the same event."""
        with self._database.connection() as cur:
            cur.execute(
                "SELECT count(*) FROM stock_statement FULL JOIN (SELECT * FROM statement"
                " WHERE journal = %s AND position <= %s) ours USING (member, position)"
                " WHERE (stock_statement.points, stock_statement.balance, stock_statement.occurred_at,"
                " stock_statement.id) IS DISTINCT FROM (ours.points, ours.balance, ours.occurred_at, ours.id)",
                (self._journal, self._reached),
            )
            assert cur.fetchone() == (0,), "the stock statement differs from ours"
            cur.execute("SELECT (SELECT sum(points) FROM stock_lots), (SELECT sum(open) FROM stock_balances)")
            lots, balances = cur.fetchone() or (0, 1)
            assert lots == balances, "the stock lots differ from the stock balances"


if __name__ == "__main__":
    with embedded_server() as server_dsn:
        print(json.dumps(measure(server_dsn), indent=2))
