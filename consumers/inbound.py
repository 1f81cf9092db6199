"""A message on a wire becomes a command, or words that say why it cannot.

The fast path is one call of a typed decoder. Only a message that it refuses takes the slow path, which finds out what
is wrong, where, and by what rule, and which identity the message has as far as that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Raw, Struct

from ledger import upcasters
from ledger.commands import AnyCommand, Command
from ledger.rejections import Rejection
from ledger.submissions import Malformed
from ledger.values import DECIMAL_PATTERN, Instant

MESSAGE_BYTES_MAX: Final = 1 << 20
"""Larger messages are refused unread. A purchase of 1,000 lines with names of every field is below half of it."""

VALUE_CHARACTERS_MAX: Final = 120
IDENTITY_CHARACTERS_MAX: Final = 128
ENTRIES_TRIED_MAX: Final = 1_000

COMMAND_TYPES: Final[dict[str, type[Command]]] = {
    str(command.__struct_config__.tag): command for command in get_args(AnyCommand)
}
"""Type on the wire → command."""

_decoder: Final = msgspec.json.Decoder(AnyCommand)
_INSTANTS: Final[dict[type[Command], tuple[str, ...]]] = {
    command: names
    for command in COMMAND_TYPES.values()
    if (
        names := tuple(
            name
            for name, hint in get_type_hints(command, include_extras=True).items()
            if hint == Instant and name != "occurred_at"
        )
    )
}
"""Commands that have instants besides `occurred_at`, and which."""


def decode(body: bytes, *, programme: str = "", bytes_max: int = MESSAGE_BYTES_MAX) -> AnyCommand | Malformed:
    """The command that a message is, its instants in UTC; or why it is none, with the identity that could be read.

    `body` is one JSON object of at most `bytes_max`; `programme` is that of the way in, and stands in where the message
    names none. The codes of a refusal, in order: MESSAGE_TOO_LARGE, NOT_UTF8, NOT_JSON, UNKNOWN_TYPE, INVALID_FIELD,
    PROGRAMME_MISSING, OCCURRED_AT_OUT_OF_RANGE (an instant that UTC cannot express).
    """
    if len(body) > bytes_max:
        return too_large(len(body), programme)
    try:
        command = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _upcast_or_explain(body, programme, error)
    if (b"\\" in body or b"\x7f" in body) and _CONTROL_CHARACTER.search(body):
        rejection = _text_rejection(command)
        if rejection is not None:
            return _malformed(rejection, body, programme)
    return _completed(command, body, programme)


def too_large(size_bytes: int, programme: str = "") -> Malformed:
    """The refusal of a message of `size_bytes`; nothing of it is parsed."""
    rule = f"must be at most {MESSAGE_BYTES_MAX:,} bytes"
    return _malformed(Rejection("MESSAGE_TOO_LARGE", "message", rule, f"{size_bytes:,} bytes"), b"", programme)


def _completed(command: AnyCommand, body: bytes, programme: str) -> AnyCommand | Malformed:
    # The command was made just now and nobody else has it: filling in its fields is not seen as a change by anyone,
    # and takes a tenth of the time of a copy.
    if not command.programme:
        if not programme:
            rule = "must be given, in the message or by the way in"
            return _malformed(Rejection("PROGRAMME_MISSING", "programme", rule), body, programme)
        msgspec.structs.force_setattr(command, "programme", programme)
    if command.occurred_at.tzinfo is not UTC and not _in_utc(command, "occurred_at"):
        shown = command.occurred_at.isoformat()
        rule = "must be an instant that has a UTC date in the years 1 to 9999"
        return _malformed(Rejection("OCCURRED_AT_OUT_OF_RANGE", "occurred_at", rule, shown), body, programme)
    for name in _INSTANTS.get(type(command), ()):
        if not _in_utc(command, name):
            rule = "must be an instant that has a UTC date in the years 1 to 9999"
            return _malformed(Rejection("INVALID_FIELD", name, rule, str(getattr(command, name))), body, programme)
    return command


def _in_utc(command: AnyCommand, field: str) -> bool:
    instant: datetime = getattr(command, field)
    try:
        msgspec.structs.force_setattr(command, field, instant.astimezone(UTC))
    except OverflowError:
        return False
    return True


# --- the slow path ------------------------------------------------------------------------------------------------


def _upcast_or_explain(body: bytes, programme: str, error: Exception) -> AnyCommand | Malformed:
    """A message of an old version, read as the new one; else what is wrong with the message."""
    if upcasters.INBOUND and (name := identity_of(body)["type"]) in upcasters.INBOUND:
        try:
            new_name, document = upcasters.upcast(upcasters.INBOUND, name, msgspec.json.decode(body))
            new_body = msgspec.json.encode({**document, "type": new_name})
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError, TypeError, ValueError) as why:
            words = f"must be a message of the version that it names: {type(why).__name__} {why}"
            return _malformed(Rejection("INVALID_FIELD", "message", words, _shown(body)), body, programme)
        try:
            command = _decoder.decode(new_body)
            if rejection := _text_rejection(command):
                return _malformed(rejection, new_body, programme)
            return _completed(command, body, programme)
        except (msgspec.MsgspecError, RecursionError) as new_error:
            return _malformed(_explained_at_any_depth(new_body, new_error), body, programme)
    return _malformed(_explained_at_any_depth(body, error), body, programme)


def _malformed(rejection: Rejection, body: bytes, programme: str) -> Malformed:
    identity = identity_of(body)
    return Malformed(
        rejection=rejection,
        programme=identity["programme"] or programme,
        source=identity["source"],
        id=identity["id"],
        member=identity["member"],
        type=identity["type"],
    )


class _IdentityFields(Struct):
    type: Raw = Raw()
    id: Raw = Raw()
    source: Raw = Raw()
    programme: Raw = Raw()
    member: Raw = Raw()


_identity_decoder = msgspec.json.Decoder(_IdentityFields)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def identity_of(body: bytes) -> dict[str, str]:
    """The fields by which a message can be found again; each "" where it is missing, no text, or cannot be read."""
    try:
        fields = _identity_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        fields = _IdentityFields()
    return {name: _text(getattr(fields, name)) for name in _IdentityFields.__struct_fields__}


def _text(raw: Raw | bytes) -> str:
    try:
        value = msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return printable(value)


def printable(text: str) -> str:
    """A text as it is kept of a refused message: short, and without control characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:IDENTITY_CHARACTERS_MAX]


def _explained_at_any_depth(body: bytes, error: Exception) -> Rejection:
    try:
        return _explained(body, error)
    except RecursionError:
        return Rejection("INVALID_FIELD", "message", "must not nest that deep", _shown(body))


def _explained(body: bytes, error: Exception) -> Rejection:
    """What is wrong with a message that the decoder refused with `error`."""
    try:
        body.decode()
    except UnicodeDecodeError as not_utf8:
        found = body[not_utf8.start : not_utf8.start + 8].hex(" ")
        rule = f"must be UTF-8; byte {not_utf8.start} is where it is not"
        return Rejection("NOT_UTF8", "message", rule, f"bytes {found}")
    syntax = _syntax_words(body)
    if syntax:
        return Rejection("NOT_JSON", "message", f"must be a JSON object: {syntax}", _shown(body))
    if isinstance(error, RecursionError):
        raise error
    raw_type = _type_field(body)
    if raw_type is None:
        return Rejection("NOT_JSON", "message", "must be a JSON object", _shown(body))
    if not raw_type:
        return Rejection("INVALID_FIELD", "type", f"is required: one of {', '.join(COMMAND_TYPES)}")
    name = _text(raw_type)
    if not raw_type.startswith(b'"'):
        return Rejection("INVALID_FIELD", "type", "must be text", _shown(raw_type))
    if name not in COMMAND_TYPES:
        return Rejection("UNKNOWN_TYPE", "type", _unknown_type_words(name), _shown(raw_type))
    return _field_rejection(body, COMMAND_TYPES[name], str(error))


def _syntax_words(body: bytes) -> str:
    """What keeps a text from being JSON, "" if it is. The typed decoder may have stopped before it came to that."""
    if not body.strip():
        return "it is empty"
    if body.startswith(b"\xef\xbb\xbf"):
        return "it starts with a byte order mark"
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError:  # a number out of range: a matter of its field
        return ""
    except msgspec.DecodeError as error:
        return str(error).removeprefix("JSON is malformed: ").removeprefix("Input data was ")
    return ""


def _type_field(body: bytes) -> bytes | None:
    """The field `type` as it came, empty if there is none; None if the message is no JSON object."""
    try:
        return bytes(_identity_decoder.decode(body).type)
    except msgspec.MsgspecError:
        return None


def _unknown_type_words(name: str) -> str:
    stem = name.partition(".")[0]
    known = [known for known in (*COMMAND_TYPES, *upcasters.INBOUND) if known.partition(".")[0] == stem]
    if known:
        return f"is a version that the ledger does not take; it takes {', '.join(known)}"
    return f"is not a type that the ledger takes; it takes {', '.join((*COMMAND_TYPES, *upcasters.INBOUND))}"


# --- text with control characters ---------------------------------------------------------------------------------


# As JSON may have one: DEL itself, or an escape. It passes by the other escapes, which some senders write by habit.
_CONTROL_CHARACTER = re.compile(rb"\x7f|\\(?:[bfnrt]|u00(?:[01]|7[fF]))")
_type_info = cache(msgspec.inspect.type_info)


def _text_rejection(command: AnyCommand) -> Rejection | None:
    """The first text of a command that breaks the pattern of its type; see `ledger.values`."""
    for steps, text, pattern in _patterned(_type_info(type(command)), msgspec.to_builtins(command), []):
        if re.search(pattern, text) is None:
            shown = _shown(msgspec.json.encode(text))
            return Rejection("INVALID_FIELD", _path(steps), _PATTERNS.get(pattern, f"must match {pattern}"), shown)
    return None


def _patterned(kind: msgspec.inspect.Type, value: Any, steps: list[Any]) -> Iterator[tuple[list[Any], str, str]]:
    """Each text of a value whose type has a pattern in its schema: where it is, the text, the pattern."""
    match kind:
        case msgspec.inspect.Metadata(type=of, extra_json_schema=schema):
            if isinstance(value, str) and "pattern" in (schema or {}):
                yield steps, value, str((schema or {})["pattern"])
            yield from _patterned(of, value, steps)
        case msgspec.inspect.UnionType(types=kinds):
            for of in kinds:
                yield from _patterned(of, value, steps)
        case msgspec.inspect.StructType(fields=fields) if isinstance(value, dict):
            for field in fields:
                if field.encode_name in value:
                    yield from _patterned(field.type, value[field.encode_name], [*steps, field.encode_name])
        case msgspec.inspect.ListType(item_type=of) if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _patterned(of, item, [*steps, index])
        case msgspec.inspect.DictType(key_type=of_key, value_type=of) if isinstance(value, dict):
            for name, item in value.items():
                yield from _patterned(of_key, name, [*steps, name])
                yield from _patterned(of, item, [*steps, name])


# --- a field of a known command -----------------------------------------------------------------------------------

_AT_PATH = re.compile(r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_NAMED = re.compile(r"Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)


def _field_rejection(body: bytes, command: type[Command], message: str) -> Rejection:
    """The refusal of one field, from what the decoder says of it."""
    match = _AT_PATH.fullmatch(message)
    assert match is not None
    problem, steps = match["problem"], [_step(found) for found in _STEP.finditer(match["path"] or "")]
    if match["key"] or ... in steps:
        return _entry_rejection(body, command, problem, steps, is_key=bool(match["key"]))
    named = _NAMED.fullmatch(problem)
    if named is None:
        return Rejection("INVALID_FIELD", _path(steps), _words(problem, command, steps), _shown(_raw_at(body, steps)))
    steps.append(named["name"])
    if named["how"] == "missing required":
        return Rejection("INVALID_FIELD", _path(steps), "is required")
    known = _known_fields(command, steps[:-1])
    close = get_close_matches(named["name"], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
    rule = f"is not a field of {command.__struct_config__.tag}{hint}"
    return Rejection("INVALID_FIELD", _path(steps), rule, _shown(_raw_at(body, steps)))


def _step(found: re.Match[str]) -> Any:
    if found["any"]:
        return ...
    return found["name"] if found["index"] is None else int(found["index"])


def _entry_rejection(body: bytes, command: type[Command], problem: str, steps: list[Any], is_key: bool) -> Rejection:
    """The decoder does not say which entry of a mapping it refuses: find it by trying each alone."""
    steps = steps[: steps.index(...)] if ... in steps else steps
    entries = msgspec.json.decode(_raw_at(body, steps), type=dict[str, Raw])
    for key, value in islice(entries.items(), ENTRIES_TRIED_MAX):
        if not _is_accepted(body, steps, {key: value}):
            shown = msgspec.json.encode(key) if is_key else bytes(value)
            where = f"{_path(steps)}{'' if is_key else '.' + _UNPRINTABLE.sub('?', key)[:IDENTITY_CHARACTERS_MAX]}"
            words = ("has a name that " if is_key else "") + _words(problem, command, [*steps, ...])
            return Rejection("INVALID_FIELD", where, words, _shown(shown))
    return Rejection("INVALID_FIELD", _path(steps), _words(problem, command, steps), _shown(_raw_at(body, steps)))


def _is_accepted(body: bytes, steps: list[Any], entry: dict[str, Raw]) -> bool:
    """Whether the message would pass, or fail elsewhere, with `entry` as the only one of its mapping at `steps`."""
    if len(steps) != 1:
        return True
    message = msgspec.json.decode(body, type=dict[str, Raw])
    try:
        _decoder.decode(msgspec.json.encode({**message, steps[0]: entry}))
    except msgspec.ValidationError as error:
        match = _AT_PATH.fullmatch(str(error))
        return match is None or not (match["path"] or "").startswith(f".{steps[0]}")
    return True


def _path(steps: list[Any]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)[: 2 * IDENTITY_CHARACTERS_MAX] or "message"


def _raw_at(body: bytes, steps: list[Any]) -> bytes:
    """The value at a path as it came, byte for byte: 1.0 stays 1.0, and a number of any length stays whole."""
    raw: Any = Raw(body)
    for step in steps:
        kind: Any = list[Raw] if isinstance(step, int) else dict[str, Raw]
        try:
            raw = msgspec.json.decode(raw, type=kind)[step]
        except (msgspec.MsgspecError, LookupError, UnicodeDecodeError):
            return b""
    return bytes(raw)


def _shown(raw: bytes) -> str:
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", raw[: 4 * VALUE_CHARACTERS_MAX].decode(errors="replace"))
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[: VALUE_CHARACTERS_MAX - 1]}…"


def _type_at(command: type[Command], steps: list[Any]) -> Any:
    """The type that the contract has at a path (of `msgspec.inspect`), null put aside; None where it has none."""
    found: Any = _type_info(command)
    for step in steps:
        found = _without_null(found)
        match found:
            case msgspec.inspect.StructType():
                found = next((field.type for field in found.fields if field.encode_name == step), None)
            case msgspec.inspect.ListType():
                found = found.item_type
            case msgspec.inspect.TupleType():
                found = found.item_types[step]
            case msgspec.inspect.DictType():
                found = found.value_type
            case _:
                return None
    return _without_null(found)


def _without_null(found: Any) -> Any:
    while isinstance(found, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(found, msgspec.inspect.Metadata):
            found = found.type
            continue
        others = [kind for kind in found.types if not isinstance(kind, msgspec.inspect.NoneType)]
        if len(others) != 1:
            break
        found = others[0]
    return found


def _known_fields(command: type[Command], steps: list[Any]) -> list[str]:
    found = _type_at(command, steps)
    if not isinstance(found, msgspec.inspect.StructType):
        return []
    return (["type"] if not steps else []) + [field.encode_name for field in found.fields]


# --- words --------------------------------------------------------------------------------------------------------

_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "datetime": "an instant as text",
    "date": "a day as text",
}
_PATTERNS: Final = {
    r"^[A-Z]{3}(?![\s\S])": "must be an ISO 4217 code of three capital letters, such as CNY",
    r"^[a-z0-9][a-z0-9._-]*(?![\s\S])": "must be of a-z, 0-9, '.', '_' and '-', and start with a letter or digit",
    r"^[^\x00-\x1f\x7f]+(?![\s\S])": "must be text without control characters",
    r"^[^\x00-\x1f\x7f]*(?![\s\S])": "must be text without control characters",
    DECIMAL_PATTERN: "must be an exact decimal number as text, such as 81.3",
}
_EXPECTED = re.compile(r"Expected `(?P<kinds>[^`]+)`(?:, got `(?P<got>[^`]+)`)?")
_BOUND = re.compile(r"Expected `\w+` (?P<sign>>=|<=|>|<) (?P<bound>\S+)")
_LENGTH = re.compile(r"Expected `(?P<kind>\w+)` of length (?P<sign>>= |<= |)(?P<count>\d+)")
_PATTERN = re.compile(r"Expected `str` matching regex '(?P<pattern>.*)'", re.DOTALL)
_SIGNS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than", "": "exactly"}


def _words(problem: str, command: type[Command], steps: list[Any]) -> str:
    """A rule as a sentence without its subject, from what the decoder says; unknown sentences are passed on."""
    if problem == "Invalid RFC3339 encoded date":
        return "must be a day, such as 2026-11-20"
    if problem.startswith("Invalid RFC3339"):
        return "must be an instant as in RFC 3339, such as 2026-11-20T04:19:52Z"
    if problem == "Expected `datetime` with a timezone component":
        return "must have an offset from UTC, such as Z or +08:00"
    if problem.startswith("Invalid enum value"):
        literal = _type_at(command, steps)
        allowed = literal.values if isinstance(literal, msgspec.inspect.LiteralType) else ()
        return f"must be one of {', '.join(map(str, allowed))}" if allowed else problem
    if match := _BOUND.fullmatch(problem):
        return f"must be {_SIGNS[match['sign']]} {match['bound']}"
    if match := _LENGTH.fullmatch(problem):
        one, many = ("character", "characters") if match["kind"] == "str" else ("entry", "entries")
        return f"must have {_SIGNS[match['sign'].strip()]} {match['count']} {one if match['count'] == '1' else many}"
    if match := _PATTERN.fullmatch(problem):
        pattern = match["pattern"].replace("\\\\", "\\")
        return _PATTERNS.get(pattern, f"must match {pattern}")
    if match := _EXPECTED.fullmatch(problem):
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in match["kinds"].split(" | "))
        got = "one with a fraction or exponent" if match["got"] == "float" else _KINDS.get(match["got"], match["got"])
        return f"must be {wanted}" + (f", not {got}" if got else "")
    return problem
