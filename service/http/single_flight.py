"""Single flight: what many ask for at the same moment is looked up once, and all of them get what is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Look-ups under way by what they look for; for the event loop. Whoever stops waiting for one does not end it."""

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, look_up: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What the look-up of a key that is under way finds, or one that begins now. Raises what it raises."""
        return await asyncio.shield(self.begin(key, look_up))

    def begin(self, key: K, look_up: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        """The same, for who need not wait."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._fly(key, look_up))
            flight.add_done_callback(_taken_note_of)
        return flight

    async def _fly(self, key: K, look_up: Callable[[], Coroutine[Any, Any, V]]) -> V:
        try:
            return await look_up()
        finally:
            del self._flights[key]  # not in a callback, before which somebody might get what is over


def _taken_note_of(flight: asyncio.Task[Any]) -> None:
    """Why it failed is raised in those who wait for it; where nobody does, it is no loss."""
    if not flight.cancelled():
        flight.exception()
