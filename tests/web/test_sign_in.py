"""Signing in and out: sessions, their end, and what they are worth to others."""

from __future__ import annotations

from tests.http.serving import Server
from tests.web.browsing import Visitor
from tests.web.conftest import SignedIn


def test_a_key_signs_in_to_its_programme(signed_in: SignedIn) -> None:
    visitor = signed_in("reader")
    page = visitor.get("/")
    assert page.path == "/console/programmes/club"
    assert "Overview" in page.text
    assert visitor.sign_out().path == "/console/sign-in"
    assert visitor.get("/programmes/club").path.startswith("/console/sign-in")


def test_an_unknown_key_is_refused(visitor: Visitor, server: Server) -> None:
    assert "not a key" in visitor.sign_in("loyalty_abc_def", status=401).text
