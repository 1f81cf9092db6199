"""What it costs to export, to check an export and to import it: events a second, where the time goes, and memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audit.export import PARQUET, export
from audit.export_check import check_export
from audit.export_source import reader
from audit.import_ledger import import_ledger
from audit.segments import (
    PAGE_EVENTS,
    SCHEMA,
    Whose,
    check_recorded,
    framed,
    leaf_hashes,
    page_from_copy,
    page_query,
    take_out,
)
from audit.verify import verify
from benchmarks.measuring import fresh_database, median, seconds
from benchmarks.purchases import PROGRAMME
from benchmarks.verify import build
from ledger.hashing import Frontier

ROOT = Path(__file__).parent.parent
ROUNDS = 3
MEMORY_GROWTH_MAX_MIB = 48
"""Arrow's allocator keeps freed pages for a while: some pages more or less are no growth."""


def measure(server_dsn: str, events_count: int = 1_000_000, journals: int = 2) -> dict[str, Any]:
    """Export `events_count` purchase and accrual events of `journals` journals, check the export, and import it into
    another database on the server.

    Raises AssertionError when the import is not the ledger that was exported.
    """
    small, large = fresh_database(server_dsn), fresh_database(server_dsn)
    few = build(small, max(events_count // 10, 2 * PAGE_EVENTS * journals), journals)  # full pages, as in the large one
    recorded = build(large, events_count, journals)
    result: dict[str, Any] = {"events": recorded, "journals": journals}
    with tempfile.TemporaryDirectory(prefix="loyalty-export-") as name:
        folder = Path(name) / "large"
        taken = [seconds(lambda: export(large, folder, from_scratch=True)) for _ in range(ROUNDS)]
        result["events_per_s_export"] = round(recorded / median(taken))
        result["bytes_per_event"] = round(sum(one.stat().st_size for one in folder.rglob("*.*")) / recorded, 1)
        result["seconds_to_find_nothing_new"] = round(seconds(lambda: export(large, folder)), 2)
        taken = [seconds(lambda: check_export(folder)) for _ in range(ROUNDS)]
        result["events_per_s_check"] = round(recorded / median(taken))
        result["us_per_event"] = parts(large, journals)
        target = fresh_database(server_dsn)
        result["events_per_s_import"] = round(recorded / seconds(lambda: import_ledger(target, folder)))
        assert [one.root for one in verify(target).journals] == [one.root for one in verify(large).journals]
        memory = {
            what: {
                str(events): _peak_memory_mib(program, dsn, Path(name) / str(events))
                for events, dsn in ((few, small), (recorded, large))
            }
            for what, program in PROGRAMS.items()
        }
        for what, peak in memory.items():
            assert peak[str(recorded)] <= peak[str(few)] + MEMORY_GROWTH_MAX_MIB, (what, peak)
        result["peak_memory_mib"] = memory
    return result


PROGRAMS = {
    "export": "from audit.export import export; export(dsn, folder)",
    "check": "from audit.export_check import check_export; check_export(folder)",
}


def parts(dsn: str, journals: int) -> dict[str, float]:
    """Microseconds an event of what an export does, each alone; PostgreSQL and the compression work beside the rest."""
    whose, query = Whose(1, PROGRAMME, 0, journals), page_query(1, 0, PAGE_EVENTS)
    data: list[bytes] = []
    with reader(dsn) as cur:
        cur.copy_expert(query, SimpleNamespace(write=data.append))
        sent = _us(lambda: cur.copy_expert(query, SimpleNamespace(write=lambda _: None)))
    whole = b"".join(data)
    page = page_from_copy(whole, whose, 0)
    fields = framed(page)
    leaves = leaf_hashes(page, fields, 1)
    out = _us(lambda: take_out(page.column("stream"), page.column("state"), 0))
    return {
        "postgresql_sends_pages": sent,
        "columns_made": round(_us(lambda: page_from_copy(whole, whose, 0)) - out, 2),
        "columns_taken_out_of_states": out,
        "canonical_bytes": _us(lambda: framed(page)),
        "sha256_of_rows": _us(lambda: leaf_hashes(page, fields, 1)),
        "sha256_of_the_tree": _us(lambda: Frontier().append_all(leaves)),
        "columns_compared": _us(lambda: check_recorded(page, leaves, whose, 0, 0)),
        "parquet": _us(lambda: _written(page)),
    }


def _written(page: pa.RecordBatch) -> None:
    with pq.ParquetWriter(pa.BufferOutputStream(), SCHEMA, **PARQUET) as file:
        file.write_batch(page)


def _us(work: Callable[[], object]) -> float:
    return round(median([seconds(work) for _ in range(5)]) / PAGE_EVENTS * 1e6, 2)


def _peak_memory_mib(program: str, dsn: str, folder: Path) -> int:
    """The most memory, without PostgreSQL's, that a process of its own takes. From /proc, because getrusage tells of a
    new process at least what the one that started it had.
    """
    code = (
        "import sys; from pathlib import Path; dsn, folder = sys.argv[1], Path(sys.argv[2]);"
        f" {program}; status = Path('/proc/self/status').read_text().split();"
        " print(status[status.index('VmHWM:') + 1])"
    )
    ended = subprocess.run([sys.executable, "-c", code, dsn, folder], check=True, capture_output=True, cwd=ROOT)
    return int(ended.stdout) // 1024
