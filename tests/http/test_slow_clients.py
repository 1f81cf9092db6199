"""Clients that are slow, idle or endless: each is cut off in time, and nobody else waits for them."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest

from ledger.store.database import Database
from service.http.backend import READ_THREADS
from service.http.connections import HEAD_BYTES_MAX
from tests.http.conftest import create_programmes
from tests.http.serving import Api, Server, a_key, enrolled, purchase
from tests.waiting import PATIENCE_SECONDS, wait_for

SECONDS = 4.0
"""That a client of the impatient server has; for a whole request twice that."""
PATIENT = ("--client-seconds", f"{2 * PATIENCE_SECONDS:g}")
"""Of the other servers: nobody is cut off while others are served, and who had to wait for a client would wait for
longer than a test does.
"""
SLOW = 3 * READ_THREADS
IDLE_CONNECTIONS = 1_000
USED = 50
ESTABLISHED = "01"


@pytest.fixture(scope="module")
def key(keys: Database) -> str:
    return a_key(keys, "admin", None)


@pytest.fixture(scope="module")
def server(dsn: str, key: str) -> Iterator[Server]:
    with Server(dsn, *PATIENT) as running:
        create_programmes(running.url, key)
        yield running


@pytest.fixture(scope="module")
def impatient(server: Server) -> Iterator[Server]:
    """Another one on the same database, with little patience."""
    with Server(server.dsn, "--client-seconds", str(SECONDS)) as running:
        yield running


@pytest.fixture(scope="module")
def much(server: Server, key: str) -> None:
    """More events than the buffers of a connection hold."""
    api = Api(server.url, key)
    member = enrolled(api)
    lines = [{"sku": "s" * 60, "quantity": 1, "amount_minor": 100}] * 20
    for _ in range(4):
        bodies = [purchase(member, lines=lines) for _ in range(1_000)]
        assert api.post("purchase-batches", {"purchases": bodies}).json()["posted"] == 1_000
    api.close()


def connect(server: Server, receive_bytes: int = 0) -> socket.socket:
    address = urlsplit(server.url)
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(PATIENCE_SECONDS)
    client.connect((address.hostname, address.port))
    return client


def head(key: str, request: str, *more: str) -> bytes:
    return "\r\n".join([f"{request} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *more, "", ""]).encode()


def received(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection or breaks it."""
    found = b""
    try:
        while part := client.recv(1 << 16):
            found += part
    except ConnectionError:
        pass
    return found


@contextmanager
def trickling(client: socket.socket, part: bytes) -> Iterator[None]:
    """A thread that goes on sending a part, again and again, until the server has had enough."""
    stopped = Event()

    def send() -> None:
        try:
            while not stopped.wait(SECONDS / 10):
                client.sendall(part)
        except OSError:
            pass

    sender = Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stopped.set()
        sender.join()


def slow_heads(key: str) -> bytes:
    return head(key, "GET /v1/programmes/club")[:-2]


def slow_bodies(key: str) -> bytes:
    return head(key, "POST /v1/programmes/club/purchase-batches", "Content-Length: 1000000") + b"{"


def stream(key: str) -> bytes:
    return head(key, "GET /v1/programmes/club/changes/stream")


def pages(key: str) -> bytes:
    return 4 * head(key, "GET /v1/programmes/club/changes?limit=1000")


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("sent", [slow_heads, slow_bodies, stream, pages])
def test_others_are_served_meanwhile(server: Server, key: str, sent: Callable[[str], bytes]) -> None:
    """However many send no more, or read nothing of what they asked for."""
    api = Api(server.url, key)
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server, receive_bytes=4_096)) for _ in range(SLOW)]
        for client in slow:
            client.sendall(sent(key))
        member = enrolled(api, 1_000)
        assert api.get(f"members/{member}/balance").status_code == 200
        assert api.get("changes", params={"limit": 1}).status_code == 200
        wait_for(lambda: _open(server, slow) == SLOW)
    api.close()


def test_who_goes_on_for_ever_is_cut_off(impatient: Server, key: str) -> None:
    """By the clock, and not by the silence: each of them sends a little more all the time, but for the one who says
    nothing. A body that is late is answered before. No answer waits for the database: the key is known.
    """
    whole, declared = head(key, "GET /v1/nothing"), "Content-Length: 1000000"
    post = "POST /v1/programmes/club/members"
    clients = {
        "a head": (slow_heads(key), b"X: y\r\n", [b""]),
        "a second head": (whole + slow_heads(key), b"X: y\r\n", [b"HTTP/1.1 404 "]),
        "a head without bounds": (slow_heads(key), b"X: " + b"y" * HEAD_BYTES_MAX, [b"HTTP/1.1 431 ", b""]),
        "nothing": (b"", b"", [b""]),
        "a body": (head(key, post, declared), b" ", [b"HTTP/1.1 408 "]),
        "a body in chunks": (head(key, post, "Transfer-Encoding: chunked"), b"1\r\n \r\n", [b"HTTP/1.1 408 "]),
        "a body that nobody asked for": (head("\N{SNOWMAN}", post, declared), b" ", [b"HTTP/1.1 401 "]),
    }
    api = Api(impatient.url, key)
    assert api.get("").status_code == 200
    api.close()
    started = time.monotonic()
    with ExitStack() as stack:
        opened = {name: stack.enter_context(connect(impatient)) for name in clients}
        for name, (first, more, _) in clients.items():
            opened[name].sendall(first)
            stack.enter_context(trickling(opened[name], more))
        answers = {name: received(client)[:13] for name, client in opened.items()}
    assert {name: answers[name] in expected for name, (_, _, expected) in clients.items()} == dict.fromkeys(
        clients, True
    ), answers
    assert time.monotonic() - started > SECONDS


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("sent", [stream, pages])
def test_a_client_that_does_not_read(impatient: Server, key: str, sent: Callable[[str], bytes]) -> None:
    """What waits for it is let go with its connection."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(impatient, receive_bytes=4_096)) for _ in range(3)]
        for client in slow:
            client.sendall(sent(key))
        wait_for(lambda: _open(impatient, slow) == 0)
    assert "Traceback" not in impatient.log()


def _open(server: Server, clients: Sequence[socket.socket]) -> int:
    """How many connections with these clients the server has: as the kernel lists them, at its end.

    It lists them in parts, while they come and go: one may be told twice, or in a list not at all.
    """
    own, theirs = urlsplit(server.url).port, {client.getsockname()[1] for client in clients}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = {(_port(local), _port(remote)) for _, local, remote, state, *_ in lines if state == ESTABLISHED}
    return sum(local == own and remote in theirs for local, remote in ends)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


@contextmanager
def _files(soft: Callable[[int], int]) -> Iterator[int]:
    """With another limit on open files of this process, and of those it starts; the hard limit."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft(hard), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.mark.usefixtures("server")
def test_a_thousand_idle_connections(dsn: str, key: str) -> None:
    """Others are served as ever, by a server that was started with fewer files than that: it takes what it may have."""
    with ExitStack() as stack:
        with _files(lambda _: 256):
            server = stack.enter_context(Server(dsn, *PATIENT))
        hard = stack.enter_context(_files(lambda hard: hard))
        if hard < 2 * IDLE_CONNECTIONS:
            pytest.skip("this process may not have so many connections")
        api = Api(server.url, key)
        idle = [stack.enter_context(connect(server)) for _ in range(IDLE_CONNECTIONS)]
        for client in idle[:USED]:  # some were of use before
            client.sendall(head(key, "GET /v1/programmes/club"))
        assert {client.recv(13) for client in idle[:USED]} == {b"HTTP/1.1 200 "}
        for _ in range(5):
            enrolled(api, 1_000)
        wait_for(lambda: _open(server, idle) == IDLE_CONNECTIONS)
        api.close()
