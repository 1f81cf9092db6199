"""Running the program `loyalty` in tests: in this process where it can be, in one of its own where it is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ledger.store.database import connect
from service.cli import cli

ROOT = Path(__file__).parent.parent.parent
COFFEE = ROOT / "examples" / "terms" / "coffee.json"


class Loyalty:
    """The program, with settings of its own."""

    def __init__(self, **settings: str) -> None:
        self.settings: dict[str, str | None] = {
            "LOYALTY_DATABASE_URL": None,
            "LOYALTY_DATA_DIR": None,
            "LOYALTY_PROGRAMME": None,
            **settings,
        }

    def __call__(self, *arguments: str, exit_code: int = 0, **options: Any) -> Result:
        """Run it to its end in this process; the test fails on another exit code than the one expected."""
        result = CliRunner().invoke(cli, arguments, env=self.settings, **options)
        crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
        if crashed and result.exception is not None:
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """Run it with --json; what its only line of output says."""
        return json.loads(self(*arguments, "--json", exit_code=exit_code).stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it in a process and a process group of its own."""
        given = {name: value for name, value in self.settings.items() if value is not None}
        return subprocess.Popen(
            [sys.executable, "-m", "service.cli", *arguments],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in self.settings} | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """What a query finds."""
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        connection.close()


def recorded(dsn: str) -> list[tuple[Any, ...]]:
    """Everything that the ledger recorded but the times at which it did."""
    found = rows(
        dsn,
        "SELECT journal, position, originator_id, originator_version, topic, state, command_key, command_hash,"
        " command_events FROM events ORDER BY journal, position",
    )
    return [(*row[:5], bytes(row[5]), *row[6:]) for row in found]


def position(dsn: str) -> int:
    """How many events there are."""
    return int(rows(dsn, "SELECT coalesce(sum(position), 0) FROM journals")[0][0])
