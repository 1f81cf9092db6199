"""The browser that the console is tested in."""

from tests.web.browser import chromium, visiting

__all__ = ["chromium", "visiting"]
