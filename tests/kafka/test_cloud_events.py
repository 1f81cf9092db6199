"""Kafka records that are CloudEvents, in both modes, and plain messages: one command of each, or words."""

from __future__ import annotations

import base64
import json
import string
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.cloud_events import FIELDS, Headers, decode_message
from consumers.inbound import MESSAGE_BYTES_MAX, decode
from ledger.submissions import Malformed
from tests.inbound.messages import FOLLOW_UP, PURCHASE, SURVEY

AT = "2026-11-20T04:19:52.161606Z"
ATTRIBUTES = {
    "specversion": "1.0",
    "type": "purchase.v1",
    "id": "order-4711",
    "source": "pos",
    "time": AT,
    "subject": "M0001",
}
WHOLE = json.loads(PURCHASE)
DATA = {name: value for name, value in WHOLE.items() if name not in FIELDS.values()}
"""The purchase without what its attributes say."""
EVENT = "application/cloudevents+json"
UNPRINTABLE = {*map(chr, range(32)), "\x7f"}


def headers(content_type: str | None = "application/json", **changed: Any) -> list[tuple[str, bytes | None]]:
    """The headers of the purchase, with some changed; one that is ... is left out."""
    attributes = {name: value for name, value in {**ATTRIBUTES, **changed}.items() if value is not ...}
    made = [(f"ce_{name}", value.encode() if isinstance(value, str) else value) for name, value in attributes.items()]
    return [*made, ("content-type", content_type.encode())] if content_type is not None else made


def binary(data: Any = DATA, content_type: str | None = "application/json", **changed: Any) -> tuple[bytes, Headers]:
    return json.dumps(data).encode(), headers(content_type, **changed)


def structured(content_type: str = EVENT, **changed: Any) -> tuple[bytes, Headers]:
    envelope = {**ATTRIBUTES, "data": DATA, **changed}
    value = json.dumps({name: value for name, value in envelope.items() if value is not ...}).encode()
    return value, [("content-type", content_type.encode())]


def refused(value: bytes | None, headers: Headers) -> Malformed:
    found = decode_message(value, headers)
    assert isinstance(found, Malformed), found
    return found


# --- what is taken ------------------------------------------------------------------------------------------------

TAKEN: dict[str, tuple[bytes, Headers]] = {
    "plain, no headers": (PURCHASE, ()),
    "plain, headers of others": (PURCHASE, [("traceparent", b"00-1-2-01"), ("traceparent", b"\xff"), ("x", None)]),
    "plain, as JSON": (PURCHASE, [("content-type", b"application/json")]),
    "plain, whatever its content type": (PURCHASE, [("content-type", b"application/octet-stream")]),
    "binary": binary(),
    "binary, all said twice": binary(WHOLE),
    "binary, no content type": binary(content_type=None),
    "binary, a content type of JSON": binary(content_type="Application/Vnd.Pos+JSON; Charset=UTF-8"),
    "binary, no time": binary({**DATA, "occurred_at": AT}, time=...),
    "binary, the same time elsewhere": binary({**DATA, "occurred_at": AT}, time="2026-11-20T12:19:52.161606+08:00"),
    "binary, no subject": binary({**DATA, "member": "M0001"}, subject=...),
    "binary, a type with a prefix": binary(type="com.example.shop.purchase.v1"),
    "binary, extensions": binary(dataschema="urn:x", partitionkey="M0001", traceparent="00-1-2-01"),
    "binary, names in capitals": (json.dumps(DATA).encode(), [(name.upper(), text) for name, text in headers()]),
    "binary, spaces around the data": (b"\n { " + json.dumps(DATA).encode()[1:] + b"\n", headers()),
    "binary, escaped names": (json.dumps(WHOLE).replace('"id"', '"\\u0069d"').encode(), headers()),
    "structured": structured(),
    "structured, all said twice": structured(data=WHOLE),
    "structured, in capitals": structured("APPLICATION/CloudEvents+JSON; charset=utf-8"),
    "structured, no format": structured("application/cloudevents"),
    "structured, null for nothing": structured(datacontenttype=None, data_base64=None, dataschema=None),
    "structured, a content type of the data": structured(datacontenttype="application/json"),
    "structured, base64": structured(data=..., data_base64=base64.b64encode(json.dumps(DATA).encode()).decode()),
    "structured, headers beside it": (structured()[0], [*structured()[1], ("ce_id", b"another")]),
}


@pytest.mark.parametrize("record", TAKEN.values(), ids=TAKEN)
def test_every_shape_is_the_same_command(record: tuple[bytes, Headers]) -> None:
    assert decode_message(*record) == decode(PURCHASE)


def test_the_programme_is_that_of_the_way_in_where_the_message_names_none() -> None:
    data = {name: value for name, value in DATA.items() if name != "programme"}
    for record in (binary(data), structured(data=data)):
        assert getattr(decode_message(*record, programme="demo"), "programme", "") == "demo"
        assert refused(*record).rejection.code == "PROGRAMME_MISSING"


def test_data_may_be_empty_where_the_attributes_say_it_all() -> None:
    for text in (b"{}", b" { } "):
        found = decode_message(text, headers(type="expiry.v1"), programme="demo")
        assert not isinstance(found, Malformed), found
        assert found == decode(
            b'{"type":"expiry.v1","id":"order-4711","source":"pos","programme":"demo","member":"M0001",'
            b'"occurred_at":"2026-11-20T04:19:52.161606Z"}'
        )


def test_a_command_without_a_member_leaves_the_subject_alone() -> None:
    data = {"programme": "demo", "currency": "CNY"}
    found = decode_message(*binary(data, type="programme.v1", subject="demo"))
    assert not isinstance(found, Malformed), found


def test_a_message_of_the_largest_size_is_taken_whatever_its_attributes_add() -> None:
    value = json.dumps(DATA).encode().ljust(MESSAGE_BYTES_MAX)
    assert decode_message(value, headers()) == decode(PURCHASE)
    found = refused(value + b" ", headers())
    assert (found.rejection.code, found.id, found.member) == ("MESSAGE_TOO_LARGE", "order-4711", "M0001")


# --- what is refused ----------------------------------------------------------------------------------------------

LINES = [{"sku": "A1", "quantity": 2, "amount_minor": -1}]

REFUSED: dict[str, tuple[bytes | None, Headers, str, str, str]] = {
    # the record: value, headers → code, field, part of the rule
    "null, plain": (None, (), "INVALID_FIELD", "message", "null"),
    "null, binary": (None, headers(), "INVALID_FIELD", "message", "null"),
    "null, structured": (None, structured()[1], "INVALID_FIELD", "message", "null"),
    "empty, plain": (b"", (), "NOT_JSON", "message", "it is empty"),
    "empty, binary": (b"", headers(), "NOT_JSON", "message", "it is empty"),
    "empty, structured": (b"", structured()[1], "NOT_JSON", "message", "it is empty"),
    "a header twice": (*binary()[:1], [*headers(), ("ce_id", b"b")], "INVALID_FIELD", "ce_id", "once, not 2 times"),
    "a content type twice": (
        *structured()[:1],
        [*structured()[1], ("Content-Type", b"application/json")],
        "INVALID_FIELD",
        "content-type",
        "once",
    ),
    "binary, no specversion": (*binary(specversion=...), "INVALID_FIELD", "ce_specversion", "is required"),
    "binary, no id": (*binary(id=...), "INVALID_FIELD", "ce_id", "is required"),
    "binary, no source": (*binary(source=...), "INVALID_FIELD", "ce_source", "is required"),
    "binary, no type": (*binary(type=...), "INVALID_FIELD", "ce_type", "is required"),
    "binary, no type but in the data": (*binary(WHOLE, type=...), "INVALID_FIELD", "ce_type", "is required"),
    "binary, another version": (*binary(specversion="0.3"), "INVALID_FIELD", "ce_specversion", "must be 1.0"),
    "binary, an empty id": (*binary(id=""), "INVALID_FIELD", "ce_id", "must not be empty"),
    "binary, an empty subject": (*binary(subject=""), "INVALID_FIELD", "ce_subject", "must not be empty"),
    "binary, a null header": (*binary(time=None), "INVALID_FIELD", "ce_time", "not null"),
    "binary, not UTF-8": (*binary(source=b"\xff\xfe"), "INVALID_FIELD", "ce_source", "must be UTF-8"),
    "binary, XML": (*binary(content_type="application/xml"), "INVALID_FIELD", "content-type", "must be JSON"),
    "binary, Avro": (*binary(content_type="avro/binary"), "INVALID_FIELD", "content-type", "must be JSON"),
    "binary, Latin 1": (
        *binary(content_type="application/json; charset=iso-8859-1"),
        "INVALID_FIELD",
        "content-type",
        "charset utf-8",
    ),
    "binary, a long content type": (
        *binary(content_type="application/json;" + "x" * 200),
        "INVALID_FIELD",
        "content-type",
        "at most 128 bytes",
    ),
    "binary, an unknown type": (*binary(type="sale.v1"), "UNKNOWN_TYPE", "ce_type", "not a type that the ledger"),
    "binary, an unknown version": (*binary(type="com.x.purchase.v9"), "UNKNOWN_TYPE", "ce_type", "takes purchase.v1"),
    "binary, no time at all": (
        *binary(time=...),
        "INVALID_FIELD",
        "occurred_at",
        "required, in the data or as ce_time",
    ),
    "binary, no member": (*binary(subject=...), "INVALID_FIELD", "member", "required, in the data or as ce_subject"),
    "binary, no instant": (*binary(time="yesterday"), "INVALID_FIELD", "ce_time", "RFC 3339"),
    "binary, no offset": (*binary(time="2026-11-20T04:19:52"), "INVALID_FIELD", "ce_time", "offset from UTC"),
    "binary, no instant beside one": (*binary(WHOLE, time="yesterday"), "INVALID_FIELD", "ce_time", "RFC 3339"),
    "binary, before the year 1": (
        *binary(time="0001-01-01T00:00:00+08:00"),
        "OCCURRED_AT_OUT_OF_RANGE",
        "ce_time",
        "years 1 to 9999",
    ),
    "binary, a long id": (*binary(id="x" * 129), "INVALID_FIELD", "ce_id", "at most 128 characters"),
    "binary, a control character": (*binary(id="a\x00b"), "INVALID_FIELD", "ce_id", "control characters"),
    "binary, a list": (*binary([1]), "NOT_JSON", "message", "must be a JSON object"),
    "binary, text": (*binary("x"), "NOT_JSON", "message", "must be a JSON object"),
    "binary, broken": (b'{"lines":[}', headers(), "NOT_JSON", "message", "(byte 10)"),
    "binary, data not UTF-8": (b'{"store":"\xff"}', headers(), "NOT_UTF8", "message", "byte 10"),
    "binary, a bad line": (*binary({**DATA, "lines": LINES}), "INVALID_FIELD", "lines[0].amount_minor", "at least 0"),
    "binary, an unknown field": (*binary({**DATA, "store_": ""}), "INVALID_FIELD", "store_", "did you mean store"),
    "binary, null for an id": (*binary({**DATA, "id": None}), "INVALID_FIELD", "id", "must be text, not null"),
    "binary, another type": (*binary({**DATA, "type": "hold.v1"}), "INVALID_FIELD", "ce_type", "hold.v1"),
    "binary, another id": (*binary({**DATA, "id": "o-2"}), "INVALID_FIELD", "ce_id", "which is o-2"),
    "binary, another source": (*binary({**DATA, "source": "web"}), "INVALID_FIELD", "ce_source", "which is web"),
    "binary, another time": (
        *binary({**DATA, "occurred_at": "2026-11-20T04:19:53Z"}),
        "INVALID_FIELD",
        "ce_time",
        "which is 2026-11-20T04:19:53+00:00",
    ),
    "binary, another member": (*binary({**DATA, "member": "M2"}), "INVALID_FIELD", "ce_subject", "which is M2"),
    "binary, an id, a long one in the data": (
        *binary({**DATA, "id": "x" * 129}),
        "INVALID_FIELD",
        "ce_id",
        "must be the same as id in the data",
    ),
    "binary, no instant in the data": (
        *binary({**DATA, "occurred_at": "yesterday"}),
        "INVALID_FIELD",
        "occurred_at",
        "RFC 3339",
    ),
    "binary, another id, escaped": (
        *(json.dumps({**DATA, "id": "o-2"}).replace('"id"', '"\\u0069d"').encode(), headers()),
        "INVALID_FIELD",
        "ce_id",
        "which is o-2",
    ),
    "structured, another version": (*structured(specversion="0.3"), "INVALID_FIELD", "specversion", "must be 1.0"),
    "structured, no id": (*structured(id=...), "INVALID_FIELD", "id", "is required"),
    "structured, a number for an id": (*structured(id=4711), "INVALID_FIELD", "id", "must be text"),
    "structured, another id": (*structured(data={**DATA, "id": "o-2"}), "INVALID_FIELD", "id", "which is o-2"),
    "structured, no data": (*structured(data=...), "INVALID_FIELD", "data", "is required"),
    "structured, null data": (*structured(data=None), "INVALID_FIELD", "data", "must be an object"),
    "structured, text for data": (*structured(data="{}"), "INVALID_FIELD", "data", "must be an object"),
    "structured, XML": (
        *structured(datacontenttype="application/xml", data="<a/>"),
        "INVALID_FIELD",
        "datacontenttype",
        "must be JSON",
    ),
    "structured, no base64": (*structured(data=..., data_base64="%%%"), "INVALID_FIELD", "data_base64", "base64"),
    "structured, base64 of no JSON": (*structured(data=..., data_base64="e30s"), "NOT_JSON", "data_base64", "byte 3"),
    "structured, base64 of a list": (*structured(data=..., data_base64="W10="), "NOT_JSON", "data_base64", "object"),
    "structured, data twice": (*structured(data_base64="e30="), "INVALID_FIELD", "data_base64", "beside data"),
    "structured, a batch": (
        *structured("application/cloudevents-batch+json"),
        "INVALID_FIELD",
        "content-type",
        "one event a record",
    ),
    "structured, Avro": (*structured("application/cloudevents+avro"), "INVALID_FIELD", "content-type", "as JSON"),
    "structured, broken": (b'{"id":"a",}', structured()[1], "NOT_JSON", "message", "(byte 10)"),
    "structured, a list": (b"[]", structured()[1], "NOT_JSON", "message", "must be a JSON object"),
    "structured, not UTF-8": (b'{"x":"\xff"}', structured()[1], "NOT_UTF8", "message", "byte 6"),
    "structured, data not UTF-8": (
        structured()[0].replace(b"mini-program", b"mini\xffprogram"),
        structured()[1],
        "NOT_UTF8",
        "message",
        "byte",
    ),
    "structured, deep": (
        structured(data=...)[0][:-1] + b',"data":{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
        structured()[1],
        "INVALID_FIELD",
        "message",
        "nest",
    ),
}


@pytest.mark.parametrize(("value", "given_headers", "code", "field", "words"), REFUSED.values(), ids=REFUSED)
def test_a_bad_record_is_refused_in_words(
    value: bytes | None, given_headers: Headers, code: str, field: str, words: str
) -> None:
    rejection = refused(value, given_headers).rejection
    assert (rejection.code, rejection.field) == (code, field), rejection
    assert words in rejection.rule, rejection


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("binary")])
def test_a_refused_event_keeps_the_identity_of_its_headers(name: str) -> None:
    """So that a refused message can be found by what its sender calls it."""
    value, given_headers, *_ = REFUSED[name]
    found = refused(value, given_headers)
    text = dict(given_headers)
    for header, kept in (("ce_id", found.id), ("ce_source", found.source)):
        if (content := text.get(header)) and content.isascii() and content.isalnum() and len(content) < 129:
            assert kept == content.decode()


def test_what_is_kept_of_a_refused_event_is_short_and_printable() -> None:
    found = refused(*binary(id="a\n" * 500))
    assert found.id == "a\N{REPLACEMENT CHARACTER}" * 64
    assert len(found.rejection.value) <= 128


def test_both_sides_of_a_difference_are_named() -> None:
    rejection = refused(*binary({**DATA, "source": "web"})).rejection
    assert (rejection.value, "which is web" in rejection.rule) == ("pos", True)


# --- the SDK as oracle --------------------------------------------------------------------------------------------

IDENTIFIERS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=("Cc", "Cs")), min_size=1, max_size=60
)
MESSAGES = st.sampled_from([PURCHASE, SURVEY, FOLLOW_UP]).map(json.loads)
PREFIXES = st.sampled_from(["", "com.example.", "io.github.a-b.c."])
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.builds(datetime.fromtimestamp, st.integers(0, 7_000_000_000_000_000).map(lambda at: at / 1e6), OFFSETS)


@settings(max_examples=400)
@given(MESSAGES, IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, INSTANTS, PREFIXES, st.sets(st.sampled_from(sorted(FIELDS))))
def test_what_the_sdk_writes_is_read_as_it_was_meant(
    message: dict[str, Any], ident: str, source: str, member: str, at: datetime, prefix: str, in_data: set[str]
) -> None:
    """In both modes, whatever the attributes are, and whichever of them the data says again."""
    message |= {"id": ident, "source": source, "member": member[:64], "occurred_at": at.isoformat()}
    expected = decode(json.dumps(message).encode())
    assert not isinstance(expected, Malformed), expected
    left_out = {field for attribute, field in FIELDS.items() if attribute not in in_data or attribute == "type"}
    attributes = {
        "specversion": "1.0",
        "type": prefix + message["type"],
        "id": ident,
        "source": source,
        "time": at,
        "subject": message["member"],
        "datacontenttype": "application/json",
    }
    data = {name: value for name, value in message.items() if name not in left_out}
    event = CloudEvent(attributes=attributes, data=data)
    for record in (to_binary_event(event), to_structured_event(event)):
        assert decode_message(record.value, list(record.headers.items())) == expected, record


@settings(max_examples=400)
@given(
    st.one_of(st.none(), st.binary(max_size=60), st.just(PURCHASE), st.just(structured()[0]), st.just(binary()[0])),
    st.lists(
        st.tuples(
            st.sampled_from([*(name for name, _ in headers()), "Content-Type", "CE_ID", "x"]),
            st.one_of(
                st.none(),
                st.binary(max_size=20),
                st.sampled_from([EVENT.encode(), b"application/json", *(text for _, text in headers())]),
                st.text(string.printable, max_size=20).map(str.encode),
            ),
        ),
        max_size=8,
    ),
)
def test_whatever_comes_is_a_command_or_words(
    value: bytes | None, given_headers: list[tuple[str, bytes | None]]
) -> None:
    found = decode_message(value, given_headers, programme="demo")
    if isinstance(found, Malformed):
        assert found.rejection.field
        assert found.rejection.rule
        assert not any(UNPRINTABLE & {*text} for text in (found.id, found.source, found.rejection.value))
