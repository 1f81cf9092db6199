"""A load generator for HTTP, in a process of its own: keep-alive connections, and little work a request.

Reads a `Load` as JSON from standard input and writes a `Report` as JSON. Closed loop: every connection sends its next
request when it has the answer to the last. With a `rate` the requests are due at even distances instead, and a latency
counts from when its request was due, so that a server that stalls is not let off those it kept from being sent.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Final

import msgspec
import uvloop
from msgspec import Struct

_LENGTH: Final = b"content-length:"


class Load(Struct, kw_only=True):
    """`requests` are sent in turn, each once; `rate` is in requests a second, 0 for as many as go."""

    host: str
    port: int
    connections: int
    requests: list[bytes]
    rate: float = 0.0


class Report(Struct, kw_only=True):
    """Latencies in ms, in no order; how many answers had which status."""

    seconds: float
    latencies_ms: list[float]
    statuses: dict[str, int]


class _Client(asyncio.Protocol):
    """One connection: a request at a time, of those that are left."""

    transport: asyncio.Transport

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def send_next(self) -> None:
        number = self._run.sent
        if number >= len(self._run.load.requests):
            self.transport.close()
            self.ended.set_result(None)
            return
        self._run.sent += 1
        now = time.perf_counter()
        self._due = self._run.started + number / self._run.load.rate if self._run.load.rate else now
        if self._due > now:
            asyncio.get_running_loop().call_later(self._due - now, self._send, number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        self.transport.write(self._run.load.requests[number])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self._buffer = b""
        self._run.latencies.append((time.perf_counter() - self._due) * 1_000)
        self._run.statuses[head[9:12].decode()] += 1
        self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionResetError("the server closed a connection"))


class _Run:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.sent = 0
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()

    async def __call__(self) -> Report:
        loop = asyncio.get_running_loop()
        clients = []
        for _ in range(self.load.connections):
            transport, client = await loop.create_connection(lambda: _Client(self), self.load.host, self.load.port)
            client.transport = transport
            clients.append(client)
        self.started = time.perf_counter()
        for client in clients:
            client.send_next()
        await asyncio.gather(*(client.ended for client in clients))
        seconds = time.perf_counter() - self.started
        return Report(seconds=seconds, latencies_ms=self.latencies, statuses=dict(self.statuses))


def main() -> None:
    """Run the load of standard input."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_Run(load)())))


if __name__ == "__main__":
    main()
