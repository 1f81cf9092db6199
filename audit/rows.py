"""The rows of a journal as they come from a binary COPY, checked one by one in the order of their positions.

The framing of the canonical bytes is that of binary COPY, so a row is hashed nearly as it comes: only recorded_at counts
from another epoch. PostgreSQL sends one message a row, and psycopg2 passes each to `write`; here that is the `send` of a
generator, so that the loop over rows keeps its variables and nothing is collected. This is the hot path of an audit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812
from zlib import crc32

import msgspec

from ledger.codec import MEMBER_STREAM, PROGRAMME_STREAM, decode
from ledger.events import TOPICS, Event
from ledger.hashing import (
    ABSENT,
    CANONICAL_FORMAT,
    HASH_SIZE_BYTES,
    JOURNAL_AND_TIME,
    LEAF_PREFIX,
    LENGTH,
    POSITION_AND_STREAM,
    Frontier,
)

COLUMNS = (
    "journal",
    "recorded_at",
    "position",
    "originator_version",
    "originator_id",
    "topic",
    "command_key",
    "command_hash",
    "command_events",
    "state",
    "leaf_hash",
)
"""The columns of an event in the order of the canonical bytes, and the hash over them last."""

LEAVES_AT_ONCE = 4_096
"""Leaf hashes kept before they go into the frontier, and with it all that is kept of a journal."""

_COMMAND_COLUMNS = frozenset(COLUMNS[6:9])
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_SIGNATURE_BYTES = len(_SIGNATURE) + 8  # flags and the length of an extension, both 0
_END = b"\xff\xff"
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01T00:00:00Z, where timestamptz counts from
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_ROW_START = Struct(">hiiiq")  # number of fields, journal, recorded_at
_COMMAND = Struct(">i16si16sih")  # command_key, command_hash, command_events
_NO_COMMAND = LENGTH.pack(ABSENT) * 3
_LEAF_LENGTH = LENGTH.pack(HASH_SIZE_BYTES)
_TIME = slice(_ROW_START.size - 8, _ROW_START.size)
_STREAM_START = _ROW_START.size + POSITION_AND_STREAM.size
_INT64 = Struct(">q")
_MEMBER_STREAM = MEMBER_STREAM.encode()

_UNREADABLE = (
    msgspec.MsgspecError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What decoding raises on bytes that are no such event; an upcaster may raise most of it."""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, in words. `position` is the first bad one; None where it belongs to no position."""

    position: int | None
    words: str


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events a programme's journal must hold: the members that hash to `ordinal` out of `journals`."""

    programme: str
    ordinal: int
    journals: int


class Scan:
    """Checks the rows that `write` gets, which must be those of one journal in order of position.

    After the first problem rows are only counted off. `owner` is None where states are not to be decoded.
    """

    def __init__(self, journal: int, owner: Owner | None) -> None:
        self.journal = journal
        self.frontier = Frontier()
        self.problem: Problem | None = None
        self.recorded_at = b""
        """Of the last good row, as timestamptz is sent; empty before the first."""
        self.rest_of_command = 0
        """Events still to come of the command that recorded the last row."""
        self._owner = owner
        self._leaves: list[bytes] = []
        rows = self._rows()
        next(rows)
        self.write: Callable[[bytes], None] = rows.send

    @property
    def position(self) -> int:
        """The last position found good; so many events are good."""
        return self.frontier.size + len(self._leaves)

    def flush(self) -> None:
        """Put the leaf hashes at hand into the frontier."""
        self.frontier.append_all(self._leaves)
        self._leaves.clear()

    def _rows(self) -> Generator[None, bytes, None]:
        """Check each row sent, for ever. A long function on purpose: a call a row would cost a tenth of the rate."""
        owner, leaves, decoders = self._owner, self._leaves, _Decoders()
        unpack_stream, unpack_length, position = POSITION_AND_STREAM.unpack_from, LENGTH.unpack_from, 0
        row_start, leaf_start, rest, command_stream = b"", b"", 0, b""
        many, ordinal = (owner.journals, owner.ordinal) if owner is not None and owner.journals > 1 else (0, 0)
        programme = owner.programme if owner is not None else ""
        while True:
            row = yield
            try:
                if not row.startswith(row_start) or not row_start:
                    if row.startswith(_SIGNATURE):
                        row = row[_SIGNATURE_BYTES:]
                    if row == _END:
                        continue
                    row_start, leaf_start = self._starts(row)
                    self.recorded_at = row[_TIME]
                position += 1
                position_bytes, found, version_bytes, _, stream_bytes = unpack_stream(row, _ROW_START.size)
                topic_start = _STREAM_START + stream_bytes + 4
                topic_end = topic_start + unpack_length(row, topic_start - 4)[0]
                state_start, state_end = topic_end + 16, len(row) - HASH_SIZE_BYTES - 4
                stream = row[_STREAM_START : topic_start - 4]
                if row[topic_end : topic_end + 12] == _NO_COMMAND:
                    if rest:
                        rest -= 1
                        if stream != command_stream:
                            raise _Bad("belongs to another stream than the command that recorded it")
                else:
                    if rest:
                        raise _Bad("has a command of its own where the command before it had more events to record")
                    lengths, rest = _command(row, topic_end)
                    command_stream, state_start = stream, topic_end + lengths
                if (
                    found != position
                    or position_bytes != 8
                    or version_bytes != 8
                    or unpack_length(row, state_start - 4)[0] != state_end - state_start
                    or row[state_end : state_end + 4] != _LEAF_LENGTH
                ):
                    raise _Bad("is not laid out as an event")
                leaf = sha256(leaf_start + row[_ROW_START.size : state_end]).digest()
                if not row.endswith(leaf):
                    raise _Bad("differs from its leaf_hash")
                if owner is not None:
                    event = decoders[row[topic_start:topic_end]](row[state_start:state_end])
                    if event.programme != programme:
                        raise _Bad(f"is an event of the programme {event.programme!r}, not of {programme!r}")
                    try:
                        member = event.member.encode()
                    except AttributeError:
                        _check_programme_stream(stream, owner)
                    else:
                        if stream != _MEMBER_STREAM + member:
                            raise _Bad(f"is an event of the member {event.member!r} in the stream {_text(stream)!r}")
                        if many and crc32(member) % many != ordinal:
                            raise _Bad(f"is an event of the member {event.member!r}, who belongs to another journal")
                leaves.append(leaf)
                if len(leaves) == LEAVES_AT_ONCE:
                    self.flush()
                self.rest_of_command = rest
            except (_Bad, StructError, *_UNREADABLE) as error:
                self.problem = explained(row, position, self.journal, error)
                break
        while True:
            yield
