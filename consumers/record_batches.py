"""Kafka records as bytes (record format v2), laid out many at a time.

kafka-python lays out a record in about 50 µs when it has eight headers, and cannot write a header without a value. Here
what repeats is laid out once, so that a record costs a join of a few pieces.
Source of the format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_SMALL: Final = 1 << 14


def _encode_varint(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while zigzag > 0x7F:
        encoded.append(0x80 | zigzag & 0x7F)
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


_VARINTS: Final = [_encode_varint(number) for number in range(_SMALL)]
_ABSENT: Final = _encode_varint(-1)


def varint(number: int) -> bytes:
    """A signed number of up to 64 bits, zigzag and in groups of seven bits."""
    return _VARINTS[number] if 0 <= number < _SMALL else _encode_varint(number)


def field(value: bytes | None) -> bytes:
    """Bytes with their length before them, as keys, values and headers have it; None is absent, not empty."""
    return _ABSENT if value is None else varint(len(value)) + value


def header(name: str | bytes, value: bytes | None) -> bytes:
    """One header of a record. Its name is bytes where it is not UTF-8."""
    return field(name if isinstance(name, bytes) else name.encode()) + field(value)


def content(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str | bytes, bytes | None]]) -> bytes:
    """What a record says: key, value and headers, in their order; all that `RecordBatch.add` needs of it."""
    return b"".join([field(key), field(value), varint(len(headers)), *(header(*pair) for pair in headers)])


class RecordBatch:
    """Records for one partition, in order; `timestamp_ms` is that of the records that are given none."""

    __slots__ = ("_pieces", "count", "newest_ms", "size_bytes", "timestamp_ms")

    def __init__(self, timestamp_ms: int) -> None:
        self.timestamp_ms = timestamp_ms
        self.newest_ms = timestamp_ms
        self.count = 0
        self.size_bytes = 0
        self._pieces: list[bytes] = []

    def add(self, said: bytes, timestamp_ms: int | None = None) -> None:
        """Add a record of some content (`content`)."""
        delta = 0 if timestamp_ms is None else timestamp_ms - self.timestamp_ms
        if delta > 0:
            self.newest_ms = max(self.newest_ms, self.timestamp_ms + delta)
        start = b"\x00" + varint(delta) + varint(self.count)
        length = varint(len(start) + len(said))
        self._pieces += (length, start, said)
        self.size_bytes += len(length) + len(start) + len(said)
        self.count += 1

    def body(self) -> bytes:
        """The records, as they follow the header of a batch."""
        return b"".join(self._pieces)
