"""A process that outlives ours, to kill the broker and remove its files: a test run that is killed leaves nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

# It reads the broker's process id, or an empty line when there is none, until the pipe closes, as it does when our
# process ends, however it ends. Killing takes a moment, in which the broker may still write.
_SCRIPT = """
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null; sleep 0.5; fi
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""


class Watcher:
    """Watches over one directory, and over the process that is named to it."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "kafka-watcher", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C is for us; the watcher acts when we are gone
        )

    def watch(self, process_id: int | None) -> None:
        """The process to kill if ours ends; None once it has ended by itself."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{process_id or ''}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill what is left, remove the directory, and wait until that is done."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
