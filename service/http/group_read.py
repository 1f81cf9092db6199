"""Group read: single rows for many requests, read together while the read before them is under way.

A read of its own costs a request a round trip, and the database more for each than for many at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

BATCH_COUNT_MAX: Final = 256

K = TypeVar("K")
V = TypeVar("V")


class GroupRead(Generic[K, V]):
    """See the module; for the event loop. `read_many` answers the keys it gets in their order."""

    def __init__(self, read_many: Callable[[Sequence[K]], Awaitable[Sequence[V]]]) -> None:
        self._read_many = read_many
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def read(self, key: K) -> V:
        """What is found for a key, as of now or later. Raises what the read raised that it was part of."""
        found: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, found))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_waiting())
        return await found

    async def _read_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_COUNT_MAX], self._waiting[BATCH_COUNT_MAX:]
            await self._read(batch)
        self._reading = None

    async def _read(self, batch: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        keys = [key for key, _ in batch]
        try:
            found = list(zip(batch, await self._read_many(keys), strict=True))
        except Exception as error:  # noqa: BLE001 - raised in the requests that wait
            for _, waiting in batch:
                if not waiting.done():  # its client may have gone
                    waiting.set_exception(error)
            return
        for (_, waiting), value in found:
            if not waiting.done():
                waiting.set_result(value)
