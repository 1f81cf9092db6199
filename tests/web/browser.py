"""Fixtures: `chromium`, a real browser, and `windows`, which opens windows of it.

A conftest.py imports them: `from tests.web.browser import chromium, windows`. Where there is no browser they fail and
say what to do; they never skip. A window reaches loopback alone, and whatever goes wrong in its pages fails the test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Request, Response, expect, sync_playwright

from tests.waiting import PATIENCE_SECONDS

ENVIRONMENT_VARIABLE: Final = "LOYALTY_TEST_CHROMIUM"
EXECUTABLE: Final = os.environ.get(ENVIRONMENT_VARIABLE) or "/usr/bin/chromium"
SCREENSHOTS: Final = Path(
    os.environ.get("LOYALTY_SCREENSHOTS") or Path(__file__).parent.parent.parent / "build" / "screenshots"
)
LOOPBACK: Final = "127.0.0.1"
NOBODY: Final = f"http://{LOOPBACK}:9"
"""A proxy that is not there: what is meant for elsewhere ends here, however it was asked for."""
WAIT_MS_MAX: Final = 1_000 * PATIENCE_SECONDS
expect.set_options(timeout=WAIT_MS_MAX)


class BrowserUnavailable(RuntimeError):
    """There is no browser to test with."""


class Window:
    """A page in a context of its own, with cookies and preferences of its own.

    `faults` are errors on the console (violations of the page's content security policy are such), exceptions of
    scripts, dialogs, requests that leave the machine, and resources that are not there.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.faults: list[str] = []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(WAIT_MS_MAX)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda error: self.faults.append(f"exception: {error.error}"))
        self.context.on("dialog", self._on_dialog)
        self.context.on("request", self._on_request)
        self.context.on("response", self._on_response)
        self.page = self.context.new_page()

    def screenshot(self, name: str) -> None:
        """Keep how the whole page looks, as NAME.png in the folder of screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):  # see _on_response
            self.faults.append(f"console: {message.text}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname != LOOPBACK:
            self.faults.append(f"a request that leaves the machine: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.faults.append(f"{response.status}: {response.url}")


Windows = Callable[..., Window]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium of its own for the tests of a file; afterwards no event loop of it is left in the process."""
    if not os.access(EXECUTABLE, os.X_OK):
        raise BrowserUnavailable(
            f"There is no browser {EXECUTABLE}. Install one (Debian: apt-get install chromium fonts-wqy-microhei; as"
            f" root make test does so), or name another Chromium with {ENVIRONMENT_VARIABLE}=/path/to/it."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE,
            chromium_sandbox=os.geteuid() != 0,  # for root it does not start with one
            proxy={"server": NOBODY, "bypass": LOOPBACK},
            timeout=WAIT_MS_MAX,
        )
        yield browser
        browser.close()


@pytest.fixture
def windows(chromium: Browser) -> Iterator[Windows]:
    """Opens windows, with the options of a browser context; at the end of the test none may have met a fault."""
    opened: list[Window] = []

    def open_window(**options: Any) -> Window:
        opened.append(Window(chromium, **options))
        return opened[-1]

    yield open_window
    for window in opened:
        window.context.close()
    assert [fault for window in opened for fault in window.faults] == []
