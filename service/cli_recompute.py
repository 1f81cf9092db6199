"""`loyalty audit recompute`: the figures of the ledger from its Parquet export, by SQL that shares nothing with it."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from audit.manifest import ExportError
from audit.recomputation import Open, PositionsDiffer, RecomputeReport, recompute_and_compare
from audit.recompute.differences import Difference, Finding
from service.cli_export import EXISTING_FOLDER
from service.console import EXIT_FAILURE, count, instant, say, show_json, stop
from service.read_models import catch_up
from service.settings import Settings
from service.workspace import opened

ENGINES: Final = ("duckdb", "spark")
EXTRAS: Final = {"duckdb": "audit", "spark": "audit,spark"}


@click.command("recompute")
@click.option("--from", "folder", type=EXISTING_FOLDER, help="Use the export in this folder (default: make one).")
@click.option("--engine", type=click.Choice(ENGINES), default="duckdb", show_default=True)
@click.option("--master", help="The master URL of Spark, with --engine spark (default: local[*], all cores).")
@click.option("--programme", "programmes", multiple=True, help="Only this one; may be repeated (default: all).")
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
@click.pass_obj
def recompute_command(
    settings: Settings,
    folder: Path | None,
    engine: str,
    master: str | None,
    programmes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Recompute every figure from the events in SQL, and compare the read models with it row by row.

    Accruals, returns and what paid for what are worked out again from the terms and purchases recorded. Exit code 1 if
    anything differs; each difference is named with the events (journal:position) behind it.
    """
    if master is not None and engine != "spark":
        raise click.UsageError("--master belongs to --engine spark")
    open_engine = engine_of(engine, master)
    with opened(settings) as workspace, tempfile.TemporaryDirectory(prefix="loyalty-recompute-") as work:
        if settings.database_url is None:
            catch_up(workspace.database)
        try:
            report = recompute_and_compare(
                workspace.database.dsn, Path(work), open_engine, folder=folder, programmes=programmes or None
            )
        except (ExportError, PositionsDiffer) as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        show_json({"ok": report.ok, **msgspec.structs.asdict(report)})
    else:
        _say_report(report)
    if not report.ok:
        stop(EXIT_FAILURE)


def engine_of(name: str, master: str | None = None) -> Open:
    """Engines are loaded when they are asked for: they are not installed with the ledger. `master` is that of Spark."""
    try:
        if name == "duckdb":
            from audit.recompute.duckdb_engine import duckdb_engine

            return duckdb_engine
        from audit.recompute.spark_engine import spark_engine
    except ModuleNotFoundError as error:
        wanted = f"pip install 'loyalty-ledger[{EXTRAS[name]}]'"
        raise click.ClickException(f"{error.name} is not installed: {wanted}") from error
    return spark_engine if master is None else partial(spark_engine, master=master)


def _say_report(report: RecomputeReport) -> None:
    for programme, totals in report.totals.items():
        points = ", ".join(f"{name} {number:,}" for name, number in totals.items() if name != "members")
        say(f"{programme}: {count(totals['members'], 'member')} at {instant(report.judged_at)}: {points}")
    for one in report.differences:
        say(_difference(one))
    for one in report.findings:
        say(_finding(one))
    for name, rows in report.rows_compared.items():
        differing = report.rows_differing[name]
        say(f"{name}: {count(rows, 'row')} recomputed, {f'{differing:,} DIFFER' if differing else 'none differs'}")
    at = ", ".join(f"{journal}:{position}" for journal, position in report.positions.items())
    found = count(report.findings_count, "finding", "findings") if report.findings_count else "nothing found"
    say(f"decisions: {found}")
    verdict = "Everything is as the events give it" if report.ok else "NOT everything is as the events give it"
    say(f"{verdict}: {count(report.events, 'event')}, read models at {at}.")


def _difference(one: Difference) -> str:
    key = ", ".join(f"{name} {_value(value)}" for name, value in one.key.items())
    more = one.events_count - len(one.events)
    behind = ", ".join(one.events) + (f" and {more:,} before" if more else "")
    what = f"{_value(one.recomputed)} recomputed, {_value(one.found)} in the read model"
    return f"{one.model} ({key}) {one.column}: {what}; events {behind or 'none'}"


def _finding(one: Finding) -> str:
    who = f" ({one.member})" if one.member else ""
    return f"{one.kind} {one.event}{who}: {one.what}: {one.expected} by the rules, {one.recorded} recorded"


def _value(value: Any) -> str:
    return "nothing" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


COMMANDS: Final = (recompute_command,)
