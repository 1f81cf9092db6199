"""Answers whose body is JSON already: they go out as they are, without the steps by which others are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from litestar import Response
from litestar.types import ASGIApp, HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

T = TypeVar("T")
_NO_BODY: Final = frozenset({204, 304})


class Encoded(Response[T]):
    """The JSON of a T, with a status and headers; only for answers without cookies and work after them."""

    def __init__(self, body: bytes, *, status_code: int = 200, headers: Mapping[str, str]) -> None:
        super().__init__(body, status_code=status_code, headers=headers, media_type="application/json")  # type: ignore[arg-type]

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]
        """What sends it."""
        body: bytes = self.content  # type: ignore[assignment]
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        if self.status_code not in _NO_BODY:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        start: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": self.status_code or 200,
            "headers": headers,
        }
        end: HTTPResponseBodyEvent = {"type": "http.response.body", "body": body, "more_body": False}

        async def sending(_: Scope, __: Receive, send: Send) -> None:
            await send(start)
            await send(end)

        return sending
