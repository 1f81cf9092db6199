"""A signed checkpoint as the audit page lists it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from audit.checkpoints import StoredCheckpoint, note_problem
from audit.verify_proof import Refused, VerifierKey, parse_checkpoint, parse_note, signers


class Signer(Struct, frozen=True, kw_only=True):
    """Who signed, by the name on the note. `trusted`: it is the signature of a key that the server trusts.

    `at` is when a witness that is trusted saw it.
    """

    name: str
    trusted: bool
    at: datetime | None


class CheckpointRow(Struct, frozen=True, kw_only=True):
    """A checkpoint; `signed_by` the ledger's own key (the origin begins with its name), the rest are `witnesses`.

    `problem`: what is wrong with it, in words; "" where nothing is.
    """

    journal: int
    size: int
    root: str
    signed_at: datetime
    origin: str
    signed_by: list[Signer]
    witnesses: list[Signer]
    problem: str


def checkpoint_row(stored: StoredCheckpoint, programme: str, keys: Sequence[VerifierKey]) -> CheckpointRow:
    """A checkpoint of a programme's journal; its signatures are checked with the keys that there are."""
    origin, everybody = "", list[Signer]()
    try:
        note = parse_note(stored.note)
        origin = parse_checkpoint(note.text).origin
        seen = {one.signature: one.timestamp for one in signers(note, keys)}
        for signature in note.signatures:
            timestamp = seen.get(signature)
            at = None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
            everybody.append(Signer(name=signature.name, trusted=signature in seen, at=at))
        problem = note_problem(stored, programme, keys) or ""
    except (Refused, OverflowError) as error:  # a witness may sign any time
        problem = str(error)
    return CheckpointRow(
        journal=stored.journal,
        size=stored.size,
        root=stored.root.hex(),
        signed_at=stored.signed_at,
        origin=origin,
        signed_by=[one for one in everybody if origin.startswith(f"{one.name}/")],
        witnesses=[one for one in everybody if not origin.startswith(f"{one.name}/")],
        problem=problem,
    )
