"""Checkpoints: the last position of a journal that a projection has folded in, moved as its rows are written."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ledger.store.database import Database, PgCursor
from projections.protocol import Projection

POLL_SECONDS = 0.005
POLL_SECONDS_MAX = 0.1


class ProjectionOutdated(RuntimeError):
    """The tables of a projection were filled by another version of it: rebuild it."""


class ProjectionBehind(TimeoutError):
    """A projection did not reach a position in time. `reached` is where it is."""

    def __init__(self, projection: str, journal: int, wanted: int, reached: int, seconds: float) -> None:
        super().__init__(
            f"projection {projection!r} is at position {reached} of journal {journal}, {wanted - reached} events before"
            f" {wanted}, after waiting {seconds:g} s"
        )
        self.projection = projection
        self.journal = journal
        self.wanted = wanted
        self.reached = reached


def lock_checkpoints(cur: PgCursor, projections: Sequence[Projection], journal: int) -> dict[str, int]:
    """Lock the checkpoints of projections in a journal until the transaction ends; where each is. New ones start at 0.

    Raises ProjectionOutdated where the tables hold rows of another version.
    """
    positions = _select_locked(cur, projections, journal)
    if len(positions) < len(projections):
        for projection in projections:
            refuse_other_version(cur, projection)
            cur.execute(
                "INSERT INTO projections (projection, version, journal, position) VALUES (%s, %s, %s, 0)"
                " ON CONFLICT DO NOTHING",
                (projection.name, projection.version, journal),
            )
        positions = _select_locked(cur, projections, journal)
    return positions


def _select_locked(cur: PgCursor, projections: Sequence[Projection], journal: int) -> dict[str, int]:
    cur.execute(
        "SELECT projection, position FROM projections WHERE (projection, version) IN %s AND journal = %s"
        " ORDER BY projection FOR UPDATE",
        (tuple((projection.name, projection.version) for projection in projections), journal),
    )
    return dict(cur.fetchall())


def refuse_other_version(cur: PgCursor, projection: Projection) -> None:
    """Raise ProjectionOutdated where a projection's tables hold rows of another version."""
    cur.execute(
        "SELECT version FROM projections WHERE projection = %s AND version <> %s LIMIT 1",
        (projection.name, projection.version),
    )
    row = cur.fetchone()
    if row is not None:
        raise ProjectionOutdated(
            f"the tables of projection {projection.name!r} are of version {row[0]}, this code is version"
            f" {projection.version}: rebuild it"
        )


def move_checkpoints(cur: PgCursor, projections: Sequence[Projection], journal: int, position: int) -> None:
    """Set the locked checkpoints of projections in a journal; they only move on."""
    cur.execute(
        "UPDATE projections SET position = %s, updated_at = clock_timestamp()"
        " WHERE (projection, version) IN %s AND journal = %s AND position < %s",
        (position, tuple((projection.name, projection.version) for projection in projections), journal, position),
    )


def checkpoint(cur: PgCursor, projection: str, journal: int) -> int:
    """Where a projection is in a journal; 0 where it has not begun."""
    cur.execute(
        "SELECT coalesce(max(position), 0) FROM projections WHERE projection = %s AND journal = %s",
        (projection, journal),
    )
    row = cur.fetchone()
    return 0 if row is None else int(row[0])


def wait_until(database: Database, projection: str, journal: int, position: int, timeout_seconds: float) -> int:
    """Wait until a projection has folded in a position of a journal, as a write returned it; where it is by then.

    No connection is held while waiting. Raises ProjectionBehind at the timeout.
    """
    deadline = time.monotonic() + timeout_seconds
    pause = POLL_SECONDS
    while True:
        with database.connection() as cur:
            reached = checkpoint(cur, projection, journal)
        if reached >= position:
            return reached
        left = deadline - time.monotonic()
        if left <= 0:
            raise ProjectionBehind(projection, journal, position, reached, timeout_seconds)
        time.sleep(min(pause, left))
        pause = min(2 * pause, POLL_SECONDS_MAX)
