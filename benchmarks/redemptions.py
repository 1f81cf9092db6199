"""Single durable redemptions from many threads through the group-commit queue."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.measuring import fresh_database, median
from benchmarks.purchases import PROGRAMME, create_programme
from ledger.commands import AccruePoints, EnrolMember, RedeemPoints
from ledger.engine import Ledger, Submission
from ledger.group_commit import GroupCommit
from ledger.store.database import Database

POINTS = 100
AT = datetime(2026, 1, 2, tzinfo=UTC)


def endow(ledger: Ledger, members: list[str], redemptions_each: int) -> None:
    """Enrol members and give each enough points, as one lot, for its redemptions."""
    for start in range(0, len(members), 2_000):
        batch: list[Submission] = []
        for member in members[start : start + 2_000]:
            common: dict[str, Any] = {"source": "bench", "programme": PROGRAMME, "member": member, "occurred_at": AT}
            batch.append(Submission(EnrolMember(id=f"enrol-{member}", **common)))
            points = POINTS * redemptions_each
            batch.append(Submission(AccruePoints(id=f"accrue-{member}", points=points, reason="bench", **common)))
        outcomes = ledger.handle(batch)
        assert all(outcome.status == "posted" for outcome in outcomes), outcomes[0]


def redeem(queue: GroupCommit, members: list[str], threads: int, each: int, run: str) -> tuple[float, list[float]]:
    """`each` redemptions by each of `threads` threads; the rate a second, and every latency in ms."""
    latencies: list[list[float]] = [[] for _ in range(threads)]
    ready = threading.Barrier(threads + 1)

    def client(number: int) -> None:
        mine = latencies[number]
        ready.wait()
        for step in range(each):
            member = members[(number * each + step) % len(members)]
            command = RedeemPoints(
                id=f"{run}-{number}-{step}",
                source="bench",
                programme=PROGRAMME,
                member=member,
                occurred_at=AT,
                points=POINTS,
            )
            started = time.perf_counter()
            outcome = queue.submit(Submission(command))
            mine.append((time.perf_counter() - started) * 1_000)
            assert outcome.status == "posted", outcome

    clients = [threading.Thread(target=client, args=(number,)) for number in range(threads)]
    for thread in clients:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in clients:
        thread.join()
    elapsed = time.perf_counter() - started
    return threads * each / elapsed, [latency for mine in latencies for latency in mine]


def measure(server_dsn: str, *, rounds: int = 5, count: int = 10_000, journals: int = 1) -> dict[str, Any]:
    """Redemptions/s at 20 and 200 threads over spread members, and over 10 hot ones, taking turns; p99 in ms."""
    database = Database(fresh_database(server_dsn))
    ledger = Ledger(database)
    create_programme(ledger, journals)
    spread = [f"S{number:05d}" for number in range(10_000)]
    hot = [f"H{number:05d}" for number in range(10)]
    scenarios = {"spread_20": (spread, 20), "spread_200": (spread, 200), "hot_20": (hot, 20), "hot_200": (hot, 200)}
    endow(ledger, spread, (rounds + 1) * 2 * count // len(spread) + 20)
    endow(ledger, hot, (rounds + 1) * 2 * count // len(hot) + 20)
    rates: dict[str, list[float]] = {name: [] for name in scenarios}
    latencies: dict[str, list[float]] = {name: [] for name in scenarios}
    with GroupCommit(ledger) as queue:
        for number in range(rounds + 1):
            for name, (members, threads) in scenarios.items():
                rate, found = redeem(queue, members, threads, count // threads, f"{name}-{number}")
                if number:  # the first round warms
                    rates[name].append(rate)
                    latencies[name] += found
    expected = (rounds + 1) * sum(count // threads * threads for _, threads in scenarios.values())
    with database.connection() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT command_key) FROM events WHERE topic = 'points-redeemed.v1'")
        found_rows = cursor.fetchone()
    assert found_rows == (expected, expected), (found_rows, expected)
    ledger.close()
    database.close()
    result: dict[str, Any] = {"checked": f"{expected} redemptions, each once", "rounds": rounds, "journals": journals}
    for name in scenarios:
        ordered = sorted(latencies[name])
        result[f"{name}_per_s"] = round(median(rates[name]))
        result[f"{name}_latency_ms_p50"] = round(ordered[len(ordered) // 2], 2)
        result[f"{name}_latency_ms_p99"] = round(ordered[int(len(ordered) * 0.99)], 2)
    result["hot_to_spread_20"] = round(median(rates["hot_20"]) / median(rates["spread_20"]), 3)
    result["hot_to_spread_200"] = round(median(rates["hot_200"]) / median(rates["spread_200"]), 3)
    return result
