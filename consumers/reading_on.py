"""Reading on where kafka-python would stop for ever.

- At a header name that is not UTF-8: it is text by Kafka's format, but no broker checks that. Its bytes are kept, as a
  `RawName`; all others are `str` as ever, and are read at the usual speed.
- At a batch that does not agree with its checksum: it is fetched again.
- At a partition that was paused when half of what was fetched of it was read, and is resumed when all that came of
  others was read: the other half was put aside for ever, and kept the partition from being fetched.
"""

from __future__ import annotations

from typing import Any

from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch


class RawName(bytes):
    """A header's name that is not UTF-8. kafka-python asks it for its bytes, as it does with text."""

    def encode(self, encoding: str = "utf-8") -> bytes:
        return bytes(self)


def read_on(consumer: Any) -> None:
    """Let a KafkaConsumer read on in all of these cases. Call it before the first poll."""
    consumer._fetcher.__class__ = _Fetcher


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What was fetched of a partition."""

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Any:
        return super()._unpack_records(tp, _Batches(records), *deserializers)

    def take(self, n: int | None = None) -> Any:
        """The next records. What cannot be read is fetched anew: else it raises once, and the next poll never ends."""
        try:
            return super().take(n)
        except Exception:
            self.drain()
            raise


class _Fetcher(Fetcher):  # type: ignore[misc]
    PartitionRecords = _PartitionRecords

    def fetched_records(self, *arguments: Any, **options: Any) -> Any:
        """What was put aside is looked at again where nothing else is in line, which only None stands for."""
        if not self._next_partition_records:
            self._next_partition_records = None
        return super().fetched_records(*arguments, **options)


class _Batches:
    """Batch after batch, each of which keeps raw names."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if type(batch) is DefaultRecordBatch:  # older formats have no headers
            batch.__class__ = _Batch
        return batch


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    __slots__ = ()

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:  # the position still is the record's start; from here on it is read more slowly
            self._buffer = _Buffer(self._buffer)
            return super()._read_msg()


class _Buffer(bytearray):
    """Bytes whose parts can be decoded whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return found if isinstance(found, int) else _Part(found)


class _Part(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> Any:
        try:
            return super().decode(encoding, errors)
        except UnicodeDecodeError:
            return RawName(self)
