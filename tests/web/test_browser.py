"""The browser of the tests sees what goes wrong in a page, and reaches nothing but this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Error

from tests.waiting import wait_for
from tests.web.browser import Windows

STRICT = "default-src 'none'; script-src 'self'; img-src * data:"


class _Pages(BaseHTTPRequestHandler):
    """Answers with the page that is set, whatever the path; with nothing where the path says so."""

    def __init__(self, page: list[str], *arguments: object) -> None:
        self._page = page
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/nothing" else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", STRICT if self.path == "/strict" else "")
        self.end_headers()
        self.wfile.write("".join(self._page).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def page() -> list[str]:
    """The page that is served."""
    return []


@pytest.fixture
def url(page: list[str]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Pages, page)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("", "<script>alert('x')</script>", "dialog: x"),
        ("", "<script>throw new Error('x')</script>", "exception: x"),
        ("", "<script>console.error('x')</script>", "console: x"),
        ("", "<img src=/nothing>", "404: "),
        ("", "<img src=http://192.0.2.1/x.png>", "a request that leaves the machine: http://192.0.2.1/x.png"),
        ("", "<link rel=stylesheet href=https://example.org/x.css>", "a request that leaves the machine: https://exam"),
        ("strict", "<script>document.title = 'ran'</script>", "console: Executing inline script violates"),
        ("strict", "<p style='color: red'>x</p>", "console: Applying inline style violates"),
        ("strict", "<img src=x onerror='document.title = 1'>", "console: Executing inline event handler violates"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_a_fault(
    windows: Windows, url: str, page: list[str], path: str, body: str, fault: str
) -> None:
    page.append(f"<!doctype html><title>a page</title><link rel=icon href=data:,>{body}")
    window = windows()
    window.page.goto(f"{url}/{path}")
    assert window.page.title() == "a page"

    def is_told() -> bool:
        window.page.title()  # events of the browser come with its answers
        return any(found.startswith(fault) for found in window.faults)

    wait_for(is_told)
    window.faults.clear()


def test_a_good_page_has_no_fault_and_a_refusal_is_none(windows: Windows, url: str, page: list[str]) -> None:
    page.append("<!doctype html><title>a page</title><link rel=icon href=data:,><h1>good</h1>")
    window = windows()
    window.page.goto(f"{url}/strict")
    window.page.goto(f"{url}/nothing")
    assert window.page.locator("h1").inner_text() == "good"
    assert window.faults == []


def test_nothing_elsewhere_answers(windows: Windows) -> None:
    window = windows()
    for elsewhere in ("http://192.0.2.1/", "https://example.org/"):
        with pytest.raises(Error, match="ERR_PROXY_CONNECTION_FAILED"):
            window.page.goto(elsewhere)
    assert len(window.faults) == 2
    window.faults.clear()
