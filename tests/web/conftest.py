"""A server with two programmes, and browsers that are signed in to its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.store.database import Database
from service.keys import Role
from tests.http.conftest import dsn, keys, server
from tests.http.serving import Api, Server, a_key
from tests.web.browser import chromium, windows
from tests.web.browsing import Visitor

__all__ = ["chromium", "dsn", "keys", "server", "windows"]

SignedIn = Callable[..., Visitor]


@pytest.fixture(scope="module")
def api(server: Server, keys: Database) -> Iterator[Api]:
    """A client of the API that may do everything in `club`."""
    client = Api(server.url, a_key(keys, "admin"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def signed_in(server: Server, keys: Database) -> Iterator[SignedIn]:
    """Makes browsers that are signed in with a new key of a role, of `club` (None: of every programme)."""
    made: list[Visitor] = []

    def make(role: Role = "reader", programme: str | None = "club", language: str = "en") -> Visitor:
        visitor = Visitor(server.url, language)
        made.append(visitor)
        visitor.sign_in(a_key(keys, role, programme))
        return visitor

    yield make
    for visitor in made:
        visitor.close()


@pytest.fixture
def visitor(server: Server) -> Iterator[Visitor]:
    """A browser that is not signed in."""
    with Visitor(server.url) as browser:
        yield browser
