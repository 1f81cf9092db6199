"""Requests that try to be something else: other paths, more headers, a second request, no HTTP at all."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from ledger.store.database import Database
from service.http.connections import HEAD_BYTES_MAX
from service.http.key_ring import KeyRing
from service.http.problems import MEDIA_TYPE
from service.keys import ApiKey
from tests.cli.running import recorded
from tests.http.serving import Api, Server, a_key, enrolled, purchase
from tests.waiting import PATIENCE_SECONDS

READ = "/v1/programmes/club"
POST = "POST /v1/programmes/club/purchases HTTP/1.1"
HEAD = "Host: x\r\nAuthorization: Bearer KEY\r\n"

REFUSED = {
    "no HTTP": ("\x16\x03\x01\x02\x00\r\n\r\n", 400, "REQUEST_INVALID"),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "REQUEST_INVALID"),
    "a method of its own": (f"FOO {READ} HTTP/1.1\r\n{HEAD}\r\n", 400, "REQUEST_INVALID"),
    "a method in lower case": (f"get {READ} HTTP/1.1\r\n{HEAD}\r\n", 400, "REQUEST_INVALID"),
    "CONNECT": (f"CONNECT x:1 HTTP/1.1\r\n{HEAD}\r\n", 400, "REQUEST_INVALID"),
    "TRACE": (f"TRACE {READ} HTTP/1.1\r\n{HEAD}\r\n", 405, "METHOD_NOT_ALLOWED"),
    "PROPFIND": (f"PROPFIND {READ} HTTP/1.1\r\n{HEAD}\r\n", 405, "METHOD_NOT_ALLOWED"),
    "a NUL in a header": (f"GET {READ} HTTP/1.1\r\n{HEAD}X: a\0b\r\n\r\n", 400, "REQUEST_INVALID"),
    "a bare CR in a header": (f"GET {READ} HTTP/1.1\r\n{HEAD}X: a\rEvil: b\r\n\r\n", 400, "REQUEST_INVALID"),
    "a header that is folded": (f"GET {READ} HTTP/1.1\r\n{HEAD}X: a\r\n b\r\nY\r\n\r\n", 400, "REQUEST_INVALID"),
    "a name of two hosts": (f"GET {READ} HTTP/1.1\r\nHost: x y\r\n\r\n", 400, "REQUEST_INVALID"),
    "a header without end": (f"GET {READ} HTTP/1.1\r\nX: {'a' * 5 * HEAD_BYTES_MAX}\r\n", 431, "HEAD_TOO_LARGE"),
    "a path that is not ASCII": (f"GET {READ}\xfc HTTP/1.1\r\n{HEAD}\r\n", 400, "REQUEST_INVALID"),
    "two lengths": (f"{POST}\r\n{HEAD}Content-Length: 2\r\nContent-Length: 5\r\n\r\n{{}}abc", 400, "REQUEST_INVALID"),
    "a length below 0": (f"{POST}\r\n{HEAD}Content-Length: -1\r\n\r\n", 400, "REQUEST_INVALID"),
    "a length that is too much": (f"{POST}\r\n{HEAD}Content-Length: 1048577\r\n\r\n", 413, "MESSAGE_TOO_LARGE"),
    "a batch that is too much": (
        f"POST {READ}/purchase-batches HTTP/1.1\r\n{HEAD}Content-Length: 33554433\r\n\r\n", 413, "MESSAGE_TOO_LARGE",
    ),
    "no chunk": (f"{POST}\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\nZZ\r\n", 400, "REQUEST_INVALID"),
    "a length and chunks": (
        f"{POST}\r\n{HEAD}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        400, "REQUEST_INVALID",
    ),
    "steps in the path": (f"GET {READ}/../other/changes HTTP/1.1\r\n{HEAD}\r\n", 404, "NOT_FOUND"),
    "encoded steps": (f"GET {READ}/%2e%2e/other/changes HTTP/1.1\r\n{HEAD}\r\n", 404, "NOT_FOUND"),
    "an encoded slash": (f"GET /v1%2fprogrammes/club/changes HTTP/1.1\r\n{HEAD}\r\n", 404, "NOT_FOUND"),
    "twice encoded": (f"GET {READ}%252fchanges HTTP/1.1\r\n{HEAD}\r\n", 404, "NOT_FOUND"),
    "an encoded end of line": (
        f"GET {READ}/members/a%0d%0aX-Evil:%201/balance HTTP/1.1\r\n{HEAD}\r\n", 400, "INVALID_FIELD",
    ),
    "the key of another first": (
        f"GET {READ} HTTP/1.1\r\nAuthorization: Bearer x\r\n{HEAD}\r\n", 401, "KEY_MISSING",
    ),
    "every path": (f"OPTIONS * HTTP/1.1\r\n{HEAD}\r\n", 404, "NOT_FOUND"),
}  # fmt: skip


@pytest.fixture(scope="module")
def key(keys: Database, server: Server) -> str:
    return a_key(keys, "admin", None)


def exchanged(server: Server, request: str) -> bytes:
    """All that a server answers to a request, and to what it takes for another one behind it."""
    address = urlsplit(server.url)
    found = b""
    with (
        socket.create_connection((address.hostname, address.port or 80), timeout=PATIENCE_SECONDS) as client,
        suppress(OSError),  # what was sent behind a refusal is not read
    ):
        with suppress(ConnectionError):  # nor is what was being sent when it was refused; the answer is there
            client.sendall(request.encode("latin-1"))
        while not _is_whole(found) and (part := client.recv(1 << 16)):
            found += part
        client.shutdown(socket.SHUT_WR)
        while part := client.recv(1 << 16):
            found += part
    return found


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(found) and len(body) >= (int(length[1]) if length else 0)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_problem_and_nothing_is_done(server: Server, key: str, name: str) -> None:
    request, status, code = REFUSED[name]
    before = recorded(server.dsn)
    answer = exchanged(server, request.replace("KEY", key))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert f"content-type: {MEDIA_TYPE}".encode() in head
    assert b"evil" not in head.lower()
    found: dict[str, Any] = msgspec.json.decode(body)  # and no second answer behind it
    assert (found["status"], found["code"]) == (status, code)
    assert recorded(server.dsn) == before
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("path", ["members/m/balance", "changes", "purchases", ""])
@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE"])
def test_a_method_that_a_path_does_not_take(api: Api, path: str, method: str) -> None:
    """It says which the path takes."""
    answer = api.client.request(method, f"{READ}/{path}".rstrip("/"))
    assert answer.status_code == 405
    assert answer.headers["content-type"] == MEDIA_TYPE
    takes = {"POST" if path == "purchases" else "GET", "OPTIONS"}
    assert set(answer.headers["allow"].split(", ")) == takes
    asked = api.client.options(f"{READ}/{path}".rstrip("/"))
    assert (asked.status_code, set(asked.headers["allow"].split(", "))) == (204, takes)


def test_headers_say_nothing_about_what_is_done(api: Api) -> None:
    """Neither another method or path than that of the request, nor whose it is."""
    member = enrolled(api, 1_000)
    headers = {
        "X-HTTP-Method-Override": "GET",
        "X-Original-URL": "/v1/programmes/other/purchases",
        "X-Forwarded-Prefix": "/v2",
        "Content-Type": "text/html",
        "Idempotency-Key": "%0d%0aX-Evil: 1",
    }
    body = purchase(member)
    del body["id"]
    answer = api.post("purchases", body, headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (201, headers["Idempotency-Key"])
    assert "x-evil" not in answer.headers


def test_a_ring_of_keys_finds_by_a_hash_of_all_of_it(keys: Database, key: str) -> None:
    """So how long finding takes tells nothing of how much of a guess is right: that a key is compared in constant time
    once it is looked up is proved in test_access.py by the code path, and this is the only other one.
    """
    ring = KeyRing(keys, 1.0, 1)
    guesses = [key[:-1], key + "A", key.swapcase(), key[:-1] + ("A" if key[-1] != "A" else "B"), ""]

    async def find_all() -> list[ApiKey | None]:
        return [await ring.find(text, asyncio.to_thread) for text in (key, *guesses)]

    found, *guessed = asyncio.run(find_all())
    assert found is not None
    assert guessed == [None] * 5
    assert not any(key.encode()[:8] in known for known in ring._known)
    assert {len(known) for known in ring._known} == {32}
