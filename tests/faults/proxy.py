"""A proxy in front of PostgreSQL that understands its protocol well enough to fail at a chosen message."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Literal

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

Fault = Literal["cut before", "cut after", "drop reply", "half close", "delay"]
"""What happens at the message: the connection breaks before the server gets it; after the server got it; when the
server has answered it, without the answer being passed on; the server is told that the client has gone, and its answer
is passed on; or it is passed on when `release` is called.
"""

_COUNTED = frozenset(b"QdcPBES")
_ANSWERED = frozenset(b"ZG")  # ready for the next statement, or for the data of a COPY
_RECEIVE_BYTES = 65_536


class Proxy:
    """Listens on a Unix socket of its own; `dsn` leads through it. One fault at a time, which happens once."""

    def __init__(self, dsn: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="proxy-"))
        self.dsn = make_dsn(**{**parse_dsn(dsn), "host": str(self._directory), "port": "5432", "sslmode": "disable"})
        self._target = _address_of(dsn)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._directory / ".s.PGSQL.5432"))
        self._listener.listen(64)
        self._lock = Lock()
        self._wires: list[_Wire] = []
        self._fault: Fault | None = None
        self._is_chosen: Callable[[int, bytes], bool] = lambda number, message: False
        self._refusing = False
        self._released = Event()
        self._flowing = Event()
        self._flowing.set()
        self.count = 0
        """Messages that clients sent since `arm`: statements, and the parts of a COPY."""
        self.reached = Event()
        """Set when the fault has begun."""
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        self._flowing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        shutil.rmtree(self._directory, ignore_errors=True)

    def arm(self, fault: Fault, at: int | bytes) -> None:
        """Fail at the nth message from now, of all connections together, or at the first that has these bytes in it."""
        with self._lock:
            self.count = 0
            self._fault = fault
            self._is_chosen = (lambda n, _: n == at) if isinstance(at, int) else (lambda _, message: at in message)
            self.reached.clear()
            self._released.clear()

    def release(self) -> None:
        """Pass on what is delayed."""
        self._released.set()

    def cut_all(self, *, refuse: bool = False) -> None:
        """Break every connection, and with `refuse` every new one until `allow`."""
        with self._lock:
            self._refusing = refuse
            wires, self._wires = self._wires, []
        for wire in wires:
            wire.cut()

    def hang(self) -> None:
        """Take connections, and let nothing through to the server until `allow`: as if it were stopped."""
        self._flowing.clear()

    def allow(self) -> None:
        """Take connections again, and let everything through."""
        with self._lock:
            self._refusing = False
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                refused = self._refusing
            if refused:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
            try:
                server.connect(self._target)
            except OSError:  # the server is down: so is the proxy
                client.close()
                server.close()
                continue
            wire = _Wire(self, client, server)
            with self._lock:
                refused = self._refusing  # since it was accepted
                if not refused:
                    self._wires.append(wire)
            if refused:
                wire.cut()
                continue
            wire.start()

    def fault_of(self, message: bytes) -> Fault | None:
        """The fault that begins with this message, which is counted."""
        with self._lock:
            self.count += 1
            if self._fault is None or not self._is_chosen(self.count, message):
                return None
            fault, self._fault = self._fault, None
        self.reached.set()
        return fault

    def wait_while_it_hangs(self) -> None:
        self._flowing.wait()

    def wait_for_release(self) -> None:
        self._released.wait()


class _Wire:
    """One connection: a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._is_dropping = False

    def start(self) -> None:
        for run in (self._forward, self._answer):
            Thread(target=run, daemon=True).start()

    def cut(self) -> None:
        """Break both sides."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _forward(self) -> None:
        """From the client to the server, a message at a time. The first has no type."""
        try:
            first = _message(self._client, typed=False)
            self._proxy.wait_while_it_hangs()
            self._server.sendall(first)
            while message := _message(self._client):
                if not self._pass_on(message):
                    return
        except OSError:
            pass
        finally:
            if not self._is_dropping:
                with suppress(OSError):
                    self._server.shutdown(socket.SHUT_WR)

    def _pass_on(self, message: bytes) -> bool:
        """Pass a message on, or fail; whether the connection lives."""
        fault = self._proxy.fault_of(message) if message[0] in _COUNTED else None
        if fault == "cut before":
            self.cut()
            return False
        self._proxy.wait_while_it_hangs()
        if fault == "delay":
            self._proxy.wait_for_release()
        if fault == "drop reply":
            self._is_dropping = True
        self._server.sendall(message)
        if fault == "drop reply" and message[:1] == b"d":  # it has no answer of its own
            self.cut()
        if fault == "cut after":
            self.cut()
        if fault == "half close":
            self._server.shutdown(socket.SHUT_WR)
        return fault in (None, "delay", "drop reply")

    def _answer(self) -> None:
        """From the server to the client; what is dropped is read to the end, so that the server has done its work."""
        try:
            while message := _message(self._server):
                if not self._is_dropping:
                    self._client.sendall(message)
                elif message[0] in _ANSWERED:
                    break
        except OSError:
            pass
        finally:
            self.cut()
            self._client.close()
            self._server.close()


def _message(side: socket.socket, *, typed: bool = True) -> bytes:
    """The next message, b"" at the end of the stream."""
    start = _exactly(side, 5 if typed else 4)
    return start and start + _exactly(side, int.from_bytes(start[-4:], "big") - 4)


def _exactly(side: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = side.recv(min(size, _RECEIVE_BYTES))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _address_of(dsn: str) -> str | tuple[str, int]:
    """Where the server of a DSN listens."""
    connection = psycopg2.connect(dsn)
    try:
        info = connection.info
        if info.host.startswith("/"):
            return f"{info.host}/.s.PGSQL.{info.port}"
        return info.host, info.port
    finally:
        connection.close()
