"""The checkpoints of a journal as a verification passes them: what they committed to, against what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audit.checkpoints import StoredCheckpoint, checkpoint_beyond_head, checkpoints_between, note_problem
from audit.rows import Problem
from audit.verify_proof import VerifierKey
from ledger.store.database import PgCursor


class Commitments:
    """The checkpoints of one journal, read a page of positions at a time.

    `name` is that of its programme or application. Without `keys` signatures are not checked.
    """

    def __init__(self, journal: int, name: str, keys: Sequence[VerifierKey]) -> None:
        self._journal = journal
        self._name = name
        self._keys = keys
        self._page: list[StoredCheckpoint] = []
        self._good = 0
        self.agreeing = 0
        """Checkpoints that committed to the root over the rows."""
        self._note_problem: str | None = None

    def read(self, cur: PgCursor, after: int, upto: int) -> list[int]:
        """Read the checkpoints of after < size <= upto; their sizes, ascending."""
        self._page = checkpoints_between(cur, self._journal, after, upto)
        for stored in self._page:
            self._note_problem = self._note_problem or note_problem(stored, self._name, self._keys)
        return [stored.size for stored in self._page]

    def problem(self, roots: Mapping[int, bytes]) -> Problem | None:
        """The first checkpoint of those read that committed to another root than the one over the rows."""
        for stored in self._page:
            root = roots.get(stored.size)
            if root is None:
                break
            if root != stored.root:
                first = self._good + 1
                where = f"position {first} is" if first == stored.size else f"positions {first} to {stored.size} are"
                words = "changed, removed, inserted or moved, with their hashes computed again"
                return Problem(first, f"{where} not what {stored} committed to: {words}")
            self._good = stored.size
            self.agreeing += 1
        return None

    def problem_at_end(self, cur: PgCursor) -> Problem | None:
        """A checkpoint of events that are gone, or one that is not signed as it must be."""
        beyond = checkpoint_beyond_head(cur, self._journal)
        if beyond is not None:
            stored, size = beyond
            words = f"the journal ends at position {size}, but there is {stored}: its tail was cut off"
            return Problem(size + 1, words)
        return Problem(None, self._note_problem) if self._note_problem else None
