"""One payload of every version of every event and message, as it was first published: each must read the same for ever.

A file is added with each new version, and never changed or removed. Where a version got further fields, a file more
has them: `<type>+<field>.json`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.inbound import COMMAND_TYPES, decode
from ledger import codec
from ledger.events import TOPICS
from ledger.submissions import Malformed
from ledger.upcasters import EVENTS, INBOUND

HERE = Path(__file__).parent
EVENT_PAYLOADS = sorted((HERE / "events").glob("*.json"))
INBOUND_PAYLOADS = sorted((HERE / "inbound").glob("*.json"))


def type_of(path: Path) -> str:
    return path.stem.partition("+")[0]


def is_outgrown(path: Path) -> bool:
    """Whether there is a later payload of this version, with fields that this one does not know."""
    return any(path.parent.glob(f"{path.stem}+*.json"))


def test_every_topic_ever_stored_has_a_payload() -> None:
    assert {type_of(path) for path in EVENT_PAYLOADS} == {*TOPICS, *EVENTS}


def test_every_message_type_ever_taken_has_a_payload() -> None:
    assert {type_of(path) for path in INBOUND_PAYLOADS} == {*COMMAND_TYPES, *INBOUND}


@pytest.mark.parametrize("path", EVENT_PAYLOADS, ids=lambda path: path.stem)
def test_an_event_reads_and_is_written_as_it_was(path: Path) -> None:
    """Byte for byte: an event that is written differently has another hash."""
    stored = path.read_bytes().rstrip(b"\n")
    event = codec.decode(type_of(path), stored)
    assert event.topic == type_of(path)
    assert codec.encode(event) == stored
    assert is_outgrown(path) or not unset(event), "the payload leaves fields at their default, which is not written"


@pytest.mark.parametrize("path", INBOUND_PAYLOADS, ids=lambda path: path.stem)
def test_a_message_reads_as_it_did(path: Path) -> None:
    sent = path.read_bytes()
    command = decode(sent)
    assert not isinstance(command, Malformed), command.rejection
    assert command.__struct_config__.tag == type_of(path)
    assert command.occurred_at == datetime(2026, 11, 20, 4, 19, 52, 161606, UTC)
    assert msgspec.json.decode(codec.encode(command)) == msgspec.json.decode(sent)
    assert is_outgrown(path) or not unset(command), "the payload leaves fields at their default"


def unset(value: Any) -> list[str]:
    """Fields of a struct, and of structs in it, that are at their default."""
    if isinstance(value, list):
        return [name for item in value for name in unset(item)]
    if not isinstance(value, msgspec.Struct):
        return []
    found = []
    for field in msgspec.structs.fields(value):
        content = getattr(value, field.name)
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT:
            found += [field.name] if content == default else []
        found += unset(content)
    return found
