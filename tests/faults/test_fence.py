"""A writer whose partition went to another: it appends nothing, and what it had under way is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any

import pytest

from ledger import transaction
from ledger.codec import encode
from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.rejections import Rejection
from ledger.store import sources
from ledger.store.database import Database, PgCursor
from ledger.store.sources import Behind, Claim, Fenced, Read, TopicPartition, lock_places
from ledger.submissions import Malformed, Place, Submission
from tests.engine.clubs import Club, assert_sound, statuses
from tests.waiting import PATIENCE_SECONDS

J = (1, 4)
NAME = ("t", 0)


def claimed(database: Database, owner: str = "a") -> Claim:
    with database.connection() as cur:
        return sources.claim(cur, *NAME, owner=owner, begin_offset=0)


def placed(commands: Sequence[AnyCommand | Malformed], first: int = 0) -> list[Submission]:
    return [
        Submission(command, b"{}" if isinstance(command, Malformed) else encode(command), "", Place(*NAME, offset))
        for offset, command in enumerate(commands, start=first)
    ]


def counted(database: Database) -> tuple[int, ...]:
    """posted, duplicate, rejected."""
    with database.connection() as cur:
        found = sources.stretches(cur)
    return tuple(sum(getattr(each, name) for each in found) for name in ("posted", "duplicate", "rejected"))


def malformed(programme: str = "") -> Malformed:
    return Malformed(rejection=Rejection("NOT_JSON", "message", "must be JSON"), programme=programme)


@pytest.mark.parametrize("journals", J)
def test_a_zombie_appends_nothing(journals: int, database: Database, ledger: Ledger) -> None:
    """It is told which partitions it lost; nothing of the batch is recorded, not even what is refused."""
    club = Club(database, journals).open(ledger)
    old, new = claimed(database), claimed(database, "b")
    assert new.epoch == old.epoch + 1
    before = club.history()
    batch = placed([club.enrol("m1"), club.enrol("m2"), club.enrol("m3"), malformed(club.name)])
    with pytest.raises(Fenced) as fenced:
        ledger.handle(batch, claims={NAME: old.epoch})
    assert fenced.value.partitions == {NAME}
    assert club.history() == before
    assert club.refused() == []
    assert counted(database) == (0, 0, 0)
    assert statuses(ledger.handle(batch, claims={NAME: new.epoch})) == ["posted"] * 3 + ["NOT_JSON"]
    assert counted(database) == (3, 0, 1)
    assert_sound(club, ledger)


def test_without_the_fence_the_zombie_would_append(
    database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the test above fails where the epoch is not looked at."""
    club = Club(database, 1).open(ledger)
    old, new = claimed(database), claimed(database, "b")

    def unfenced(
        cur: PgCursor, journal: int, claims: Mapping[TopicPartition, int], partitions: Sequence[TopicPartition]
    ) -> Any:
        return lock_places(cur, journal, dict.fromkeys(claims, new.epoch), partitions)

    monkeypatch.setattr(transaction, "lock_places", unfenced)
    assert statuses(ledger.handle(placed([club.enrol("m1")]), claims={NAME: old.epoch})) == ["posted"]


def test_a_claim_waits_for_what_is_under_way(database: Database, ledger: Ledger) -> None:
    """So the new owner reads on behind it, and does not take it once more."""
    claimed(database)
    done: list[Claim] = []
    with database.connection() as cur:
        cur.execute("BEGIN")
        lock_places(cur, 1, {NAME: 1}, [NAME])
        taker = Thread(target=lambda: done.append(claimed(database, "b")))
        taker.start()
        taker.join(0.3)
        assert done == []
        cur.execute("COMMIT")
        taker.join(PATIENCE_SECONDS)
    assert done[0].epoch == 2


@pytest.mark.parametrize("journals", J)
def test_what_a_journal_took_is_skipped(journals: int, database: Database, ledger: Ledger) -> None:
    """A batch that is handed in again, longer: only what is new is handled and counted."""
    club = Club(database, journals).open(ledger)
    epoch = claimed(database).epoch
    commands: list[AnyCommand | Malformed] = [club.enrol(f"m{n}") for n in range(6)]
    commands += [malformed(), club.enrol("m0"), club.accrue("m1", "a", 50), club.transfer("m1", "m2", "t", 10)]
    first = ledger.handle(placed(commands), claims={NAME: epoch})
    assert [o.status for o in first] == ["posted"] * 6 + ["rejected", "duplicate", "posted", "posted"]
    again = ledger.handle(placed([*commands, club.accrue("m3", "b", 5)]), claims={NAME: claimed(database).epoch})
    assert [o.status for o in again] == ["taken"] * 10 + ["posted"]
    assert counted(database) == (9, 1, 1)
    assert_sound(club, ledger)


def test_what_was_of_no_programme_stays_so(database: Database, ledger: Ledger) -> None:
    """Refused before a crash, the message is not posted after it because somebody created the programme meanwhile."""
    club = Club(database, 1)
    batch = placed([club.enrol("m1")])
    assert statuses(ledger.handle(batch, claims={NAME: claimed(database).epoch})) == ["PROGRAMME_UNKNOWN"]
    club.open(ledger)
    assert statuses(ledger.handle(batch, claims={NAME: claimed(database).epoch})) == ["taken"]
    later = placed([club.enrol("m2")], first=1)
    assert statuses(ledger.handle(later, claims={NAME: 2})) == ["posted"]


def test_a_read_is_completed_once(database: Database, ledger: Ledger) -> None:
    """Again is no error, by another owner it is Fenced, and over a hole it is Behind."""
    epoch = claimed(database).epoch

    def read(first: int, next_offset: int, epoch: int = epoch) -> Read:
        return Read(topic="t", partition=0, epoch=epoch, first_offset=first, next_offset=next_offset, messages=1)

    with database.connection() as cur:
        sources.complete(cur, [read(0, 5)])
        sources.complete(cur, [read(0, 5)])
        with pytest.raises(Behind, match="offsets 6 to 7 were read, but only what is before 5 is completed"):
            sources.complete(cur, [read(6, 8)])
        assert [each.next_offset for each in sources.partitions(cur)] == [5]
        assert [each.messages for each in sources.stretches(cur)] == [1]
        claimed(database, "b")
        with pytest.raises(Fenced):
            sources.complete(cur, [read(5, 8)])
        assert sources.gaps(cur) == []
