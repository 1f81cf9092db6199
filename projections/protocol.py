"""What a projection is: a pure fold over a journal, and how its changes are read and written."""

from __future__ import annotations

from typing import Any, Protocol

from ledger.store.database import PgCursor
from projections.batch import Batch


class Projection(Protocol):
    """A read model. Everything that a row says follows from the events of its journal, in order, and nothing else.

    The runner calls `load`, `apply` and `write` for each batch inside the transaction that moves the checkpoint.
    `memory` is a dict of the projection's own for one journal. The runner keeps it from batch to batch, and hands over
    an empty one when it cannot be sure that it is what the last committed batch left; the projection bounds its size.
    """

    name: str
    version: int
    """Raise it when rows change meaning: tables of another version are refused until they are rebuilt."""
    tables: tuple[str, ...]
    """What it writes, and only it; each with `journal` as the first column of its primary key."""
    topics: frozenset[str]
    """The events whose content it needs; of all others it sees position, member, version and topic."""

    def prepare(self, cur: PgCursor) -> None:
        """Make, empty, what `write` stages rows in; called before each batch."""

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        """Bring into `memory` what `apply` needs of the rows before the batch: a fixed number of queries."""

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Any:
        """Fold the batch: the changes it makes. Pure but for `memory`, which it moves on."""

    def write(self, cur: PgCursor, journal: int, changes: Any) -> None:
        """Write the changes in a fixed number of statements, with unqualified table names: a rebuild redirects them."""
