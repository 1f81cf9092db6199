"""Every page that links lead to, in both languages: there, well-formed, labelled, escaped, and loading nothing else."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import urlsplit

import pytest

from ledger.store.database import Database
from tests.http.serving import Api, Server
from tests.web.browsing import Page, Visitor
from tests.web.story import BASE, HOSTILE, MEMBER, RULE, hostile_key, member_path, refuse, tell
from tests.web.tables import folded

PAGES_MAX = 400
UNLINKED = [
    f"{BASE}/rejected?status=all&code=MEMBER_UNKNOWN",
    f"{BASE}/rejected?tried=3&refused=1",
    f"{BASE}/members?q=nobody",
    f"{member_path()}?as_of=2026-01-01T10:00&as_known_at=",
    f"{member_path()}/statement?as_known_at=2999-01-01T00:00",
    f"{member_path('gone')}",
]
"""Pages that forms lead to rather than links."""
OWN_SCRIPT = re.compile(r"^/console/static/[0-9a-f]{24}/[a-z.]+\.js$")


@pytest.fixture(scope="module")
def told(api: Api, server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    tell(api)
    refuse(server.dsn, tmp_path_factory.mktemp("refused"))
    folded(api, "members/x/balance", "members/x/statement", "members/x/summary", "objectives", "value")


def crawl(visitor: Visitor) -> dict[str, Page]:
    """All pages of the console by their address, from the first on."""
    found: dict[str, Page] = {}
    waiting = ["/console", *UNLINKED]
    while waiting:
        path = waiting.pop(0)
        if path in found:
            continue
        page = found[path] = visitor.get(path)
        assert len(found) <= PAGES_MAX
        for link in page.links:
            parts = urlsplit(link)
            address = parts.path + (f"?{parts.query}" if parts.query else "")
            if address not in found:
                waiting.append(address)
    return found


@pytest.fixture(scope="module", params=["en", "zh"])
def pages(request: pytest.FixtureRequest, server: Server, keys: Database, told: None) -> dict[str, Page]:
    with Visitor(server.url, request.param) as visitor:
        visitor.sign_in(hostile_key(keys))
        return {"": Visitor(server.url, request.param).get("/sign-in")} | crawl(visitor)


def test_links_lead_to_every_section_and_event(pages: dict[str, Page]) -> None:
    assert len(pages) > 30
    assert member_path() in pages
    assert sum(path.startswith(f"{BASE}/events/") for path in pages) > 10
    assert f"{BASE}/terms/2" in pages


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        assert [address for address in page.addresses if not address.startswith(("/console", "#"))] == [], path
        assert "http://" not in page.html.replace("http://www.w3.org", ""), path
        assert "https://" not in page.html, path


def test_every_text_is_escaped(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on")], path
            assert tag not in {"img", "b", "iframe", "object", "embed"}, path
            if tag == "script":
                assert attributes.get("type") == "application/json" or OWN_SCRIPT.match(attributes["src"]), path
        assert not [script for script in page.scripts if "<" in script], path
    shown = pages[member_path()].text
    assert MEMBER in shown
    assert HOSTILE in shown
    assert RULE in shown
    assert HOSTILE in pages[f"{BASE}/rejected?status=all&code=MEMBER_UNKNOWN"].text


def test_every_page_has_the_headers(pages: dict[str, Page]) -> None:
    for page in pages.values():
        policy = dict(part.strip().partition(" ")[::2] for part in page.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["script-src"] == policy["form-action"] == "'self'"
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["Cache-Control"] == "no-store"


def test_every_page_is_made_for_everybody(pages: dict[str, Page]) -> None:
    languages = {page.tags[0][1]["lang"] for page in pages.values()}
    assert len(languages) == 1
    for path, page in pages.items():
        tags = Counter(tag for tag, _ in page.tags)
        assert tags["h1"] == tags["main"] == tags["title"] == 1, path
        assert tags["caption"] == tags["table"], path
        assert all("scope" in attributes for tag, attributes in page.tags if tag == "th"), path
        labelled = {attributes["for"] for tag, attributes in page.tags if tag == "label"}
        fields = [a for tag, a in page.tags if tag in {"input", "select", "textarea"} and a.get("type") != "hidden"]
        assert {field.get("id") for field in fields} <= labelled, path
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        charts = sum("drawing" in attributes.get("class", "").split() for _, attributes in page.tags)
        assert tags["table"] >= charts, path


def test_a_role_sees_no_link_that_it_may_not_follow(server: Server, keys: Database, told: None) -> None:
    from tests.http.serving import a_key

    with Visitor(server.url) as visitor:
        visitor.sign_in(a_key(keys, "reader"))
        front = visitor.get("/")
        assert not [link for link in front.links if link.endswith("/rejected")]
        for link in front.links:
            visitor.get(urlsplit(link).path)
