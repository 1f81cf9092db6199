"""`loyalty ingest` and `loyalty rejected`, from the first programme to the balance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import COFFEE, Loyalty, position

FIVE = [
    '{"type":"enrolment.v1","id":"enrol-M0001","source":"crm","programme":"demo","member":"M0001",'
    '"occurred_at":"2026-02-01T00:00:00Z","channel":"store"}',
    '{"type":"purchase.v1","id":"order-4711","source":"pos","programme":"demo","member":"M0001",'
    '"occurred_at":"2026-02-20T04:19:52.161606Z","currency":"CNY","channel":"mini-program","store":"S-0012",'
    '"lines":[{"sku":"A1","category":"coffee","quantity":2,"amount_minor":5600,"cost_minor":3000}]}',
    '{"type":"return.v1","id":"return-17","source":"pos","programme":"demo","member":"M0001",'
    '"occurred_at":"2026-02-21T09:00:00Z","purchase":"order-4711","currency":"CNY",'
    '"lines":[{"sku":"A1","quantity":1,"amount_minor":2800}]}',
    '{"type":"redemption.v1","id":"redeem-9","source":"web","programme":"demo","member":"M0001",'
    '"occurred_at":"2026-02-22T10:00:00Z","points":50,"reason":"voucher"}',
    '{"type":"survey.v1","id":"nps-3","source":"survey","programme":"demo","member":"M0001",'
    '"occurred_at":"2026-02-23T10:00:00Z","instrument":"NPS","answers":{"recommend":9},"scale":[0,10],'
    '"touchpoint":"delivery","channel":"mini-program","purchase":"order-4711"}',
]


@pytest.fixture
def five(tmp_path: Path) -> str:
    """A file with one message of each of five types; the redemption is of fewer points than the terms allow."""
    path = tmp_path / "five.jsonl"
    path.write_text("\n".join([*FIVE, ""]) + "\n")
    return str(path)


def test_from_nothing_to_a_statement(tmp_path: Path, five: str) -> None:
    """On an embedded database, as a newcomer would."""
    loyalty = Loyalty(LOYALTY_DATA_DIR=str(tmp_path / "data"))
    loyalty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    loyalty("terms", "publish", str(COFFEE))

    ingested = loyalty("ingest", five, exit_code=3)

    assert ingested.stdout.startswith("5 messages read: 4 posted, 0 duplicate, 1 rejected; 1 blank line")
    assert "five.jsonl:4: POINTS_BELOW_MINIMUM: points: must be at least 100 (was 50)" in ingested.stderr
    balance = loyalty.json("balance", "M0001")
    assert (balance["active"], balance["pending"], balance["status"]) == (168, 0, "open")
    entries = [json.loads(line) for line in loyalty("statement", "M0001", "--json").stdout.splitlines()]
    assert [(entry["topic"], entry["points"], entry["balance"]) for entry in entries] == [
        ("points-accrued.v1", 336, 336),
        ("points-clawed-back.v1", -168, 168),
    ]
    (refused,) = [json.loads(line) for line in loyalty("rejected", "list", "--json").stdout.splitlines()]
    assert loyalty("rejected", "show", str(refused["number"]), "--raw").stdout == FIVE[3]
    assert loyalty("audit", "verify").stdout.endswith("of 1 journal.\n")


def test_run_again_it_posts_nothing_and_says_so(loyalty: Loyalty, tmp_path: Path) -> None:
    path = tmp_path / "accepted.jsonl"
    path.write_text("\n".join([*FIVE[:3], FIVE[4]]))
    loyalty("ingest", str(path))
    before = position(str(loyalty.settings["LOYALTY_DATABASE_URL"]))
    again = loyalty("ingest", str(path))
    assert again.stdout.startswith("4 messages read: 0 posted, 4 duplicate, 0 rejected")
    assert "Nothing was posted: every message had been recorded before." in again.stdout
    assert position(str(loyalty.settings["LOYALTY_DATABASE_URL"])) == before


def test_counts_as_json(loyalty: Loyalty, five: str) -> None:
    summary = loyalty.json("ingest", five, exit_code=3)
    assert summary.pop("seconds") > 0
    assert summary == {
        "read": 5,
        "posted": 4,
        "duplicate": 0,
        "rejected": 1,
        "blank": 1,
        "rejected_by_code": {"POINTS_BELOW_MINIMUM": 1},
        "interrupted": False,
    }


def test_standard_input_is_a_file_too(loyalty: Loyalty) -> None:
    assert "1 message read: 1 posted" in loyalty("ingest", "-", input=FIVE[0]).stdout


def test_unknown_members_are_enrolled_only_when_asked(loyalty: Loyalty) -> None:
    assert "MEMBER_UNKNOWN" in loyalty("ingest", "-", input=FIVE[1], exit_code=3).stdout
    assert "1 posted" in loyalty("ingest", "-", "--auto-enrol", input=FIVE[1]).stdout
    assert loyalty("rejected", "retry", "--all").stdout.startswith("1 message tried again: 0 posted, 1 recorded before")
    assert loyalty("rejected", "list").stderr == "None.\n"


STEERING = [
    {"type": "survey-definition.v1", "survey": "delivery", "instrument": "NPS", "scale": [0, 10],
     "questions": ["recommend"]},
    {"type": "survey.v1", "member": "M0001", "survey": "delivery", "instrument": "NPS", "scale": [0, 10],
     "answers": {"recommend": 9}},
    {"type": "analysis.v1", "inactive_after_days": 365, "bands": [{"name": "all", "share_percent": "100"}]},
    {"type": "baseline.v1", "chart": "late", "kind": "p", "figure": "late_rate", "period": "week",
     "from_on": "2026-01-05", "until_on": "2026-02-16", "points": 6, "centre": "0.2313"},
    {"type": "objective.v1", "objective": "answer", "comparator": "<=", "target": "10", "unit": "s",
     "direction": "down", "period": "month", "owner": "lee"},
    {"type": "measurement.v1", "objective": "answer", "period_on": "2026-02-01", "value": "12.5"},
    {"type": "nonconformity.v1", "what": "keys were lost", "owner": "lee", "due_on": "2026-03-01"},
    {"type": "cause.v1", "nonconformity": "answer:2026-02-01", "cause": "two vacancies", "owner": "wang",
     "due_on": "2026-03-01"},
    {"type": "corrective-action.v1", "nonconformity": "answer:2026-02-01", "what": "hire", "owner": "zhou",
     "due_on": "2026-04-01"},
    {"type": "corrective-action-completion.v1", "nonconformity": "answer:2026-02-01", "action": "steer-9",
     "done_by": "zhou", "owner": "lee", "due_on": "2026-05-01"},
    {"type": "corrective-action-verification.v1", "nonconformity": "answer:2026-02-01", "action": "steer-9",
     "effective": True, "verified_by": "lee"},
    {"type": "budget.v1", "direction": "top_down", "level": "programme", "measure": "revenue",
     "from_on": "2026-01-01", "until_on": "2026-04-01", "value": "1000000"},
    {"type": "focus.v1", "factor": "information", "scale": [1, 5], "items": [{"item": "complete", "score": 4}],
     "assessor": "zhou"},
    {"type": "budget.v1", "direction": "top_down", "level": "programme", "measure": "revenue",
     "from_on": "2026-03-01", "until_on": "2026-05-01", "value": "1000000"},
]  # fmt: skip


def test_what_steers_a_programme_comes_in_like_everything_else(loyalty: Loyalty, tmp_path: Path) -> None:
    """Each type once, and a budget that overlaps; twice. Balances and the audit go on."""
    path = tmp_path / "steering.jsonl"
    common = {"source": "office", "programme": "demo", "occurred_at": "2026-02-23T10:00:00Z"}
    messages = [{"id": f"steer-{number}", **common, **fields} for number, fields in enumerate(STEERING, start=1)]
    path.write_text("\n".join([FIVE[0], *map(json.dumps, messages)]))
    first = loyalty("ingest", str(path), exit_code=3)
    assert first.stdout.startswith("15 messages read: 14 posted, 0 duplicate, 1 rejected")
    assert "BUDGET_OVERLAPS: from_on: overlaps the budget from 2026-01-01 until before 2026-04-01" in first.stderr
    assert loyalty("ingest", str(path), exit_code=3).stdout.startswith(
        "15 messages read: 0 posted, 14 duplicate, 1 rejected"
    )
    loyalty("project", "--once")
    assert loyalty.json("balance", "M0001")["status"] == "open"
    assert loyalty("audit", "verify").stdout.endswith("of 1 journal.\n")


@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_programme_of_messages_that_name_none(loyalty: Loyalty, way: str) -> None:
    nameless = FIVE[0].replace('"programme":"demo",', "")
    assert "PROGRAMME_MISSING" in loyalty("ingest", "-", input=nameless, exit_code=3).stdout
    if way == "option":
        loyalty("ingest", "-", "--programme", "demo", input=nameless)
    else:
        loyalty.settings["LOYALTY_PROGRAMME"] = "demo"
        loyalty("ingest", "-", input=nameless)


def test_a_retry_posts_what_was_refused_before(empty: Loyalty, five: str) -> None:
    refused = empty("ingest", five, exit_code=3)
    assert "5 × PROGRAMME_UNKNOWN: There is no such programme." in refused.stdout
    empty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    empty("terms", "publish", str(COFFEE))
    retried = empty("rejected", "retry", "--all", exit_code=3)
    assert retried.stdout == "5 messages tried again: 4 posted, 0 recorded before, 1 refused.\n"
    assert "POINTS_BELOW_MINIMUM" in retried.stderr
    listed = empty("rejected", "list", "--status", "all").stdout
    assert listed.count("resolved") == 4


def test_what_was_sent_again_corrected_is_closed(loyalty: Loyalty, five: str) -> None:
    """A message that can never be posted as it came stays open until somebody closes it, and is kept."""
    loyalty("ingest", five, exit_code=3)
    (refused,) = [json.loads(line) for line in loyalty("rejected", "list", "--json").stdout.splitlines()]
    number = str(refused["number"])
    assert loyalty("rejected", "close", number).stdout == "Closed 1 message.\n"
    assert loyalty("rejected", "list").stderr == "None.\n"
    assert loyalty("rejected", "show", number, "--raw").stdout == FIVE[3]
    again = loyalty("rejected", "close", number, "999", exit_code=1)
    assert again.stdout == "Closed 0 messages.\n"
    assert f"not open: {number}, 999" in again.stderr


def test_a_retry_needs_to_know_of_what(loyalty: Loyalty) -> None:
    assert "give the numbers of refused messages, or --all" in loyalty("rejected", "retry", exit_code=2).stderr


def test_a_file_that_is_not_there(loyalty: Loyalty) -> None:
    assert "does not exist" in loyalty("ingest", "nowhere.jsonl", exit_code=2).stderr
