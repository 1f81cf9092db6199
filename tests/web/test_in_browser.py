"""The console as people see it, in Chromium: by keyboard, in both languages and themes, wide and narrow, and hostile.

What a script, the content security policy or a request elsewhere does wrong in any of this fails (`browser.Window`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from ledger.store.database import Database, connect
from service.web.security import SESSION_COOKIE
from tests.http.serving import AT, Api, Server, a_key
from tests.web.browser import Window, Windows
from tests.web.browsing import Visitor
from tests.web.steered import CHART, NONCONFORMITY, OBJECTIVE, WEEKS, steer
from tests.web.story import BASE, HOSTILE, MEMBER, hostile_key, member_path, refuse, tell
from tests.web.tables import folded

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (1280, 390)
PAGES = {
    "overview": BASE,
    "members": f"{BASE}/members?q=o",
    "member": member_path(),
    "statement": f"{member_path()}/statement",
    "member-events": f"{member_path()}/events",
    "event": f"{BASE}/events/2/1",
    "pyramid": f"{BASE}/pyramid",
    "satisfaction": f"{BASE}/satisfaction",
    "control-chart": f"{BASE}/satisfaction/charts/{quote(CHART, safe='')}",
    "liability": f"{BASE}/liability",
    "objectives": f"{BASE}/objectives?objective={quote(OBJECTIVE)}",
    "nonconformity": f"{BASE}/objectives/nonconformity?nonconformity={quote(NONCONFORMITY)}",
    "terms": f"{BASE}/terms",
    "terms-version": f"{BASE}/terms/2",
    "rejected": f"{BASE}/rejected",
    "audit": f"{BASE}/audit",
    "audit-as-of": f"{BASE}/audit/as-of?member={quote(MEMBER)}",
    "audit-restate": f"{BASE}/audit/restate?member={quote(MEMBER)}&as_of=2999-01-01&known_at=2020-01-01",
    "error": f"{BASE}/nowhere",
}
CHARTS = ("overview", "member", "pyramid", "satisfaction", "control-chart", "liability", "objectives")
"""Pages that draw."""
DRAWN_TO_FIT = """() => [...document.querySelectorAll(".drawing")].every(
    drawing => Math.abs((drawing.querySelector("svg")?.clientWidth ?? 0) - drawing.clientWidth) <= 1
)"""
STOPS = """() => {
    const wanted = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
    const seen = [...document.querySelectorAll(wanted)].filter(each => each.checkVisibility());
    window.reached = [];
    document.addEventListener("focusin", ({ target }) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(target);
        const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
        const index = seen.indexOf(target);
        if (index >= 0) window.reached.push([index, outlined && target.getBoundingClientRect().right > 0]);
    });
    return seen.length;
}"""
"""Where the Tab key must stop: how many places; from then on `reached` has which it came to, and whether that shows."""
SEEN = (Path(__file__).parent / "seen.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told(api: Api, server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    tell(api)
    steer(api)
    folder = tmp_path_factory.mktemp("refused")
    refuse(server.dsn, folder)
    refuse(server.dsn, folder, number=1, member="late comer")
    folded(
        api,
        "members/x/balance",
        "members/x/statement",
        "members/x/summary",
        "objectives",
        "value",
        "satisfaction",
        "liability",
    )


@pytest.fixture(scope="module")
def session(server: Server, keys: Database, told: None) -> Iterator[str]:
    """The cookie of somebody who may do everything, and has a hostile name."""
    with Visitor(server.url) as visitor:
        visitor.sign_in(hostile_key(keys))
        yield visitor.client.cookies[SESSION_COOKIE]


SignedIn = Callable[..., Window]


@pytest.fixture
def signed_in(windows: Windows, server: Server, session: str) -> SignedIn:
    """Opens windows in which somebody is signed in."""

    def open_window(**options: Any) -> Window:
        options = {"base_url": server.url, "locale": "en-GB", "viewport": {"width": 1280, "height": 800}} | options
        window = windows(**options)
        window.context.add_cookies([{"name": SESSION_COOKIE, "value": session, "url": f"{server.url}/console"}])
        return window

    return open_window


# --- how pages look -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "locale"), [("en", "en-GB"), ("zh", "zh-CN")])
def test_every_page_is_seen_whole_and_can_be_read(signed_in: SignedIn, language: str, locale: str) -> None:
    window = signed_in(locale=locale)
    page = window.page
    for name, path in PAGES.items():
        page.goto(path)
        for theme, width in product(THEMES, WIDTHS):
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function(DRAWN_TO_FIT)
            seen, found = (name, theme, width), page.evaluate(SEEN)
            assert (found["language"], found["headings"]) == (language, 1), seen
            assert found["wider"] == [], seen
            assert found["faint"] == [], seen
            assert found["unlabelled"] == [], seen
            if (theme, width) != ("dark", 390):  # of which nobody learns more, and it takes long
                window.screenshot(f"{name}-{language}-{theme}-{width}")


def test_charts_have_as_many_points_as_their_tables_have_figures(signed_in: SignedIn) -> None:
    page = signed_in().page
    for name in CHARTS:
        page.goto(PAGES[name])
        for figure in page.locator("figure.chart").all():
            expect(figure.locator("svg.main-svg").first).to_be_visible()
            given = figure.evaluate(
                """figure => {
                    const { traces } = JSON.parse(figure.querySelector("script").textContent);
                    const numbers = trace => trace.type === "bar" ? trace.y : trace.y.filter(y => y !== null);
                    const marked = trace => trace.type === "bar" || (trace.mode || "markers").includes("markers");
                    return traces.filter(marked).map(numbers).flat().length;
                }"""
            )
            assert given > 0, name
            expect(figure.locator(".point path, path.point")).to_have_count(given)
    page.goto(PAGES["objectives"])
    assert page.locator("#periods tbody tr").count() == WEEKS
    expect(page.locator("figure.chart path.point")).to_have_count(WEEKS)


def test_axes_are_in_the_language_of_the_page(signed_in: SignedIn) -> None:
    for locale, month in (("en-GB", re.compile(r"[A-Z][a-z]{2} \d")), ("zh-CN", re.compile(r"\d月"))):
        page = signed_in(locale=locale).page
        page.goto(PAGES["objectives"])
        expect(page.locator(".xaxislayer-above").first).to_contain_text(month)


# --- by keyboard ----------------------------------------------------------------------------------------------------


def test_the_tab_key_reaches_everything_in_order_and_shows_where_it_is(signed_in: SignedIn) -> None:
    page = signed_in().page
    for name, path in PAGES.items():
        page.goto(path)
        stops = page.evaluate(STOPS)
        reached: dict[int, bool] = {}
        for press in range(stops + 40):  # what scrolls is a stop too, and a date has several
            page.keyboard.press("Tab")
            if press % 5 == 4 and len(reached := dict(page.evaluate("window.reached"))) == stops:
                break
        first = next(iter(reached))  # what has the focus from the beginning, or comes after it
        assert list(reached) == [*range(first, stops), *range(first)], name
        assert [index for index, shown in reached.items() if not shown] == [], name


def test_the_first_stop_skips_to_the_content(signed_in: SignedIn) -> None:
    page = signed_in().page
    page.goto(BASE)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_sign_in_and_out_by_keyboard(windows: Windows, server: Server, keys: Database, told: None) -> None:
    window = windows(base_url=server.url, locale="en-GB")
    page = window.page
    page.goto(f"{BASE}/objectives")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.insert_text("not a key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not a key that may sign in here.")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.insert_text(a_key(keys, "reader"))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Objectives")
    assert "key" not in page.url
    while page.evaluate("document.activeElement.textContent.trim()") != "Sign out":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Sign in")
    page.goto(BASE)
    expect(page.locator("h1")).to_have_text("Sign in")


# --- without JavaScript ---------------------------------------------------------------------------------------------


def test_pages_work_without_javascript(signed_in: SignedIn) -> None:
    page = signed_in(java_script_enabled=False).page
    for name, path in PAGES.items():
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        for figure in page.locator("figure.chart").all():
            expect(figure.locator("noscript p")).to_be_visible()
        assert (page.locator("figure.chart").count() > 0) == (name in CHARTS), name
    page.goto(BASE)
    page.get_by_role("button", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    page.get_by_role("button", name="深色").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_verify_now_reaches_its_result_without_javascript(signed_in: SignedIn, dsn: str) -> None:
    """The page of a run that is under way loads itself again until there is a result."""
    page = signed_in(java_script_enabled=False).page
    page.goto(PAGES["audit"])
    blocker = connect(dsn)
    with blocker.cursor() as cur:
        cur.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        page.get_by_role("button", name="Verify now").click()
        expect(page.get_by_text("This page loads itself again")).to_be_visible()
        cur.execute("ROLLBACK")
    blocker.close()
    expect(page.get_by_text("Everything is as it was recorded.")).to_be_visible()
    expect(page.get_by_text(f"Asked for by {HOSTILE}")).to_be_visible()


# --- what is done in it ---------------------------------------------------------------------------------------------


def test_a_refused_message_is_tried_again(signed_in: SignedIn, api: Api) -> None:
    page = signed_in().page
    page.goto(PAGES["rejected"])
    row = page.locator("tr", has_text="late comer")
    expect(row).to_be_visible()
    number = row.locator("th").inner_text()
    row.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("1 was refused again.")
    body = {"id": "late comer enrols", "member": "late comer", "occurred_at": AT}
    assert api.post("members", body).status_code == 201
    gift = {"id": "a gift", "member": "late comer", "points": 50, "reason": "a gift", "occurred_at": AT}
    assert api.post("accruals", gift).status_code == 201
    page.get_by_role("button", name=f"Try {number} again").click()
    expect(page.get_by_role("status")).to_contain_text("none was refused")
    expect(page.locator("tr", has_text="late comer")).to_have_count(0)


def test_a_corrective_action_takes_its_next_step(signed_in: SignedIn) -> None:
    page = signed_in().page
    page.goto(f"{BASE}/objectives")
    page.locator("#steps").get_by_role("link").first.click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    page.get_by_label("Why it came about").fill(HOSTILE)
    page.get_by_label("Who plans what is done about it").fill(HOSTILE)
    page.get_by_label("To be planned by").fill("2030-01-31")
    with page.expect_navigation():
        page.get_by_role("button", name="Record the cause").click()
    while page.get_by_text("Everything recorded is in these figures.").count() == 0:
        page.reload()
    expect(page.locator("dl.facts")).to_contain_text("Plan an action")
    expect(page.locator("dl.facts")).to_contain_text(HOSTILE)
    expect(page.get_by_role("button", name="Plan an action")).to_be_visible()


def test_hostile_text_is_shown_as_it_is(signed_in: SignedIn) -> None:
    """That it does not run, `Window` sees."""
    page = signed_in().page
    for name, text in {
        "member": MEMBER,
        "statement": HOSTILE[:40],
        "control-chart": CHART,
        "objectives": OBJECTIVE,
        "nonconformity": HOSTILE,
        "terms-version": HOSTILE,
        "rejected": HOSTILE,
        "audit-as-of": MEMBER,
    }.items():
        page.goto(PAGES[name])
        assert text in page.locator("main").inner_text(), name
        expect(page.locator(".who")).to_contain_text(HOSTILE)
