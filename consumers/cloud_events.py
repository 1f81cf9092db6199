"""A Kafka record becomes a command, or words that say why it cannot: CloudEvents 1.0, or plain JSON.

Three shapes are taken. Structured: the content type starts with `application/cloudevents`, and the value is an envelope
with `data` in it. Binary: there are headers `ce_*`, and the value is the data. Plain: neither, and the value is the
whole message with its type in it. The attributes of an event fill in what its data leaves out, by putting them in front
of the data's own fields: so there is one definition of each command, and `consumers.inbound` checks all of them.

Sources: CloudEvents 1.0.2; its Kafka protocol binding, section 3; its JSON event format, section 3.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from consumers.inbound import COMMAND_TYPES, MESSAGE_BYTES_MAX, decode, identity_of, printable, too_large
from ledger import upcasters
from ledger.commands import AnyCommand
from ledger.rejections import Rejection
from ledger.submissions import Malformed
from ledger.values import Instant

Headers: TypeAlias = Sequence[tuple[str | bytes, bytes | None]]
"""Names and values. A name is bytes where it is not UTF-8, which is refused."""

FIELDS: Final = {"type": "type", "id": "id", "source": "source", "time": "occurred_at", "subject": "member"}
"""Attribute of an event → field of a command that it fills in."""

REQUIRED: Final = ("specversion", "id", "source", "type")
CONTENT_TYPE_BYTES_MAX: Final = 128
RAW_NAME_BYTES_MAX: Final = 32
_TEXT: Final = {str}

_ATTRIBUTES: Final = ("specversion", *FIELDS)
_HEADERS: Final = tuple((name, f"ce_{name}") for name in _ATTRIBUTES)
_WITHOUT_MEMBER: Final = {name for name, kind in COMMAND_TYPES.items() if "member" not in kind.__struct_fields__}


class _Event(Struct, gc=False):
    """An event taken apart. `prefix` is what its attributes are called by, "ce_" where they are headers; `refusal` is
    what was wrong with it so far. `value` is the record's.
    """

    attributes: dict[str, str]
    data: bytes
    value: bytes
    prefix: str
    refusal: Rejection | None = None


def decode_message(value: bytes | None, headers: Headers, *, programme: str = "") -> AnyCommand | Malformed:
    """The command that a Kafka record is; or why it is none, with the identity that could be read.

    `value` and `headers` are the record's, byte for byte; `programme` is that of the way in. The codes of a refusal are
    those of `consumers.inbound.decode`. Its field is the path in the data, or the attribute as the sender wrote it:
    `ce_id` as a header, `id` in an envelope.
    """
    if not headers and value is not None:
        return decode(value, programme=programme)
    named = {name.lower(): content for name, content in headers}
    if not _TEXT.issuperset(map(type, named)):
        return _refused(_raw_name(headers), _header_attributes(named)[0], value or b"", programme)
    if len(named) < len(headers) and (twice := _given_twice(headers)):
        known = {name: content for name, content in named.items() if name not in twice}
        rule = f"must be given once, not {Counter(name.lower() for name, _ in headers)[twice[0]]} times"
        return _refused(_invalid(twice[0], rule), _header_attributes(known)[0], value or b"", programme)
    shape, problem = _media_type(named.get("content-type"))
    if value is None:
        rule = "must not be null: there are no tombstones among commands"
        return _refused(_invalid("message", rule), _header_attributes(named)[0], b"", programme)
    if shape == "event":
        return _from_event(_envelope(value, problem), programme)
    if "ce_specversion" in named or any(name.startswith("ce_") for name in named):
        attributes, refusal = _header_attributes(named)
        if problem and refusal is None:
            refusal = _invalid("content-type", problem, named.get("content-type") or b"")
        return _from_event(_Event(attributes, value, value, "ce_", refusal), programme)
    return decode(value, programme=programme)


def _raw_name(headers: Headers) -> Rejection:
    name = next(name for name, _ in headers if isinstance(name, bytes))
    rule = "must have names that are UTF-8"
    return Rejection("NOT_UTF8", "headers", rule, f"bytes {name[:RAW_NAME_BYTES_MAX].hex(' ')}")


def _given_twice(headers: Headers) -> list[str]:
    counted = Counter(str(name).lower() for name, _ in headers)
    return [name for name, times in counted.items() if times > 1 and (name.startswith("ce_") or name == "content-type")]


@lru_cache(maxsize=64)
def _media_type(content_type: bytes | None) -> tuple[Literal["data", "event"], str]:
    """Whether the value is an event with its attributes or the data alone; and what is wrong with the content type."""
    if content_type is None:
        return "data", ""
    media_type, *parameters = (part.strip() for part in content_type.lower().split(b";"))
    shape: Literal["data", "event"] = "event" if media_type.startswith(b"application/cloudevents") else "data"
    if len(content_type) > CONTENT_TYPE_BYTES_MAX:
        return shape, f"must be at most {CONTENT_TYPE_BYTES_MAX} bytes"
    for parameter in parameters:
        name, _, charset = parameter.partition(b"=")
        if name.strip() == b"charset" and charset.strip(b' "') not in (b"utf-8", b"utf8", b"us-ascii"):
            return shape, "must have the charset utf-8, or none"
    if shape == "event" and media_type not in (b"application/cloudevents", b"application/cloudevents+json"):
        return shape, "must be application/cloudevents+json: one event a record, as JSON"
    if shape == "data" and media_type not in (b"application/json", b"text/json") and not media_type.endswith(b"+json"):
        return shape, "must be JSON, such as application/json"
    return shape, ""


# --- binary mode --------------------------------------------------------------------------------------------------


def _header_attributes(named: Mapping[Any, bytes | None]) -> tuple[dict[str, str], Rejection | None]:
    """The attributes in the headers, and what is wrong with the first that cannot be read."""
    attributes: dict[str, str] = {}
    refusal: Rejection | None = None
    for attribute, header in _HEADERS:
        if header in named:
            content = named[header]
            try:
                attributes[attribute] = content.decode()  # type: ignore[union-attr]
            except AttributeError:
                refusal = refusal or _invalid(header, "must be text, not null")
            except UnicodeDecodeError:
                refusal = refusal or _invalid(header, "must be UTF-8", content or b"")
    return attributes, refusal


# --- structured mode ----------------------------------------------------------------------------------------------


class _Envelope(Struct, gc=False):
    specversion: str | None = None
    type: str | None = None
    id: str | None = None
    source: str | None = None
    time: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    data_base64: str | None = None
    data: Raw = Raw()


_envelope_decoder: Final = msgspec.json.Decoder(_Envelope)


def _envelope(value: bytes, problem: str) -> _Event:
    """An event in structured mode, taken apart; `problem` is what is wrong with its content type."""
    event = _Event({}, b"", value, "")
    if len(value) > MESSAGE_BYTES_MAX:
        event.refusal = too_large(len(value)).rejection
        return event
    try:
        if not value.isascii():
            value.decode()  # the decoder does not read what it passes by
        envelope = _envelope_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event.attributes, event.refusal = _readable(value)
        return event
    given = ((name, getattr(envelope, name)) for name in _ATTRIBUTES)
    event.attributes = {name: text for name, text in given if text is not None}
    event.data = bytes(envelope.data)
    event.refusal = _invalid("content-type", problem) if problem else None
    if event.refusal is None and envelope.datacontenttype is not None:
        shape, wrong = _media_type(envelope.datacontenttype.encode())
        if wrong or shape == "event":
            rule = wrong or "must be JSON, such as application/json"
            event.refusal = _invalid("datacontenttype", rule, envelope.datacontenttype.encode())
    if envelope.data_base64 is not None:
        _unpack(event, envelope.data_base64)
    elif event.refusal is None and not event.data.startswith(b"{"):
        rule = "must be an object" if event.data else "is required: an object"
        event.refusal = _invalid("data", rule, event.data)
    return event


def _unpack(event: _Event, data_base64: str) -> None:
    if event.data and event.refusal is None:
        event.refusal = _invalid("data_base64", "must not be given beside data")
    try:
        event.data = base64.b64decode(data_base64, validate=True)
    except (binascii.Error, ValueError):
        event.refusal = event.refusal or _invalid("data_base64", "must be base64", data_base64.encode())


def _readable(value: bytes) -> tuple[dict[str, str], Rejection]:
    """Of an envelope that is refused: its attributes that can be read, and what is wrong with it."""
    whole = decode(value)
    assert isinstance(whole, Malformed), "the decoder of envelopes refuses what is a plain message"
    if whole.rejection.code in _BROKEN:
        return {}, whole.rejection
    try:
        fields = msgspec.json.decode(value, type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}, whole.rejection
    attributes: dict[str, str] = {}
    refusal: Rejection | None = None
    for name in (*_ATTRIBUTES, "datacontenttype", "data_base64"):
        if name in fields:
            try:
                text = msgspec.json.decode(fields[name], type=str | None)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                refusal = refusal or _invalid(name, "must be text", bytes(fields[name]))
                continue
            if text is not None and name in _ATTRIBUTES:
                attributes[name] = text
    return attributes, refusal or whole.rejection


# --- both modes ---------------------------------------------------------------------------------------------------


class _Filling(Struct, omit_defaults=True, gc=False):
    """The attributes by the names of a command's fields, in the order in which they are put in front of the data."""

    type: str
    id: str
    source: str
    occurred_at: str = ""
    member: str = ""


_encode: Final = msgspec.json.Encoder().encode
_BROKEN: Final = ("MESSAGE_TOO_LARGE", "NOT_UTF8", "NOT_JSON")
_SPACES: Final = b" \t\r\n"


def _from_event(event: _Event, programme: str) -> AnyCommand | Malformed:
    attributes, data = event.attributes, event.data
    refusal = event.refusal or _attribute_refusal(attributes, event.prefix)
    if refusal is not None:
        return _refused(refusal, attributes, data, programme)
    if len(event.value) > MESSAGE_BYTES_MAX:
        return _refused(too_large(len(event.value)).rejection, attributes, b"", programme)
    name, with_member = _own_type(attributes["type"])
    member = attributes.get("subject", "") if with_member else ""
    if not data.startswith(b'{"'):
        data = data.lstrip(_SPACES)
        if not data.startswith(b"{"):
            return _explained(decode(data), event, name, programme)
    if name in upcasters.INBOUND and member:
        # The old version may call its member otherwise, and one put in front could come out in place of it.
        command = _filled_in(attributes, data, name, "", programme)
        if isinstance(command, Malformed):
            command = _filled_in(attributes, data, name, member, programme)
    else:
        command = _filled_in(attributes, data, name, member, programme)
    if isinstance(command, Malformed):
        return _explained(command, event, name, programme)
    conflict = _conflict(command, event, name, member)
    return command if conflict is None else _refused(conflict, attributes, data, programme, name)


def _filled_in(
    attributes: Mapping[str, str], data: bytes, name: str, member: str, programme: str
) -> AnyCommand | Malformed:
    """The command that the data is with the attributes in front of it. Of a field that is given twice the last counts:
    so it is the data's own, which is then compared with the attribute.
    """
    filling = _encode(_Filling(name, attributes["id"], attributes["source"], attributes.get("time", ""), member))
    separator = b"" if data[1:].lstrip(_SPACES).startswith(b"}") else b","
    body = filling[:-1] + separator + data[1:]
    return decode(body, programme=programme, bytes_max=len(body))


def _attribute_refusal(attributes: Mapping[str, str], prefix: str) -> Rejection | None:
    for name in REQUIRED:
        if name not in attributes:
            return _invalid(f"{prefix}{name}", "is required")
    if attributes["specversion"] != "1.0":
        rule = "must be 1.0, the version of CloudEvents that the ledger takes"
        return _invalid(f"{prefix}specversion", rule, attributes["specversion"].encode())
    if "" in attributes.values():
        empty = next(name for name, text in attributes.items() if not text)
        return _invalid(f"{prefix}{empty}", "must not be empty")
    return None


def _own_type(name: str) -> tuple[str, bool]:
    """The type of a command that an event's type names, and whether such a command has a member.

    CloudEvents asks for a prefix in reverse DNS, such as com.example.purchase.v1: the last two parts are ours.
    """
    if name not in COMMAND_TYPES and name not in upcasters.INBOUND:
        name = ".".join(name.split(".")[-2:])
    newest = name
    for _ in range(upcasters.STEPS_MAX):
        if newest not in upcasters.INBOUND:
            break
        newest = upcasters.INBOUND[newest][0]
    return name, newest not in _WITHOUT_MEMBER


def _conflict(command: AnyCommand, event: _Event, name: str, member: str) -> Rejection | None:
    """Where an attribute and the data say different things."""
    attributes, data = event.attributes, event.data
    escaped = b"\\" in data  # a name may be written with escapes
    # The decoder refuses a second type that differs from the first; an upcaster would follow it.
    if upcasters.INBOUND and (escaped or b'"type"' in data) and (refusal := _type_conflict(event, name)):
        return refusal
    if command.id != attributes["id"]:
        return _differs(event, "id", command.id)
    if command.source != attributes["source"]:
        return _differs(event, "source", command.source)
    # The decoder read both times, so the attribute is an instant too.
    is_timed_twice = "time" in attributes and (escaped or b'"occurred_at"' in data)
    if is_timed_twice and msgspec.convert(attributes["time"], Instant) != command.occurred_at:
        return _differs(event, "time", command.occurred_at.isoformat())
    if member and command.member != member:  # type: ignore[union-attr]
        return _differs(event, "subject", command.member)  # type: ignore[union-attr]
    return None


def _type_conflict(event: _Event, name: str) -> Rejection | None:
    in_data = identity_of(event.data)["type"]
    return _differs(event, "type", in_data) if in_data not in ("", name, event.attributes["type"]) else None


def _differs(event: _Event, attribute: str, in_data: str) -> Rejection:
    rule = (
        f"must be the same as {FIELDS[attribute]} in the data, which is {printable(in_data)}: leave one of them out, or"
        " let both say the same"
    )
    return _invalid(f"{event.prefix}{attribute}", rule, event.attributes[attribute].encode())


def _explained(found: AnyCommand | Malformed, event: _Event, name: str, programme: str) -> Malformed:
    """What the decoder said of data with the attributes in front of it, said of what the sender wrote."""
    assert isinstance(found, Malformed), "data that is no object is no command"
    rejection = found.rejection
    if rejection.code in _BROKEN:
        # Once more without the attributes, for the number of the byte where it breaks.
        alone = decode(event.value)
        if isinstance(alone, Malformed) and alone.rejection.code in _BROKEN:
            rejection = alone.rejection
        else:
            alone = decode(event.data)
            assert isinstance(alone, Malformed), "what breaks with attributes in front breaks without them"
            rejection = msgspec.structs.replace(alone.rejection, field="data_base64")
    elif conflict := _type_conflict(event, name):
        rejection = conflict
    else:
        rejection = _renamed(rejection, event)
    return _refused(rejection, event.attributes, event.data, programme, name)


def _renamed(rejection: Rejection, event: _Event) -> Rejection:
    """A refusal of a field that an attribute fills in, said of the attribute where that is what is wrong."""
    attribute = next((name for name, field in FIELDS.items() if field == rejection.field), None)
    if attribute is None:
        return rejection
    is_given, in_data = _in_data(event.data, rejection.field)
    if attribute not in event.attributes:
        where = f"in the data or as {event.prefix}{attribute}"
        return rejection if is_given else msgspec.structs.replace(rejection, rule=f"{rejection.rule}, {where}")
    if not is_given:
        return msgspec.structs.replace(rejection, field=f"{event.prefix}{attribute}")
    if attribute == "time":
        return _time_refusal(event) or rejection
    return _differs(event, attribute, in_data) if in_data not in ("", event.attributes[attribute]) else rejection


def _in_data(data: bytes, field: str) -> tuple[bool, str]:
    """Whether the data has a field, and its text; "" if it is no text."""
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    try:
        return field in fields, msgspec.json.decode(fields.get(field, b'""'), type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return True, ""


def _time_refusal(event: _Event) -> Rejection | None:
    try:
        msgspec.convert(event.attributes["time"], Instant)
    except msgspec.ValidationError:
        rule = "must be an instant as in RFC 3339 with an offset, such as 2026-11-20T04:19:52Z"
        return _invalid(f"{event.prefix}time", rule, event.attributes["time"].encode())
    return None


def _refused(
    rejection: Rejection, attributes: Mapping[str, str], data: bytes, programme: str, name: str = ""
) -> Malformed:
    """A refusal with what could be read of the identity: as the attributes say it, else as the data does."""
    identity = identity_of(data)
    told = {field: printable(attributes.get(attribute, "")) for attribute, field in FIELDS.items()}
    return Malformed(
        rejection=rejection,
        programme=identity["programme"] or programme,
        source=told["source"] or identity["source"],
        id=told["id"] or identity["id"],
        member=identity["member"] or told["member"],
        type=name or told["type"] or identity["type"],
    )


def _invalid(field: str, rule: str, value: bytes = b"") -> Rejection:
    return Rejection("INVALID_FIELD", field, rule, printable(value.decode(errors="replace")))
