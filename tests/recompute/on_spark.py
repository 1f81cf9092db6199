"""make spark: the same SQL on Apache Spark gives the same rows. Too slow, and too large to install, for every run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from audit.export import export
from audit.recompute.duckdb_engine import duckdb_engine
from audit.recompute.engine import Engine, recompute
from audit.recompute.scripts import CHECKS, FIGURES, FINDINGS, RESULTS
from ledger.engine import Ledger
from ledger.store.database import Database
from tests.recompute.histories import record

SOON_READY = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.driver.memory": "1g",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "1",
}
"""A few hundred rows are not worth compiling for."""
TABLES = dict.fromkeys((*RESULTS, *FINDINGS))


@pytest.mark.timeout(900)
def test_both_engines_give_the_same_rows(database: Database, tmp_path: Path) -> None:
    from audit.recompute.spark_engine import spark_engine

    ledger = Ledger(database)
    record(ledger, 2, 250, 2)
    ledger.close()
    folder = tmp_path / "export"
    manifest = export(database.dsn, folder).manifest
    segments = [folder / segment.path for segment in manifest.segments]
    cuts = {journal.journal: journal.size for journal in manifest.journals}

    def rows(engine: Engine) -> dict[str, list[str]]:
        recompute(engine, segments, cuts, datetime(2026, 3, 1), (*FIGURES, *CHECKS))  # noqa: DTZ001
        return {table: sorted(map(comparable, engine.rows(f"SELECT * FROM {table}"))) for table in TABLES}

    with duckdb_engine(tmp_path) as engine:
        expected = rows(engine)
    with spark_engine(tmp_path, master="local[2]", **SOON_READY) as spark:
        assert rows(spark) == expected
    assert all(expected[table] for table in RESULTS if table not in FINDINGS)


def comparable(row: tuple[Any, ...]) -> str:
    """Figures of months are floating-point numbers, whose last digits follow from the order of their sums."""
    return str([round(value, 9) if isinstance(value, float) else value for value in row])
