"""The processes of a run: started, killed, stopped and continued, and started again when they end by themselves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from tests.soak.program import BEGAN
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent.parent
STARTED_SECONDS = 15.0
"""A process that ends by itself sooner may have found the database away when it started, which ends it by right."""

_numbers = count(1)


class Program:
    """One `loyalty` process after the other under one name; what they say goes to a file each."""

    def __init__(self, name: str, arguments: list[str], dsn: str, folder: Path, **environment: str) -> None:
        self.name = name
        self._arguments = arguments
        self._folder = folder
        self._environment = {"LOYALTY_DATABASE_URL": dsn, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._said = folder
        self.ended_early = 0
        self.defects: list[str] = []

    def start(self) -> None:
        self._said = self._folder / f"{next(_numbers):04}-{self.name}.log"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.program", *self._arguments],
                cwd=ROOT,
                env={**os.environ, **self._environment},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self) -> str:
        """Start it and wait for its end; what it said. AssertionError if it failed."""
        self.start()
        assert self._process is not None
        code = self._process.wait(PATIENCE_SECONDS)
        said = self._said.read_text(errors="replace")
        assert code == 0, f"{self.name}: exit code {code}\n{said}"
        return said

    def keep_running(self) -> None:
        """Start it again when it has ended by itself; that is a defect, unless it was starting."""
        if self._process is None or self._process.poll() is None:
            return
        said = self._said.read_text(errors="replace")
        began = re.search(rf"^{BEGAN}(\S+)$", said, re.MULTILINE)
        lived = self._said.stat().st_mtime - float(began[1]) if began else 0.0  # until its last words
        if lived > STARTED_SECONDS or "Traceback" in said:
            self.defects.append(
                f"{self.name} ended by itself after {lived:.0f} s with exit code {self._process.returncode}:"
                f" {self._said}\n{said[-3_000:]}"
            )
        self.ended_early += 1
        self.start()

    def kill(self) -> None:
        """kill -9; also one that is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """SIGTERM, and it must end."""
        self._signal(signal.SIGTERM)
        try:
            if self._process is not None:
                self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.defects.append(f"{self.name} did not end within {PATIENCE_SECONDS} s of SIGTERM: {self._said}")
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
