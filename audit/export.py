"""Exporting: the events of programmes as Parquet segments, and a manifest of what they hash to.

The heads are read first, in one statement, and what they commit to is exported while writers append. Segments have a
fixed number of events, so a full one never changes: a later export adds segments and replaces the last, and an export
that was killed goes on after the last segment on disk. What is written is hashed again on the way, and must end in the
roots of the heads; so a ledger that was changed, or a folder that holds another ledger's segments, ends in no manifest.

One page is fetched and one is compressed while a third is hashed; nothing else is kept, so memory does not grow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from io import RawIOBase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from audit.export_source import Head, read_heads, reader, write_checkpoints
from audit.manifest import (
    MANIFEST,
    PROGRESS,
    ExportError,
    JournalExport,
    Manifest,
    ProgrammeExport,
    Progress,
    Segment,
    encoded,
    exported_files,
    hashed,
    progress_of,
    read_manifest,
    segment_path,
    settle,
    sha256_of,
    write_whole,
)
from audit.segments import (
    PAGE_EVENTS,
    SCHEMA,
    Refused,
    Whose,
    check_recorded,
    check_taken_out,
    framed,
    leaf_hashes,
    page_from_copy,
    page_query,
)
from ledger.hashing import Frontier
from ledger.store.database import PgCursor

PACKAGE: Final = "loyalty-ledger"
SEGMENT_EVENTS: Final = 100_000
WRITE_BYTES: Final = 1 << 22
"""Written to a file at a time: the thread that compresses waits for the interpreter with every write."""
PARQUET: Final = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["journal", "stream", "topic", "command_events", "programme", "member", "source"],
    "write_statistics": ["journal", "position", "stream", "topic", "recorded_at", "programme", "member", "occurred_at"],
}
"""How segments are written: a dictionary for the columns whose values repeat; of those that are searched, each row
group notes the least and the greatest value."""

Told = Callable[[int, int], None]
"""Called with the number of events done so far, and of all that are to be."""

T = TypeVar("T")
S = TypeVar("S")


class ExportReport(NamedTuple):
    """An export as it now stands, and how many of its events were written this time."""

    manifest: Manifest
    written: int


def export(
    dsn: str,
    folder: Path,
    programmes: Sequence[str] | None = None,
    *,
    from_scratch: bool = False,
    segment_events: int = SEGMENT_EVENTS,
    on_progress: Told = lambda done, total: None,
) -> ExportReport:
    """Export the events of programmes (None: all) to a folder, or bring the export that it holds up to date.

    `from_scratch` removes that export first. `segment_events` counts for a new export; one that exists keeps its own.

    Raises ExportError where the folder, or what is in it, or the ledger is not fit for it; OSError; errors of
    eventsourcing.persistence when the database fails.
    """
    _prepare(folder, from_scratch)
    with reader(dsn) as cur, progress_of(folder) as progress:
        before = read_manifest(folder) if (folder / MANIFEST).exists() else None
        segment_events = before.segment_events if before else segment_events
        cut_at, heads = read_heads(cur, programmes)
        _check_same(before, heads, folder)
        known = {segment.path: segment for segment in [*(before.segments if before else []), *progress.segments()]}
        exporter = _Exporter(cur, folder, progress, known, segment_events, on_progress)
        try:
            exported = exporter.run(heads)
        except ExportError:  # what was written may be of what is wrong: only what the manifest has is kept
            _tidy(folder, before)
            progress.forget()
            raise
        manifest = hashed(
            Manifest(
                tool=_tool(),
                cut_at=cut_at,
                segment_events=segment_events,
                programmes=exported,
                checkpoints=write_checkpoints(cur, folder, exported),
            )
        )
        write_whole(folder / MANIFEST, encoded(manifest))
        _tidy(folder, manifest)
        progress.end()
    return ExportReport(manifest, exporter.written)


def _tool() -> str:
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:  # run from its sources
        return PACKAGE


def _prepare(folder: Path, from_scratch: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ours = [folder / MANIFEST, folder / PROGRESS]
    if not any(path.exists() for path in ours):
        if any(folder.iterdir()):
            raise ExportError(f"{folder} is not empty, and what it holds is no export")
    elif from_scratch:
        with progress_of(folder):
            for path in [ours[0], *exported_files(folder), ours[1]]:
                path.unlink(missing_ok=True)


def _check_same(before: Manifest | None, heads: list[Head], folder: Path) -> None:
    """What the folder holds must be of the journals that are to be exported."""
    if before is None:
        return
    now = {head.journal: head for head in heads}
    for programme in before.programmes:
        for journal in programme.journals:
            head = now.get(journal.journal)
            if head is None or (head.programme, head.ordinal) != (programme.programme, journal.ordinal):
                words = f"holds an export of the programme {programme.programme!r}, journal {journal.journal}"
                raise ExportError(f"{folder} {words}, which is none of those to be exported: choose another folder")
            if head.position < journal.size:
                words = f"holds {journal.size} events of journal {journal.journal}, the ledger only {head.position}"
                raise ExportError(f"{folder} {words}: it is of another ledger, or this one lost events")


def _tidy(folder: Path, manifest: Manifest | None) -> None:
    """Remove files that were replaced, and what a killed export left."""
    listed = {folder / path for path in manifest.paths} if manifest else set()
    for path in exported_files(folder):
        if path not in listed:
            path.unlink()


# --- journal by journal ----------------------------------------------------------------------------------------------


class _Exporter:
    """Writes the segments that are not there yet."""

    def __init__(
        self,
        cur: PgCursor,
        folder: Path,
        progress: Progress,
        known: dict[str, Segment],
        segment_events: int,
        on_progress: Told,
    ) -> None:
        self.written = 0
        self._cur = cur
        self._folder = folder
        self._progress = progress
        self._known = known
        self._segment_events = segment_events
        self._on_progress = on_progress

    def run(self, heads: list[Head]) -> list[ProgrammeExport]:
        reused = {head.journal: self._reused(head) for head in heads}
        self._total = sum(head.position - sum(one.rows for one in reused[head.journal]) for head in heads)
        self._on_progress(0, self._total)
        programmes: dict[str, ProgrammeExport] = {}
        for head in heads:
            programme = programmes.setdefault(head.programme, ProgrammeExport(programme=head.programme, journals=[]))
            programme.journals.append(self._journal(head, reused[head.journal]))
        return list(programmes.values())

    def _reused(self, head: Head) -> list[Segment]:
        """The segments from position 1 on that are there already, each with the bytes that it was written with."""
        segments: list[Segment] = []
        for first, last in self._ranges(0, head.position):
            segment = self._known.get(segment_path(head.journal, first, last))
            if segment is None:
                break
            path = self._folder / segment.path
            if not path.exists() or sha256_of(path) != segment.sha256:
                words = "is missing" if not path.exists() else "is not what was exported: its SHA-256 is another"
                raise ExportError(f"{path} {words}; --from-scratch exports all anew")
            segments.append(segment)
        return segments

    def _ranges(self, after: int, upto: int) -> Iterator[tuple[int, int]]:
        for first in range(after + 1, upto + 1, self._segment_events):
            yield first, min(first + self._segment_events - 1, upto)

    def _journal(self, head: Head, segments: list[Segment]) -> JournalExport:
        tree = segments[-1].tree() if segments else Frontier()
        assert head.journals is not None
        whose = Whose(head.journal, head.programme, head.ordinal, head.journals)
        ranges = list(self._ranges(tree.size, head.position))
        pages = [(start, min(start + PAGE_EVENTS, last)) for first, last in ranges
                 for start in range(first - 1, last, PAGE_EVENTS)]  # fmt: skip
        with ThreadPoolExecutor(1, "fetching") as fetcher, ThreadPoolExecutor(1, "writing") as writer:
            fetched = ahead(fetcher, lambda page: self._fetch(head.journal, *page), pages)
            since = -(2**63)
            for first, last in ranges:
                segment, since = self._segment(whose, first, last, tree, since, fetched, writer)
                segments.append(segment)
        if (tree.root(), tree.to_bytes()) != (head.root, head.frontier):
            raise ExportError(
                f"journal {head.journal} does not give the root of its head: the ledger was changed (loyalty audit"
                f" verify tells where), or {self._folder} has segments of another ledger (--from-scratch exports anew)"
            )
        return JournalExport(
            journal=head.journal,
            ordinal=head.ordinal,
            size=head.position,
            root=head.root.hex(),
            frontier=head.frontier.hex(),
            recorded_at=head.recorded_at,
            segments=segments,
        )

    def _segment(
        self,
        whose: Whose,
        first: int,
        last: int,
        tree: Frontier,
        since: int,
        fetched: Iterator[bytes],
        writer: ThreadPoolExecutor,
    ) -> tuple[Segment, int]:
        name = segment_path(whose.journal, first, last)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb", buffering=0) as raw:
            sink = _HashingSink(raw)
            with (
                pa.BufferedOutputStream(pa.PythonFile(sink, "w"), WRITE_BYTES) as out,
                pq.ParquetWriter(out, SCHEMA, **PARQUET) as file,
            ):
                writing: Future[None] | None = None
                while tree.size < last:
                    page, since = self._checked(whose, next(fetched), tree, since, min(last, tree.size + PAGE_EVENTS))
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(file.write_batch, page, PAGE_EVENTS)
                if writing is not None:
                    writing.result()
            os.fsync(raw.fileno())
        settle(part, path)
        segment = Segment(
            path=name,
            journal=whose.journal,
            first=first,
            last=last,
            rows=last - first + 1,
            bytes=sink.size,
            sha256=sink.digest(),
            root=tree.root().hex(),
            frontier=tree.to_bytes().hex(),
        )
        self._progress.add(segment)
        return segment, since

    def _checked(self, whose: Whose, data: bytes, tree: Frontier, since: int, upto: int) -> tuple[pa.RecordBatch, int]:
        """A page as it is to be written, its leaves put into the tree; and when its last event was recorded."""
        after = tree.size
        try:
            page = page_from_copy(data, whose, after)
            leaves = leaf_hashes(page, framed(page), whose.journal)
            check_recorded(page, leaves, whose, after, since)
            check_taken_out(page, whose, after, None)
            if len(page) != upto - after:
                raise Refused(len(page), after + len(page) + 1, "is missing")
        except Refused as error:
            words = f"journal {whose.journal} ({whose.programme}): {error}"
            raise ExportError(f"{words}; the ledger was changed: loyalty audit verify tells more") from error
        tree.append_all(leaves)
        self.written += len(page)
        self._on_progress(self.written, self._total)
        return page, page.column("recorded_at").view(pa.int64())[-1].as_py()

    def _fetch(self, journal: int, after: int, upto: int) -> bytes:
        parts: list[bytes] = []
        self._cur.copy_expert(page_query(journal, after, upto), SimpleNamespace(write=parts.append))
        return b"".join(parts)


class _HashingSink(RawIOBase):
    """A file that hashes what it is given to write."""

    def __init__(self, raw: RawIOBase) -> None:
        super().__init__()
        self.size = 0
        self._raw = raw
        self._sha256 = sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        view = memoryview(data)
        while view.nbytes:
            view = view[self._raw.write(view) :]
        self.size += len(data)
        return len(data)

    def digest(self) -> str:
        """SHA-256 of everything so far, in hexadecimal."""
        return self._sha256.hexdigest()


def ahead(pool: ThreadPoolExecutor, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """The results of a function, each computed while the one before it is in use."""
    waiting: Future[T] | None = None
    for item in items:
        following = pool.submit(function, item)
        if waiting is not None:
            yield waiting.result()
        waiting = following
    if waiting is not None:
        yield waiting.result()
