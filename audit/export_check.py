"""Checking an export by itself, without a database: what `audit.import_ledger` takes in has gone through here.

Of every segment: the SHA-256 of the file; its schema; journals, positions and times; every leaf hash, computed from the
canonical bytes of the row; the columns taken out of the states; the root at its end. A row that was changed and hashed
anew, in a file that was hashed anew, still ends in another root than the manifest has. A forger who writes the manifest
anew as well is found by the root in a signed checkpoint, or by the hash of the manifest that somebody kept elsewhere.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from audit.export import Told, ahead
from audit.manifest import (
    PROGRESS,
    ExportError,
    JournalExport,
    Manifest,
    ProgrammeExport,
    Segment,
    exported_files,
    read_manifest,
    sha256_of,
)
from audit.rows import UNREADABLE
from audit.segments import (
    SCHEMA,
    Refused,
    Whose,
    check_recorded,
    check_taken_out,
    framed,
    leaf_hashes,
    take_out,
)
from audit.verify_proof import Refused as NotProven
from audit.verify_proof import VerifierKey, open_checkpoint
from ledger.codec import decode
from ledger.events import ProgrammeCreated
from ledger.hashing import Frontier

SINCE_EVER = -(2**63)

Committed = dict[int, dict[int, tuple[Path, bytes]]]
"""Journal → size → the file of a checkpoint, and the root that it commits to."""


class CheckedPage(NamedTuple):
    """Events found good, and their fields as they are framed for hashing."""

    events: pa.RecordBatch
    fields: pa.Array


def check_export(
    folder: Path, *, keys: Sequence[VerifierKey] = (), on_progress: Told = lambda done, total: None
) -> Manifest:
    """Check all of an export; its manifest. Without `keys`, signatures of checkpoints are not checked.

    Raises ExportError at the first difference, OSError where a file cannot be read.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    committed = committed_roots(folder, manifest)
    if keys:
        check_signatures(folder, manifest, keys)
    done = 0
    for programme in manifest.programmes:
        for journal in programme.journals:
            check = JournalCheck(folder, programme, journal, committed)
            for number in range(len(journal.segments)):
                for page in check.segment(number):
                    done += len(page.events)
                    on_progress(done, manifest.events)
            check.end()
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that the folder has the files of the manifest and no others, without looking into segments.

    Raises ExportError.
    """
    listed = {folder / path for path in manifest.paths}
    there = set(exported_files(folder))
    for path in sorted(listed - there):
        raise ExportError(f"{path} is missing")
    for path in sorted(there - listed):
        if (folder / PROGRESS).exists():
            raise ExportError(f"{path} is of a later export that was not finished: export to {folder} again")
        raise ExportError(f"{path} is no part of the export: the manifest does not have it")


class JournalCheck:
    """Checks the segments of a journal one after the other, and against the roots that were `committed` to; from `tree`
    on, whose last event was recorded at `since` (microseconds since 1970).
    """

    def __init__(
        self,
        folder: Path,
        programme: ProgrammeExport,
        journal: JournalExport,
        committed: Committed,
        tree: Frontier | None = None,
        since: int = SINCE_EVER,
    ) -> None:
        self.tree = tree or Frontier()
        self._folder = folder
        self._journal = journal
        self._whose = Whose(journal.journal, programme.programme, journal.ordinal, len(programme.journals))
        self.since = since
        self._committed = committed.get(journal.journal, {})

    def segment(self, number: int) -> Iterator[CheckedPage]:
        """The pages of a segment, by its number from 0. Only when they are through is the segment known to be good.

        Raises ExportError.
        """
        segment = self._journal.segments[number]
        path = self._folder / segment.path
        if path.stat().st_size != segment.bytes or sha256_of(path) != segment.sha256:
            raise ExportError(f"{path} was changed: its SHA-256 is not that of the manifest")
        try:
            with pq.ParquetFile(path) as file, ThreadPoolExecutor(1, "reading") as reader:
                if not file.schema_arrow.equals(SCHEMA):
                    raise ExportError(f"{path} has other columns than an export: {_other_column(file.schema_arrow)}")
                for table in ahead(reader, file.read_row_group, range(file.num_row_groups)):
                    for page in table.combine_chunks().to_batches():
                        yield self._checked(path, segment, page)
        except (pa.ArrowException, OSError) as error:
            raise ExportError(f"{path} cannot be read as Parquet: {error}") from error
        if self.tree.size != segment.last:
            raise ExportError(f"{path} ends at position {self.tree.size}, {segment.last} must be its last")
        if (self.tree.root().hex(), self.tree.to_bytes().hex()) != (segment.root, segment.frontier):
            raise ExportError(
                f"{path}: one or more of the positions {segment.first} to {segment.last} are not what the manifest"
                " committed to: its rows give another root"
            )

    def end(self) -> None:
        """Check what the manifest says of the journal as a whole, after its last segment.

        Raises ExportError.
        """
        recorded_at = pa.scalar(self._journal.recorded_at, SCHEMA.field("recorded_at").type).value
        if self._journal.size and recorded_at != self.since:
            words = f"recorded_at of journal {self._journal.journal} is not that of position {self._journal.size}"
            raise ExportError(f"{self._folder}: {words}")

    def _checked(self, path: Path, segment: Segment, page: pa.RecordBatch) -> CheckedPage:
        after = self.tree.size
        try:
            page.validate(full=True)
            fields = framed(page)
            leaves = leaf_hashes(page, fields, self._whose.journal)
            check_recorded(page, leaves, self._whose, after, self.since)
            check_taken_out(page, self._whose, after, take_out(page.column("stream"), page.column("state"), after))
            if after + len(page) > segment.last:
                raise Refused(segment.last - after, segment.last + 1, f"is one too many: {segment.last} is the last")
            if after == 0 and self._whose.ordinal == 0:
                self._check_creation(page)
        except Refused as error:
            row = after - segment.first + 1 + error.row + 1
            raise ExportError(f"{path}, row {row}: {error}") from error
        if len(page):
            self._append(leaves)
            self.since = page.column("recorded_at").view(pa.int64())[-1].as_py()
        return CheckedPage(page, fields)

    def _append(self, leaves: list[bytes]) -> None:
        """Put leaves into the tree, and compare its root with every checkpoint that is passed."""
        start, end = self.tree.size, self.tree.size + len(leaves)
        for size in sorted(size for size in self._committed if start < size <= end):
            self.tree.append_all(leaves[self.tree.size - start : size - start])
            path, root = self._committed[size]
            if self.tree.root() != root:
                words = f"the positions 1 to {size} of journal {self._journal.journal} are not what it committed to"
                raise ExportError(f"{path}: {words}")
        self.tree.append_all(leaves[self.tree.size - start :])

    def _check_creation(self, page: pa.RecordBatch) -> None:
        """The first event of a programme creates it, with as many journals as the manifest has."""
        if not len(page):
            return
        topic, state = page.column("topic")[0].as_py(), page.column("state")[0].as_py()
        try:
            event = decode(topic, state.encode())
        except UNREADABLE as error:
            raise Refused(0, 1, f"cannot be read as a {topic}: {error}") from error
        if not isinstance(event, ProgrammeCreated):
            raise Refused(0, 1, f"is a {topic}, where the programme must be created")
        if event.journals != self._whose.journals:
            raise Refused(0, 1, f"creates {event.journals} journals; the manifest has {self._whose.journals}")


def committed_roots(folder: Path, manifest: Manifest) -> Committed:
    """What the checkpoints say. Their signatures are for those who have the keys.

    Raises ExportError where a file is not what the manifest says of it.

    Source: C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint): origin, size and root are the first three lines.
    """
    committed: Committed = {}
    for file in manifest.checkpoints:
        path = folder / file.path
        data = path.read_bytes()
        if sha256(data).hexdigest() != file.sha256:
            raise ExportError(f"{path} was changed: its SHA-256 is not that of the manifest")
        try:
            origin, size, root = data.decode().split("\n")[:3]
            committed.setdefault(file.journal, {})[file.size] = (path, b64decode(root, validate=True))
        except ValueError as error:
            raise ExportError(f"{path} is no checkpoint: {error}") from error
        if size != str(file.size) or origin.rpartition("/")[2] != str(file.journal):
            raise ExportError(f"{path} is a checkpoint of {origin}, size {size}")
    return committed


def check_signatures(folder: Path, manifest: Manifest, keys: Sequence[VerifierKey]) -> None:
    """Check that each checkpoint is signed by one of these keys, of its journal. Raises ExportError."""
    names = {journal.journal: each.programme for each in manifest.programmes for journal in each.journals}
    for file in manifest.checkpoints:
        path = folder / file.path
        try:
            checkpoint, _ = open_checkpoint(path.read_text("utf-8"), keys)
        except NotProven as error:
            raise ExportError(f"{path}: {error}") from error
        if not checkpoint.origin.endswith(f"/{quote(names[file.journal], safe='')}/{file.journal}"):
            raise ExportError(f"{path} is of {checkpoint.origin!r}: it was signed for another journal")


def _other_column(schema: pa.Schema) -> str:
    for field in SCHEMA:
        if field.name not in schema.names:
            return f"{field.name} is missing"
        if not schema.field(field.name).equals(field):
            return f"{field.name} is {schema.field(field.name).type}"
    return "their order, or one that is too many"
