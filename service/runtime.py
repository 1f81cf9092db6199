"""What a process of ours sets once, at its start."""

from __future__ import annotations

import gc
import sys

_YOUNG_OBJECTS = 50_000
_YOUNG_BEFORE_MIDDLE = 20
_MIDDLE_BEFORE_OLD = 100
_BATCH_OBJECTS = 500_000
_SWITCH_INTERVAL_S = 0.001


def settle() -> None:
    """Set the interpreter up for a writer.

    Look for reference cycles seldom: events, commands and states form none, and are freed by their counts. With
    Python's defaults a writer spends 4 to 7 µs a purchase on walking its cache of states for cycles that are not there.

    Let a thread that has its answer run sooner than after the default 5 ms: many threads wait for one commit.
    """
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_BEFORE_MIDDLE, _MIDDLE_BEFORE_OLD)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def settle_for_batches() -> None:
    """After `settle`, for a process that folds batches and answers nobody: look for cycles at most once a batch.

    A batch is some 200,000 objects, all freed at its end by their counts: collections in between took 3 µs an event.
    Who has requests to answer would rather have many short collections.
    """
    gc.set_threshold(_BATCH_OBJECTS, 2, _MIDDLE_BEFORE_OLD)


def settle_for_requests() -> None:
    """After `settle`, for a process that has loaded all that it answers requests with: never look for cycles in that.

    Walking the modules and the description of the routes takes some 50 ms, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
