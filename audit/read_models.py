"""The rows of read models as they are at one moment, as Parquet files in the shape that they are recomputed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg2
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from audit.recompute.models import MODELS, PROJECTIONS, Model
from ledger.store.database import PgCursor, connect, translated

NEVER: Final = "9999-12-31 00:00:00.000000"
"""When points expire that do not."""

_INSTANT: Final = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
_INSTANTS: Final = frozenset(
    {"available_at", "opened_at", "enrolled_at", "first_purchase_at", "last_purchase_at", "surveyed_at"}
)
_TEXTS: Final = frozenset(
    {"member", "lot", "status", "survivor", "survey_currency", "channels", "stores", "per", "value", "instrument"}
)
_DAYS: Final = frozenset({"day", "cohort", "first_day", "second_day", "last_day"})
_EXPRESSIONS: Final = {
    "expires_at": f"CASE expires_at WHEN 'infinity' THEN '{NEVER}' ELSE {_INSTANT.format('expires_at')} END",
    "months_active": "cardinality(active_months)",
    "channels": "array_to_string(channels, ',')",
    "stores": "array_to_string(stores, ',')",
    "lowest": "lowest::bigint",
    "highest": "highest::bigint",
    "score_millionths": "(score_sum * 1e6)::bigint",
    "square_trillionths": "(score_squares * 1e12)::numeric(38, 0)",
    "resolution_microseconds": "(resolution_seconds * 1e6)::bigint",
    **{name: _INSTANT.format(name) for name in _INSTANTS},
}


@contextmanager
def snapshot(dsn: str) -> Iterator[PgCursor]:
    """A cursor that may only read, and sees the database as it is when it is first used. Raises errors of
    eventsourcing.persistence when the database fails.
    """
    connection = connect(dsn, "loyalty_reader")
    try:
        with closing(connection), connection.cursor() as cur:
            cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield cur
            cur.execute("COMMIT")
    except psycopg2.Error as error:
        raise translated(error) from error


def positions(cur: PgCursor, programmes: Sequence[str] | None) -> dict[int, dict[str, int]]:
    """Of each journal of programmes (None: all) and each projection: up to which position read models are filled."""
    cur.execute(
        "SELECT journal, projection, coalesce(max(checkpoint.position), 0) FROM journals"
        " CROSS JOIN unnest(%(projections)s) AS projection"
        " LEFT JOIN projections AS checkpoint USING (journal, projection)"
        " WHERE kind = 'programme' AND (%(names)s::text[] IS NULL OR name = ANY (%(names)s))"
        " GROUP BY journal, projection",
        {"projections": list(PROJECTIONS), "names": None if programmes is None else list(programmes)},
    )
    found: dict[int, dict[str, int]] = {}
    for journal, projection, position in cur.fetchall():
        found.setdefault(journal, {})[projection] = position
    return found


def write_rows(cur: PgCursor, folder: Path, journals: Sequence[int]) -> dict[str, Path]:
    """Write the rows of each compared read model to a file of the folder; the files by name."""
    return {model.name: _write(cur, model, folder / f"{model.name}.parquet", journals) for model in MODELS}


def _write(cur: PgCursor, model: Model, path: Path, journals: Sequence[int]) -> Path:
    columns = ", ".join(f"{_EXPRESSIONS.get(name, name)} AS {name}" for name in model.columns)
    query = cur.mogrify(f"SELECT {columns} FROM {model.name} WHERE journal = ANY (%s)", (list(journals),)).decode()
    schema = pa.schema([(name, _type(name)) for name in model.columns])
    written = path.with_suffix(".csv")
    with written.open("wb") as sink:
        cur.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)", sink)
    with pa.csv.open_csv(written, *_csv(schema)) as pages, pq.ParquetWriter(path, schema) as file:
        for page in pages:
            file.write_batch(page)
    written.unlink()
    return path


def _csv(schema: pa.Schema) -> tuple[object, object, object]:
    return (
        pa.csv.ReadOptions(),
        pa.csv.ParseOptions(newlines_in_values=True),
        pa.csv.ConvertOptions(column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False),
    )


def _type(name: str) -> pa.DataType:
    if name in _TEXTS:
        return pa.string()
    if name in _DAYS:
        return pa.date32()
    if name in _INSTANTS or name == "expires_at":
        return pa.timestamp("us")
    if name == "square_trillionths":
        return pa.decimal128(38, 0)
    return pa.int32() if name == "journal" else pa.int64()
