"""Who may import whom: every module's imports against the table in docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "architecture.md"
PACKAGES = ("schemas", "ledger", "projections", "consumers", "audit", "service", "benchmarks", "tests")
OUTERMOST = ("service", "benchmarks", "tests")
ONLY_WHERE_NAMED = "psycopg"


class Part(NamedTuple):
    """A row of the table."""

    name: str
    modules: frozenset[str]
    imports: frozenset[str]
    libraries: frozenset[str]


class Architecture:
    """The table, and the parts that modules belong to."""

    def __init__(self, markdown: str) -> None:
        rows = [line.strip().strip("|").split("|") for line in markdown.splitlines() if line.startswith("|")]
        self.parts = {
            name.strip(): Part(name.strip(), *(frozenset(names.replace("`", "").split()) for names in cells))
            for name, *cells in rows
            if len(cells) == 3 and name.strip() not in {"part", "---"}
        }

    def part_of(self, module: str) -> Part | None:
        """The part with the longest name that covers the module."""
        covering = [(len(name), part) for part in self.parts.values() for name in part.modules if covers(name, module)]
        return max(covering, key=lambda found: found[0])[1] if covering else None

    def violation(self, module: str, imported: str) -> str | None:
        """Why the module may not import what it imports, if so."""
        part = self.part_of(module)
        if part is None:
            return f"{module} belongs to no part"
        top = imported.partition(".")[0]
        if top in sys.stdlib_module_names:
            return None
        if top in PACKAGES:
            return self._violation_inside(part, module, imported)
        if top in part.libraries or ("any" in part.libraries and top != ONLY_WHERE_NAMED):
            return None
        return f"{module} ({part.name}) imports the library {top}"

    def _violation_inside(self, part: Part, module: str, imported: str) -> str | None:
        target = self.part_of(imported)
        if target is None:
            return f"{module} imports {imported}, which belongs to no part"
        if target == part or part.name in {"tests", "benchmarks"}:
            return None
        allowed = target.name in part.imports or any(covers(name, imported) for name in part.imports)
        if allowed or ("any" in part.imports and target.name not in OUTERMOST):
            return None
        return f"{module} ({part.name}) imports {imported} ({target.name})"


def covers(name: str, module: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def imports_of(source: str, module: str, known: frozenset[str]) -> Iterator[str]:
    """What a module imports, at whatever depth: statements, and import_module of a constant."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (named(alias.name, known) for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*parents, *([base] if base else [])])
                for alias in names:
                    yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else named(base, known)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield named(name, known)


def named(name: str, known: frozenset[str]) -> str:
    """A package is named by its __init__."""
    return f"{name}.__init__" if f"{name}.__init__" in known else name


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = modules()
ARCHITECTURE = Architecture(TABLE.read_text(encoding="utf-8"))


def test_the_table_names_every_package() -> None:
    assert {name.partition(".")[0] for part in ARCHITECTURE.parts.values() for name in part.modules} == set(PACKAGES)


def test_the_table_names_no_module_of_the_ledger_that_is_gone() -> None:
    named_modules = {name for part in ARCHITECTURE.parts.values() for name in part.modules if name.startswith("ledger")}
    assert {name for name in named_modules if not any(covers(name, module) for module in MODULES)} == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_the_table_allows(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    violations = [
        ARCHITECTURE.violation(module, imported) for imported in imports_of(source, module, frozenset(MODULES))
    ]
    assert [violation for violation in violations if violation] == []
    assert ARCHITECTURE.part_of(module) is not None, f"{module} belongs to no part: give it a row in {TABLE.name}"


@pytest.mark.parametrize(
    ("module", "source", "violation"),
    [
        ("ledger.decider", "from ledger.store.database import Database", "ledger.decider (core) imports ledger.store"),
        ("ledger.decider", "import ledger.engine", "ledger.decider (core) imports ledger.engine (shell)"),
        ("ledger.decider", "from ledger import engine", "ledger.decider (core) imports ledger.engine (shell)"),
        ("ledger.decider", "from . import engine", "ledger.decider (core) imports ledger.engine (shell)"),
        ("ledger.store.recorders", "from .. import engine\nimport click", "(shell) imports the library click"),
        ("ledger.decider", "def f():\n    import psycopg2", "ledger.decider (core) imports the library psycopg2"),
        ("ledger.decider", "import importlib\nimportlib.import_module('projections')", "imports projections"),
        ("ledger.decider", "from schemas import load", "ledger.decider (core) imports schemas"),
        ("ledger.engine", "import projections", "ledger.engine (shell) imports projections"),
        ("ledger.novelty", "import re", "ledger.novelty belongs to no part"),
        ("projections.balances", "from ledger.decider import decide", "projections.balances (projections) imports"),
        ("consumers.loop", "from projections.runner import run", "consumers.loop (consumers) imports projections"),
        ("audit.recompute", "from ledger.evolver import evolve", "audit.recompute (recomputation) imports ledger.evo"),
        ("audit.recompute", "from audit import verify", "audit.recompute (recomputation) imports audit"),
        ("audit.verify", "from projections import balances", "audit.verify (audit) imports projections"),
        ("projections.runner", "import service.cli", "projections.runner (projections) imports service.cli (service)"),
        ("service.cli", "from tests.conftest import database", "service.cli (service) imports tests.conftest (tests)"),
        ("service.cli", "import psycopg", "service.cli (service) imports the library psycopg"),
        ("tests.store.test_x", "import psycopg.rows", "tests.store.test_x (tests) imports the library psycopg"),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(module: str, source: str, violation: str) -> None:
    found = [ARCHITECTURE.violation(module, imported) for imported in imports_of(source, module, frozenset(MODULES))]
    assert any(violation in text for text in found if text), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ledger.decider", "import re\nfrom msgspec import Struct\nfrom .values import FAR\nfrom ledger import member"),
        ("ledger.store.recorders", "import psycopg2.extensions\nfrom eventsourcing.persistence import Tracking"),
        ("ledger.store.recorders", "from . import journal as log\nfrom ..hashing import leaf_hash"),
        ("projections.balances", "from ledger.events import Event\nfrom ledger.store.database import Database"),
        ("service.cli", "import click\nimport audit\nfrom ledger.decider import decide"),
        ("benchmarks.stock", "import psycopg\nimport tests.conftest\nimport service.cli"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    found = [ARCHITECTURE.violation(module, imported) for imported in imports_of(source, module, frozenset(MODULES))]
    assert [violation for violation in found if violation] == []
