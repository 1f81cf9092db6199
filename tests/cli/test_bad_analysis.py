"""Bad input to surveys, plans, charts and fits, as it comes in and as it is answered: field, rule and value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Loyalty

AT = "2026-03-02T04:00:00Z"
FAR_AHEAD = "2999-01-01T00:00:00Z"
SURVEY = {"type": "survey.v1", "member": "ann", "instrument": "NPS", "scale": [0, 10], "answers": {"q": 9}}
BUDGET = {
    "type": "budget.v1", "direction": "top_down", "level": "programme", "measure": "revenue", "value": "100",
    "from_on": "2026-01-01", "until_on": "2026-07-01",
}  # fmt: skip
OBJECTIVE = {
    "type": "objective.v1", "objective": "answers", "comparator": ">=", "target": "81", "unit": "points",
    "direction": "up", "period": "month", "owner": "lee",
}  # fmt: skip
BASELINE = {
    "type": "baseline.v1", "chart": "late", "kind": "individuals", "figure": "nps", "period": "day", "points": 8,
    "from_on": "2026-01-01", "until_on": "2026-01-09", "centre": "50", "sigma": "5",
}  # fmt: skip
GOOD: list[dict[str, Any]] = [
    {"type": "enrolment.v1", "member": "ann"},
    {"type": "purchase.v1", "member": "ann", "currency": "CNY",
     "lines": [{"sku": "latte", "quantity": 1, "amount_minor": 3_000}]},
    {"type": "complaint.v1", "member": "ann", "id": "slow"},
    OBJECTIVE,
    BUDGET,
]  # fmt: skip


def say(loyalty: Loyalty, directory: Path, messages: list[dict[str, Any]], exit_code: int = 0) -> str:
    path = directory / "messages.jsonl"
    common = {"source": "desk", "programme": "demo", "occurred_at": AT}
    path.write_text("\n".join(json.dumps({**common, "id": str(n)} | one) for n, one in enumerate(messages)))
    said = loyalty("ingest", str(path), exit_code=exit_code)
    loyalty("project", "--once")
    return said.output


@pytest.fixture
def told(loyalty: Loyalty, tmp_path: Path) -> Loyalty:
    say(loyalty, tmp_path, GOOD)
    return loyalty


@pytest.mark.parametrize(
    ("bad", "answer"),
    [
        ({**SURVEY, "answers": {"q": 11}},
         "SCORE_OUT_OF_SCALE: answers.q: must be within the scale 0 to 10 (was 11)"),
        ({**SURVEY, "answers": {"q": -0.5}}, "SCORE_OUT_OF_SCALE: answers.q: must be within the scale 0 to 10"),
        ({**SURVEY, "scale": [10, 0]}, "SCALE_INVALID: scale: must be [lowest, highest]"),
        ({**SURVEY, "survey": "delivery"}, "SURVEY_UNKNOWN: survey: "),
        ({**SURVEY, "occurred_at": FAR_AHEAD}, "OCCURRED_AT_OUT_OF_RANGE: occurred_at: must be from 1970 to "),
        ({"type": "complaint.v1", "member": "ann", "occurred_at": FAR_AHEAD}, "OCCURRED_AT_OUT_OF_RANGE"),
        ({**OBJECTIVE, "occurred_at": FAR_AHEAD}, "OCCURRED_AT_OUT_OF_RANGE"),
        ({"type": "complaint-resolution.v1", "member": "ann", "complaint": "slow",
          "occurred_at": "2026-03-02T03:59:59Z"},
         "RESOLUTION_BEFORE_COMPLAINT: occurred_at: must not be before the complaint, opened at"
         " 2026-03-02T04:00:00+00:00 (was 2026-03-02T03:59:59+00:00)"),
        ({"type": "measurement.v1", "objective": "answers", "period_on": "2026-04-01", "value": "80"},
         "PERIOD_INVALID: period_on: "),
        ({**BUDGET, "from_on": "2026-06-30", "until_on": "2026-12-31"},
         "BUDGET_OVERLAPS: from_on: overlaps the budget from 2026-01-01 until before 2026-07-01"),
        ({name: value for name, value in OBJECTIVE.items() if name != "unit"}, "INVALID_FIELD: unit: is required"),
        ({**OBJECTIVE, "unit": ""}, "INVALID_FIELD: unit: must have at least 1 character"),
        ({**OBJECTIVE, "figure": "happiness"}, "FIGURE_UNKNOWN: figure: must be one of nps, csat, ces, acsi, "),
        ({**BASELINE, "figure": "happiness"}, "FIGURE_UNKNOWN: figure: must be one of nps, csat, ces, acsi, "),
        ({**BASELINE, "until_on": "2026-03-03"}, "RANGE_INVALID: until_on: may not be after 2026-03-02"),
        ({**BASELINE, "sigma": "0"}, "LIMITS_INVALID: sigma: must be above 0: a series that never changes"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else value["type"],
)  # fmt: skip
def test_a_message_is_refused_with_field_rule_and_value(
    told: Loyalty, tmp_path: Path, bad: dict[str, Any], answer: str
) -> None:
    assert answer in say(told, tmp_path, [{"id": "bad", **bad}], exit_code=3)


def test_an_empty_and_a_constant_series_make_no_chart(told: Loyalty, tmp_path: Path) -> None:
    freeze = ("satisfaction", "freeze", "daily", "--figure", "nps", "--period", "day", "--from", "2026-01-01")
    empty = told(*freeze, "--until", "2026-01-10", exit_code=3).stderr
    assert "Refused. figure: nps has no data from 2026-01-01 until before 2026-01-10" in empty
    answers = [{**SURVEY, "id": f"a{day}", "occurred_at": f"2026-01-{day:02}T04:00:00Z"} for day in range(1, 10)]
    say(told, tmp_path, answers)
    assert "does not vary" in told(*freeze, "--until", "2026-01-10", exit_code=3).stderr
    assert "there is no baseline named 'daily'" in told("satisfaction", "chart", "daily", exit_code=2).stderr


def test_a_series_that_is_too_small_makes_no_fit(told: Loyalty) -> None:
    said = told("value-model", "fit", exit_code=1).stderr
    assert "nothing fitted: 0 of 1 members purchased on two days or more; a fit needs at least 50" in said
    assert "no fit is kept yet: loyalty value-model fit" in told("value-model", "show", exit_code=1).stderr


def test_profit_without_costs_is_unknown_wherever_it_is_told(told: Loyalty, tmp_path: Path) -> None:
    """Not zero, and not the revenue: of the member, of all, in the pyramid, against a plan and for an objective."""
    assert "profit unknown: no cost of 1 line" in told("member", "ann").stdout
    value = told.json("value")["value"]
    assert (value["profit_minor"], value["unknown_profit_members"], value["unknown_profit_revenue_minor"]) == (
        0, 1, 3_000,
    )  # fmt: skip
    bands = {band["name"]: band["members"] for band in told.json("pyramid", "--by", "profit")["pyramid"]["bands"]}
    assert (bands["unknown profit"], sum(bands.values())) == (1, 1)
    plan = {**BUDGET, "id": "b", "measure": "profit"}
    say(told, tmp_path, [plan, {**OBJECTIVE, "id": "o", "objective": "profit", "figure": "profit_minor"}])
    budgets = told.json("plan", "--as-of", "2026-03-31")["plan"]["budgets"]
    (profit,) = [budget for budget in budgets if budget["measure"] == "profit"]
    assert (profit["actual"], profit["difference"]) == (None, None)
    measured = told("objectives", "measure").output
    assert "the cost of 1 lines is unknown, and so is the profit" in measured
