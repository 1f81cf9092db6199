"""Loop reader: single statements on a connection that the event loop itself waits for.

A read in a thread costs two changes of threads, which take longer than a look-up does. So the statements that there are
most of go without: the loop waits for the database as it waits for its clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import psycopg2
from eventsourcing.persistence import PersistenceError
from psycopg2.extensions import POLL_OK, POLL_WRITE

from ledger.engine import is_passing
from ledger.store.database import CUT_AFTER_SECONDS, PgConnection, PgCursor, translated
from ledger.store.deadlines import timed_out

LOOK_AGAIN_SECONDS: Final = 1.0
CLOSED: Final = "the reader is closed"

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


class InThread(Protocol):
    """Runs what blocks in a thread, as `Backend.in_thread` and `Backend.look_up` do."""

    def __call__(self, run: Callable[[], T], /) -> Awaitable[T]: ...


class LoopReader:
    """Runs one statement at a time, in the order in which they were asked for; for the event loop.

    `connect` opens an asynchronous connection, in a thread because names are looked up and it takes long. A connection
    begins with the statements of `prepare`. An answer may take `seconds_max`, with all that it has to wait for.
    """

    def __init__(
        self, connect: Callable[[], PgConnection], in_thread: InThread, *, prepare: Sequence[str], seconds_max: float
    ) -> None:
        self._connect = connect
        self._in_thread = in_thread
        self._prepare: Final = tuple(prepare)
        self._seconds_max = seconds_max
        self._turn = asyncio.Lock()
        self._session: PgConnection | None = None
        self._wait: _Wait | None = None
        self._closed = False

    async def rows(self, statement: str, arguments: Sequence[Any]) -> Rows:
        """What a statement finds that may run twice: again where the connection had broken since it was last used.

        Raises errors of eventsourcing.persistence; after `seconds_max` what `timed_out` gives.
        """
        try:
            async with asyncio.timeout(self._seconds_max + CUT_AFTER_SECONDS), self._turn:
                try:
                    return await self._rows(statement, arguments)
                except PersistenceError as error:
                    if not is_passing(error):
                        raise
                return await self._rows(statement, arguments)
        except TimeoutError:
            raise timed_out(f"the database did not answer within {self._seconds_max:g} s") from None

    def close(self) -> None:
        """Close the connection. A read that is under way, and those that come, raise InterfaceError."""
        self._closed = True
        if self._wait is not None:
            self._wait.give_up()
        self._drop()

    def _drop(self) -> None:
        """Close the connection; the next read opens another."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _rows(self, statement: str, arguments: Sequence[Any]) -> Rows:
        try:
            if self._session is None and not self._closed:
                self._session = await self._in_thread(self._connect)
                for each in self._prepare:
                    await self._run(each)
            return (await self._run(statement, arguments)).fetchall()
        except psycopg2.Error as error:
            self._drop()
            raise translated(error) from error
        except BaseException:  # it took too long: what comes on the connection now is the answer to nothing
            self._drop()
            raise

    async def _run(self, statement: str, arguments: Sequence[Any] = ()) -> PgCursor:
        """Send a statement and wait for its answer; the cursor that has it."""
        if self._closed or self._session is None:
            raise psycopg2.InterfaceError(CLOSED)
        cursor = self._session.cursor()
        cursor.execute(statement, arguments)
        self._wait = wait = _Wait(self._session)
        try:
            await wait.answered
        finally:
            wait.end()
            self._wait = None
        return cursor


class _Wait:
    """The wait for an answer; no closures, which would be cycles, and so garbage of each read until it is collected."""

    def __init__(self, session: PgConnection) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._wire = session.fileno()
        self.answered: asyncio.Future[None] = self._loop.create_future()
        self._again = self._loop.call_later(LOOK_AGAIN_SECONDS, self._look_again)
        self._loop.add_reader(self._wire, self._go_on)
        self._go_on()

    def _go_on(self) -> None:
        if self.answered.done():
            return
        try:
            state = self._session.poll()
        except psycopg2.Error as error:
            self._leave()
            self.answered.set_exception(error)
            return
        except BaseException:
            self._leave()
            raise
        if state == POLL_OK:
            self._leave()
            self.answered.set_result(None)
        elif state == POLL_WRITE:
            self._loop.add_writer(self._wire, self._go_on)
        else:
            self._loop.remove_writer(self._wire)

    def _look_again(self) -> None:
        """What uvloop does not tell: it watches a connection no more once it was reset, though bytes are to be read."""
        self._again = self._loop.call_later(LOOK_AGAIN_SECONDS, self._look_again)
        self._go_on()

    def give_up(self) -> None:
        """Raise InterfaceError in who waits."""
        if not self.answered.done():
            self._leave()
            self.answered.set_exception(psycopg2.InterfaceError(CLOSED))

    def end(self) -> None:
        """Wait no more, whether there was an answer or not."""
        if self.answered.cancelled():
            self._leave()

    def _leave(self) -> None:
        """At once: where the connection broke, the number of its file may be another's by the next turn of the loop."""
        self._again.cancel()
        self._loop.remove_reader(self._wire)
        self._loop.remove_writer(self._wire)
