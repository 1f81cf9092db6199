"""Proofs as JSON documents with everything a verifier needs: of one event, and that one checkpoint continues another.

The tree that a proof is taken from is that of a signed checkpoint. A proof is given out only if it leads to the root
that was signed, so a hash that was changed anywhere on its way is found here and named. `audit.verify_proof` checks the
documents, and says what is in them.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC
from typing import Any

from audit.checkpoints import StoredCheckpoint, checkpoint_of_size, newest_checkpoint
from audit.merkle import Range, consistency_ranges, inclusion_ranges, nodes_of, range_hashes
from audit.nodes import NodeProblem, first_difference, read_nodes
from audit.verify_proof import (
    CONSISTENCY_PROOF,
    EVENT_PROOF,
    Refused,
    canonical_bytes,
    check_consistency,
    leaf_hash,
    root_of_inclusion,
)
from ledger.store.database import PgCursor
from ledger.store.journal import EventRow, read


class ProofError(Exception):
    """There is no such proof: what it would be of does not exist, or the ledger is not what was signed."""


def prove_event(cur: PgCursor, journal: int, position: int) -> dict[str, Any]:
    """The proof that an event is in the newest checkpoint of its journal.

    Reads a fixed number of rows and hashes, however long the journal is. Raises ProofError.
    """
    checkpoint = newest_checkpoint(cur, journal)
    rows = read(cur, journal, after=position - 1, limit=1, upto=position)
    if not rows:
        raise ProofError(f"journal {journal} has no position {position}")
    if checkpoint is None or checkpoint.size < position:
        signed = "nothing of it" if checkpoint is None else f"positions 1 to {checkpoint.size} only"
        raise ProofError(f"position {position} of journal {journal} is not in a checkpoint yet: {signed} is signed")
    event = event_document(rows[0])
    leaf = leaf_hash(canonical_bytes(event))
    if leaf != rows[0].leaf_hash:
        raise ProofError(
            f"position {position} differs from its leaf_hash: one of its columns, or the hash, was changed"
        )
    path = _hashes(cur, journal, checkpoint, inclusion_ranges(position - 1, checkpoint.size))
    if root_of_inclusion(position - 1, checkpoint.size, leaf, path) != checkpoint.root:
        raise ProofError(_rewritten(cur, checkpoint))
    return {
        "format": EVENT_PROOF,
        "event": event,
        "leaf_hash": leaf.hex(),
        "inclusion_path": [hash.hex() for hash in path],
        "checkpoint": checkpoint.note,
    }


def prove_consistency(cur: PgCursor, journal: int, first: int, second: int | None = None) -> dict[str, Any]:
    """The proof that the checkpoint of `second` events, or the newest, continues that of `first`. Raises ProofError."""
    earlier = _of_size(cur, journal, first)
    later = (newest_checkpoint(cur, journal) or earlier) if second is None else _of_size(cur, journal, second)
    second = later.size
    if first > second:
        raise ProofError(f"a checkpoint of {second} events cannot continue one of {first}")
    path = _hashes(cur, journal, later, consistency_ranges(first, second))
    try:
        check_consistency(first, second, earlier.root, later.root, path)
    except Refused:
        raise ProofError(_rewritten(cur, later)) from None
    return {
        "format": CONSISTENCY_PROOF,
        "first": earlier.note,
        "second": later.note,
        "consistency_path": [hash.hex() for hash in path],
    }


def event_document(row: EventRow) -> dict[str, Any]:
    """An event as a proof has it: everything that its hash covers. The state is a text where it is one."""
    try:
        state = {"state": row.state.decode()}
    except UnicodeDecodeError:
        state = {"state_base64": b64encode(row.state).decode()}
    return {
        "journal": row.journal,
        "position": row.position,
        "originator_id": row.originator_id,
        "originator_version": row.originator_version,
        "topic": row.topic,
        "recorded_at": row.recorded_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "command_key": row.command_key and row.command_key.hex(),
        "command_hash": row.command_hash and row.command_hash.hex(),
        "command_events": row.command_events,
        **state,
    }


def _of_size(cur: PgCursor, journal: int, size: int) -> StoredCheckpoint:
    found = checkpoint_of_size(cur, journal, size)
    if found is None:
        raise ProofError(f"journal {journal} has no checkpoint of {size} events")
    return found


def _hashes(cur: PgCursor, journal: int, checkpoint: StoredCheckpoint, ranges: list[Range]) -> list[bytes]:
    try:
        return range_hashes(ranges, read_nodes(cur, journal, nodes_of(ranges)))
    except NodeProblem as error:
        raise ProofError(f"{checkpoint} cannot be proven: {error}") from error


def _rewritten(cur: PgCursor, checkpoint: StoredCheckpoint) -> str:
    """Why a proof does not lead to the root that was signed, in words."""
    words = f"positions 1 to {checkpoint.size} are not what {checkpoint} committed to: rewritten"
    return first_difference(cur, checkpoint.journal, checkpoint.size) or words
