"""docs/terms.md leaves out no field of the document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ledger.terms import terms_json_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "terms.md").read_text(encoding="utf-8")


def names(node: Any) -> set[str]:
    """Every field and every value to choose that the schema has."""
    if isinstance(node, dict):
        return (
            set(node.get("properties", ()))
            | {v for v in node.get("enum", ()) if v}
            | set().union(*map(names, node.values()))
        )
    return set().union(*map(names, node)) if isinstance(node, list) else set()


@pytest.mark.parametrize("name", sorted(names(terms_json_schema()) - {"tue", "wed", "thu", "sat"}))
def test_the_page_has_every_field_and_choice(name: str) -> None:
    assert re.search(rf'[`"]{name}["`]', PAGE)
