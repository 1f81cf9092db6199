"""What it costs to verify: events a second on one process and on all, where the time goes, and what memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

from audit.rows import COLUMNS, Owner, Scan
from audit.verify import SORT_MEMORY, verify
from benchmarks.ingest import ingest
from benchmarks.measuring import fresh_database, median, seconds
from benchmarks.purchases import PROGRAMME, create_programme, purchases
from ledger.codec import MEMBER_STREAM
from ledger.engine import Ledger
from ledger.hashing import HASH_SIZE_BYTES, Frontier
from ledger.store import journal as log
from ledger.store.database import Database, PgCursor, connect

ROOT = Path(__file__).parent.parent
TEMPLATE_PURCHASES = 4_000
TEMPLATE_MEMBERS = 400
APPEND_AT_MOST = 1_000_000
ROUNDS = 5
MEMORY_GROWTH_MAX_MIB = 8
PART_ROWS = 40_000
"""Rows that are kept in memory to measure the parts of a verification on."""

COPY_ROWS = (
    f"COPY (SELECT {', '.join(COLUMNS)} FROM events WHERE journal = 1 AND position <= {PART_ROWS} ORDER BY position)"
    " TO STDOUT (FORMAT binary)"
)
ORDER_OF_STREAMS = (
    "SELECT 1 FROM (SELECT originator_version,"
    " row_number() OVER (PARTITION BY originator_id ORDER BY position) AS expected"
    f" FROM events WHERE journal = 1 AND position <= {PART_ROWS}) AS event WHERE originator_version <> expected"
)
_STREAM_FIELDS = 22  # where in a row of binary COPY position and stream start


def measure(server_dsn: str, events_count: int = 1_000_000, journals: int = 2) -> dict[str, Any]:
    """Verify `events_count` purchase and accrual events of `journals` journals in a new database on the server.

    Raises AssertionError when a verification finds anything wrong, or misses the byte that is changed at the end.
    """
    small, large = fresh_database(server_dsn), fresh_database(server_dsn)
    few = build(small, events_count // 10, journals)
    recorded = build(large, events_count, journals)
    result: dict[str, Any] = {"events": recorded, "journals": journals, "sort_memory": SORT_MEMORY}
    for name, options in {
        "one_process": {"processes": 1},
        "one_process_without_reading_states": {"processes": 1, "deep": False},
        "a_process_a_core": {"processes": min(journals, os.cpu_count() or 1)},
    }.items():
        rates = [_rate(large, recorded, options) for _ in range(ROUNDS)]
        result[f"events_per_s_{name}"] = round(median(rates))
    busy = time.process_time()
    _rate(large, recorded, {"processes": 1})
    result["processor_us_per_event_without_postgresql"] = round((time.process_time() - busy) / recorded * 1e6, 2)
    result["us_per_event"] = parts(large, journals)
    memory = {str(events): _peak_memory_mib(dsn) for events, dsn in ((few, small), (recorded, large))}
    assert memory[str(recorded)] <= memory[str(few)] + MEMORY_GROWTH_MAX_MIB, memory
    result["peak_memory_mib"] = memory
    result["checked"] = _finds_a_changed_byte(large)
    return result


def build(dsn: str, events_count: int, journals: int) -> int:
    """Fill an empty database: a programme, and copies of the events of a few members under the names of others.

    The number of events, from `events_count` on.
    """
    with closing(Database(dsn)) as database, closing(Ledger(database)) as ledger:
        create_programme(ledger, journals)
        ingest(ledger, purchases(TEMPLATE_PURCHASES, TEMPLATE_MEMBERS))
        with database.connection() as cur:
            templates = [log.read(cur, number, after=0, limit=APPEND_AT_MOST) for number in range(1, journals + 1)]
            recorded = sum(map(len, templates))
            for copy in count(1):
                if recorded >= events_count:
                    break
                for ordinal, rows in enumerate(templates):
                    recorded += _append(cur, rows[0].journal, _copied(rows, copy, ordinal, journals))
    with closing(connect(dsn)) as connection:
        connection.cursor().execute("VACUUM ANALYZE events")
    return recorded


def _append(cur: PgCursor, journal: int, records: list[log.Record]) -> int:
    head = log.lock_head(cur, journal, begin=True)
    log.append(cur, head, records)
    log.store_head(cur, head, commit=True)
    return len(records)


def _copied(rows: list[log.EventRow], copy: int, ordinal: int, journals: int) -> list[log.Record]:
    """The events of members as those of other members, who belong in the same journal."""
    streams = {row.originator_id for row in rows if row.originator_id.startswith(MEMBER_STREAM)}
    names = {stream: _name(stream.removeprefix(MEMBER_STREAM), copy, ordinal, journals) for stream in streams}
    return [
        (
            MEMBER_STREAM + names[row.originator_id],
            row.originator_version,
            row.topic,
            row.state.replace(
                b'"member":"%s"' % row.originator_id.removeprefix(MEMBER_STREAM).encode(),
                b'"member":"%s"' % names[row.originator_id].encode(),
            ),
            None if row.command_key is None else os.urandom(16),
            row.command_hash,
            row.command_events,
        )
        for row in rows
        if row.originator_id in names
    ]


def _name(member: str, copy: int, ordinal: int, journals: int) -> str:
    candidates = (f"{member}-{copy}-{number}" for number in count())
    return next(name for name in candidates if crc32(name.encode()) % journals == ordinal)


def parts(dsn: str, journals: int) -> dict[str, float]:
    """Microseconds an event of what a verification does, each alone. PostgreSQL sends rows while this process hashes
    those before, so the first and the second overlap in a verification; the order of streams comes after both.
    """
    rows: list[bytes] = []
    with closing(connect(dsn, "loyalty_reader")) as connection, connection.cursor() as cur:
        cur.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        cur.execute(f"SET work_mem = '{SORT_MEMORY}'")
        cur.copy_expert(COPY_ROWS, SimpleNamespace(write=rows.append))
        sent = _us(lambda: cur.copy_expert(COPY_ROWS, SimpleNamespace(write=_drop)))
        ordered = _us(lambda: cur.execute(ORDER_OF_STREAMS))
    canonical = [row[_STREAM_FIELDS:-HASH_SIZE_BYTES] for row in rows[1:-1]]
    leaves = [sha256(data).digest() for data in canonical]
    hashed = _us(lambda: _scan(rows, None))
    read = _us(lambda: _scan(rows, Owner(programme=PROGRAMME, ordinal=0, journals=journals)))
    return {
        "postgresql_sends_rows": sent,
        "postgresql_orders_streams": ordered,
        "rows_checked_and_hashed": hashed,
        "of_which_sha256_of_rows": _us(lambda: [sha256(data).digest() for data in canonical]),
        "of_which_sha256_of_the_tree": _us(lambda: Frontier().append_all(leaves)),
        "states_read": round(read - hashed, 2),
    }


def _drop(row: bytes) -> None:
    """Take a row and do nothing."""


def _scan(rows: list[bytes], owner: Owner | None) -> None:
    scan = Scan(1, owner)
    write = scan.write
    for row in rows:
        write(row)
    scan.flush()
    assert scan.problem is None, scan.problem


def _us(work: Callable[[], object]) -> float:
    return round(median([seconds(work) for _ in range(ROUNDS)]) / PART_ROWS * 1e6, 2)


def _rate(dsn: str, recorded: int, options: dict[str, Any]) -> float:
    report = verify(dsn, **options)
    assert (report.problems, report.events) == ([], recorded), report
    return report.events / report.seconds


def _peak_memory_mib(dsn: str) -> int:
    """The most memory, without PostgreSQL's, that a process of its own takes to verify everything. From /proc, because
    getrusage tells of a new process at least what the one that started it had.
    """
    program = (
        "import sys; from pathlib import Path; from audit.verify import verify;"
        " assert verify(sys.argv[1], processes=1).ok;"
        " status = Path('/proc/self/status').read_text().split(); print(status[status.index('VmHWM:') + 1])"
    )
    ended = subprocess.run([sys.executable, "-c", program, dsn], check=True, capture_output=True, cwd=ROOT)
    return int(ended.stdout) // 1024


def _finds_a_changed_byte(dsn: str) -> str:
    with closing(connect(dsn)) as connection, connection.cursor() as cur:
        cur.execute("ALTER TABLE events DISABLE TRIGGER ALL")
        cur.execute("SELECT position / 2 FROM journals WHERE journal = 1")
        ((position,),) = cur.fetchall()
        cur.execute(
            "UPDATE events SET state = set_byte(state, 7, get_byte(state, 7) # 1) WHERE journal = 1 AND position = %s",
            (position,),
        )
    found = verify(dsn, [1]).journals[0]
    assert found.first_bad_position == position, found
    return f"all good; then one bit was changed, and {found.problem}"
