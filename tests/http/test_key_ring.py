"""Keys as a server holds them: looked up once for all who ask, and again before what is known is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError

from ledger.store.database import Database
from service.http import key_ring
from service.http.key_ring import KeyRing
from service.keys import create_key, revoke_key

LONG = 1e6


def test_however_many_ask_it_is_looked_up_once(database: Database) -> None:
    made, text = create_key(database, programme=None, role="reader", name="r", source="r")
    ring, looked_up = KeyRing(database, 1.0, 1), 0

    async def look_up(find: Callable[[], Any]) -> Any:
        nonlocal looked_up
        looked_up += 1
        return await asyncio.to_thread(find)

    async def ask() -> None:
        assert await asyncio.gather(*(ring.find(text, look_up) for _ in range(50))) == [made] * 50
        assert await ring.find(text, look_up) == made
        assert await ring.find(text + "x", look_up) is None

    asyncio.run(ask())
    assert looked_up == 2


def test_what_is_known_is_renewed_beside_those_who_use_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, and what was revoked meanwhile is known to be before it would be too old."""
    made, text = create_key(database, programme=None, role="reader", name="r", source="r")
    monkeypatch.setattr(key_ring, "KNOWN_SECONDS", LONG)
    ring = KeyRing(database, 1.0, 1)
    gate = asyncio.Event()

    async def held(find: Callable[[], Any]) -> Any:
        await gate.wait()
        return await asyncio.to_thread(find)

    async def ask() -> None:
        assert await ring.find(text, asyncio.to_thread) == made
        revoke_key(database, made.key)
        assert await ring.find(text, held) == made
        monkeypatch.setattr(key_ring, "RENEWED_SECONDS", LONG)
        assert await ring.find(text, held) == made
        gate.set()
        while await ring.find(text, held) is not None:
            await asyncio.sleep(0)

    asyncio.run(ask())


def test_a_database_that_is_away_is_told_when_what_is_known_is_too_old(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, text = create_key(database, programme=None, role="reader", name="r", source="r")
    monkeypatch.setattr(key_ring, "KNOWN_SECONDS", LONG)
    monkeypatch.setattr(key_ring, "RENEWED_SECONDS", LONG)
    ring = KeyRing(database, 1.0, 1)

    async def away(find: Callable[[], Any]) -> Any:
        raise OperationalError("away")

    async def ask() -> None:
        with pytest.raises(OperationalError):
            await ring.find(text, away)
        assert await ring.find(text, asyncio.to_thread) == made
        for _ in range(3):
            assert await ring.find(text, away) == made
            await asyncio.sleep(0)
        (known,) = ring._known.values()
        known.until = 0.0
        with pytest.raises(OperationalError):
            await ring.find(text, away)
        assert await ring.find(text, asyncio.to_thread) == made

    asyncio.run(ask())


def test_what_was_under_way_for_too_long_is_asked_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who joins a look-up whose answer is late is not let in by what it found before the key was revoked."""
    made, text = create_key(database, programme=None, role="reader", name="r", source="r")
    monkeypatch.setattr(key_ring, "KNOWN_SECONDS", 0.0)
    ring = KeyRing(database, 1.0, 1)

    async def ask() -> None:
        found, gate = asyncio.Event(), asyncio.Event()

        async def late(find: Callable[[], Any]) -> Any:
            key = await asyncio.to_thread(find)
            found.set()
            await gate.wait()
            return key

        first = asyncio.create_task(ring.find(text, late))
        await found.wait()
        revoke_key(database, made.key)
        joined = asyncio.create_task(ring.find(text, late))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(first, joined) == [None, None]

    asyncio.run(ask())
