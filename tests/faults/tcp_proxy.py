"""A proxy in front of any server, to which a network can happen: connections that break, close on one side, or go
silent, and bytes that are late, or not those that were sent.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType

LOOPBACK = "127.0.0.1"
_RECEIVE_BYTES = 65_536


class TcpProxy:
    """Listens on a loopback port and passes everything on to another, until it is told to fail."""

    def __init__(self, port: int, target_port: int) -> None:
        self.address = f"{LOOPBACK}:{port}"
        self._target = (LOOPBACK, target_port)
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((LOOPBACK, port))
        self._listener.listen(64)
        self._lock = Lock()
        self._wires: list[_Wire] = []
        self._refusing = self._silent = False
        self._flowing = Event()
        self._flowing.set()
        self._to_corrupt = b""
        self.corrupted = Event()
        """Set when what `corrupt` named has come by."""
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        self._flowing.set()

    def cut_all(self, *, refuse: bool = False) -> None:
        """Break every connection, and with `refuse` every new one until `allow`."""
        with self._lock:
            self._refusing = refuse
            wires, self._wires = self._wires, []
        for wire in wires:
            wire.cut()

    def half_close_all(self, *, to_server: bool) -> None:
        """Tell one side of every connection that the other has gone, which has not."""
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            wire.half_close(to_server=to_server)

    def silence(self) -> None:
        """Lose every byte of every connection, for ever, and of new ones until `allow`; nobody is told."""
        with self._lock:
            self._silent = True
            for wire in self._wires:
                wire.silent = True

    def delay(self) -> None:
        """Hold everything back until `allow`."""
        self._flowing.clear()

    def allow(self) -> None:
        """Take connections again, and pass on what is held back."""
        with self._lock:
            self._refusing = self._silent = False
        self._flowing.set()

    def corrupt(self, what: bytes) -> None:
        """Change one bit of the first of these bytes when the server next sends them, in one piece."""
        self.corrupted.clear()
        self._to_corrupt = what

    def through(self, part: bytes, *, to_server: bool) -> bytes:
        """What comes out of the proxy, when it does."""
        self._flowing.wait()
        with self._lock:
            if not to_server and self._to_corrupt and (at := part.find(self._to_corrupt)) >= 0:
                part = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
                self._to_corrupt = b""
                self.corrupted.set()
        return part

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server.connect(self._target)
            except OSError:  # the server is down: so is the proxy
                client.close()
                server.close()
                continue
            wire = _Wire(self, client, server)
            with self._lock:
                wire.silent = self._silent
                self._wires = [each for each in self._wires if each.lives] + [wire]
            wire.start()


class _Wire:
    """One connection: a thread for each direction."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._ends_left = 2
        self.silent = False

    @property
    def lives(self) -> bool:
        return self._ends_left > 0

    def start(self) -> None:
        for from_, to in ((self._client, self._server), (self._server, self._client)):
            Thread(target=self._pass_on, args=(from_, to), daemon=True).start()

    def cut(self) -> None:
        """Break both sides."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def half_close(self, *, to_server: bool) -> None:
        with suppress(OSError):
            (self._server if to_server else self._client).shutdown(socket.SHUT_WR)

    def _pass_on(self, from_: socket.socket, to: socket.socket) -> None:
        try:
            while part := from_.recv(_RECEIVE_BYTES):
                part = self._proxy.through(part, to_server=to is self._server)
                if not self.silent:
                    to.sendall(part)
        except OSError:
            self.cut()
        finally:
            with suppress(OSError):
                to.shutdown(socket.SHUT_WR)
            self._ends_left -= 1
            if not self._ends_left:
                self._client.close()
                self._server.close()
