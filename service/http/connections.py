"""Connections: a slow client holds one no longer than for a time, and what is no HTTP is refused in our words."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.problems import MEDIA_TYPE, problem

HEAD_BYTES_MAX: Final = 1 << 16


class Connection(HttpToolsProtocol):
    """A connection that is cut off where its client is too slow.

    A request must have arrived within twice `seconds` from its first byte, or from the connection's beginning: half of
    that is what its body has before it is answered that it came too late. Of an answer that waits for its client to
    read, enough for the next part of it must be taken within `seconds`.
    """

    def __init__(self, *, seconds: float, **given: Any) -> None:
        super().__init__(**given)
        self._seconds = seconds
        self._in_head = self._is_arriving = True
        self._head_bytes = 0
        self._overdue: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._overdue = self._cut_off_after(2 * self._seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._overdue)
        _cancel(self._stalled)
        super().connection_lost(exc)
        waiting = [cycle for cycle, _ in self.pipeline]  # the base tells only the newest of several
        self.pipeline.clear()
        for cycle in (self._answering, *waiting):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _cut_off_after(self, seconds: float) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, self.transport.abort)

    # --- what comes in -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_arriving:
            _cancel(self._overdue)
            self._overdue = None
            return
        if self._overdue is None:
            self._overdue = self._cut_off_after(2 * self._seconds)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse("HEAD_TOO_LARGE", f"The head must have at most {HEAD_BYTES_MAX:,} bytes.")

    def on_message_begin(self) -> None:
        self._in_head = self._is_arriving = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_arriving = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("REQUEST_INVALID", msg)

    def _refuse(self, code: str, detail: str) -> None:
        if self.transport.is_closing():
            return
        details = problem(code, detail).details
        body = msgspec.json.encode(details)
        head = (
            f"HTTP/1.1 {details.status} {HTTPStatus(details.status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    # --- what goes out -----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._cut_off_after(self._seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stalled)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
