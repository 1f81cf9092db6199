"""How long tests wait for what must come to pass: long, for a busy machine is no fault. What hangs fails in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_SECONDS: Final = 120.0
"""Under the time that a test may take, so that it is our message that is read."""


def wait_for(holds: Callable[[], bool], pause_seconds: float = 0.01) -> None:
    """Wait until something holds; fails the test where it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"it did not come to pass within {PATIENCE_SECONDS:.0f} s"
        time.sleep(pause_seconds)
