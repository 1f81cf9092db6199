"""Refused input, kept where it can be seen and tried again; and emptied when its member is erased."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

from msgspec import msgpack
from psycopg2.extras import execute_values

from ledger.rejections import Rejection
from ledger.store.database import PgCursor
from ledger.submissions import Malformed, Place, Submission

_INSERT_REJECTED = """
    INSERT INTO rejected (programme, digest, code, field, reason, value, type, source, message_id, member, origin, body,
        topic, partition, "offset", timestamp_ms, key, headers)
    VALUES %s
    ON CONFLICT (programme, digest) DO UPDATE SET
        code = excluded.code, field = excluded.field, reason = excluded.reason, value = excluded.value,
        attempts = rejected.attempts + 1, last_seen = clock_timestamp(), status = 'open', resolved_at = NULL
"""
_ERASE_REJECTED = """
    UPDATE rejected SET body = NULL, value = NULL, headers = NULL, key = NULL, field = NULL, reason = %(reason)s,
        digest = gen_random_uuid()
    WHERE (programme = %(programme)s OR programme NOT IN (SELECT programme FROM programmes)) AND (
        member = ANY (%(members)s)
        OR coalesce(member, '') = '' AND code = ANY (%(unreadable)s) AND EXISTS (
            SELECT FROM unnest(%(spelt)s::bytea[]) AS name
            WHERE position(name IN coalesce(body, '')) > 0 OR position(name IN coalesce(key, '')) > 0
                OR position(name IN coalesce(headers, '')) > 0
        )
    )
"""  # the digest too: it would tell whether a guess at the content is right
VALUE_CHARACTERS_MAX = 200
ERASED_RULE = "what the message said was erased with its member"
UNREADABLE = (
    "MESSAGE_TOO_LARGE",
    "NOT_UTF8",
    "NOT_JSON",
    "UNKNOWN_TYPE",
    "INVALID_FIELD",
    "UNPROCESSABLE",
    "PROGRAMME_MISSING",
)
"""The codes of messages of which it may not be known whose they are."""

_Row: TypeAlias = tuple[object, ...]


def is_kept(submission: Submission) -> bool:
    """Whether a submission is kept where it is refused."""
    return submission.body is not None or submission.place is not None


def keep_refused(cur: PgCursor, refused: Sequence[tuple[Submission, Rejection, bool]]) -> None:
    """Keep refused submissions; of those marked True, whose member was erased, only that and why they were refused."""
    rows = {row[:2]: row for row in (_row(*each) for each in refused)}
    if rows:
        execute_values(cur, _INSERT_REJECTED, list(rows.values()), page_size=500)


def erase_refused(cur: PgCursor, programme: str, members: Sequence[str]) -> None:
    """Empty the refused messages of erased members: those that name one of them, and those of which no member could be
    told but that have such a name in them. Messages to other programmes that exist stay as they are.
    """
    spelt = {spelling for name in members for spelling in (name.encode(), json.dumps(name)[1:-1].encode())}
    cur.execute(
        _ERASE_REJECTED,
        {
            "reason": ERASED_RULE,
            "programme": programme,
            "members": list(members),
            "unreadable": list(UNREADABLE),
            "spelt": list(spelt),
        },
    )


def _row(submission: Submission, rejection: Rejection, is_erased: bool) -> _Row:
    command, body, place = submission.command, submission.body, submission.place
    type_ = command.type if isinstance(command, Malformed) else str(command.__struct_config__.tag)
    identity = (type_, command.source, command.id, getattr(command, "member", ""))
    said: _Row = (rejection.field, rejection.rule, rejection.value[:VALUE_CHARACTERS_MAX])
    row: _Row = (
        command.programme,
        _digest("\0".join(identity).encode() if is_erased else body, place),
        rejection.code,
        *((None, ERASED_RULE, None) if is_erased else said),
        *identity,
        submission.origin,
        None if is_erased else body,
        *(_place_columns(place, is_erased) if place else (None,) * 6),
    )
    return tuple(_storable(part) for part in row)


def _place_columns(place: Place, is_erased: bool) -> _Row:
    key, headers = (None, None) if is_erased else (place.key, msgpack.encode(place.headers, enc_hook=bytes))
    return (place.topic, place.partition, place.offset, place.timestamp_ms, key, headers)


def _digest(content: bytes | None, place: Place | None) -> str:
    """What makes two refused messages the same: their bytes (of one that is kept without them: its identity); and where
    they have a place, the place too, so that a redelivery is the same message, and another message with the same bytes
    is not.
    """
    where = f"{place.topic}\0{place.partition}\0{place.offset}\0".encode() if place else b""
    return blake2b(where + (content or b""), digest_size=16).hexdigest()


def _storable(part: object) -> object:
    """PostgreSQL text has no NUL."""
    return part.replace("\x00", "\\u0000") if isinstance(part, str) else part
