"""The SQL files on DuckDB: its tables are in memory, and in files of a folder as far as they do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

MEMORY_LIMIT: Final = "1GB"


class DuckDBEngine:
    """A database that is used by one thread; DuckDB itself uses several."""

    name = "duckdb"
    version = duckdb.__version__
    dialect = "engine_duckdb.sql"

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        """Run a statement. Raises duckdb.Error."""
        with _interruptible():
            self._connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with _interruptible():
            return self._connection.execute(query).fetchall()

    def view(self, name: str, files: Sequence[Path]) -> None:
        """Make a view of Parquet files of one schema."""
        listed = ", ".join(map(_text, files))
        self.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")


@contextmanager
def duckdb_engine(work: Path, memory_limit: str = MEMORY_LIMIT, threads: int | None = None) -> Iterator[DuckDBEngine]:
    """An engine that takes about `memory_limit`, and files in the folder `work` for what exceeds it.

    `threads`: None for all cores.
    """
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")  # it is written to standard output, where JSON is due
        connection.execute(f"SET memory_limit = '{memory_limit}'; SET temp_directory = {_text(work / 'spilled')}")
        if threads is not None:
            connection.execute(f"SET threads = {threads:d}")
        yield DuckDBEngine(connection)
    finally:
        connection.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Where Ctrl-C stops a query, DuckDB raises a RuntimeError in place of the KeyboardInterrupt."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _text(path: Path) -> str:
    return "'" + str(path.absolute()).replace("'", "''") + "'"
