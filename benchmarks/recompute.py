"""What it costs to recompute figures from an export in DuckDB: events a second on two threads."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from audit.export import export
from audit.recompute.duckdb_engine import MEMORY_LIMIT, duckdb_engine
from audit.recompute.engine import recompute
from audit.recompute.scripts import BALANCES, CHECKS, FIGURES, LAYERS
from benchmarks.ingest import ingest
from benchmarks.measuring import fresh_database, median, seconds
from benchmarks.purchases import PROGRAMME, STARTS_AT, create_programme, purchases
from ledger.commands import RedeemPoints
from ledger.engine import Ledger, Submission
from ledger.store.database import Database

THREADS = 2
ROUNDS = 3
PURCHASES = 6_000
MEMBERS = 500
REDEMPTIONS_EVERY = 4
"""Purchases to a redemption."""
POINTS = 100
SEGMENT_EVENTS = 100_000
ROW_GROUP_EVENTS = 20_000
JUDGED_AT = STARTS_AT.replace(tzinfo=None) + timedelta(days=400)
TOTALS = "SELECT count(*), sum(earned), sum(spent), sum(open), count(DISTINCT member) FROM recomputed_balances"


def measure(server_dsn: str, events_count: int = 2_000_000) -> dict[str, Any]:
    """Recompute balances, then everything, of `events_count` purchases, accruals and redemptions: an export of a small
    ledger, each of whose events is there many times, of other members.

    Raises AssertionError when the figures are not as many times those of the small ledger.
    """
    with tempfile.TemporaryDirectory(prefix="loyalty-recompute-") as name:
        folder = Path(name)
        recorded = _export(fresh_database(server_dsn), folder / "small")
        copies = -(-events_count // recorded)
        small = sorted((folder / "small").rglob("*.parquet"))
        large = _multiplied(small, folder / "large", copies)
        events = _count(large)
        once = _run(folder / "once", small, recorded, (LAYERS, BALANCES))[-1]
        result: dict[str, Any] = {"events": events, "threads": THREADS, "memory_limit": MEMORY_LIMIT}
        for what, scripts in {
            "balances": (LAYERS, BALANCES),
            "all_figures": FIGURES,
            "figures_and_decisions": (*FIGURES, *CHECKS),
        }.items():
            rounds = [_run(folder / f"{what}-{number}", large, events, scripts) for number in range(ROUNDS)]
            assert {found for *_, found in rounds} == {tuple(copies * value for value in once)}, (what, once)
            result[f"events_per_s_{what}"] = round(events / median([taken for taken, *_ in rounds]))
            busy = median([busy for _, busy, _ in rounds])
            result[f"processor_us_per_event_{what}"] = round(busy / events * 1e6, 2)
        return result


def _export(dsn: str, folder: Path) -> int:
    """Export a ledger with purchases and redemptions; how many events it has."""
    with closing(Database(dsn)) as database, closing(Ledger(database)) as ledger:
        create_programme(ledger, 1)
        ingest(ledger, purchases(PURCHASES, MEMBERS))
        redeemed = STARTS_AT + timedelta(minutes=PURCHASES)
        ledger.handle(
            [
                Submission(
                    RedeemPoints(
                        id=f"r-{number}",
                        source="app",
                        programme=PROGRAMME,
                        occurred_at=redeemed + timedelta(seconds=number),
                        member=f"M{number % MEMBERS:07d}",
                        points=POINTS,
                    )
                )
                for number in range(PURCHASES // REDEMPTIONS_EVERY)
            ]
        )
        return export(dsn, folder).manifest.events


def _multiplied(files: Sequence[Path], folder: Path, copies: int) -> list[Path]:
    """Segments with every event of a member `copies` times: the names of members have another number each time."""
    folder.mkdir()
    listed = ", ".join(f"'{path}'" for path in files)
    made = []
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE small AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")
        ((events,),) = connection.execute("SELECT count(member) FROM small").fetchall()
        a_file = max(1, SEGMENT_EVENTS // events)
        for first in range(0, copies, a_file):
            made.append(folder / f"{first:06d}.parquet")
            connection.execute(
                "COPY (SELECT small.* REPLACE ("
                f" position + copy * {events} AS position, member || '-' || copy AS member,"
                " CASE WHEN member IS NULL THEN state ELSE replace(state, '\"member\":\"' || member || '\"',"
                "   '\"member\":\"' || member || '-' || copy || '\"') END AS state)"
                f" FROM small, range({first}, {min(copies, first + a_file)}) AS copies (copy)"
                f" WHERE copy = 0 OR member IS NOT NULL ORDER BY position) TO '{made[-1]}'"
                f" (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {ROW_GROUP_EVENTS})"
            )
    return made


def _count(files: Sequence[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in files)


def _run(
    work: Path, files: Sequence[Path], events: int, scripts: Sequence[str]
) -> tuple[float, float, tuple[int, ...]]:
    """Seconds from an empty database to the tables, processor seconds of all threads, and totals of the balances."""
    work.mkdir()
    with duckdb_engine(work, threads=THREADS) as engine:
        busy = time.process_time()
        taken = seconds(lambda: recompute(engine, files, {1: events}, JUDGED_AT, scripts))
        busy = time.process_time() - busy
        (totals,) = engine.rows(TOTALS)
    return taken, busy, totals
