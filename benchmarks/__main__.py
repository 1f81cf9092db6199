"""make bench: measure every figure of the README, and write JSON results.

    python -m benchmarks [NAME …] [--to DIR]

The README holds the targets beside the figures; a run fails only where a result is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks import (
    console,
    export,
    http,
    ingest,
    kafka,
    lifetime,
    memory,
    projections,
    proofs,
    read_models,
    recompute,
    redemptions,
    satisfaction,
    scale,
    verify,
)
from benchmarks.measuring import embedded_server, write_result
from service import runtime

BENCHMARKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "ingest": ingest.measure,
    "redemptions": redemptions.measure,
    "projections": projections.measure,
    "read_models": read_models.measure,
    "lifetime": lifetime.measure,
    "satisfaction": satisfaction.measure,
    "kafka": kafka.measure,
    "relay": kafka.measure_relay,
    "http": http.measure,
    "console": console.measure,
    "memory": memory.measure,
    "verify": verify.measure,
    "proofs": proofs.measure,
    "export": export.measure,
    "recompute": recompute.measure,
    "scale": scale.measure,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--to", "folder", type=click.Path(path_type=Path), default=Path("bench-results"), show_default=True)
def main(names: tuple[str, ...], folder: Path) -> None:
    """Run the benchmarks named, or all of them."""
    runtime.settle()
    terminal = Console()
    for name in names or BENCHMARKS:
        terminal.print(f"[bold]{name}[/bold] …")
        with embedded_server() as server_dsn:
            result = BENCHMARKS[name](server_dsn)
        path = write_result(name, result, folder)
        table = Table("figure", "measured", title=str(path))
        for figure, value in _flat(result):
            table.add_row(figure, str(value))
        terminal.print(table)


def _flat(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in result.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows


if __name__ == "__main__":
    main()
