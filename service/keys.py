"""API keys: a public part to find a key by, and a secret of 256 random bits of which only the hash is kept.

A guess of the secret is hopeless, so a plain SHA-256 of it is enough: the slow hashes are for passwords, which people
choose. A key is for one programme or for every one, has one role, and one source: all commands that come by it are
recorded under that source, so every event tells whose key it came by.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, get_args

from msgspec import Struct

from ledger.store.database import Database

Role = Literal["upstream", "reader", "operator", "auditor", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
PREFIX: Final = "loyalty"
SECRET_BYTES: Final = 32
NAME_CHARACTERS_MAX: Final = 128

_PUBLIC_BYTES: Final = 8
_NO_HASH: Final = bytes(32)
_COLUMNS: Final = "key, programme, role, name, source, created_at, revoked_at, last_used_at"


class KeyUnknown(LookupError):
    """There is no such key."""


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key without its secret. `programme` is None where it is for every programme; `last_used_at` is that of the last
    half minute or so in which it was used.
    """

    key: str
    programme: str | None
    role: Role
    name: str
    source: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_for(self, programme: str) -> bool:
        """Whether it may be used for a programme."""
        return self.programme is None or self.programme == programme


def create_key(database: Database, *, programme: str | None, role: Role, name: str, source: str) -> tuple[ApiKey, str]:
    """Make a key; with it, the text that its owner sends, which cannot be had again.

    Raises eventsourcing.persistence.IntegrityError where there is no such programme.
    """
    public, secret = secrets.token_hex(_PUBLIC_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    with database.connection() as cursor:
        cursor.execute(
            "INSERT INTO api_keys (key, programme, role, name, source, secret_sha256) VALUES (%s, %s, %s, %s, %s, %s)"
            f" RETURNING {_COLUMNS}",
            (public, programme, role, name, source, _hashed(secret)),
        )
        row = cursor.fetchone()
    assert row is not None
    return _key(row), f"{PREFIX}_{public}_{secret}"


def list_keys(database: Database, *, programme: str = "") -> list[ApiKey]:
    """All keys, or those that may be used for a programme, in the order of their making."""
    with database.connection() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM api_keys WHERE %s = '' OR programme IS NULL OR programme = %s"
            " ORDER BY created_at, key",
            (programme, programme),
        )
        return [_key(row) for row in cursor.fetchall()]


def revoke_key(database: Database, key: str) -> ApiKey:
    """Revoke a key by its public part; one that is revoked already stays so since then. Raises KeyUnknown."""
    with database.connection() as cursor:
        cursor.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE key = %s"
            f" RETURNING {_COLUMNS}",
            (key,),
        )
        row = cursor.fetchone()
    if row is None:
        raise KeyUnknown(f"there is no key {key!r}: loyalty key list")
    return _key(row)


def public_part(text: str) -> str:
    """The public part of a key as its owner sends it; "" where the text is not one."""
    prefix, _, rest = text.partition("_")
    public, _, secret = rest.partition("_")
    return public if prefix == PREFIX and secret and public.isascii() and public.isalnum() else ""


def find_key(database: Database, text: str) -> ApiKey | None:
    """The key that a text is, if it is one, is not revoked, and its secret is right."""
    public = public_part(text)
    secret = text[len(PREFIX) + len(public) + 2 :] if public else ""
    with database.connection() as cursor:
        cursor.execute(f"SELECT {_COLUMNS}, secret_sha256 FROM api_keys WHERE key = %s", (public,))
        row = cursor.fetchone()
    *columns, digest = row or (_NO_HASH,)
    # Also where there is no such key: how long an answer takes does not tell whether there is.
    right = hmac.compare_digest(_hashed(secret), bytes(digest))
    if row is None or not right:
        return None
    key = _key(columns)
    return None if key.revoked_at is not None else key


def record_uses(database: Database, used: Mapping[str, datetime]) -> None:
    """Move on when keys were last used, by their public parts; all in one statement."""
    with database.connection() as cursor:
        cursor.execute(
            "UPDATE api_keys SET last_used_at = greatest(last_used_at, used.at)"
            " FROM unnest(%s::text[], %s::timestamptz[]) AS used (key, at) WHERE api_keys.key = used.key",
            (list(used), list(used.values())),
        )


def _hashed(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _key(row: Any) -> ApiKey:
    return ApiKey(**dict(zip(ApiKey.__struct_fields__, row, strict=True)))
