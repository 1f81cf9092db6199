"""The HTTP API on loopback: reads of a balance beside a constant, durable redemptions, and batches of purchases.

The load is wrk where that is on the path, else `benchmarks.http_load`, which is also what paces requests and sends the
batches. Server, database and load share the machine's cores: what each takes of them stands beside every rate.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import msgspec
import psutil
from msgspec import Struct

from benchmarks import wrk
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
WRK_SECONDS = 5
REDEMPTIONS_EACH = 100
"""Of a member, that there are points for: a hundred times as many as members."""
AT = "2026-01-02T00:00:00Z"


class Measured(Struct, kw_only=True):
    """One load: requests a second, latencies in ms, and what of one core each part took, 1 being all of it."""

    count: int
    per_second: float
    p50_ms: float
    p99_ms: float
    server: float
    database: float
    load: float


class Bench:
    """A server under measurement, and its database."""

    def __init__(self, port: int, process: int, database: Database, key: str) -> None:
        self.port = port
        self.key = key
        with database.connection() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            ((backend,),) = cursor.fetchall()
        self._server = psutil.Process(process)
        self._postmaster = psutil.Process(backend).parent()

    def send(self, requests: list[bytes], status: int, connections: int = CONNECTIONS, rate: float = 0.0) -> Measured:
        """Send each request once; with a `rate`, so many a second. All must be answered with a status."""
        before = self._seconds()
        load = Load(host="127.0.0.1", port=self.port, connections=connections, requests=requests, rate=rate)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.http_load"],
            input=msgspec.json.encode(load),
            stdout=subprocess.PIPE,
            check=True,
        )
        report = msgspec.json.decode(done.stdout, type=Report)
        assert report.statuses == {str(status): len(requests)}, report.statuses
        ordered = sorted(report.latencies_ms)
        p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
        return self._measured(before, len(requests), report.seconds, p50, p99)

    def wrk(self, script: str) -> Measured:
        """Load it with wrk; nothing may be refused."""
        before = self._seconds()
        found = wrk.run(self.port, script, key=self.key, connections=CONNECTIONS, seconds=WRK_SECONDS)
        assert found.failed == 0, found
        return self._measured(before, found.count, found.seconds, found.p50_ms, found.p99_ms)

    def _seconds(self) -> list[float]:
        """Processor time so far of the server, the database and the loads."""
        loads = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = self._postmaster.cpu_times()
        database = ended.children_user + ended.children_system
        database += sum(_cpu(process) for process in (self._postmaster, *self._postmaster.children()))
        return [_cpu(self._server), database, loads.ru_utime + loads.ru_stime]

    def _measured(self, before: list[float], count: int, seconds: float, p50: float, p99: float) -> Measured:
        after = self._seconds()
        server, database, load = ((late - early) / seconds for early, late in zip(before, after, strict=True))
        return Measured(
            count=count,
            per_second=count / seconds,
            p50_ms=p50,
            p99_ms=p99,
            server=server,
            database=database,
            load=load,
        )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _request(method: str, path: str, key: str, body: bytes | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def _serving(dsn: str) -> Iterator[tuple[int, int]]:
    """A server on a database; its port and process."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.http_server", dsn], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        ended = process.wait(60)
        assert ended == 0, f"the server ended with {ended}"


def measure(server_dsn: str, *, rounds: int = 5, count: int = 10_000, batches: int = 20) -> dict[str, Any]:
    """Rates a second, latencies in ms and shares of a core; medians of rounds that take turns, after one that warms."""
    dsn = fresh_database(server_dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    create_programme(ledger, 1)
    members = [f"M{number:05d}" for number in range(MEMBERS)]
    endow(ledger, members, REDEMPTIONS_EACH)
    catch_up(database)
    key = create_key(database, programme=PROGRAMME, role="admin", name="bench", source="bench")[1]
    with database.connection() as cursor:
        info = read_programme(cursor, PROGRAMME)
        assert info is not None
    base = f"/v1/programmes/{quote(PROGRAMME)}"
    balances = [f"{base}/members/{member}/balance" for member in members]
    constants = [f"/constant?journal={journal_of(info, member)}&member={member}" for member in members]
    found: dict[str, list[Measured]] = {"constant": [], "balance": [], "redemption": [], "purchase": [], "paced": []}
    redeemed = 0
    with _serving(dsn) as (port, process):
        bench = Bench(port, process, database, key)
        for number in range(rounds + 1):
            purchases = [_purchases(base, key, members, number * batches + n) for n in range(batches)]
            round_ = {
                "constant": _reads(bench, constants, count),
                "balance": _reads(bench, balances, count),
                "redemption": _redemptions(bench, base, members, number, count),
                "purchase": bench.send(purchases, 200, connections=2),
                "paced": bench.send(_gets(balances, key, count), 200, rate=READ_RATE),
            }
            redeemed += round_["redemption"].count
            for name, measured in round_.items() if number else ():
                found[name].append(measured)
    _check_redeemed(database, redeemed, rounds + 1)
    ledger.close()
    database.close()
    return {
        "load": f"{'wrk' if wrk.available() else 'benchmarks.http_load'}, {CONNECTIONS} connections;"
        " purchases in batches of 1,000 over 2",
        "rounds": rounds,
        "balance_to_constant": round(
            _median(found["balance"], "per_second") / _median(found["constant"], "per_second"), 3
        ),
        **{name: _summary(rows, 1_000 if name == "purchase" else 1) for name, rows in found.items()},
    }


def _reads(bench: Bench, paths: list[str], count: int) -> Measured:
    return bench.wrk(wrk.gets(paths)) if wrk.available() else bench.send(_gets(paths, bench.key, count), 200)


def _gets(paths: list[str], key: str, count: int) -> list[bytes]:
    return [_request("GET", paths[n % len(paths)], key) for n in range(count)]


def _redemptions(bench: Bench, base: str, members: list[str], number: int, count: int) -> Measured:
    path = f"{base}/redemptions"
    if wrk.available():
        body = f'{{"id": "r{number}-%d", "member": "M%05d", "points": {POINTS}, "occurred_at": "{AT}"}}'
        return bench.wrk(wrk.posts(path, f"string.format('{body}', n, n % {len(members)})"))
    bodies = (
        {"id": f"r{number}-{n}", "member": members[n % len(members)], "points": POINTS, "occurred_at": AT}
        for n in range(count)
    )
    return bench.send([_request("POST", path, bench.key, msgspec.json.encode(body)) for body in bodies], 201)


def _check_redeemed(database: Database, answered: int, rounds: int) -> None:
    """Every redemption that was answered is there, each once; wrk ends without waiting for the last of its answers."""
    with database.connection() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT command_key) FROM events WHERE topic = 'points-redeemed.v1'")
        ((recorded, different),) = cursor.fetchall()
    assert recorded == different
    assert answered <= recorded <= answered + rounds * CONNECTIONS, (answered, recorded)


def _median(rows: list[Measured], figure: str) -> float:
    return median([float(getattr(row, figure)) for row in rows])


def _summary(rows: list[Measured], times: int) -> dict[str, float]:
    """Medians; the rate in what is counted, of which a request has some."""
    shares = {f"{part}_cores": round(_median(rows, part), 2) for part in ("server", "database", "load")}
    latencies = {name: round(_median(rows, name), 2) for name in ("p50_ms", "p99_ms")}
    return {"per_s": round(_median(rows, "per_second") * times), **latencies, **shares}


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
