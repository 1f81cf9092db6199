"""Statements on a connection that the event loop waits for: answered in turn, and never without end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event, Thread
from typing import Any

import pytest
import uvloop
from eventsourcing.persistence import DataError, InterfaceError, OperationalError, PersistenceError, ProgrammingError
from psycopg2.extensions import make_dsn, parse_dsn

from ledger.store.database import Database, connect, sqlstate
from ledger.store.deadlines import QUERY_CANCELED
from service.http.loop_reader import LoopReader
from tests.cli.running import rows
from tests.faults.proxy import Proxy
from tests.waiting import PATIENCE_SECONDS

PREPARE = "PREPARE doubled (integer) AS SELECT 2 * $1"
DOUBLED = "EXECUTE doubled (%s)"
Reading = Callable[[Callable[[LoopReader], Coroutine[Any, Any, Any]]], Any]


@contextmanager
def reading(dsn: str, seconds_max: float = 60.0) -> Iterator[Reading]:
    """Runs what reads on an event loop like that of the server."""
    with closing(Database(dsn, "loyalty_reader", seconds_max=seconds_max)) as database:

        async def in_loop(run: Callable[[LoopReader], Coroutine[Any, Any, Any]]) -> Any:
            reader = LoopReader(
                lambda: database.connect(asynchronous=True),
                asyncio.to_thread,
                prepare=[PREPARE],
                seconds_max=seconds_max,
            )
            try:
                return await run(reader)
            finally:
                reader.close()

        yield lambda run: uvloop.run(in_loop(run))


async def doubled(reader: LoopReader, number: int) -> int:
    return int((await reader.rows(DOUBLED, (number,)))[0][0])


async def error_of(reader: LoopReader, statement: str, *arguments: Any) -> PersistenceError:
    with pytest.raises(PersistenceError) as raised:
        await reader.rows(statement, arguments)
    return raised.value


def test_many_at_once_are_each_answered(database_dsn: str) -> None:
    """As the reader role, on one connection."""

    async def run(reader: LoopReader) -> None:
        assert await asyncio.gather(*(doubled(reader, number) for number in range(200))) == list(range(0, 400, 2))
        found = [await reader.rows("SELECT current_user, pg_backend_pid()", ()) for _ in range(3)]
        assert found[0] == found[1] == found[2]
        assert found[0][0][0] == "loyalty_reader"

    with reading(database_dsn) as read:
        read(run)


def test_more_than_a_socket_holds(database_dsn: str) -> None:
    """In either direction."""
    text = "x" * 8_000_000

    async def run(reader: LoopReader) -> None:
        assert await reader.rows("SELECT length(%s)", (text,)) == [(len(text),)]
        assert await reader.rows("SELECT repeat('x', %s)", (len(text),)) == [(text,)]
        assert await doubled(reader, 1) == 2

    with Proxy(database_dsn) as proxy:
        for dsn in (database_dsn, proxy.dsn):
            with reading(dsn) as read:
                read(run)


def test_what_the_database_refuses_is_told_and_the_next_is_answered(database_dsn: str) -> None:
    async def run(reader: LoopReader) -> None:
        assert isinstance(await error_of(reader, "SELECT nothing"), ProgrammingError)
        assert isinstance(await error_of(reader, "SELECT 1 / %s", 0), DataError)
        assert await doubled(reader, 4) == 8

    with reading(database_dsn) as read:
        read(run)


def test_a_connection_that_broke_meanwhile_is_opened_again(database_dsn: str) -> None:
    """However: cut on the way, or ended by the server, between two reads and in the middle of one."""

    async def run(reader: LoopReader) -> None:
        for _ in range(3):
            assert await doubled(reader, 1) == 2
            proxy.cut_all()
        ((backend,),) = await reader.rows("SELECT pg_backend_pid()", ())
        rows(database_dsn, f"SELECT pg_terminate_backend({backend}, 10000)")
        assert await doubled(reader, 2) == 4
        proxy.arm("drop reply", b"doubled (3)")
        assert await doubled(reader, 3) == 6
        assert proxy.reached.is_set()

    with Proxy(database_dsn) as proxy, reading(proxy.dsn) as read:
        read(run)


def test_a_database_that_is_away_is_told_and_found_again(database_dsn: str) -> None:
    async def run(reader: LoopReader) -> None:
        proxy.cut_all(refuse=True)
        for _ in range(2):
            error = await error_of(reader, DOUBLED, 1)
            assert isinstance(error, OperationalError)
            assert sqlstate(error) is None
        proxy.allow()
        assert await doubled(reader, 1) == 2

    with Proxy(database_dsn) as proxy, reading(proxy.dsn) as read:
        read(run)


def test_what_takes_too_long_is_ended_by_the_server(database_dsn: str) -> None:
    async def run(reader: LoopReader) -> None:
        assert sqlstate(await error_of(reader, "SELECT pg_sleep(1000)")) == QUERY_CANCELED

    with reading(database_dsn, seconds_max=0.5) as read:
        read(run)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_database_that_hangs_frees_all_who_wait(database_dsn: str, is_open: bool) -> None:
    """Those in turn behind the first one too, whether the connection was open before or could not be had."""

    async def run(reader: LoopReader) -> None:
        if is_open:
            assert await doubled(reader, 1) == 2
        proxy.hang()
        for error in await asyncio.gather(*(error_of(reader, DOUBLED, number) for number in range(20))):
            assert isinstance(error, OperationalError)
            assert sqlstate(error) == QUERY_CANCELED
        proxy.allow()
        assert await doubled(reader, 5) == 10

    with Proxy(database_dsn) as proxy, reading(proxy.dsn, seconds_max=1.0) as read:
        read(run)


def test_who_reads_when_it_is_closed_is_told(database_dsn: str) -> None:
    """At once, in the middle of a read and before one, and nothing is opened again."""

    async def run(reader: LoopReader) -> None:
        assert await doubled(reader, 1) == 2
        reads = [asyncio.create_task(error_of(reader, "SELECT pg_sleep(1000)")) for _ in range(3)]
        for turns in (1, 2, 3, 100):
            for _ in range(turns):
                await asyncio.sleep(0)
        reader.close()
        for read in reads:
            assert isinstance(await read, InterfaceError)
        assert isinstance(await error_of(reader, DOUBLED, 1), InterfaceError)

    with reading(database_dsn) as read:
        read(run)


def test_over_tcp_it_is_the_server_that_a_name_led_to(database_dsn: str) -> None:
    with Wire(database_dsn) as wire, closing(connect(wire.dsn, "loyalty_reader", asynchronous=True)) as connection:
        told = connection.info.dsn_parameters
        assert (told["host"], told["hostaddr"], told["port"]) == ("localhost", "127.0.0.1", str(wire.port))


def test_part_of_an_answer_and_a_reset_are_a_broken_connection(database_dsn: str) -> None:
    """It is asked again, though the loop may be told of both at once."""

    async def run(reader: LoopReader) -> None:
        assert await doubled(reader, 1) == 2
        for part in (1, 10, 40):
            wire.reset_after(part)
            asked = asyncio.create_task(doubled(reader, part))
            while not reader._wait:
                await asyncio.sleep(0)
            assert wire.was_reset.wait(PATIENCE_SECONDS)  # while the loop looks at nothing
            assert await asked == 2 * part

    with Wire(database_dsn) as wire, reading(wire.dsn) as read:
        read(run)


class Wire:
    """A way to the server over TCP, which can be reset in the middle of an answer."""

    def __init__(self, dsn: str) -> None:
        target = parse_dsn(dsn)
        self._target = f"{target['host']}/.s.PGSQL.{target.get('port', '5432')}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.dsn = make_dsn(**{**target, "host": "localhost", "port": self.port, "sslmode": "disable"})
        self.was_reset = Event()
        self._left: int | None = None
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def reset_after(self, count: int) -> None:
        """Pass so many bytes of the next answer on, and reset the connection."""
        self.was_reset.clear()
        self._left = count

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                for ends in ((client, server), (server, client)):
                    Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                left, self._left = (self._left, None) if source.family == socket.AF_UNIX else (None, self._left)
                target.sendall(part[:left])
                if left is not None:
                    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    target.shutdown(socket.SHUT_RD)  # wakes the other thread, which has it too
                    target.close()
                    self.was_reset.set()
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_server_that_takes_no_connection_does_not_keep_a_thread(database_dsn: str) -> None:
    with (
        Proxy(database_dsn) as proxy,
        closing(Database(f"{proxy.dsn} connect_timeout=1", "loyalty_reader")) as database,
    ):
        proxy.hang()
        with pytest.raises(OperationalError, match="timeout expired"):
            database.connect(asynchronous=True)
