"""The newest balance of each member for a compacted topic, from the tables of the projection of balances."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime
from typing import Final
from urllib.parse import quote

import msgspec
from kafka import TopicPartition
from msgspec import Struct

from consumers.publisher import BATCH_BYTES_MAX
from consumers.record_batches import RecordBatch, content
from consumers.relayed_events import partition_of
from ledger.codec import MEMBER_STREAM
from ledger.store.database import PgCursor

PROJECTION: Final = "balances"
ERASED: Final = "erased"
_HEADERS: Final = [("content-type", b"application/json")]


class MemberBalance(Struct, frozen=True, kw_only=True):
    """The value of a record: points of a member at `as_of`, by all events of the journal up to `position`.

    What became available or expired after `as_of` without an event is not in it; `next_expiry_at` says when the next
    points expire, null for never. `version` rises with every event of the member.
    """

    programme: str
    member: str
    status: str
    active: int
    pending: int
    held: int
    spent: int
    expired: int
    arrears: int
    next_expiry_at: datetime | None
    next_expiry_points: int
    version: int
    journal: int
    position: int
    as_of: datetime


def balance_key(programme: str, member: str) -> bytes:
    """The key of a member's record: the programme, percent-encoded, a slash, and the member.

    A compacted topic keeps one record a key, and two programmes may have a member of the same name.
    """
    return f"{quote(programme, safe='')}/{member}".encode()


def projected(cur: PgCursor) -> dict[int, int]:
    """How far the projection of balances is in each journal; journals that it has not begun are left out."""
    cur.execute("SELECT journal, max(position) FROM projections WHERE projection = %s GROUP BY journal", (PROJECTION,))
    return dict(cur.fetchall())


def read_balances(cur: PgCursor, journal: int, programme: str, *, after: int, upto: int) -> list[MemberBalance]:
    """The balances of the members with an event at after < position <= upto, as the tables say now: one query.

    Call it only for positions that the projection has passed.
    """
    cur.execute(
        _SELECT,
        {"journal": journal, "after": after, "upto": upto, "prefix": MEMBER_STREAM, "start": len(MEMBER_STREAM) + 1},
    )
    return [
        MemberBalance(
            programme=programme,
            member=member,
            status=status,
            active=active,
            pending=pending,
            held=held,
            spent=spent,
            expired=expired + overdue,
            arrears=arrears,
            next_expiry_at=next_expiry_at,
            next_expiry_points=next_expiry_points,
            version=version,
            journal=journal,
            position=position,
            as_of=as_of,
        )
        for (
            member, status, version, position, held, spent, expired, arrears,
            active, pending, overdue, next_expiry_at, next_expiry_points, as_of,
        ) in cur.fetchall()
    ]  # fmt: skip


def lay_out_balances(
    balances: list[MemberBalance], topic: str, partitions: int
) -> dict[TopicPartition, list[RecordBatch]]:
    """Batches for each partition; a record without a value (a tombstone) for a member that was erased."""
    now_ms = int(time.time() * 1000)
    laid_out: dict[TopicPartition, list[RecordBatch]] = defaultdict(lambda: [RecordBatch(now_ms)])
    for balance in balances:
        key = balance_key(balance.programme, balance.member)
        value = None if balance.status == ERASED else msgspec.json.encode(balance)
        batches = laid_out[TopicPartition(topic, partition_of(key, partitions))]
        if batches[-1].size_bytes > BATCH_BYTES_MAX:
            batches.append(RecordBatch(now_ms))
        batches[-1].add(content(key, value, [] if value is None else _HEADERS))
    return dict(laid_out)


# OFFSET 0 and the lateral joins keep the planner, which cannot know `touched`, on a look-up by key for each member.
_SELECT = """
WITH touched AS MATERIALIZED (
    SELECT DISTINCT substr(originator_id, %(start)s) COLLATE "C" AS member FROM events
    WHERE journal = %(journal)s AND position > %(after)s AND position <= %(upto)s
        AND starts_with(originator_id, %(prefix)s)
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)
SELECT member, status, version, position, held, spent, expired, arrears,
    active, pending, overdue, next_expiry_at, next_expiry_points, now
FROM touched, clock, LATERAL (
    SELECT status, version, position, held, spent, expired, arrears FROM balances
    WHERE journal = %(journal)s AND balances.member = touched.member OFFSET 0
) balance, LATERAL (
    SELECT coalesce(sum(points) FILTER (WHERE available AND NOT gone), 0)::bigint AS active,
        coalesce(sum(points) FILTER (WHERE NOT available AND NOT gone), 0)::bigint AS pending,
        coalesce(sum(points) FILTER (WHERE gone), 0)::bigint AS overdue,
        max(next_at) AS next_expiry_at,
        coalesce(sum(points) FILTER (WHERE expires_at = next_at), 0)::bigint AS next_expiry_points
    FROM (
        SELECT points, expires_at, available_at <= now AS available, expires_at <= now AS gone,
            min(expires_at) FILTER (WHERE expires_at > now AND expires_at < 'infinity') OVER () AS next_at
        FROM lots WHERE journal = %(journal)s AND lots.member = touched.member
    ) layers
) figures
"""
