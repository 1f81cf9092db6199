"""The rows of a journal as they come from a binary COPY, checked one by one in the order of their positions.

The framing of the canonical bytes is that of binary COPY, so a row is hashed nearly as it comes: only recorded_at
counts from another epoch. PostgreSQL sends one message a row, and psycopg2 passes each to `write`; here that is the
`send` of a generator, so that the loop over rows keeps its variables and nothing is collected. This is the hot path of
an audit.

Source: PostgreSQL documentation, "COPY", Binary Format, and "Frontend/Backend Protocol", COPY Operations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any
from zlib import crc32

import msgspec

from ledger.codec import MEMBER_STREAM, PROGRAMME_STREAM, decode
from ledger.events import TOPICS, ProgrammeCreated, TermsPublished
from ledger.hashing import (
    ABSENT,
    CANONICAL_FORMAT,
    COMMAND_AND_STATE,
    HASH_SIZE_BYTES,
    JOURNAL_AND_TIME,
    LEAF_PREFIX,
    LENGTH,
    NO_COMMAND_AND_STATE,
    POSITION_AND_STREAM,
    Frontier,
)
from ledger.steering_state import STEERING_EVENTS, stream_of
from ledger.upcasters import EVENTS

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

COMMAND_COLUMNS = frozenset({"command_key", "command_hash", "command_events"})
"""All present on the first event of a command, all absent on the others."""

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_SIGNATURE_BYTES = len(_SIGNATURE) + 8  # flags and the length of an extension, both 0
_END = b"\xff\xff"
_FIELDS = len(COLUMNS).to_bytes(2)
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01T00:00:00Z, where timestamptz counts from
_ROW_START = Struct(">hiiiq")  # number of fields, journal, recorded_at
_TIME = slice(_ROW_START.size - 8, _ROW_START.size)
_STREAM_FIELDS = _ROW_START.size  # where position, version and stream start
_STREAM = _STREAM_FIELDS + POSITION_AND_STREAM.size
_COMMAND = Struct(">i16si16sih")  # command_key, command_hash, command_events
_COMMAND_BYTES = COMMAND_AND_STATE.size  # with the length of the state
_NO_COMMAND = LENGTH.pack(ABSENT) * 3
_NO_COMMAND_BYTES = NO_COMMAND_AND_STATE.size
_LEAF_FIELD_BYTES = LENGTH.size + HASH_SIZE_BYTES
_MEMBER_STREAM = MEMBER_STREAM.encode()
_NO_MEMBERS = STEERING_EVENTS | {ProgrammeCreated, TermsPublished}  # isinstance is slow on structs

UNREADABLE = (
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
        self.roots: dict[int, bytes] = {}
        """The roots over the sizes that `want_roots` asked for, as far as they are reached."""
        self._wanted: deque[int] = deque()
        self._owner = owner
        self._leaves: list[bytes] = []
        rows = self._rows()
        next(rows)
        self.write: Callable[[bytes], None] = rows.send

    @property
    def position(self) -> int:
        """The last position found good; so many events are good."""
        return self.frontier.size + len(self._leaves)

    def want_roots(self, sizes: Sequence[int]) -> None:
        """Ask for the roots over these sizes, ascending and none of them passed yet, and forget those before."""
        self.roots.clear()
        self._wanted = deque(sizes)

    def flush(self) -> None:
        """Put the leaf hashes at hand into the frontier."""
        leaves = self._leaves
        while self._wanted and self._wanted[0] <= self.position:
            size = self._wanted.popleft()
            missing = size - self.frontier.size
            self.frontier.append_all(leaves[:missing])
            del leaves[:missing]
            self.roots[size] = self.frontier.root()
        self.frontier.append_all(leaves)
        leaves.clear()

    def _rows(self) -> Generator[None, bytes, None]:
        """Check rows as they are sent, until one is bad. One long function: a call a row would cost a tenth of it."""
        owner, leaves, decoders = self._owner, self._leaves, _Decoders()
        unpack_stream, unpack_length = POSITION_AND_STREAM.unpack_from, LENGTH.unpack_from
        row_start, leaf_start, position, rest, command_stream = b"", b"", 0, 0, b""
        programme, many, ordinal = (owner.programme, owner.journals, owner.ordinal) if owner else ("", 1, 0)
        while self.problem is None:
            row = yield
            try:
                if not row_start or not row.startswith(row_start):
                    if row.startswith(_SIGNATURE):
                        row = row[_SIGNATURE_BYTES:]
                    if row == _END:
                        continue
                    row_start, leaf_start = self._starts(row)
                position_bytes, found, version_bytes, _, stream_bytes = unpack_stream(row, _STREAM_FIELDS)
                topic_start = _STREAM + stream_bytes + 4
                topic_end = topic_start + unpack_length(row, topic_start - 4)[0]
                state_start, state_end = topic_end + _NO_COMMAND_BYTES, len(row) - _LEAF_FIELD_BYTES
                stream = row[_STREAM : topic_start - 4]
                if row[topic_end : state_start - 4] == _NO_COMMAND:
                    if rest:
                        rest -= 1
                        if stream != command_stream:
                            raise _Bad("is in another stream than the command it was recorded by")
                else:
                    state_start = topic_end + _COMMAND_BYTES
                    if rest:
                        raise _Bad(f"begins a command where {rest} more events of the command before it must stand")
                    rest = _events_of_command(row, topic_end) - 1
                    command_stream = stream
                position += 1
                if (
                    found != position
                    or position_bytes != 8
                    or version_bytes != 8
                    or unpack_length(row, state_start - 4)[0] != state_end - state_start  # so 32 are left for the hash
                ):
                    raise _Bad("is not laid out as an event")
                leaf = sha256(leaf_start + row[_STREAM_FIELDS:state_end]).digest()
                if not row.endswith(leaf):
                    raise _Bad("differs from its leaf_hash")
                if owner is not None:
                    event = decoders[row[topic_start:topic_end]](row[state_start:state_end])
                    if event.programme != programme:
                        raise _Bad(f"is an event of the programme {event.programme!r}, not of {programme!r}")
                    if type(event) in _NO_MEMBERS:
                        _check_programme_stream(stream, event, owner)
                    else:
                        member = event.member.encode()
                        if stream != _MEMBER_STREAM + member:
                            raise _Bad(f"is an event of the member {event.member!r} in another stream")
                        if many > 1 and crc32(member) % many != ordinal:
                            raise _Bad(f"is an event of the member {event.member!r}, who belongs in another journal")
                leaves.append(leaf)
                if len(leaves) == LEAVES_AT_ONCE:
                    self.flush()
                self.rest_of_command = rest
            except (_Bad, StructError, *UNREADABLE) as error:
                self.problem = _explained(row, self.position + 1, error)
        while True:
            yield

    def _starts(self, row: bytes) -> tuple[bytes, bytes]:
        """How this row and those recorded with it start, and how what is hashed of them starts."""
        fields, journal_bytes, journal, time_bytes, recorded_at = _ROW_START.unpack_from(row)
        if (fields, journal_bytes, journal, time_bytes) != (len(COLUMNS), 4, self.journal, 8):
            raise _Bad("is not laid out as an event")
        if self.recorded_at and recorded_at < int.from_bytes(self.recorded_at, signed=True):
            raise _Bad("has a recorded_at before that of the position before it")
        self.recorded_at = row[_TIME]
        return row[:_STREAM_FIELDS], _leaf_start(journal, recorded_at)


def _leaf_start(journal: int, recorded_at: int) -> bytes:
    return LEAF_PREFIX + CANONICAL_FORMAT + JOURNAL_AND_TIME.pack(4, journal, 8, recorded_at + _POSTGRES_EPOCH_US)


def _events_of_command(row: bytes, start: int) -> int:
    key_bytes, _, hash_bytes, _, events_bytes, events = _COMMAND.unpack_from(row, start)
    if (key_bytes, hash_bytes, events_bytes) != (16, 16, 2):
        raise _Bad("has command columns that are not laid out as such")
    if events < 1:
        raise _Bad(f"says that its command recorded {events} events")
    return int(events)


def _check_programme_stream(stream: bytes, event: Any, owner: Owner) -> None:
    if owner.ordinal != 0:
        raise _Bad("is an event of the programme itself, which belongs in its first journal")
    own = stream_of(event) if type(event) in STEERING_EVENTS else PROGRAMME_STREAM + owner.programme
    if stream != own.encode():
        raise _Bad(f"is an event of the programme itself in another stream than {own!r}")


class _Bad(Exception):
    """A row is not as it must be; the message follows `position n`."""


class _Decoders(dict[bytes, Callable[[bytes], Any]]):
    """A decoder for each topic of a journal; old topics are upcast."""

    def __missing__(self, topic: bytes) -> Callable[[bytes], Any]:
        name = topic.decode()
        if name not in TOPICS and name not in EVENTS:
            raise _Bad(f"has the topic {name!r}, which this version of the program does not know")
        decoder = msgspec.json.Decoder(TOPICS[name]).decode if name in TOPICS else partial(decode, name)
        self[topic] = decoder
        return decoder


# --- what is wrong with a row ---------------------------------------------------------------------------------------


def _explained(row: bytes, expected: int, error: Exception) -> Problem:
    """The most basic thing that is wrong with the row that stands where position `expected` must."""
    columns = _columns(row)
    if columns is None:
        return Problem(expected, f"position {expected} cannot be read: the row is not laid out as an event")
    number = columns["position"]
    found = None if number is None else int.from_bytes(number, signed=True)
    if found is not None and found > expected:
        return Problem(expected, f"position {expected} is missing: the next one is {found}")
    if found is not None and found < expected:
        return Problem(found, f"position {found} is one too many: here position {expected} must stand")
    words = _basic_words(columns, row) or _words(columns, error)
    return Problem(expected, f"position {expected} {words}")


def _basic_words(columns: dict[str, bytes | None], row: bytes) -> str | None:
    absent = [name for name, value in columns.items() if value is None]
    required = [name for name in absent if name not in COMMAND_COLUMNS]
    if required:
        return f"has no {' and no '.join(required)}"
    if 0 < len(absent) < len(COMMAND_COLUMNS):
        return f"has no {' and no '.join(absent)}, but the other columns of a command"
    stored = columns["leaf_hash"] or b""
    if len(stored) != HASH_SIZE_BYTES or not _matches(columns, row, stored):
        return "differs from its leaf_hash: one of its columns, or the hash itself, was changed"
    return None


def _matches(columns: dict[str, bytes | None], row: bytes, stored: bytes) -> bool:
    journal, recorded_at = (int.from_bytes(columns[name] or b"", signed=True) for name in ("journal", "recorded_at"))
    try:
        start = _leaf_start(journal, recorded_at)
    except StructError:  # infinity
        return False
    return sha256(start + row[_STREAM_FIELDS:-_LEAF_FIELD_BYTES]).digest() == stored


def _words(columns: dict[str, bytes | None], error: Exception) -> str:
    if isinstance(error, _Bad):
        return str(error)
    if isinstance(error, StructError):
        return "is not laid out as an event"
    topic = (columns["topic"] or b"").decode(errors="replace")
    return f"cannot be read as a {topic}: {error}"


def _columns(row: bytes) -> dict[str, bytes | None] | None:
    """The columns of a row by name; None where it cannot be taken apart."""
    if row[:2] != _FIELDS:
        return None
    result: dict[str, bytes | None] = {}
    at = 2
    for name in COLUMNS:
        if at + 4 > len(row):
            return None
        length = int.from_bytes(row[at : at + 4], signed=True)
        at += 4
        result[name] = None if length == ABSENT else row[at : at + length]
        at += max(length, 0)
    return result if at == len(row) else None
