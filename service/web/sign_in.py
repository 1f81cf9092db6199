"""Signing in and out, choosing a programme, and how pages look."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Response, get, post
from litestar.params import QueryParameter

from service.http.access import FIGURES, ROLES
from service.web import security
from service.web.languages import LANGUAGES
from service.web.security import ROOT
from service.web.sessions import close_session, sign_in
from service.web.visits import THEMES, Visit, own_path

PROGRAMMES_SHOWN_MAX: Final = 500
KEY_CHARACTERS_MAX: Final = 200

Next = Annotated[str, QueryParameter(query="next")]


@get("/sign-in", name="console.sign-in")
async def sign_in_page(visit: Visit, next_page: Next = ROOT) -> Response[Any]:
    """The form for a key."""
    if visit.session is not None:
        return visit.redirect(own_path(next_page))
    return _sign_in_form(visit, own_path(next_page))


@post("/sign-in", name="console.sign-in.do")
async def sign_in_with_key(visit: Visit) -> Response[Any]:
    """Begin a session. Whatever is wrong with a key, the answer is the same."""
    text = visit.form.get("key", "").strip()
    going_to = own_path(visit.form.get("next", ROOT))
    database = visit.backend.writers
    known = text.isascii() and len(text) <= KEY_CHARACTERS_MAX
    session = await visit.backend.look_up(lambda: sign_in(database, text if known else ""))
    if session is None:
        return _sign_in_form(visit, going_to, failed=True)
    if visit.session is not None:
        before = visit.session.token
        await visit.backend.in_thread(lambda: close_session(database, before))
    visit.backend.keys.use(session.key)
    signed_in = security.cookie(visit.request, security.SESSION_COOKIE, session.token)
    return visit.redirect(going_to, [signed_in])


def _sign_in_form(visit: Visit, going_to: str, *, failed: bool = False) -> Response[Any]:
    return visit.render("sign_in.html", 401 if failed else 200, going_to=going_to, failed=failed)


@post("/sign-out", name="console.sign-out")
async def sign_out(visit: Visit) -> Response[Any]:
    """End the session, here and wherever its cookie has got to."""
    if visit.session is not None:
        token = visit.session.token
        await visit.backend.in_thread(lambda: close_session(visit.backend.writers, token))
    return visit.redirect(f"{ROOT}/sign-in", [security.cookie(visit.request, security.SESSION_COOKIE, "", 0)])


@post("/preferences", name="console.preferences")
async def preferences(visit: Visit) -> Response[Any]:
    """Keep the language and the theme that were chosen, in cookies."""
    cookies = []
    for field, name, known in (
        ("language", security.LANGUAGE_COOKIE, LANGUAGES),
        ("theme", security.THEME_COOKIE, THEMES),
    ):
        chosen = visit.form.get(field)
        if chosen is not None:
            seconds = security.YEAR_SECONDS if chosen in known else 0  # anything else: what the browser has
            cookies.append(security.cookie(visit.request, name, chosen if seconds else "", seconds))
    return visit.redirect(own_path(visit.form.get("next", ROOT)), cookies)


@get("/", name="console.home", opt={ROLES: FIGURES})
async def home(visit: Visit) -> Response[Any]:
    """The programme of the key, or a choice of all."""
    assert visit.session is not None
    only = visit.session.key.programme
    if only is not None:
        return visit.redirect(f"{ROOT}/programmes/{security.quoted(only)}")

    def read(cursor: Any) -> list[Any]:
        cursor.execute(
            "SELECT programme, name, currency FROM programmes ORDER BY programme LIMIT %s", (PROGRAMMES_SHOWN_MAX,)
        )
        return list(cursor.fetchall())

    return visit.render("home.html", programmes=await visit.backend.read(read))


HANDLERS: Final = (sign_in_page, sign_in_with_key, sign_out, preferences, home)
