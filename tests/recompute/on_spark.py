"""make spark: the same SQL on Apache Spark gives the same rows. Too slow, and too large to install, for every run."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyspark
import pytest
from click.testing import CliRunner

from audit.export import export
from audit.recompute.duckdb_engine import duckdb_engine
from audit.recompute.engine import Engine, recompute
from audit.recompute.scripts import CHECKS, FIGURES, FINDINGS, RESULTS
from audit.recompute.spark_engine import spark_engine
from ledger.engine import Ledger
from ledger.store.database import Database
from service.cli_recompute import recompute_command
from service.read_models import catch_up
from service.settings import Settings
from tests.conftest import execute_on
from tests.recompute.histories import record

SOON_READY = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.driver.memory": "1g",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "1",
}
"""A few hundred rows are not worth compiling for."""
CLUSTER = "local-cluster[2,1,1024]"
"""Two workers, processes of their own, with a core and 1 GiB each."""
TABLES = dict.fromkeys((*RESULTS, *FINDINGS))


@pytest.mark.timeout(1800)
def test_both_engines_give_the_same_rows(database: Database, tmp_path: Path) -> None:
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


@pytest.mark.timeout(1800)
def test_the_command_on_a_cluster_says_what_it_says_on_duckdb(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows of read models are edited: every figure, difference and event named is the same."""
    ledger = Ledger(database)
    record(ledger, 2, 60, 2)
    ledger.close()
    catch_up(database)
    for table, edit, whose in (
        ("balances", "held = held + 7, earned = earned + 7", "earned > 0"),
        ("lifetime", "last_day = last_day + 1", "purchases > 0"),
    ):
        first = f"SELECT journal, member FROM {table} WHERE {whose} ORDER BY 1, 2 LIMIT 1"
        execute_on(database.dsn, f"UPDATE {table} SET {edit} WHERE (journal, member) = ({first})")
    export(database.dsn, tmp_path / "export")
    (tmp_path / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in SOON_READY.items()))
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))

    def said(*options: str) -> dict[str, Any]:
        settings = Settings(database_url=database.dsn, data_directory=Path("unused"), programme="")
        given = ["--from", str(tmp_path / "export"), "--json", *options]
        result = CliRunner().invoke(recompute_command, given, obj=settings)
        assert result.exit_code == 1, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    on_duckdb, on_spark = said(), said("--engine", "spark", "--master", CLUSTER)
    assert (on_duckdb.pop("engine"), on_spark.pop("engine")) == ("duckdb", "spark")
    assert on_spark.pop("engine_version") == pyspark.__version__
    del on_duckdb["engine_version"]
    assert on_spark == on_duckdb
    assert {(one["model"], one["column"]) for one in on_spark["differences"]} == {
        ("balances", "held"), ("balances", "earned"), ("lifetime", "last_day")
    }  # fmt: skip
