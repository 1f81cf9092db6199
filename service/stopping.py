"""Stopping in order: a signal asks for an end, and what is under way is finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.console import note


@contextmanager
def stopping(say: Callable[[str], object] = note) -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) asks for an end after the batch under way; the second ends at once."""
    stopped = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        say("Finishing the batch under way (Ctrl-C again ends at once) …")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
