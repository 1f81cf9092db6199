"""Checkpoints: the root of a journal's tree at a size, signed by the operator and cosigned by witnesses.

A checkpoint is a C2SP tlog-checkpoint in a signed note. Its origin is the name of the key, the programme (or the
application; both percent-encoded) and the number of the journal: `loyalty.example/coffee/1`. It is signed only when the
tree at the head continues the tree of the checkpoint before it, which is computed from the log and not believed.

Sources: https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note, https://c2sp.org/tlog-cosignature.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

import msgspec
from psycopg2.extras import execute_values

from audit.merkle import consistency_ranges, joined, nodes_of, perfect_subtrees, range_hashes
from audit.nodes import NodeProblem, extend, first_difference, read_nodes
from audit.notes import SigningKey
from audit.verify_proof import (
    COSIGNATURE_V1,
    TIMESTAMP_BYTES,
    Checkpoint,
    Note,
    Refused,
    Signature,
    Signed,
    VerifierKey,
    check_consistency,
    open_checkpoint,
    parse_checkpoint,
    parse_note,
    signers,
)
from ledger.store.database import Database, PgCursor

JOURNAL_NUMBER = re.compile("[1-9][0-9]{0,8}", re.ASCII)

COSIGNATURE_BYTES = TIMESTAMP_BYTES + 64
"""A time and an Ed25519 signature: by their length lines of witnesses are told from those of operators."""

_LOCK_CLASS = 0x6C6F7963  # of advisory locks with two keys
_COLUMNS = (
    "checkpoint, journal, size, root, note || coalesce((SELECT string_agg(line, '' ORDER BY cosigned_at, name, key_id)"
    " FROM cosignatures WHERE cosignatures.checkpoint = checkpoints.checkpoint), ''), signed_at"
)


class StoredCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `checkpoints`; the note with the lines of its cosignatures."""

    checkpoint: int
    journal: int
    size: int
    root: bytes
    note: str
    signed_at: datetime

    def __str__(self) -> str:
        return f"the checkpoint of {self.size} events signed at {self.signed_at:%Y-%m-%dT%H:%M:%SZ}"


class HeadSigned(msgspec.Struct, frozen=True, kw_only=True):
    """What came of signing a journal's head. `refusal` says why it was not signed; None where it was, or stood signed
    already (then `signed` is False).
    """

    journal: int
    name: str
    size: int
    signed: bool
    refusal: str | None = None


class SignedElsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that another ledger of the same log stored at `signed_at`, of a journal of the programme `name`; its
    note has the cosignatures too.
    """

    journal: int
    name: str
    note: str
    signed_at: datetime


class _Head(msgspec.Struct, frozen=True):
    journal: int
    name: str
    size: int
    root: bytes


# --- reading --------------------------------------------------------------------------------------------------------


def newest_checkpoint(cur: PgCursor, journal: int) -> StoredCheckpoint | None:
    """The checkpoint of the most events of a journal; None where there is none."""
    found = _select(cur, "journal = %s ORDER BY size DESC, checkpoint DESC LIMIT 1", journal)
    return found[0] if found else None


def newest_checkpoints(cur: PgCursor, journals: Sequence[int], limit: int) -> list[StoredCheckpoint]:
    """The checkpoints of some journals that were signed last, the newest first."""
    return _select(cur, "journal = ANY (%s) ORDER BY checkpoint DESC LIMIT %s", list(journals), limit)


def checkpoint_of_size(cur: PgCursor, journal: int, size: int) -> StoredCheckpoint | None:
    """The newest checkpoint of so many events; None where there is none."""
    found = _select(cur, "journal = %s AND size = %s ORDER BY checkpoint DESC LIMIT 1", journal, size)
    return found[0] if found else None


def first_checkpoint_since(cur: PgCursor, journal: int, at: datetime, size: int) -> StoredCheckpoint | None:
    """The checkpoint of the fewest events that was signed at an instant or later and is of `size` events or more."""
    found = _select(
        cur, "journal = %s AND signed_at >= %s AND size >= %s ORDER BY size, checkpoint LIMIT 1", journal, at, size
    )
    return found[0] if found else None


def checkpoints_between(cur: PgCursor, journal: int, after: int, upto: int) -> list[StoredCheckpoint]:
    """The checkpoints with after < size <= upto, by size."""
    return _select(cur, "journal = %s AND size > %s AND size <= %s ORDER BY size, checkpoint", journal, after, upto)


def checkpoint_beyond_head(cur: PgCursor, journal: int) -> tuple[StoredCheckpoint, int] | None:
    """A checkpoint of more events than the journal's head now has, and how many that are; None where all is well."""
    found = _select(
        cur,
        "journal = %s AND size > (SELECT position FROM journals WHERE journal = %s) ORDER BY size, checkpoint LIMIT 1",
        journal,
        journal,
    )
    return (found[0], _head(cur, journal).size) if found else None


def _select(cur: PgCursor, which: str, *values: object) -> list[StoredCheckpoint]:
    cur.execute(f"SELECT {_COLUMNS} FROM checkpoints WHERE {which}", values)
    return [
        StoredCheckpoint(
            checkpoint=number, journal=journal, size=size, root=bytes(root), note=note, signed_at=signed_at
        )
        for number, journal, size, root, note, signed_at in cur.fetchall()
    ]


def note_problem(stored: StoredCheckpoint, name: str, keys: Sequence[VerifierKey]) -> str | None:
    """What is wrong with a stored checkpoint of a journal of the programme `name`, in words; None if nothing is.

    Without keys, whose signatures these are is not checked.
    """
    try:
        said = parse_checkpoint(parse_note(stored.note).text)
        if keys:
            open_checkpoint(stored.note, keys)
    except Refused as error:
        return f"{stored}: {error}"
    if (said.size, said.root) != (stored.size, stored.root):
        return f"{stored} does not say what its row says: the one or the other was changed"
    if not said.origin.endswith(_path(name, stored.journal)):
        return f"{stored} is of {said.origin!r}: it was signed for another journal"
    return None


def _path(name: str, journal: int) -> str:
    return f"/{quote(name, safe='')}/{journal}"


# --- signing --------------------------------------------------------------------------------------------------------


def sign_heads(
    database: Database, key: SigningKey, journals: Sequence[int] | None = None, trusted: Sequence[VerifierKey] = ()
) -> list[HeadSigned]:
    """Sign the heads of journals that have events, all by default, and store the checkpoints and the nodes they need.

    A head that stands signed with this key is not signed again. `trusted` are further keys that may have signed the
    checkpoint before, such as the one that this key replaces. Writers are not waited for and do not wait. One
    transaction a journal; errors of eventsourcing.persistence are raised when the database fails.
    """
    with database.connection() as cur:
        cur.execute(
            "SELECT journal FROM journals WHERE position > 0 AND journal = ANY (coalesce(%s, ARRAY[journal]))"
            " ORDER BY journal",
            (None if journals is None else list(journals),),
        )
        wanted = [journal for (journal,) in cur.fetchall()]
    return [_sign_head(database, journal, key, [key.verifier_key, *trusted]) for journal in wanted]


def _sign_head(database: Database, journal: int, key: SigningKey, keys: Sequence[VerifierKey]) -> HeadSigned:
    try:
        with database.transaction() as cur:  # what was stored is undone where signing is refused
            cur.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, journal))
            head = _head(cur, journal)  # under the lock: not before a checkpoint that another has just signed
            signed = _sign(cur, head, key, keys)
    except Refused as error:
        return HeadSigned(journal=journal, name=head.name, size=head.size, signed=False, refusal=str(error))
    return HeadSigned(journal=journal, name=head.name, size=head.size, signed=signed)


def _head(cur: PgCursor, journal: int) -> _Head:
    cur.execute("SELECT journal, name, position, root FROM journals WHERE journal = %s", (journal,))
    ((number, name, size, root),) = cur.fetchall()
    return _Head(number, name, size, bytes(root))


def _sign(cur: PgCursor, head: _Head, key: SigningKey, keys: Sequence[VerifierKey]) -> bool:
    """Sign a head; False where it stands signed by this key. Raises Refused."""
    last = newest_checkpoint(cur, head.journal)
    if last is not None:
        _check_last(last, head, keys)
    _check_tree(cur, last, head)
    if last is not None and last.size == head.size and signers(parse_note(last.note), [key.verifier_key]):
        return False
    origin = key.verifier_key.name + _path(head.name, head.journal)
    text = f"{origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n"
    cur.execute(
        "INSERT INTO checkpoints (journal, size, root, note) VALUES (%s, %s, %s, %s)",
        (head.journal, head.size, head.root, key.sign(text)),
    )
    return True


def _check_last(last: StoredCheckpoint, head: _Head, keys: Sequence[VerifierKey]) -> None:
    """Raise Refused unless the last checkpoint is one to continue from."""
    if (problem := note_problem(last, head.name, keys)) is not None:
        raise Refused(problem)
    if last.size > head.size:
        raise Refused(f"the journal ends at position {head.size}, but there is {last}: its tail was cut off")


def _check_tree(cur: PgCursor, last: StoredCheckpoint | None, head: _Head) -> None:
    """Raise Refused unless the leaf hashes give the head's root, and its tree continues that of the last checkpoint."""
    try:
        extend(cur, head.journal, head.size)
        roots = list(perfect_subtrees(0, head.size))
        ranges = consistency_ranges(last.size, head.size) if last is not None else []
        hashes = read_nodes(cur, head.journal, [*roots, *nodes_of(ranges)])
    except NodeProblem as error:
        raise Refused(str(error)) from error
    root = joined([hashes[node] for node in roots])
    if last is not None:
        try:
            check_consistency(last.size, head.size, last.root, root, range_hashes(ranges, hashes))
        except Refused:
            words = f"positions 1 to {last.size} are not what {last} committed to: the history was rewritten"
            raise Refused(first_difference(cur, head.journal, head.size) or words) from None
    if root != head.root:
        words = "the leaf hashes do not give the root of the head: the one or the other was changed"
        raise Refused(first_difference(cur, head.journal, head.size) or words)


# --- from another ledger ----------------------------------------------------------------------------------------------


def take_in(cur: PgCursor, found: Sequence[SignedElsewhere], keys: Sequence[VerifierKey]) -> None:
    """Store checkpoints of other ledgers of this log, and the nodes they need, in the transaction of `cur`: at most one
    of a size of each journal.

    Raises Refused unless each is signed by one of these keys, of its journal, and of what the log here has up to there.
    """
    checkpoints = []
    for one in sorted(found, key=lambda one: one.signed_at):
        checkpoint, _ = open_checkpoint(one.note, keys)
        if not checkpoint.origin.endswith(_path(one.name, one.journal)):
            raise Refused(f"a checkpoint is of {checkpoint.origin!r}: it was signed for another journal")
        checkpoints.append((one, checkpoint))
    for journal in sorted({one.journal for one in found}):
        _check_roots(cur, journal, [checkpoint for one, checkpoint in checkpoints if one.journal == journal])
    notes = {(one.journal, checkpoint.size): parse_note(one.note) for one, checkpoint in checkpoints}
    rows = [
        (one.journal, checkpoint.size, checkpoint.root, _without_cosignatures(parse_note(one.note)), one.signed_at)
        for one, checkpoint in checkpoints
    ]
    stored = execute_values(
        cur,
        "INSERT INTO checkpoints (journal, size, root, note, signed_at) VALUES %s RETURNING checkpoint, journal, size",
        rows,
        fetch=True,
    )
    execute_values(
        cur,
        "INSERT INTO cosignatures (checkpoint, name, key_id, cosigned_at, line) VALUES %s ON CONFLICT DO NOTHING",
        [
            (number, line.name, line.key_id, cosigned_at(line), str(line))
            for number, journal, size in stored
            for line in notes[journal, size].signatures
            if cosigned_at(line) is not None
        ],
    )


def _check_roots(cur: PgCursor, journal: int, checkpoints: Sequence[Checkpoint]) -> None:
    """Raise Refused unless the leaf hashes of a journal give the roots of these checkpoints."""
    cur.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, journal))
    subtrees = {checkpoint: list(perfect_subtrees(0, checkpoint.size)) for checkpoint in checkpoints}
    try:
        extend(cur, journal, max(checkpoint.size for checkpoint in checkpoints))
        hashes = read_nodes(cur, journal, [node for nodes in subtrees.values() for node in nodes])
    except NodeProblem as error:
        raise Refused(str(error)) from error
    for checkpoint, nodes in subtrees.items():
        if joined([hashes[node] for node in nodes]) != checkpoint.root:
            raise Refused(f"positions 1 to {checkpoint.size} of journal {journal} are not what was signed")


def cosigned_at(line: Signature) -> int | None:
    """The time that a line has, where it is a cosignature by its form: seconds since 1970; None for other lines."""
    if len(line.content) != COSIGNATURE_BYTES:
        return None
    seconds = int.from_bytes(line.content[:TIMESTAMP_BYTES], "big")
    return seconds if seconds < 1 << 63 else None


def _without_cosignatures(note: Note) -> str:
    return note.text + "\n" + "".join(str(line) for line in note.signatures if cosigned_at(line) is None)


# --- witnesses ------------------------------------------------------------------------------------------------------


def add_cosignatures(
    cur: PgCursor, note: str, witnesses: Sequence[VerifierKey]
) -> tuple[StoredCheckpoint, list[Signed]]:
    """Store the cosignatures of these witnesses on a checkpoint; the checkpoint and all that the note has of them.

    One that is stored already is not stored again. Raises Refused when the note is not a checkpoint of this ledger, a
    signature of one of the witnesses does not verify, or there is none of any of them.
    """
    parsed = parse_note(note)
    said = parse_checkpoint(parsed.text)
    journal = said.origin.rpartition("/")[2]
    of_size = checkpoint_of_size(cur, int(journal), said.size) if JOURNAL_NUMBER.fullmatch(journal) else None
    if of_size is None or parse_note(of_size.note).text != parsed.text:
        raise Refused(f"this ledger did not sign a checkpoint of {said.size} entries of {said.origin!r} with this root")
    found = [one for one in signers(parsed, witnesses) if one.key.algorithm == COSIGNATURE_V1]
    if not found:
        raise Refused("the note has no cosignature of a witness whose key you gave")
    for one in found:
        cur.execute(
            "INSERT INTO cosignatures (checkpoint, name, key_id, cosigned_at, line) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (of_size.checkpoint, one.key.name, one.key.key_id, one.timestamp, str(one.signature)),
        )
    return of_size, found
