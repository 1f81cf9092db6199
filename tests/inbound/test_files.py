"""Reading files of messages: lines of any length, in bounded memory, in batches."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers import files
from consumers.files import KEPT_BYTES_MAX, KEPT_START_BYTES, Counts, Line, ingest, read_lines
from ledger.submissions import Malformed, Outcome, Submission
from tests.inbound.messages import PURCHASE
from tests.waiting import PATIENCE_SECONDS


class RecordingLedger:
    """Stands for the ledger: keeps what it is given, and posts every command."""

    def __init__(self) -> None:
        self.batches: list[list[Submission]] = []
        self.handled = threading.Event()

    def handle(self, submissions: Sequence[Submission], *, auto_enrol: bool = False) -> list[Outcome]:
        self.batches.append(list(submissions))
        self.handled.set()
        return [
            Outcome("rejected", rejection=one.command.rejection)
            if isinstance(one.command, Malformed)
            else Outcome("posted")
            for one in submissions
        ]

    @property
    def ids(self) -> list[str]:
        return [one.command.id for batch in self.batches for one in batch]


def message(number: int) -> bytes:
    return PURCHASE.replace(b"order-4711", b"order-%d" % number)


def lines_of(content: bytes) -> list[Line]:
    return [line for lines in read_lines(io.BytesIO(content)) for line in lines]


# --- lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "bodies"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [b"a", b"\xef\xbb\xbfb"]),
    ],
)
def test_lines_end_at_line_feeds(content: bytes, bodies: list[bytes]) -> None:
    assert [line.body for line in lines_of(content)] == bodies
    assert [line.number for line in lines_of(content)] == list(range(1, len(bodies) + 1))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8])
def test_lines_do_not_depend_on_how_they_come(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\xef\xbb\xbfone\n\ntwo two\nthree"
    whole = lines_of(content[3:])
    monkeypatch.setattr(files, "CHUNK_BYTES", chunk)
    if chunk >= 3:
        assert lines_of(content) == whole
    assert lines_of(content[3:]) == whole


def test_of_a_line_up_to_the_limit_every_byte_is_kept() -> None:
    (line, after) = lines_of(b"x" * KEPT_BYTES_MAX + b"\ny")
    assert (len(line.body), line.size_bytes, after.body) == (KEPT_BYTES_MAX, KEPT_BYTES_MAX, b"y")


def test_of_a_longer_line_the_beginning_is_kept() -> None:
    (line, after) = lines_of(b"x" * (KEPT_BYTES_MAX + 1) + b"\ny")
    assert (line.body, line.size_bytes) == (b"x" * KEPT_START_BYTES, KEPT_BYTES_MAX + 1)
    assert (after.body, after.number) == (b"y", 2)


class EndlessLine(io.RawIOBase):
    """A line of so many bytes, made as it is read."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return b"x" * size


def test_memory_stays_flat_on_a_line_of_200_mib() -> None:
    tracemalloc.start()
    (line,) = [line for lines in read_lines(EndlessLine(200 << 20)) for line in lines]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert line.size_bytes == 200 << 20
    assert peak_bytes < 4 * KEPT_BYTES_MAX


# --- batches ------------------------------------------------------------------------------------------------------


def run(path: Path | str, **arguments: Any) -> tuple[Counts, RecordingLedger]:
    ledger = RecordingLedger()
    return ingest(ledger, [str(path)], **arguments), ledger  # type: ignore[arg-type]


def test_messages_are_handled_in_order_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"\n".join(message(number) for number in range(25)))
    counts, ledger = run(path, batch_messages=10)
    assert ledger.ids == [f"order-{number}" for number in range(25)]
    assert max(len(batch) for batch in ledger.batches) == 10
    assert (counts.read, counts.posted, counts.rejected, counts.blank) == (25, 25, 0, 0)
    assert counts.last_line == "file:messages.jsonl:25"


def test_every_line_is_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join([b"", message(1), b"  \r", b"nonsense", message(2), b""]))
    counts, ledger = run(path)
    assert (counts.read, counts.posted, counts.rejected, counts.blank) == (3, 2, 1, 2)
    kept = [(one.body, one.origin) for batch in ledger.batches for one in batch if isinstance(one.command, Malformed)]
    assert kept == [(b"nonsense", "file:mixed.jsonl:4")]


def test_a_line_of_10_mib_is_refused_and_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    large = b'{"type":"purchase.v1","store":"' + b"x" * (10 << 20) + b'"}'
    path.write_bytes(message(1) + b"\n" + large + b"\n" + message(2))
    counts, ledger = run(path)
    (refused,) = [one for batch in ledger.batches for one in batch if isinstance(one.command, Malformed)]
    assert isinstance(refused.command, Malformed)
    assert refused.command.rejection.code == "MESSAGE_TOO_LARGE"
    assert refused.body == large
    assert (counts.posted, counts.rejected) == (2, 1)


def test_of_a_line_too_large_to_keep_it_is_said_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    path.write_bytes(b"x" * (KEPT_BYTES_MAX + 1))
    _, ledger = run(path)
    ((refused,),) = ledger.batches
    assert isinstance(refused.command, Malformed)
    assert str(refused.command.rejection) == (
        "MESSAGE_TOO_LARGE: message: must be at most 1,048,576 bytes; only its first 1,048,576 are kept"
        " (was 16,777,217 bytes)"
    )


def test_large_messages_end_a_batch_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes, not only by messages."""
    monkeypatch.setattr(files, "BATCH_BYTES_MAX", 1_000)
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"\n".join(message(number) for number in range(20)))
    _, ledger = run(path)
    assert max(len(batch) for batch in ledger.batches) == -(-1_000 // (len(message(10)) + 1))


def test_a_slow_pipe_is_posted_as_it_comes() -> None:
    """A batch is not held back until it is full while the ledger has nothing to do."""
    reading, writing = os.pipe()
    ledger = RecordingLedger()
    with open(reading, "rb", buffering=0) as source:
        ingesting = threading.Thread(
            target=ingest, args=(ledger, ["-"]), kwargs={"standard_input": source}, daemon=True
        )
        ingesting.start()
        ledger_waits = 0.3
        threading.Event().wait(ledger_waits)
        os.write(writing, message(1) + b"\n")
        assert ledger.handled.wait(PATIENCE_SECONDS)
        os.close(writing)
        ingesting.join(PATIENCE_SECONDS)
    assert ledger.ids == ["order-1"]


def test_when_stopped_the_batch_under_way_is_the_last(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"\n".join(message(number) for number in range(100)))
    stopped = threading.Event()
    counts, ledger = run(
        path, batch_messages=10, stopped=stopped, on_batch=lambda counts, *_: counts.read == 30 and stopped.set()
    )
    assert counts.read == len(ledger.ids) == 30
    assert counts.last_line == "file:messages.jsonl:30"


def test_a_file_that_cannot_be_read_fails_in_the_callers_thread(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        run(tmp_path)
