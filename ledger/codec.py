"""Events as stored: JSON under a topic. Old topics are upcast before they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from zlib import crc32

import msgspec

from ledger.events import TOPICS, AnyMemberEvent, Event
from ledger.upcasters import upcast_event

_encoder = msgspec.json.Encoder()
_decoders = {topic: msgspec.json.Decoder(event) for topic, event in TOPICS.items()}

MEMBER_STREAM = "member-"
PROGRAMME_STREAM = "programme-"

encode = _encoder.encode
"""The canonical bytes of an event or a command: the fields in the order of its type, defaults left out."""


def home_journal(journals: Sequence[int], member: str) -> int:
    """The journal of a member out of its programme's, by a hash that never changes, nor does their number."""
    return journals[crc32(member.encode()) % len(journals)]


def decode(topic: str, state: bytes) -> Event:
    """The event that was stored under a topic.

    Raises KeyError for a topic that is neither current nor upcast, msgspec.ValidationError for bytes that are not it.
    """
    decoder = _decoders.get(topic)
    if decoder is None:
        topic, state = upcast_event(topic, state)
        decoder = _decoders[topic]
    return decoder.decode(state)


def decode_member_event(topic: str, state: bytes) -> AnyMemberEvent:
    """As `decode`, for a member's stream."""
    return cast(AnyMemberEvent, decode(topic, state))
