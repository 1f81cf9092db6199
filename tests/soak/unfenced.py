"""A control: consumers that do not heed whether their partition was taken over. A run with them must fail.

A message is still taken once by a journal, which knows how far it is. What is missing is what tells a process that was
stopped, and goes on with what it had in hand, that another has its partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import consumers.kafka_in
import ledger.transaction
from ledger.store import sources
from ledger.store.sources import Read, TopicPartition


def remove_the_fence() -> None:
    """Let this process act under the epoch that the database has, whichever it claimed."""
    ledger.transaction.lock_places = lock_places  # type: ignore[assignment]
    consumers.kafka_in.complete = complete


def lock_places(
    cur: Any, journal: int, claims: Mapping[TopicPartition, int], partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, sources.Progress]:
    while True:
        try:
            return sources.lock_places(cur, journal, {**claims, **_epochs(cur, partitions)}, partitions)
        except sources.Fenced:  # taken over between the two statements
            continue


def complete(cur: Any, reads: Sequence[Read]) -> None:
    epochs = _epochs(cur, [(read.topic, read.partition) for read in reads])
    some = [msgspec.structs.replace(read, epoch=epochs[read.topic, read.partition]) for read in reads]
    sources.complete(cur, some)


def _epochs(cur: Any, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    cur.execute(
        "SELECT topic, partition, epoch FROM source_partitions WHERE (topic, partition) IN %s", (tuple(partitions),)
    )
    return {(topic, partition): epoch for topic, partition, epoch in cur.fetchall()}
