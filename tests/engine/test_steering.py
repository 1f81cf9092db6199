"""Steering commands through the one door: small streams in the first journal, and surveys that every writer sees."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.codec import decode
from ledger.commands import (
    AssessFocus,
    DefineObjective,
    DefineSurvey,
    FindCause,
    FocusScore,
    MeasureObjective,
    PyramidBand,
    RecordSurvey,
    SetAnalysis,
    SetBudget,
)
from ledger.engine import Ledger
from ledger.store import journal as log
from ledger.store.database import Database, PgCursor
from tests.engine.clubs import T0, Club, assert_sound, at, statuses, submissions
from tests.engine.test_programmes import wait_for_a_lock_waiter

MONDAY = T0.date()


def said(club: Club, id: str, minutes: float = 0) -> dict[str, Any]:
    return {"id": id, "source": "office", "programme": club.name, "occurred_at": at(minutes)}


def survey(club: Club, id: str, scale: tuple[int, int] = (1, 5), name: str = "delivery") -> DefineSurvey:
    return DefineSurvey(**said(club, id), survey=name, instrument="CSAT", scale=scale, questions=["content"])


def answer(club: Club, member: str, id: str, score: int, scale: tuple[int, int] = (1, 5)) -> RecordSurvey:
    named = {"member": member, "survey": "delivery", "instrument": "CSAT"}
    return RecordSurvey(**said(club, id, 5), **named, scale=scale, answers={"content": score})


def objective(club: Club, id: str = "objective") -> DefineObjective:
    return DefineObjective(
        **said(club, id), objective="answer", comparator="<=", target="10", unit="s", direction="down",
        period="week", owner="lee",
    )  # fmt: skip


def measure(club: Club, id: str, value: str) -> MeasureObjective:
    return MeasureObjective(**said(club, id), objective="answer", period_on=MONDAY, value=value)


def budget(club: Club, id: str, value: str, month: int = 1) -> SetBudget:
    return SetBudget(
        **said(club, id), direction="top_down", level="programme", measure="revenue", value=value,
        from_on=date(2024, month, 1), until_on=date(2024, month + 1, 1),
    )  # fmt: skip


def steering_rows(club: Club) -> list[tuple[str, int, str, bool]]:
    """Stream, version, topic, and whether it begins a command: of all streams of the first journal that steer."""
    return [
        (row.originator_id, row.originator_version, row.topic, row.command_key is not None)
        for rows in club.rows()
        for row in rows
        if not row.originator_id.startswith(("member-", "programme-"))
    ]


def test_one_batch_steers_a_new_programme(database: Database, ledger: Ledger) -> None:
    """Each command sees what the one before it did; again, all of them are duplicates."""
    club = Club(database, 16)
    focus = AssessFocus(
        **said(club, "focus"), factor="information", scale=(1, 5), items=[FocusScore(item="complete", score=4)],
        assessor="zhou",
    )  # fmt: skip
    bands = [PyramidBand(name="all", share_percent="100")]
    commands = [
        club.creation(),
        club.enrol("a"),
        survey(club, "s1"),
        answer(club, "a", "a1", 5),
        survey(club, "s2", (1, 7)),
        answer(club, "a", "a2", 7, (1, 7)),
        objective(club),
        measure(club, "m1", "12"),
        measure(club, "m2", "13"),
        FindCause(**said(club, "c"), nonconformity=f"answer:{MONDAY}", cause="why", owner="wang", due_on=MONDAY),
        budget(club, "b1", "100"),
        budget(club, "b2", "200"),
        SetAnalysis(**said(club, "an"), inactive_after_days=90, bands=bands),
        focus,
    ]
    assert statuses(ledger.handle(submissions(commands))) == ["posted"] * 14
    assert steering_rows(club) == [
        ("survey-delivery", 1, "survey-defined.v1", True),
        ("survey-delivery", 2, "survey-defined.v1", True),
        ("objective-answer", 1, "objective-defined.v1", True),
        ("objective-answer", 2, "objective-measured.v1", True),
        (f"nonconformity-answer:{MONDAY}", 1, "nonconformity-raised.v1", False),
        ("objective-answer", 3, "objective-measured.v1", True),
        (f"nonconformity-answer:{MONDAY}", 2, "cause-found.v1", True),
        ("budget-top_down-revenue-programme-", 1, "budget-set.v1", True),
        ("budget-top_down-revenue-programme-", 2, "budget-set.v1", True),
        ("analysis", 1, "analysis-set.v1", True),
        ("focus-information", 1, "focus-assessed.v1", True),
    ]
    assert {row.originator_id for rows in club.rows()[1:] for row in rows} == {"member-a"}
    assert statuses(ledger.handle(submissions(commands))) == ["duplicate"] * 14
    assert_sound(club, ledger)


def test_commands_that_follow_each_other_share_a_transaction(
    club: Club, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is decided on what the ones before it left, refused or not, as if it came alone."""
    commits: list[int] = []

    def store_head(cursor: PgCursor, head: log.Head, *, commit: bool = False) -> None:
        commits.append(head.journal)
        log.store_head(cursor, head, commit=commit)

    monkeypatch.setattr("ledger.transaction.store_head", store_head)
    commands = [
        measure(club, "too early", "12"),
        objective(club),
        measure(club, "m1", "12"),
        survey(club, "s1"),
        measure(club, "m1", "12"),
        measure(club, "m1", "9"),
        measure(club, "m2", "13"),
        survey(club, "s2", (1, 7)),
        budget(club, "b1", "100"),
        budget(club, "b2", "100"),
    ]
    expected = ["OBJECTIVE_UNKNOWN", *["posted"] * 3, "duplicate", "IDEMPOTENCY_CONFLICT", *["posted"] * 4]
    assert statuses(ledger.handle(submissions(commands))) == expected
    assert commits == [club.journals()[0]]
    alone = Club(club.database, club.count).open(ledger)
    for command in commands:
        ledger.handle(submissions([replace(command, programme=alone.name)]))
    assert steering_rows(club) == steering_rows(alone)
    assert_sound(club, ledger)


def test_steering_is_idempotent(club: Club, ledger: Ledger, other: Ledger) -> None:
    """The same id with other input is a conflict, whichever writer gets it; a refusal is kept with its message."""
    ledger.handle(submissions([objective(club), measure(club, "m", "12")]))
    for writer in (ledger, other):
        outcomes = writer.handle(submissions([measure(club, "m", "12"), measure(club, "m", "11")]))
        assert statuses(outcomes) == ["duplicate", "IDEMPOTENCY_CONFLICT"]
        assert outcomes[0].first == outcomes[0].last
    assert [row[2] for row in steering_rows(club)].count("nonconformity-raised.v1") == 1
    assert {row[0] for row in club.refused()} == {"IDEMPOTENCY_CONFLICT"}


def test_steering_needs_a_programme_and_a_time(club: Club, ledger: Ledger) -> None:
    nobody = Club(club.database, 1)
    early = {**said(club, "early"), "occurred_at": at(-60 * 24 * 365 * 60)}
    late = {**said(club, "late"), "occurred_at": at(60 * 24 * 365 * 90)}
    fields: dict[str, Any] = {"survey": "s", "instrument": "CSAT", "scale": (1, 5), "questions": ["q"]}
    commands = [survey(nobody, "s"), DefineSurvey(**early, **fields), DefineSurvey(**late, **fields)]
    assert statuses(ledger.handle(submissions(commands))) == ["PROGRAMME_UNKNOWN", *["OCCURRED_AT_OUT_OF_RANGE"] * 2]


def test_a_refused_command_leaves_nothing(club: Club, ledger: Ledger) -> None:
    commands = [measure(club, "m", "12"), survey(club, "s", (5, 1)), answer(club, "a", "x", 3)]
    outcomes = ledger.handle(submissions([club.enrol("a"), *commands]))
    assert statuses(outcomes) == ["posted", "OBJECTIVE_UNKNOWN", "SCALE_INVALID", "SURVEY_UNKNOWN"]
    assert steering_rows(club) == []
    assert sorted(row[0] for row in club.refused()) == ["OBJECTIVE_UNKNOWN", "SCALE_INVALID", "SURVEY_UNKNOWN"]


def test_a_survey_defined_by_another_writer_is_seen(club: Club, ledger: Ledger, other: Ledger) -> None:
    """In every journal, by the next transaction; and so is its next version."""
    names = [f"m{n}" for n in range(8)]
    ledger.handle(submissions([club.enrol(name) for name in names]))
    answers = [answer(club, name, f"{name}-1", 4) for name in names]
    assert set(statuses(ledger.handle(submissions(answers)))) == {"SURVEY_UNKNOWN"}
    assert statuses(other.handle(submissions([survey(club, "s1")]))) == ["posted"]
    assert set(statuses(ledger.handle(submissions(answers)))) == {"posted"}
    assert statuses(other.handle(submissions([survey(club, "s2", (1, 7))]))) == ["posted"]
    again = [answer(club, name, f"{name}-2", 4) for name in names]
    assert set(statuses(ledger.handle(submissions(again)))) == {"SURVEY_MISMATCH"}
    events = [decode(row.topic, row.state) for rows in club.rows() for row in rows if row.topic == "survey-answered.v1"]
    assert [event.survey for event in events] == ["delivery"] * 8  # type: ignore[attr-defined]
    assert_sound(club, ledger, other)


def test_a_writer_looks_surveys_up_again_only_when_they_changed(
    club: Club, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other steering commands change nothing that a member's command needs."""
    ledger.handle(submissions([club.enrol("a"), survey(club, "s")]))
    monkeypatch.setattr("ledger.transaction.read_programme", None)
    commands = [answer(club, "a", "a1", 4), budget(club, "b", "1"), answer(club, "a", "a2", 5)]
    assert statuses(ledger.handle(submissions(commands))) == ["posted"] * 3


def test_two_writers_that_define_at_once(
    club: Club, ledger: Ledger, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first one's lock, and gets the next version."""
    append = log.append

    def append_when_the_other_waits(cursor: PgCursor, head: log.Head, records: list[log.Record]) -> None:
        if threading.current_thread() is first:
            second.start()
            wait_for_a_lock_waiter(club)
        append(cursor, head, records)

    monkeypatch.setattr("ledger.transaction.append", append_when_the_other_waits)
    outcomes: list[str] = []

    def define(writer: Ledger, id: str) -> None:
        outcomes.extend(statuses(writer.handle(submissions([survey(club, id)]))))

    first = threading.Thread(target=define, args=(ledger, "a"))
    second = threading.Thread(target=define, args=(other, "b"))
    first.start()
    first.join()
    second.join()
    assert outcomes == ["posted", "posted"]
    with club.database.connection() as cursor:
        cursor.execute("SELECT version FROM surveys WHERE programme = %s ORDER BY version", (club.name,))
        assert [version for (version,) in cursor.fetchall()] == [1, 2]
        cursor.execute("SELECT revision, terms_versions FROM programmes WHERE programme = %s", (club.name,))
        assert cursor.fetchall() == [(3, 1)]


def test_writers_that_miss_an_objective_at_once_raise_it_once(club: Club, ledger: Ledger, other: Ledger) -> None:
    ledger.handle(submissions([objective(club)]))
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(
            lambda writer, mine: writer.handle(submissions([measure(club, f"{mine}-{n}", "12") for n in range(10)])),
            (ledger, other),
            "ab",
        )
        assert {status for outcomes in told for status in statuses(outcomes)} == {"posted"}
    topics = [row[2] for row in steering_rows(club)]
    assert (topics.count("objective-measured.v1"), topics.count("nonconformity-raised.v1")) == (20, 1)
    assert_sound(club, ledger, other)


def test_programmes_have_streams_of_one_name(database: Database, ledger: Ledger) -> None:
    """A survey of one is unknown to the other."""
    clubs = [Club(database, 1), Club(database, 1)]
    for club in clubs:
        ledger.handle(submissions([club.creation(), club.enrol("a"), budget(club, "b", "1")]))
    ledger.handle(submissions([survey(clubs[0], "s")]))
    outcomes = ledger.handle(submissions([answer(club, "a", "x", 4) for club in clubs]))
    assert statuses(outcomes) == ["posted", "SURVEY_UNKNOWN"]
    assert [row[:2] for row in steering_rows(clubs[1])] == [("budget-top_down-revenue-programme-", 1)]


def test_an_answer_records_the_weights_of_its_survey(club: Club, ledger: Ledger, other: Ledger) -> None:
    """Of the questions that it answers; another writer knows them from the database."""
    definition = DefineSurvey(
        **said(club, "yearly"), survey="yearly", instrument="ACSI", scale=(1, 10),
        questions=["overall", "expected", "ideal"], weights=[2, 1, 1],
    )  # fmt: skip
    answered = RecordSurvey(
        **said(club, "x", 5), member="a", survey="yearly", instrument="ACSI", scale=(1, 10),
        answers={"ideal": 7, "overall": 9},
    )  # fmt: skip
    assert statuses(ledger.handle(submissions([club.enrol("a"), definition]))) == ["posted", "posted"]
    assert statuses(other.handle(submissions([answered]))) == ["posted"]
    (event,) = [
        decode(row.topic, row.state) for rows in club.rows() for row in rows if row.topic == "survey-answered.v1"
    ]
    assert event.weights == {"ideal": 1, "overall": 2}  # type: ignore[attr-defined]
