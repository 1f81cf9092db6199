"""docs/reference says what the types, the codes and the program say, and leaves nothing out."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from msgspec import Struct

from ledger.rejections import CODES
from service.cli import cli
from service.code_advice import ADVICE, REQUEST_ADVICE, SECTIONS
from service.http.problems import REQUEST_CODES
from service.reference import reference_files
from service.reference_fields import fields_of
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"
ANYWHERE = {"INVALID_FIELD", "TERMS_INVALID"}
"""Codes that may be about any field."""


class Novelty(Struct):
    """Explains `this` only."""

    this: int
    that: int


def test_the_pages_are_what_the_program_gives() -> None:
    """If this fails: loyalty schemas docs --to docs/reference --examples tests/contracts."""
    made = reference_files(cli, ROOT / "tests" / "contracts")
    assert sorted(made) == sorted(path.name for path in REFERENCE.iterdir())
    assert [name for name, page in made.items() if (REFERENCE / name).read_text("utf-8") != page] == []


def test_a_field_that_nothing_explains_is_told() -> None:
    with pytest.raises(LookupError, match=r"Novelty\.that is explained nowhere"):
        fields_of(Novelty)


def test_every_code_has_advice_and_is_in_one_section() -> None:
    assert list(ADVICE) == list(CODES)
    assert list(REQUEST_ADVICE) == list(REQUEST_CODES)
    starts = [list(CODES).index(code) for code in SECTIONS]
    assert starts == sorted(starts)
    assert starts[0] == 0


def refusals() -> Iterator[tuple[str, str]]:
    """Code and field of every `Rejection("CODE", "field", …)` in the source; `…` stands for what is filled in."""
    for package in ("ledger", "consumers", "service"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                match node:
                    case ast.Call(func=ast.Name(id="Rejection"), args=[ast.Constant(value=str(code)), field, *_]):
                        if shown := shown_field(field):
                            yield code, shown


def shown_field(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(name)):
            return name
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
    return ""


def test_the_fields_of_a_code_are_those_that_refusals_name() -> None:
    found = {(code, field) for code, field in refusals() if code not in ANYWHERE}
    assert len(found) > 60
    assert {(code, field) for code, field in found if field not in ADVICE[code].fields.split()} == set()
