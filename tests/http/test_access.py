"""Keys and roles: every route with every role, another programme's key, no key, a revoked one."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any, get_args

import httpx
import pytest

from ledger.store.database import Database
from service import keys as keys_module
from service.http import access
from service.keys import Role, create_key, find_key, list_keys, revoke_key
from tests.cli.running import Loyalty, recorded, rows
from tests.http.conftest import Keyed
from tests.http.serving import AT, Api, Server, a_key, enrolled, new
from tests.waiting import PATIENCE_SECONDS, wait_for

ALL_ROLES: tuple[Role, ...] = get_args(Role)
TRADE = {"upstream", "operator", "admin"}
CARE = {"operator", "admin"}
MEMBER_FIGURES = {"upstream", "reader", "operator", "auditor", "admin"}
FIGURES = {"reader", "operator", "auditor", "admin"}
WHO = [
    ("members profiles purchases purchase-batches returns redemptions reversals holds captures releases transfers"
     " survey-answers complaints complaint-resolutions follow-ups follow-up-completions costs wallet-shares", TRADE),
    ("accruals expiries clawbacks adjustments merges merge-undos closures erasures survey-definitions analyses"
     " baselines objectives measurements nonconformities causes corrective-actions corrective-action-completions"
     " corrective-action-verifications budgets focus-audits", CARE),
    ("terms", {"admin"}),
]  # fmt: skip
READ = [
    ("balance lots statement", MEMBER_FIGURES),
    ("summary satisfaction events pyramid migration value charts {chart} objectives changes stream", FIGURES),
    ("liability cut-off adjustments breakage revenue", FIGURES),
    ("rejected", {"operator", "auditor", "admin"}),
]
ALLOWED = {
    **{part: roles for parts, roles in WHO for part in parts.split()},
    **{f"GET {part}": roles for parts, roles in READ for part in parts.split()},
    "GET ": FIGURES,
}
"""The last part of a path → who may use it."""


@pytest.fixture(scope="module")
def routes(server: Server) -> list[tuple[str, str]]:
    """Method and path of every operation that the server describes."""
    described = httpx.get(f"{server.url}/v1/docs/openapi.json", timeout=PATIENCE_SECONDS).json()
    return [(method.upper(), path) for path, item in described["paths"].items() for method in item]


@pytest.fixture(scope="module")
def by_role(keyed: Keyed) -> dict[str, Api]:
    return {role: keyed(role) for role in ALL_ROLES}


def filled(path: str, programme: str = "club") -> str:
    """A path of the description with names for what stands in braces."""
    return path.format(programme=programme, member="m", chart="c", stream="s")


def ask(api: Api, method: str, path: str, programme: str = "club") -> httpx.Response:
    """A request whose body is no command, so that whoever is let in is refused for that, and nothing is recorded."""
    with api.client.stream(method, filled(path, programme), content=b"{}" if method == "POST" else None) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer
        answer.read()
        return answer


def allowed(method: str, path: str) -> set[str]:
    last = path.removesuffix("{programme}").rpartition("/")[2]
    return ALLOWED[last if method == "POST" else f"GET {last}"]


def test_every_route_with_every_role(routes: list[tuple[str, str]], by_role: dict[str, Api], server: Server) -> None:
    before = recorded(server.dsn)
    found = {}
    for method, path in routes:
        if path == "/v1/programmes":
            continue
        found[method, path] = {role for role, api in by_role.items() if ask(api, method, path).status_code != 403}
    assert found == {(method, path): allowed(method, path) for method, path in found}
    # satisfaction is of a member and of the programme; events are of a member, of a stream and of the liability
    assert len(found) == len(ALLOWED) + 3
    assert recorded(server.dsn) == before


def test_another_programmes_key_opens_nothing(routes: list[tuple[str, str]], keyed: Keyed) -> None:
    api = keyed("admin", "other")
    for programme in ("club", "not there"):
        answers = {(method, path): ask(api, method, path, programme) for method, path in routes}
        assert {key: answer.status_code for key, answer in answers.items()} == dict.fromkeys(answers, 403)
        assert {answer.json()["code"] for answer in answers.values()} == {"NOT_ALLOWED"}


def test_a_key_for_every_programme_opens_each_and_makes_new_ones(keyed: Keyed) -> None:
    admin, operator = keyed("admin", None), keyed("operator", None)
    for programme in ("club", "other"):
        assert admin.client.get(f"/v1/programmes/{programme}").status_code == 200
    body = {"id": "x", "programme": new("p"), "currency": "USD", "occurred_at": AT}
    assert operator.client.post("/v1/programmes", json=body).status_code == 403
    assert admin.client.post("/v1/programmes", json=body).status_code == 201


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic abc", "Bearer nothing", "Bearer loyalty__", "Bearer loyalty_abc_def",
     "Bearer loyalty_0000000000000000_" + "A" * 43, "Bearer ' OR 1=1 --", "Bearer \N{SNOWMAN}".encode(),
     "Bearer " + "x" * 10_000],
)  # fmt: skip
def test_no_known_key(routes: list[tuple[str, str]], server: Server, header: Any) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in routes:
        answer = httpx.request(method, server.url + filled(path), headers=headers, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if header:
            break  # the guard is one; that it stands before every route is shown by the first case


def test_a_revoked_key_opens_nothing_within_seconds(server: Server, keys: Database) -> None:
    made, text = create_key(keys, programme="club", role="reader", name="r", source="r")
    api = Api(server.url, text)
    assert api.get("").status_code == 200
    revoke_key(keys, made.key)
    wait_for(lambda: api.get("").status_code == 401)
    api.close()


def test_a_secret_is_kept_as_its_hash_and_compared_in_constant_time(dsn: str, keys: Database) -> None:
    made, text = create_key(keys, programme="club", role="reader", name="r", source="r")
    secret = text.removeprefix(f"loyalty_{made.key}_")
    kept = rows(dsn, f"SELECT api_keys::text FROM api_keys WHERE key = '{made.key}'")
    assert secret not in kept[0][0]
    assert len(secret) == 43  # 256 bits
    assert find_key(keys, text) == made
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert [find_key(keys, other) for other in (wrong, text[:-1], text + "A", text.upper(), "")] == [None] * 5
    compared = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(keys_module.find_key)))
        if isinstance(node, ast.Attribute) and node.attr == "compare_digest"
    ]
    assert len(compared) == 1


def test_comparing_takes_as_long_for_no_key_as_for_a_wrong_secret(
    keys: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, text = create_key(keys, programme="club", role="reader", name="r", source="r")
    seen: list[tuple[int, int]] = []
    compare = keys_module.hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        seen.append((len(one), len(other)))
        return bool(compare(one, other))

    monkeypatch.setattr(keys_module.hmac, "compare_digest", counted)
    for asked in (text, f"loyalty_{made.key}_x", "loyalty_0000000000000000_x", "nothing"):
        find_key(keys, asked)
    assert seen == [(32, 32)] * 4


def test_the_source_of_a_key_is_on_every_event(keyed: Keyed, server: Server) -> None:
    api = keyed("upstream", source="web shop")
    member = enrolled(api, 1_000)
    sources = rows(
        server.dsn,
        "SELECT DISTINCT convert_from(state, 'UTF8')::json ->> 'source' FROM events"
        f" WHERE originator_id = 'member-{member}'",
    )
    assert sources == [("web shop",)]
    answer = api.post("members", {"id": "x", "source": "till", "member": new(), "occurred_at": AT})
    assert (answer.status_code, answer.json()["field"]) == (400, "source")


def test_the_last_use_of_a_key_is_kept(dsn: str, keys: Database) -> None:
    with Server(dsn) as own:
        text = a_key(keys, "reader")
        public = text.split("_")[1]
        api = Api(own.url, text)
        assert api.get("").is_success
        api.close()
        assert own.stop() == 0
    (used,) = [key for key in list_keys(keys) if key.key == public]
    assert used.last_used_at is not None


def test_readers_act_as_the_reader_role(api: Api, server: Server) -> None:
    assert api.get("members/m/balance").status_code == 200
    wait_for(lambda: bool(rows(server.dsn, "SELECT 1")))
    assert rows(server.dsn, "SELECT has_table_privilege('loyalty_reader', 'api_keys', 'SELECT')") == [(False,)]
    assert rows(server.dsn, "SELECT has_table_privilege('loyalty_reader', 'events', 'INSERT')") == [(False,)]


def test_keys_from_the_command_line(dsn: str, server: Server) -> None:
    loyalty = Loyalty(LOYALTY_DATABASE_URL=dsn)
    made = loyalty.json("key", "create", "till 7", "--role", "upstream", "--programme", "club")
    assert (made["programme"], made["role"], made["source"]) == ("club", "upstream", "till 7")
    api = Api(server.url, made["text"])
    assert api.get("members/m/balance").status_code == 200
    listed = [json.loads(line) for line in loyalty("key", "list", "--json").stdout.splitlines()]
    assert made["key"] in [one["key"] for one in listed]
    secret = made["text"].removeprefix(f"loyalty_{made['key']}_")  # which may have a _ itself
    assert not any(secret in json.dumps(one) for one in listed)
    loyalty("key", "revoke", made["key"])
    wait_for(lambda: api.get("").status_code == 401)
    api.close()
    loyalty("key", "revoke", "nothing", exit_code=1)
    loyalty("key", "create", "x", "--role", "reader", "--programme", "nowhere", exit_code=3)
    loyalty("key", "create", "x", "--role", "king", "--programme", "club", exit_code=2)


def test_the_documented_table_is_the_one_that_holds() -> None:
    assert ALLOWED["purchases"] == access.TRADE
    assert ALLOWED["merges"] == access.CARE
    assert ALLOWED["terms"] == access.RULES
    assert ALLOWED["GET balance"] == access.MEMBER_FIGURES
    assert ALLOWED["GET changes"] == access.FIGURES
    assert ALLOWED["GET rejected"] == access.REFUSED
