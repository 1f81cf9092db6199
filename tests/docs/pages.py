"""README.md and docs/*.md as the tests read them: fenced blocks, in order, with the comments that steer them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parent.parent.parent

RUN = frozenset({"console", "sh", "python", "sql", "json", "usage"})
"""Kinds of blocks that are run or checked: see tests/docs/README.md."""
SHOWN = frozenset({"text", "ini", "yaml"})
"""Kinds that are only shown. `text` right after `sql` or `python` is what that prints, and is compared."""

NOT_RUN = {
    ("docs/quick-start.md", "python3 -m venv .venv"): "installs from a package index",
    ("docs/auditing.md", "python3 -m venv .venv"): "installs from a package index",
    ("docs/contracts.md", "git worktree add"): "needs the repository with a release in it",
    ("docs/operating.md", 'mkdir -p "$BACKUP"'): "run by tests/operations/test_backup.py, under load",
    ("docs/operating.md", 'mkdir -p "$RESTORED"'): "run by tests/operations/test_backup.py, on that backup",
    ("docs/operating.md", "python3 -m venv /opt/loyalty"): "installs from a package index, as root",
}
"""Page, and how the first line of a block begins → why no test can run it."""

OF_A_BLOCK = frozenset({"file", "schema", "another terminal", "as the owner"})
OF_A_PAGE = frozenset({"ledger", "data", "kafka"})
"""Comments, by what they are about: see tests/docs/README.md."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\S*) *$")
_COMMENT = re.compile(r"^ *<!-- *(?P<name>[a-z ]+?) *(?:: *(?P<value>.*?) *)?-->$")


class Block(Struct, frozen=True, kw_only=True):
    """A fenced block: its kind, its text without the fences, and the comments right before it, name → value.

    `line` is that of the opening fence, from 1. `follows` is whether nothing but blank lines is between it and the
    block before it.
    """

    page: str
    line: int
    kind: str
    text: str
    comments: dict[str, str]
    follows: bool

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self) -> str | None:
        """Why it is not run, if it is on the list."""
        return next((why for (page, start), why in NOT_RUN.items() if page == self.page and self.begins(start)), None)

    def begins(self, start: str) -> bool:
        """Whether its first command begins so."""
        return self.text.removeprefix("$ ").startswith(start)


class Page(Struct, frozen=True, kw_only=True):
    """A page: its path below the root, its blocks, and the comments that are about all of it."""

    name: str
    blocks: list[Block]
    comments: dict[str, str]


class Wrong(AssertionError):
    """A page does not keep the conventions, or not what it says; where, and what differs."""


def page_names() -> list[str]:
    """README.md, and everything below docs/ that people read."""
    return ["README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]


def read_page(name: str) -> Page:
    """A page of this repository."""
    return parse(name, (ROOT / name).read_text(encoding="utf-8"))


def parse(name: str, markdown: str) -> Page:
    """A page from its text. Raises Wrong where it does not keep the conventions."""
    blocks: list[Block] = []
    page_comments: dict[str, str] = {}
    comments: dict[str, str] = {}
    follows = False
    lines = iter(enumerate(markdown.splitlines(), 1))
    for number, line in lines:
        if fence := _FENCE.match(line):
            text = _inside(name, number, len(fence["indent"]), lines)
            blocks.append(
                Block(page=name, line=number, kind=fence["kind"], text=text, comments=comments, follows=follows)
            )
            comments, follows = {}, True
        elif line.lstrip().startswith("```"):
            raise Wrong(f"{name}:{number}: a fence has a kind of one word and nothing else: {line}")
        elif comment := _COMMENT.match(line):
            if comment["name"] not in OF_A_BLOCK | OF_A_PAGE:
                raise Wrong(f"{name}:{number}: a comment that means nothing: {line}")
            about = comments if comment["name"] in OF_A_BLOCK else page_comments
            about[comment["name"]] = comment["value"] or ""
        elif line.strip():
            if comments:
                raise Wrong(f"{name}:{number}: a comment that no block comes after: {comments}")
            follows = False
    return Page(name=name, blocks=blocks, comments=page_comments)


def _inside(name: str, number: int, indent: int, lines: Iterator[tuple[int, str]]) -> str:
    text = []
    for _, line in lines:
        if line.strip() == "```":
            return "".join(f"{each}\n" for each in text)
        text.append(line[indent:] if not line[:indent].strip() else line)
    raise Wrong(f"{name}:{number}: the block does not end")
