"""The server: one process, one event loop, threads for what blocks. It stops in order."""

from __future__ import annotations

import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final

import uvicorn
from litestar import Litestar

from service.http.backend import Backend
from service.http.connections import Connection
from service.runtime import settle_for_requests

BACKLOG: Final = 2_048
KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection is kept so long."""
STOP_SECONDS: Final = 20
"""What is under way at a stop has so long to end; then it is cut off."""


class _Server(uvicorn.Server):
    """Tells the backend of a stop at once, so that streams end and what waits for a read model gives up."""

    def __init__(self, config: uvicorn.Config, backend: Backend) -> None:
        super().__init__(config)
        self._backend = backend

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the base does, but without raising the signal again at the end: the ledger is yet to be closed."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._backend.stopping.set()
        super().handle_exit(sig, frame)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 lets the system choose. Raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(BACKLOG)
    return listening


def raise_file_limit() -> None:
    """Let the process have as many connections as it is allowed to ask for: often only 1,024 are given unasked."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(app: Litestar, backend: Backend, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM: then take nothing new, finish what was accepted, and return."""
    raise_file_limit()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(Connection, seconds=backend.limits.client_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    settle_for_requests()
    _Server(config, backend).run(sockets=[listening])
