"""A server of the API in a process of its own, and a client of it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Self

import httpx

from ledger.store.database import Database
from service.keys import Role, create_key
from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).parent.parent.parent
PROGRAMMES = ("club", "other")
TERMS = {
    "name": "Plain",
    "effective_from": "2020-01-01T00:00:00Z",
    "currency": "USD",
    "time_zone": "UTC",
    "earning": {"rate": "0.01", "expiry": {"kind": "after", "period": "12M"}},
}
AT = "2026-03-01T10:00:00Z"
_numbers = itertools.count(1)


FRESH: Final = ("--project", "--wait", "60")
"""To keep the read models up, and to wait for them however busy the machine is."""


class Server:
    """`loyalty serve` on a database, with further settings of the environment. Reads may take as long as they need."""

    def __init__(self, dsn: str, *arguments: str, **settings: str) -> None:
        self.dsn = dsn
        self._settings = {"LOYALTY_DATABASE_URL": dsn, "LOYALTY_READ_SECONDS": f"{PATIENCE_SECONDS:g}", **settings}
        self._arguments = arguments
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the server
        self.process = self._start("0")
        self.url = self._listening()

    def _start(self, port: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOYALTY_")}
        return subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", "--port", port, *self._arguments],
            cwd=ROOT,
            env=environment | self._settings,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def _listening(self) -> str:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said.startswith("Listening on "), self.log()
        url = said.split()[2].rstrip(",")
        wait_for(lambda: self.process.poll() is not None or _answers(url))
        assert self.process.poll() is None, self.log()
        return url

    def start_again(self) -> None:
        """Start it once more, on the same port."""
        self.process = self._start(self.url.rpartition(":")[2])
        assert self._listening() == self.url

    def log(self) -> str:
        """What it wrote to its standard error so far."""
        self._log.seek(0)
        return self._log.read()

    def stop(self) -> int:
        """Ask it to stop, and wait until it has; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/docs/openapi.json", timeout=PATIENCE_SECONDS).status_code == 200
    except httpx.TransportError:
        return False


class Api:
    """A client with a key; paths are those of its programme. It knows what it wrote, in every journal."""

    def __init__(self, url: str, text: str, programme: str = "club") -> None:
        self.programme = programme
        self._written: dict[str, int] = {}
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {text}"}, timeout=PATIENCE_SECONDS)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        answer = self.client.post(f"/v1/programmes/{self.programme}/{path}", json=body, **options)
        self._note(answer)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(f"/v1/programmes/{self.programme}/{path}", **options)

    def read(self, path: str, after: httpx.Response | None = None, **parameters: Any) -> Any:
        """What a read finds; as fresh as all writes before it, where one is given."""
        if after is not None:
            self._note(after)
            parameters["at_least"] = self.at_least
        found = self.get(path, params=parameters)
        assert found.status_code == 200, found.text
        return found.json()

    @property
    def at_least(self) -> str:
        """What a read of the whole programme must have folded in to show everything that was written."""
        return ",".join(f"{journal}:{position}" for journal, position in self._written.items())

    def _note(self, answer: httpx.Response) -> None:
        for place in filter(None, answer.headers.get("Ledger-Position", "").split(",")):
            journal, _, position = place.partition(":")
            self._written[journal] = max(int(position), self._written.get(journal, 0))

    def close(self) -> None:
        self.client.close()


def a_key(database: Database, role: Role, programme: str | None = "club", source: str = "till") -> str:
    """The text of a new key."""
    return create_key(database, programme=programme, role=role, name=f"a {role}", source=source)[1]


def new(kind: str = "m") -> str:
    """A name that nothing had before."""
    return f"{kind}{next(_numbers)}"


def purchase(member: str, minor: int = 10_000, **fields: Any) -> dict[str, Any]:
    """The body of a purchase."""
    line = {"sku": "tea", "quantity": 1, "amount_minor": minor}
    return {"id": new("p"), "member": member, "occurred_at": AT, "currency": "USD", "lines": [line], **fields}


def enrolled(api: Api, minor: int = 0) -> str:
    """A new member, with a purchase where `minor` is above 0: 0.01 points for each minor unit."""
    member = new()
    assert api.post("members", {"id": new("e"), "member": member, "occurred_at": AT}).status_code == 201
    if minor:
        assert api.post("purchases", purchase(member, minor)).status_code == 201
    return member
