"""The tables and what is read from them, beside the oracle: late events, merges, batches cut anywhere, crashes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import PersistenceError
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.events import (
    FollowUpCompleted,
    FollowUpScheduled,
    MemberEnrolled,
    MemberErased,
    MembersMerged,
    MergeUndone,
    SurveyAnswered,
)
from ledger.store.database import Database
from ledger.values import FAR
from projections.member_satisfaction import read_member_satisfaction, satisfaction_as_of
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from projections.satisfaction import Satisfaction
from projections.satisfaction_members import read_latest_answers, read_satisfied_leavers
from projections.timelines import next_period, periods, read_member_timeline, read_timeline
from tests.projections.test_exactly_once import Cut
from tests.satisfaction import oracle
from tests.satisfaction.histories import START, History, journal_of, new_programme, record_members

ROOT = Path(__file__).parents[2]
PROJECTIONS = (Satisfaction(),)
DIMENSIONS = ("programme", "channel", "store", "touchpoint")

histories = settings(max_examples=8)


def check_rows(cur: Any, journals: Sequence[int], events: Sequence[Any]) -> None:
    """Answers, complaints and follow-ups as they were recorded."""
    cur.execute(
        "SELECT member, occurred_at, day, score, satisfied, answers, lowest, highest FROM survey_answers"
        " WHERE journal = ANY (%s)",
        (list(journals),),
    )
    assert sorted(cur.fetchall(), key=str) == sorted(
        (
            (
                event.member,
                event.occurred_at,
                oracle.day_of(event.occurred_at),
                None if (score := oracle.score_of(event)) is None else Decimal(round(score * 10**6)).scaleb(-6),
                oracle.is_satisfied(event),
                event.answers,
                *event.scale,
            )
            for event in events
            if isinstance(event, SurveyAnswered)
        ),
        key=str,
    )
    service = oracle.Service(events)
    for table, first, last, pairs in (
        ("complaints", "opened_at", "resolved_at", service.complaints),
        ("follow_ups", "scheduled_at", "completed_at", service.follow_ups),
    ):
        cur.execute(
            f"SELECT member, {first}, touchpoint, {last}, outcome FROM {table} WHERE journal = ANY (%s)",
            (list(journals),),
        )
        assert set(cur.fetchall()) == {
            (begun.member, begun.occurred_at, begun.touchpoint, end and end.occurred_at, end and end.outcome)
            for begun, end in pairs
        }


def check_entry(entry: Any, expected: dict[str, Any]) -> None:
    for name in ("responses", "purchases", "complaints", "resolved", "follow_ups"):
        assert getattr(entry, name) == expected[name], (name, entry)
    for name, made in entry.figures.items():
        value, n, error = expected[name]
        assert made.method
        assert made.n == n
        assert made.value == (None if value is None else pytest.approx(value, abs=1e-6)), (name, entry)
        if error is not None or name in ("nps", "csat", "ces", "acsi"):
            assert made.standard_error == (None if error is None else pytest.approx(error, abs=1e-6)), (name, entry)


def check_timelines(cur: Any, journals: Sequence[int], events: Sequence[Any], today: date) -> None:
    until_on = today + timedelta(days=40)
    for per in DIMENSIONS:
        for by, days in (("day", 6), ("week", 40), ("month", 500)):
            from_on = today - timedelta(days=days)
            edges: Any = {"by": by, "from_on": from_on, "until_on": until_on, "today": today}
            entries = read_timeline(cur, journals, per=per, median=True, **edges)
            values = list(dict.fromkeys(entry.value for entry in entries))
            starts = periods(from_on, until_on, by)  # type: ignore[arg-type]
            assert [(entry.value, entry.period_on) for entry in entries] == [(v, s) for v in values for s in starts]
            for entry in entries:
                check_entry(entry, oracle.figures(events, entry.period_on, entry.until_on, today, per, entry.value))
            if per != "programme":
                total = oracle.figures(events, starts[0], next_period(starts[-1], by), today)  # type: ignore[arg-type]
                assert sum(entry.responses for entry in entries) == total["responses"]
                for value in values[:1]:
                    only = read_timeline(cur, journals, per=per, only=value, median=True, **edges)
                    assert only == [entry for entry in entries if entry.value == value]


def check_members(cur: Any, journals: Sequence[int], history: History, today: date) -> None:
    events = history.events
    into = oracle.merged_into(events)
    from_on, until_on = today - timedelta(days=90), today + timedelta(days=1)
    for member in history.members:
        for as_of in (None, history.now - timedelta(days=20)):
            found = read_latest_answers(cur, journals, member, as_of)
            assert {answer.instrument: (answer.member, answer.occurred_at, answer.score) for answer in found} == {
                name: (event.member, event.occurred_at, Decimal(round(oracle.score_of(event) * 10**6)).scaleb(-6))  # type: ignore[operator]
                for name, event in oracle.latest(events, member, as_of or FAR).items()
            }
        own = [event for event in events if event.member in oracle.stands_for(into, member)]
        for entry in read_member_timeline(
            cur, journals, member, by="month", from_on=from_on, until_on=until_on, today=today
        ):
            expected = oracle.figures(own, entry.period_on, entry.until_on, today)
            expected |= {"purchases": 0, "complaint_rate": (None, 0, None)}
            check_entry(entry, expected)
    check_service(cur, journals, history)
    for days in (None, 3, 30):
        now = history.now + timedelta(hours=1)
        found = read_satisfied_leavers(cur, journals, now=now, inactive_after_days=days)
        assert {leaver.member: leaver.how for leaver in found} == oracle.satisfied_leavers(
            events, history.members, now, days
        )


def check_service(cur: Any, journals: Sequence[int], history: History) -> None:
    """Of now as the log says it; of the past, what the whole history says of the events of then."""
    service = oracle.Service(history.events)
    for member in history.members:
        journal = journal_of(journals, member)
        whole = satisfaction_as_of(cur, journals, journal, member, FAR, FAR)
        assert read_member_satisfaction(cur, journals, member, FAR) == whole
        assert satisfaction_as_of(cur, journals, journal, member, FAR, START - timedelta(days=900)).complaints == 0
        then = history.now - timedelta(days=20)
        known = [event for event in history.events if event.occurred_at <= then]
        names = oracle.stands_for(oracle.merged_into(known), member)
        found = satisfaction_as_of(cur, journals, journal, member, then, FAR)
        assert {answer.instrument: (answer.member, answer.occurred_at) for answer in found.latest_answers} == {
            name: (event.member, event.occurred_at) for name, event in oracle.latest(known, member, then).items()
        }
        complaints = [pair for pair in service.complaints if pair[0].member in names and pair[0].occurred_at <= then]
        still = [begun for begun, end in complaints if end is None or end.occurred_at > then]
        assert found.complaints == len(complaints)
        assert [(one.opened_at, one.member, one.complaint) for one in found.open_complaints] == sorted(
            (begun.occurred_at, begun.member, begun.id) for begun in still
        )
        promised = [pair for pair in service.follow_ups if pair[0].member in names and pair[0].occurred_at <= then]
        kept = [(begun, end) for begun, end in promised if end is not None and end.occurred_at <= then]
        in_time = sum(end.occurred_at <= begun.due_at for begun, end in kept)
        assert (found.follow_ups, found.follow_ups_in_time, found.follow_ups_late) == (
            len(promised), in_time, len(kept) - in_time,
        )  # fmt: skip
        assert {(one.follow_up, one.due_at, one.overdue) for one in found.open_follow_ups} == {
            (begun.id, begun.due_at, begun.due_at < then)
            for begun, end in promised
            if end is None or end.occurred_at > then
        }


def check(database: Database, journals: Sequence[int], history: History) -> None:
    with database.connection() as cur:
        check_rows(cur, journals, history.events)
        for back in (0, 25):
            check_timelines(cur, journals, history.events, oracle.day_of(history.now) - timedelta(days=back))
        check_members(cur, journals, history, oracle.day_of(history.now))


def check_rebuild(database: Database, dsn: str, batch_events_max: int = 50) -> None:
    with database.connection() as cur:
        live = table_digests(cur, PROJECTIONS)
    rebuild(dsn, PROJECTIONS, batch_events_max=batch_events_max)
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == live


@histories
@given(seed=st.integers(0, 10**9), commands=st.integers(0, 120), cuts=st.data())
def test_live_tables_equal_the_oracle_and_the_rebuild(
    database: Database, database_dsn: str, seed: int, commands: int, cuts: st.DataObject
) -> None:
    """However batches are cut, with cold or warm memory, over two journals with merges between them."""
    history = History(seed, commands)
    journals = new_programme(database, f"club-{uuid4()}", 2)
    versions: dict[str, int] = {}
    runner = Runner(database, PROJECTIONS, batch_events_max=cuts.draw(st.sampled_from([1, 7, 1000])))
    start = 0
    while start < len(history.events):
        size = cuts.draw(st.integers(1, max(1, len(history.events) // 2)))
        record_members(database, journals, history.events[start : start + size], versions)
        start += size
        if cuts.draw(st.booleans()):
            runner = Runner(database, PROJECTIONS, batch_events_max=cuts.draw(st.sampled_from([1, 7, 1000])))
        runner.run_once()
    check(database, journals, history)
    check_rebuild(database, database_dsn, cuts.draw(st.sampled_from([3, 50, 1000])))


@pytest.mark.parametrize("step", ["prepare", "load", "before write", "after write"])
def test_a_connection_cut_between_statements_leaves_nothing_half_done(
    database: Database, database_dsn: str, step: str
) -> None:
    """The batch is rolled back with its checkpoint; the same runner goes on rightly."""
    history = History(5, 150)
    journals = new_programme(database, "club")
    record_members(database, journals, history.events, {})
    cut: Any = Cut(Satisfaction(), step, 4)
    runner = Runner(database, [cut], batch_events_max=20)
    with pytest.raises(PersistenceError):
        runner.run_once()
    assert 0 < runner.run_once() < len(history.events)
    check(database, journals, history)
    check_rebuild(database, database_dsn)


def test_a_runner_killed_in_mid_run_is_resumed_without_loss_or_doubling(database: Database, database_dsn: str) -> None:
    """kill -9 at random instants, again and again, until a run ends by itself."""
    history = History(12, 250)
    journals = new_programme(database, "club")
    record_members(database, journals, history.events, {})
    program = textwrap.dedent(
        """
        import sys
        from ledger.store.database import Database
        from projections.runner import Runner
        from projections.satisfaction import Satisfaction
        print("started", flush=True)
        Runner(Database(sys.argv[1]), [Satisfaction()], batch_events_max=1).run_once()
        """
    )
    killed = 0
    for attempt in range(40):
        process = subprocess.Popen([sys.executable, "-c", program, database_dsn], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=random.Random(attempt).uniform(0.02, 0.2) * (1 + attempt / 4))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        finally:
            process.stdout.close()
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert killed > 0, "nothing was killed: the test says nothing"
    assert Runner(database, PROJECTIONS).run_once() == 0
    check(database, journals, history)
    check_rebuild(database, database_dsn)


def event(kind: Any, id: str, hour: int = 0, **fields: Any) -> Any:
    at = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(hours=hour)
    return kind(programme="club", source="desk", id=id, **({"member": "bob", "occurred_at": at} | fields))


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([MembersMerged], ("merged", "ann")),
        ([MembersMerged, MergeUndone], ("open", None)),
        ([MembersMerged, MergeUndone, MemberErased], ("erased", None)),
        ([MembersMerged, MemberErased], ("erased", "ann")),
        ([MembersMerged, MergeUndone, MembersMerged], ("merged", "ann")),
    ],
)
def test_a_merge_holds_until_it_is_undone(database: Database, limit: int, steps: Sequence[Any], expected: Any) -> None:
    """An erased member stays with the one that it was merged into: that merge cannot be undone."""
    sides = {MembersMerged: {"side": "out", "other": "ann"}, MergeUndone: {"side": "in", "other": "ann"}}
    journals = new_programme(database, "club")
    events = [event(kind, f"e-{number}", number, **sides.get(kind, {})) for number, kind in enumerate(steps)]
    record_members(database, journals, [event(MemberEnrolled, "e"), *events], {})
    Runner(database, PROJECTIONS, batch_events_max=limit).run_once()
    with database.connection() as cur:
        cur.execute("SELECT status, merged_into FROM satisfaction_members WHERE member = 'bob'")
        assert cur.fetchone() == expected


def test_merges_that_seem_to_go_round_in_a_circle_keep_nobody_waiting(database: Database) -> None:
    """Ann's journal is behind: that her merge into Bob was undone is not folded yet, that he was merged into her is."""
    journals = new_programme(database, "club", 2)
    ann, bob = (next(f"m{n}" for n in range(99) if journal_of(journals, f"m{n}") == one) for one in journals)
    events = [
        event(kind, f"{member}-{kind.__name__}", member=member, **fields)
        for member, other in ((ann, bob), (bob, ann))
        for kind, fields in (
            (MemberEnrolled, {}),
            (SurveyAnswered, {"instrument": "NPS", "scale": (0, 10), "answers": {"q": 9}}),
            (MembersMerged, {"side": "out", "other": other}),
        )
    ]
    record_members(database, journals, events, {})
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        cur.execute("SET statement_timeout = '10s'")
        assert read_satisfied_leavers(cur, journals, now=FAR) == []
        cur.execute("RESET statement_timeout")


def test_the_ends_of_the_calendar_and_of_numbers_are_folded(database: Database) -> None:
    """A follow-up due at the last instant there is, a scale beyond 64 bits, half a millionth."""
    huge = 10**20
    events = [
        event(MemberEnrolled, "e"),
        event(FollowUpScheduled, "f", due_at=FAR),
        event(SurveyAnswered, "a", instrument="CES", scale=(0, huge), answers={"q": huge}),
        event(SurveyAnswered, "b", instrument="CSAT", scale=(1, 5), answers={"q": 4.0000005, "why": "\x00 \\ \n"}),
    ]
    journals = new_programme(database, "club")
    record_members(database, journals, events, {})
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        cur.execute("SELECT score, answers::text FROM survey_answers ORDER BY position")
        (huge_score, _), (score, answers) = cur.fetchall()
        assert (huge_score, score) == (huge, Decimal("4.000000"))
        assert json.loads(answers) == {"q": 4.0000005, "why": "\x00 \\ \n"}
        cur.execute("SELECT due_day::text FROM follow_ups")
        assert cur.fetchone() == ("9999-12-31",)


def test_an_answer_recorded_late_does_not_take_the_place_of_a_newer_one(database: Database) -> None:
    """Two at one instant: the one recorded last."""
    journals = new_programme(database, "club")
    fields: Any = {"instrument": "NPS", "scale": (0, 10)}
    events = [event(SurveyAnswered, "a", 5, answers={"q": 9}, **fields)]
    events += [event(SurveyAnswered, f"b-{hour}", hour, answers={"q": hour}, **fields) for hour in (2, 5, 4)]
    record_members(database, journals, events, {})
    Runner(database, PROJECTIONS, batch_events_max=1).run_once()
    with database.connection() as cur:
        (found,) = read_latest_answers(cur, journals, "bob")
    assert (found.score, found.satisfied) == (5, False)


def test_a_late_completion_is_not_known_before_it_was(database: Database) -> None:
    """As of a day between due and done the follow-up is open, for the programme and wherever it counts."""
    place = {"channel": "app", "touchpoint": "delivery"}
    due_at = datetime(2026, 2, 2, tzinfo=UTC)
    events = [
        event(FollowUpScheduled, "f", due_at=due_at, **place),
        event(FollowUpCompleted, "done", 24 * 19, follow_up="f", due_at=due_at),
    ]
    journals = new_programme(database, "club")
    record_members(database, journals, events, {})
    Runner(database, PROJECTIONS).run_once()
    edges: Any = {"by": "month", "from_on": date(2026, 2, 1), "until_on": date(2026, 3, 1)}
    with database.connection() as cur:
        for day, due, late in ((2, 0, None), (10, 1, 0.0), (19, 1, 0.0), (20, 1, 100.0)):
            today = date(2026, 2, day)
            found = [read_timeline(cur, journals, per=per, today=today, **edges) for per in DIMENSIONS]  # type: ignore[arg-type]
            found.append(read_member_timeline(cur, journals, "bob", today=today, **edges))
            assert [(entry.follow_ups, entry.figures["late_rate"].value) for (entry,) in found] == [(due, late)] * 5
