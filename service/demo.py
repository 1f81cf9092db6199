"""make demo: a year of real household purchases becomes a ledger, and is checked to the cent and the unit.

The messages go in by the same way as anyone's lines (`consumers.files.ingest`): decoded, decided, appended, committed. What
the ledger then holds is compared with the data itself, the balances with the log, and a rebuild with the tables as they
stood. Any difference ends the run with exit code 1 and says what differs.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from consumers.files import STANDARD_INPUT, Counts, ingest
from ledger.codec import decode
from ledger.commands import Command, CreateProgramme, ExpirePoints, PublishTerms
from ledger.engine import Ledger
from ledger.postings import postings
from ledger.store.database import Database
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from ledger.submissions import Outcome, Submission
from service import journey

DATA_DIRECTORY = Path("demo-data")
TERMS = Path(__file__).parent.parent / "examples" / "terms" / "grocery.json"
JOURNALS = 4
ENDS_AT = datetime(2018, 4, 1, tzinfo=ZoneInfo(journey.TIME_ZONE)).astimezone(UTC)
"""When the demo's points are looked at and expired: a quarter after the last purchase, so that the first have expired."""

MEMORY_MAX_MIB = 1024
SECONDS_MAX = 180
CHUNK_BYTES = 1 << 20
_MARKER = "made-by-loyalty-demo"
_BALANCE_ACCOUNTS = ("open", "held", "arrears")


class DemoFailed(Exception):
    """A check of the demo did not hold, or it cannot run; the message says what."""


class Phase(Struct, frozen=True):
    """A part of the run: what it counted, and how long it took."""

    name: str
    count: int
    unit: str
    seconds: float


class Run(Struct):
    """What the run has found out so far."""

    phases: list[Phase] = msgspec.field(default_factory=list)
    posted: Counter[str] = msgspec.field(default_factory=Counter)
    """Message type → how many were posted."""
    refused: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """Message type and code → how many were refused by rule."""
    checks: list[str] = msgspec.field(default_factory=list)


# --- the screen ---------------------------------------------------------------------------------------------------


class Screen:
    """Progress bars on a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

    def line(self, text: str) -> None:
        """One line of what is going on."""
        self.console.print(text)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A function that is told how many of `total` are done."""
        if self.console.is_terminal:
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            ) as bar:
                task, started = bar.add_task(name, total=total, rate=""), time.monotonic()
                yield lambda done: bar.update(
                    task, completed=done, rate=f"{done / max(time.monotonic() - started, 1e-9):,.0f}/s"
                )
            return
        steps = iter(range(total // 5, total, total // 5 or 1))
        following = next(steps, total)

        def tell(done: int) -> None:
            nonlocal following
            if done >= following:
                self.line(f"  {name}: {done:,} of {total:,}")
                following = next((step for step in steps if step > done), total + 1)

        yield tell


# --- the messages as a file ---------------------------------------------------------------------------------------


class Lines(io.RawIOBase):
    """Message bodies as a binary file of lines, a chunk a read, so that they are ingested as any file is."""

    def __init__(self, bodies: Iterable[bytes]) -> None:
        super().__init__()
        self._bodies = iter(bodies)

    def readable(self) -> bool:
        return True

    def read1(self, size: int = CHUNK_BYTES) -> bytes:
        """Whole lines, of about `size` bytes; nothing at the end."""
        chunk = bytearray()
        for body in self._bodies:
            chunk += body
            chunk += b"\n"
            if len(chunk) >= size:
                break
        return bytes(chunk)
