"""The streams of a member and of those that were merged into it, as they stood at a past instant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from ledger.codec import MEMBER_STREAM, home_journal
from ledger.store.database import PgCursor
from ledger.store.journal import LightRow, read_streams
from ledger.upcasters import upcast_event
from projections.batch import Row

MERGED, UNDONE = "members-merged.v1", "merge-undone.v1"


class _Occurred(Struct):
    occurred_at: datetime


class _Merge(Struct):
    side: str
    other: str


_occurred = msgspec.json.Decoder(_Occurred).decode
_merge = msgspec.json.Decoder(_Merge).decode


def read_family(
    cur: PgCursor, journals: Sequence[int], journal: int, member: str, as_of: datetime, as_known_at: datetime
) -> dict[str, list[Row]]:
    """The events recorded by `as_known_at` of a member and, by their names, of all that had been merged into it by
    `as_of`. One round trip a generation and journal.
    """
    family: dict[str, list[Row]] = {}
    wanted = {member: journal}
    while wanted:  # once for each generation of merges
        rows: list[Row] = []
        for number in sorted(set(wanted.values())):
            streams = [(MEMBER_STREAM + name, 0) for name, mine in wanted.items() if mine == number]
            rows += known_events(read_streams(cur, number, streams), as_known_at)
        for name in wanted:
            family[name] = [row for row in rows if row[1] == name]
        absorbed = _absorbed(occurred_by(rows, as_of)) - family.keys()
        wanted = {name: home_journal(journals, name) for name in absorbed}
    return family


def known_events(found: Iterable[LightRow], as_known_at: datetime) -> list[Row]:
    """Those that were recorded by an instant; old spellings upcast."""
    rows = []
    for position, stream, version, stored_topic, stored_state, recorded_at in found:
        if recorded_at <= as_known_at:
            topic, state = upcast_event(stored_topic, stored_state)
            rows.append(Row(position, stream.removeprefix(MEMBER_STREAM), version, topic, state.decode(), None))
    return rows


def occurred_by(rows: Iterable[Row], as_of: datetime) -> list[Row]:
    """Those that had occurred by an instant."""
    return [row for row in rows if _occurred(row[4] or "").occurred_at <= as_of]


def _absorbed(rows: Iterable[Row]) -> set[str]:
    """Whom members took over and have not given back, by the side of the merge that stays.

    What one member gave back another may have taken over since: each counts its own, in whatever order they are read.
    """
    absorbed: set[tuple[str, str]] = set()
    for row in rows:
        if row[3] in (MERGED, UNDONE):
            merge = _merge(row[4] or "")
            if (row[3], merge.side) == (MERGED, "in"):
                absorbed.add((row[1], merge.other))
            elif (row[3], merge.side) == (UNDONE, "out"):
                absorbed.discard((row[1], merge.other))
    return {other for _, other in absorbed}
