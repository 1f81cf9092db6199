"""What it costs to prove one event of a long journal, and to sign its head: time, rows read, and memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from audit.checkpoints import sign_heads
from audit.nodes import BLOCK
from audit.notes import SigningKey
from audit.proofs import prove_consistency, prove_event
from audit.verify_proof import check_proof
from benchmarks.measuring import fresh_database, median, seconds
from ledger.hashing import Frontier
from ledger.store.database import Database, PgCursor, connect
from ledger.store.journal import append, create_journals, lock_head, store_head

ROOT = Path(__file__).parent.parent
PROOFS = 1_000
FILL_ROWS = 100_000
TARGET_S = 0.05
MEMORY_GROWTH_MAX_MIB = 8

# An event of a library application that the canonical bytes are put together for in SQL: as `ledger.hashing` does.
_FILL = """
INSERT INTO events (journal, position, originator_id, originator_version, topic, state, recorded_at, leaf_hash)
SELECT %(journal)s, position, 'counter', position, 'counted.v1', state, recorded_at,
    sha256('\\x0001'::bytea || int4send(4) || int4send(%(journal)s) || int4send(8)
        || int8send((extract(epoch FROM recorded_at) * 1000000)::bigint)
        || int4send(8) || int8send(position) || int4send(8) || int8send(position)
        || int4send(7) || 'counter' || int4send(10) || 'counted.v1'
        || int4send(-1) || int4send(-1) || int4send(-1) || int4send(octet_length(state)) || state)
FROM (
    SELECT position, timestamptz '2100-01-01' + position * interval '1 millisecond' AS recorded_at,
        convert_to('{"number":' || position || '}', 'UTF8') AS state
    FROM generate_series(%(first)s, %(last)s) AS position
) AS counted
"""


def fill(cur: PgCursor, journal: int, events: int) -> None:
    """Fill an empty journal with events, their hashes and the head over them; memory does not grow with them."""
    frontier = Frontier()
    for first in range(1, events + 1, FILL_ROWS):
        last = min(first + FILL_ROWS - 1, events)
        cur.execute(_FILL, {"journal": journal, "first": first, "last": last})
        cur.execute(
            "SELECT string_agg(leaf_hash, '' ORDER BY position) FROM events"
            " WHERE journal = %s AND position BETWEEN %s AND %s",
            (journal, first, last),
        )
        ((hashes,),) = cur.fetchall()
        leaves = bytes(hashes)
        frontier.append_all([leaves[at : at + 32] for at in range(0, len(leaves), 32)])
    cur.execute(
        "UPDATE journals SET position = %s, root = %s, frontier = %s,"
        " recorded_at = timestamptz '2100-01-01' + %s * interval '1 millisecond' WHERE journal = %s",
        (events, frontier.root(), frontier.to_bytes(), events, journal),
    )


def measure(server_dsn: str, events: int = 10_000_000) -> dict[str, Any]:
    """Prove events of a journal of `events` events, and of one a tenth as long, in new databases on the server; every
    proof is checked.

    Raises AssertionError where the memory grows with the journal.
    """
    small, large = measure_journal(server_dsn, events // 10), measure_journal(server_dsn, events)
    peak = {str(one["events"]): one["peak_memory_mib"] for one in (small, large)}
    assert large["peak_memory_mib"] <= small["peak_memory_mib"] + MEMORY_GROWTH_MAX_MIB, peak
    return {"a_tenth": small, "all": large, "met": {"under_50_ms": large["proof_of_an_event_ms_max"] < TARGET_S * 1000}}


def measure_journal(server_dsn: str, events: int) -> dict[str, Any]:
    """The figures of one journal."""
    dsn = fresh_database(server_dsn)
    key = SigningKey.generate("bench.example")
    keys = [key.verifier_key]
    with closing(connect(dsn)) as connection, connection.cursor() as cur:
        (journal,) = create_journals(cur, "application", "counter", 1)
        fill(cur, journal, events)
        cur.execute("VACUUM ANALYZE events")
    result: dict[str, Any] = {"events": events, **_signed_and_proven(dsn, key, events)}
    with closing(Database(dsn)) as database, closing(connect(dsn, "loyalty_reader")) as connection:
        with database.transaction() as cur:
            head = lock_head(cur, journal)
            append(cur, head, [("more", version, "counted.v1", b"{}", None, None, None) for version in range(1, BLOCK)])
            store_head(cur, head)
        result["next_checkpoint_of_1023_more_ms"] = _ms(seconds(lambda: sign_heads(database, key)))
        cur = connection.cursor()
        positions = [random.Random(1).randint(1, events) for _ in range(PROOFS)]
        proofs: list[dict[str, Any]] = []
        times = [seconds(partial(_prove, cur, journal, position, proofs)) for position in positions]
        checks = [seconds(partial(check_proof, proof, keys)) for proof in proofs]
        grown = events + BLOCK - 1
        consistency = seconds(lambda: check_proof(prove_consistency(cur, journal, events, grown), keys))
        result |= {
            "proof_of_an_event_ms_median": _ms(median(times)),
            "proof_of_an_event_ms_p99": _ms(sorted(times)[len(times) * 99 // 100]),
            "proof_of_an_event_ms_max": _ms(max(times)),
            "rows_read_by_a_proof_max": max(_rows_read(cur, journal, position) for position in positions[:100]),
            "check_of_a_proof_ms_median": _ms(median(checks)),
            "consistency_proof_and_check_ms": _ms(consistency),
        }
        cur.execute("SELECT count(*), pg_total_relation_size('merkle_nodes') FROM merkle_nodes")
        result["stored_nodes"], result["stored_nodes_bytes"] = cur.fetchone() or (0, 0)
    return result


def _prove(cur: PgCursor, journal: int, position: int, proofs: list[dict[str, Any]]) -> None:
    proofs.append(prove_event(cur, journal, position))


def _rows_read(cur: PgCursor, journal: int, position: int) -> int:
    """The rows of all tables that one proof reads, as PostgreSQL counts them."""
    cur.execute("BEGIN")
    before = _counted(cur)
    prove_event(cur, journal, position)
    read = _counted(cur) - before
    cur.execute("COMMIT")
    return read


def _counted(cur: PgCursor) -> int:
    """The rows that this session has read; those of transactions before may not be in it any more."""
    cur.execute(
        "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_xact_all_tables"
        " WHERE schemaname = 'loyalty'"
    )
    ((rows,),) = cur.fetchall()
    return int(rows)


def _signed_and_proven(dsn: str, key: SigningKey, events: int) -> dict[str, Any]:
    """Sign the head and prove an event in a process of its own: seconds to sign, and the most memory it takes (without
    PostgreSQL's), from /proc.
    """
    program = (
        "import json, sys, time; from pathlib import Path; from audit.checkpoints import sign_heads;"
        " from audit.notes import SigningKey; from audit.proofs import prove_event;"
        " from ledger.store.database import Database; database = Database(sys.argv[1]); started = time.perf_counter();"
        " (signed,) = sign_heads(database, SigningKey.parse(sys.argv[2])); took = time.perf_counter() - started;"
        " assert signed.signed, signed;"
        " prove_event(database.connect().cursor(), signed.journal, int(sys.argv[3]) // 2);"
        " status = Path('/proc/self/status').read_text().split(); peak = int(status[status.index('VmHWM:') + 1]);"
        " print(json.dumps({'first_checkpoint_s': round(took, 2), 'peak_memory_mib': peak // 1024}))"
    )
    arguments = [sys.executable, "-c", program, dsn, key.secret_text(), str(events)]
    ended = subprocess.run(arguments, check=True, capture_output=True, cwd=ROOT)
    figures: dict[str, Any] = json.loads(ended.stdout)
    return figures


def _ms(value_s: float) -> float:
    return round(value_s * 1000, 2)
