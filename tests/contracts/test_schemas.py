"""The published JSON Schemas: made from the types, kept as files, and true to what the decoder takes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consumers.inbound import COMMAND_TYPES, decode
from ledger.events import TOPICS
from ledger.submissions import Malformed
from service.contracts import contract_files, write_contracts

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "schemas"
PAYLOADS = Path(__file__).parent
PATHS = [*(f"inbound/{name}.json" for name in COMMAND_TYPES), *(f"events/{topic}.json" for topic in TOPICS)]


def test_the_files_are_what_the_types_give() -> None:
    """If this fails, a contract changed: is it compatible? Then: loyalty schemas generate --to schemas."""
    published = {
        str(path.relative_to(SCHEMAS)): path.read_bytes()
        for path in [*SCHEMAS.glob("*.json"), *SCHEMAS.glob("inbound/*.json"), *SCHEMAS.glob("events/*.json")]
    }
    made = contract_files()
    assert sorted(made) == sorted(published)
    assert [path for path in made if made[path] != published[path]] == []


def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    assert sorted(write_contracts(tmp_path)) == sorted(contract_files())
    assert write_contracts(tmp_path) == []


@pytest.mark.parametrize("path", [*PATHS, "terms.v1.json", "balance.v1.json"])
def test_a_schema_is_valid_draft_2020_12(path: str) -> None:
    Draft202012Validator.check_schema(json.loads((SCHEMAS / path).read_bytes()))


@pytest.mark.parametrize("path", PATHS)
def test_a_schema_takes_the_golden_payload(path: str) -> None:
    validator(path).validate(json.loads((PAYLOADS / path).read_bytes()))


def test_the_schema_of_terms_takes_the_examples() -> None:
    for example in sorted((ROOT / "examples" / "terms").glob("*.json")):
        validator("terms.v1.json").validate(json.loads(example.read_bytes()))


@pytest.mark.parametrize("name", COMMAND_TYPES)
def test_the_schema_and_the_decoder_refuse_the_same(name: str) -> None:
    """Each field of the golden message in turn: left out, and set to each of the odd values."""
    message = golden(name)
    checked = 0
    for changed in variations(message):
        agree(name, changed)
        checked += 1
    assert checked > 100


@settings(max_examples=300)
@given(st.data())
def test_the_schema_and_the_decoder_agree_on_several_changes(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(COMMAND_TYPES)))
    message = copy.deepcopy(golden(name))
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.sampled_from(list(places(message))))
        put(message, place, data.draw(st.one_of(st.sampled_from(ODD), st.text(max_size=140), st.integers())))
    agree(name, message)


def agree(name: str, message: dict[str, Any]) -> None:
    by_schema = validator(f"inbound/{name}.json").is_valid(message)
    command = decode(json.dumps(message).encode(errors="surrogatepass"), programme="demo")
    by_decoder = not isinstance(command, Malformed)
    assert by_schema == by_decoder, (message, command)


ODD: list[Any] = [
    None,
    True,
    "",
    "x" * 64,
    "x" * 65,
    "x" * 128,
    "x" * 129,
    "ü" * 64,
    "\N{PILE OF POO}" * 64,
    "tab\there",
    "line\n",
    "\x00",
    "\x7f",
    "Demo",
    "demo-1.x_y",
    "-demo",
    "CNY",
    "cny",
    "CNYX",
    "NPS",
    -1,
    0,
    1,
    10**9,
    10**9 + 1,
    10**15,
    10**15 + 1,
    -(10**15),
    2**63,
    2**64,
    0.5,
    -1.25,
    [],
    [1],
    [0, 10],
    [0, 1, 2],
    ["a"],
    [{}],
    {},
    {"a": 1},
    {"a": "b"},
    {"a": None},
    {"": "b"},
    {"a\n": "b"},
    "2026-11-20T04:19:52Z",
    "2026-11-20t04:19:52.5z",
    "2026-11-20 04:19:52+08:00",
    "2026-11-20T04:19:52+0800",
    "2026-11-20T04:19:52",
    "2026-11-20",
    "2026-13-20T04:19:52Z",
    "2026-11-20T24:00:00Z",
    "2026-11-20T04:19:60Z",
    "2026-11-20T04:19:52.Z",
    "2026-11-20T04:19:52+24:00",
    "purchase.v1",
]
"""Values that some field takes and most do not. Left out is what JSON Schema cannot tell: that 1.0 is no integer, and
that there is no 30 February (only its `format` says so, which few validators check).
"""


def variations(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for place in places(message):
        for value in ODD:
            changed = copy.deepcopy(message)
            put(changed, place, value)
            yield changed
        changed = copy.deepcopy(message)
        parent(changed, place).pop(place[-1])
        yield changed
    yield {**message, "extra": 1}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def parent(message: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        message = message[key]
    return message


def put(message: dict[str, Any], place: tuple[Any, ...], value: Any) -> None:
    value = copy.deepcopy(value)
    try:
        parent(message, place)[place[-1]] = value
    except (LookupError, TypeError):
        message[str(place[-1])] = value  # an earlier change took the place away


@cache
def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PAYLOADS / "inbound" / f"{name}.json").read_bytes())
    return found


@cache
def validator(path: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / path).read_bytes()))
