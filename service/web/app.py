"""The console as one router, for `service.http.app.create_app`."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, Router
from litestar.di import Provide

from service.http.problems import answer
from service.web import (
    as_of,
    audit,
    events,
    liability,
    member_page,
    members,
    objectives,
    overview,
    pyramid,
    rejected,
    satisfaction,
    sign_in,
    terms,
)
from service.web.errors import error_page
from service.web.security import HEADERS, ROOT, with_headers
from service.web.static_files import static
from service.web.visits import guard, visit_of

PAGES: Final = (
    sign_in,
    overview,
    members,
    member_page,
    pyramid,
    satisfaction,
    liability,
    objectives,
    events,
    terms,
    rejected,
    audit,
    as_of,
)
"""Modules with `HANDLERS`, each a subject of the console."""


def console() -> Router:
    """Everything under /console, for `beside`."""
    pages = Router(
        "/",
        route_handlers=[handler for module in PAGES for handler in module.HANDLERS],
        guards=[guard],
        dependencies={"visit": Provide(visit_of)},
    )
    return Router(
        ROOT,
        route_handlers=[static, pages],
        middleware=[with_headers],
        exception_handlers={Exception: error_page},
        include_in_schema=False,
    )


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What fails before a route was found: a page where it is the console's, else what the API answers."""
    path = request.scope["path"]
    if path != ROOT and not path.startswith(f"{ROOT}/"):
        return answer(request, error)
    found = error_page(request, error)
    found.headers.update(HEADERS | {"Cache-Control": "no-store"})
    return found
