"""The ledgers that pages begin on, each made once and copied for every page: `<!-- ledger: NAME -->`.

`empty`, for a page that names none: no programme yet. `coffee`: the programme `coffee` with the terms of
examples/terms/coffee.json and everything in examples/messages/coffee.jsonl, read models up to date. `journey`: that of
`make demo`, of a few households for the whole year. So what README.md says about one of them is what it says there;
positions and sums over all households are not, and README.md shows none.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from consumers.files import STANDARD_INPUT, ingest
from ledger.programmes import read_programme
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from ledger.store.source_files import FileRun
from projections.runner import Runner
from service import demo, journey
from service.expiring import expire
from service.read_models import read_models
from service.settings import Settings
from service.workspace import opened
from tests.cli.running import COFFEE, ROOT, Loyalty
from tests.conftest import execute_on

MESSAGES = ROOT / "examples" / "messages" / "coffee.jsonl"
CLUSTER = "postgres"
HOUSEHOLDS = re.compile(
    rb'"member":"H(0256|1023|2380'  # README.md shows them, and those whose redemptions were refused:
    rb'|0165|0239|0681|0712|0931|1029|1642|1773|1921|1923|2457|2488)"'
)


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


def _journey(_: str, directory: Path) -> None:
    settings = Settings(database_url=None, data_directory=directory, programme=journey.PROGRAMME)
    with opened(settings) as workspace:
        demo.found_programme(workspace.ledger)
        bodies = (message.body for message in journey.messages() if HOUSEHOLDS.search(message.body))
        lines = cast("IO[bytes]", demo.Lines(bodies))
        record = FileRun(workspace.database).record
        ingest(workspace.ledger, [STANDARD_INPUT], standard_input=lines, auto_enrol=True, record=record)
        with workspace.database.connection() as cur:
            info = read_programme(cur, journey.PROGRAMME)
        assert info is not None
        expire(workspace, info, demo.ENDS_AT)
        Runner(workspace.database, read_models()).run_once()


MAKERS: dict[str, Callable[[str, Path], None]] = {"empty": _empty, "coffee": _coffee, "journey": _journey}
