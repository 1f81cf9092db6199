"""Cursors of the log as they are written over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from service.http.problems import invalid
from service.http.reading import place_of
from service.log_events import LogEvent


def cursors_of(text: str | None, journals: Sequence[int]) -> dict[int, int]:
    """A cursor as journal → position; "" or None is the beginning. Raises Problem where it is no cursor of these."""
    cursors = dict.fromkeys(journals, 0)
    for part in text.split(",") if text else ():
        place = place_of(part)
        if place is None or place[0] not in cursors:
            raise invalid("after", "must be the `next` of a page, or the id of an event of the stream", text or "")
        cursors[place[0]] = place[1]
    return cursors


def cursor_text(cursors: dict[int, int]) -> str:
    """A cursor as text: `1:42,2:17`."""
    return ",".join(f"{journal}:{position}" for journal, position in cursors.items())


def moved(cursors: dict[int, int], events: Sequence[LogEvent]) -> dict[int, int]:
    """A cursor beyond events that were read from it."""
    return cursors | {event.journal: event.position for event in events}
