"""The runner: folds journals into read models in batches, each batch and its checkpoint in one transaction.

The order of a batch is the correctness argument:

1. Lock the checkpoints. Whoever else runs the same projections waits here, and then reads on from where this one ended.
2. Read the events after them. Positions have no gaps and are committed in order, so none can appear behind us later.
3. Fold them in memory and write the changed rows.
4. Move the checkpoints and commit, once. A crash anywhere before leaves rows and checkpoints as they were. The commit
   does not wait for the disk: a crash of the server may undo the last batches with their checkpoints, never the log.
5. Only then keep the memory for the next batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

from eventsourcing.persistence import PersistenceError
from msgspec import Struct, field

from ledger.store.database import Database, PgCursor, sentence
from ledger.store.listener import Listener
from projections.batch import BATCH_EVENTS_MAX, Batch, read_batch
from projections.checkpoints import lock_checkpoints, move_checkpoints
from projections.protocol import Projection

POLL_SECONDS = 1.0
STOP_CHECK_SECONDS = 0.2
RETRY_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Progress(Struct, kw_only=True):
    """What a runner did since it was made: events folded, in batches, which took so long together. `trouble` is what it
    waits out, "" where nothing. It was last at work at `turned_at`, by the monotonic clock.
    """

    events: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    failures: int = 0
    trouble: str = ""
    turned_at: float = field(default_factory=time.monotonic)


class Memory(Struct):
    """What projections keep of a journal from batch to batch, true only for the given positions."""

    positions: dict[str, int]
    kept: dict[str, dict[str, Any]]


class Runner:
    """Runs projections over the journals of all programmes. Projections that run together read each event once.

    `threads` journals are folded at a time. Any number of runners, here or in other processes, may run the same
    projections: each event is folded in exactly once.
    """

    def __init__(
        self,
        database: Database,
        projections: Sequence[Projection],
        *,
        batch_events_max: int = BATCH_EVENTS_MAX,
        threads: int = 1,
    ) -> None:
        if batch_events_max < 1 or threads < 1:
            raise ValueError("batch_events_max and threads: must be at least 1")
        self._database = database
        self._projections = projections
        self._topics = frozenset[str]().union(*(projection.topics for projection in projections))
        self._batch_events_max = batch_events_max
        self._threads = threads
        self._memories: dict[int, Memory] = {}
        self._counting = Lock()
        self.progress = Progress()

    def run_once(self, stop: Event | None = None) -> int:
        """Fold until all journals are caught up with what was recorded when they were looked at; the events folded.

        Not for several threads at a time: give each a runner of its own. Raises eventsourcing.persistence errors when
        the database fails and ProjectionOutdated; batches before the error stay.
        """
        stop = stop or Event()
        total = 0
        while (behind := self._behind()) and not stop.is_set():
            with ThreadPoolExecutor(min(self._threads, len(behind)), thread_name_prefix="projection") as threads:
                total += sum(threads.map(lambda journal: self._catch_up(journal, stop), behind))
        return total

    def follow(self, stop: Event, *, pause_seconds: float = 0.0) -> None:
        """Fold what is recorded as it is recorded, until `stop` is set. While the database is away, wait for it.

        A hint that a journal grew wakes it at once, but for the pause after each turn: what comes meanwhile is folded
        together. A lost hint costs at most a second.
        """
        listener = Listener(self._database)
        waited = POLL_SECONDS
        try:
            while not stop.is_set():
                self.progress.turned_at = time.monotonic()
                if waited >= POLL_SECONDS:
                    waited = 0.0
                    self._run_or_pause(stop)
                    stop.wait(pause_seconds)
                waited += POLL_SECONDS if listener.wait(STOP_CHECK_SECONDS) else STOP_CHECK_SECONDS
        finally:
            listener.close()

    def _run_or_pause(self, stop: Event) -> None:
        try:
            self.run_once(stop)
            self.progress.trouble = ""
        except PersistenceError as error:
            self.progress.failures += 1
            self.progress.trouble = why = f"{type(error).__name__}: {sentence(error)}"
            _log.warning("projections: the database failed, trying again in %s s: %s", RETRY_PAUSE_SECONDS, why)
            stop.wait(RETRY_PAUSE_SECONDS)

    def _behind(self) -> list[int]:
        """The journals with events that one of the projections has not folded in."""
        keys = tuple((projection.name, projection.version) for projection in self._projections)
        with self._database.connection() as cur:
            cur.execute(
                "SELECT journal FROM journals WHERE kind = 'programme' AND position > coalesce(("
                " SELECT CASE WHEN count(*) = %s THEN min(checkpoint.position) END FROM projections checkpoint"
                " WHERE checkpoint.journal = journals.journal AND (projection, version) IN %s), 0) ORDER BY journal",
                (len(keys), keys),
            )
            return [journal for (journal,) in cur.fetchall()]

    def _catch_up(self, journal: int, stop: Event) -> int:
        total = 0
        while not stop.is_set():
            count = self.advance(journal)
            total += count
            if count < self._batch_events_max:
                break
        return total

    def advance(self, journal: int) -> int:
        """Fold one batch of a journal; how many events it had."""
        started = time.monotonic()
        memory = self._memories.pop(journal, None)  # put back after the commit, else never
        with self._database.transaction(durable=False) as cur:
            positions = lock_checkpoints(cur, self._projections, journal)
            if memory is None or memory.positions != positions:
                memory = Memory(positions, {})
            after = min(positions.values())
            batch = read_batch(cur, journal, after=after, limit=self._batch_events_max, topics=self._topics)
            for projection in self._projections:
                kept = memory.kept.setdefault(projection.name, {})
                fold_batch(cur, projection, batch.since(positions[projection.name]), kept)
            move_checkpoints(cur, self._projections, journal, batch.last)
        reached = {name: max(position, batch.last) for name, position in positions.items()}
        self._memories[journal] = Memory(reached, memory.kept)
        self._count(len(batch.rows), started)
        return len(batch.rows)

    def _count(self, events: int, started: float) -> None:
        progress, now = self.progress, time.monotonic()
        with self._counting:
            progress.events += events
            progress.batches += 1
            progress.batch_seconds += now - started
            progress.turned_at = now


def fold_batch(cur: PgCursor, projection: Projection, batch: Batch, memory: dict[str, Any]) -> None:
    """Fold a batch into the tables of a projection. Its checkpoint is the caller's to move."""
    if batch.rows:
        projection.prepare(cur)
        projection.load(cur, batch, memory)
        projection.write(cur, batch.journal, projection.apply(batch, memory))
