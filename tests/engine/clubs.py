"""Programmes to write to, commands to write, and what must be true of a ledger whatever happened to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, islice, pairwise
from typing import Any
from zlib import crc32

import msgspec

from ledger.codec import MEMBER_STREAM, decode_member_event, encode
from ledger.commands import (
    AccruePoints,
    AnyCommand,
    ChangeProfile,
    CreateProgramme,
    EnrolMember,
    EraseMember,
    MergeMembers,
    PublishTerms,
    PurchaseLine,
    RecordPurchase,
    RedeemPoints,
    TransferPoints,
    UndoMerge,
)
from ledger.engine import Ledger
from ledger.evolver import evolve
from ledger.figures import Figures, figures
from ledger.member import Member, freeze, initial
from ledger.store import journal as log
from ledger.store.database import Database
from ledger.submissions import Outcome, Submission
from ledger.transaction import load_members
from tests.store.test_journal import assert_consistent
from tests.terms.documents import document

J = (1, 16)
T0 = datetime(2024, 3, 4, 12, tzinfo=UTC)
"""Monday noon; every command is dated so many minutes after it."""

_names = count(1)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


class Club:
    """A programme of J journals in a database, with its terms, and the commands that its members send.

    Names have one length, so that the histories of two clubs can be compared byte for byte.
    """

    def __init__(self, database: Database, journals: int) -> None:
        self.database = database
        self.count = journals
        self.name = f"club-{next(_names):06}"
        self._journals: list[int] = []

    def open(self, ledger: Ledger, terms: dict[str, Any] | None = None) -> Club:
        """Create it and publish its terms: a point a dollar, unless changed."""
        outcomes = ledger.handle([Submission(self.creation()), Submission(self.terms("terms-1", terms))])
        assert [outcome.status for outcome in outcomes] == ["posted", "posted"], outcomes
        return self

    def creation(self, id: str = "create", **fields: Any) -> CreateProgramme:
        given = {"currency": "USD", "journals": self.count, "occurred_at": T0} | fields
        return CreateProgramme(id=id, source="office", programme=self.name, **given)

    def terms(self, id: str, changes: dict[str, Any] | None = None) -> PublishTerms:
        return PublishTerms(
            id=id,
            source="office",
            programme=self.name,
            occurred_at=T0,
            document=document({"name": id} | (changes or {})),
        )

    # --- commands ----------------------------------------------------------------------------------------------

    def enrol(self, member: str, minutes: float = 0, id: str = "", **fields: Any) -> EnrolMember:
        return EnrolMember(id=id or f"enrol-{member}", **self._of(member, minutes), **fields)

    def buy(self, member: str, id: str, dollars: int = 100, minutes: float = 1, **fields: Any) -> RecordPurchase:
        lines = [PurchaseLine(sku="A1", quantity=1, amount_minor=dollars * 100)]
        given = {"currency": "USD", "lines": lines} | fields
        return RecordPurchase(id=id, **self._of(member, minutes), **given)

    def accrue(self, member: str, id: str, points: int, minutes: float = 1) -> AccruePoints:
        return AccruePoints(id=id, **self._of(member, minutes), points=points, reason="welcome")

    def redeem(self, member: str, id: str, points: int, minutes: float = 2) -> RedeemPoints:
        return RedeemPoints(id=id, **self._of(member, minutes), points=points)

    def transfer(self, member: str, to: str, id: str, points: int, minutes: float = 3) -> TransferPoints:
        return TransferPoints(id=id, **self._of(member, minutes), to=to, points=points)

    def merge(self, member: str, into: str, id: str, minutes: float = 10) -> MergeMembers:
        return MergeMembers(id=id, **self._of(member, minutes), into=into)

    def undo(self, member: str, id: str, minutes: float = 11) -> UndoMerge:
        return UndoMerge(id=id, **self._of(member, minutes))

    def profile(self, member: str, id: str, minutes: float = 1, **personal: str | None) -> ChangeProfile:
        return ChangeProfile(id=id, **self._of(member, minutes), personal=dict(personal))

    def erase(self, member: str, id: str, minutes: float = 20) -> EraseMember:
        return EraseMember(id=id, **self._of(member, minutes))

    def _of(self, member: str, minutes: float) -> dict[str, Any]:
        return {"source": "pos", "programme": self.name, "member": member, "occurred_at": at(minutes)}

    # --- what is there -----------------------------------------------------------------------------------------

    def journals(self) -> list[int]:
        """Its journal numbers by ordinal, none while there is no programme; they never change."""
        if not self._journals:
            with self.database.connection() as cursor:
                self._journals = log.find_journals(cursor, "programme", self.name)
        return self._journals

    def journal_of(self, member: str) -> int:
        return self.journals()[self.ordinal_of(member)]

    def ordinal_of(self, member: str) -> int:
        return crc32(member.encode()) % self.count

    def members_of(self, ordinal: int, number: int) -> list[str]:
        """So many member names of one journal."""
        own = (name for name in (f"m{n}" for n in count()) if self.ordinal_of(name) == ordinal % self.count)
        return list(islice(own, number))

    def rows(self) -> list[list[log.EventRow]]:
        """The events of each journal, by ordinal."""
        with self.database.connection() as cursor:
            return [log.read(cursor, journal, after=0, limit=1_000_000) for journal in self.journals()]

    def folded(self, upto: dict[int, int] | None = None) -> dict[str, Member]:
        """The members, by a fold of the whole log, or of each journal's up to a position."""
        members: dict[str, Member] = {}
        for row in (row for rows in self.rows() for row in rows):
            if row.originator_id.startswith(MEMBER_STREAM) and (upto is None or row.position <= upto[row.journal]):
                name = row.originator_id.removeprefix(MEMBER_STREAM)
                evolve(members.setdefault(name, initial(name)), decode_member_event(row.topic, row.state))
        return members

    def figures(self, minutes: float = 10_000) -> dict[str, Figures]:
        return {name: figures(member, at(minutes)) for name, member in sorted(self.folded().items())}

    def points(self) -> int:
        """All points that members have, held ones included."""
        return sum(each.balance for each in self.figures().values())

    def history(self) -> list[list[tuple[Any, ...]]]:
        """What each journal says, without what differs between two clubs or two runs: name, numbers, clock, nonces."""
        return [[_told(row, self.name) for row in rows] for rows in self.rows()]

    def commands(self) -> list[tuple[str, str]]:
        """(source, id) of every command recorded, sorted."""
        events = (msgspec.json.decode(r.state) for rows in self.rows() for r in rows if r.command_key is not None)
        return sorted((event["source"], event["id"]) for event in events)

    def refused(self) -> list[tuple[Any, ...]]:
        """code, source, id, member, origin, body, attempts of what was refused, in the order of the ids."""
        with self.database.connection() as cursor:
            cursor.execute(
                "SELECT code, source, message_id, member, origin, body, attempts FROM rejected WHERE programme = %s"
                " ORDER BY message_id, rejected_id",
                (self.name,),
            )
            return [(*row[:5], None if row[5] is None else bytes(row[5]), row[6]) for row in cursor.fetchall()]


def _told(row: log.EventRow, name: str) -> tuple[Any, ...]:
    state = msgspec.json.decode(row.state.replace(name.encode(), b"club"))
    if "sealed" in state:
        state["sealed"] = "sealed"
    return (row.position, row.originator_id.replace(name, "club"), row.originator_version, row.topic, state,
            row.command_key, row.command_events)  # fmt: skip


def submissions(commands: Iterable[AnyCommand], *, with_body: bool = True) -> list[Submission]:
    """Commands as they come from a file."""
    return [
        Submission(command, encode(command) if with_body else None, f"file:{number}")
        for number, command in enumerate(commands, start=1)
    ]


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    """posted, duplicate, or the code of the refusal."""
    return [outcome.rejection.code if outcome.rejection else outcome.status for outcome in outcomes]


def assert_sound(club: Club, *ledgers: Ledger) -> None:
    """The journals are contiguous, hashed and in order of time; every stream and every key once; and the fold of the
    log, what is loaded cold (from a snapshot, where there is one), and what each writer has cached are one state.
    """
    for journal, rows in zip(club.journals(), club.rows(), strict=True):
        assert_consistent(club.database, journal)
        assert all(earlier.recorded_at <= later.recorded_at for earlier, later in pairwise(rows))
        versions: dict[str, int] = {}
        for row in rows:
            assert row.originator_version == versions.get(row.originator_id, 0) + 1, row
            versions[row.originator_id] = row.originator_version
        keys = [row.command_key for row in rows if row.command_key is not None]
        assert len(keys) == len(set(keys))
    folded = club.folded()
    for name, state in _loaded(club, folded).items():
        _assert_same(state, folded[name])
    for ledger in ledgers:
        assert_cache_follows(club, ledger)


def _loaded(club: Club, names: Iterable[str]) -> dict[str, Member]:
    loaded: dict[str, Member] = {}
    with club.database.connection() as cursor:
        for name in names:
            loaded |= load_members(cursor, club.journal_of(name), [name])[0]
    return loaded


def assert_cache_follows(club: Club, ledger: Ledger) -> None:
    caches = {journal: ledger._caches[journal] for journal in club.journals() if journal in ledger._caches}
    upto = {journal: caches[journal].position if journal in caches else 0 for journal in club.journals()}
    folded = club.folded(upto)
    for cache in caches.values():
        assert not cache.lock.locked()
        for name, state in cache.members.items():
            _assert_same(state, folded.get(name) or initial(name))
        assert cache._weight == sum(cache._weights.values())
        assert cache._weights.keys() == cache.members.keys()


def _assert_same(state: Member, folded: Member) -> None:
    assert msgspec.msgpack.decode(freeze(state)) == msgspec.msgpack.decode(freeze(folded))
    assert figures(state, at(10_000)) == figures(folded, at(10_000))
