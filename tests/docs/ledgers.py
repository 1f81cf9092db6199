"""The ledgers that pages begin on, each made once and copied for every page: `<!-- ledger: NAME -->`.

`empty`, for a page that names none: no programme yet. `coffee`: the programme `coffee` with the terms of
examples/terms/coffee.json and everything in examples/messages/coffee.jsonl, read models up to date.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from tests.cli.running import COFFEE, ROOT, Loyalty
from tests.conftest import execute_on

MESSAGES = ROOT / "examples" / "messages" / "coffee.jsonl"
CLUSTER = "postgres"


class Ledgers:
    """Data directories with a stopped server in them, by name; each is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        """The data directory of a ledger. KeyError where there is none of that name."""
        make = MAKERS[name]
        directory = self._folder / name
        if not directory.exists():
            directory.mkdir()
            if make is not _empty:
                copy_cluster(self("empty"), directory)
            server = EmbeddedPostgres(directory / CLUSTER)
            try:
                make(server.start(), directory)
            finally:
                server.stop()
        return directory


def copy_cluster(ledger: Path, target: Path) -> None:
    """Copy a stopped server into another data directory, owners and all."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", ledger / CLUSTER, target / CLUSTER], check=True)
    for name in (".handle_pids.json", "postmaster.pid"):
        (target / CLUSTER / name).unlink(missing_ok=True)


def _empty(dsn: str, _: Path) -> None:
    for setting in ("fsync", "full_page_writes"):  # no test outlives a crash of the machine
        execute_on(dsn, f"ALTER SYSTEM SET {setting} = off")
    migrate(dsn)


def _coffee(_: str, directory: Path) -> None:
    loyalty = Loyalty(LOYALTY_DATA_DIR=str(directory), LOYALTY_PROGRAMME="coffee")
    loyalty("programme", "create", "coffee", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    loyalty("terms", "publish", str(COFFEE), "--at", "2026-01-01T00:00:00Z")
    loyalty("ingest", str(MESSAGES))
    loyalty("project", "--once")


MAKERS: dict[str, Callable[[str, Path], None]] = {"empty": _empty, "coffee": _coffee}
