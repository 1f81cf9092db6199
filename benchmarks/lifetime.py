"""Lifetime figures: look-ups and increments as members grow from ten thousand to a million, and the runner's speed."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.measuring import embedded_server, fresh_database, median
from benchmarks.projections import build_log
from ledger.codec import encode
from ledger.commands import PurchaseLine
from ledger.events import PurchaseRecorded
from ledger.store.database import Database, PgCursor, connect
from ledger.store.journal import create_journals
from projections.balances import Balances, read_balance
from projections.batch import Batch, Row
from projections.lifetime import Lifetime
from projections.lifetime_reads import read_lifetime
from projections.programme_value import read_cohorts, read_programme_value
from projections.pyramid import Period, read_pyramid
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner, fold_batch
from projections.satisfaction_members import read_latest_answers
from projections.statement import Statement

SIZES = (10_000, 100_000, 1_000_000)
JOURNALS = 4
LOG_EVENTS = 200_000
LOOK_UPS = 2_000
BATCH_EVENTS = 5_000
ROUNDS = 3
LOOK_UP_MS_MAX = 1.0

_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def measure(dsn_admin: str, sizes: tuple[int, ...] = SIZES, log_events: int = LOG_EVENTS) -> dict[str, Any]:
    """Measure on tables of each size, and on a log folded by the runner.

    `dsn_admin` logs in to a server where databases and roles may be created. Raises AssertionError where a result is
    wrong; whether the figures reach their targets is said under `met`.
    """
    results: dict[str, Any] = {f"members_{size}": _measure_size(dsn_admin, size) for size in sizes}
    results |= _measure_runner(dsn_admin, log_events)
    results["met"] = {"look_up": results[f"members_{sizes[-1]}"]["look_up_ms_median"] < LOOK_UP_MS_MAX}
    return results


# --- tables of a size -----------------------------------------------------------------------------------------------


def _measure_size(dsn_admin: str, members: int) -> dict[str, Any]:
    dsn = fresh_database(dsn_admin)
    database = Database(dsn)
    try:
        with database.transaction() as cur:
            journals = create_journals(cur, "programme", "bench", JOURNALS)
        _fill(dsn, members)
        choose = random.Random(members)
        with database.connection() as cur:
            wanted = [choose.randrange(members) for _ in range(LOOK_UPS)]
            look_ups = [
                _ms(partial(read_lifetime, cur, journals, journals[number % JOURNALS], f"m{number:07d}", _AT))
                for number in wanted
            ]
            screens = [
                _ms(partial(_read_screen, cur, journals, journals[number % JOURNALS], f"m{number:07d}"))
                for number in wanted
            ]
            value = partial(read_programme_value, cur, journals, _AT)
            cur.execute("SELECT count(*), sum(revenue_minor - returned_minor)::bigint FROM lifetime")
            assert cur.fetchone() == (value().members, value().revenue_minor)
            pyramid = partial(read_pyramid, cur, journals, by="profit", period=Period())
            assert sum(band.members for band in pyramid().bands) == members
            return {
                "look_up_ms_median": round(median(look_ups), 3),
                "look_up_ms_p99": round(statistics.quantiles(look_ups, n=100)[98], 3),
                "screen_ms_median": round(median(screens), 3),
                "screen_ms_p99": round(statistics.quantiles(screens, n=100)[98], 3),
                "programme_value_ms": round(median([_ms(value) for _ in range(ROUNDS)]), 2),
                "cohorts_ms": round(median([_ms(partial(read_cohorts, cur, journals, _AT)) for _ in range(ROUNDS)]), 2),
                "increment_us_per_event": round(_measure_increment(cur, journals[0], members, choose), 2),
                "pyramid_seconds": round(_ms(pyramid) / 1000, 2),
            }
    finally:
        database.close()


def _read_screen(cur: PgCursor, journals: list[int], journal: int, member: str) -> None:
    """Value, behaviour, balance and satisfaction of a member, as one after the other."""
    lifetime = read_lifetime(cur, journals, journal, member, _AT)
    balance = read_balance(cur, journal, member, _AT)
    answers = read_latest_answers(cur, journals, member)
    assert (lifetime.purchases, balance.balance, [answer.score for answer in answers]) == (3, 200, [9]), member


def _fill(dsn: str, members: int) -> None:
    """Members with three days of trade, two lots and an answer each, and the sums that the projection would have."""
    connection = connect(dsn)
    with connection.cursor() as cur:
        for statement in _FILL:
            cur.execute(statement, {"members": members, "journals": JOURNALS})
    connection.close()


def _measure_increment(cur: PgCursor, journal: int, members: int, choose: random.Random) -> float:
    """Microseconds an event for batches of purchases by members at random, each batch rolled back."""
    seconds = []
    for number in range(ROUNDS + 1):
        rows = [_purchase(position, choose.randrange(members // JOURNALS)) for position in range(1, BATCH_EVENTS + 1)]
        cur.execute("BEGIN")
        batch = Batch(journal, 1_000_000, rows)
        taken = _ms(partial(fold_batch, cur, Lifetime(), batch, {}))
        cur.execute("ROLLBACK")
        if number:  # the first meets cold caches
            seconds.append(taken)
    return 1000 * median(seconds) / BATCH_EVENTS


def _purchase(number: int, member: int) -> Row:
    name, at = f"m{member * JOURNALS:07d}", _AT + timedelta(seconds=7 * number)
    event = PurchaseRecorded(
        programme="bench", member=name, source="pos", id=f"order-{number}", occurred_at=at, currency="CNY", terms=1,
        lines=[PurchaseLine(sku="a", quantity=1, amount_minor=1000 + number, cost_minor=600)], channel="pos",
        store="S-1", returnable_until=at, keep_until=at,
    )  # fmt: skip
    return Row(1_000_000 + number, name, 100, event.topic, encode(event).decode(), at.isoformat())


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


_DAY = "DATE '2023-01-01' + (number::bigint * 7919 %% 900)::integer"
_FILL = (
    f"""
    INSERT INTO trade_days
    SELECT 1 + number %% %(journals)s, 'm' || lpad(number::text, 7, '0'), {_DAY} + 20 * turn, 1, 2,
        1000 + number * 31 %% 50000, 0, 0, 0, 500 + number * 17 %% 40000, 0, 0
    FROM generate_series(0, %(members)s - 1) AS number, generate_series(0, 2) AS turn
    """,
    f"""
    INSERT INTO lifetime
    SELECT 1 + number %% %(journals)s, 'm' || lpad(number::text, 7, '0'), 'open', {_DAY}, date_trunc('month', {_DAY}),
        NULL, {_DAY}, {_DAY} + 40, {_DAY}, {_DAY} + 20, {_DAY} + 40, 300, 100, NULL, NULL, NULL, '{{pos}}', '{{S-1}}',
        ARRAY(
            SELECT DISTINCT (12 * extract(year FROM day) + extract(month FROM day) - 1)::integer
            FROM unnest(ARRAY[{_DAY}, {_DAY} + 20, {_DAY} + 40]) AS day ORDER BY 1
        ),
        3, 6, 3 * (1000 + number * 31 %% 50000), 0, 0, 0, 3 * (500 + number * 17 %% 40000), 0, 0
    FROM generate_series(0, %(members)s - 1) AS number
    """,
    """
    INSERT INTO balances
    SELECT journal, member, 'open', 7, 7, 200, 0, 0, 300, 100, 0, 0, 0, 0, 0, 0, 0 FROM lifetime
    """,
    """
    INSERT INTO lots
    SELECT journal, member, member || '.' || lot, first_day, 'infinity', first_day, 100
    FROM lifetime, unnest(ARRAY['000002', '000003']) AS lot
    """,
    """
    INSERT INTO latest_answers
    SELECT journal, member, 'NPS', 6, last_day, last_day, 9, true, 0, 10 FROM lifetime
    """,
    "INSERT INTO satisfaction_members SELECT journal, member, 'open', NULL, NULL, last_day FROM lifetime",
    """
    INSERT INTO lifetime_totals
    SELECT journal, 0, count(*), 0, 0, 0, 0, count(*), sum(purchases), sum(units), sum(revenue_minor), 0, 0, 0,
        sum(goods_cost_minor), 0, 0, count(*) FILTER (WHERE profit > 0), sum(greatest(profit, 0)),
        count(*) FILTER (WHERE profit < 0), sum(greatest(-profit, 0)), 0, 0, sum(points_earned), sum(points_redeemed)
    FROM (SELECT *, revenue_minor - goods_cost_minor AS profit FROM lifetime) valued GROUP BY journal
    """,
    """
    INSERT INTO lifetime_profits
    SELECT journal, bucket, count(*), sum(profit) FROM (
        SELECT journal, profit, sign(profit)::integer * CASE WHEN profit = 0 THEN 0 ELSE
            1 + 16 * octave + ((abs(profit) * 16) >> octave)::integer - 16 END AS bucket
        FROM (SELECT journal, revenue_minor - goods_cost_minor AS profit FROM lifetime) valued, LATERAL (
            SELECT length(ltrim(abs(profit)::bit(64)::text, '0')) - 1 AS octave
        ) octaves
    ) bucketed GROUP BY journal, bucket
    """,
    "INSERT INTO lifetime_last_days SELECT journal, last_day, count(*) FROM lifetime GROUP BY 1, 2",
    "INSERT INTO cohorts SELECT journal, cohort, count(*) FROM lifetime GROUP BY 1, 2",
    """
    INSERT INTO cohort_repurchases
    SELECT journal, cohort, first_day, count(*), count(*), count(*), count(*) FROM lifetime GROUP BY 1, 2, 3
    """,
    """
    INSERT INTO cohort_months
    SELECT journal, cohort, date_trunc('month', day), count(DISTINCT member), sum(trade_days.purchases),
        sum(trade_days.revenue_minor)
    FROM trade_days JOIN lifetime USING (journal, member) GROUP BY 1, 2, 3
    """,
    "VACUUM ANALYZE lifetime, trade_days, lifetime_totals, lifetime_profits, lifetime_last_days, cohorts",
    "VACUUM ANALYZE cohort_repurchases, cohort_months, balances, lots, latest_answers, satisfaction_members",
)


# --- the runner -----------------------------------------------------------------------------------------------------


def _measure_runner(dsn_admin: str, events: int) -> dict[str, Any]:
    """Fold a log by this projection alone, and by all together; the rows must be those of a rebuild."""
    dsn = fresh_database(dsn_admin)
    database = Database(dsn)
    try:
        build_log(database, events)
        results: dict[str, Any] = {}
        for name, projections in (("alone", [Lifetime()]), ("together", [Balances(), Statement(), Lifetime()])):
            with database.connection() as cur:
                for projection in projections:
                    for table in projection.tables:
                        cur.execute(f"DELETE FROM {table}")
                cur.execute("DELETE FROM projections")
            started, cpu = time.perf_counter(), time.process_time()
            folded = Runner(database, projections, threads=2).run_once()
            results[f"runner_events_per_second_{name}"] = round(folded / (time.perf_counter() - started))
            results[f"runner_python_us_per_event_{name}"] = round(1e6 * (time.process_time() - cpu) / folded, 2)
        with database.connection() as cur:
            live = table_digests(cur, [Lifetime()])
        rebuild(dsn, [Lifetime()])
        with database.connection() as cur:
            assert table_digests(cur, [Lifetime()]) == live, "the live tables differ from the rebuilt ones"
    finally:
        database.close()
    return results


if __name__ == "__main__":
    with embedded_server() as server_dsn:
        print(json.dumps(measure(server_dsn), indent=2))
