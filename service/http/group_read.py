"""Group read: single rows for many requests, read together while the read before them is under way.

A read of its own costs a request a change of threads and a round trip, which take longer than all the rest of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from ledger.store.database import PgCursor

BATCH_COUNT_MAX: Final = 256

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class RunRead(Protocol):
    """Runs a read in a thread, as `Backend.read` does."""

    def __call__(self, read: Callable[[PgCursor], T], /) -> Awaitable[T]: ...


class GroupRead(Generic[K, V]):
    """See the module; for the event loop. `read_many` answers the keys it gets in their order, in a thread."""

    def __init__(self, run: RunRead, read_many: Callable[[PgCursor, Sequence[K]], Sequence[V]]) -> None:
        self._run = run
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
            values = await self._run(lambda cursor: self._read_many(cursor, keys))
            found = list(zip(batch, values, strict=True))
        except Exception as error:  # noqa: BLE001 - raised in the requests that wait
            for _, waiting in batch:
                if not waiting.done():  # its client may have gone
                    waiting.set_exception(error)
            return
        for (_, waiting), value in found:
            if not waiting.done():
                waiting.set_result(value)
