"""What goes wrong around a server: the database, the projector, clients, and the server itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from eventsourcing.persistence import OperationalError
from psycopg2.extensions import make_dsn

from ledger.store.database import Database, connect
from service.http.problems import problem_of
from tests.cli.running import Loyalty, recorded, rows
from tests.faults.proxy import Proxy
from tests.http.conftest import create_programmes
from tests.http.serving import AT, Api, Server, a_key, enrolled, new, purchase
from tests.http.test_commands import problem
from tests.operations.asking import ask, free_port
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def key(database: Database, database_dsn: str) -> str:
    """A key of an administrator, on a database of the test's own."""
    return a_key(database, "admin", None)


@pytest.fixture
def own(database_dsn: str, key: str) -> Iterator[Server]:
    """A server of the test's own, without a projector."""
    with Server(database_dsn, "--wait", "0.3") as running:
        create_programmes(running.url, key)
        yield running


def test_the_database_goes_and_comes_back(database: Database, database_dsn: str, key: str) -> None:
    with Proxy(database_dsn) as proxy, Server(proxy.dsn) as running:
        create_programmes(running.url, key)
        api = Api(running.url, key)
        member = enrolled(api, 10_000)
        before = recorded(database_dsn)
        proxy.cut_all(refuse=True)
        body = {"id": new("r"), "member": member, "points": 10, "occurred_at": AT}
        for answer in (
            api.post("redemptions", body),
            api.post("purchase-batches", {"purchases": [purchase(member)]}),
            api.post("redemptions", body, params={"dry_run": "true"}),
            api.get(f"members/{member}/balance"),
            api.get("changes"),
        ):
            assert problem(answer, 503, "DATABASE_UNAVAILABLE")["title"]
            assert answer.headers["Retry-After"] == "1"
        unknown = Api(running.url, a_key(database, "reader"))  # not known to be a key, nor to be none
        problem(unknown.get("changes"), 503, "DATABASE_UNAVAILABLE")
        assert recorded(database_dsn) == before
        proxy.allow()
        assert unknown.get("changes").status_code == 200
        unknown.close()
        assert api.get(f"members/{member}/balance").status_code == 200
        assert api.post("redemptions", body).status_code == 201
        assert api.post("redemptions", body).status_code == 200
        assert len(recorded(database_dsn)) == len(before) + 1
        api.close()


def test_a_database_that_hangs_is_told_and_comes_back(database: Database, database_dsn: str, key: str) -> None:
    """Every read is answered in time though none of them gets an answer, more of them than there are threads."""
    port = free_port()
    with Proxy(database_dsn) as proxy, Server(
        make_dsn(proxy.dsn, connect_timeout=5), "--metrics-port", str(port), LOYALTY_READ_SECONDS="5"
    ) as running:  # fmt: skip
        create_programmes(running.url, key)
        api = Api(running.url, key)
        member = enrolled(api)
        unknown = Api(running.url, a_key(database, "reader"))
        assert ask(port, "/health/ready").status == 200
        proxy.hang()
        began = time.monotonic()
        with ThreadPoolExecutor(40) as clients:
            asked = [clients.submit(api.get, f"members/{member}/statement") for _ in range(36)]
            asked += [clients.submit(api.get, f"members/{member}/balance") for _ in range(3)]
            asked.append(clients.submit(unknown.get, "changes"))
            wait_for(lambda: ask(port, "/health/ready").status == 503)  # what it saw a second ago may be told first
            codes = {problem_code(one.result()) for one in asked}
        assert "DATABASE_TIMEOUT" in codes
        assert codes <= {"DATABASE_TIMEOUT", "DATABASE_UNAVAILABLE"}
        assert "the database does not answer" in ask(port, "/health/ready").json["checks"]["database"]
        assert ask(port, "/health/live").status == 200
        assert time.monotonic() - began < PATIENCE_SECONDS
        proxy.allow()
        for read in ("statement", "balance"):
            wait_for(lambda: api.get(f"members/{member}/{read}").status_code == 200)  # noqa: B023 - called at once
        wait_for(lambda: unknown.get("changes").status_code == 200)
        wait_for(lambda: ask(port, "/health/ready").status == 200)
        assert enrolled(api)
        assert running.stop() == 0
        unknown.close()
        api.close()


def problem_code(answer: httpx.Response) -> str:
    assert answer.headers["Retry-After"] == "1"
    return str(problem(answer, 503, answer.json()["code"])["code"])


def test_reads_go_on_while_commands_wait_for_a_lock(database_dsn: str, key: str) -> None:
    """More batches than there are threads for them wait; a read that waits for a lock is ended by the server."""
    with Server(database_dsn, LOYALTY_READ_SECONDS="5") as running, connected(database_dsn) as cur:
        create_programmes(running.url, key)
        api = Api(running.url, key)
        member = enrolled(api)
        cur.execute("BEGIN; SELECT FROM journals FOR UPDATE")
        with ThreadPoolExecutor(20) as clients:
            batches = [
                clients.submit(api.post, "purchase-batches", {"purchases": [purchase(member)]}) for _ in range(16)
            ]
            wait_for(lambda: blocked(database_dsn) > 0)
            wait_for(lambda: api.get(f"members/{member}/balance").status_code == 200)
            cur.execute("COMMIT")
            assert {one.result().json()["posted"] for one in batches} == {1}
        cur.execute("BEGIN; LOCK TABLE statement IN ACCESS EXCLUSIVE MODE")
        late = api.get(f"members/{member}/statement")
        assert problem(late, 503, "DATABASE_TIMEOUT")["title"]
        wait_for(lambda: api.get(f"members/{member}/balance").status_code == 200)
        cur.execute("COMMIT")
        wait_for(lambda: api.get(f"members/{member}/statement").status_code == 200)
        api.close()


def blocked(dsn: str) -> int:
    found = rows(dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                      " AND wait_event_type = 'Lock'")  # fmt: skip
    return int(found[0][0])


@contextmanager
def connected(dsn: str) -> Iterator[Any]:
    connection = connect(dsn)
    with closing(connection), connection.cursor() as cur:
        yield cur


def test_a_cut_after_the_commit_is_not_a_second_commit(database_dsn: str, key: str) -> None:
    with Proxy(database_dsn) as proxy, Server(proxy.dsn) as running:
        create_programmes(running.url, key)
        api = Api(running.url, key)
        member = enrolled(api, 10_000)
        before = len(recorded(database_dsn))
        proxy.arm("cut after", b"COMMIT; SELECT pg_notify")
        answer = api.post("redemptions", {"id": new("r"), "member": member, "points": 10, "occurred_at": AT})
        assert proxy.reached.is_set()
        assert answer.status_code in (200, 201)
        assert len(recorded(database_dsn)) == before + 1
        api.close()


def test_a_stream_misses_nothing_and_says_nothing_twice(database_dsn: str, key: str) -> None:
    """It ends where the database does not answer; a client that asks again, with the last it heard of, goes on."""
    with Proxy(database_dsn) as proxy, Server(proxy.dsn) as running:
        create_programmes(running.url, key)
        api = Api(running.url, key)
        heard: list[str] = []
        last: dict[str, str] = {}

        def hear(count: int) -> None:
            while len(heard) < count:
                with (
                    suppress(httpx.TransportError),
                    api.client.stream("GET", "/v1/programmes/club/changes/stream", headers=last) as stream,
                ):
                    for line in stream.iter_lines():
                        name, _, value = line.partition(": ")
                        if name == "id":
                            last["Last-Event-ID"] = value
                        if name == "data" and "member-enrolled" in value:
                            heard.append(json.loads(value)["data"]["member"])
                            if len(heard) == count:
                                return

        members = []
        for refuse in (False, True, False):
            listener = threading.Thread(target=hear, args=(len(heard) + 2,))
            listener.start()
            members.append(enrolled(api))
            proxy.cut_all(refuse=refuse)
            if refuse:
                assert api.get("changes").status_code == 503
            proxy.allow()
            members.append(enrolled(api))
            listener.join(PATIENCE_SECONDS)
        assert sorted(heard) == sorted(members)  # of two journals: which of them comes first is not said
        assert "Traceback" not in running.log()
        api.close()


def test_reads_say_how_stale_they_are_and_wait_for_what_is_asked(own: Server, key: str) -> None:
    api = Api(own.url, key)
    member = enrolled(api)
    last = api.post("purchases", purchase(member, 10_000))
    at_least = last.headers["Ledger-Position"]
    journal, _, position = at_least.partition(":")
    found = api.get(f"members/{member}/balance")
    assert (found.headers["Ledger-As-Of"], found.headers["Ledger-Behind"]) == (f"{journal}:0", position)
    assert found.json()["status"] == "unknown"
    late = api.get(f"members/{member}/balance", params={"at_least": at_least})
    assert f"{position} was asked for" in problem(late, 503, "NOT_THERE_YET")["detail"]
    assert (late.headers["Retry-After"], late.headers["Ledger-Behind"]) == ("1", position)
    Loyalty(LOYALTY_DATABASE_URL=own.dsn)("project", "--once")
    wait_for(lambda: api.get(f"members/{member}/balance", params={"at_least": at_least}).status_code == 200)
    fresh = api.get(f"members/{member}/balance")
    assert (fresh.json()["active"], fresh.headers["Ledger-Behind"]) == (100, "0")
    api.close()


class Load:
    """Clients that send purchases, and know which were acknowledged and which were not."""

    def __init__(self, url: str, key: str, member: str, clients: int = 8) -> None:
        self.sent: dict[str, dict[str, Any]] = {}
        self.acknowledged: set[str] = set()
        self._threads = ThreadPoolExecutor(clients)
        self._running = [self._threads.submit(self._run, url, key, member) for _ in range(clients)]

    def _run(self, url: str, key: str, member: str) -> None:
        api = Api(url, key)
        while True:
            body = purchase(member, 100)
            self.sent[body["id"]] = body
            try:
                answer = api.post("purchases", body)
            except httpx.TransportError:
                break
            if answer.status_code == 503:
                break
            assert answer.status_code == 201, answer.text
            self.acknowledged.add(body["id"])
        api.close()

    def wait(self) -> None:
        """Until each client was refused, or could not reach the server."""
        self._threads.shutdown()
        for each in self._running:
            each.result()

    def send_again(self, api: Api) -> None:
        """All that was sent, alone or in one batch; what was acknowledged is known as recorded."""
        unanswered = self.sent.keys() - self.acknowledged
        for id in unanswered:
            again = api.post("purchases", self.sent[id], headers={"Idempotency-Key": id})
            assert again.status_code in (200, 201)
        batch = api.post("purchase-batches", {"purchases": list(self.sent.values())}).json()
        assert (batch["posted"], batch["duplicate"], batch["rejected"]) == (0, len(self.sent), 0)


def _purchases(dsn: str) -> dict[str, str]:
    found = rows(
        dsn,
        "SELECT convert_from(state, 'UTF8')::json ->> 'id', journal || ':' || position FROM events"
        " WHERE topic LIKE 'purchase-recorded.%'",
    )
    assert len(dict(found)) == len(found), "a purchase was recorded twice"
    return dict(found)


def test_what_was_acknowledged_survives_a_kill_and_nothing_is_doubled(own: Server, key: str) -> None:
    api = Api(own.url, key)
    member = enrolled(api)
    load = Load(own.url, key, member)
    wait_for(lambda: len(load.acknowledged) >= 100)
    os.kill(own.process.pid, signal.SIGKILL)
    own.process.wait()
    load.wait()
    assert load.acknowledged <= _purchases(own.dsn).keys()
    assert load.acknowledged < load.sent.keys()
    own.start_again()
    load.send_again(api)
    assert _purchases(own.dsn).keys() == load.sent.keys()
    Loyalty(LOYALTY_DATABASE_URL=own.dsn)("project", "--once")
    assert api.read(f"members/{member}/balance")["active"] == len(load.sent)
    Loyalty(LOYALTY_DATABASE_URL=own.dsn)("audit", "verify")
    api.close()


def test_a_key_is_found_again_on_a_connection_that_broke_meanwhile(
    database: Database, database_dsn: str, key: str
) -> None:
    """Nobody is refused for a connection that was cut while nothing used it."""
    with Proxy(database_dsn) as proxy, Server(proxy.dsn) as running:
        create_programmes(running.url, key)
        for _ in range(2):
            unknown = Api(running.url, a_key(database, "reader"))
            assert unknown.get("changes").status_code == 200
            unknown.close()
            proxy.cut_all()


def test_an_outage_under_load(database_dsn: str, key: str) -> None:
    """What is in the middle of anything is done wholly or not at all, and goes on without a restart."""
    with Proxy(database_dsn) as proxy, Server(proxy.dsn) as running:
        create_programmes(running.url, key)
        api = Api(running.url, key)
        member = enrolled(api)
        load = Load(running.url, key, member)
        wait_for(lambda: len(load.acknowledged) >= 50)
        proxy.cut_all(refuse=True)
        load.wait()
        assert load.acknowledged <= _purchases(database_dsn).keys()
        proxy.allow()
        load.send_again(api)
        assert _purchases(database_dsn).keys() == load.sent.keys()
        Loyalty(LOYALTY_DATABASE_URL=database_dsn)("audit", "verify")
        api.close()


def test_a_stop_finishes_what_was_accepted_and_refuses_new(own: Server, key: str) -> None:
    api = Api(own.url, key)
    member = enrolled(api)
    load = Load(own.url, key, member)
    wait_for(lambda: len(load.acknowledged) >= 100)
    with api.client.stream("GET", "/v1/programmes/club/changes/stream") as stream:
        lines = stream.iter_lines()
        next(lines)
        own.process.terminate()
        for _ in lines:
            pass  # the stream ends by itself
    assert own.process.wait(PATIENCE_SECONDS) == 0, own.log()
    load.wait()
    assert _purchases(own.dsn).keys() == load.acknowledged
    assert "Traceback" not in own.log()
    with pytest.raises(httpx.TransportError):
        api.get("changes")
    api.close()


def test_a_client_that_leaves_is_no_failure_of_the_server(own: Server, key: str) -> None:
    address = urlsplit(own.url)
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port or 80)) as leaving:
            leaving.sendall(
                f"POST /v1/programmes/club/members HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
                "Content-Length: 1000\r\n\r\n{".encode()
            )
    api = Api(own.url, key)
    enrolled(api)
    assert "Traceback" not in own.log()
    api.close()


def test_a_key_that_is_used_too_often_has_to_wait(database_dsn: str, key: str, own: Server) -> None:
    with Server(database_dsn, "--requests-per-second", "0.1") as running:
        api = Api(running.url, key)
        first = answer = api.get("changes")
        assert first.status_code == 200
        while answer.status_code == 200:  # each long after the one before, on a slow machine
            answer = api.get("changes")
        assert problem(answer, 429, "TOO_MANY_REQUESTS")["title"]
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
        api.close()


@pytest.mark.parametrize(
    ("sqlstate", "status"), [("53100", 503), ("53300", 503), ("57P01", 503), ("08006", 503), ("42P01", 500)]
)
def test_what_a_client_is_told_of_the_database(sqlstate: str, status: int) -> None:
    """A full disk (53100) among them: refused for now, and well once there is room."""
    error = OperationalError("x")
    vars(error).update(pgcode=sqlstate)
    found = problem_of(error)
    assert found.details.status == status
    assert ("Retry-After" in found.headers) is (status == 503)
