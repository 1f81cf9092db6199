"""What a transaction did and how long it took, as plain numbers for whoever wants to watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Struct


class TransactionMeasure(Struct, frozen=True, kw_only=True, gc=False):
    """One committed transaction. `posted`, `duplicate`, `rejected` (by code) and `taken` add up to its `commands`.

    `events` were appended; of the members that it looked up, `cached` were in memory and `loaded` were not.
    `open_seconds` is from the lock of the journals to the states, `decide_seconds` deciding and evolving, and
    `commit_seconds` appending up to the answer that everything is on disk. Where the answer to a commit was lost and
    the transaction was run again, what it had posted is counted as duplicate or taken.
    """

    commands: int
    posted: int
    duplicate: int
    taken: int
    rejected: Mapping[str, int]
    events: int
    cached: int
    loaded: int
    open_seconds: float
    decide_seconds: float
    commit_seconds: float


Observer: TypeAlias = Callable[[TransactionMeasure], None]
"""Called once a transaction, after its commit, by the thread that ran it; it must neither raise nor take long."""
