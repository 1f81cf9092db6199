"""A server with two programmes, and browsers that are signed in to its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.store.database import Database
from service.keys import Role
from tests.conftest import create_database, drop_database
from tests.http.conftest import create_programmes
from tests.http.serving import Api, Server, a_key
from tests.web.browser import chromium, windows
from tests.web.browsing import Visitor

__all__ = ["chromium", "windows"]

SignedIn = Callable[..., Visitor]


@pytest.fixture(scope="module")
def dsn(server_dsn: str, template_database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database for the tests of a file."""
    name = f"loyalty_web_{request.module.__name__.rpartition('.')[2]}"
    yield create_database(server_dsn, name, template=template_database)
    drop_database(server_dsn, name)


@pytest.fixture(scope="module")
def keys(dsn: str) -> Iterator[Database]:
    """Where keys are made."""
    database = Database(dsn)
    yield database
    database.close()


@pytest.fixture(scope="module")
def server(dsn: str, keys: Database) -> Iterator[Server]:
    """A server that keeps its read models up, with the programmes `club` and `other`."""
    with Server(dsn, "--project") as running:
        create_programmes(running.url, a_key(keys, "admin", None, "setup"))
        yield running


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
