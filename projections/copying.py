"""Rows to PostgreSQL by COPY, in text: instants and JSON pass from event to table without being parsed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from ledger.store.database import PgCursor

NULL = "\x1e"
_SEPARATOR = "\x1f"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", _SEPARATOR: "\\" + _SEPARATOR, NULL: "\\" + NULL})
_CHUNK_BYTES = 256 * 1024


def copy_rows(
    cur: PgCursor, table: str, columns: str, rows: Sequence[tuple[Any, ...]], *, journal: int | None = None
) -> None:
    """Insert rows of text and integers; NULL stands for no value. With a `journal`, that column comes before them.

    Raises psycopg2 errors as COPY does: a duplicate key refuses them all.
    """
    if not rows:
        return
    fields = ["%s"] * len(rows[0])
    if journal is not None:
        fields, columns = [str(journal), *fields], f"journal, {columns}"
    template = _SEPARATOR.join(fields)
    body = "\n".join([template % row for row in rows])
    separators = (len(fields) - 1) * len(rows)
    if "\\" in body or "\r" in body or body.count("\n") >= len(rows) or body.count(_SEPARATOR) != separators:
        body = "\n".join([template % tuple(map(_escaped, row)) for row in rows])
    cur.copy_expert(
        f"COPY {table} ({columns}) FROM STDIN (FORMAT text, DELIMITER E'\\x1f', NULL E'\\x1e')",
        BytesIO(body.encode()),
        _CHUNK_BYTES,
    )


def _escaped(value: Any) -> Any:
    return value.translate(_ESCAPES) if isinstance(value, str) and value is not NULL else value
