"""Keys as a server holds them: looked up once in a few seconds, counted, and noted when they are used."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ledger.store.database import Database
from service.http.loop_reader import InThread
from service.http.single_flight import SingleFlight
from service.keys import ApiKey, find_key, record_uses

KNOWN_SECONDS: Final = 5.0
"""How long a key is taken as it was found: a revoked key works no longer than that."""
RENEWED_SECONDS: Final = 2.0
"""So long before that it is looked up again, beside the requests that use it."""
KNOWN_MAX: Final = 10_000


class _Known(Struct):
    key: ApiKey | None
    until: float


class _Bucket(Struct):
    """Tokens that a key has left, refilled as time passes (token bucket)."""

    tokens: float
    at: float


class KeyRing:
    """See the module. All but `record_uses` is for the event loop, and never blocks."""

    def __init__(self, database: Database, requests_per_second: float, requests_at_once: int) -> None:
        self._database = database
        self._rate = requests_per_second
        self._at_once = requests_at_once
        self._known: dict[bytes, _Known] = {}
        self._looking = SingleFlight[bytes, _Known]()
        self._buckets: dict[str, _Bucket] = {}
        self._used: dict[str, datetime] = {}
        self._lock = threading.Lock()

    async def find(self, text: str, look_up: InThread) -> ApiKey | None:
        """The key of a text, as it was found lately or is now; None where there is none. Raises what `look_up` raises.

        However many ask at a time, it is looked up once. What is known is kept under a hash of the whole text, so
        finding it tells nothing about how much of a guess was right.
        """
        digest = sha256(text.encode()).digest()
        known = self._known.get(digest)
        left = 0.0 if known is None else known.until - time.monotonic()
        if known is not None and left >= RENEWED_SECONDS:
            return known.key
        renewing = self._looking.begin(digest, lambda: self._look_up(digest, text, look_up))
        if known is not None and left > 0:
            return known.key
        found = await asyncio.shield(renewing)
        if found.until <= time.monotonic():  # it was under way for long before this was asked
            found = await self._looking.get(digest, lambda: self._look_up(digest, text, look_up))
        return found.key

    async def _look_up(self, digest: bytes, text: str, look_up: InThread) -> _Known:
        until = time.monotonic() + KNOWN_SECONDS
        found = _Known(await look_up(lambda: find_key(self._database, text)), until)
        if len(self._known) >= KNOWN_MAX:
            self._known = {}
        self._known[digest] = found
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
