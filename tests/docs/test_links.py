"""Links between pages lead somewhere, and every page can be found from the index."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, page_names

PAGES = [*page_names(), "tests/docs/README.md"]
INDEX = "docs/README.md"
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    lost = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(f"{path}#{anchor}")
    assert lost == []


def test_the_index_has_every_page() -> None:
    linked = {(ROOT / "docs" / path).resolve() for path, _ in links(ROOT / INDEX) if path}
    pages = {path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "adr"} - {ROOT / INDEX}
    assert sorted(path.name for path in pages - linked) == []


def links(page: Path) -> list[tuple[str, str]]:
    """Path and anchor of every link to a file."""
    return _LINK.findall(_FENCED.sub("", page.read_text("utf-8")))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+?) *$", _FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
