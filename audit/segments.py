"""Segments of an export: events as rows of Arrow and Parquet, and the hashes over them.

A page of events is a record batch of `SCHEMA`. Every column up to `command_events` is what the ledger recorded, and
`leaf_hash` covers it; the columns after it are taken out of `state` and `stream` for those who query, and are compared
with them wherever an export is read. The canonical bytes are put together a column at a time, because a loop over rows
costs more than the hash itself.

Source: Apache Parquet format (https://parquet.apache.org/docs/file-format/); RFC 9162, section 2.1, for the hashes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ledger.codec import MEMBER_STREAM
from ledger.hashing import (
    ABSENT,
    CANONICAL_FORMAT,
    HASH_SIZE_BYTES,
    LEAF_PREFIX,
    LENGTH,
)

INSTANT: Final = pa.timestamp("us", "UTC")
SCHEMA: Final = pa.schema(
    [
        pa.field("journal", pa.int32(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("stream_version", pa.int64(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("recorded_at", INSTANT, nullable=False),
        pa.field("leaf_hash", pa.binary(HASH_SIZE_BYTES), nullable=False),
        pa.field("command_key", pa.binary(16)),
        pa.field("command_hash", pa.binary(16)),
        pa.field("command_events", pa.int16()),
        pa.field("programme", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("occurred_at", INSTANT, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
    ]
)
"""The one schema of all segments; docs/export.md says what each column means."""

TAKEN_OUT: Final = ("programme", "member", "occurred_at", "source", "id")
"""The columns that follow from `state` and `stream`."""

PAGE_EVENTS: Final = 20_000
"""Events in memory at a time, and in a row group of a file."""

ROW_EVENTS: Final = 2_000
"""Events in a row of what PostgreSQL sends."""

_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01T00:00:00Z, where timestamptz counts from
_COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_FIELDS = (11).to_bytes(2)
_COPY_END = b"\xff\xff"
_ROW_VALUES = 13


class Refused(ValueError):
    """An event is not as it must be; `row` counts from 0 within its page."""

    def __init__(self, row: int, position: int, words: str) -> None:
        super().__init__(f"position {position} {words}")
        self.row = row
        self.position = position
        self.words = words


class Whose(NamedTuple):
    """The journal whose events a page must hold: those of the members that hash to `ordinal` out of `journals`."""

    journal: int
    programme: str
    ordinal: int
    journals: int


class _Common(msgspec.Struct, gc=False):
    """What every event of a programme carries."""

    programme: str
    occurred_at: str
    source: str
    id: str


_decode_common = msgspec.json.Decoder(_Common).decode

# --- pages from the database -----------------------------------------------------------------------------------------

# A row of big values for many events: a message and a Python call for each event would cost more than all else. But not
# one row for a page, because for values of many megabytes PostgreSQL takes memory from the system anew each time. Texts
# are as the connection encodes them, which is UTF-8. A command records at least one event, so that 0 stands for none.
_VALUES = (
    "string_agg(int8send(position), ''), string_agg(int8send(originator_version), ''),"
    " string_agg(timestamptz_send(recorded_at), ''), string_agg(leaf_hash, ''),"
    " string_agg(int4send(octet_length(originator_id)), ''), string_agg(originator_id, ''),"
    " string_agg(int4send(octet_length(topic)), ''), string_agg(topic, ''),"
    " string_agg(int4send(octet_length(state)), ''), string_agg(state, ''),"
    " string_agg(uuid_send(command_key), ''), string_agg(uuid_send(command_hash), ''),"
    " string_agg(int2send(coalesce(command_events, 0::smallint)), '')"
)


def page_query(journal: int, after: int, upto: int) -> str:
    """The COPY of the events at positions after < position <= upto, in the rows that `page_from_copy` reads."""
    return (
        f"COPY (SELECT row.* FROM (SELECT start FROM generate_series({after:d}::bigint, {upto - 1:d}, {ROW_EVENTS})"
        f" AS start ORDER BY start) AS starts, LATERAL (SELECT {_VALUES} FROM (SELECT * FROM events"
        f" WHERE journal = {journal:d} AND position > start AND position <= least(start + {ROW_EVENTS}, {upto:d})"
        " ORDER BY position) AS event) AS row ORDER BY start) TO STDOUT (FORMAT binary)"
    )


def page_from_copy(data: bytes, whose: Whose, after: int) -> pa.RecordBatch:
    """The page that `page_query` gave; empty where there are no events.

    Raises Refused when an event has no columns of an export: its columns are incomplete, or its state is no event's.
    """
    fields = _copied_fields(data)
    positions, versions, times, leaves = fields[:4]
    rows = len(positions) // 8
    keys, hashes, counted = fields[10:]
    counts = _integers("h", counted, pa.int16())
    present = pc.not_equal(counts, 0)
    told = pc.sum(present).as_py() or 0
    if (len(leaves), len(keys), len(hashes)) != (rows * HASH_SIZE_BYTES, told * 16, told * 16):
        raise Refused(0, after + 1, f"or one of the {rows - 1} after it has columns that are no event's")
    nothing = pa.scalar(None, pa.int32())
    numbers = pc.if_else(present, pc.subtract(pc.cumulative_sum(present.cast(pa.int32())), 1), nothing)
    recorded: dict[str, pa.Array] = {
        "journal": pa.repeat(pa.scalar(whose.journal, pa.int32()), rows),
        "position": _integers("q", positions, pa.int64()),
        "stream": _texts(fields[4], fields[5]),
        "stream_version": _integers("q", versions, pa.int64()),
        "topic": _texts(fields[6], fields[7]),
        "state": _texts(fields[8], fields[9]),
        "recorded_at": pc.add(_integers("q", times, pa.int64()), _POSTGRES_EPOCH_US).view(INSTANT),
        "leaf_hash": _fixed(leaves, HASH_SIZE_BYTES),
        "command_key": _fixed(keys, 16).take(numbers),
        "command_hash": _fixed(hashes, 16).take(numbers),
        "command_events": pc.if_else(present, counts, pa.scalar(None, pa.int16())),
    }
    for name in ("stream", "topic", "state"):
        try:
            recorded[name].validate(full=True)
        except pa.ArrowInvalid as error:
            raise Refused(0, after + 1, f"or one of the {rows - 1} after it: {name} is not UTF-8: {error}") from error
    taken_out = take_out(recorded["stream"], recorded["state"], after)
    return pa.RecordBatch.from_arrays([*recorded.values(), *(taken_out[name] for name in TAKEN_OUT)], schema=SCHEMA)


def _copied_fields(data: bytes) -> list[bytes]:
    """The values of the rows of a binary COPY, one column after the other; absent ones are empty."""
    view = memoryview(data)
    at = len(_COPY_SIGNATURE)
    columns: list[list[memoryview]] = [[] for _ in range(_ROW_VALUES)]
    while view[at : at + 2] != _COPY_END:
        at += 2
        for column in columns:
            length = max(LENGTH.unpack_from(data, at)[0], 0)
            at += LENGTH.size
            column.append(view[at : at + length])
            at += length
    return [b"".join(column) for column in columns]


def take_out(stream: pa.Array, state: pa.Array, after: int) -> dict[str, pa.Array]:
    """The columns of `TAKEN_OUT` for events at the positions from after + 1 on.

    Raises Refused when a state is not that of an event of a programme.
    """
    commons: list[_Common] = []
    try:
        for text in state.cast(pa.binary()).to_pylist():
            commons.append(_decode_common(text))
    except (msgspec.MsgspecError, RecursionError) as error:
        row = len(commons)
        raise Refused(row, after + row + 1, f"has a state that is no event's: {error}") from error
    members = pc.if_else(
        pc.starts_with(stream, MEMBER_STREAM),
        pc.utf8_slice_codeunits(stream, len(MEMBER_STREAM)),
        pa.scalar(None, pa.string()),
    )
    return {
        "programme": pa.array([common.programme for common in commons], pa.string()),
        "member": members,
        "occurred_at": _instants([common.occurred_at for common in commons], after),
        "source": pa.array([common.source for common in commons], pa.string()),
        "id": pa.array([common.id for common in commons], pa.string()),
    }


def _instants(texts: list[str], after: int) -> pa.Array:
    """RFC 3339 texts as instants."""
    try:
        return pa.array(texts, pa.string()).cast(INSTANT)
    except pa.ArrowInvalid as error:
        row = next((row for row, text in enumerate(texts) if not _is_instant(text)), 0)
        raise Refused(row, after + row + 1, f"has an occurred_at that is no instant: {texts[row]!r}") from error


def _is_instant(text: str) -> bool:
    try:
        pa.scalar(text).cast(INSTANT)
    except pa.ArrowInvalid:
        return False
    return True


# --- the hashes ------------------------------------------------------------------------------------------------------


def framed(page: pa.RecordBatch) -> pa.Array:
    """The fields of each event from its position to its state as the canonical bytes and binary COPY frame them."""
    eight, sixteen, two = (pa.scalar(LENGTH.pack(size)) for size in (8, 16, 2))
    stream, topic, state = (page.column(name).cast(pa.binary()) for name in ("stream", "topic", "state"))
    nothing = pa.scalar(b"")
    command = pc.binary_join_element_wise(
        sixteen, page.column("command_key").cast(pa.binary()),
        sixteen, page.column("command_hash").cast(pa.binary()),
        two, _big_endian("h", page.column("command_events").fill_null(0)), nothing,
    )  # fmt: skip
    return pc.binary_join_element_wise(
        eight, _big_endian("q", page.column("position")),
        eight, _big_endian("q", page.column("stream_version")),
        _big_endian("i", pc.binary_length(stream)), stream,
        _big_endian("i", pc.binary_length(topic)), topic,
        pc.coalesce(command, pa.scalar(LENGTH.pack(ABSENT) * 3)),
        _big_endian("i", pc.binary_length(state)), state, nothing,
    )  # fmt: skip


def leaf_hashes(page: pa.RecordBatch, fields: pa.Array, journal: int) -> list[bytes]:
    """The RFC 9162 leaf hash of each event, computed from its columns (`fields`: those of `framed`)."""
    start = LEAF_PREFIX + CANONICAL_FORMAT + LENGTH.pack(4) + LENGTH.pack(journal) + LENGTH.pack(8)
    times = _big_endian("q", page.column("recorded_at").view(pa.int64()))
    data = pc.binary_join_element_wise(pa.scalar(start), times, fields, pa.scalar(b""))
    return [sha256(entry).digest() for entry in data.to_pylist()]


def check_recorded(page: pa.RecordBatch, leaves: Sequence[bytes], whose: Whose, after: int, since: int) -> None:
    """Check what is recorded: journal, positions, times that never fall (the last was `since`, in microseconds since
    1970), leaf hashes as computed.

    Raises Refused at the first row where something differs.
    """
    times = page.column("recorded_at").view(pa.int64())
    stored = [
        ("journal", page.column("journal"), pa.repeat(pa.scalar(whose.journal, pa.int32()), len(page))),
        ("position", page.column("position"), _sequence(after + 1, len(page))),
        ("leaf_hash", page.column("leaf_hash"), _fixed(b"".join(leaves), HASH_SIZE_BYTES)),
    ]
    found: list[tuple[int, int, str]] = []
    absent = [page.column(name).is_null() for name in ("command_key", "command_hash", "command_events")]
    uneven = pc.or_(pc.not_equal(absent[0], absent[1]), pc.not_equal(absent[0], absent[2]))
    if (row := _first(uneven)) is not None:
        found.append((row, after + row + 1, "has some of the columns of a command, but not all"))
    for name, column, expected in stored:
        if (row := _first(pc.not_equal(column, expected))) is not None:
            found.append((row, after + row + 1, _word(name, column[row].as_py(), expected[row].as_py())))
    before = pa.concat_arrays([pa.array([since], pa.int64()), times.slice(0, max(len(page) - 1, 0))])
    if (row := _first(pc.less(times, before.slice(0, len(page))))) is not None:
        found.append((row, after + row + 1, "has a recorded_at before that of the position before it"))
    if found:
        raise Refused(*min(found, key=lambda one: one[0]))


def check_taken_out(page: pa.RecordBatch, whose: Whose, after: int, expected: dict[str, pa.Array] | None) -> None:
    """Check whose events they are, and (unless None) the columns taken out of the states against `expected`.

    Raises Refused at the first row where something differs.
    """
    found: list[tuple[int, str]] = []
    for name in TAKEN_OUT if expected is not None else ():
        column, right = page.column(name), expected[name]  # type: ignore[index]
        if column.equals(right):
            continue
        differs = pc.fill_null(pc.not_equal(column, right), True)
        row = _first(pc.and_not(differs, pc.and_(column.is_null(), right.is_null())))
        if row is not None:
            found.append((row, _word(name, column[row].as_py(), right[row].as_py())))
    programme = page.column("programme")
    if (row := _first(pc.not_equal(programme, whose.programme))) is not None:
        found.append((row, f"is an event of the programme {programme[row].as_py()!r}, not of {whose.programme!r}"))
    if whose.journals > 1:
        members = page.column("member")
        for member in pc.unique(members).to_pylist():
            ordinal = 0 if member is None else crc32(member.encode()) % whose.journals
            if ordinal != whose.ordinal:
                row = pc.index(members, member).as_py() if member is not None else _first(members.is_null())
                who = "the programme itself" if member is None else f"the member {member!r}"
                found.append((row or 0, f"is an event of {who}, which belongs in another journal"))
    if found:
        row, words = min(found, key=lambda one: one[0])
        raise Refused(row, after + row + 1, words)


def copy_stream(page: pa.RecordBatch, fields: pa.Array, journal: int) -> bytes:
    """The events as binary COPY takes them in: the columns of `audit.rows.COLUMNS`."""
    start = _COPY_FIELDS + LENGTH.pack(4) + LENGTH.pack(journal) + LENGTH.pack(8)
    times = pc.subtract(page.column("recorded_at").view(pa.int64()), _POSTGRES_EPOCH_US)
    rows = pc.binary_join_element_wise(
        pa.scalar(start), _big_endian("q", times), fields,
        pa.scalar(LENGTH.pack(HASH_SIZE_BYTES)), page.column("leaf_hash").cast(pa.binary()), pa.scalar(b""),
    )  # fmt: skip
    return b"".join((_COPY_SIGNATURE, rows.buffers()[2] or b"", _COPY_END))


# --- columns and bytes -----------------------------------------------------------------------------------------------


def _word(name: str, found: Any, expected: Any) -> str:
    if name == "leaf_hash":
        return "differs from its leaf_hash: one of its columns, or the hash itself, was changed"
    if name == "position":
        return f"is missing: position {found} stands in its place"
    return f"has the {name} {found!r}, where {expected!r} must stand"


def _first(flags: pa.Array) -> int | None:
    """The number of the first true value."""
    number: int = pc.index(flags, True).as_py()
    return None if number < 0 else number


def _sequence(first: int, count: int) -> pa.Array:
    return pa.array(range(first, first + count), pa.int64())


def _swapped(values: array[int]) -> array[int]:
    if sys.byteorder == "little":
        values.byteswap()
    return values


def _integers(code: str, data: bytes, kind: pa.DataType) -> pa.Array:
    """Big-endian integers as a column."""
    values = array(code, data)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(_swapped(values))])


def _big_endian(code: str, column: pa.Array) -> pa.Array:
    """A column of integers without nulls as big-endian bytes of fixed width."""
    values = array(code)
    width = values.itemsize
    values.frombytes(column.buffers()[1][column.offset * width : (column.offset + len(column)) * width])
    return _fixed(_swapped(values), width).cast(pa.binary())


def _fixed(data: bytes | array[int], width: int) -> pa.Array:
    buffer = pa.py_buffer(data)
    return pa.Array.from_buffers(pa.binary(width), buffer.size // width, [None, buffer])


def _texts(lengths: bytes, data: bytes) -> pa.Array:
    ends = array("i", accumulate(_swapped(array("i", lengths)), initial=0))
    return pa.Array.from_buffers(pa.string(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(data)])
