"""What every answer of the console says to the browser, cookies, and the tokens of forms."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from litestar import Request
from litestar.datastructures import Cookie, MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from service.web.chart_library import style_hashes

ROOT: Final = "/console"
SESSION_COOKIE: Final = "loyalty_session"
FORM_COOKIE: Final = "loyalty_form"
LANGUAGE_COOKIE: Final = "loyalty_language"
THEME_COOKIE: Final = "loyalty_theme"
TOKEN_FIELD: Final = "form_token"
YEAR_SECONDS: Final = 365 * 24 * 3600

_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        f"style-src 'self' {' '.join(style_hashes())}",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def with_headers(app: ASGIApp) -> ASGIApp:
    """Add the headers to every answer; what says nothing of its caching is not stored."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await app(scope, receive, send_with_headers)

    return middleware


def cookie(request: Request[Any, Any, Any], name: str, value: str, seconds: int | None = None) -> Cookie:
    """A cookie of the console; `seconds` None: until the browser ends, 0: gone now."""
    return Cookie(
        key=name,
        value=value,
        path=ROOT,
        httponly=True,
        samesite="strict",
        secure=is_https(request),
        max_age=seconds,
    )


def is_https(request: Request[Any, Any, Any]) -> bool:
    """Whether the browser speaks TLS. Who forges the header only makes its own cookies stricter."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").partition(",")[0].strip())


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def new_secret() -> str:
    """What binds the forms of somebody who is not signed in to a browser."""
    return secrets.token_urlsafe(32)


def form_token(secret: str) -> str:
    """The token that forms carry, from a secret that only the browser's cookie has: that of the session, or another."""
    return hmac.new(secret.encode(), b"form", sha256).hexdigest()


def is_form_token(secret: str, token: str) -> bool:
    """Whether a form came from a page of ours in the same browser."""
    return hmac.compare_digest(form_token(secret).encode(), token.encode())
