"""The SQL files on DuckDB: its tables are in a file, and what does not fit into memory is written beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

from audit.recompute.scripts import statements

ENGINE: Final = "engine_duckdb.sql"
MEMORY_LIMIT: Final = "1GB"
FOREVER: Final = datetime(9999, 12, 31)  # noqa: DTZ001 (instants are UTC in these tables, and have no zone)


@contextmanager
def opened(work: Path, memory_limit: str = MEMORY_LIMIT, threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in a file of the folder `work`, which is to be empty."""
    work.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(work / "recompute.duckdb")
    try:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        connection.execute(f"SET memory_limit = '{memory_limit}'; SET temp_directory = '{_quoted(work / 'spilled')}'")
        if threads is not None:
            connection.execute(f"SET threads = {threads:d}")
        yield connection
    finally:
        connection.close()


def recompute(
    connection: duckdb.DuckDBPyConnection,
    export: Path,
    scripts: Sequence[str],
    judged_at: datetime,
    as_of: datetime | None = None,
) -> None:
    """Run files of SQL on the export in a folder. Points are pending, active or expired at `judged_at` (UTC, without
    zone); `as_of` leaves out what occurred later. Raises duckdb.Error.
    """
    connection.execute(f"SET file_search_path = '{_quoted(export)}'")
    connection.execute("CREATE TABLE parameters (judged_at TIMESTAMP, as_of TIMESTAMP)")
    connection.execute("INSERT INTO parameters VALUES (?, ?)", [judged_at, as_of or FOREVER])
    for script in (ENGINE, *scripts):
        for statement in statements(script):
            connection.execute(statement)


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("'", "''")
