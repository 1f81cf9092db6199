"""Replays beside the slow oracle, the live read models, and each other."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2.errors
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.store.database import Database, PgCursor
from projections.balances import read_balance
from projections.lifetime_reads import read_lifetime
from projections.programme_value import read_programme_value
from projections.replay import ProgrammeReplay, replay_member, replay_programme, snapshot
from projections.restatement import difference, restate
from projections.runner import Runner
from projections.satisfaction_members import read_latest_answers
from service.read_models import read_models
from tests.lifetime.events import START, Programme, enrolled, merged, purchased, returned, unmerged
from tests.lifetime.oracle import persons, totals
from tests.replay import oracle
from tests.replay.recording import AFTER_ALL, FIRST_RECORDED_AT, Recorded, record_at
from tests.satisfaction.histories import ZONE, journal_of, new_programme

random_histories = settings(max_examples=10)
NOT_IN_THE_ORACLE = {"purchased_units", "returned_units", "goods_cost_minor", "attributed_cost_minor"}


@pytest.fixture
def reader(database: Database) -> Any:
    """Replays run as the role that may only read."""
    pool = Database(database.dsn, "loyalty_reader")
    yield pool
    pool.close()


@random_histories
@given(seed=st.integers(0, 10**9))
def test_a_replay_says_what_the_oracle_says(database: Database, reader: Database, seed: int) -> None:
    """At random instants, as known at random times, of each member and of the programme."""
    random = Random(seed)
    recorded = Recorded(database, seed, 90)
    for _ in range(4):
        as_of, as_known_at = recorded.instant(random), recorded.knowledge(random)
        known = recorded.known(as_of, as_known_at)
        with snapshot(reader) as cur:
            for member in recorded.members:
                check_member(cur, recorded, member, known, as_of, as_known_at)
            check_programme(replay_programme(cur, recorded.journals, as_of, as_known_at), recorded, known, as_of)


def check_member(
    cur: PgCursor, recorded: Recorded, member: str, known: list[Any], as_of: datetime, as_known_at: datetime
) -> None:
    own = [event for event in known if event.member == member]
    found = replay_member(cur, recorded.journals, member, as_of, as_known_at)
    expected = oracle.figures(member, own, as_of)
    assert {name: value for name, value in found.figures.items() if name not in NOT_IN_THE_ORACLE} == expected
    points = oracle.Points(own)
    assert {tier.expires_on: (tier.active, tier.pending, tier.held) for tier in found.tiers} == by_day([points], as_of)
    assert found.balance.balance == found.figures.get("balance", 0)
    for person in persons(known, ZONE):
        if person.name == member and any(type(event).__name__ == "MemberEnrolled" for event in person.events):
            shown = person.figures(as_of.astimezone(ZoneInfo(ZONE)).date())
            del shown["points_redeemed"]  # that oracle knows of no captures; the figures have them
            assert {name: getattr(found.lifetime, name) for name in shown} == shown


def by_day(points: list[oracle.Points], at: datetime) -> dict[Any, tuple[int, ...]]:
    """Tiers by the day of expiry in the zone of the programme."""
    found: dict[Any, list[int]] = {}
    for one in points:
        for expires_at, sums in one.tiers(at).items():
            day = None if expires_at is None else expires_at.astimezone(ZoneInfo(ZONE)).date()
            found[day] = [before + more for before, more in zip(found.get(day, [0, 0, 0]), sums, strict=True)]
    return {day: tuple(sums) for day, sums in found.items()}


def check_programme(found: ProgrammeReplay, recorded: Recorded, known: list[Any], as_of: datetime) -> None:
    by_member = {member: [event for event in known if event.member == member] for member in recorded.members}
    expected: Counter[str] = Counter()
    for member, events in by_member.items():
        expected.update(oracle.figures(member, events, as_of))
    shown = {name: value for name, value in found.figures.items() if name not in NOT_IN_THE_ORACLE}
    assert shown == {name: value for name, value in expected.items() if value}  # members may make up for each other
    assert (found.members, found.events) == (sum(map(bool, by_member.values())), len(known))
    points = [oracle.Points(events) for events in by_member.values()]
    assert {tier.expires_on: (tier.active, tier.pending, tier.held) for tier in found.tiers} == by_day(points, as_of)
    sums = totals(persons(known, ZONE))
    for name in ("open", "closed", "points_redeemed"):  # that oracle knows of no erasures and captures
        del sums[name]
    assert {name: getattr(found.value, name) for name in sums} == sums


@random_histories
@given(seed=st.integers(0, 10**9))
@example(seed=906_038)  # a member that others were merged into is merged, and erased
def test_now_it_agrees_with_the_live_read_models(database: Database, reader: Database, seed: int) -> None:
    recorded = Recorded(database, seed, 90)
    Runner(database, read_models()).run_once()
    now = AFTER_ALL
    with snapshot(reader) as cur:
        for member in recorded.members:
            journal = journal_of(recorded.journals, member)
            found = replay_member(cur, recorded.journals, member, now, now)
            assert found.balance == read_balance(cur, journal, member, now)
            assert found.lifetime == read_lifetime(cur, recorded.journals, journal, member, now)
            assert found.latest_answers == read_latest_answers(cur, recorded.journals, member)
        whole = replay_programme(cur, recorded.journals, now, now)
        assert whole.value == read_programme_value(cur, recorded.journals, now)
        assert whole.positions == live_positions(cur, recorded.journals)
        assert live_figures(cur, recorded.journals, now).items() <= whole.figures.items()


def live_positions(cur: PgCursor, journals: list[int]) -> dict[int, int]:
    cur.execute("SELECT journal, position FROM journals WHERE journal = ANY (%s) AND position > 0", (journals,))
    return dict(cur.fetchall())


def live_figures(cur: PgCursor, journals: list[int], at: datetime) -> dict[str, int]:
    """Sums over the tables of the read models, by the names that a replay gives them."""
    cur.execute(
        "SELECT sum(held), sum(spent), sum(arrears), sum(earned) FROM balances WHERE journal = ANY (%s)", (journals,)
    )
    found = dict(zip(("held", "spent", "arrears", "points_earned"), cur.fetchone() or (), strict=True))
    cur.execute(
        "SELECT sum(points) FILTER (WHERE available_at <= %(at)s), sum(points) FILTER (WHERE available_at > %(at)s)"
        " FROM lots WHERE journal = ANY (%(journals)s) AND expires_at > %(at)s",
        {"at": at, "journals": journals},
    )
    found |= zip(("active", "pending"), cur.fetchone() or (), strict=True)
    cur.execute(
        "SELECT lower(instrument) || '_' || lowest || '_to_' || highest || '_', sum(answers), sum(scored),"
        " sum(promoters), sum(detractors), sum(satisfied), sum(weighted), sum(score_sum) * 1000000"
        " FROM satisfaction_days WHERE journal = ANY (%s) AND per = 'programme' GROUP BY 1",
        (journals,),
    )
    names = ("answers", "scored", "promoters", "detractors", "satisfied", "weighted", "score_millionths")
    for start, *sums in cur.fetchall():
        found |= {start + name: value for name, value in zip(names, sums, strict=True)}
    cur.execute(
        "SELECT sum(complaints), sum(resolved), sum(resolution_seconds) * 1000000, sum(follow_ups),"
        " sum(follow_ups_in_time), sum(follow_ups_late), sum(purchases)"
        " FROM service_days WHERE journal = ANY (%s) AND per = 'programme'",
        (journals,),
    )
    service = (
        "complaints",
        "resolved",
        "resolution_microseconds",
        "follow_ups",
        "follow_ups_in_time",
        "follow_ups_late",
        "purchases",
    )
    found |= zip(service, cur.fetchone() or (), strict=True)
    return {name: int(value) for name, value in found.items() if value}


@random_histories
@given(seed=st.integers(0, 10**9))
def test_the_effects_come_to_the_difference_of_two_replays(database: Database, reader: Database, seed: int) -> None:
    """Figure by figure, for the programme and each member; and they are the events that came in between."""
    random = Random(seed)
    recorded = Recorded(database, seed, 90)
    for _ in range(3):
        as_of = recorded.instant(random)
        first, second = sorted([recorded.knowledge(random), recorded.knowledge(random)])
        with snapshot(reader) as cur:
            before = replay_programme(cur, recorded.journals, as_of, first)
            after = replay_programme(cur, recorded.journals, as_of, second)
            effects = list(restate(cur, recorded.journals, None, as_of, first, second))
            assert summed(effects) == difference(before.figures, after.figures)
            between = [
                (event.member, type(event).topic, event.occurred_at)
                for event, recorded_at in zip(recorded.events, recorded.times, strict=True)
                if first < recorded_at <= second and event.occurred_at <= as_of
            ]
            assert Counter((one.member, one.topic, one.occurred_at) for one in effects) == Counter(between)
            for member in recorded.members:
                own = list(restate(cur, recorded.journals, member, as_of, first, second))
                assert own == [effect for effect in effects if effect.member == member]
                then, later = (replay_member(cur, recorded.journals, member, as_of, at) for at in (first, second))
                assert summed(own) == difference(then.figures, later.figures)


def summed(effects: list[Any]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for effect in effects:
        for name, change in effect.changes.items():
            found[name] += change
    return {name: change for name, change in found.items() if change}


def test_of_a_merge_one_side_may_be_known_before_the_other(database: Database, reader: Database) -> None:
    """They are recorded in two journals, microseconds apart. In between, the trade is the survivor's already."""
    journals = new_programme(database, "club", 2)
    here, there = (next(f"m{n}" for n in range(99) if journal_of(journals, f"m{n}") == one) for one in journals)
    out, into = merged(here, there, 3)
    versions: dict[str, int] = {}
    early = [enrolled(here, 0), enrolled(there, 0), purchased(here, 1, (1, 500, 200)), out]
    record_at(database, journals, early, versions, FIRST_RECORDED_AT)
    record_at(database, journals, [into], versions, AFTER_ALL)
    with snapshot(reader) as cur:
        for known_at in (FIRST_RECORDED_AT, AFTER_ALL):
            value = replay_programme(cur, journals, AFTER_ALL, known_at).value
            assert (value.members, value.merged, value.customers, value.profit_minor) == (1, 1, 1, 300)


@pytest.mark.parametrize(("first", "second"), [("a", "z"), ("z", "a")])
def test_who_was_given_back_may_come_again_by_another(database: Database, first: str, second: str) -> None:
    """Merged into one and given back, then into another; and both of these into the same member."""
    club = Programme(database)
    club.record(*(enrolled(member, 0) for member in ("gone", "top", first, second)))
    club.record(*merged("gone", first, 1), *unmerged("gone", first, 2), *merged("gone", second, 3))
    club.record(*merged(first, "top", 4), *merged(second, "top", 5))
    club.project()
    at = AFTER_ALL
    with database.connection() as cur:
        found = replay_member(cur, club.journals, "top", at, at)
        assert found.lifetime == read_lifetime(cur, club.journals, club.journals[0], "top", at)
        assert found.lifetime.members == ["top", "a", "gone", "z"]


def test_late_is_what_had_occurred_when_the_figures_were_known_first(database: Database, reader: Database) -> None:
    journals = new_programme(database, "club", 1)
    versions: dict[str, int] = {}
    record_at(database, journals, [enrolled("ann", 0)], versions, FIRST_RECORDED_AT)
    after = (FIRST_RECORDED_AT - START).days + 3
    events = [purchased("ann", 1, (1, 500, 200)), purchased("ann", after, (1, 9, 2)), returned("ann", after, 9, 2)]
    record_at(database, journals, events, versions, AFTER_ALL)
    with snapshot(reader) as cur:
        effects = list(restate(cur, journals, None, AFTER_ALL, FIRST_RECORDED_AT, AFTER_ALL))
    assert [(one.late, one.correction) for one in effects] == [(True, False), (False, False), (False, True)]
    assert [one.changes.get("goods_cost_minor") for one in effects] == [200, 2, -2]


def test_nothing_can_be_written_while_replaying(database: Database, reader: Database) -> None:
    recorded = Recorded(database, 1, 5)
    with snapshot(reader) as cur:
        replay_programme(cur, recorded.journals, AFTER_ALL, AFTER_ALL)
        cur.execute("SHOW transaction_read_only")
        assert cur.fetchone() == ("on",)
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            cur.execute("CREATE TEMPORARY TABLE t (x integer)")
        cur.execute("ROLLBACK; BEGIN")


def test_a_second_time_before_the_first_is_refused(database: Database, reader: Database) -> None:
    recorded = Recorded(database, 1, 5)
    now = datetime.now(UTC)
    with snapshot(reader) as cur, pytest.raises(ValueError, match="must not be before known-at"):
        list(restate(cur, recorded.journals, None, now, now, now - timedelta(seconds=1)))
