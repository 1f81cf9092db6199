"""Files of messages, one a line: read as a stream, decoded beside the commit of the batch before, kept in order.

One thread reads and decodes; the caller's thread hands each batch to the ledger and waits for its commit. One batch is
handled at a time, so a member's messages are posted in the order of the file. Memory is bounded by the batches under
way, whatever the size of the file or of a line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from queue import Empty, Full, Queue
from typing import IO, Any, Final

from msgspec import Struct, structs

from consumers.inbound import MESSAGE_BYTES_MAX, decode, too_large
from ledger.engine import Ledger
from ledger.store.source_files import FileTaken
from ledger.submissions import Malformed, Outcome, Submission, add_named_amount

BATCH_MESSAGES: Final = 4_000
BATCH_MESSAGES_MAX: Final = 50_000
BATCH_BYTES_MAX: Final = 16 << 20
"""A batch ends at this many bytes, however few its messages."""
BATCHES_WAITING_MAX: Final = 1
CHUNK_BYTES: Final = 1 << 20
KEPT_BYTES_MAX: Final = 16 << 20
"""Of a refused line up to this size every byte is kept; of a longer one only the beginning, and its origin says so."""
KEPT_START_BYTES: Final = 1 << 20
STANDARD_INPUT: Final = "-"

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STOP_CHECK_SECONDS: Final = 0.1


class Counts(Struct, kw_only=True):
    """What became of the messages so far; read = posted + duplicate + rejected. `bytes_read` counts blank lines too."""

    read: int = 0
    posted: int = 0
    duplicate: int = 0
    rejected: int = 0
    blank: int = 0
    bytes_read: int = 0
    last_line: str = ""
    """Name and number of the last line of which it is known what became of it."""


class Line(Struct, frozen=True, gc=False):
    """A line as read. `body` is whole, or the beginning of one that is longer than KEPT_BYTES_MAX."""

    number: int
    body: bytes
    size_bytes: int


class Stretch(Struct):
    """What a batch has of a file: up to line `lines`; `sha256` of the whole file where it ends here."""

    ordinal: int
    file: str
    lines: int = 0
    blank: int = 0
    sha256: bytes | None = None


class Batch(Struct, frozen=True, gc=False):
    """What is handed to the ledger at once; `ordinals` are those of the files that the submissions came from."""

    submissions: list[Submission]
    ordinals: list[int]
    stretches: list[Stretch]
    bytes_read: int
    last_line: str

    @property
    def blank(self) -> int:
        """Lines without a message."""
        return sum(stretch.blank for stretch in self.stretches)


def ingest(
    ledger: Ledger,
    paths: Iterable[str],
    *,
    programme: str = "",
    auto_enrol: bool = False,
    batch_messages: int = BATCH_MESSAGES,
    on_batch: Callable[[Counts, list[Submission], list[Outcome]], None] = lambda counts, submissions, outcomes: None,
    stopped: threading.Event | None = None,
    standard_input: IO[bytes] | None = None,
    record: Callable[[Sequence[FileTaken]], None] = lambda files: None,
) -> Counts:
    """Post every message of the files, in order; what became of them.

    Arguments: `paths`, files, or "-" for `standard_input`; `programme`, for messages that name none; `auto_enrol`, as
    of Ledger.handle; `batch_messages`, 1 to BATCH_MESSAGES_MAX; `on_batch` is called after each commit; when `stopped`
    is set, the batch under way is finished and no other is begun. `record` is told how far each file of a batch is
    taken, before it for files that begin in it, and after its commit.

    Raises OSError when a file cannot be read, and what Ledger.handle raises. What was committed before stays, and the
    same call again goes on where it ended: what is recorded already counts as duplicate.
    """
    counts, files = Counts(), dict[int, FileTaken]()
    stop = stopped or threading.Event()
    reader = _ReaderThread(stop)
    size = min(max(batch_messages, 1), BATCH_MESSAGES_MAX)
    for batch in reader.batches(_batches(list(paths), standard_input, programme, size, reader.is_idle)):
        record(_begun(files, batch))
        outcomes = ledger.handle(batch.submissions, auto_enrol=auto_enrol) if batch.submissions else []
        _count(counts, batch, outcomes)
        record(_taken(files, batch, outcomes))
        on_batch(counts, batch.submissions, outcomes)
        if stop.is_set():
            break
    return counts


def _count(counts: Counts, batch: Batch, outcomes: list[Outcome]) -> None:
    statuses = [outcome.status for outcome in outcomes]
    counts.read += len(statuses)
    counts.posted += statuses.count("posted")
    counts.duplicate += statuses.count("duplicate")
    counts.rejected += statuses.count("rejected")
    counts.blank += batch.blank
    counts.bytes_read += batch.bytes_read
    counts.last_line = batch.last_line or counts.last_line


def _begun(files: dict[int, FileTaken], batch: Batch) -> list[FileTaken]:
    """The files that begin in a batch."""
    begun = [
        FileTaken(ordinal=stretch.ordinal, file=stretch.file)
        for stretch in batch.stretches
        if stretch.ordinal not in files
    ]
    files.update((file.ordinal, file) for file in begun)
    return begun


def _taken(files: dict[int, FileTaken], batch: Batch, outcomes: list[Outcome]) -> list[FileTaken]:
    """The files of a batch, with what became of its lines. Files that are taken whole are forgotten."""
    for ordinal, submission, outcome in zip(batch.ordinals, batch.submissions, outcomes, strict=True):
        file, status = files[ordinal], outcome.status
        add_named_amount(file.amounts, submission.command, status)
        if status == "posted":
            file.posted += 1
        elif outcome.rejection is None:
            file.duplicate += 1
        else:
            file.rejected += 1
            code = outcome.rejection.code
            file.codes[code] = file.codes.get(code, 0) + 1
    taken = []
    for stretch in batch.stretches:
        file = files[stretch.ordinal]
        file.lines, file.sha256 = stretch.lines, stretch.sha256
        file.blank += stretch.blank
        if file.sha256 is not None:
            del files[stretch.ordinal]
        taken.append(file)
    return taken


# --- one thread ahead ---------------------------------------------------------------------------------------------


class _Failure(Struct, frozen=True):
    error: BaseException


class _ReaderThread:
    """Makes batches in a thread of its own while its user works on the one before. Iterate over it once."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._ended = threading.Event()
        self._waiting = threading.Event()
        self._queue: Queue[Batch | _Failure | None] = Queue(BATCHES_WAITING_MAX)

    def is_idle(self) -> bool:
        """Whether the user waits with nothing to do: then a slow pipe is posted as it comes, in small batches."""
        return self._waiting.is_set()

    def batches(self, made: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of `made`, which runs in the thread. Ends early once `stop` is set; raises what `made` raises."""
        # A daemon, and not waited for: it may be blocked for ever in reading a pipe.
        threading.Thread(target=self._make, args=(made,), name="reader", daemon=True).start()
        try:
            while (found := self._next()) is not None:
                if isinstance(found, _Failure):
                    raise found.error
                yield found
        finally:
            self._ended.set()

    def _next(self) -> Batch | _Failure | None:
        while not self._stop.is_set():
            try:
                return self._queue.get_nowait()
            except Empty:
                self._waiting.set()
            try:
                return self._queue.get(timeout=_STOP_CHECK_SECONDS)
            except Empty:
                continue
            finally:
                self._waiting.clear()
        return None

    def _make(self, made: Iterator[Batch]) -> None:
        last: _Failure | None = None
        try:
            for batch in made:
                if not self._put(batch):
                    return
        except Exception as error:  # noqa: BLE001 - it is raised again in the user's thread
            last = _Failure(error)
        self._put(last)

    def _put(self, item: Batch | _Failure | None) -> bool:
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=_STOP_CHECK_SECONDS)
            except Full:
                continue
            return True
        return False


# --- reading ------------------------------------------------------------------------------------------------------


def _batches(
    paths: list[str],
    standard_input: IO[bytes] | None,
    programme: str,
    batch_messages: int,
    is_idle: Callable[[], bool],
) -> Iterator[Batch]:
    batch = _Growing()
    for ordinal, path in enumerate(paths, start=1):
        with _opened(path, standard_input) as file:
            source = _Hashed(file)
            batch.open(ordinal, STANDARD_INPUT if path == STANDARD_INPUT else Path(path).name)
            for lines in read_lines(source):
                for line in lines:
                    batch.add(line, programme)
                    if batch.messages >= batch_messages or batch.bytes_read >= BATCH_BYTES_MAX:
                        yield batch.taken()
                if batch.messages and is_idle():
                    yield batch.taken()
            batch.end(source.sha256.digest())
    if batch.stretches:
        yield batch.taken()


class _Hashed:
    """A binary file, hashed as it is read."""

    def __init__(self, file: Any) -> None:
        self._read = getattr(file, "read1", file.read)  # what is there, without waiting for a full chunk
        self.sha256 = sha256()

    def read(self, size: int) -> bytes:
        chunk: bytes = self._read(size)
        self.sha256.update(chunk)
        return chunk


class _Growing:
    def __init__(self, file: Stretch | None = None) -> None:
        self.messages = 0
        self.bytes_read = 0
        self.stretches: list[Stretch] = []
        self._file = file
        self._commands: list[Submission] = []
        self._malformed: list[Submission] = []
        self._ordinals: tuple[list[int], list[int]] = ([], [])
        self._last_line = ""

    def open(self, ordinal: int, name: str) -> None:
        """Go on with the lines of a file."""
        self._file = Stretch(ordinal, name)
        self.stretches.append(self._file)

    def add(self, line: Line, programme: str) -> None:
        file = self._file
        assert file is not None
        if not self.stretches:
            self.stretches.append(file)
        self.bytes_read += line.size_bytes + 1
        file.lines = line.number
        self._last_line = origin = f"file:{file.file}:{line.number}"
        if not line.body or line.body.isspace():
            file.blank += 1
            return
        self.messages += 1
        if line.size_bytes > MESSAGE_BYTES_MAX:
            self._malformed.append(Submission(_too_large(line, programme), line.body, origin))
            self._ordinals[1].append(file.ordinal)
            return
        command = decode(line.body, programme=programme)
        malformed = isinstance(command, Malformed)
        (self._malformed if malformed else self._commands).append(Submission(command, line.body, origin))
        self._ordinals[malformed].append(file.ordinal)

    def end(self, digest: bytes) -> None:
        """The file is read to its end; `digest` is that of its bytes."""
        assert self._file is not None
        if not self.stretches:
            self.stretches.append(self._file)
        self._file.sha256 = digest

    def taken(self) -> Batch:
        """What has grown, and start again. What is no command has no order to keep, and comes last: the commands then
        go into one transaction a journal.
        """
        batch = Batch(
            self._commands + self._malformed,
            self._ordinals[False] + self._ordinals[True],
            self.stretches,
            self.bytes_read,
            self._last_line,
        )
        file = self._file
        assert file is not None
        self.__init__(Stretch(file.ordinal, file.file, file.lines))  # type: ignore[misc]
        return batch


def _too_large(line: Line, programme: str) -> Malformed:
    found = too_large(line.size_bytes, programme)
    if len(line.body) == line.size_bytes:
        return found
    rule = f"{found.rejection.rule}; only its first {len(line.body):,} are kept"
    return structs.replace(found, rejection=structs.replace(found.rejection, rule=rule))


def _opened(path: str, standard_input: IO[bytes] | None) -> AbstractContextManager[Any]:
    if path != STANDARD_INPUT:
        return open(path, "rb", buffering=0)
    if standard_input is None:
        raise ValueError("no standard input was given to read from")
    return nullcontext(standard_input)


def read_lines(file: Any) -> Iterator[list[Line]]:
    """The lines of a binary file, without their line feeds, as each read of the file completes some.

    A byte order mark at the start of the file is left out. Of a line above KEPT_BYTES_MAX only the beginning is held,
    so that memory stays bounded.
    """
    read = getattr(file, "read1", file.read)  # what is there, without waiting for a full chunk
    held, size_bytes, number = bytearray(), 0, 0
    while chunk := read(CHUNK_BYTES):
        if number == size_bytes == 0:
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            number += 1
            if size_bytes:
                held += end[: KEPT_BYTES_MAX + 1 - len(held)]
                lines.append(_line(number, held, size_bytes + len(end)))
                held, size_bytes = bytearray(), 0
            else:
                lines.append(Line(number, end, len(end)))
        held += rest[: KEPT_BYTES_MAX + 1 - len(held)]
        size_bytes += len(rest)
        yield lines
    if size_bytes:
        yield [_line(number + 1, held, size_bytes)]


def _line(number: int, held: bytearray, size_bytes: int) -> Line:
    return Line(number, bytes(held if size_bytes <= KEPT_BYTES_MAX else held[:KEPT_START_BYTES]), size_bytes)
