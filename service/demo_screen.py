"""What the demo shows: progress while it runs, and its last screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PIPE_WIDTH = 120
PIPE_STEPS = 5


class Screen:
    """Progress bars on a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)

    def line(self, text: str = "") -> None:
        """One line of what is going on."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A function that is told how many of `total` are done so far."""
        if not self.console.is_terminal:
            yield self._in_steps(name, total)
            return
        texts = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
        columns = (texts[0], BarColumn(), MofNCompleteColumn(), texts[1], TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task, started = bar.add_task(name, total=total, rate=""), time.monotonic()
            yield lambda done: bar.update(
                task, completed=done, rate=f"{done / max(time.monotonic() - started, 1e-9):,.0f}/s"
            )

    def _in_steps(self, name: str, total: int) -> Callable[[int], None]:
        told = 0

        def tell(done: int) -> None:
            nonlocal told
            step = done * PIPE_STEPS // max(total, 1)
            if step > told:
                told = step
                self.line(f"  {name}: {done:,} of {total:,}")

        return tell

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; numbers and what looks like them are set right."""
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, heading in enumerate(headings):
            is_figure = all(isinstance(row[number], int | float) for row in rows)
            table.add_column(heading, justify="right" if is_figure else "left", no_wrap=is_figure)
        for row in rows:
            table.add_row(*(_shown(value) for value in row))
        self.console.print(table)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
