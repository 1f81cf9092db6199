"""Whether contracts that changed still fit those that were published: what one side writes, does the other take?

Every question is one: is each document that the writer's schema allows also allowed by the reader's? Backward: the
writer has the published schema, the reader the current one. Forward: the other way round. What we take must stay
backward compatible, so that senders need not change with the ledger; what we publish must stay both, for its readers
may be older than a record of it, and newer.

The judgement is on the safe side: what it cannot tell apart (a pattern that differs, say) it calls incompatible. A
writer is taken to write no fields but those that its schema names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import orjson
from msgspec import Struct, field

from ledger import upcasters

Schema: TypeAlias = Mapping[str, Any]
Direction: TypeAlias = Literal["backward", "forward"]

DEPTH_MAX: Final = 64


class Problem(Struct, frozen=True, kw_only=True):
    """Something that the writer may write and the reader does not take: where, by what rule, and both in words."""

    path: str
    rule: str
    words: str


class Verdict(Struct, frozen=True, kw_only=True):
    """How a contract fits the published one of the same file. `needed` are the directions that it must keep."""

    file: str
    needed: tuple[Direction, ...]
    backward: list[Problem] = field(default_factory=list)
    forward: list[Problem] = field(default_factory=list)

    @property
    def compatible(self) -> bool:
        """Whether it fits in every direction that it must keep."""
        return not any(getattr(self, direction) for direction in self.needed)


def compare(published: Mapping[str, bytes], current: Mapping[str, bytes]) -> list[Verdict]:
    """A verdict on every contract of either side, by path below `schemas/`, that is not the same on both.

    Raises ValueError when a published file is no JSON object.
    """
    verdicts = []
    for file in sorted({*published, *current}):
        if published.get(file) == current.get(file):
            continue
        old, new = (_loaded(file, contracts.get(file)) for contracts in (published, current))
        verdicts.append(_verdict(file, old, new))
    return verdicts


def _loaded(file: str, content: bytes | None) -> Schema | None:
    if content is None:
        return None
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is no JSON object")
    return found


def _verdict(file: str, old: Schema | None, new: Schema | None) -> Verdict:
    is_inbound = file.startswith("inbound/")
    needed: tuple[Direction, ...] = ("backward",) if is_inbound or file == "terms.v1.json" else ("backward", "forward")
    if new is None:
        return Verdict(file=file, needed=needed, backward=_removed(file))
    if old is None:
        # Readers of what we publish pass over types that they do not know.
        forward = [Problem(path="", rule="added", words="is new: an older ledger refuses it")] if is_inbound else []
        return Verdict(file=file, needed=needed, forward=forward)
    if file == "asyncapi.json":
        return Verdict(file=file, needed=needed, backward=list(_topics_lost(old, new)))
    return Verdict(
        file=file,
        needed=needed,
        backward=differences(writer=old, reader=new, direction="backward"),
        forward=differences(writer=new, reader=old, direction="forward"),
    )


def _removed(file: str) -> list[Problem]:
    folder, _, name = file.removesuffix(".json").rpartition("/")
    if folder == "inbound" and name in upcasters.INBOUND:
        return []
    if folder == "events" and name in upcasters.EVENTS:
        return []
    why = {"inbound": "senders may still use it", "events": "it may stand in the log for ever"}
    words = f"is gone, and there is no upcaster from it; {why.get(folder, 'others may rely on it')}"
    return [Problem(path="", rule="removed", words=words)]


_TAKEN_MESSAGES: Final = ("binaryEvent", "structuredEvent")


def _topics_lost(old: Schema, new: Schema) -> Iterator[Problem]:
    """What the AsyncAPI document promised and does not keep: topics, the messages on them, their keys and headers."""
    channels = new.get("channels", {})
    for name, channel in old.get("channels", {}).items():
        path, address = f"channels.{name}", channel["address"]
        if name not in channels:
            yield Problem(path=path, rule="topic removed", words=f"the topic {address} is gone")
            continue
        if address != channels[name]["address"]:
            words = f"the topic was {address} and is {channels[name]['address']} now"
            yield Problem(path=path, rule="topic renamed", words=words)
        for message in channel["messages"]:
            if message not in channels[name]["messages"] and message not in {**upcasters.INBOUND, **upcasters.EVENTS}:
                words = f"is no message of the topic {address} any more"
                yield Problem(path=f"{path}.messages.{message}", rule="message removed", words=words)
    messages = new.get("components", {}).get("messages", {})
    for name, message in old.get("components", {}).get("messages", {}).items():
        if name in messages:
            yield from _message_changed(name, message, messages[name])


def _message_changed(name: str, old: Schema, new: Schema) -> Iterator[Problem]:
    path = f"components.messages.{name}"
    for part in ("headers", "payload"):
        before, after = old.get(part, {}), new.get(part, {})
        if "schemaFormat" in before and "schemaFormat" in after:
            continue  # a file of its own, which is compared by itself
        found = (
            differences(writer=before, reader=after, direction="backward")
            if name in _TAKEN_MESSAGES
            else differences(writer=after, reader=before, direction="forward")
        )
        for problem in found:
            yield Problem(path=_below(f"{path}.{part}", problem.path), rule=problem.rule, words=problem.words)
    if old.get("contentType") != new.get("contentType"):
        words = f"was {old.get('contentType')} and is {new.get('contentType')} now"
        yield Problem(path=f"{path}.contentType", rule="content type changed", words=words)
    before, after = (message["bindings"]["kafka"]["key"] for message in (old, new))
    if before != after:
        words = f"was: {before.get('description', '')} It is now: {after.get('description', '')}"
        yield Problem(path=f"{path}.key", rule="key changed", words=words)


# --- one schema against another -----------------------------------------------------------------------------------


def differences(*, writer: Schema, reader: Schema, direction: Direction) -> list[Problem]:
    """What the writer's schema allows and the reader's does not; empty only if there is nothing of the kind.

    `direction` is for the words alone: "backward" says them of the reader, which is the newer; "forward" of the writer.
    """
    return list(_Comparison(writer, reader, direction).problems(writer, reader, "", 0))


_ANNOTATIONS: Final = {
    "$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated",
    "discriminator",  # says which alternative is meant; the alternatives say it too
}  # fmt: skip
_JUDGED: Final = {
    "$ref", "anyOf", "type", "enum", "const", "properties", "required", "additionalProperties", "propertyNames",
    "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength",
    "pattern", "format", "contentEncoding", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip
_LOWER: Final = {"minimum": "number", "exclusiveMinimum": "number", "minLength": "string", "minItems": "array",
                 "minProperties": "object"}  # fmt: skip
_UPPER: Final = {"maximum": "number", "exclusiveMaximum": "number", "maxLength": "string", "maxItems": "array",
                 "maxProperties": "object"}  # fmt: skip
_SAME: Final = {"pattern": "string", "format": "string", "contentEncoding": "string"}
_ALL_TYPES: Final = ("null", "boolean", "integer", "number", "string", "array", "object")

_WORDS: Final[dict[str, tuple[str, str]]] = {
    # rule: (backward, forward); {writer} and {reader} are what each side has
    "field became required": ("is required now, and was not", ""),
    "field may be missing": ("", "may be left out now; older readers require it"),
    "field removed": ("is not taken any more: other fields are refused", ""),
    "field added": ("", "is new; older readers refuse fields that they do not know"),
    "type narrowed": ("took {writer}, takes only {reader} now", ""),
    "type widened": ("", "may be {writer} now; older readers take only {reader}"),
    "value removed": ("took {writer}, which is refused now; taken: {reader}", ""),
    "value added": ("", "may be {writer} now; older readers take only {reader}"),
    "limit tightened": ("the limit {key} is {reader} now, and was {writer}", ""),
    "limit loosened": ("", "the limit {key} is {writer} now; older readers have {reader}"),
    "form changed": (
        "{key} is {reader} now, and was {writer}: what was written by the old one may be refused",
        "{key} is {writer} now, older readers have {reader}: they may refuse what is written by the new one",
    ),
    "default changed": (
        "left out, it means {reader} now, and meant {writer}",
        "left out, it means {writer} now; to older readers {reader}",
    ),
    "cannot be judged": ("{key} differs, and what that means cannot be told: {writer}, now {reader}",
                         "{key} differs, and what that means cannot be told: now {writer}, was {reader}"),
}  # fmt: skip
_FORWARD: Final = {
    "field became required": "field may be missing",
    "field removed": "field added",
    "type narrowed": "type widened",
    "value removed": "value added",
    "limit tightened": "limit loosened",
}
"""The same difference, seen from the other side."""


class _Comparison:
    def __init__(self, writer_root: Schema, reader_root: Schema, direction: Direction) -> None:
        self._writer_root = writer_root
        self._reader_root = reader_root
        self._direction = direction
        self._under_way: set[tuple[bytes | int, bytes | int]] = set()

    def problems(self, writer: Any, reader: Any, path: str, depth: int) -> Iterator[Problem]:
        """What `writer` allows and `reader` does not."""
        if depth > DEPTH_MAX:
            yield self._problem("cannot be judged", path, writer, reader, "a schema that nests too deep")
            return
        writer, reader = _of_boolean(writer), _of_boolean(reader)
        if "$ref" in writer or "$ref" in reader:
            yield from self._through_references(writer, reader, path, depth)
        elif "never" in writer or not _constraints(reader):
            return
        elif "never" in reader:
            yield self._problem("type narrowed", path, _listed(_types(writer)), "nothing")
        elif unjudged := _unjudged(writer, reader):
            for key in unjudged:
                yield self._problem("cannot be judged", path, writer.get(key, "absent"), reader.get(key, "absent"), key)
        elif parts := _alternatives(writer):
            for part in parts:
                yield from self.problems(part, reader, path, depth + 1)
        elif parts := _alternatives(reader):
            yield from self._against_alternatives(writer, parts, path, depth)
        else:
            yield from self._plain(writer, reader, path, depth)

    def _through_references(self, writer: Schema, reader: Schema, path: str, depth: int) -> Iterator[Problem]:
        pair = _question(writer), _question(reader)
        if pair in self._under_way:  # the same question again, inside itself: it adds nothing
            return
        self._under_way.add(pair)
        followed = _followed(writer, self._writer_root), _followed(reader, self._reader_root)
        yield from self.problems(*followed, path, depth + 1)
        self._under_way.discard(pair)

    def _against_alternatives(
        self, writer: Schema, alternatives: list[Schema], path: str, depth: int
    ) -> Iterator[Problem]:
        """One alternative must take all that the writer allows; if none does, say it of the one that is nearest."""
        tried = [list(self.problems(writer, part, path, depth + 1)) for part in alternatives]
        if not all(tried):
            return
        kinds = {kind for part in alternatives for kind in _types(_followed(part, self._reader_root))}
        if not kinds & {*_types(writer)} and "enum" not in writer:
            yield self._problem("type narrowed", path, _listed(_types(writer)), _listed(sorted(kinds)))
            return
        yield from min(tried, key=len)

    def _plain(self, writer: Schema, reader: Schema, path: str, depth: int) -> Iterator[Problem]:
        if (values := _values(writer)) is not None:
            yield from self._of_values(values, reader, path)
            return
        if (values := _values(reader)) is not None:
            yield self._problem("value removed", path, f"any {_listed(_types(writer))}", _shown(values))
            return
        kinds, taken = _types(writer), _types(reader)
        lost = [kind for kind in kinds if kind not in taken and not (kind == "integer" and "number" in taken)]
        if lost:
            yield self._problem("type narrowed", path, _listed(kinds), _listed(taken))
        both = {kind for kind in kinds if kind not in lost}
        yield from self._of_limits(writer, reader, path, both)
        if "array" in both:
            yield from self._of_items(writer, reader, path, depth)
        if "object" in both:
            yield from self._of_fields(writer, reader, path, depth)

    def _of_values(self, values: list[Any], reader: Schema, path: str) -> Iterator[Problem]:
        """Each value that the writer may write is tried."""
        allowed = _values(reader)
        refused = [value for value in values if not _takes(reader, value)]
        if refused:
            yield self._problem(
                "value removed", path, _shown(refused), _words_of(reader) if allowed is None else _shown(allowed)
            )

    def _of_limits(self, writer: Schema, reader: Schema, path: str, kinds: set[str]) -> Iterator[Problem]:
        for limits, is_lower in ((_LOWER, True), (_UPPER, False)):
            for key, kind in limits.items():
                applies = kind in kinds or (kind == "number" and "integer" in kinds)
                if applies and key in reader and not _within(_bound(writer, key), reader[key], is_lower=is_lower):
                    yield self._problem("limit tightened", path, writer.get(key, "none"), reader[key], key)
        for key, kind in _SAME.items():
            if kind in kinds and key in reader and writer.get(key) != reader[key]:
                yield self._problem("form changed", path, writer.get(key, "any"), reader[key], key)

    def _of_items(self, writer: Schema, reader: Schema, path: str, depth: int) -> Iterator[Problem]:
        first, taken = writer.get("prefixItems", []), reader.get("prefixItems", [])
        for index in range(max(len(first), len(taken))):
            if index < writer.get("maxItems", DEPTH_MAX + index):
                written = first[index] if index < len(first) else writer.get("items", True)
                read = taken[index] if index < len(taken) else reader.get("items", True)
                yield from self.problems(written, read, f"{path}[{index}]", depth + 1)
        if writer.get("maxItems", len(first) + 1) > max(len(first), len(taken)):
            yield from self.problems(writer.get("items", True), reader.get("items", True), f"{path}[]", depth + 1)

    def _of_fields(self, writer: Schema, reader: Schema, path: str, depth: int) -> Iterator[Problem]:
        written, read = writer.get("properties", {}), reader.get("properties", {})
        for name in reader.get("required", []):
            if name not in writer.get("required", []):
                yield self._problem("field became required", _below(path, name))
        others = reader.get("additionalProperties", True)
        for name, schema in written.items():
            if name in read:
                yield from self.problems(schema, read[name], _below(path, name), depth + 1)
                if name not in writer.get("required", []) and name not in reader.get("required", []):
                    yield from self._of_defaults(schema, read[name], _below(path, name))
            elif others is False and "never" not in _of_boolean(schema):
                yield self._problem("field removed", _below(path, name))
            else:
                yield from self.problems(schema, others, _below(path, name), depth + 1)
        entries = writer.get("additionalProperties", None if written else True)
        if entries not in (None, False):  # a mapping: its entries may have any name
            yield from self._of_entries(writer, entries, reader, path, depth)

    def _of_defaults(self, writer: Any, reader: Any, path: str) -> Iterator[Problem]:
        """Both sides take it that the field is left out; they should mean the same by it."""
        written, read = (_of_boolean(schema).get("default", "absent") for schema in (writer, reader))
        if written != read or isinstance(written, bool) != isinstance(read, bool):
            yield self._problem("default changed", path, _shown([written]), _shown([read]))

    def _of_entries(self, writer: Schema, entries: Any, reader: Schema, path: str, depth: int) -> Iterator[Problem]:
        others = reader.get("additionalProperties", True)
        if others is False:
            yield self._problem("field removed", _below(path, "*"))
        else:
            yield from self.problems(entries, others, _below(path, "*"), depth + 1)
        for name, schema in reader.get("properties", {}).items():
            if name not in writer.get("properties", {}):
                yield from self.problems(entries, schema, _below(path, name), depth + 1)
        names = {"type": "string", **_of_boolean(writer.get("propertyNames", True))}
        wanted = _of_boolean(reader.get("propertyNames", True))
        yield from self.problems(names, {"type": "string", **wanted}, f"{path}(names)", depth + 1)

    def _problem(self, rule: str, path: str, writer: Any = "", reader: Any = "", key: str = "") -> Problem:
        is_forward = self._direction == "forward"
        rule = _FORWARD.get(rule, rule) if is_forward else rule
        words = _WORDS[rule][is_forward].format(writer=writer, reader=reader, key=key)
        return Problem(path=path, rule=rule, words=words)


# --- what a schema says -------------------------------------------------------------------------------------------


def _of_boolean(schema: Any) -> Schema:
    """`true` is the schema that takes everything; `false`, that takes nothing, is marked."""
    if schema is True:
        return {}
    return {"never": True} if schema is False else schema


def _constraints(schema: Schema) -> set[str]:
    return {*schema} - _ANNOTATIONS


def _unjudged(writer: Schema, reader: Schema) -> list[str]:
    """Keywords that this module knows nothing of, unless both sides have the same."""
    keys = sorted((_constraints(writer) | _constraints(reader)) - _JUDGED - {"never"})
    return [key for key in keys if key not in writer or writer[key] != reader.get(key) or _refers(writer[key])]


def _refers(value: Any) -> bool:
    """Whether there is a reference somewhere in it: the same words may then mean another thing."""
    return b'"$ref"' in orjson.dumps(value)


def _alternatives(schema: Schema) -> list[Schema]:
    """The schemas of which a value needs to satisfy one, each with what stands beside them; none if it is not a choice.

    A list of types is such a choice too.
    """
    if "anyOf" in schema:
        beside = {name: value for name, value in schema.items() if name != "anyOf" and name not in _ANNOTATIONS}
        return [_both(beside, part) for part in schema["anyOf"]]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return []


def _both(one: Schema, other: Schema) -> Schema:
    """Two schemas at once; marked where a keyword is in both or looks at another of its neighbours: not judged."""
    in_both = _constraints(one) & _constraints(other)
    apart = "additionalProperties" in {**one, **other} or {"items", "prefixItems"} & {*one, *other}
    is_marked = in_both or (apart and _constraints(one) and _constraints(other))
    return {**one, **other, **({"allOf": [one, other]} if is_marked else {})}


def _followed(schema: Schema, root: Schema) -> Schema:
    """A schema, or the one that it refers to, inside the same document."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Any = root
    for step in str(reference).removeprefix("#").strip("/").split("/"):
        found = found[step]
    return _both(_of_boolean(found), {name: value for name, value in schema.items() if name != "$ref"})


def _question(schema: Schema) -> bytes | int:
    """What a schema is recognised by inside itself: its reference with what stands beside it, else its place."""
    said = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
    return orjson.dumps(said) if "$ref" in schema else id(schema)


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type", list(_ALL_TYPES))
    return [kind] if isinstance(kind, str) else list(kind)


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _bound(writer: Schema, key: str) -> Any:
    """The writer's limit of the same kind; an enclosing one (minimum 1 for exclusiveMinimum 0) counts where it is."""
    if key in writer:
        return writer[key]
    stands_in = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
    return writer.get(stands_in.get(key, key), 0 if key in ("minLength", "minItems", "minProperties") else None)


def _within(written: Any, read: Any, *, is_lower: bool) -> bool:
    if written is None:
        return False
    return bool(written >= read if is_lower else written <= read)


def _takes(schema: Schema, value: Any) -> bool:
    """Whether a schema takes a value; False where that cannot be told."""
    for key, values in (("const", [schema.get("const")]), ("enum", schema.get("enum", []))):
        if key in schema and not any(_same(value, found) for found in values):
            return False
    if not _constraints(schema) - {"const", "enum"}:
        return True
    kind = _type_of(value)
    if kind not in _types(schema) and not (kind == "integer" and "number" in _types(schema)):
        return False
    if kind == "string":
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)) and not {*_SAME} & {
            *schema
        }
    if kind in ("integer", "number"):
        return bool(
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
            and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        )
    return kind in ("null", "boolean")


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and _type_of(one) == _type_of(other)


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _listed(kinds: Iterable[str]) -> str:
    return " or ".join(kinds)


def _shown(values: list[Any]) -> str:
    return ", ".join(orjson.dumps(value).decode() for value in values)


def _words_of(schema: Schema) -> str:
    said = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    return orjson.dumps(said).decode()
