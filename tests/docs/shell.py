"""The shell of a page: one bash from its first block to its last."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

STEP_SECONDS_MAX = 150.0
END_SECONDS_MAX = 20.0
ENDED = -1
TOOK_TOO_LONG = -2


class Said(NamedTuple):
    """What a step wrote to both of its outputs, and its exit code; below 0 where the shell itself ended by it or did
    not come back.
    """

    output: str
    code: int


class Shell:
    """A bash in a folder. Steps share its variables and working directory."""

    def __init__(self, folder: Path, steps: Path, environment: dict[str, str]) -> None:
        self._steps = steps
        steps.mkdir()
        self._count = 0
        self._done, told = os.pipe()
        self._told = told
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            cwd=folder,
            env=environment,
            pass_fds=(told,),
            start_new_session=True,
            text=True,
        )
        assert self._bash.stdin is not None
        self._input = self._bash.stdin
        os.close(told)

    def run(self, command: str, *, every_line: bool = False) -> Said:
        """Run a step to its end; with `every_line`, each of its commands must succeed, and variables must be set."""
        path, output = self._step(command)
        before, after = ("set -eu; ", "; set +eu") if every_line else ("", "")
        self._tell(f"{before}. {path} >{output} 2>&1 </dev/null {self._told}>&-{after}; echo $? >&{self._told}")
        code = self._answer()
        return Said(output.read_text(encoding="utf-8", errors="replace"), code)

    def start(self, command: str) -> Path:
        """Start a step that keeps running, as in a terminal of its own; the file that it writes to."""
        path, output = self._step(command)
        output.touch()
        self._tell(f". {path} >{output} 2>&1 </dev/null {self._told}>&- &\necho 0 >&{self._told}")
        self._answer()
        return output

    def close(self) -> None:
        """End it and everything that it started: asked to first, killed when that takes long."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + END_SECONDS_MAX
            while self._is_there(number) and time.monotonic() < deadline:
                number = 0
                time.sleep(0.01)
        with suppress(BrokenPipeError):  # it ended by itself
            self._input.close()
        os.close(self._done)

    def _is_there(self, number: int) -> bool:
        """Send a signal to all that is left; whether there was anything."""
        self._bash.poll()
        try:
            os.killpg(self._bash.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _step(self, command: str) -> tuple[Path, Path]:
        self._count += 1
        path = self._steps / str(self._count)
        path.write_text(command, encoding="utf-8")
        return path, path.with_suffix(".out")

    def _tell(self, line: str) -> None:
        self._input.write(line + "\n")
        self._input.flush()

    def _answer(self) -> int:
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while time.monotonic() < deadline:
            if select.select([self._done], [], [], 0.1)[0]:
                return int(os.read(self._done, 100) or b"-1")
            if self._bash.poll() is not None:
                return self._bash.returncode or ENDED
        return TOOK_TOO_LONG
