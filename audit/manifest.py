"""The manifest of an export: what it holds, to the byte; and its folder, written so that a crash leaves nothing half.

Every file is written under a temporary name, forced to disk and renamed. `manifest.json` comes last, so an export is
whole from the moment it has one; until then `progress.jsonl` tells which segments are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger.hashing import EMPTY_ROOT, Frontier

MANIFEST: Final = "manifest.json"
PROGRESS: Final = "progress.jsonl"
EVENTS: Final = "events"
CHECKPOINTS: Final = "checkpoints"

Sha256Hex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
HashesHex = Annotated[str, Meta(pattern="^([0-9a-f]{64})*$")]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]

_NOT_HASHED = "0" * 64
_EXPORTED_FILE = re.compile(r"\d{12,}-(\d{12,}\.parquet|[0-9a-f]{12}\.txt)(\.part)?")


class ExportError(ValueError):
    """An export is not what it says, or cannot be made or taken in; the message names the file and what is wrong."""


class Segment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of consecutive events of a journal. `root` and `frontier` (its subtree roots, widest first; hexadecimal)
    are those of the journal's Merkle tree over all events up to `last`.
    """

    path: str
    journal: Positive
    first: Positive
    last: Positive
    rows: Positive
    bytes: Positive
    sha256: Sha256Hex
    root: Sha256Hex
    frontier: HashesHex

    def tree(self) -> Frontier:
        """The Merkle tree's right edge after the segment."""
        return Frontier.from_bytes(self.last, bytes.fromhex(self.frontier))


class JournalExport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A journal as its head was at the cut: `size` events, `root` and `frontier` over them, the newest recorded at
    `recorded_at` (of an empty journal: when it was created).
    """

    journal: Positive
    ordinal: Count
    size: Count
    root: Sha256Hex
    frontier: HashesHex
    recorded_at: datetime
    segments: list[Segment]

    def tree_before(self, number: int) -> Frontier:
        """The Merkle tree's right edge before a segment, by its number from 0."""
        return self.segments[number - 1].tree() if number else Frontier()


class ProgrammeExport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A programme and its journals by ordinal."""

    programme: str
    journals: list[JournalExport]


class CheckpointFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signed checkpoint of a journal's first `size` events: the note, with the signatures that it has. `signed_at` is
    when the ledger stored it, which no signature says; None in exports of before it was written.
    """

    path: str
    journal: Positive
    size: Positive
    sha256: Sha256Hex
    signed_at: datetime | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an export holds. `sha256` is that of the file with 64 zeros in its place."""

    format: Literal[1] = 1
    tool: str
    cut_at: datetime
    segment_events: Positive
    programmes: list[ProgrammeExport]
    checkpoints: list[CheckpointFile] = []
    sha256: Sha256Hex = _NOT_HASHED

    @property
    def journals(self) -> list[JournalExport]:
        """All journals, programme by programme."""
        return [journal for programme in self.programmes for journal in programme.journals]

    @property
    def segments(self) -> list[Segment]:
        """All segments, journal by journal."""
        return [segment for journal in self.journals for segment in journal.segments]

    @property
    def paths(self) -> list[str]:
        """All files but the manifest."""
        return [file.path for file in (*self.segments, *self.checkpoints)]

    @property
    def events(self) -> int:
        """Events of all journals."""
        return sum(journal.size for journal in self.journals)


def segment_path(journal: int, first: int, last: int) -> str:
    """Where a segment is within its export, such as events/journal=3/000000000001-000000100000.parquet."""
    return f"{EVENTS}/journal={journal}/{first:012d}-{last:012d}.parquet"


def checkpoint_path(journal: int, size: int, digest: str) -> str:
    """Where a checkpoint is within its export. The hash keeps one with new signatures apart from that of before."""
    return f"{CHECKPOINTS}/journal={journal}/{size:012d}-{digest[:12]}.txt"


def hashed(manifest: Manifest) -> Manifest:
    """The manifest with the hash of itself in it."""
    data = encoded(msgspec.structs.replace(manifest, sha256=_NOT_HASHED))
    return msgspec.structs.replace(manifest, sha256=sha256(data).hexdigest())


def encoded(manifest: Manifest) -> bytes:
    """The one way to write a manifest."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export, checked in itself.

    Raises ExportError where it is not one, was changed, or does not add up.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        unfinished = ": the export was not finished" if (folder / PROGRESS).exists() else ""
        raise ExportError(f"{path} is missing{unfinished}") from None
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} is not a manifest of an export: {error}") from error
    if encoded(hashed(manifest)) != data:
        raise ExportError(f"{path} was changed: its bytes do not give the sha256 that it holds")
    words = _inconsistency(manifest)
    if words is not None:
        raise ExportError(f"{path} does not add up: {words}")
    return manifest


def _inconsistency(manifest: Manifest) -> str | None:
    numbers = [journal.journal for journal in manifest.journals]
    if len(set(numbers)) != len(numbers):
        return "it has a journal twice"
    names = [programme.programme for programme in manifest.programmes]
    if len(set(names)) != len(names):
        return "it has a programme twice"
    for programme in manifest.programmes:
        ordinals = [journal.ordinal for journal in programme.journals]
        if not ordinals or ordinals != list(range(len(ordinals))):
            return f"programme {programme.programme!r} has journals of the ordinals {ordinals}"
        for journal in programme.journals:
            if (words := _journal_inconsistency(journal, manifest.segment_events)) is not None:
                return f"journal {journal.journal}: {words}"
    sizes = {journal.journal: journal.size for journal in manifest.journals}
    for one in manifest.checkpoints:
        if one.size > sizes.get(one.journal, 0) or one.path != checkpoint_path(one.journal, one.size, one.sha256):
            return f"{one.path} is no checkpoint of what it holds"
        if one.signed_at is not None and one.signed_at.tzinfo is None:
            return f"{one.path}: signed_at has no time zone"
    return None


def _journal_inconsistency(journal: JournalExport, segment_events: int) -> str | None:
    if journal.recorded_at.tzinfo is None:
        return "recorded_at has no time zone"
    last = 0
    for segment in journal.segments:
        expected = min(last + segment_events, journal.size)
        if (segment.journal, segment.first, segment.last) != (journal.journal, last + 1, expected):
            return f"positions {last + 1} to {expected} must come where it has {segment.path}"
        if segment.rows != segment.last - last or segment.path != segment_path(journal.journal, last + 1, expected):
            return f"{segment.path} is not where or as long as positions {last + 1} to {expected} must be"
        if (words := _tree_words(segment.last, segment.frontier, segment.root)) is not None:
            return f"{segment.path}: {words}"
        last = segment.last
    if last != journal.size:
        return f"a segment is missing: the positions {last + 1} to {journal.size} are in none"
    end = (journal.segments[-1].root, journal.segments[-1].frontier) if last else (EMPTY_ROOT.hex(), "")
    if end != (journal.root, journal.frontier):
        return "its root or frontier is not that at the end of its last segment"
    return None


def _tree_words(size: int, frontier: str, root: str) -> str | None:
    try:
        tree = Frontier.from_bytes(size, bytes.fromhex(frontier))
    except ValueError as error:
        return str(error)
    return None if tree.root().hex() == root else "its frontier does not give its root"


# --- the folder ------------------------------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all, whatever happens."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    settle(part, path)


def settle(part: Path, path: Path) -> None:
    """Give a file that is on disk its name, for good."""
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def exported_files(folder: Path) -> Iterator[Path]:
    """The files of segments and checkpoints in an export, finished or not, known to its manifest or not."""
    for kind in (EVENTS, CHECKPOINTS):
        for path in sorted((folder / kind).glob("journal=*/*")):
            if _EXPORTED_FILE.fullmatch(path.name):
                yield path


class Progress:
    """The segments that an unfinished export has, a line each; a line that a crash cut short does not count."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        self._path = folder / PROGRESS

    def segments(self) -> list[Segment]:
        """The segments so far."""
        found = []
        for line in self._path.read_bytes().splitlines():
            with suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(line, type=Segment))
        return found

    def add(self, segment: Segment) -> None:
        """Remember a segment, whose file is on disk."""
        os.write(self._descriptor, b"\n" + msgspec.json.encode(segment) + b"\n")
        os.fsync(self._descriptor)

    def forget(self) -> None:
        """Forget them: they are removed."""
        os.truncate(self._descriptor, 0)

    def end(self) -> None:
        """The manifest has them all."""
        self._path.unlink()


@contextmanager
def progress_of(folder: Path) -> Iterator[Progress]:
    """The progress of the export in a folder, which nobody else exports to meanwhile.

    Raises ExportError when somebody does.
    """
    descriptor = os.open(folder / PROGRESS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise ExportError(f"{folder}: another process exports there now") from None
        yield Progress(folder, descriptor)
    finally:
        os.close(descriptor)
