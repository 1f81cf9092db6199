"""Who may do what: the guard before every route, which knows the key, its programme and its role."""

from __future__ import annotations

import math
from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection

from service.http.backend import Backend
from service.http.paths import decoded
from service.http.problems import problem
from service.keys import ApiKey, Role

Roles = frozenset[Role]

TRADE: Final[Roles] = frozenset({"upstream", "operator", "admin"})
"""What happens to members: purchases, returns, redemptions, holds, answers, complaints."""
CARE: Final[Roles] = frozenset({"operator", "admin"})
"""What somebody decides about a member: corrections, merges, closing, erasing; and what steers the programme."""
RULES: Final[Roles] = frozenset({"admin"})
"""Programmes and their terms."""
FIGURES: Final[Roles] = frozenset({"reader", "operator", "auditor", "admin"})
"""Read models and the log."""
MEMBER_FIGURES: Final[Roles] = FIGURES | {"upstream"}
"""A member's points, which a till needs too."""
AUDIT: Final[Roles] = frozenset({"auditor", "admin"})
"""Verification, proofs and figures of the past."""
REFUSED: Final[Roles] = frozenset({"operator", "auditor", "admin"})
"""Refused messages."""

ROLES: Final = "roles"
"""The entry of a handler's `opt` that says which roles may use it; without one it is open to everybody."""


def backend_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Backend:
    """What stands behind the application."""
    backend: Backend = connection.app.state["backend"]
    return backend


def key_of(connection: ASGIConnection[Any, Any, Any, Any]) -> ApiKey:
    """The key that a request came with; only on routes that have roles."""
    key: ApiKey = connection.scope["auth"]
    return key


def header(connection: ASGIConnection[Any, Any, Any, Any], name: bytes) -> str:
    """The first header of a name, which is given in lower case; "" where there is none."""
    for key, value in connection.scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""


async def guard(request: Request[Any, Any, Any]) -> None:
    """Let a request pass whose key is known, for the programme of the path, of a role that may, and not used too often.

    Called before a request is handled: as a guard of Litestar's own it would cost a copy of the handler each time.

    Raises Problem: 401 for no known key; 403 for another programme, whether there is such a one or not, and for a role
    that may not; 429 with the seconds to wait.
    """
    roles: Roles | None = request.scope["route_handler"].opt.get(ROLES)
    if roles is None:
        return
    key = await _known_key(request)
    programme = request.scope["path_params"].get("programme")
    if programme is None and key.programme is not None:
        raise problem("NOT_ALLOWED", "This needs a key for every programme.")
    if programme is not None and not key.is_for(decoded("programme", programme)):
        raise problem("NOT_ALLOWED", "The key is not for this programme.", field="programme")
    if key.role not in roles:
        raise problem("NOT_ALLOWED", f"The role {key.role} may not do this; {', '.join(sorted(roles))} may.")
    seconds = backend_of(request).keys.use(key)
    if seconds:
        raise problem("TOO_MANY_REQUESTS", headers={"Retry-After": str(math.ceil(seconds))})
    request.scope["auth"] = key


async def _known_key(request: Request[Any, Any, Any]) -> ApiKey:
    scheme, _, text = header(request, b"authorization").partition(" ")
    if scheme.lower() != "bearer" or not text.isascii():
        raise problem("KEY_MISSING", headers={"WWW-Authenticate": "Bearer"})
    backend = backend_of(request)
    found = await backend.keys.find(text, backend.look_up)
    if found is None:
        raise problem("KEY_MISSING", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return found
