"""`loyalty satisfaction`: what it shows, as a table and as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.store.database import connect
from tests.cli.running import COFFEE, Loyalty

COMPLAINT = {"type": "complaint.v1", "member": "ann", "occurred_at": "2026-03-02T02:00:00Z", "store": "bund"}


@pytest.fixture
def loyalty(database_dsn: str, tmp_path: Path) -> Loyalty:
    """The program on a programme in Shanghai, where ann, with bob merged into her, has said what she thinks."""
    program = Loyalty(LOYALTY_DATABASE_URL=database_dsn)
    program("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai", "--journals", "2")
    program("terms", "publish", str(COFFEE), "--at", "2026-01-01T00:00:00Z")
    messages = [
        *({"type": "enrolment.v1", "member": name, "occurred_at": "2026-01-02T00:00:00Z"} for name in ("ann", "bob")),
        answer("bob", "2026-01-31T16:30:00Z", 3),
        answer("ann", "2026-02-10T00:00:00Z", 9, store="bund"),
        *(answer("ann", f"2026-01-{day:02}T01:00:00Z", 9 if day % 3 else 5) for day in range(3, 15)),
        {"type": "purchase.v1", "member": "ann", "occurred_at": "2026-03-01T00:00:00Z", "currency": "CNY",
         "lines": [{"sku": "latte", "quantity": 1, "amount_minor": 3_000}], "store": "bund"},
        {**COMPLAINT, "id": "c-1"},
        {"type": "complaint-resolution.v1", "member": "ann", "occurred_at": "2026-03-02T03:00:00Z", "complaint": "c-1"},
        {"type": "merge.v1", "member": "bob", "into": "ann", "occurred_at": "2026-03-10T00:00:00Z"},
    ]  # fmt: skip
    file = tmp_path / "messages.jsonl"
    lines = ({"id": f"m-{number}", "source": "test"} | message for number, message in enumerate(messages))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    program("ingest", str(file), "--programme", "demo")
    program("project", "--once")
    return program


def answer(member: str, at: str, score: int, store: str = "") -> dict[str, Any]:
    return {
        "type": "survey.v1", "member": member, "occurred_at": at, "instrument": "NPS", "scale": [0, 10],
        "answers": {"recommend": score}, "store": store,
    }  # fmt: skip


def entries(loyalty: Loyalty, *options: str) -> list[Any]:
    done = loyalty("satisfaction", "timeline", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


SPRING = ("--from", "2026-02-01", "--until", "2026-04-01")


def test_a_timeline_names_figures_their_numbers_and_their_methods(loyalty: Loyalty) -> None:
    """Bob answered after midnight in Shanghai, so in February."""
    february, march = entries(loyalty, *SPRING)
    assert (february["period_on"], february["until_on"]) == ("2026-02-01", "2026-03-01")
    nps = february["figures"]["nps"]
    assert (nps["value"], nps["n"], nps["standard_error"]) == (0, 2, pytest.approx(70.71, abs=0.01))
    assert nps["method"].startswith("NPS: % of 9–10 less % of 0–6")
    assert (march["figures"]["nps"]["value"], march["figures"]["nps"]["n"]) == (None, 0)
    assert march["figures"]["complaint_rate"]["value"] == 100_000
    assert march["figures"]["resolution_time"]["value"] == 3600


def test_a_timeline_as_of_a_past_day_has_nothing_of_later_days(loyalty: Loyalty) -> None:
    (february, march) = entries(loyalty, *SPRING, "--as-of", "2026-02-05T00:00:00Z")
    assert (february["responses"], march["complaints"]) == (1, 0)


def test_a_timeline_by_store_and_of_a_member(loyalty: Loyalty) -> None:
    """What no store is known of stands under an empty name; ann has what bob said."""
    found = entries(loyalty, *SPRING, "--per", "store")
    assert [(entry["value"], entry["responses"]) for entry in found] == [("", 1), ("", 0), ("bund", 1), ("bund", 0)]
    only = entries(loyalty, *SPRING, "--per", "store", "--only", "bund")
    assert only == found[2:]
    assert [entry["responses"] for entry in entries(loyalty, *SPRING, "--member", "ann")] == [2, 0]
    assert [entry["responses"] for entry in entries(loyalty, *SPRING, "--member", "bob")] == [1, 0]


def test_a_timeline_as_a_table(loyalty: Loyalty) -> None:
    done = loyalty("satisfaction", "timeline", *SPRING, "--by", "month", "--median")
    header, february, _ = (line.split("\t") for line in done.stdout.splitlines())
    assert february[header.index("nps")] == "0.0 ± 70.7 (2)"
    assert february[header.index("csat")] == ""
    assert "complaint_rate (per 100,000 purchases): complaints opened" in done.stderr


def test_the_latest_answer_of_a_member(loyalty: Loyalty) -> None:
    done = loyalty("satisfaction", "latest", "ann")
    assert done.stdout.splitlines()[1].split("\t")[:4] == ["NPS", "9", "0 to 10", "yes"]
    before = loyalty.json("satisfaction", "latest", "ann", "--as-of", "2026-02-05T00:00:00Z")
    assert (before["member"], before["score"], before["satisfied"]) == ("bob", "3.000000", False)
    assert "No answer of nobody" in loyalty("satisfaction", "latest", "nobody").stderr


def set_inactive_after(loyalty: Loyalty, tmp_path: Path, days: int) -> None:
    bands = [{"name": "all", "share_percent": "100"}]
    said = {"type": "analysis.v1", "id": f"analysis-{days}", "source": "desk", "occurred_at": "2026-04-01T00:00:00Z"}
    path = tmp_path / "analysis.json"
    path.write_text(json.dumps({**said, "inactive_after_days": days, "bands": bands}))
    loyalty("ingest", str(path), "--programme", "demo")
    loyalty("project", "--once")


def test_satisfied_members_who_left(loyalty: Loyalty, tmp_path: Path) -> None:
    """Who is inactive is so for as long as the programme has set, just as its lifetime figures say."""
    set_inactive_after(loyalty, tmp_path, 36_500)
    assert loyalty("satisfaction", "left").stderr == "Nobody.\n"
    assert loyalty.json("member", "ann")["lifetime"]["status"] == "active"
    inactive = loyalty.json("satisfaction", "left", "--inactive-after", "7")
    assert (inactive["member"], inactive["how"], inactive["score"]) == ("ann", "inactive", "9.000000")
    assert inactive["left_at"] == "2026-03-08T16:00:00Z"  # bought on 1 March, seven days without: from the 9th on
    set_inactive_after(loyalty, tmp_path, 7)
    assert loyalty.json("satisfaction", "left") == inactive
    assert loyalty.json("member", "ann")["lifetime"]["status"] == "inactive"
    loyalty("close", "ann", "--at", "2026-04-01T00:00:00Z")
    loyalty("project", "--once")
    assert loyalty.json("satisfaction", "left")["how"] == "closed"


FREEZE = ("satisfaction", "freeze", "nps-daily", "--figure", "nps", "--period", "day", "--from", "2026-01-03")


def test_a_chart_is_frozen_and_judges_what_comes_after(loyalty: Loyalty) -> None:
    """The command goes through the ledger's door, and a second time it is nothing new."""
    once = (*FREEZE, "--until", "2026-01-15", "--key", "f-1")
    assert loyalty(*once).stdout == "Froze nps-daily on 12 points: centre 33.333333333.\n"
    loyalty("project", "--once")
    assert "Nothing new" in loyalty(*once).stdout
    found = loyalty.json("satisfaction", "chart", "nps-daily", "--from", "2026-01-01", "--until", "2026-03-01")
    assert (found["baselines"][0]["version"], found["definition"]["figure"]) == (1, "nps")
    assert [point["baseline"] for point in found["points"]] == [None] * 12 + [1, 1]
    table = loyalty("satisfaction", "chart", "nps-daily", "--from", "2026-01-01", "--until", "2026-03-01").stdout
    assert "baseline 1: 12 points from 2026-01-03 until before 2026-01-15, centre 33.333333333" in table


def test_a_series_without_limits_is_refused(loyalty: Loyalty) -> None:
    short = loyalty(*FREEZE, "--until", "2026-01-08", exit_code=3)
    assert "Refused. figure: nps has data in 5 periods" in short.stderr
    empty = loyalty(*FREEZE[:-1], "2025-01-03", "--until", "2025-02-08", exit_code=3)
    assert "Refused. figure: nps has no data from 2025-01-03 until before 2025-02-08" in empty.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("timeline", "--from", "2026-02-01", "--until", "2026-01-01"), "until: must be after from, 2026-02-01"),
        (("timeline", "--from", "1900-01-01", "--by", "day"), "is more than 20,000 periods at a time"),
        (("timeline", "--from", "January"), "'January' is not a day such as 2026-01-31"),
        (("timeline", "--only", "bund"), "--only needs --per"),
        (("timeline", "--per", "store", "--member", "ann"), "--per and --member do not go together"),
        (("chart", "nobody-froze"), "there is no baseline named 'nobody-froze'"),
        ((*FREEZE[1:], "--until", "2026-02-01", "--store", "a", "--channel", "b"), "name one of --channel"),
    ],
)
def test_what_cannot_be_read_is_told(loyalty: Loyalty, arguments: tuple[str, ...], message: str) -> None:
    assert message in loyalty("satisfaction", *arguments, exit_code=2).stderr


def test_the_reader_role_has_the_views(loyalty: Loyalty, database_dsn: str) -> None:
    """With the programme's name, and over all of its journals."""
    connection = connect(database_dsn, role="loyalty_reader", schema="loyalty_read")
    try:
        with connection.cursor() as cur:
            cur.execute(
                "SELECT day, answers, promoters, detractors FROM satisfaction_days"
                " WHERE programme = 'demo' AND per = 'programme' AND day >= '2026-02-01' ORDER BY day"
            )
            found = [(str(day), *counts) for day, *counts in cur.fetchall()]
            assert found == [("2026-02-01", 1, 0, 1), ("2026-02-10", 1, 1, 0)]
            for view, rows in (("survey_answers", 14), ("latest_answers", 2), ("complaints", 1), ("follow_ups", 0),
                               ("service_days", 7), ("baselines", 0)):  # fmt: skip
                cur.execute(f"SELECT count(*) FROM {view} WHERE programme = 'demo'")
                assert (view, cur.fetchone()) == (view, (rows,))
    finally:
        connection.close()
