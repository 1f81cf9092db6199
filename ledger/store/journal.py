"""The log: lock a journal's head, append events, store the head; and read back.

The order of an append is the correctness argument:

1. `lock_head` takes the row lock of the journal, which every writer of that journal takes; reads made after it see all
   that was committed before, and positions and times are handed out by one writer at a time.
2. `append` gives contiguous positions, hashes the events and copies them in; several times if need be.
3. `store_head` writes the new position, root and frontier, and may commit in the same round trip.

Readers take no lock: because positions are given under the lock and committed before it is released, a reader that
sees position n sees every position below n.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from struct import Struct
from typing import Any, Literal, NamedTuple

import msgspec

from ledger.hashing import (
    ABSENT,
    CANONICAL_FORMAT,
    HASH_SIZE_BYTES,
    JOURNAL_AND_TIME,
    LEAF_PREFIX,
    LENGTH,
    NO_COMMAND_AND_STATE,
    POSITION_AND_STREAM,
    Frontier,
    command_and_state_length,
    framed_text,
)
from ledger.store.database import PgCursor

Kind = Literal["programme", "application"]
Record = tuple[str, int, str, bytes, bytes | None, bytes | None, int | None]
"""originator_id, originator_version, topic, state, command_key (16 bytes), command_hash (16 bytes), command_events."""

LightRow = tuple[int, str, int, str, bytes, datetime]
"""position, originator_id, originator_version, topic, state, recorded_at."""

CHANNEL = "loyalty_journals"
JOURNALS_PER_NAME_MAX = 1024
NO_POSITION_LIMIT = 2**63 - 1
COPY_CHUNK_BYTES = 256 * 1024

_CREATION_LOCK_KEY = 0x6C6F79616C747901
_MICROSECOND = timedelta(microseconds=1)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01T00:00:00Z, where timestamptz counts from

_COPY = (
    "COPY events (journal, recorded_at, position, originator_version, originator_id, topic,"
    " command_key, command_hash, command_events, state, leaf_hash) FROM STDIN (FORMAT binary)"
)
_COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_ROW = Struct(">hiiiq")  # number of fields, journal, recorded_at
_COPY_FIELDS = 11
_COPY_END = b"\xff\xff"

_EVENT_COLUMNS = (  # hashes as one value, because each binary value costs psycopg2 more than a microsecond
    "journal, position, originator_id, originator_version, topic, state, recorded_at,"
    " leaf_hash || coalesce(uuid_send(command_key) || uuid_send(command_hash), ''), command_events"
)
_LIGHT_COLUMNS = "position, originator_id, originator_version, topic, state, recorded_at"


class JournalNotFoundError(LookupError):
    """The journal does not exist in this database."""


class JournalCountError(ValueError):
    """The journals of this name exist already, in another number; the number is fixed when they are created."""


class Head(msgspec.Struct, kw_only=True):
    """Where a journal ends, held under its row lock. `append` moves it on in memory, `store_head` writes it.

    `recorded_at` is that of the newest event. `now` is the database's clock when the lock was taken, never before
    `recorded_at`; the events appended under this lock get it.
    """

    journal: int
    kind: Kind
    position: int
    frontier: Frontier
    recorded_at: datetime
    now: datetime
    revision: int | None = None
    """How often what its writers look up (terms, surveys) was changed; None where the journal is not a programme's."""


class EventRow(NamedTuple):
    """One recorded event with everything its leaf hash covers."""

    journal: int
    position: int
    originator_id: str
    originator_version: int
    topic: str
    state: bytes
    recorded_at: datetime
    leaf_hash: bytes
    command_key: bytes | None
    command_hash: bytes | None
    command_events: int | None


def create_journals(cur: PgCursor, kind: Kind, name: str, count: int) -> list[int]:
    """Create the journals of a programme or application, or find them if they exist; their numbers, ascending.

    Call it inside a transaction: creations wait for each other until it ends, so the new numbers are contiguous.

    Raises ValueError for a count outside 1..1024, JournalCountError when they exist in another number.
    """
    if not 1 <= count <= JOURNALS_PER_NAME_MAX:
        raise ValueError(f"journals: the count must be 1 to {JOURNALS_PER_NAME_MAX}, got {count}")
    cur.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATION_LOCK_KEY,))
    existing = find_journals(cur, kind, name)
    if existing and len(existing) != count:
        raise JournalCountError(f"{kind} {name!r} has {len(existing)} journals, {count} were asked for")
    return existing or _insert_journals(cur, kind, name, count)


def _insert_journals(cur: PgCursor, kind: Kind, name: str, count: int) -> list[int]:
    empty = Frontier()
    cur.execute(
        "INSERT INTO journals (journal, kind, name, ordinal, root, frontier, recorded_at)"
        " SELECT newest.journal + 1 + ordinal, %s, %s, ordinal, %s, %s, clock_timestamp()"
        " FROM (SELECT coalesce(max(journal), 0) AS journal FROM journals) newest, generate_series(0, %s - 1) ordinal"
        " ORDER BY ordinal RETURNING journal",
        (kind, name, empty.root(), empty.to_bytes(), count),
    )
    return [journal for (journal,) in cur.fetchall()]


def find_journals(cur: PgCursor, kind: Kind, name: str) -> list[int]:
    """The journal numbers of a programme or application in order of their ordinal, an empty list if there are none."""
    cur.execute("SELECT journal FROM journals WHERE kind = %s AND name = %s ORDER BY ordinal", (kind, name))
    return [journal for (journal,) in cur.fetchall()]


def lock_head(cur: PgCursor, journal: int, *, begin: bool = False) -> Head:
    """Lock a journal until the transaction ends, and tell where it ends.

    With `begin`, the transaction is started in the same round trip (on a connection in autocommit mode). To lock
    several journals, lock them in ascending order, so that no two writers wait for each other.

    Raises JournalNotFoundError.
    """
    cur.execute(
        ("BEGIN; " if begin else "")
        + "SELECT kind, position, frontier, recorded_at, greatest(clock_timestamp(), recorded_at),"
        " CASE kind WHEN 'programme' THEN (SELECT revision FROM programmes WHERE programme = journals.name) END"
        " FROM journals WHERE journal = %s FOR UPDATE",
        (journal,),
    )
    row = cur.fetchone()
    if row is None:
        raise JournalNotFoundError(f"journal {journal} does not exist")
    kind, position, frontier, recorded_at, now, revision = row
    return Head(
        journal=journal,
        kind=kind,
        position=position,
        frontier=Frontier.from_bytes(position, bytes(frontier)),
        recorded_at=recorded_at,
        now=now,
        revision=revision,
    )


def append(cur: PgCursor, head: Head, records: Sequence[Record]) -> None:
    """Append events after a locked head, in order, and move the head on in memory.

    The events get positions head.position + 1 and so on, and recorded_at = head.now. If it raises, the head is as it
    was and the transaction must be rolled back.

    Raises psycopg2.errors.UniqueViolation on constraint `events_stream_version` when a stream already has the version
    (a wrong expected version), or on `events_command_key` when the journal already has the idempotency key.
    """
    if not records:
        return
    stream, leaves = _encode(head, records)
    cur.copy_expert(_COPY, BytesIO(stream), COPY_CHUNK_BYTES)
    head.frontier.append_all(leaves)
    head.position += len(records)
    head.recorded_at = head.now


class _FramedTopics(dict[str, bytes]):
    """Topics as fields of the canonical bytes; few and repeated, so each is framed once a batch."""

    def __missing__(self, topic: str) -> bytes:
        framed = self[topic] = framed_text(topic)
        return framed


def _encode(head: Head, records: Sequence[Record]) -> tuple[bytes, list[bytes]]:
    """The events as one binary COPY stream, and their leaf hashes.

    The framing of the canonical bytes is that of binary COPY, so the fields are laid out once and used for both; only
    the time differs (PostgreSQL counts from 2000). This loop is the hot path of the ledger: every event passes here.
    """
    recorded_at_us = (head.now - _UNIX_EPOCH) // _MICROSECOND
    leaf_start = LEAF_PREFIX + CANONICAL_FORMAT + JOURNAL_AND_TIME.pack(4, head.journal, 8, recorded_at_us)
    row_start = _COPY_ROW.pack(_COPY_FIELDS, 4, head.journal, 8, recorded_at_us - _POSTGRES_EPOCH_US)
    leaf_length = LENGTH.pack(HASH_SIZE_BYTES)
    pack_stream, pack_no_command, topics = POSITION_AND_STREAM.pack, NO_COMMAND_AND_STATE.pack, _FramedTopics()
    parts, leaves, position = [_COPY_SIGNATURE], list[bytes](), head.position
    for originator_id, version, topic, state, command_key, command_hash, command_events in records:
        position += 1
        stream = originator_id.encode()
        if command_key is None and command_hash is None and command_events is None:
            command = pack_no_command(ABSENT, ABSENT, ABSENT, len(state))
        else:
            command = command_and_state_length(command_key, command_hash, command_events, len(state))
        fields = pack_stream(8, position, 8, version, len(stream)) + stream + topics[topic] + command + state
        leaf = sha256(leaf_start + fields).digest()
        parts += (row_start, fields, leaf_length, leaf)
        leaves.append(leaf)
    parts.append(_COPY_END)
    return b"".join(parts), leaves


def store_head(cur: PgCursor, head: Head, *, commit: bool = False) -> None:
    """Write where the journal ends now.

    With `commit`, the transaction is committed in the same round trip, and then, outside it, listeners are told that
    the journal grew. The hint may be lost or late; whoever listens polls as well.
    """
    cur.execute(
        "UPDATE journals SET position = %s, root = %s, frontier = %s, recorded_at = %s WHERE journal = %s"
        + ("; COMMIT; SELECT pg_notify(%s, %s)" if commit else ""),
        (
            head.position,
            head.frontier.root(),
            head.frontier.to_bytes(),
            head.recorded_at,
            head.journal,
            *((CHANNEL, str(head.journal)) if commit else ()),
        ),
    )


def notify(cur: PgCursor, journal: int) -> None:
    """Hint to listeners that a journal grew; call it after the commit, outside the transaction."""
    cur.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(journal)))


def read(
    cur: PgCursor,
    journal: int,
    *,
    after: int,
    limit: int,
    upto: int | None = None,
    topics: Sequence[str] = (),
) -> list[EventRow]:
    """Events at positions after < position <= upto in order, at most `limit`, of the given topics only if any."""
    _select(cur, _EVENT_COLUMNS, journal, after, limit, upto, topics)
    return [_event_row(row) for row in cur.fetchall()]


def read_light(
    cur: PgCursor,
    journal: int,
    *,
    after: int,
    limit: int,
    upto: int | None = None,
    topics: Sequence[str] = (),
) -> list[LightRow]:
    """As `read`, without hashes and command fields: for projections and for catching up."""
    _select(cur, _LIGHT_COLUMNS, journal, after, limit, upto, topics)
    return _light_rows(cur)


def read_streams(cur: PgCursor, journal: int, streams: Sequence[tuple[str, int]]) -> list[LightRow]:
    """The events of several streams of one journal, each after a version, ordered by stream and version.

    `streams` holds (originator_id, after_version) pairs; after_version 0 or below reads a stream from its start.
    """
    if not streams:
        return []
    cur.execute(
        f"SELECT {_LIGHT_COLUMNS} FROM unnest(%s::text[], %s::bigint[]) AS wanted (stream, after_version),"
        # OFFSET 0 keeps the planner from flattening the subquery into a join that scans the whole journal.
        " LATERAL (SELECT * FROM events WHERE journal = %s AND originator_id = wanted.stream"
        " AND originator_version > wanted.after_version OFFSET 0) AS event"
        " ORDER BY originator_id, originator_version",
        ([stream for stream, _ in streams], [version for _, version in streams], journal),
    )
    return _light_rows(cur)


def find_commands(cur: PgCursor, journal: int, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int, int]]:
    """What the journal recorded for idempotency keys: key -> (command_hash, position of its first event, events).

    Keys that are not recorded are absent from the result.
    """
    if not keys:
        return {}
    cur.execute(
        "SELECT uuid_send(command_key), uuid_send(command_hash), position, command_events"
        " FROM unnest(%s::uuid[]) AS wanted (key),"
        # OFFSET 0 makes it one index descent a key: for many keys the planner would rather scan the whole journal.
        " LATERAL (SELECT * FROM events WHERE journal = %s AND command_key = wanted.key OFFSET 0) AS event",
        ("{" + ",".join(key.hex() for key in keys) + "}", journal),
    )
    return {bytes(key): (bytes(digest), position, events) for key, digest, position, events in cur.fetchall()}


def _select(
    cur: PgCursor, columns: str, journal: int, after: int, limit: int, upto: int | None, topics: Sequence[str]
) -> None:
    if not topics:  # positions have no gaps, so this changes no result; it keeps a plan from sorting a whole journal
        upto = after + limit if upto is None else min(upto, after + limit)
    cur.execute(
        f"SELECT {columns} FROM events WHERE journal = %s AND position > %s AND position <= %s"
        + (" AND topic = ANY (%s)" if topics else "")
        + " ORDER BY position LIMIT %s",
        (journal, after, NO_POSITION_LIMIT if upto is None else upto, *([list(topics)] if topics else ()), limit),
    )


def _light_rows(cur: PgCursor) -> list[LightRow]:
    return [
        (position, stream, version, topic, bytes(state), recorded_at)
        for position, stream, version, topic, state, recorded_at in cur.fetchall()
    ]


def _event_row(row: tuple[Any, ...]) -> EventRow:
    journal, position, stream, version, topic, state, recorded_at, hashes, events = row
    digest = bytes(hashes)
    key, command = (None, None) if events is None else (digest[32:48], digest[48:64])
    return EventRow(
        journal, position, stream, version, topic, bytes(state), recorded_at, digest[:32], key, command, events
    )
