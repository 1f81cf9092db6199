"""A visit: one request of a page, by whom, in which language, and what answers it.

Handlers get it as their argument `visit`. It comes after the guard, so whoever has one may do what the handler does;
where the request is a form, its token was right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler, get, post

from ledger.programmes import ProgrammeInfo, journal_of
from ledger.store.database import PgCursor
from service.http.access import ROLES, Roles, backend_of
from service.http.command_handlers import read_body
from service.http.paths import decoded
from service.http.problems import invalid, problem
from service.http.reading import Freshness, read_freshness
from service.web import security
from service.web.languages import Language, choose
from service.web.rendering import render, translated
from service.web.sections import SECTIONS
from service.web.security import ROOT, TOKEN_FIELD
from service.web.sessions import Session, find_session

SECTION: Final = "section"
"""The entry of a handler's `opt` that says which section of the navigation it belongs to."""
THEMES: Final = ("light", "dark")
FIELDS_MAX: Final = 200
ADDRESS_CHARACTERS_MAX: Final = 2_000

T = TypeVar("T")


class SignInNeeded(Exception):
    """The page is for who is signed in."""


class FormRefused(Exception):
    """A form that no page of ours in the same browser made, or whose page is too old."""


# --- routes -------------------------------------------------------------------------------------------------------


def page(path: str, section: str, roles: Roles, name: str = "") -> Any:
    """A page of a programme: GET, `path` below the programme's address, for some roles."""
    opt = {ROLES: roles, SECTION: section}
    return get(f"/programmes/{{programme:str}}{path}", name=f"console.{name or section}", opt=opt)


def action(path: str, section: str, roles: Roles, name: str) -> Any:
    """What a form does: POST, otherwise as `page`. It answers with `visit.redirect`."""
    opt = {ROLES: roles, SECTION: section}
    return post(f"/programmes/{{programme:str}}{path}", name=f"console.{name}", opt=opt)


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Find the session, and let it pass where the handler has no roles, or its key may: as the guard of the API.

    Raises SignInNeeded, and Problem as that does.
    """
    backend = backend_of(connection)
    token = connection.cookies.get(security.SESSION_COOKIE)
    session = await backend.look_up(lambda: find_session(backend.writers, token)) if token else None
    connection.scope["auth"] = session
    roles: Roles | None = handler.opt.get(ROLES)
    if roles is None:
        return
    if session is None:
        raise SignInNeeded
    programme = connection.path_params.get("programme")
    if programme is not None and not session.key.is_for(decoded("programme", programme)):
        raise problem("NOT_ALLOWED", "The key is not for this programme.", field="programme")
    if session.key.role not in roles:
        raise problem("NOT_ALLOWED", f"The role {session.key.role} may not do this; {', '.join(sorted(roles))} may.")
    seconds = backend.keys.use(session.key)
    if seconds:
        raise problem("TOO_MANY_REQUESTS", headers={"Retry-After": str(math.ceil(seconds))})


# --- a visit ------------------------------------------------------------------------------------------------------


class Visit:
    """See the module. `form` has the fields of a POST, each once."""

    def __init__(self, request: Request[Any, Any, Any], info: ProgrammeInfo | None, form: Mapping[str, str]) -> None:
        self.request = request
        self.backend = backend_of(request)
        self.session: Session | None = request.scope.get("auth")
        self.form = form
        self.freshness: Freshness | None = None
        self._info = info
        known = request.cookies.get(security.SESSION_COOKIE) or request.cookies.get(security.FORM_COOKIE)
        self._is_new = not known
        self.secret = known or security.new_secret()
        """What the tokens of forms are made from: only the browser's cookie has it."""

    @property
    def info(self) -> ProgrammeInfo:
        """The programme of the page."""
        assert self._info is not None
        return self._info

    @cached_property
    def language(self) -> Language:
        """What the visitor chose, or the browser asks for."""
        cookies, headers = self.request.cookies, self.request.headers
        return choose(cookies.get(security.LANGUAGE_COOKIE), headers.get("accept-language"))

    def gettext(self, text: str, **variables: Any) -> str:
        """A text in the language of the visit, for what is not in a template; write `_ = visit.gettext` before."""
        return translated(self.language.code, text) % variables

    @property
    def theme(self) -> Literal["", "light", "dark"]:
        """What the visitor chose; "": what the system has."""
        chosen: Any = self.request.cookies.get(security.THEME_COOKIE)
        return chosen if chosen in THEMES else ""

    def may(self, roles: Roles) -> bool:
        """Whether the key that is signed in has one of some roles."""
        return self.session is not None and self.session.key.role in roles

    def journal(self, member: str) -> int:
        """The journal of a member of the programme."""
        return journal_of(self.info, member)

    async def read(self, read: Callable[[PgCursor, ProgrammeInfo], T], projection: str | None = None) -> T:
        """Read as the reader role, in one state of the database; `read` gets a cursor and the programme.

        The page then says how far the read model `projection` is behind; without one what is read is the log.
        """
        info = self.info

        def at_once(cursor: PgCursor) -> tuple[T, Freshness | None]:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            freshness = None if projection is None else read_freshness(cursor, projection, info.journals)
            found = read(cursor, info)
            cursor.execute("COMMIT")
            return found, freshness

        try:
            found, self.freshness = await self.backend.read(at_once)
        except ValueError as error:  # what a read refuses of its arguments
            raise invalid("query", str(error)) from error
        return found

    # --- answers --------------------------------------------------------------------------------------------------

    def url(self, path: str = "", **query: Any) -> str:
        """The address of `path` below the programme's; `query` without what is None or ""."""
        base = ROOT if self._info is None else f"{ROOT}/programmes/{security.quoted(self._info.programme.programme)}"
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return base + path + (f"?{urlencode(given)}" if given else "")

    def render(
        self, template: str, status: int = 200, headers: dict[str, str] | None = None, /, **context: Any
    ) -> Response[Any]:
        """A page; `context` is for its template, beside what every page has."""
        about = {
            "visit": self,
            "session": self.session,
            "theme": self.theme,
            "url": self.url,
            "here": self.here,
            "form_token": security.form_token(self.secret),
            "time_zone": self._info.programme.time_zone if self._info else "UTC",
            "currency": self._info.programme.currency if self._info else "",
            "programme": self._info.programme.programme if self._info else None,
            "section": self._section(),
            "sections": [one for one in SECTIONS if self.may(one.roles)],
            "behind": self._behind(),
        }
        assert not about.keys() & context.keys(), about.keys() & context.keys()
        text = render(self.language.code, template, about | context)
        cookies = [security.cookie(self.request, security.FORM_COOKIE, self.secret)] if self._is_new else []
        headers = {"Content-Language": self.language.code, "Vary": "Accept-Language, Cookie"} | (headers or {})
        return Response(
            text, status_code=status, media_type="text/html; charset=utf-8", headers=headers, cookies=cookies
        )

    def redirect(self, path: str, cookies: list[Cookie] | None = None) -> Response[Any]:
        """To another page, which is then asked for with GET."""
        return Response(b"", status_code=303, headers={"Location": path}, cookies=cookies or [])

    @property
    def here(self) -> str:
        """The address of the page itself, for forms that come back to it."""
        query: bytes = self.request.scope["query_string"]
        path = self.request.scope["path"]
        return path if not query or self.request.method != "GET" else f"{path}?{query.decode('latin-1')}"

    def _section(self) -> str:
        handler = self.request.scope.get("route_handler")
        return handler.opt.get(SECTION, "") if handler is not None else ""

    def _behind(self) -> int | None:
        """How many events what was read has not seen; None where it was the log."""
        if self.freshness is None:
            return None
        return sum(self.freshness.recorded.values()) - sum(self.freshness.folded.values())


async def visit_of(request: Request[Any, Any, Any]) -> Visit:
    """The visit of a request that the guard let pass. Raises FormRefused, and Problem where there is no programme."""
    backend = backend_of(request)
    programme = request.path_params.get("programme")
    form = await _form(request) if request.method == "POST" else {}
    info = None if programme is None else await backend.programme(decoded("programme", programme))
    visit = Visit(request, info, form)
    if request.method == "POST" and not security.is_form_token(visit.secret, form.get(TOKEN_FIELD, "")):
        raise FormRefused
    return visit


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of a form. Raises Problem where it takes too long; FormRefused where it is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormRefused
    body = await read_body(request)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:
        raise FormRefused from None


def own_path(text: str) -> str:
    """An address to go to after a form: one of the console's own, or its first page."""
    inside = text == ROOT or text.startswith((f"{ROOT}/", f"{ROOT}?"))
    plain = text.isascii() and text.isprintable() and "\\" not in text and len(text) <= ADDRESS_CHARACTERS_MAX
    return text if inside and plain else ROOT
