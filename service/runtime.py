"""What a process of ours sets once, at its start."""

from __future__ import annotations

import gc
import sys

_YOUNG_OBJECTS = 500_000
_YOUNG_BEFORE_MIDDLE = 2
_MIDDLE_BEFORE_OLD = 100
_SWITCH_INTERVAL_S = 0.001


def settle() -> None:
    """Set the interpreter up for a writer, or for a runner of projections.

    Look for reference cycles seldom: events, commands, states and rows form none, and are freed by their counts. With
    Python's defaults a writer spends 4 to 7 µs a purchase on walking its cache of states for cycles that are not there.
    A runner makes some 200,000 objects a batch and frees them at its end: collections in between took it 3 µs an event.

    Let a thread that has its answer run sooner than after the default 5 ms: many threads wait for one commit.
    """
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_BEFORE_MIDDLE, _MIDDLE_BEFORE_OLD)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
