"""Sessions: who signed in with which key. A row each, so that any server of the database knows them all.

What a browser holds is a token of 256 random bits, of which the row has the hash: it is worth nothing without the row,
so it needs no signature, and there is no secret to keep. A session ends when it is signed out of, when its key is
revoked, after `IDLE_MINUTES` without a request, and `HOURS_MAX` after it began.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ledger.store.database import Database
from service.keys import ApiKey, find_key

TOKEN_BYTES: Final = 32
IDLE_MINUTES: Final = 30
HOURS_MAX: Final = 12

_ALIVE: Final = (
    f"session.seen_at > clock_timestamp() - interval '{IDLE_MINUTES} minutes'"
    f" AND session.started_at > clock_timestamp() - interval '{HOURS_MAX} hours'"
)
_KEY_COLUMNS: Final = ", ".join(f"key.{name}" for name in ApiKey.__struct_fields__)


class Session(Struct, frozen=True, kw_only=True):
    """A session that has not ended, with the key that it began with."""

    token: str
    key: ApiKey


def open_session(database: Database, key: ApiKey) -> Session:
    """Begin a session; rows of those that ended by themselves go."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with database.connection() as cursor:
        cursor.execute(f"DELETE FROM console_sessions session WHERE NOT ({_ALIVE})")
        cursor.execute("INSERT INTO console_sessions (token_sha256, key) VALUES (%s, %s)", (_hashed(token), key.key))
    return Session(token=token, key=key)


def find_session(database: Database, token: str) -> Session | None:
    """The session of a token; None where there is none, or where it or its key has ended."""
    with database.connection() as cursor:
        cursor.execute(
            f"SELECT session.seen_at < clock_timestamp() - interval '1 minute', {_KEY_COLUMNS}"
            " FROM console_sessions session JOIN api_keys key USING (key)"
            f" WHERE session.token_sha256 = %s AND key.revoked_at IS NULL AND {_ALIVE}",
            (_hashed(token),),
        )
        row = cursor.fetchone()
        if row is None:
            return None
        seen_long_ago, *columns = row
        if seen_long_ago:
            cursor.execute(
                "UPDATE console_sessions SET seen_at = clock_timestamp() WHERE token_sha256 = %s", (_hashed(token),)
            )
    return Session(token=token, key=ApiKey(**dict(zip(ApiKey.__struct_fields__, columns, strict=True))))


def close_session(database: Database, token: str) -> None:
    """End a session, wherever its token is."""
    with database.connection() as cursor:
        cursor.execute("DELETE FROM console_sessions WHERE token_sha256 = %s", (_hashed(token),))


def sign_in(database: Database, text: str) -> Session | None:
    """Begin a session by the text of a key; None where it is none that may. Who asks is not told why."""
    key = find_key(database, text)
    if key is None or key.role == "upstream":  # a till's: it has no page
        return None
    return open_session(database, key)


def _hashed(token: str) -> bytes:
    return sha256(token.encode()).digest()
