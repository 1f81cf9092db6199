"""Styles and scripts, with a hash of their content in their address, so that browsers may keep them for ever."""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from msgspec import Struct

from service.http.access import backend_of
from service.web import chart_library
from service.web.security import ROOT

_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
FOR_EVER: Final = "public, max-age=31536000, immutable"


class StaticFile(Struct, frozen=True):
    """A file as it is served."""

    digest: str
    content_type: str
    body: bytes
    compressed: bytes


def _places() -> dict[str, Traversable]:
    """Where the files are, by name: our own, and the library that draws charts, as its package has it."""
    own = {entry.name: entry for entry in files("service.web").joinpath("static").iterdir()}
    return own | {"plotly.min.js": chart_library.SCRIPT}


@cache
def static_file(name: str) -> StaticFile:
    """A file by its name. Raises KeyError where there is none; reads and compresses it the first time."""
    body = _places()[name].read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]
    return StaticFile(blake2b(body, digest_size=12).hexdigest(), kind, body, gzip.compress(body, 6, mtime=0))


@cache
def _digest(name: str) -> str:
    return blake2b(_places()[name].read_bytes(), digest_size=12).hexdigest()


def static_url(name: str) -> str:
    """The address of a file; for templates."""
    return f"{ROOT}/static/{_digest(name)}/{name}"


@get("/static/{digest:str}/{name:str}", name="console.static")
async def static(request: Request[Any, Any, Any], digest: str, name: str) -> Response[bytes]:
    """A file, by the hash of what it has: another hash is another file."""
    try:
        found = await backend_of(request).in_thread(lambda: static_file(name))
    except KeyError:
        raise NotFoundException from None
    if digest != found.digest:
        raise NotFoundException
    tag = f'W/"{found.digest}"'  # weak: of the content, compressed or not
    headers = {"ETag": tag, "Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    body = found.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers = found.compressed, headers | {"Content-Encoding": "gzip"}
    return Response(body, headers=headers, media_type=found.content_type)
