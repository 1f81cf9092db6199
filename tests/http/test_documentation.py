"""The examples of docs/http.md, run from the first to the last as one script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.http.serving import ROOT, Server

PAGE = ROOT / "docs" / "http.md"


def test_the_examples_run(database_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "loyalty").write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m service.cli "$@"\n')
    (tmp_path / "loyalty").chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    examples = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(examples) >= 10
    with Server(database_dsn, "--project") as running:
        done = subprocess.run(
            ["bash", "-euc", "\n".join(examples)],
            cwd=tmp_path,
            env=os.environ
            | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "URL": running.url, "LOYALTY_DATABASE_URL": database_dsn},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert '"points"' in done.stdout
