"""What an engine must do to run the SQL files, and running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from audit.recompute.scripts import statements


class Engine(Protocol):
    """DuckDB or Spark. What both understand the same is in the numbered files, what they do not in `dialect`."""

    name: str
    version: str
    dialect: str
    """The file of SQL that makes them alike."""

    def execute(self, statement: str) -> None:
        """Run a statement. Raises an error of the engine's own."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def view(self, name: str, files: Sequence[Path]) -> None:
        """Make a view of Parquet files of one schema."""


def recompute(
    engine: Engine, segments: Sequence[Path], cuts: Mapping[int, int], judged_at: datetime, scripts: Sequence[str]
) -> None:
    """Run files of SQL on segments of an export, of each journal in `cuts` up to a position. Points are pending, active
    or expired at `judged_at` (UTC, without zone).
    """
    engine.view("segments", segments)
    positions = ", ".join(f"({journal:d}, {position:d})" for journal, position in sorted(cuts.items()))
    engine.execute(f"CREATE TABLE cuts AS SELECT * FROM (VALUES {positions}) AS cuts (journal, cut)")
    engine.execute(
        "CREATE TEMPORARY VIEW exported AS SELECT segments.* FROM segments"
        " JOIN cuts ON segments.journal = cuts.journal AND segments.position <= cuts.cut"
    )
    engine.execute(f"CREATE TABLE parameters AS SELECT TIMESTAMP '{judged_at:%Y-%m-%d %H:%M:%S.%f}' AS judged_at")
    for script in (engine.dialect, *scripts):
        for statement in statements(script):
            engine.execute(statement)
