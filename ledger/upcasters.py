"""Upcasters: how a message or event of an old version is read as the version that this code knows.

A registry maps an old name, such as `purchase.v0`, to the name of a newer version and a function from the JSON object
of the one to that of the other. Versions are bridged one at a time and chained: v0 to v1, v1 to v2. An upcaster gives
a new dictionary or changes the one it got; it needs no clock, settings or database, and once released it is never
changed: what is stored under its old name must read the same for ever.

Source of the practice: Greg Young, Versioning in an Event Sourced System, chapter 6 (upcasting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

Document: TypeAlias = dict[str, Any]
Registry: TypeAlias = Mapping[str, tuple[str, Callable[[Document], Document]]]

STEPS_MAX = 64

INBOUND: Registry = {}
"""Old types of inbound messages. The field `type` of the result is set to the new name.

The attributes of a CloudEvent (id, source, occurred_at) come in the document as if the message had said them: an
upcaster that makes one of them from another field puts it in last.
"""

EVENTS: Registry = {}
"""Old topics of stored events."""


def upcast(registry: Registry, name: str, document: Document) -> tuple[str, Document]:
    """The newest name that the registry leads to from `name`, and the document as that version has it.

    A name that the registry does not have is returned as it came, with its document.

    Raises ValueError when the registry leads in a circle, and whatever an upcaster raises on a document that is not of
    its version (KeyError, TypeError).
    """
    for _ in range(STEPS_MAX):
        step = registry.get(name)
        if step is None:
            return name, document
        name, change = step
        document = change(document)
    raise ValueError(f"upcasters lead in a circle, or over more than {STEPS_MAX} versions, at {name!r}")


def upcast_event(topic: str, state: bytes, registry: Registry = EVENTS) -> tuple[str, bytes]:
    """A stored event as the newest version has it: its topic and its bytes. Unknown topics come back as they are."""
    if topic not in registry:
        return topic, state
    topic, document = upcast(registry, topic, msgspec.json.decode(state))
    return topic, msgspec.json.encode(document)
