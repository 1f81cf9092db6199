"""What was taken of files: counted a file and a run, after each commit, so that no more is said than is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson
from eventsourcing.persistence import OperationalError
from msgspec import Struct
from psycopg2.extras import execute_values
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ledger.store.database import Database

ATTEMPTS_MAX = 5
_RECORD = """
INSERT INTO source_files (run, ordinal, file, lines, blank, posted, duplicate, rejected, codes, amounts, sha256)
VALUES %s ON CONFLICT (run, ordinal) DO UPDATE SET lines = excluded.lines, blank = excluded.blank,
    posted = excluded.posted, duplicate = excluded.duplicate, rejected = excluded.rejected, codes = excluded.codes,
    amounts = excluded.amounts, sha256 = excluded.sha256, updated_at = clock_timestamp()
"""
_STATUSES = ("posted", "duplicate", "rejected")


class FileTaken(Struct, kw_only=True):
    """What is known to be taken of a file: lines = blank + posted + duplicate + rejected.

    `codes` counts the rejected by code, `amounts` has those that messages name, by currency: [posted, duplicate,
    rejected]. `sha256` is that of the whole file once it was taken to its end.
    """

    ordinal: int
    file: str
    lines: int = 0
    blank: int = 0
    posted: int = 0
    duplicate: int = 0
    rejected: int = 0
    codes: dict[str, int] = {}
    amounts: dict[str, list[int]] = {}
    sha256: bytes | None = None


class FileRun:
    """One run over files, under a name of its own (`run`)."""

    def __init__(self, database: Database) -> None:
        self.run: UUID = uuid4()
        self._database = database

    def record(self, files: Sequence[FileTaken]) -> None:
        """Write down how far files are taken, in one statement that does not wait for the disk.

        Called before the first message of a file is handled, so that a run that breaks off is seen, and after each
        commit. What a crash of the server forgets is said to be taken by the next run, as duplicates.
        """
        if not files:
            return
        for attempt in _retrying():
            with attempt, self._database.transaction(durable=False) as cur:
                execute_values(cur, _RECORD, [self._row(file) for file in files], page_size=len(files))

    def _row(self, file: FileTaken) -> tuple[Any, ...]:
        amounts = {currency: dict(zip(_STATUSES, sums, strict=True)) for currency, sums in file.amounts.items()}
        return (
            str(self.run), file.ordinal, file.file, file.lines, file.blank, file.posted, file.duplicate, file.rejected,
            orjson.dumps(file.codes).decode(), orjson.dumps(amounts).decode(), file.sha256,
        )  # fmt: skip


def _retrying() -> Retrying:
    """Again where the connection broke: what was written once may be written once more."""
    return Retrying(
        retry=retry_if_exception_type(OperationalError),
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        reraise=True,
    )
