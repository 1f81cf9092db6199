"""The AsyncAPI 3.0 document of all topics, made from the types: what is on each, under which key, with which headers.

Payloads are the JSON Schemas beside it, by reference. Source: AsyncAPI specification 3.0.0; its Kafka bindings 0.5.0.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from consumers.cloud_events import FIELDS, REQUIRED
from consumers.dead_letters import SUFFIX, DeadLetter, error_headers
from consumers.inbound import COMMAND_TYPES, MESSAGE_BYTES_MAX
from consumers.relay import BALANCES_TOPIC, TOPIC
from consumers.relayed_balances import MemberBalance
from ledger.events import TOPICS, MemberEvent

INBOUND_TOPIC: Final = "loyalty.inbound"
BALANCE_SCHEMA: Final = "balance.v1.json"

_VERSION: Final = "1.0.0"
"""Of the contracts together. It is not that of the program: a release that changes no contract changes no file here."""

_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_BINDING: Final = "0.5.0"
_JSON: Final = "application/json"
_STRUCTURED: Final = "application/cloudevents+json"
_BIG_ENDIAN: Final = {
    "kafka_dlt-original-partition": "4 bytes, big-endian.",
    "kafka_dlt-original-offset": "8 bytes, big-endian.",
    "kafka_dlt-original-timestamp": "8 bytes, big-endian: milliseconds since 1970, -1 for none.",
}
_MEMBER_KEY: Final = {"type": "string", "description": "The member. It keeps a member's messages in order."}
_INSTANT: Final = {"type": "string", "format": "date-time"}


def asyncapi_document() -> dict[str, Any]:
    """The document, as JSON."""
    inbound, events = _inbound_messages(), _event_messages()
    others = {"deadLetter": _dead_letter(), "balance": _balance(), "balanceErased": _balance_erased()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Loyalty ledger",
            "version": _VERSION,
            "description": "What the ledger takes from Kafka and what it publishes there. The names of the topics are"
            " the defaults; an operator may choose others.",
        },
        "defaultContentType": _JSON,
        "channels": {
            "inbound": _channel(INBOUND_TOPIC, list(inbound), _INBOUND_WORDS, {}),
            "deadLetters": _channel(INBOUND_TOPIC + SUFFIX, ["deadLetter"], _DEAD_LETTER_WORDS, {}),
            "events": _channel(TOPIC, list(events), _EVENT_WORDS, {}),
            "balances": _channel(
                BALANCES_TOPIC, ["balance", "balanceErased"], _BALANCE_WORDS, {"cleanup.policy": ["compact"]}
            ),
        },
        "operations": {
            "takeCommands": _operation("receive", "inbound", "Take each message exactly once."),
            "publishDeadLetters": _operation("send", "deadLetters", "Publish what was refused, with the reason."),
            "publishEvents": _operation("send", "events", "Publish what was recorded, in order per member."),
            "publishBalances": _operation("send", "balances", "Publish the newest balance of a member."),
        },
        "components": {"messages": {**inbound, **events, **others}},
    }


_INBOUND_WORDS: Final = (
    "Commands from upstream systems, in three shapes that mean the same: plain JSON with its type in it; CloudEvents"
    " 1.0 in binary mode; CloudEvents 1.0 in structured mode. An attribute of an event fills in what its data leaves"
    f" out: {', '.join(f'{attribute} → {field}' for attribute, field in FIELDS.items())}. Where both are given they"
    " must say the same. The identity of a message is its source with its id: sent again, it is recorded once. At"
    f" most {MESSAGE_BYTES_MAX} bytes."
)
_DEAD_LETTER_WORDS: Final = (
    "Refused messages as they came: key, value, headers and timestamp byte for byte, in the partition that they had;"
    " headers that say what was wrong come after their own. At least once: a repeat has the same original topic,"
    " partition and offset."
)
_EVENT_WORDS: Final = (
    "Everything that the ledger recorded, as CloudEvents 1.0 in binary mode, in order per member. At least once: in"
    " each partition the positions of a journal rise, and a repeat is one that does not. Readers pass over fields and"
    " types that they do not know."
)
_BALANCE_WORDS: Final = (
    "The newest balance of every member; compacted. A record without a value says that the member was erased."
)


def _channel(address: str, messages: list[str], words: str, configuration: dict[str, Any]) -> dict[str, Any]:
    settings = {"topicConfiguration": configuration} if configuration else {}
    return {
        "address": address,
        "description": words,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": address, **settings, "bindingVersion": _BINDING}},
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(
    name: str, words: str, key: dict[str, Any], *, headers: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "summary": words,
        **({"headers": headers} if headers is not None else {}),
        **more,
        "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}},
    }


def _payload(path: str) -> dict[str, Any]:
    return {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./{path}"}}


def _first_sentence(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ") or kind.__name__


# --- what is taken ------------------------------------------------------------------------------------------------

_ATTRIBUTE_WORDS: Final = {
    "type": "The type of the command, alone (purchase.v1) or after a prefix in reverse DNS (com.example.purchase.v1).",
    "id": "With the source the identity of the message.",
    "source": "The system that sends it.",
    "time": "The business time; fills in occurred_at.",
    "subject": "The member; fills in member.",
}


def _inbound_messages() -> dict[str, Any]:
    plain = {
        name: _message(
            name, _first_sentence(command), _MEMBER_KEY, contentType=_JSON, payload=_payload(f"inbound/{name}.json")
        )
        for name, command in COMMAND_TYPES.items()
    }
    return {**plain, "binaryEvent": _binary_event(), "structuredEvent": _structured_event()}


def _attributes(prefix: str) -> dict[str, Any]:
    said = {f"{prefix}{name}": {"type": "string", "description": words} for name, words in _ATTRIBUTE_WORDS.items()}
    said[f"{prefix}time"] |= _INSTANT
    return {f"{prefix}specversion": {"const": "1.0"}, **said}


def _binary_event() -> dict[str, Any]:
    words = (
        "Any of the commands as a CloudEvent in binary mode: the value is the command, less what the headers fill in."
    )
    headers = {
        "type": "object",
        "required": [f"ce_{name}" for name in REQUIRED],
        "properties": {**_attributes("ce_"), "content-type": {"type": "string", "description": "JSON, or left out."}},
    }
    data = {"type": "object", "description": "As the schema of its type, less the fields that headers fill in."}
    return _message("binaryEvent", words, _MEMBER_KEY, headers=headers, contentType=_JSON, payload=data)


def _structured_event() -> dict[str, Any]:
    words = "Any of the commands as a CloudEvent in structured mode: an envelope with the command in its data."
    headers = {
        "type": "object",
        "required": ["content-type"],
        "properties": {"content-type": {"type": "string", "description": f"Starts with {_STRUCTURED}."}},
    }
    envelope = {
        "type": "object",
        "required": list(REQUIRED),
        "properties": {
            **_attributes(""),
            "datacontenttype": {"type": "string", "description": "JSON, or left out."},
            "data": {"type": "object", "description": "As the schema of its type, less what the attributes fill in."},
            "data_base64": {"type": "string", "description": "The same as base64, in place of data."},
        },
    }
    return _message("structuredEvent", words, _MEMBER_KEY, headers=headers, contentType=_STRUCTURED, payload=envelope)


# --- what is published --------------------------------------------------------------------------------------------


def _event_messages() -> dict[str, Any]:
    return {
        topic: _message(
            topic,
            _first_sentence(event) if "__doc__" in vars(event) and event.__doc__ else event.__name__,
            _MEMBER_KEY
            if issubclass(event, MemberEvent)
            else {"type": "string", "description": "The programme, for this event has no member."},
            headers=_event_headers(topic, of_member=issubclass(event, MemberEvent)),
            contentType=_JSON,
            payload=_payload(f"events/{topic}.json"),
        )
        for topic, event in TOPICS.items()
    }


def _event_headers(topic: str, *, of_member: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"const": topic},
        "ce_source": {"type": "string", "description": "/loyalty/programmes/, and the programme percent-encoded."},
        "content-type": {"const": _JSON},
        "ce_id": {"type": "string", "pattern": "^[0-9]+:[0-9]+$", "description": "The journal and the position in it."},
        "ce_time": {**_INSTANT, "description": "The business time."},
        "ce_recordedtime": {**_INSTANT, "description": "When the ledger recorded it."},
    }
    if of_member:
        said["ce_subject"] = {"type": "string", "description": "The member."}
    return {"type": "object", "required": list(said), "properties": said}


def _balance() -> dict[str, Any]:
    headers = {
        "type": "object",
        "required": ["content-type"],
        "properties": {"content-type": {"const": _JSON}},
    }
    words = _first_sentence(MemberBalance)
    return _message(
        "balance", words, _BALANCE_KEY, headers=headers, contentType=_JSON, payload=_payload(BALANCE_SCHEMA)
    )


def _balance_erased() -> dict[str, Any]:
    return _message("balanceErased", "The member was erased: no value.", _BALANCE_KEY, payload={"type": "null"})


_BALANCE_KEY: Final = {
    "type": "string",
    "description": "The programme, percent-encoded, a slash, and the member: programmes may have members of one name.",
}


def _dead_letter() -> dict[str, Any]:
    sample = DeadLetter(
        number=0, topic="", partition=0, offset=0, timestamp_ms=0, key=None, value=None, headers=[], code="",
        field="", reason="", refused_value="",
    )  # fmt: skip
    said = {name: {"type": "string", "description": _error_words(name)} for name, _ in error_headers(sample)}
    words = "A refused message as it came, with the reason in headers; its value may be anything, or nothing."
    return _message(
        "deadLetter",
        words,
        {"description": "As it came."},
        headers={"type": "object", "required": list(said), "properties": said},
    )


def _error_words(name: str) -> str:
    if name in _BIG_ENDIAN:
        return _BIG_ENDIAN[name]
    family = {"__connect": "Text, as Kafka Connect has it.", "kafka_dlt": "Text, as Spring has it."}
    return next((words for prefix, words in family.items() if name.startswith(prefix)), _OWN_ERROR_WORDS.get(name, ""))


_OWN_ERROR_WORDS: Final = {
    "loyalty-error-code": "The stable code of the refusal, such as INVALID_FIELD.",
    "loyalty-error-field": "The field that is wrong, such as lines[0].amount_minor; may be empty.",
    "loyalty-error-reason": "The rule that it breaks, in words.",
    "loyalty-error-value": "The value as it came, shortened; may be empty.",
}
