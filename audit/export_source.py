"""What an export reads beside the events: the heads that it is cut at, and the checkpoints signed up to there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import psycopg2

from audit.manifest import CheckpointFile, ExportError, ProgrammeExport, checkpoint_path, write_whole
from ledger.store.database import PgCursor, connect, translated


class Head(NamedTuple):
    """Where a journal ends. `journals`: how many its programme has; None while the programme is being imported."""

    journal: int
    programme: str
    ordinal: int
    position: int
    root: bytes
    frontier: bytes
    recorded_at: datetime
    journals: int | None


@contextmanager
def reader(dsn: str) -> Iterator[PgCursor]:
    """A cursor that may only read, with plans that read a journal in order of position."""
    connection = connect(dsn, "loyalty_reader")
    try:
        with closing(connection), connection.cursor() as cur:
            cur.execute(
                "SET default_transaction_read_only = on; SET max_parallel_workers_per_gather = 0; SET jit = off"
            )
            cur.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET client_encoding = 'UTF8'")
            yield cur
    except psycopg2.Error as error:
        raise translated(error) from error


def read_heads(cur: PgCursor, programmes: Sequence[str] | None) -> tuple[datetime, list[Head]]:
    """The moment of the cut, and where the journals of the programmes end then: by programme and ordinal."""
    cur.execute(
        "SELECT now(), journal, journals.name, ordinal, position, root, frontier, recorded_at, programmes.journals"
        " FROM journals LEFT JOIN programmes ON programme = journals.name"
        " WHERE kind = 'programme' AND (%(names)s::text[] IS NULL OR journals.name = ANY (%(names)s))"
        " ORDER BY journals.name, ordinal",
        {"names": None if programmes is None else list(programmes)},
    )
    rows = cur.fetchall()
    heads = [Head(*row[1:5], bytes(row[5]), bytes(row[6]), *row[7:]) for row in rows]
    found = {head.programme for head in heads}
    if missing := set(programmes or ()) - found:
        raise ExportError(f"there is no programme {min(missing)!r}")
    if not heads:
        raise ExportError("there is nothing to export: the ledger has no programme")
    if partial := [head.programme for head in heads if head.journals is None]:
        raise ExportError(f"the programme {partial[0]!r} is not whole: it is being imported")
    return rows[0][0], heads


def write_checkpoints(cur: PgCursor, folder: Path, exported: list[ProgrammeExport]) -> list[CheckpointFile]:
    """Write the signed checkpoints of what is exported, the newest of each size, with the signatures of witnesses."""
    cur.execute("SELECT to_regclass('checkpoints') IS NOT NULL")
    if cur.fetchone() == (False,):
        return []
    sizes = {journal.journal: journal.size for programme in exported for journal in programme.journals}
    cur.execute(
        "SELECT DISTINCT ON (journal, size) journal, size, signed_at, note,"
        " (SELECT coalesce(string_agg(line, '' ORDER BY name, key_id, cosigned_at), '') FROM cosignatures"
        " WHERE cosignatures.checkpoint = signed.checkpoint)"
        " FROM checkpoints AS signed JOIN unnest(%s::int[], %s::bigint[]) AS exported (number, events)"
        " ON journal = number AND size <= events ORDER BY journal, size, signed.checkpoint DESC",
        (list(sizes), list(sizes.values())),
    )
    files = []
    for journal, size, signed_at, note, cosignatures in cur.fetchall():
        data = (note + cosignatures).encode()
        digest = sha256(data).hexdigest()
        path = checkpoint_path(journal, size, digest)
        file = CheckpointFile(path=path, journal=journal, size=size, sha256=digest, signed_at=signed_at)
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / file.path, data)
        files.append(file)
    return files
