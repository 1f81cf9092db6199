"""Histories recorded at chosen instants, so that what was known when is known to a test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

from ledger.codec import MEMBER_STREAM, encode
from ledger.store.database import Database
from ledger.store.journal import append, lock_head, store_head
from tests.projections import histories as points
from tests.satisfaction import histories as satisfaction
from tests.satisfaction.histories import journal_of, new_programme

FIRST_RECORDED_AT = datetime(2040, 1, 1, tzinfo=UTC)
"""In the future: the head of a journal that was just made is of now, and time does not go back."""
AFTER_ALL = datetime(2050, 1, 1, tzinfo=UTC)


class Recorded:
    """A programme in Shanghai with a random history, recorded bit by bit: bit n an hour after bit n - 1."""

    def __init__(self, database: Database, seed: int, commands: int) -> None:
        random = Random(seed)
        made: Any = points.History(seed, commands) if seed % 2 else satisfaction.History(seed, commands)
        self.members: list[str] = made.members
        self.events: list[Any] = made.events
        self.journals = new_programme(database, f"club-{uuid4()}", random.randint(1, 3))
        self.times: list[datetime] = []
        """When each of the events was recorded."""
        self._versions: dict[str, int] = {}
        at, start = FIRST_RECORDED_AT, 0
        while start < len(self.events):
            end = start + random.randint(1, 9)
            while end < len(self.events) and self.events[end].id == self.events[end - 1].id:
                end += 1  # a command is recorded as a whole
            bit = self.events[start:end]
            record_at(database, self.journals, bit, self._versions, at)
            self.times += [at] * len(bit)
            start += len(bit)
            at += timedelta(hours=1)

    def known(self, as_of: datetime, as_known_at: datetime) -> list[Any]:
        """The events that had occurred and were recorded by then."""
        return [
            event
            for event, recorded_at in zip(self.events, self.times, strict=True)
            if event.occurred_at <= as_of and recorded_at <= as_known_at
        ]

    def instant(self, random: Random) -> datetime:
        """A time to look as of: that of an event, or shortly before or after it."""
        moved = timedelta(hours=random.choice([0, 0, -1, 30]), microseconds=random.choice([0, -1, 1]))
        return random.choice(self.events).occurred_at.astimezone(UTC) + moved  # type: ignore[no-any-return]

    def knowledge(self, random: Random) -> datetime:
        """A time to have known at: that of a recording, or just before it."""
        return random.choice(self.times) - timedelta(microseconds=random.choice([0, 1]))


def record_at(
    database: Database, journals: Sequence[int], events: Sequence[Any], versions: dict[str, int], at: datetime
) -> None:
    """Append events of members to their journals as if the clock said `at`."""
    for journal in journals:
        records: list[Any] = []
        for event in events:
            if journal_of(journals, event.member) == journal:
                stream = MEMBER_STREAM + event.member
                versions[stream] = versions.get(stream, 0) + 1
                records.append((stream, versions[stream], type(event).topic, encode(event), None, None, None))
        if records:
            with database.connection() as cur:
                head = lock_head(cur, journal, begin=True)
                head.now = at
                append(cur, head, records)
                store_head(cur, head, commit=True)
