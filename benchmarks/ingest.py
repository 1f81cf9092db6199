"""Message bytes in memory → committed purchases, against raw COPY of the same rows and the stock library application.

Every purchase is decoded, decided, hashed and made idempotent, and records two events. The contenders take turns within
one run, each on a database of its own on the same server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlparse
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
import psycopg2
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event

from benchmarks.measuring import fresh_database, median, seconds
from benchmarks.purchases import create_programme, purchases
from consumers.inbound import decode
from ledger.engine import Ledger, Submission
from ledger.store.database import Database, connect

BATCH = 5_000
COPY_OUT = (
    "COPY (SELECT * FROM events WHERE journal = %s AND position > %s ORDER BY position) TO STDOUT (FORMAT binary)"
)


def ingest(ledger: Ledger, messages: list[bytes]) -> None:
    """Everything from bytes to the commit, batch by batch."""
    for start in range(0, len(messages), BATCH):
        batch = [Submission(decode(body), body) for body in messages[start : start + BATCH]]
        outcomes = ledger.handle(batch, auto_enrol=True)
        assert all(outcome.status == "posted" for outcome in outcomes)


class RawCopy:
    """The rows that the ledger wrote, copied into the same table elsewhere: what PostgreSQL alone takes for them."""

    def __init__(self, written_dsn: str, target_dsn: str) -> None:
        self._source = connect(written_dsn)
        self._target_dsn = target_dsn
        self._copied: dict[int, int] = {}

    def take(self) -> list[bytes]:
        """The rows written since the last time: one COPY stream a journal."""
        cursor = self._source.cursor()
        cursor.execute("SELECT journal, position FROM journals ORDER BY journal")
        streams = []
        for journal, position in cursor.fetchall():
            stream = BytesIO()
            cursor.copy_expert(cursor.mogrify(COPY_OUT, (journal, self._copied.get(journal, 0))), stream)
            streams.append(stream.getvalue())
            self._copied[journal] = position
        return streams

    def load(self, streams: list[bytes], threads: int) -> None:
        """Copy the streams in, each in a transaction of its own."""
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(self._load, stream) for stream in streams]:
                future.result()

    def _load(self, stream: bytes) -> None:
        connection = connect(self._target_dsn)
        try:
            connection.cursor().copy_expert("COPY events FROM STDIN (FORMAT binary)", BytesIO(stream), 256 * 1024)
        finally:
            connection.close()


class StockMember(Aggregate):
    """A member as the library's own documentation would write it."""

    @event("Enrolled")
    def __init__(self, member: str) -> None:
        self.member = member
        self.balance = 0

    @staticmethod
    def create_id(member: str) -> UUID:
        """The stream of a member."""
        return uuid5(NAMESPACE_URL, f"/members/{member}")

    @event("PurchaseRecorded")
    def record(self, order: str, occurred_at: str, currency: str, lines: list[dict[str, Any]]) -> None:
        """Record a purchase."""

    @event("PointsAccrued")
    def accrue(self, order: str, points: int) -> None:
        """Accrue points."""
        self.balance += points


class StockLoyalty(Application[UUID]):
    """The same work on the stock library application: decode, decide, two events, commit; one purchase at a time."""

    def take(self, body: bytes) -> None:
        """Take one message."""
        message = msgspec.json.decode(body)
        try:
            member: StockMember = self.repository.get(StockMember.create_id(message["member"]))
        except AggregateNotFoundError:
            member = StockMember(member=message["member"])
        member.record(message["id"], message["occurred_at"], message["currency"], message["lines"])
        member.accrue(message["id"], sum(line["amount_minor"] for line in message["lines"]) // 100)
        self.save(member)


def stock_environment(dsn: str) -> dict[str, str]:
    """The settings of the library's own PostgreSQL module for a database."""
    parsed = psycopg2.extensions.parse_dsn(dsn) if "=" in dsn and "://" not in dsn else None
    if parsed is None:
        url = urlparse(dsn)
        host = parse_qs(url.query).get("host", [url.hostname or ""])[0]
        parsed = {"host": host, "dbname": url.path.lstrip("/"), "user": url.username or "postgres"}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parsed["dbname"],
        "POSTGRES_HOST": parsed["host"],
        "POSTGRES_PORT": parsed.get("port", "5432"),
        "POSTGRES_USER": parsed["user"],
        "POSTGRES_PASSWORD": parsed.get("password", "") or "trust",
    }


def measure(server_dsn: str, *, rounds: int = 5, count: int = 30_000, journals: int = 4) -> dict[str, Any]:
    """Rates in purchases/s (medians of the rounds) and the ratios within the rounds."""
    ours_dsn, raw_dsn, stock_dsn = (fresh_database(server_dsn) for _ in range(3))
    database = Database(ours_dsn)
    ledger = Ledger(database)
    create_programme(ledger, journals)
    raw = RawCopy(ours_dsn, raw_dsn)
    raw.load(raw.take(), 1)
    stock = StockLoyalty(env=stock_environment(stock_dsn))
    stock_count = max(500, count // 30)
    rates: dict[str, list[float]] = {"ours": [], "raw_copy": [], "raw_copy_parallel": [], "stock": []}
    ingest(ledger, purchases(count, count // 10))  # warm
    raw.load(raw.take(), 1)
    for number in range(1, rounds + 1):
        messages = purchases(count, count // 10, first=number * count)
        cpu = os.times()
        rates["ours"].append(count / seconds(lambda batch=messages: ingest(ledger, batch)))  # type: ignore[misc]
        used = os.times()
        rates.setdefault("python_us_per_purchase", []).append(
            (used.user - cpu.user + used.system - cpu.system) / count * 1e6
        )
        streams = raw.take()
        threads = journals if number % 2 == 0 else 1
        name = "raw_copy_parallel" if threads > 1 else "raw_copy"
        rates[name].append(count / seconds(lambda rows=streams, n=threads: raw.load(rows, n)))  # type: ignore[misc]
        some = messages[:stock_count]
        rates["stock"].append(stock_count / seconds(lambda batch=some: [stock.take(body) for body in batch]))  # type: ignore[misc]
    stock.close()
    checked = check(database, raw_dsn, (rounds + 1) * count)
    ledger.close()
    database.close()
    figures: dict[str, Any] = {
        f"{name}_per_s": round(median(values)) for name, values in rates.items() if "us" not in name
    }
    return figures | {
        "python_us_per_purchase": round(median(rates["python_us_per_purchase"]), 1),
        "ratio_to_raw_copy": round(median(rates["ours"]) / median(rates["raw_copy"]), 3),
        "ratio_to_raw_copy_parallel": round(median(rates["ours"]) / median(rates["raw_copy_parallel"]), 3),
        "ratio_to_stock": round(median(rates["ours"]) / median(rates["stock"]), 1),
        "journals": journals,
        "purchases_a_round": count,
        "rounds": rounds,
        "checked": checked,
    }


def check(database: Database, raw_dsn: str, purchases_expected: int) -> str:
    """A fast wrong run fails: every purchase once, and the copied table equal to ours."""
    count: Callable[[Any], tuple[Any, ...]] = lambda cursor: (  # noqa: E731
        cursor.execute(
            "SELECT count(*) FILTER (WHERE topic = 'purchase-recorded.v1'), count(*), count(DISTINCT command_key),"
            " bit_xor(hashtextextended(encode(leaf_hash, 'hex'), 0)) FROM events"
        )
        or cursor.fetchone()
    )
    with database.connection() as cursor:
        ours = count(cursor)
    raw = connect(raw_dsn)
    theirs = count(raw.cursor())
    raw.close()
    assert ours[0] == purchases_expected, (ours, purchases_expected)
    assert ours == theirs, (ours, theirs)
    return f"{ours[0]} purchases, {ours[1]} events, each once; the copied table is equal"
