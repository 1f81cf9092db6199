"""The console as one router, for `service.http.app.create_app`."""

from __future__ import annotations

from typing import Final

from litestar import Router
from litestar.di import Provide

from service.web import (
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
from service.web.security import ROOT, with_headers
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
)
"""Modules with `HANDLERS`, each a subject of the console."""


def console() -> Router:
    """Everything under /console."""
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
