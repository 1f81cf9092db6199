"""The AsyncAPI document: well formed, complete, and true to what is published."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consumers.cloud_events import decode_message
from consumers.dead_letters import DeadLetter, error_headers
from consumers.inbound import COMMAND_TYPES
from consumers.record_batches import field, header
from consumers.relay import BALANCES_TOPIC, TOPIC
from consumers.relayed_balances import MemberBalance
from consumers.relayed_events import EventLayout, partition_of
from ledger.codec import MEMBER_STREAM, PROGRAMME_STREAM
from ledger.events import TOPICS, MemberEvent
from ledger.submissions import Malformed
from tests.kafka.test_cloud_events import TAKEN

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
NAME = re.compile(r"[A-Za-z0-9._-]+")


@cache
def document() -> Any:
    return json.loads((SCHEMAS / "asyncapi.json").read_bytes())


def messages() -> Any:
    return document()["components"]["messages"]


def followed(reference: str) -> Any:
    found = document()
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


# --- the objects that AsyncAPI 3.0 asks for -------------------------------------------------------------------------


def test_the_root_has_what_it_must_and_nothing_else() -> None:
    assert document()["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document()["info"].keys()
    allowed = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert document().keys() <= allowed


def test_channels_have_an_address_and_their_messages_by_reference() -> None:
    for name, channel in document()["channels"].items():
        assert NAME.fullmatch(name)
        assert channel["address"] == channel["bindings"]["kafka"]["topic"]
        assert channel["description"]
        assert channel["messages"]
        for message, reference in channel["messages"].items():
            assert reference == {"$ref": f"#/components/messages/{message}"}
            assert message in messages()


def test_operations_have_an_action_and_a_channel_by_reference() -> None:
    for operation in document()["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert followed(operation["channel"]["$ref"])["address"]
    used = {operation["channel"]["$ref"] for operation in document()["operations"].values()}
    assert used == {f"#/channels/{name}" for name in document()["channels"]}


def test_messages_have_the_fields_of_messages() -> None:
    allowed = {"name", "title", "summary", "description", "contentType", "headers", "payload", "bindings", "tags"}
    for name, message in messages().items():
        assert NAME.fullmatch(name)
        assert message.keys() <= allowed
        assert message["summary"]
        assert message["bindings"]["kafka"]["key"]
        assert message.get("headers", {"type": "object"})["type"] == "object"
        if "schemaFormat" in (payload := message.get("payload", {})):
            assert payload.keys() == {"schemaFormat", "schema"}


def test_every_reference_leads_somewhere() -> None:
    found = list(references(document()))
    assert len(found) > 100
    for reference in found:
        if reference.startswith("#/"):
            assert followed(reference)
        else:
            assert (SCHEMAS / reference).is_file(), reference


# --- complete -----------------------------------------------------------------------------------------------------


def test_every_topic_is_there() -> None:
    addresses = {name: channel["address"] for name, channel in document()["channels"].items()}
    assert addresses == {
        "inbound": "loyalty.inbound",
        "deadLetters": "loyalty.inbound.dlq",
        "events": TOPIC,
        "balances": BALANCES_TOPIC,
    }


def test_every_command_and_event_is_on_its_topic_with_its_schema() -> None:
    for channel, names, folder in (("inbound", COMMAND_TYPES, "inbound"), ("events", TOPICS, "events")):
        assert names.keys() <= document()["channels"][channel]["messages"].keys()
        for name in names:
            assert messages()[name]["payload"]["schema"] == {"$ref": f"./{folder}/{name}.json"}


# --- true ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TAKEN if name.startswith(("binary", "structured"))])
def test_the_events_that_are_taken_are_those_described(name: str) -> None:
    value, given_headers = TAKEN[name]
    if name.startswith("structured") or "base64" in name:
        Draft202012Validator(messages()["structuredEvent"]["payload"]).validate(
            {key: item for key, item in json.loads(value).items() if item is not None}
        )
    told = {header.lower(): (text or b"").decode() for header, text in given_headers}
    described = messages()["structuredEvent" if name.startswith("structured") else "binaryEvent"]["headers"]
    Draft202012Validator(described).validate(told)


@settings(max_examples=50)
@given(
    st.sets(st.sampled_from(["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject"]), min_size=1)
)
def test_a_header_that_the_document_requires_is_required(left_out: set[str]) -> None:
    value, given_headers = TAKEN["binary, all said twice"]
    required = {*messages()["binaryEvent"]["headers"]["required"]}
    found = decode_message(value, [pair for pair in given_headers if pair[0] not in left_out])
    assert isinstance(found, Malformed) == bool(required & left_out) or left_out >= {*dict(given_headers)} - {
        "content-type"
    }


@pytest.mark.parametrize("topic", TOPICS)
def test_a_published_event_has_the_headers_described(topic: str) -> None:
    of_member = issubclass(TOPICS[topic], MemberEvent)
    stream = MEMBER_STREAM + "M1" if of_member else PROGRAMME_STREAM + "demo"
    row = (7, stream, topic, '{"occurred_at":"2026-02-01T00:00:00Z"}', "2026-02-01 00:00:01.5+00")
    ((batch,),) = EventLayout(TOPIC, 1).lay_out({3: ("demo", [row])}, {}).values()
    body = batch.body()
    expected = {
        "ce_specversion": "1.0",
        "ce_type": topic,
        "ce_source": "/loyalty/programmes/demo",
        "content-type": "application/json",
        "ce_id": "3:7",
        "ce_time": "2026-02-01T00:00:00Z",
        "ce_recordedtime": "2026-02-01T00:00:01.5Z",
        **({"ce_subject": "M1"} if of_member else {}),
    }
    described = messages()[topic]["headers"]
    Draft202012Validator(described).validate(expected)
    assert {*described["required"]} == expected.keys()
    for name, text in expected.items():
        assert body.count(header(name, text.encode())) == 1, name


def test_what_steers_a_programme_has_its_name_for_a_key() -> None:
    """Programmes have streams of one name; all of a programme's own events are in one partition, in their order."""
    layout = EventLayout(TOPIC, 64)
    names = ("coffee", "grocery")
    rows = [
        (position, stream, "analysis-set.v1", '{"occurred_at":"2026-02-01T00:00:00Z"}', "2026-02-01 00:00:01+00")
        for position, stream in enumerate(("programme-{}", "analysis", "survey-delivery", "member-analysis"), start=1)
    ]
    for _ in range(2):  # also from what it keeps
        for journal, name in enumerate(names, start=1):
            here = [(position, stream.format(name), *rest) for position, stream, *rest in rows]
            laid_out = layout.lay_out({journal: (name, here)}, {})  # type: ignore[dict-item]
            bodies = {each.partition: batch.body() for each, (batch,) in laid_out.items()}
            assert set(bodies) == {partition_of(key.encode(), 64) for key in (name, "analysis")}
            assert bodies[partition_of(name.encode(), 64)].count(field(name.encode())) >= 3
            assert b"ce_subject" not in bodies[partition_of(name.encode(), 64)]
            assert bodies[partition_of(b"analysis", 64)].count(header("ce_subject", b"analysis")) == 1


def test_a_published_balance_fits_its_schema() -> None:
    schema = Draft202012Validator(json.loads((SCHEMAS / "balance.v1.json").read_bytes()))
    balance = {field.name: 0 for field in msgspec.structs.fields(MemberBalance)} | {
        "programme": "demo",
        "member": "M1",
        "status": "active",
        "next_expiry_at": None,
        "as_of": "2026-02-01T00:00:00Z",
    }
    schema.validate(json.loads(msgspec.json.encode(msgspec.convert(balance, MemberBalance))))
    for name in balance:
        assert not schema.is_valid({key: value for key, value in balance.items() if key != name})


def test_a_dead_letter_has_the_headers_described() -> None:
    letter = DeadLetter(
        number=1, topic="t", partition=0, offset=0, timestamp_ms=0, key=None, value=None, headers=[], code="NOT_JSON",
        field="message", reason="must be JSON", refused_value="x",
    )  # fmt: skip
    described = messages()["deadLetter"]["headers"]
    assert [name for name, _ in error_headers(letter)] == described["required"]
    assert all(each["description"] for each in described["properties"].values())
