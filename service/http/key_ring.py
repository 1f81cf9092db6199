"""Keys as a server holds them: looked up once in a few seconds, counted, and noted when they are used."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ledger.store.database import Database
from service.keys import ApiKey, find_key, record_uses

KNOWN_SECONDS: Final = 5.0
"""How long a key is taken as it was found: a revoked key works no longer than that."""
KNOWN_MAX: Final = 10_000


class _Known(Struct):
    key: ApiKey | None
    until: float


class _Bucket(Struct):
    """Tokens that a key has left, refilled as time passes (token bucket)."""

    tokens: float
    at: float


class KeyRing:
    """See the module. All but `look_up` and `record_uses` are for the event loop, and never block."""

    def __init__(self, database: Database, requests_per_second: float, requests_at_once: int) -> None:
        self._database = database
        self._rate = requests_per_second
        self._at_once = requests_at_once
        self._known: dict[bytes, _Known] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._used: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def known(self, text: str) -> _Known | None:
        """What was found lately for the text of a key; None where that was too long ago.

        It is kept under a hash of the whole text, so finding it tells nothing about how much of a guess was right.
        """
        found = self._known.get(_digest(text))
        return found if found is not None and found.until > time.monotonic() else None

    def look_up(self, text: str) -> _Known:
        """Find a key in the database; blocks."""
        found = _Known(find_key(self._database, text), time.monotonic() + KNOWN_SECONDS)
        if len(self._known) >= KNOWN_MAX:
            self._known = {}
        self._known[_digest(text)] = found
        return found

    def use(self, key: ApiKey) -> float:
        """Note a use; the seconds after which the key may be used again, 0 where it may be now."""
        now = time.monotonic()
        bucket = self._buckets.get(key.key)
        if bucket is None:
            bucket = self._buckets[key.key] = _Bucket(float(self._at_once), now)
        bucket.tokens = min(float(self._at_once), bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._rate
        bucket.tokens -= 1
        self._used[key.key] = datetime.now(UTC)
        return 0.0

    def record_uses(self) -> None:
        """Write when keys were last used, all at once; blocks. What cannot be written now is written later."""
        with self._lock:
            used, self._used = self._used, {}
            if not used:
                return
            try:
                record_uses(self._database, used)
            except BaseException:
                self._used = used | self._used
                raise


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
