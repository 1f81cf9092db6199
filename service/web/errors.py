"""Errors as pages: what is wrong, and what to do next."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import unquote, urlencode

from litestar import Request, Response

from ledger.programmes import ProgrammeInfo
from service.http.access import backend_of
from service.http.problems import DATABASE_CODES, problem_of
from service.web import security
from service.web.languages import N_
from service.web.security import ROOT
from service.web.visits import FormRefused, SignInNeeded, Visit

_NEXT: Final = {
    400: (N_("This cannot be asked for"), N_("Go back, correct what is named here, and try again.")),
    403: (N_("Not allowed"), N_("Sign in with a key that may do this, or ask for one: loyalty key create.")),
    404: (N_("There is no such page"), N_("The address may have a mistake; begin with the overview.")),
    405: (N_("There is no such page"), N_("The address may have a mistake; begin with the overview.")),
    408: (N_("That took too long"), N_("Go back and send the form again.")),
    413: (N_("That is too large"), N_("Go back and send less.")),
    429: (N_("Too many requests"), N_("Wait a few seconds, then load the page again.")),
    500: (N_("The server failed"), N_("The log of the server says why. Tell whoever runs it when this was.")),
    503: (N_("Not available now"), N_("Wait a few seconds, then load the page again.")),
}
"""Status → what is wrong, what to do."""

_log = logging.getLogger(__name__)


def error_page(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The exception handler of the console."""
    visit = Visit(request, _programme(request), {})
    if isinstance(error, SignInNeeded):
        return _to_sign_in(visit)
    if isinstance(error, FormRefused):
        return _shown(
            visit,
            403,
            N_("The form was not accepted"),
            N_("The page was open for too long, or you signed out meanwhile. Load the page again, and send it anew."),
        )
    found = problem_of(error)
    status = found.details.status
    if found.details.code == "FAILED":
        _log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    elif found.details.code in DATABASE_CODES:
        _log.warning("%s %s: the database failed: %s", request.method, request.scope["path"], error)
    title, advice = _NEXT.get(status, _NEXT[400])
    return _shown(visit, status, title, advice, found.details.detail, found.details.code, found.headers)


def _programme(request: Request[Any, Any, Any]) -> ProgrammeInfo | None:
    """The programme of the page that failed, where it is known and the visitor's: then its navigation is shown."""
    programme, session = request.path_params.get("programme"), request.scope.get("auth")
    if programme is None or session is None:
        return None
    info = backend_of(request).known_programme(unquote(programme))
    return info if info is not None and session.key.is_for(info.programme.programme) else None


def _shown(
    visit: Visit,
    status: int,
    title: str,
    advice: str,
    detail: str = "",
    code: str = "",
    headers: dict[str, str] | None = None,
) -> Response[Any]:
    return visit.render("error.html", status, headers, title=title, advice=advice, detail=detail, code=code)


def _to_sign_in(visit: Visit) -> Response[Any]:
    """To the first page, which comes back to the one asked for; the cookie of a session that ended goes."""
    request = visit.request
    back = visit.here if request.method == "GET" else ROOT
    cookies = []
    if security.SESSION_COOKIE in request.cookies:
        cookies.append(security.cookie(request, security.SESSION_COOKIE, "", 0))
    return visit.redirect(f"{ROOT}/sign-in?{urlencode({'next': back})}", cookies)
