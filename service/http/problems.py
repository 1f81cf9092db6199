"""Problem details (RFC 9457): every error is a JSON object with a stable code, and the field and rule it is about."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import Any, Final

import psycopg2
from eventsourcing.persistence import ConnectionPoolClosedError, InterfaceError, PersistenceError
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Struct

from ledger.engine import is_passing
from ledger.group_commit import GroupCommitClosed
from ledger.rejections import CODES, Rejection
from ledger.store.database import sqlstate
from ledger.store.deadlines import QUERY_CANCELED
from projections.checkpoints import ProjectionOutdated

RETRY_AFTER_SECONDS: Final = 1
MEDIA_TYPE: Final = "application/problem+json"

REQUEST_CODES: Final[dict[str, tuple[int, str]]] = {
    "KEY_MISSING": (401, "The request has no API key that is known."),
    "NOT_ALLOWED": (403, "The key is not for this programme, or its role may not do this."),
    "NOT_FOUND": (404, "There is nothing at this path."),
    "METHOD_NOT_ALLOWED": (405, "The path does not take this method."),
    "HEAD_TOO_LARGE": (431, "The head of the request is too large."),
    "REQUEST_TIMEOUT": (408, "The request took too long to arrive."),
    "REQUEST_INVALID": (400, "The request is not one that the path takes."),
    "TOO_MANY_REQUESTS": (429, "The key was used too often."),
    "FAILED": (500, "The server failed; nothing is known of why but what its log has."),
    "DATABASE_UNAVAILABLE": (503, "The database cannot be reached: the same request may be sent again."),
    "DATABASE_TIMEOUT": (503, "The database did not answer in time: the same request may be sent again."),
    "DATABASE_FULL": (
        503,
        "The database has no room left: nothing was recorded, and the same request may be sent again.",
    ),
    "NOT_THERE_YET": (503, "The read models did not reach the position asked for in time."),
    "READ_MODEL_OUTDATED": (503, "A read model must be rebuilt before it can be read."),
    "STOPPING": (503, "The server is stopping: send the request to another, or again."),
}
"""Codes of problems that are no refusals of the ledger → status, what they mean."""

DATABASE_CODES: Final = frozenset({"DATABASE_UNAVAILABLE", "DATABASE_TIMEOUT", "DATABASE_FULL"})
"""Of these, those that are the database's fault, and belong in the log."""

_STATUS: Final = {
    "MESSAGE_TOO_LARGE": 413,
    "NOT_UTF8": 400,
    "NOT_JSON": 400,
    "INVALID_FIELD": 400,
    "PROGRAMME_UNKNOWN": 404,
    "PROGRAMME_EXISTS": 409,
}
"""Refusals of the ledger whose status is not 422."""

_MISSING: Final = re.compile("Missing required [a-z]+ parameter '([^']+)'")
_DISK_FULL: Final = "53100"

_log = logging.getLogger(__name__)


class ProblemDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error: `code` is stable, `detail` is for people, `field`, `rule` and `value` say what is wrong where."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str = ""
    rule: str = ""
    value: str = ""


class Problem(Exception):
    """Ends a request with problem details."""

    def __init__(self, details: ProblemDetails, headers: dict[str, str] | None = None) -> None:
        super().__init__(details.detail)
        self.details = details
        self.headers = headers or {}


def problem(code: str, detail: str = "", *, field: str = "", headers: dict[str, str] | None = None) -> Problem:
    """A problem of one of `REQUEST_CODES`; `detail` defaults to what the code means."""
    status, title = REQUEST_CODES[code]
    found = ProblemDetails(
        type=_type(code), title=title, status=status, detail=detail or title, code=code, field=field, rule=detail
    )
    return Problem(found, headers)


def invalid(field: str, rule: str, value: str = "") -> Problem:
    """A field of the path, the query or the headers that breaks a rule."""
    return Problem(refusal(Rejection("INVALID_FIELD", field, rule, value)))


def refusal(rejection: Rejection) -> ProblemDetails:
    """A refusal of the ledger as problem details."""
    return ProblemDetails(
        type=_type(rejection.code),
        title=CODES[rejection.code],
        status=status_of(rejection.code),
        detail=str(rejection),
        code=rejection.code,
        field=rejection.field,
        rule=rejection.rule,
        value=rejection.value,
    )


def status_of(code: str) -> int:
    """The HTTP status of a code."""
    return REQUEST_CODES[code][0] if code in REQUEST_CODES else _STATUS.get(code, 422)


def _type(code: str) -> str:
    return f"urn:loyalty-ledger:problem:{code}"


def problem_of(error: BaseException) -> Problem:
    """What a client is told of an error."""
    match error:
        case Problem():
            return error
        case ValidationException():
            return _invalid_parameter(error)
        case HTTPException():
            return _of_status(error)
        case GroupCommitClosed() | ConnectionPoolClosedError():
            return problem("STOPPING", headers=_retry_after())
        case ProjectionOutdated():
            return problem("READ_MODEL_OUTDATED", f"{error}: loyalty rebuild", headers=_retry_after(60))
        case PersistenceError() | psycopg2.Error() if sqlstate(error) == _DISK_FULL:
            return problem("DATABASE_FULL", headers=_retry_after(10))
        case PersistenceError() | psycopg2.Error() if sqlstate(error) == QUERY_CANCELED:
            return problem("DATABASE_TIMEOUT", headers=_retry_after())
        case PersistenceError() | psycopg2.Error() if is_passing(error) or _is_lost(error):
            return problem("DATABASE_UNAVAILABLE", headers=_retry_after())
        case _:
            return problem("FAILED")


def _is_lost(error: BaseException) -> bool:
    """Whether the database was away: no connection could be had, or it refuses for want of room."""
    return isinstance(error, InterfaceError) or (sqlstate(error) or "")[:2] in ("08", "53", "57", "58")


def _retry_after(seconds: int = RETRY_AFTER_SECONDS) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _invalid_parameter(error: ValidationException) -> Problem:
    """The first parameter that Litestar refuses, or misses."""
    missing = _MISSING.match(error.detail)
    if missing:
        return invalid(missing[1], "must be given")
    extra: Any = error.extra
    first = extra[0] if isinstance(extra, list) and extra else {}
    return invalid(str(first.get("key", "request")), str(first.get("message", error.detail)))


def _of_status(error: HTTPException) -> Problem:
    codes = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Problem(refusal(Rejection("MESSAGE_TOO_LARGE", "body", "must not be that large")))
    if error.status_code in codes:
        return problem(codes[error.status_code], headers=dict(error.headers or {}))
    if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem("REQUEST_INVALID", error.detail)
    return problem("FAILED")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The exception handler of the application."""
    found = problem_of(error)
    if found.details.code == "FAILED":
        _log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    elif found.details.code in DATABASE_CODES:
        _log.warning("%s %s: the database failed: %s", request.method, request.scope["path"], error)
    return Response(found.details, status_code=found.details.status, headers=found.headers, media_type=MEDIA_TYPE)
