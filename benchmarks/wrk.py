"""wrk as the load, where it is on the path: it takes a tenth of the processor time of a generator in Python."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

THREADS = 1
"""One loads a server in Python many times over, and leaves it a core."""

_DONE = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{"count": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.3f, "p99_ms": %.3f}\\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Found(Struct):
    """What came of a load: how many requests were answered in how many seconds, and their latencies in ms."""

    count: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float


def available() -> bool:
    """Whether wrk is on the path."""
    return shutil.which("wrk") is not None


def gets(paths: list[str]) -> str:
    """A script that asks for some paths in turn."""
    listed = ",\n".join(_quoted(path) for path in paths)
    return (
        f"local paths = {{{listed}}}\nlocal n = 0\n"
        'request = function() n = n % #paths + 1; return wrk.format("GET", paths[n]) end\n'
    )


def posts(path: str, bodies: str) -> str:
    """A script that posts bodies; `bodies` is a Lua expression of one, with `n`, the number of the request from 1."""
    return (
        f'local n = 0\nrequest = function() n = n + 1; return wrk.format("POST", {_quoted(path)}, nil, {bodies}) end\n'
    )


def run(port: int, script: str, *, key: str, connections: int, seconds: int) -> Found:
    """Put a load on a server for some seconds. Raises CalledProcessError where wrk fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f'wrk.headers["Authorization"] = {_quoted(f"Bearer {key}")}\n{script}{_DONE}')
        file.flush()
        done = subprocess.run(
            ["wrk", "-t", str(THREADS), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s",
             "-s", Path(file.name).name, f"http://127.0.0.1:{port}"],
            cwd=Path(file.name).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    return msgspec.json.decode(done.stdout.strip().rpartition("\n")[2], type=Found)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
