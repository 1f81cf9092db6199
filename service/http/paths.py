"""Names in paths. They may be any text, so a path is split while it is still encoded, and each part decoded after."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from litestar.types import ASGIApp, Receive, Scope, Send

from service.http.problems import invalid

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")


def keep_encoded(app: ASGIApp) -> ASGIApp:
    """Route by the path as it came over the wire: in the decoded one a member `a/b` would be two parts."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        raw: Any = scope.get("raw_path")
        if raw and b"%" in raw:
            scope["path"] = raw.partition(b"?")[0].decode("latin-1")
        await app(scope, receive, send)

    return middleware


@lru_cache(1_024)
def decoded(name: str, part: str, characters_max: int = 64) -> str:
    """A part of a path as the text that it stands for. Raises Problem where it is no name that anything can have."""
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise invalid(name, "must be UTF-8, percent-encoded", part[:characters_max]) from None
    if not 1 <= len(text) <= characters_max or _UNPRINTABLE.search(text):
        raise invalid(name, f"must be 1 to {characters_max} characters, none of them a control character")
    return text
