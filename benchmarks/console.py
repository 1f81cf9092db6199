"""Pages of the web console over HTTP, on the demo's ledger: milliseconds until all of a page is there.

One request at a time over one connection, in turns through all pages, signed in as somebody who may see everything.
What the browser does after that is not in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any, Final

from benchmarks.measuring import fresh_database, median
from ledger.engine import Ledger
from ledger.store.database import Database
from service import journey
from service.demo import Run, found_programme, load
from service.demo_screen import Screen
from service.keys import create_key, find_key
from service.read_models import catch_up
from service.web.security import ROOT, SESSION_COOKIE
from service.web.sessions import open_session

TARGET_MS: Final = 200
MEMBER: Final = "H0256"
PAGES: Final = {
    "overview": "",
    "members": "/members?q=H0",
    "member": f"/members/{MEMBER}",
    "member_as_of": f"/members/{MEMBER}?as_of=2017-10-01T00:00",
    "statement": f"/members/{MEMBER}/statement",
    "member_events": f"/members/{MEMBER}/events",
    "event": "/events/1/1000",
    "pyramid": "/pyramid",
    "satisfaction": "/satisfaction",
    "liability": "/liability",
    "objectives": "/objectives",
    "terms": "/terms",
    "rejected": "/rejected",
    "audit": "/audit",
    "replay_of_member": f"/audit/as-of?member={MEMBER}&as_of=2017-10-01",
}


@contextmanager
def _serving(dsn: str) -> Iterator[int]:
    """`loyalty serve` on a database; its port."""
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0"]
    environment = os.environ | {"LOYALTY_DATABASE_URL": dsn}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split()[2].rstrip(",").rpartition(":")[2])
        finally:
            process.terminate()


def measure(server_dsn: str, *, rounds: int = 30) -> dict[str, Any]:
    """Medians and 95th percentiles in ms, by page; and the pages whose 95th is not under the target."""
    dsn = fresh_database(server_dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    found_programme(ledger)
    load(ledger, Screen(), Run(), journey.totals(None), None)
    events = catch_up(database)
    with database.connection() as cur:
        cur.execute("VACUUM ANALYZE")
    _, text = create_key(database, programme=journey.PROGRAMME, role="admin", name="bench", source="bench")
    key = find_key(database, text)
    assert key is not None
    cookie = f"{SESSION_COOKIE}={open_session(database, key).token}"
    found: dict[str, list[float]] = {name: [] for name in PAGES}
    sizes: dict[str, int] = {}
    with _serving(dsn) as port, closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in range(rounds + 1):
            for name, path in PAGES.items():
                milliseconds, sizes[name] = _get(connection, f"{ROOT}/programmes/{journey.PROGRAMME}{path}", cookie)
                if number:
                    found[name].append(milliseconds)
    ledger.close()
    database.close()
    pages = {
        name: {
            "median_ms": round(median(times), 1),
            "p95_ms": round(sorted(times)[int(len(times) * 0.95)], 1),
            "kib": sizes[name] >> 10,
        }
        for name, times in found.items()
    }
    slow = [name for name, page in pages.items() if page["p95_ms"] >= TARGET_MS]
    return {"events": events, "rounds": rounds, "pages": pages, f"not_under_{TARGET_MS}_ms": slow}


def _get(connection: HTTPConnection, path: str, cookie: str) -> tuple[float, int]:
    """How many milliseconds a page took, and its bytes."""
    started = time.perf_counter()
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - started) * 1_000
    assert answer.status == 200, (path, answer.status, body[:500])
    return took, len(body)
