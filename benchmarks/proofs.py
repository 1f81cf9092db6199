"""What it costs to prove one event of a long journal, and to sign its head."""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial
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

PROOFS = 200
FILL_ROWS = 100_000
TARGET_S = 0.05

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


def measure(server_dsn: str, events: int = 1_000_000) -> dict[str, Any]:
    """Prove events of a journal of `events` events in a new database on the server; every proof is checked."""
    dsn = fresh_database(server_dsn)
    key = SigningKey.generate("bench.example")
    keys = [key.verifier_key]
    with closing(connect(dsn)) as connection, connection.cursor() as cur:
        (journal,) = create_journals(cur, "application", "counter", 1)
        fill(cur, journal, events)
        cur.execute("VACUUM ANALYZE events")
    with closing(Database(dsn)) as database, closing(connect(dsn, "loyalty_reader")) as connection:
        result: dict[str, Any] = {"events": events}
        result["first_checkpoint_s"] = round(seconds(lambda: sign_heads(database, key)), 2)
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
            "proof_of_an_event_ms_max": _ms(max(times)),
            "under_50_ms": max(times) < TARGET_S,
            "check_of_a_proof_ms_median": _ms(median(checks)),
            "consistency_proof_and_check_ms": _ms(consistency),
        }
        cur.execute("SELECT count(*), pg_total_relation_size('merkle_nodes') FROM merkle_nodes")
        result["stored_nodes"], result["stored_nodes_bytes"] = cur.fetchone() or (0, 0)
    return result


def _prove(cur: PgCursor, journal: int, position: int, proofs: list[dict[str, Any]]) -> None:
    proofs.append(prove_event(cur, journal, position))


def _ms(value_s: float) -> float:
    return round(value_s * 1000, 2)
