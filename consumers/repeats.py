"""For readers of the topic of events: which of them were seen before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def event_of(headers: Iterable[tuple[str, bytes | None]]) -> tuple[int, int] | None:
    """Journal and position of a published event by its `ce_id`, None for a record without one of ours."""
    for name, value in headers:
        if name == "ce_id" and value is not None:
            journal, _, position = value.partition(b":")
            return (int(journal), int(position)) if journal.isdigit() and position.isdigit() else None
    return None


class Repeats:
    """Tells events that come again from new ones, by the highest position of each journal in each partition.

    The relay publishes at least once: after a crash the end of what it published may come again. Inside a partition the
    positions of a journal only rise, so what is not above the highest one seen is a repeat. Memory is one number for
    each journal and partition. Keep it with what the events changed, in one transaction (`positions`), and hand it over
    at the next start; to take in a replay, start with an empty one.
    """

    def __init__(self, positions: Mapping[tuple[int, int], int] | None = None) -> None:
        self._positions = dict(positions or {})

    @property
    def positions(self) -> dict[tuple[int, int], int]:
        """(partition, journal) → highest position seen; a copy."""
        return dict(self._positions)

    def is_new(self, partition: int, headers: Iterable[tuple[str, bytes | None]]) -> bool:
        """Whether a record is to be taken; from now on it counts as seen. One that is no event of ours always is."""
        event = event_of(headers)
        if event is None:
            return True
        journal, position = event
        if position <= self._positions.get((partition, journal), 0):
            return False
        self._positions[partition, journal] = position
        return True
