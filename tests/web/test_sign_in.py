"""Signing in and out: sessions, when they end, forms, cookies, and who may see what."""

from __future__ import annotations

import re
import shlex
from http.cookies import SimpleCookie

import httpx
import pytest

from ledger.store.database import Database
from service.keys import create_key, revoke_key
from tests.cli.running import ROOT, Loyalty, rows
from tests.conftest import execute_on
from tests.http.serving import Server, a_key
from tests.web.browsing import Form, Page, Visitor
from tests.web.conftest import SignedIn

CLUB = "/console/programmes/club"


def is_at_sign_in(page: Page) -> bool:
    return page.path.partition("?")[0] == "/console/sign-in"


def cookies_of(answer: httpx.Response) -> SimpleCookie:
    found = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        found.load(line)
    return found


# --- signing in ---------------------------------------------------------------------------------------------------


def test_a_key_signs_in_to_its_programme_and_out(signed_in: SignedIn) -> None:
    visitor = signed_in("reader")
    page = visitor.get("/")
    assert page.path == CLUB
    assert "a reader (reader)" in page.text
    assert visitor.sign_out().path == "/console/sign-in"
    assert is_at_sign_in(visitor.get(CLUB))


def test_the_key_that_the_documentation_makes_signs_in(visitor: Visitor, server: Server) -> None:
    block = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "console.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    (command,) = block[1].strip().splitlines()
    command = command.replace("--programme coffee", "--programme club")
    made = Loyalty(LOYALTY_DATABASE_URL=server.dsn)(*shlex.split(command)[1:])
    assert "Ada Lovelace (operator)" in visitor.sign_in(made.stdout.splitlines()[0]).text


def test_a_link_from_elsewhere_is_followed_when_it_is_loaded_again(signed_in: SignedIn, server: Server) -> None:
    visitor = signed_in("reader")
    with Visitor(server.url) as without_its_cookie:
        asked = without_its_cookie.get(f"{CLUB}/terms")
    assert visitor.get(asked.path).path == f"{CLUB}/terms"


def test_after_signing_in_the_page_asked_for_is_shown(visitor: Visitor, keys: Database) -> None:
    asked = visitor.get("/programmes/club/members?q=a")
    assert is_at_sign_in(asked)
    shown = visitor.send(asked.form("/sign-in"), key=f"  {a_key(keys, 'reader')}\n")
    assert shown.path == f"{CLUB}/members?q=a"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/console\\@evil.example", "/v1/docs", "/consolevil",
     "/console/\r\nSet-Cookie: a=b", "javascript:x", "/console/" + "x" * 2_000],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(visitor: Visitor, keys: Database, elsewhere: str) -> None:
    form = visitor.get("/sign-in", next=elsewhere).form("/sign-in")
    assert form.fields["next"] == "/console"
    assert visitor.send(form, key=a_key(keys, "reader"), next=elsewhere).path == CLUB


def test_a_key_for_every_programme_chooses(signed_in: SignedIn) -> None:
    visitor = signed_in("auditor", None)
    page = visitor.get("/")
    assert page.path == "/console/"
    links = [link for link in page.links if "/programmes/" in link]
    assert [link.rpartition("/")[2] for link in links] == ["club", "other"]
    assert [visitor.get(link).status for link in links] == [200, 200]


@pytest.mark.parametrize("case", ["nothing", "unknown", "wrong secret", "revoked", "upstream", "odd", "long"])
def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(visitor: Visitor, keys: Database, case: str) -> None:
    made, text = create_key(keys, programme="club", role="reader", name="r", source="r")
    revoked, revoked_text = create_key(keys, programme="club", role="reader", name="r", source="r")
    revoke_key(keys, revoked.key)
    tried = {
        "nothing": "",
        "unknown": f"loyalty_0000000000000000_{'A' * 43}",
        "wrong secret": text[:-1] + ("A" if text[-1] != "A" else "B"),
        "revoked": revoked_text,
        "upstream": a_key(keys, "upstream"),
        "odd": "loyalty_\N{SNOWMAN}\x00_x",
        "long": text + "A" * 1_000,
    }[case]
    page = visitor.sign_in(tried, status=401)
    known = visitor.sign_in("loyalty_1111111111111111_x", status=401)
    assert re.sub(r'value="[0-9a-f]{64}"', "", page.html) == re.sub(r'value="[0-9a-f]{64}"', "", known.html)
    assert is_at_sign_in(visitor.get(CLUB))
    assert made.key not in page.html


# --- the session --------------------------------------------------------------------------------------------------


def test_the_cookie_is_strict_and_says_nothing_of_the_key(visitor: Visitor, keys: Database, dsn: str) -> None:
    text = a_key(keys, "reader")
    form = visitor.get("/sign-in").form("/sign-in")
    answer = visitor.client.post("/console/sign-in", data=form.fields | {"key": text})
    cookie = cookies_of(answer)["loyalty_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (
        True, "strict", "/console", "",
    )  # fmt: skip
    assert len(cookie.value) == 43  # 256 bits
    _, id, secret = text.split("_", 2)
    assert id not in cookie.value
    assert secret not in cookie.value
    kept = rows(dsn, "SELECT string_agg(session::text, '') FROM console_sessions session")[0][0]
    assert cookie.value not in kept
    assert secret not in kept


def test_over_tls_the_cookies_are_secure(server: Server, keys: Database) -> None:
    with Visitor(server.url) as visitor:
        visitor.client.headers["X-Forwarded-Proto"] = "https"
        first = visitor.client.get("/console/sign-in")
        assert cookies_of(first)["loyalty_form"]["secure"]
        # The client would not send secure cookies over plain HTTP, so they are given to it.
        secret = cookies_of(first)["loyalty_form"].value
        fields = Page(first).form("/sign-in").fields | {"key": a_key(keys, "reader")}
        answer = visitor.client.post("/console/sign-in", data=fields, headers={"Cookie": f"loyalty_form={secret}"})
        assert cookies_of(answer)["loyalty_session"]["secure"]


@pytest.mark.parametrize(
    ("change", "is_over"),
    [
        ("seen_at = seen_at - interval '29 minutes'", False),
        ("seen_at = seen_at - interval '31 minutes'", True),
        ("started_at = started_at - interval '11 hours 59 minutes'", False),
        ("started_at = started_at - interval '12 hours 1 minute'", True),
    ],
)
def test_a_session_ends_by_itself(signed_in: SignedIn, dsn: str, change: str, is_over: bool) -> None:
    visitor = signed_in("reader")
    execute_on(dsn, f"UPDATE loyalty.console_sessions SET {change}")
    assert is_at_sign_in(visitor.get(CLUB)) is is_over


def test_a_request_keeps_a_session_alive(signed_in: SignedIn, dsn: str) -> None:
    visitor = signed_in("reader")
    for _ in range(2):
        execute_on(dsn, "UPDATE loyalty.console_sessions SET seen_at = seen_at - interval '20 minutes'")
        assert visitor.get(CLUB).path == CLUB


def test_rows_of_sessions_that_ended_go(signed_in: SignedIn, dsn: str) -> None:
    signed_in("reader")
    execute_on(dsn, "UPDATE loyalty.console_sessions SET started_at = started_at - interval '1 day'")
    signed_in("reader")
    assert rows(dsn, "SELECT count(*) FROM console_sessions") == [(1,)]


def test_a_revoked_key_ends_its_sessions_at_the_next_request(visitor: Visitor, keys: Database) -> None:
    made, text = create_key(keys, programme="club", role="reader", name="r", source="r")
    visitor.sign_in(text)
    assert visitor.get(CLUB).path == CLUB
    revoke_key(keys, made.key)
    assert is_at_sign_in(visitor.get(CLUB))


def test_signing_out_ends_the_session_wherever_its_cookie_is(signed_in: SignedIn, server: Server) -> None:
    visitor = signed_in("reader")
    token = visitor.client.cookies["loyalty_session"]
    visitor.sign_out()
    with Visitor(server.url) as thief:
        thief.client.cookies.set("loyalty_session", token, path="/console")
        assert is_at_sign_in(thief.get(CLUB))


def test_signing_in_again_ends_the_session_before(signed_in: SignedIn, keys: Database, server: Server) -> None:
    visitor = signed_in("reader")
    before = visitor.client.cookies["loyalty_session"]
    fields = {"key": a_key(keys, "reader"), "form_token": visitor.get("/").form("/sign-out").fields["form_token"]}
    visitor.client.post("/console/sign-in", data=fields)
    assert visitor.client.cookies["loyalty_session"] != before
    with Visitor(server.url) as other:
        other.client.cookies.set("loyalty_session", before, path="/console")
        assert is_at_sign_in(other.get(CLUB))


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "a" * 5_000, "' OR 1=1 --"])
def test_an_invented_cookie_is_no_session(visitor: Visitor, token: str) -> None:
    answer = visitor.client.get(CLUB, headers={"Cookie": f"loyalty_session={token}"})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/console/sign-in")


def test_a_key_that_is_used_too_often_waits(dsn: str, server: Server, keys: Database) -> None:
    with Server(dsn, "--requests-per-second", "0.1") as slow, Visitor(slow.url) as visitor:
        page = visitor.sign_in(a_key(keys, "reader"), status=None)  # type: ignore[arg-type]
        while page.status == 200:  # each long after the one before, on a slow machine
            page = visitor.get(CLUB, status=None)
        assert page.status == 429
        assert int(page.headers["Retry-After"]) >= 1
        assert "Too many requests" in page.text


# --- who may see what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("reader", "/rejected", 403),
        ("auditor", "/rejected", 200),
        ("operator", "/rejected", 200),
        ("admin", "/rejected", 200),
        ("reader", "/members", 200),
        ("reader", "/terms", 200),
    ],
)
def test_pages_by_role(signed_in: SignedIn, role: str, path: str, status: int) -> None:
    page = signed_in(role).get(CLUB + path, status=status)  # type: ignore[arg-type]
    assert page.headers["Content-Security-Policy"]
    if status == 403:
        assert "Not allowed" in page.text
        assert f"{CLUB}/members" in page.html, "the way back is shown"


def test_another_programme_is_closed_whether_there_is_one_or_not(signed_in: SignedIn) -> None:
    visitor = signed_in("admin", "club")
    pages = [visitor.get(f"/programmes/{name}", status=403) for name in ("other", "not%20there", "..%2fclub")]
    assert len({re.sub(r'value="[^"]*"', "", page.html) for page in pages}) == 1
    assert "/programmes/" not in pages[0].html.replace(f"{CLUB}", "").replace('value="/console/programmes/other"', "")


def test_what_is_not_there_says_so_in_the_same_layout(signed_in: SignedIn) -> None:
    visitor = signed_in("admin", None)
    for path in ("/nowhere", "/programmes/none", "/programmes/club/nowhere", "/programmes/club/members/a/b/c",
                 "/sign-in/x", "/programmes/club/members/nobody",
                 "/programmes/club/events/1/999999", "/programmes/club/events/999/1", "/programmes/club/terms/99",
                 "/static/000/console.css", "/programmes/%ff", "/programmes/club/members/a%00b"):  # fmt: skip
        page = visitor.get(path, status=None)
        assert page.status in (400, 404), path
        assert [tag for tag, _ in page.tags].count("h1") == 1, path
        assert page.headers["Content-Security-Policy"]
        assert visitor.send(page.form("/preferences"), button=("theme", "dark"), status=None).status == page.status


def test_events_of_another_programme_are_not_there(signed_in: SignedIn, dsn: str) -> None:
    ((journal,),) = rows(dsn, "SELECT min(journal) FROM journals WHERE name = 'other'")
    signed_in("auditor", None).get(f"/programmes/other/events/{journal}/1")
    signed_in("auditor", "club").get(f"{CLUB}/events/{journal}/1", status=404)


# --- forms --------------------------------------------------------------------------------------------------------


def posts(page: Page) -> list[Form]:
    return [form for form in page.forms if form.method == "post"]


def test_every_form_that_posts_has_a_token_and_needs_it(signed_in: SignedIn) -> None:
    visitor, other = signed_in("admin"), signed_in("admin")
    page = visitor.get(f"{CLUB}/rejected")
    stolen = posts(other.get("/"))[0].fields["form_token"]
    assert posts(page)
    for form in posts(page):
        for wrong in ({}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": stolen}, {"form_token": "é"}):
            fields = {name: value for name, value in form.fields.items() if name != "form_token"} | wrong
            answer = visitor.client.post(form.action, data=fields)
            assert answer.status_code == 403, (form.action, wrong)
            assert "not accepted" in answer.text
    assert visitor.get("/").path == CLUB, "still signed in"


def test_a_form_is_sent_as_forms_are(visitor: Visitor, keys: Database) -> None:
    fields = visitor.get("/sign-in").form("/sign-in").fields | {"key": a_key(keys, "reader")}
    for content_type in ("application/json", "text/plain", "multipart/form-data; boundary=x", ""):
        answer = visitor.client.post("/console/sign-in", content=httpx.QueryParams(fields).__str__().encode(),
                                     headers={"Content-Type": content_type})  # fmt: skip
        assert answer.status_code == 403
    assert visitor.client.post("/console/sign-in", data=dict.fromkeys(map(str, range(300)), "x")).status_code == 403
    assert visitor.client.post("/console/sign-in", data={"key": "x" * (2 << 20)}).status_code == 413


def test_signing_in_needs_a_token_of_the_same_browser(server: Server, keys: Database) -> None:
    with Visitor(server.url) as attacker, Visitor(server.url) as victim:
        token = attacker.get("/sign-in").form("/sign-in").fields["form_token"]
        victim.get("/sign-in")
        answer = victim.client.post("/console/sign-in", data={"key": a_key(keys, "reader"), "form_token": token})
        assert answer.status_code == 403
        assert "loyalty_session" not in victim.client.cookies


# --- preferences --------------------------------------------------------------------------------------------------


def test_language_and_theme_are_kept(visitor: Visitor) -> None:
    page = visitor.get("/sign-in")
    assert page.tags[0][1] == {"lang": "en"}

    def choose(page: Page, field: str, value: str) -> Page:
        form = next(form for form in page.forms if (field, value) in form.buttons)
        return visitor.send(form, button=(field, value))

    page = choose(page, "language", "zh")
    assert page.tags[0][1] == {"lang": "zh"}
    assert "登录" in page.text
    page = choose(page, "theme", "dark")
    assert page.tags[0][1] == {"lang": "zh", "data-theme": "dark"}
    page = choose(page, "theme", "light")
    assert page.tags[0][1]["data-theme"] == "light"
    page = choose(page, "theme", "system")
    assert "data-theme" not in page.tags[0][1]
    assert visitor.get("/sign-in").tags[0][1] == {"lang": "zh"}


def test_styles_and_scripts_are_kept_for_ever_and_charts_are_drawn_by_our_own(visitor: Visitor) -> None:
    page = visitor.get("/sign-in")
    style = next(address for address in page.addresses if address.endswith(".css"))
    first = visitor.client.get(style)
    assert first.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = visitor.client.get(style, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = visitor.client.get(style, headers={"Accept-Encoding": "identity"})
    assert plain.content == first.content
    assert visitor.client.get(style.replace("console.css", "charts.js")).status_code == 404
    assert visitor.client.get("/console/static/x/../../security.py").status_code == 404


def test_where_nothing_can_be_posted_or_got_it_says_so(visitor: Visitor) -> None:
    for answer in (visitor.client.get("/console/preferences"), visitor.client.post("/console")):
        assert answer.status_code == 405
        assert Page(answer).headers["Content-Security-Policy"]
    assert visitor.client.get("/consolation").headers["Content-Type"].startswith("application/problem+json")
