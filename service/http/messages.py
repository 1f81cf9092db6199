"""A body becomes the message that any other way in would bring, and is decoded like one: so it means the same, and is
refused in the same words.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from consumers.inbound import decode
from ledger.commands import AnyCommand
from ledger.rejections import Rejection
from ledger.submissions import Malformed
from service.http.command_routes import CommandRoute
from service.http.problems import invalid
from service.keys import ApiKey

KEY_CHARACTERS_MAX: Final = 128

_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_text: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.encode


def read_command(
    route: CommandRoute, programme: str | None, key: ApiKey, body: bytes, id: str | None = None
) -> AnyCommand | Malformed:
    """The command that a body asks for on a route, or why it is none.

    `programme` is that of the path, None where the body names it; `id` that of the header `Idempotency-Key`, if any,
    which the body may repeat. The source is that of the key, which the body may repeat too.
    """
    try:
        fields = _fields.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = decode(body)
        assert isinstance(found, Malformed)
        return found
    said = {"type": route.type} | ({} if programme is None else {"programme": programme})
    for name in said:
        if name in fields:
            return _refused("INVALID_FIELD", name, "is said by the path, and may not be in the body")
    if id is not None:
        if _differs(fields.get("id"), id):
            return _refused("INVALID_FIELD", "id", "must be that of the header Idempotency-Key, or be left out")
        said["id"] = id
    if _differs(fields.get("source"), key.source):
        return _refused("INVALID_FIELD", "source", f"must be that of the key, {key.source!r}, or be left out")
    said["source"] = key.source
    return decode(_encode(fields | said), bytes_max=2 * len(body) + 1024)


def _differs(raw: Raw | None, text: str) -> bool:
    if raw is None:
        return False
    try:
        return _text.decode(raw) != text
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return True


def _refused(code: str, field: str, rule: str) -> Malformed:
    return Malformed(rejection=Rejection(code, field, rule))


def idempotency_key(header: str | None) -> str | None:
    """The id that a header `Idempotency-Key` gives: its text, or what stands between its quotation marks.

    Raises Problem unless it is 1 to 128 printable characters of ASCII.
    """
    if header is None:
        return None
    text = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    if not (1 <= len(text) <= KEY_CHARACTERS_MAX and text.isascii() and text.isprintable()):
        rule = f"must be 1 to {KEY_CHARACTERS_MAX} printable characters of ASCII"
        raise invalid("Idempotency-Key", rule)
    return text
