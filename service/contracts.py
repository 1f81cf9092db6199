"""The published contracts, made from the types: JSON Schemas of every inbound message, every event, the terms and the
published balance, and the AsyncAPI document of the topics that they travel on.

They are generated so that they cannot say anything else than the code does, and kept in `schemas/` so that a change of
a contract is seen as a change of a file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec
import orjson

from consumers.inbound import COMMAND_TYPES, MESSAGE_BYTES_MAX
from consumers.relayed_balances import MemberBalance
from ledger import events
from ledger.events import TOPICS
from ledger.terms import terms_json_schema
from service.asyncapi import BALANCE_SCHEMA, asyncapi_document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
INSTANT_PATTERN: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])(?![\s\S])"
)
"""`format` is only an annotation to many validators: the shape of an instant is said as a pattern too."""
DATE_PATTERN: Final = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(?![\s\S])"

_INSTANT: Final = {"format": "date-time"}
_INBOUND_COMMENT: Final = (
    f"At most {MESSAGE_BYTES_MAX} bytes of UTF-8. Whole numbers are written without fraction or exponent: 1.0 is"
    " refused, which JSON Schema cannot say."
)


def contract_files() -> dict[str, bytes]:
    """Every contract: path below `schemas/` → content."""
    messages = {f"inbound/{name}.json": _inbound_schema(name, command) for name, command in COMMAND_TYPES.items()}
    stored = {f"events/{topic}.json": _event_schema(topic, event) for topic, event in TOPICS.items()}
    others = {
        "terms.v1.json": terms_json_schema(),
        BALANCE_SCHEMA: _event_schema("balance.v1", MemberBalance, kind="published"),
        "asyncapi.json": asyncapi_document(),
    }
    return {path: _text(made) for path, made in {**messages, **stored, **others}.items()}


def write_contracts(directory: Path) -> list[str]:
    """Write the contracts below a directory; the paths whose content changed. Files of retired contracts stay."""
    changed = []
    for path, content in contract_files().items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
            changed.append(path)
    return changed


def read_contracts(directory: Path) -> dict[str, bytes]:
    """The contracts below a directory, as `write_contracts` wrote them: path → content. Other files are left out."""
    patterns = ("inbound/*.json", "events/*.json", "terms.v*.json", "balance.v*.json", "asyncapi.json")
    found = [path for pattern in patterns for path in sorted(directory.glob(pattern))]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def _inbound_schema(name: str, command: type) -> dict[str, Any]:
    schema = _schema(command, f"urn:loyalty:inbound:{name}", name)
    schema["$comment"] = _INBOUND_COMMENT
    _each_object(schema, _say_date)
    schema["properties"]["programme"].pop("default")  # left out, it is that of the way in
    return schema


def _event_schema(topic: str, event: type, kind: str = "event") -> dict[str, Any]:
    schema = _schema(event, f"urn:loyalty:{kind}:{topic}", topic)
    _mark_instants(schema, event)
    for name, definition in schema.get("$defs", {}).items():
        _mark_instants(definition, getattr(events, name))
    return schema


def _mark_instants(schema: dict[str, Any], kind: type) -> None:
    """Say which texts of an event are instants: its fields are plain datetimes, of which msgspec says only "string"."""
    for name, hint in get_type_hints(kind).items():
        if hint is datetime:
            schema["properties"][name] |= _INSTANT
        elif hint == datetime | None:
            schema["properties"][name]["anyOf"] = [{"type": "string"} | _INSTANT, {"type": "null"}]


def _schema(kind: type, identifier: str, title: str) -> dict[str, Any]:
    """The schema of a struct, its own fields at the top and the structs in it under $defs."""
    _, components = msgspec.json.schema_components([kind], schema_hook=_any_value, ref_template="#/$defs/{name}")
    own = dict(components.pop(kind.__name__))
    own.pop("title", None)
    schema = {"$schema": DIALECT, "$id": identifier, "title": title, **own}
    if components:
        schema["$defs"] = dict(sorted(components.items()))
    _each_object(schema, _finish)
    return schema


def _any_value(kind: type) -> dict[str, Any]:
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError(kind)


def _say_date(schema: dict[str, Any]) -> None:
    if schema.get("format") == "date":
        schema["pattern"] = DATE_PATTERN


def _finish(schema: dict[str, Any]) -> None:
    if schema.get("format") == "date-time":
        schema["pattern"] = INSTANT_PATTERN
    if isinstance(schema.get("description"), str):
        schema["description"] = inspect.cleandoc(schema["description"])


def _each_object(value: Any, change: Callable[[dict[str, Any]], None]) -> None:
    if isinstance(value, dict):
        change(value)
        for item in value.values():
            _each_object(item, change)
    elif isinstance(value, list):
        for item in value:
            _each_object(item, change)


def _text(schema: dict[str, Any]) -> bytes:
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
