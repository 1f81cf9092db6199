"""The SQL files on Apache Spark, for histories beyond one machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pyspark.sql import SparkSession

MASTER: Final = "local[*]"
SETTINGS: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}


class SparkEngine:
    """A session of Spark; its tables are Parquet files in its warehouse."""

    name = "spark"
    dialect = "engine_spark.sql"

    def __init__(self, session: SparkSession) -> None:
        self.version = session.version
        self._session = session

    def execute(self, statement: str) -> None:
        """Run a statement. Raises pyspark.errors.PySparkException."""
        self._session.sql(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self._session.sql(query).collect()]

    def view(self, name: str, files: Sequence[Path]) -> None:
        """Make a view of Parquet files of one schema."""
        self._session.read.parquet(*(f"file://{path.absolute()}" for path in files)).createOrReplaceTempView(name)


@contextmanager
def spark_engine(work: Path, master: str = MASTER, **settings: str) -> Iterator[SparkEngine]:
    """An engine whose tables are in the folder `work`, which has none yet; every worker must see that folder and the
    export under the same path. `master` is the master URL of Spark.
    """
    builder = SparkSession.builder.appName("loyalty-recompute").master(master)
    builder = builder.config(map=SETTINGS | settings | {"spark.sql.warehouse.dir": (work / "warehouse").as_uri()})
    session = builder.getOrCreate()
    try:
        yield SparkEngine(session)
    finally:
        session.stop()
