"""Importing: an export as a ledger again, in another database, with the same journals, positions, times and hashes.

Everything is checked on the way as `audit.export_check` does, and each segment is committed with its head, so that an
import that was killed goes on after the last. What writers look up (programmes, terms) is written last, in one
transaction, from the events and by the code that the writer uses: until then the programmes do not exist for them. The
first transaction already holds the events that create the programmes, so nobody can create them in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

import psycopg2

from audit.checkpoints import SignedElsewhere, take_in
from audit.export import Told
from audit.export_check import SINCE_EVER, JournalCheck, check_files, check_signatures, committed_roots
from audit.manifest import ExportError, JournalExport, Manifest, ProgrammeExport, read_manifest
from audit.rows import COLUMNS
from audit.segments import copy_stream
from audit.verify_proof import Refused, VerifierKey
from ledger.codec import MEMBER_STREAM, decode
from ledger.hashing import EMPTY_ROOT, Frontier
from ledger.programmes import record_programme
from ledger.store.database import PgCursor, connect, translated
from ledger.store.journal import COPY_CHUNK_BYTES, Head, lock_head, store_head

_COPY: Final = f"COPY events ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_AFTER_MEMBER_STREAMS: Final = MEMBER_STREAM[:-1] + chr(ord(MEMBER_STREAM[-1]) + 1)


class ImportReport(NamedTuple):
    """What is imported, how many of its events were taken in this time, and how many checkpoints were stored."""

    manifest: Manifest
    imported: int
    checkpoints: int


class _Job(NamedTuple):
    programme: ProgrammeExport
    journal: JournalExport


def import_ledger(
    dsn: str, folder: Path, *, keys: Sequence[VerifierKey] = (), on_progress: Told = lambda done, total: None
) -> ImportReport:
    """Import an export into a migrated database that has none of its journals and programmes, or part of it from an
    import that was not finished.

    With `keys` its checkpoints too, which one of these must have signed: for what is stored here, the next checkpoint
    must continue. Those of exports that do not say when they were signed stay where they are.

    Raises ExportError at the first difference within the export, and where the database has something else; OSError;
    errors of eventsourcing.persistence when the database fails.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if keys:
        check_signatures(folder, manifest, keys)
    with _writer(dsn) as cur:
        importer = _Importer(cur, folder, manifest, keys, on_progress)
        importer.run()
    return ImportReport(manifest, importer.imported, importer.checkpoints)


class _Importer:
    def __init__(
        self, cur: PgCursor, folder: Path, manifest: Manifest, keys: Sequence[VerifierKey], on_progress: Told
    ) -> None:
        self.imported = self.checkpoints = 0
        self._keys = keys
        self._cur = cur
        self._folder = folder
        self._jobs = [_Job(programme, journal) for programme in manifest.programmes for journal in programme.journals]
        self._manifest = manifest
        self._committed = committed_roots(folder, manifest)
        self._on_progress = on_progress

    def run(self) -> None:
        there = self._there()
        if not there:
            self._begin()
            there = self._there()
        self._total = self._manifest.events - sum(there.values())
        for job in self._jobs:
            self._journal(job)
        self._end()

    # --- what the database has -------------------------------------------------------------------------------------

    def _there(self) -> dict[int, int]:
        """The positions of the journals that an unfinished import left; empty where the database has none of them.

        Raises ExportError where it has anything else of these journals and programmes.
        """
        wanted = {job.journal.journal: job for job in self._jobs}
        names = [programme.programme for programme in self._manifest.programmes]
        self._cur.execute("SELECT programme FROM programmes WHERE programme = ANY (%s) ORDER BY 1", (names,))
        if found := self._cur.fetchone():
            raise ExportError(f"the database has the programme {found[0]!r} already: nothing was imported")
        self._cur.execute(
            "SELECT journal, kind, name, ordinal, position, root FROM journals"
            " WHERE journal = ANY (%s) OR (kind = 'programme' AND name = ANY (%s)) ORDER BY journal",
            (list(wanted), names),
        )
        there: dict[int, int] = {}
        for number, kind, name, ordinal, position, root in self._cur.fetchall():
            job = wanted.get(number)
            expected = None if job is None else ("programme", job.programme.programme, job.journal.ordinal)
            if job is None or (kind, name, ordinal) != expected or _root_at(job.journal, position) != bytes(root):
                words = f"journal {number} ({kind} {name!r}, ordinal {ordinal}, position {position})"
                raise ExportError(f"the database has {words} already, which is not of this export")
            there[number] = position
        if there and (missing := wanted.keys() - there.keys()):
            raise ExportError(f"the database has some journals of this export, but not journal {min(missing)}")
        return there

    # --- taking in -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Make the journals, and take in the beginning of each programme with them."""
        with _transaction(self._cur):
            for programme, journal in self._jobs:
                empty = Frontier()
                self._cur.execute(
                    "INSERT INTO journals (journal, kind, name, ordinal, root, frontier, recorded_at)"
                    " VALUES (%s, 'programme', %s, %s, %s, %s, %s)",
                    (journal.journal, programme.programme, journal.ordinal, empty.root(), empty.to_bytes(),
                     _UNIX_EPOCH if journal.size else journal.recorded_at),
                )  # fmt: skip
            for job in self._jobs:
                if job.journal.ordinal == 0 and job.journal.segments:
                    head = lock_head(self._cur, job.journal.journal)
                    self._segment(job, head, 0)

    def _journal(self, job: _Job) -> None:
        for number, segment in enumerate(job.journal.segments):
            with _transaction(self._cur):
                head = lock_head(self._cur, job.journal.journal)
                if head.position < segment.last:
                    self._segment(job, head, number)
                elif _root_at(job.journal, head.position) != head.frontier.root():
                    raise ExportError(f"journal {job.journal.journal} was written to during the import")

    def _segment(self, job: _Job, head: Head, number: int) -> None:
        """Take in one segment after the locked head, and move the head on."""
        segment = job.journal.segments[number]
        if head.position != segment.first - 1 or _root_at(job.journal, head.position) != head.frontier.root():
            raise ExportError(f"journal {job.journal.journal} was written to during the import")
        since = (head.recorded_at - _UNIX_EPOCH) // _MICROSECOND if head.position else SINCE_EVER
        check = JournalCheck(self._folder, job.programme, job.journal, self._committed, head.frontier, since)
        for page in check.segment(number):
            stream = copy_stream(page.events, page.fields, job.journal.journal)
            self._cur.copy_expert(_COPY, BytesIO(stream), COPY_CHUNK_BYTES)
            self.imported += len(page.events)
            self._on_progress(self.imported, self._manifest.events)
        if segment.last == job.journal.size:
            check.end()
        head.position = segment.last
        head.frontier = check.tree
        head.recorded_at = _UNIX_EPOCH + check.since * _MICROSECOND
        store_head(self._cur, head)

    def _end(self) -> None:
        """Give writers what they look up; from here on the ledger is whole."""
        with _transaction(self._cur):
            for _, journal in sorted(self._jobs, key=lambda job: job.journal.journal):
                head = lock_head(self._cur, journal.journal)
                if (head.position, head.frontier.root().hex()) != (journal.size, journal.root):
                    raise ExportError(f"journal {journal.journal} was written to during the import")
            for programme, journal in self._jobs:
                if journal.ordinal == 0:
                    self._restore(programme, journal)
            if self._keys:
                self._take_in_checkpoints()

    def _take_in_checkpoints(self) -> None:
        """Store the checkpoints, each compared with the log that is there now."""
        names = {journal.journal: programme.programme for programme, journal in self._jobs}
        found = [
            SignedElsewhere(
                journal=file.journal,
                name=names[file.journal],
                note=(self._folder / file.path).read_text("utf-8"),
                signed_at=file.signed_at,
            )
            for file in self._manifest.checkpoints
            if file.signed_at is not None
        ]
        try:
            take_in(self._cur, found, self._keys)
        except Refused as error:
            raise ExportError(f"a checkpoint cannot be taken in: {error}") from error
        self.checkpoints = len(found)

    def _restore(self, programme: ProgrammeExport, journal: JournalExport) -> None:
        """Write what the events of the programme itself say where writers look it up."""
        self._cur.execute(
            "SELECT topic, state FROM events WHERE journal = %s AND (originator_id < %s OR originator_id >= %s)"
            " ORDER BY position",
            (journal.journal, MEMBER_STREAM, _AFTER_MEMBER_STREAMS),
        )
        for topic, state in self._cur.fetchall():
            record_programme(self._cur, decode(topic, bytes(state)))


def _root_at(journal: JournalExport, position: int) -> bytes | None:
    """The root that an import has at a position; None where it never stops."""
    if position == 0:
        return EMPTY_ROOT
    return next((bytes.fromhex(one.root) for one in journal.segments if one.last == position), None)


@contextmanager
def _transaction(cur: PgCursor) -> Iterator[None]:
    cur.execute("BEGIN")
    try:
        yield
    except BaseException:
        if not cur.connection.closed:
            cur.execute("ROLLBACK")
        raise
    cur.execute("COMMIT")


@contextmanager
def _writer(dsn: str) -> Iterator[PgCursor]:
    connection = connect(dsn, "loyalty_writer")
    try:
        with closing(connection), connection.cursor() as cur:
            yield cur
    except psycopg2.Error as error:
        raise translated(error) from error
