"""SQL, HTML and other code as the text of every field of every command: kept and given back as it is, run by nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.store.database import Database
from service.http.command_routes import CREATE_PROGRAMME, ROUTES
from tests.cli.running import recorded
from tests.http.conftest import Keyed
from tests.http.serving import AT, TERMS, Api, Server

TEXTS = {
    "SQL": "'; DROP TABLE events; --",
    "SQL in quotes": "\") OR 1=1; COPY t TO PROGRAM 'id' $$",
    "HTML": "<script>alert(1)</script>&lt;\"'><img src=x onerror=alert(1)>",
    "templates": "{{7*7}} ${jndi:ldap://x} %s %(x)s {0.__class__} $(id)",
    "other scripts": "é 会员 \N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}\N{PILE OF POO} \\ \\u0041 /../",
}
DAY = "2026-03-01"
LATER = "2026-04-01"
BEFORE = "2026-02-01"
Posted = tuple[str, dict[str, Any]]


def every_command(text: str) -> Iterator[Posted]:
    """Path and body of every command but one, each of which is recorded after those before it; with the text in every
    field that may have it, names of fields that are the sender's own among them.
    """
    numbers = iter(range(1_000))

    def say(path: str, **fields: Any) -> Posted:
        return path, {"id": f"{text} {next(numbers)}", "occurred_at": AT, **fields}

    ann, bob = {"member": f"{text} a"}, {"member": f"{text} b"}
    where = {"channel": text, "store": text}
    own = {"owner": text, "due_on": LATER}
    line = {"sku": text, "quantity": 1, "amount_minor": 100_000}

    yield say("terms", document=TERMS | {"name": text})
    yield say("members", **ann, **where, attributes={text: text})
    yield say("members", **bob, referrer=ann["member"])
    yield say("profiles", **ann, personal={text: text}, attributes={text: text})
    yield (bought := say("purchases", **ann, **where, currency="USD", lines=[line | {"category": text}]))
    order = bought[1]["id"]
    yield say(
        "returns", **ann, **where, currency="USD", purchase=order, reason=text, lines=[line | {"amount_minor": 100}]
    )
    yield (spent := say("redemptions", **ann, points=5, reason=text))
    yield say("reversals", **ann, redemption=spent[1]["id"], reason=text)
    yield (held := say("holds", **ann, points=5, reason=text))
    yield say("captures", **ann, hold=held[1]["id"], reason=text)
    yield (held := say("holds", **ann, points=5, reason=text))
    yield say("releases", **ann, hold=held[1]["id"], reason=text)
    yield say("transfers", **ann, to=bob["member"], points=5, reason=text)
    yield say("accruals", **ann, points=5, reason=text)
    yield say("clawbacks", **ann, points=5, reason=text)
    yield say("adjustments", **ann, points=5, reason=text, approver=text)
    yield say("survey-definitions", survey=text, instrument="CSAT", scale=[1, 10], questions=[text], name=text,
              touchpoint=text)  # fmt: skip
    yield say("survey-answers", **ann, **where, instrument="CSAT", survey=text, answers={text: 9}, scale=[1, 10],
              touchpoint=text, purchase=order)  # fmt: skip
    yield say("survey-answers", **ann, instrument="NPS", answers={text: 9, f"{text} why": text}, scale=[0, 10])
    yield (complaint := say("complaints", **ann, **where, category=text, touchpoint=text, purchase=order))
    yield say("complaint-resolutions", **ann, complaint=complaint[1]["id"], outcome=text)
    yield (due := say("follow-ups", **ann, due_at=f"{LATER}T00:00:00Z", reason=text, touchpoint=text, channel=text))
    yield say("follow-up-completions", **ann, follow_up=due[1]["id"], outcome=text)
    yield say("costs", **ann, currency="USD", amount_minor=5, kind=text)
    yield say("wallet-shares", **ann, currency="USD", yearly_spend_minor=5)
    yield say("analyses", inactive_after_days=30, bands=[{"name": text, "share_percent": "100"}])
    for only in ("channel", "store", "touchpoint"):
        yield say("baselines", chart=f"{text} {only}", kind="individuals", figure="nps", period="day", from_on=BEFORE,
                  until_on=DAY, points=20, centre="1", sigma="1", **{only: text})  # fmt: skip
    yield say("objectives", objective=text, name=text, comparator=">=", target="5", unit=text, direction="up",
              period="month", owner=text)  # fmt: skip
    yield say("measurements", objective=text, period_on=DAY, value="4", evidence=text)
    yield (wrong := say("nonconformities", what=text, objective=text, **own))
    yield say("causes", nonconformity=wrong[1]["id"], cause=text, **own)
    yield (action := say("corrective-actions", nonconformity=wrong[1]["id"], what=text, **own))
    step = {"nonconformity": wrong[1]["id"], "action": action[1]["id"], "evidence": text}
    yield say("corrective-action-completions", **step, done_by=f"{text} too", **own)
    yield say("corrective-action-verifications", **step, effective=True, verified_by=text)
    yield say("budgets", direction="top_down", level="segment", who=f"{text}={text}", measure="revenue", from_on=DAY,
              until_on=LATER, value="5")  # fmt: skip
    yield say("focus-audits", factor="information", scale=[0, 10], assessor=text, segment=f"{text}={text}",
              items=[{"item": text, "score": 5, "evidence": text}])  # fmt: skip
    yield say("merges", **bob, into=ann["member"], reason=text)
    yield say("merge-undos", **bob, reason=text)
    yield say("closures", **bob, reason=text)
    yield say("erasures", **ann, reason=text)


SEALED = {"profiles", "survey-answers"}
"""What is personal in these is not in the log to be read."""


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_field_of_every_command(api: Api, name: str) -> None:
    text = TEXTS[name]
    expiries = CREATE_PROGRAMME.path, "expiries"
    assert {path for path, _ in every_command(text)} == {route.path for route in ROUTES} - set(expiries)
    for path, body in every_command(text):
        answer = api.post(path, body)
        assert answer.status_code == 201, (path, answer.text)
        assert answer.headers["content-type"] == "application/json"
        said = answer.json()
        assert said["id"] == body["id"]
        after = f"{said['journal']}:{said['first'] - 1}"
        events = [one for one in _changes(api, after) if said["first"] <= one["position"] <= said["last"]]
        kept = [one["data"] for one in events if one["journal"] == said["journal"]]
        assert kept[0]["id"] == body["id"]
        for field, value in body.items():
            for found in [data[field] for data in kept if field in data and path not in SEALED]:
                assert _same(found, value, text), (path, field)
        if path not in SEALED:
            assert json.dumps(text)[1:-1] in json.dumps(kept), path


def _changes(api: Api, after: str) -> list[Any]:
    found: list[Any] = api.get("changes", params={"after": after, "limit": 1_000}).json()["events"]
    return found


def _same(found: Any, value: Any, text: str) -> bool:
    """Whether what was recorded of a field has the text wherever what was sent has it; the ledger may add to it."""
    if isinstance(value, dict):
        return all(key in found and _same(found[key], value[key], text) for key in value)
    if isinstance(value, list):
        return all(_same(one, other, text) for one, other in zip(found, value, strict=True))
    return bool(found == value) or not (isinstance(value, str) and text in value)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_refusal_says_it_as_text(api: Api, text: str, server: Server) -> None:
    """In JSON, whatever it was asked in; nothing is recorded."""
    before = recorded(server.dsn)
    for path, body in every_command(text):
        for broken in (body | {"occurred_at": text}, body | {text: text}, {"id": text}):
            answer = api.post(path, broken)
            assert answer.status_code == 400, (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "INVALID_FIELD"
    for parameters in ({"after": text}, {"limit": text}):
        answer = api.get("changes", params=parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert recorded(server.dsn) == before


def test_the_programme_and_the_source_too(keyed: Keyed, keys: Database) -> None:
    admin = keyed("admin", None, source=TEXTS["HTML"])
    body = {"id": TEXTS["SQL"], "programme": "quoted", "currency": "USD", "occurred_at": AT}
    assert admin.client.post("/v1/programmes", json=body).json()["source"] == TEXTS["HTML"]
    for text in TEXTS.values():
        refused = admin.client.post("/v1/programmes", json=body | {"id": "x", "programme": text})
        assert (refused.status_code, refused.json()["field"]) == (400, "programme")
