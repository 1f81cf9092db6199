"""Merkle log of a journal: the hash functions and right edge of RFC 9162, and the bytes of an event that are hashed.

A journal's root commits to every event before it. A writer keeps only the frontier (the roots of the perfect subtrees,
at most 64 hashes), so appending costs two hashes an event whatever the journal's size.

Source: RFC 9162, Certificate Transparency Version 2.0, section 2.1 (https://www.rfc-editor.org/rfc/rfc9162).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct

HASH_SIZE_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"

# The canonical bytes of an event: this format number, then ten fields. Each field is its length as a big-endian int32
# followed by its content; length -1 stands for None. Integers are big-endian two's complement of fixed width. Change
# the layout only together with a new format number: hashes already recorded keep the old one for ever.
CANONICAL_FORMAT = b"\x01"
JOURNAL_AND_TIME = Struct(">iiiq")  # journal int32, recorded_at int64 (microseconds since 1970-01-01T00:00:00Z)
POSITION_AND_STREAM = Struct(">iqiqi")  # position int64, originator_version int64, length of originator_id
COMMAND_AND_STATE = Struct(">i16si16sihi")  # command_key, command_hash, command_events int16, length of state
NO_COMMAND_AND_STATE = Struct(">iiii")  # three absent fields, length of state
LENGTH = Struct(">i")
ABSENT = -1


def leaf_hash(data: bytes) -> bytes:
    """Hash of one log entry: SHA-256(0x00 || data), RFC 9162 section 2.1.1."""
    return sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right), RFC 9162 section 2.1.1."""
    return sha256(NODE_PREFIX + left + right).digest()


class Frontier:
    """The right edge of a Merkle tree: enough to append and to tell the root, and nothing more.

    `size` is the number of leaves. The tree over `size` leaves is a row of perfect subtrees, one for each bit set in
    `size`; the frontier is their roots.
    """

    __slots__ = ("_roots", "size")

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes | None] = []  # the root of the perfect subtree of 2**index leaves, or None

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Restore a frontier of `size` leaves from `to_bytes`.

        Raises ValueError when the length of the data does not fit the size.
        """
        if size < 0 or len(data) != size.bit_count() * HASH_SIZE_BYTES:
            raise ValueError(f"a frontier of {size} leaves cannot have {len(data)} bytes")
        frontier = cls()
        frontier.size = size
        end = len(data)
        for level in range(size.bit_length()):
            present = size >> level & 1
            frontier._roots.append(data[end - HASH_SIZE_BYTES : end] if present else None)
            end -= present * HASH_SIZE_BYTES
        return frontier

    def to_bytes(self) -> bytes:
        """The roots of the perfect subtrees, 32 bytes each, widest subtree first."""
        return b"".join(root for root in reversed(self._roots) if root is not None)

    def copy(self) -> Frontier:
        """An independent frontier equal to this one."""
        twin = Frontier()
        twin.size = self.size
        twin._roots = self._roots.copy()
        return twin

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.append_all((leaf,))

    def append_all(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes in order; the same result as one `append` each, level by level to save interpreter time."""
        nodes = list(leaves)
        level = 0
        while nodes:
            if level == len(self._roots):
                self._roots.append(None)
            waiting = self._roots[level]
            if waiting is not None:
                nodes.insert(0, waiting)
            self._roots[level] = nodes.pop() if len(nodes) & 1 else None
            pairs = iter(nodes)
            nodes = [sha256(NODE_PREFIX + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            level += 1
        self.size += len(leaves)

    def root(self) -> bytes:
        """The Merkle tree hash over all leaves; SHA-256 of nothing for an empty tree."""
        result: bytes | None = None
        for subtree in self._roots:
            if subtree is not None:
                result = subtree if result is None else node_hash(subtree, result)
        return EMPTY_ROOT if result is None else result


def canonical_bytes(
    journal: int,
    position: int,
    originator_id: str,
    originator_version: int,
    topic: str,
    recorded_at_us: int,
    command_key: bytes | None,
    command_hash: bytes | None,
    command_events: int | None,
    state: bytes,
) -> bytes:
    """The bytes of one event whose leaf hash the journal commits to.

    Layout: the format number 0x01, then journal, recorded_at_us, position, originator_version, originator_id, topic,
    command_key, command_hash, command_events, state; each as its length and its content, so that no two lists of
    fields share bytes. `recorded_at_us` counts microseconds since 1970-01-01T00:00:00Z. The three command fields are
    all present (16 bytes, 16 bytes, int16) or all None.

    Raises ValueError when only some of the command fields are None, or a key or hash is not 16 bytes long.
    """
    stream = originator_id.encode()
    return b"".join(
        (
            CANONICAL_FORMAT,
            JOURNAL_AND_TIME.pack(4, journal, 8, recorded_at_us),
            POSITION_AND_STREAM.pack(8, position, 8, originator_version, len(stream)),
            stream,
            framed_text(topic),
            command_and_state_length(command_key, command_hash, command_events, len(state)),
            state,
        )
    )


def framed_text(text: str) -> bytes:
    """A text field of the canonical bytes: length and UTF-8."""
    encoded = text.encode()
    return LENGTH.pack(len(encoded)) + encoded


def command_and_state_length(
    command_key: bytes | None, command_hash: bytes | None, command_events: int | None, state_length: int
) -> bytes:
    """The command fields of the canonical bytes and the length of the state that follows.

    Raises ValueError when only some of the command fields are None, or a key or hash is not 16 bytes long.
    """
    if command_key is None and command_hash is None and command_events is None:
        return NO_COMMAND_AND_STATE.pack(ABSENT, ABSENT, ABSENT, state_length)
    if command_key is None or command_hash is None or command_events is None:
        raise ValueError("command_key, command_hash and command_events go together: all present or all None")
    if len(command_key) != 16 or len(command_hash) != 16:
        raise ValueError("command_key and command_hash are 16 bytes each")
    return COMMAND_AND_STATE.pack(16, command_key, 16, command_hash, 2, command_events, state_length)
