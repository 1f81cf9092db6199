"""Commands over HTTP: what they answer, sent again, only tried, and in batches."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.cli.running import recorded
from tests.http.conftest import Keyed
from tests.http.serving import AT, Api, Server, enrolled, new, purchase


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert (found["code"], found["status"]) == (code, status)
    return found


def test_points_are_earned_and_spent(api: Api) -> None:
    member = enrolled(api)
    bought = api.post("purchases", purchase(member, 50_000))
    assert bought.status_code == 201
    spent = api.post("redemptions", {"id": new("r"), "member": member, "points": 120, "occurred_at": AT})
    said = spent.json()
    assert (said["status"], said["source"], said["dry_run"]) == ("posted", "till", False)
    assert spent.headers["Ledger-Position"] == f"{said['journal']}:{said['last']}"
    balance = api.read(f"members/{member}/balance", spent)
    assert (balance["active"], balance["spent"], balance["position"]) == (380, 120, said["last"])


def test_a_command_sent_again_is_recorded_once(api: Api) -> None:
    member = enrolled(api, 50_000)
    body = {"member": member, "points": 100, "occurred_at": AT}
    key = {"Idempotency-Key": new("r")}
    first = api.post("redemptions", body, headers=key)
    again = api.post("redemptions", body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"status": "duplicate"}
    assert again.headers["Ledger-Position"] == first.headers["Ledger-Position"]
    assert api.read(f"members/{member}/balance", first)["spent"] == 100
    other = api.post("redemptions", body | {"points": 101}, headers=key)
    assert problem(other, 422, "IDEMPOTENCY_CONFLICT")["field"] == "id"


def test_the_key_may_be_quoted_and_must_agree_with_the_body(api: Api) -> None:
    member = enrolled(api, 50_000)
    body = {"member": member, "points": 100, "occurred_at": AT}
    name = new("r")
    assert api.post("redemptions", body, headers={"Idempotency-Key": f'"{name}"'}).json()["id"] == name
    assert api.post("redemptions", body | {"id": name}, headers={"Idempotency-Key": name}).status_code == 200
    refused = api.post("redemptions", body | {"id": "another"}, headers={"Idempotency-Key": name})
    assert problem(refused, 400, "INVALID_FIELD")["field"] == "id"
    assert problem(api.post("redemptions", body), 400, "INVALID_FIELD")["field"] == "id"
    for bad in ("", '""', "x" * 129, "a\tb"):
        refused = api.post("redemptions", body, headers={"Idempotency-Key": bad})
        assert problem(refused, 400, "INVALID_FIELD")["field"] in ("Idempotency-Key", "id")


def test_a_refusal_says_code_field_and_rule(api: Api) -> None:
    member = enrolled(api, 50_000)
    body = {"id": new("r"), "member": member, "points": 501, "occurred_at": AT}
    found = problem(api.post("redemptions", body), 422, "INSUFFICIENT_POINTS")
    assert found["field"] == "points"
    assert "501" in found["value"]
    assert found["type"] == "urn:loyalty-ledger:problem:INSUFFICIENT_POINTS"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "NOT_JSON", "message"),
        (b"[]", "NOT_JSON", "message"),
        (b'{"points": 1', "NOT_JSON", "message"),
        (b"\xff\xfe", "NOT_UTF8", "message"),
        (b'{"id": "x", "member": "m", "occurred_at": "2026-01-01T00:00:00Z", "points": 0}', "INVALID_FIELD", "points"),
        (b'{"id": "x", "member": "m", "occurred_at": "2026-01-01", "points": 1}', "INVALID_FIELD", "occurred_at"),
        (b'{"id": "x", "member": "m\\u0000", "occurred_at": "2026-01-01T00:00:00Z", "points": 1}', "INVALID_FIELD",
         "member"),
        (b'{"id": "x", "pionts": 1}', "INVALID_FIELD", "pionts"),
        (b'{"type": "purchase.v1"}', "INVALID_FIELD", "type"),
        (b'{"programme": "other"}', "INVALID_FIELD", "programme"),
        (b'{"id": "x", "source": "somebody else"}', "INVALID_FIELD", "source"),
        (b"[" * 100_000, "NOT_JSON", "message"),
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused_in_words(api: Api, body: bytes, code: str, field: str) -> None:
    answer = api.client.post("/v1/programmes/club/redemptions", content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] in (code, "INVALID_FIELD")
    assert answer.json()["field"] in (field, "message")


def test_an_oversized_body_is_refused(api: Api) -> None:
    problem(api.client.post("/v1/programmes/club/purchases", content=b" " * (1 << 21)), 413, "MESSAGE_TOO_LARGE")
    chunks = (b" " * 65_536 for _ in range(32))
    problem(api.client.post("/v1/programmes/club/purchases", content=chunks), 413, "MESSAGE_TOO_LARGE")


def test_a_dry_run_answers_alike_and_records_nothing(api: Api, server: Server) -> None:
    member, nobody = enrolled(api, 50_000), new()
    tried: list[tuple[str, dict[str, Any]]] = [
        ("redemptions", {"id": new("r"), "member": member, "points": 100, "occurred_at": AT}),
        ("redemptions", {"id": new("r"), "member": member, "points": 401, "occurred_at": AT}),
        ("redemptions", {"id": new("r"), "member": nobody, "points": 1, "occurred_at": AT}),
        ("members", {"id": new("e"), "member": nobody, "occurred_at": AT}),
        ("members", {"id": new("e"), "member": member, "occurred_at": AT}),
        ("transfers", {"id": new("t"), "member": member, "to": enrolled(api), "points": 10, "occurred_at": AT}),
        ("profiles", {"id": new("f"), "member": member, "personal": {"name": "Ada"}, "occurred_at": AT}),
        ("terms", {"id": new("t"), "document": {}, "occurred_at": AT}),
        ("survey-definitions", {"id": new("s"), "survey": "s", "instrument": "NPS", "scale": [0, 10],
                                "questions": ["q"], "occurred_at": AT}),
        ("erasures", {"id": new("x"), "member": member, "occurred_at": AT}),
    ]  # fmt: skip
    before = recorded(server.dsn)
    for path, body in tried:
        dry = api.post(path, body, params={"dry_run": "true"})
        assert "Ledger-Position" not in dry.headers
        assert recorded(server.dsn) == before
        real = api.post(path, body)
        before = recorded(server.dsn)
        if real.status_code == 201:
            assert dry.status_code == 200
            assert dry.json() == real.json() | {"dry_run": True}
        else:
            assert (dry.status_code, dry.json()) == (real.status_code, real.json())


def test_a_programme_is_only_tried(keyed: Keyed, server: Server) -> None:
    admin = keyed("admin", None)
    body = {"id": "p", "programme": "third", "currency": "USD", "occurred_at": AT}
    before = recorded(server.dsn)
    assert admin.client.post("/v1/programmes", json=body, params={"dry_run": "true"}).status_code == 200
    assert recorded(server.dsn) == before
    assert admin.client.get("/v1/programmes/third").status_code == 404
    answer = admin.client.post("/v1/programmes", json=body)
    assert answer.status_code == 201
    problem(admin.client.post("/v1/programmes", json=body | {"id": "q"}), 409, "PROGRAMME_EXISTS")


def test_batches_answer_each_in_order(api: Api) -> None:
    members = [enrolled(api) for _ in range(5)]
    bodies = [purchase(members[number % 5], 100 * number) for number in range(100)]
    bodies[7] = bodies[3]  # sent twice in one batch
    bodies[11] = purchase(new(), 100)
    bodies[13] = {"id": "thirteen", "member": 13}
    bodies[17] = purchase(members[0], 100, currency="EUR")
    dry = api.post("purchase-batches", {"purchases": bodies}, params={"dry_run": "true"})
    answer = api.post("purchase-batches", {"purchases": bodies})
    assert (dry.status_code, answer.status_code) == (200, 200)
    assert dry.json() == answer.json() | {"dry_run": True}
    results = answer.json()["results"]
    assert [one["id"] for one in results] == [body["id"] for body in bodies]
    refused = {number: one["problem"]["code"] for number, one in enumerate(results) if one["status"] == "rejected"}
    assert refused == {11: "MEMBER_UNKNOWN", 13: "INVALID_FIELD", 17: "CURRENCY_MISMATCH"}
    assert results[7] == results[3] | {"status": "duplicate"}
    assert {one["status"] for one in results} == {"posted", "duplicate", "rejected"}
    again = api.post("purchase-batches", {"purchases": bodies})
    assert {one["status"] for one in again.json()["results"]} == {"duplicate", "rejected"}
    points = sum(api.read(f"members/{member}/balance", answer)["active"] for member in members)
    taken = {body["id"]: body["lines"][0]["amount_minor"] for n, body in enumerate(bodies) if n not in refused}
    assert points == sum(minor // 100 for minor in taken.values())


@pytest.mark.parametrize("count", [0, 5_001])
def test_a_batch_has_1_to_5000_purchases(api: Api, count: int) -> None:
    answer = api.post("purchase-batches", {"purchases": [{}] * count})
    assert problem(answer, 400, "INVALID_FIELD")["field"] == "purchases"


def test_every_command_has_a_route() -> None:
    from consumers.inbound import COMMAND_TYPES
    from service.http.command_routes import CREATE_PROGRAMME, ROUTES

    assert sorted(route.type for route in (CREATE_PROGRAMME, *ROUTES)) == sorted(COMMAND_TYPES)
    assert len({route.path for route in ROUTES}) == len(ROUTES)
