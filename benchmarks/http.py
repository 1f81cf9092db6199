"""The HTTP API on loopback: reads of a balance beside a constant, durable redemptions, and batches of purchases.

The load comes from `benchmarks.http_load`, a process of its own. Server, database and load share the machine's cores.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import msgspec

from benchmarks.http_load import Load, Report
from benchmarks.measuring import fresh_database, median
from benchmarks.purchases import PROGRAMME, create_programme
from benchmarks.redemptions import POINTS, endow
from ledger.engine import Ledger
from ledger.programmes import journal_of, read_programme
from ledger.store.database import Database
from service.keys import create_key
from service.read_models import catch_up

CONNECTIONS = 64
READ_RATE = 2_000.0
MEMBERS = 10_000
AT = "2026-01-02T00:00:00Z"


def _request(method: str, path: str, key: str, body: bytes | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def _serving(dsn: str) -> Iterator[int]:
    """A server on a database; its port."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.http_server", dsn], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        ended = process.wait(60)
        assert ended == 0, f"the server ended with {ended}"


def run(port: int, requests: list[bytes], connections: int = CONNECTIONS, rate: float = 0.0) -> Report:
    """Put a load on the server; what came of it."""
    load = Load(host="127.0.0.1", port=port, connections=connections, requests=requests, rate=rate)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_load"],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Report)


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[int(len(values) * share)], 2)


def measure(server_dsn: str, *, rounds: int = 5, count: int = 10_000, batches: int = 20) -> dict[str, Any]:
    """Rates a second and latencies in ms; medians of rounds that take turns, after one that warms."""
    dsn = fresh_database(server_dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    create_programme(ledger, 1)
    members = [f"M{number:05d}" for number in range(MEMBERS)]
    endow(ledger, members, (rounds + 1) * count // MEMBERS + 20)
    catch_up(database)
    key = create_key(database, programme=PROGRAMME, role="admin", name="bench", source="bench")[1]
    with database.connection() as cursor:
        info = read_programme(cursor, PROGRAMME)
        assert info is not None
    base = f"/v1/programmes/{quote(PROGRAMME)}"
    balances = [_request("GET", f"{base}/members/{members[n % MEMBERS]}/balance", key) for n in range(count)]
    constants = [
        _request("GET", f"/constant?journal={journal_of(info, member)}&member={member}", key)
        for member in (members[n % MEMBERS] for n in range(count))
    ]
    rates: dict[str, list[float]] = {"balance": [], "constant": [], "redemption": [], "purchase": []}
    latencies: list[float] = []
    redeeming: list[float] = []
    with _serving(dsn) as port:
        for number in range(rounds + 1):
            redemptions = [_redemption(base, key, members[n % MEMBERS], f"r{number}-{n}") for n in range(count)]
            purchases = [_purchases(base, key, members, number * batches + n) for n in range(batches)]
            found = {
                "constant": run(port, constants),
                "balance": run(port, balances),
                "redemption": run(port, redemptions),
                "purchase": run(port, purchases, connections=2),
            }
            paced = run(port, balances, rate=READ_RATE)
            _check(found, paced, count, batches)
            if number == 0:
                continue
            for name, report in found.items():
                rates[name].append(len(report.latencies_ms) / report.seconds * (1_000 if name == "purchase" else 1))
            latencies += paced.latencies_ms
            redeeming += found["redemption"].latencies_ms
    ledger.close()
    database.close()
    per_second = {f"{name}_per_s": round(median(found)) for name, found in rates.items()}
    return {
        "load": f"benchmarks.http_load, {CONNECTIONS} connections; purchases in batches of 1,000 over 2",
        "rounds": rounds,
        **per_second,
        "balance_to_constant": round(median(rates["balance"]) / median(rates["constant"]), 3),
        f"balance_at_{READ_RATE:.0f}_per_s_ms_p50": _percentile(latencies, 0.5),
        f"balance_at_{READ_RATE:.0f}_per_s_ms_p99": _percentile(latencies, 0.99),
        "redemption_ms_p50": _percentile(redeeming, 0.5),
        "redemption_ms_p99": _percentile(redeeming, 0.99),
    }


def _check(found: dict[str, Report], paced: Report, count: int, batches: int) -> None:
    assert found["redemption"].statuses == {"201": count}, found["redemption"].statuses
    assert found["purchase"].statuses == {"200": batches}, found["purchase"].statuses
    for report in (found["constant"], found["balance"], paced):
        assert report.statuses == {"200": count}, report.statuses


def _redemption(base: str, key: str, member: str, id: str) -> bytes:
    body = {"id": id, "member": member, "points": POINTS, "occurred_at": AT}
    return _request("POST", f"{base}/redemptions", key, msgspec.json.encode(body))


def _purchases(base: str, key: str, members: list[str], number: int) -> bytes:
    purchases = [
        {
            "id": f"p{number}-{n}",
            "member": members[(number * 1_000 + n) % MEMBERS],
            "occurred_at": AT,
            "currency": "USD",
            "lines": [{"sku": "sku", "quantity": 1, "amount_minor": 1_000}],
        }
        for n in range(1_000)
    ]
    return _request("POST", f"{base}/purchase-batches", key, msgspec.json.encode({"purchases": purchases}))
