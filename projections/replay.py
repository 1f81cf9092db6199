"""Replay: what a member or a programme came to at an instant, as far as it was known at another, from the log alone.

`as_of` is business time (`occurred_at`), `as_known_at` the ledger's own (`recorded_at`); both are inclusive. Nothing is
written: a programme is folded member by member, from a cursor over its streams, in a read-only transaction that sees
one state of all journals. What is kept meanwhile are sums, and the figures of the members that were merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import groupby

from msgspec import Struct, field

from ledger.codec import MEMBER_STREAM, home_journal
from ledger.store.database import Database, PgCursor
from ledger.store.journal import LightRow, read_streams
from projections.as_of import balance_as_of
from projections.balances import Balance
from projections.lifetime_figures import Contributions, Figures, add_to, contributions, person_correction
from projections.lifetime_reads import MemberLifetime, inactive_after_as_of, lifetime_as_of
from projections.member_fold import (
    MemberFold,
    Tier,
    add_figures,
    known_event,
    tiers_in_order,
)
from projections.member_satisfaction import satisfaction_as_of
from projections.programme_value import ProgrammeValue, programme_value
from projections.satisfaction_members import LatestAnswer
from projections.trading import business_day, time_zone_of

FETCHED_AT_ONCE = 5_000
MERGE_TOPICS = frozenset({"members-merged.v1", "merge-undone.v1"})

_AFTER_MEMBER_STREAMS = MEMBER_STREAM[:-1] + chr(ord(MEMBER_STREAM[-1]) + 1)


class MemberReplay(Struct, frozen=True, kw_only=True):
    """A member at an instant. `balance`, `tiers` and `figures` are those of its own record, `lifetime` and
    `latest_answers` those of the person: of the member and all that were merged into it.

    `figures` are the sums of `MemberFold.figures`; without those that are 0.
    """

    as_of: datetime
    as_known_at: datetime
    balance: Balance
    tiers: list[Tier]
    figures: dict[str, int]
    lifetime: MemberLifetime
    latest_answers: list[LatestAnswer]


class ProgrammeReplay(Struct, frozen=True, kw_only=True):
    """A programme at an instant. `events` of its `members` were folded, up to a position of each journal.

    `figures` are sums over the records of members, as in `MemberReplay`; `value` is of persons.
    """

    as_of: datetime
    as_known_at: datetime
    members: int
    events: int
    positions: dict[int, int]
    """Of each journal, the newest position that counts."""
    tiers: list[Tier]
    figures: dict[str, int]
    value: ProgrammeValue


class _Sums(Struct):
    """What is kept while a programme is folded."""

    members: int = 0
    events: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    tiers: dict[date | None, list[int]] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=dict)
    contributions: Contributions = field(default_factory=dict)
    merging: dict[str, Figures] = field(default_factory=dict)
    """The figures of members that were merged, or into whom others were."""


@contextmanager
def snapshot(database: Database) -> Iterator[PgCursor]:
    """A cursor in a read-only transaction that sees all journals as they are when it begins.

    It may take its time: what is read may be printed page by page, and nobody waits for it.
    """
    with database.connection() as cur:
        cur.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
        )
        yield cur
        cur.execute("COMMIT")


# --- a member -------------------------------------------------------------------------------------------------------


def replay_member(
    cur: PgCursor, journals: Sequence[int], member: str, as_of: datetime, as_known_at: datetime
) -> MemberReplay:
    """A member by the events that had occurred by `as_of` and were recorded by `as_known_at`.

    `journals` are those of the programme, in their order. A member that was never heard of by then is `unknown`.
    """
    journal = home_journal(journals, member)
    own = fold_members(cur, journals, [member], as_of, as_known_at)[member]
    return MemberReplay(
        as_of=as_of,
        as_known_at=as_known_at,
        balance=balance_as_of(cur, journal, member, as_of, as_known_at),
        tiers=tiers_in_order(own.tiers(as_of)),
        figures=own.figures(as_of),
        lifetime=lifetime_as_of(cur, journals, journal, member, as_of, as_known_at),
        latest_answers=satisfaction_as_of(cur, journals, journal, member, as_of, as_known_at).latest_answers,
    )


def fold_members(
    cur: PgCursor, journals: Sequence[int], members: Iterable[str], as_of: datetime, as_known_at: datetime
) -> dict[str, MemberFold]:
    """Some members of a programme by name, each folded by itself: one query a journal that has any of them."""
    time_zone = time_zone_of(cur, journals[0])
    by_journal: dict[int, list[str]] = {}
    for member in members:
        by_journal.setdefault(home_journal(journals, member), []).append(member)
    folded: dict[str, MemberFold] = {}
    for journal, names in by_journal.items():
        folded |= {name: MemberFold(journal, name, time_zone) for name in names}
        rows = read_streams(cur, journal, [(MEMBER_STREAM + name, 0) for name in names])
        for stream, of_member in groupby((row for row in rows if row[5] <= as_known_at), key=_stream):
            folded[stream.removeprefix(MEMBER_STREAM)].fold(
                [known for row in of_member if (known := known_event(row, as_of)) is not None]
            )
    return folded


# --- a programme ----------------------------------------------------------------------------------------------------


def replay_programme(cur: PgCursor, journals: Sequence[int], as_of: datetime, as_known_at: datetime) -> ProgrammeReplay:
    """A programme by the events that had occurred by `as_of` and were recorded by `as_known_at`.

    `cur` is in a transaction, such as that of `snapshot`. Reads the whole history of all members up to `as_known_at`.
    """
    sums = _Sums()
    time_zone = time_zone_of(cur, journals[0])
    for journal in journals:
        for stream, rows in streams(cur, journal, as_known_at):
            fold = MemberFold(journal, stream.removeprefix(MEMBER_STREAM), time_zone)
            known = [entry for row in rows if (entry := known_event(row, as_of)) is not None]
            fold.fold(known)
            if known:
                _count(sums, journal, fold, as_of)
            if any(entry.row.topic in MERGE_TOPICS for entry in known):
                sums.merging[fold.member] = fold.trade
    merged = sums.figures.get("members_merged", 0)
    for records in _families(cur, journals, sums.merging, as_of, as_known_at):
        add_to(sums.contributions, person_correction(records))
    on = business_day(as_of, time_zone)
    inactive_after_days = inactive_after_as_of(cur, journals[0], as_of, as_known_at)
    return ProgrammeReplay(
        as_of=as_of,
        as_known_at=as_known_at,
        members=sums.members,
        events=sums.events,
        positions=sums.positions,
        tiers=tiers_in_order(sums.tiers),
        figures=sums.figures,
        value=programme_value(sums.contributions, merged, on, inactive_after_days),
    )


def _count(sums: _Sums, journal: int, fold: MemberFold, at: datetime) -> None:
    sums.members += 1
    sums.events += fold.events
    sums.positions[journal] = max(sums.positions.get(journal, 0), fold.position)
    add_figures(sums.figures, fold.figures(at).items())
    for day, points in fold.tiers(at).items():
        known = sums.tiers.setdefault(day, [0, 0, 0])
        for index, value in enumerate(points):
            known[index] += value
    add_to(sums.contributions, contributions(fold.trade))


def _families(
    cur: PgCursor, journals: Sequence[int], merging: dict[str, Figures], as_of: datetime, as_known_at: datetime
) -> Iterator[list[Figures]]:
    """The figures of the records of each person that has several, the survivor's first."""
    into = {member: figures.survivor for member, figures in merging.items() if figures.survivor is not None}
    families: dict[str, list[str]] = {}
    for member in sorted(into):
        person, passed = member, set[str]()
        while person in into and person not in passed:
            passed.add(person)
            person = into[person]
        if person not in into:
            families.setdefault(person, []).append(member)
    # The two sides of a merge are recorded in two journals, microseconds apart: one may be known without the other, and
    # between two merges they may even seem to go round in a circle.
    unseen = fold_members(cur, journals, families.keys() - merging.keys(), as_of, as_known_at)
    for person, members in families.items():
        survivor = merging[person] if person in merging else unseen[person].trade
        yield [survivor, *(merging[member] for member in members)]


def streams(
    cur: PgCursor, journal: int, as_known_at: datetime, changed_after: datetime | None = None
) -> Iterator[tuple[str, Iterator[LightRow]]]:
    """The streams of a journal's members, each with its events recorded by `as_known_at`; few rows are in memory.

    With `changed_after`, only streams in which something was recorded after it.
    """
    changed = (
        " AND originator_id IN (SELECT originator_id FROM events WHERE journal = %(journal)s"
        " AND recorded_at > %(after)s AND recorded_at <= %(known_at)s)"
    )
    cur.execute(
        "DECLARE replayed NO SCROLL CURSOR FOR"
        " SELECT position, originator_id, originator_version, topic, state, recorded_at FROM events"
        " WHERE journal = %(journal)s AND originator_id >= %(first)s AND originator_id < %(last)s"
        f" AND recorded_at <= %(known_at)s{changed if changed_after else ''}"
        " ORDER BY originator_id, originator_version",
        {
            "journal": journal,
            "first": MEMBER_STREAM,
            "last": _AFTER_MEMBER_STREAMS,
            "known_at": as_known_at,
            "after": changed_after,
        },
    )
    try:
        yield from groupby(_fetched(cur), key=_stream)
    finally:
        cur.execute("CLOSE replayed")


def _fetched(cur: PgCursor) -> Iterator[LightRow]:
    while True:
        cur.execute(f"FETCH {FETCHED_AT_ONCE} FROM replayed")
        rows = cur.fetchall()
        for position, stream, version, topic, state, recorded_at in rows:
            yield position, stream, version, topic, bytes(state), recorded_at
        if len(rows) < FETCHED_AT_ONCE:
            return


def _stream(row: LightRow) -> str:
    return row[1]
