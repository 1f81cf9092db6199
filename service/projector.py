"""Keeping all read models up to date: points at once, figures a moment later."""

from __future__ import annotations

import threading
from typing import Final

from ledger.store.database import Database
from projections.runner import Progress, Runner
from service.read_models import figures, points

FIGURES_PAUSE_SECONDS: Final = 0.5
"""Between two turns of the figures: what was recorded meanwhile shares the cost of a batch."""


class Projector:
    """Two runners that follow the log: balances and statements wait for no other read model.

    `threads` is how many journals each of the two folds at a time. Any number of them may run, here or elsewhere.
    """

    def __init__(self, database: Database, *, threads: int = 1) -> None:
        self._points = Runner(database, points(), threads=threads)
        self._figures = Runner(database, figures(), threads=threads)

    @property
    def progress(self) -> dict[str, Progress]:
        """What each runner did: "points" and "figures"."""
        return {"points": self._points.progress, "figures": self._figures.progress}

    @property
    def trouble(self) -> str:
        """What one of them waits out; "" where nothing."""
        return self._points.progress.trouble or self._figures.progress.trouble

    @property
    def turned_at(self) -> float:
        """When both had been at work last, by the monotonic clock."""
        return min(progress.turned_at for progress in self.progress.values())

    @property
    def events(self) -> int:
        """The events that are folded into all read models."""
        return min(progress.events for progress in self.progress.values())

    def run_once(self, stop: threading.Event | None = None) -> None:
        """Fold until everything is caught up with what was recorded when it was looked at; see Runner."""
        self._points.run_once(stop)
        self._figures.run_once(stop)

    def follow(self, stop: threading.Event) -> None:
        """Fold what is recorded as it is recorded, until `stop` is set; while the database is away, wait for it.

        What ends one runner sets `stop`, which ends the other, and is raised here: ProjectionOutdated.
        """
        errors: list[BaseException] = []

        def follow_figures() -> None:
            try:
                self._figures.follow(stop, pause_seconds=FIGURES_PAUSE_SECONDS)
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                errors.append(error)
            finally:
                stop.set()

        thread = threading.Thread(target=follow_figures, name="figures", daemon=True)
        thread.start()
        try:
            self._points.follow(stop)
        finally:
            stop.set()
            thread.join()
        if errors:
            raise errors[0]
