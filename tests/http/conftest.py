"""A server with two programmes and their terms, shared by the tests of a file; whoever breaks one starts its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.store.database import Database
from service.keys import Role
from tests.conftest import create_database, drop_database
from tests.http.serving import FRESH, PROGRAMMES, TERMS, Api, Server, a_key, new

Keyed = Callable[..., Api]


@pytest.fixture(scope="module")
def dsn(server_dsn: str, template_database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database for the tests of a file."""
    name = f"loyalty_{request.module.__name__.replace('.', '_')}"
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
    """A server that keeps its read models up, with the programmes."""
    with Server(dsn, *FRESH) as running:
        create_programmes(running.url, a_key(keys, "admin", None, "setup"))
        yield running


@pytest.fixture(scope="module")
def keyed(server: Server, keys: Database) -> Iterator[Keyed]:
    """Makes clients with a new key of a role."""
    made: list[Api] = []

    def make(role: Role, programme: str | None = "club", source: str = "till", path: str = "club") -> Api:
        made.append(Api(server.url, a_key(keys, role, programme, source), path))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture(scope="module")
def api(keyed: Keyed) -> Api:
    """A client that may do everything in the programme `club`."""
    return keyed("admin")


def create_programmes(url: str, key: str) -> None:
    """Create the programmes over HTTP, and publish their terms."""
    for programme in PROGRAMMES:
        api = Api(url, key, programme)
        body = {"id": programme, "programme": programme, "currency": "USD", "occurred_at": "2026-01-01T00:00:00Z"}
        assert api.client.post("/v1/programmes", json=body | {"journals": 2}).status_code == 201
        terms = {"id": new("terms"), "occurred_at": "2026-01-01T00:00:00Z", "document": TERMS}
        answer = api.post("terms", terms)
        assert answer.status_code == 201, answer.text
        api.close()
