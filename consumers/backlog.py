"""What was read and waits to be taken: a queue between two threads that is bounded in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from threading import Condition
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger.store.sources import Read, TopicPartition
from ledger.submissions import Submission

BACKLOG_BYTES_MAX: Final = 12 << 20
MESSAGE_OVERHEAD_BYTES: Final = 1_000
"""What a decoded message takes beside its bytes, roughly."""
TAKEN_MESSAGES_MAX: Final = 5_000
"""Batches that wait are taken together up to this many: many small polls would be as many small transactions."""


class Batch(Struct, frozen=True, gc=False):
    """What one poll read, and the epochs of its partitions. A read without messages moves a partition on over offsets
    that hold none.
    """

    submissions: Sequence[Submission]
    reads: Sequence[Read]
    claims: Mapping[TopicPartition, int]
    size_bytes: int


class Backlog:
    """Batches in order. Nobody waits to put one in: who does asks `has_room` first, so it holds one batch too many."""

    def __init__(self, bytes_max: int = BACKLOG_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._waiting: deque[Batch] = deque()
        self._bytes = 0
        self._in_hand = False
        self._closed = False
        self._changed = Condition()

    def put(self, batch: Batch) -> None:
        """Add a batch."""
        with self._changed:
            self._waiting.append(batch)
            self._bytes += batch.size_bytes
            self._changed.notify_all()

    def take(self) -> Batch | None:
        """Wait for the next batch, with what waits behind it and goes on where it ends; None once it is closed.

        It is in hand until `done`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._in_hand = True
            batch = self._waiting.popleft()
            while self._waiting and (joined := _joined(batch, self._waiting[0])) is not None:
                self._waiting.popleft()
                batch = joined
            return batch

    def done(self, batch: Batch) -> None:
        """The batch in hand is dealt with."""
        with self._changed:
            self._in_hand = False
            self._bytes -= batch.size_bytes
            self._changed.notify_all()

    def has_room(self, timeout_seconds: float = 0.0) -> bool:
        """Whether another batch may be read, by the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._bytes < self._bytes_max or self._closed, timeout_seconds)

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in hand."""
        with self._changed:
            return not self._waiting and not self._in_hand

    def close(self) -> None:
        """Drop what waits; what is in hand can be finished."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()


def _joined(batch: Batch, following: Batch) -> Batch | None:
    """Both as one; None where that is too much, or where a partition does not simply go on under the same claim."""
    if len(batch.submissions) + len(following.submissions) > TAKEN_MESSAGES_MAX:
        return None
    reads = {(read.topic, read.partition): read for read in batch.reads}
    for read in following.reads:
        name = (read.topic, read.partition)
        before = reads.get(name)
        if before is None:
            reads[name] = read
        elif (before.epoch, before.next_offset) == (read.epoch, read.first_offset):
            messages = before.messages + read.messages
            leader_epoch = before.leader_epoch if read.leader_epoch == -1 else read.leader_epoch
            reads[name] = replace(before, next_offset=read.next_offset, messages=messages, leader_epoch=leader_epoch)
        else:
            return None
    if any(batch.claims.get(name, epoch) != epoch for name, epoch in following.claims.items()):
        return None
    return Batch(
        [*batch.submissions, *following.submissions],
        list(reads.values()),
        {**batch.claims, **following.claims},
        batch.size_bytes + following.size_bytes,
    )
