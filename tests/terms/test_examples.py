"""The two worked examples, against figures worked out by hand."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger.commands import PurchaseLine
from ledger.events import Part
from ledger.terms import Terms, TermsDocument, compile_terms, parse_terms, terms_json_schema
from tests.terms.documents import earn, line

EXAMPLES = Path(__file__).parents[2] / "examples" / "terms"


def example(name: str) -> Terms:
    parsed = parse_terms((EXAMPLES / f"{name}.json").read_bytes())
    assert isinstance(parsed, TermsDocument), parsed
    return compile_terms(parsed, 1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_groceries_earn_a_point_a_dollar_rounded_down_once_a_purchase() -> None:
    """$3.99 + $12.49 + $0.99 less $0.08 tax = $17.39: 17 points, though the lines alone would give 3 + 12 + 0."""
    earning = earn(example("grocery"), line(399), line(1249), line(99, tax_minor=8), at=utc("2017-03-01T12:00Z"))
    assert (earning.points, earning.base_minor) == (17, 1739)
    assert earning.parts == [Part(rules=["base"], base_minor=1739, rate="1/100")]


def test_grocery_points_are_available_at_once_and_expire_a_year_on() -> None:
    terms, at = example("grocery"), utc("2017-03-11T18:30-05:00")
    assert terms.available_at(at) == at
    assert terms.expires_at(at) == utc("2018-03-11T18:30-04:00")  # clocks went forward that morning


def test_grocery_returns_of_unknown_goods_take_back_the_base_rate() -> None:
    terms = example("grocery")
    assert (terms.return_policy, terms.unmatched, terms.base_rate_points(1_999)) == ("arrears", "base_rate", 19)
    assert (terms.minimum, terms.step) == (100, 1)


def test_grocery_terms_are_in_force_before_the_history_begins() -> None:
    assert example("grocery").effective_from == utc("2016-01-01T00:00-05:00")


WEDNESDAY_AFTERNOON = "2026-05-06T15:00+08:00"
WEDNESDAY_MORNING = "2026-05-06T09:00+08:00"
SATURDAY_AFTERNOON = "2026-05-09T15:00+08:00"


@pytest.mark.parametrize(
    ("lines", "at", "purchase", "points"),
    [
        ([line(3200, "coffee")], WEDNESDAY_MORNING, {}, 64),  # 32 × 2
        ([line(3200, "tea")], WEDNESDAY_MORNING, {}, 32),
        ([line(3200, "coffee")], WEDNESDAY_AFTERNOON, {}, 96),  # 32 × 2 × 1.5
        ([line(3200, "coffee")], SATURDAY_AFTERNOON, {}, 64),
        ([line(3200, "coffee"), line(1850, "cake")], WEDNESDAY_AFTERNOON, {}, 123),  # 96 + 27.75
        ([line(3200, "coffee")], WEDNESDAY_MORNING, {"first_purchase": True}, 192),  # 32 × 2 × 3
        ([line(3200, "coffee")], WEDNESDAY_MORNING, {"attributes": {"staff": "yes"}}, 32),  # 32 × 2 × ½
        ([line(3200, "coffee"), line(50000, "gift-card"), line(600, "delivery")], WEDNESDAY_MORNING, {}, 64),
        ([line(3200, "coffee", reward=True), line(900, "cake")], WEDNESDAY_MORNING, {}, 9),
        ([line(40000, "coffee")], WEDNESDAY_AFTERNOON, {}, 500),  # 1,200, cut by the cap of a purchase
        ([line(40000, "coffee")], WEDNESDAY_AFTERNOON, {"day": 600, "month": 600}, 200),
        ([line(40000, "coffee")], WEDNESDAY_AFTERNOON, {"day": 600, "month": 4900}, 100),
    ],
)
def test_coffee_earns_what_a_hand_calculation_says(
    lines: list[PurchaseLine], at: str, purchase: dict[str, Any], points: int
) -> None:
    assert earn(example("coffee"), *lines, at=utc(at), **purchase).points == points


def test_coffee_accruals_say_by_which_rules_and_on_which_local_day() -> None:
    earning = earn(example("coffee"), line(3200, "coffee"), line(1850, "cake"), at=utc(WEDNESDAY_AFTERNOON))
    assert earning.parts == [
        Part(
            rules=["base", "double-coffee", "weekday-afternoon"],
            base_minor=3200,
            rate="1/100",
            multiplier="3",
            lines=[0],
        ),
        Part(rules=["base", "weekday-afternoon"], base_minor=1850, rate="1/100", multiplier="3/2", lines=[1]),
    ]
    assert (earning.weights, earning.scale) == ([19_200, 5_550], 200)
    assert earning.earned_on == date(2026, 5, 6)


def test_coffee_points_wait_a_fortnight_and_last_to_the_end_of_a_month() -> None:
    terms, at = example("coffee"), utc("2026-01-31T23:30+08:00")
    assert terms.available_at(at) == utc("2026-02-14T23:30+08:00")
    assert terms.expires_at(at) == utc("2027-02-01T00:00+08:00")


def test_coffee_holds_time_out_and_reversals_extend() -> None:
    terms, at = example("coffee"), utc(WEDNESDAY_MORNING)
    assert terms.times_out_at(at) == utc("2026-05-06T09:15+08:00")
    assert terms.reversed_expiry(at) == utc("2026-06-05T09:00+08:00")
    assert (terms.minimum, terms.step, terms.return_policy, terms.unmatched) == (100, 50, "within_balance", "refuse")


@pytest.mark.parametrize("name", ["grocery", "coffee"])
def test_an_example_is_valid_under_the_published_schema(name: str) -> None:
    """Read by another reader than the one that the schema was made from."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads((EXAMPLES / f"{name}.json").read_bytes()), terms_json_schema())
