"""The pages of docs/reference, made from the types, the codes and the program, so that they say what holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from consumers.inbound import COMMAND_TYPES
from ledger.commands import Command, MemberCommand
from ledger.events import TOPICS, Event, MemberEvent
from ledger.rejections import CODES
from ledger.terms_document import TermsDocument
from service.code_advice import ADVICE, REQUEST_ADVICE, SECTIONS
from service.http.access import Roles
from service.http.command_routes import CREATE_PROGRAMME, ROUTES
from service.http.problems import REQUEST_CODES, status_of
from service.reference_commands import commands_page
from service.reference_fields import Field, described, fields_of, structs_in

MADE: Final = "Made from the program by `loyalty schemas docs`; a test compares the two.\n"

_HOLDS: Final = [
    ("`identifier`", "text of 1 to 128 characters"),
    ("`label`", "text of at most 128 characters; empty where it is left out"),
    ("`member`, `programme`", "text of 1 to 64 characters"),
    ("`reason`", "text of 1 to 500 characters"),
    ("`text`", "text; in messages of at most 4,000 characters, and the only one that may have control characters"),
    ("`money`", "whole number of minor units of the currency, 0 to 10^15"),
    ("`currency`", "three letters of ISO 4217, such as `CNY`"),
    ("`points`, `signed points`", "whole number, 1 to 10^15; from -10^15 where signed"),
    ("`quantity`", "whole number, 0 to 10^9"),
    ("`instant`", "RFC 3339 with an offset; kept in UTC, to the microsecond"),
    ("`day`", "`2026-11-20`, in the programme's time zone"),
    ("`decimal`", "exact decimal as text, at most 15 digits before the point and 9 after, such as `81.3`"),
]
_ROLES: Final = ("upstream", "reader", "operator", "auditor", "admin")


def reference_files(program: click.Group, examples: Path | None = None) -> dict[str, str]:
    """Every page: name below docs/reference → Markdown. `examples` has a payload of each type, in inbound/ and events/.

    Raises LookupError where a field or a code is not explained.
    """
    return {
        "messages.md": _messages(examples),
        "events.md": _events(examples),
        "terms.md": _terms(),
        "error-codes.md": _codes(),
        "commands.md": commands_page(program, MADE),
    }


def write_reference(directory: Path, pages: Mapping[str, str]) -> list[str]:
    """Write the pages into a directory; the names of those that changed."""
    directory.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, content in pages.items():
        path = directory / name
        if not path.exists() or path.read_text("utf-8") != content:
            path.write_text(content, encoding="utf-8")
            changed.append(name)
    return changed


# --- messages and events ------------------------------------------------------------------------------------------


def _messages(examples: Path | None) -> str:
    intro = [
        "# Messages\n",
        MADE,
        "What the ledger takes: by Kafka, files, HTTP and the command line alike. What holds for all of them is in"
        " [ingest.md](../ingest.md), what each does exactly in [rules.md](../rules.md), the JSON Schemas in"
        " `schemas/inbound`. What comes of them are [events](events.md).\n",
        "A field that is not listed is refused. No text but `text` has control characters.\n",
        _table(("holds", "is"), _HOLDS),
        "## Fields of every message\n",
        _fields([_type_field(), *fields_of(Command)]),
        "A message about a member has `member` too. Over HTTP, `type` and `programme` are in the path, and `source` is"
        " that of the key.\n",
        "## All messages\n",
        _table(("type", "does"), [(_link(name), _first_sentence(kind)) for name, kind in COMMAND_TYPES.items()]),
    ]
    return "\n".join([*intro, *(_message(name, kind, examples) for name, kind in COMMAND_TYPES.items())]) + _parts_of(
        COMMAND_TYPES.values()
    )


def _message(name: str, kind: type[Command], examples: Path | None) -> str:
    own = _own(kind, MemberCommand if issubclass(kind, MemberCommand) else Command)
    about = "About a member. " if issubclass(kind, MemberCommand) else ""
    return "\n".join(
        [
            f"## {name}\n",
            f"{described(kind)}\n",
            f"{about}{_over_http(kind)}\n",
            _fields(own) if own else "No fields of its own.\n",
            *_example(examples, f"inbound/{name}"),
        ]
    )


def _over_http(kind: type[Command]) -> str:
    [route] = [route for route in (CREATE_PROGRAMME, *ROUTES) if route.command is kind]
    path = f"/v1/programmes/{{programme}}/{route.path}" if route.path else "/v1/programmes"
    return f"HTTP: `POST {path}`, by {_words(route.roles)}."


def _words(roles: Roles) -> str:
    names = [f"`{role}`" for role in _ROLES if role in roles]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _type_field() -> Field:
    return Field(name="type", holds="the type", needs="required", meaning="what it is, with its version")


def _events(examples: Path | None) -> str:
    intro = [
        "# Events\n",
        MADE,
        "What is recorded for ever, and published on `loyalty.events` ([kafka-out.md](../kafka-out.md)), as JSON; the"
        " JSON Schemas are in `schemas/events`. Fields that have what they have when left out, are left out. Readers"
        " pass over fields that they do not know ([contracts.md](../contracts.md)).\n",
        "## Fields of every event\n",
        _fields([field for field in fields_of(Event) if field.name != "programme"] + [_programme_field()]),
        "An event of a member's stream has `member` too. Type, journal, position and the time of recording stand beside"
        " the event: in the log, in `ce_…` headers on Kafka, and around `data` over HTTP.\n",
        "## All events\n",
        _table(("type", "says"), [(_link(topic), _first_sentence(kind)) for topic, kind in TOPICS.items()]),
    ]
    return "\n".join([*intro, *(_event(topic, kind, examples) for topic, kind in TOPICS.items())]) + _parts_of(
        TOPICS.values()
    )


def _event(topic: str, kind: type[Event], examples: Path | None) -> str:
    of_member = issubclass(kind, MemberEvent)
    own = _own(kind, MemberEvent if of_member else Event)
    return "\n".join(
        [
            f"## {topic}\n",
            f"{described(kind)}\n",
            "On a member's stream.\n" if of_member else "On a stream of the programme.\n",
            _fields(own) if own else "No fields of its own.\n",
            *_example(examples, f"events/{topic}"),
        ]
    )


def _programme_field() -> Field:
    return Field(name="programme", holds="text", needs="required", meaning="the programme")


def _terms() -> str:
    kinds: list[type[Struct]] = [TermsDocument, *structs_in(TermsDocument)]
    return "\n".join(
        [
            "# Fields of the terms\n",
            MADE,
            "The guide, with examples and what it all means, is [terms.md](../terms.md). A field that is not listed is"
            " refused. An `exact decimal` is text with at most nine digits on each side of the point.\n",
            *(_part(kind) for kind in kinds),
        ]
    )


def _parts_of(kinds: Iterable[type[Struct]]) -> str:
    """The types that fields are made of, each once, at the end of a page."""
    parts = dict.fromkeys(part for kind in kinds for part in structs_in(kind))
    return "\n".join(["", "# What fields are made of\n", *map(_part, parts)])


def _part(kind: type[Struct]) -> str:
    tag = kind.__struct_config__.tag
    fields = fields_of(kind)
    if kind.__struct_config__.tag_field is not None and tag is not None:
        field = str(kind.__struct_config__.tag_field)
        fields.insert(0, Field(name=field, holds=f"`{tag}`", needs="required", meaning="which of them it is"))
    return "\n".join([f"## {kind.__name__}\n", f"{described(kind)}\n", _fields(fields)])


def _own(kind: type[Struct], base: type[Struct]) -> list[Field]:
    given = {field.name for field in msgspec.structs.fields(base)}
    return [field for field in fields_of(kind) if field.name not in given]


def _fields(fields: Sequence[Field]) -> str:
    return _table(
        ("field", "holds", "left out", "meaning"),
        [(f"`{field.name}`", field.holds, field.needs, field.meaning) for field in fields],
    )


def _example(examples: Path | None, name: str) -> list[str]:
    """A payload, a field a line. Of an event we say which schema it must fit; a message does so by its type."""
    if examples is None:
        return []
    payload = msgspec.json.decode((examples / f"{name}.json").read_bytes())
    lines = [f"  {_json(key)}: {_json(value)}" for key, value in payload.items()]
    comment = [f"<!-- schema: {name} -->"] if name.startswith("events/") else []
    return ["\n".join([*comment, "```json", "{", ",\n".join(lines), "}", "```\n"])]


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _first_sentence(kind: type[Struct]) -> str:
    return described(kind).partition(". ")[0].partition("\n")[0].rstrip(".:")


def _link(name: str) -> str:
    return f"[`{name}`](#{name.replace('.', '')})"


# --- codes --------------------------------------------------------------------------------------------------------


def _codes() -> str:
    """Raises LookupError for a code without advice."""
    return "\n".join(
        [
            "# Codes of refusals and errors\n",
            MADE,
            "A refusal has a code that never changes, the field, the rule in words, and the value as it came. Where"
            " several rules are broken, the first code in this order is named.\n",
            "The same codes come by every way in:\n",
            "- **HTTP**: `code` of the problem details, with the status below ([http.md](../http.md#errors)).\n"
            "- **Files, Kafka**: the refused message is kept, with its code: `loyalty rejected list`, and `loyalty"
            " rejected retry` when the cause is gone ([ingest.md](../ingest.md#what-is-refused)).\n"
            "- **Kafka**: it is also published to `<topic>.dlq` by `loyalty relay`, the code in the header"
            " `loyalty-error-code` ([kafka-out.md](../kafka-out.md)).\n"
            "- **The command line**: `Refused. CODE: field: rule`, and exit code 3.\n",
            *_sections(),
            "## HTTP requests\n",
            "These are no refusals of the ledger, and only come over HTTP. Nothing was recorded, but after a 5xx"
            " something may have been: the same request again, with its id, records nothing twice.\n",
            _table(
                ("code", "status", "meaning", "what to do"),
                [
                    (f"`{code}`", str(status), meaning.rstrip("."), REQUEST_ADVICE[code])
                    for code, (status, meaning) in REQUEST_CODES.items()
                ],
            ),
        ]
    )


def _sections() -> Iterable[str]:
    starts = [*SECTIONS, None]
    codes = list(CODES)
    for first, after in pairwise(starts):
        if first is not None:
            end = codes.index(after) if after is not None else len(codes)
            yield f"## {SECTIONS[first]}\n"
            yield _table(
                ("code", "meaning", "field", "HTTP", "what to do"),
                [_code(code) for code in codes[codes.index(first) : end]],
            )


def _code(code: str) -> tuple[str, ...]:
    fields, do = ADVICE[code]
    shown = fields if fields.startswith("the ") else ", ".join(f"`{field}`" for field in fields.split())
    return f"`{code}`", CODES[code].rstrip("."), shown, str(status_of(code)), do


# --- words --------------------------------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)]) + "\n"
