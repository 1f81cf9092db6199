"""What a purchase costs as the ledger grows, as a member grows, and what memory the writer takes meanwhile."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.ingest import ingest
from benchmarks.measuring import fresh_database, median
from benchmarks.purchases import create_programme, purchases
from ledger.engine import Ledger
from ledger.store.database import Database

CHUNK = 25_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> int:
    """Resident memory of this process now, MiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_BYTES // 2**20


def growth(server_dsn: str, events_max: int, members: int, journals: int) -> dict[str, Any]:
    """Microseconds a purchase and resident MiB, as the ledger grows to `events_max` events; a year passes meanwhile."""
    database = Database(fresh_database(server_dsn))
    ledger = Ledger(database)
    create_programme(ledger, journals)
    count = events_max // 2
    interval_s = max(1, 365 * 86_400 // count)
    points: list[tuple[int, float, int]] = []
    for first in range(0, count, CHUNK):
        messages = purchases(CHUNK, members, first=first, interval_s=interval_s)
        started = time.perf_counter()
        ingest(ledger, messages)
        points.append((2 * (first + CHUNK), (time.perf_counter() - started) / CHUNK * 1e6, resident_mib()))
    with database.connection() as cursor:
        cursor.execute("SELECT count(*) FROM events WHERE topic = 'purchase-recorded.v1'")
        recorded = (cursor.fetchone() or (0,))[0]
    assert recorded == count, (recorded, count)
    ledger.close()
    database.close()
    early = [cost for events, cost, _ in points if 50_000 < events <= 200_000]
    late = points[-len(early) :]
    return {
        "us_per_purchase_at_100k_events": round(median(early), 1),
        f"us_per_purchase_at_{points[-1][0] // 1000}k_events": round(median([cost for _, cost, _ in late]), 1),
        "late_to_early": round(median([cost for _, cost, _ in late]) / median(early), 3),
        "resident_mib": [{"events": events, "mib": mib} for events, _, mib in points[:: max(1, len(points) // 10)]],
        "members": members,
        "journals": journals,
        "checked": f"{recorded} purchases recorded",
    }


def one_big_member(server_dsn: str, purchases_count: int = 10_000, rounds: int = 5) -> dict[str, Any]:
    """What a purchase of a member with 10,000 costs against one of a member with ten, in turns, batches of 1,000."""
    database = Database(fresh_database(server_dsn))
    ledger = Ledger(database)
    create_programme(ledger, 1)
    done = 0
    while done < purchases_count:
        ingest(ledger, purchases(1_000, 1, first=done, interval_s=600))
        done += 1_000
    costs: dict[str, list[float]] = {"big": [], "small": []}
    for number in range(rounds):
        first = purchases_count + number * 1_000
        for name, members, start in (("big", 1, first), ("small", 100, first + 10_000_000)):
            messages = purchases(1_000, members, first=start, interval_s=600 if name == "big" else 3)
            if name == "small":
                messages = [body.replace(b'"M', f'"N{number}-'.encode()) for body in messages]
            started = time.perf_counter()
            ingest(ledger, messages)
            costs[name].append((time.perf_counter() - started) / 1_000 * 1e6)
    ledger.close()
    database.close()
    return {
        "us_per_purchase_of_a_member_with_10000": round(median(costs["big"]), 1),
        "us_per_purchase_of_a_member_with_10": round(median(costs["small"]), 1),
        "ratio": round(median(costs["big"]) / median(costs["small"]), 3),
    }


def measure(
    server_dsn: str, *, events_max: int = 5_000_000, members: int = 20_000, journals: int = 4
) -> dict[str, Any]:
    """Growth of the ledger and of one member."""
    return {
        "member": one_big_member(server_dsn),
        "ledger": growth(server_dsn, events_max, members, journals),
    }
