"""The application: routes, keys, problems and the description, over a backend that the caller opens and closes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.types import ExceptionHandler

from service.http import feed, liability_reads, member_reads, programme_reads
from service.http.access import guard
from service.http.backend import Backend
from service.http.command_handlers import command_handlers
from service.http.description import add_bodies, openapi_config
from service.http.paths import keep_encoded
from service.http.problems import answer


def create_app(backend: Backend, *, beside: Sequence[Any] = (), errors: ExceptionHandler[Any] = answer) -> Litestar:
    """The application over a backend; `beside` are further handlers and routers, such as those of a console, and
    `errors` answers what fails outside of them, such as a path that leads to none.

    Its lifespan starts what runs beside the requests and, at the end, finishes what was submitted.
    """

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        backend.start()
        try:
            yield
        finally:
            backend.stop()

    api = Router(
        "/v1",
        route_handlers=[
            *command_handlers(backend.limits),
            *member_reads.HANDLERS,
            *programme_reads.HANDLERS,
            *liability_reads.HANDLERS,
            *feed.HANDLERS,
        ],
        before_request=guard,
    )
    app = Litestar(
        [api, *beside],
        lifespan=[running],
        state=State({"backend": backend}),
        exception_handlers={Exception: errors},
        openapi_config=openapi_config(),
        logging_config=None,  # the log is set up by the command
        request_max_body_size=backend.limits.body_bytes,
    )
    add_bodies(app)
    app.asgi_handler = keep_encoded(app.asgi_handler)
    return app
