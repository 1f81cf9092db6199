"""What a purchase earns: base, rate, rounding, multipliers, stacking and caps, each as a table."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ledger.commands import PurchaseLine
from ledger.events import Part
from ledger.terms import compile_terms
from ledger.terms_document import EarningTerms, Multiplier, TermsDocument, When
from tests.terms.documents import document, earn, line, terms

COFFEE = {"rule": "coffee", "multiplier": "2", "when": {"categories": ["coffee"]}}
APP = {"rule": "app", "multiplier": "1.5", "when": {"channels": ["app"]}}
SALE = {"rule": "sale", "multiplier": "0.5", "when": {"stores": ["s1"]}}


def with_rules(*rules: dict[str, Any], stacking: str | None = "multiply", **more: Any) -> Any:
    return terms({"earning.multipliers": list(rules), "earning.stacking": stacking, **more})


@pytest.mark.parametrize(
    ("rate", "amount", "points"),
    [
        ("0.01", 99, 0),
        ("0.01", 100, 1),
        ("0.01", 199, 1),
        ("1", 7, 7),
        ("2.5", 3, 7),
        ("0.000000001", 10**9, 1),
        ({"points": 1, "per_minor": 3}, 8, 2),
        ({"points": 2, "per_minor": 3}, 4, 2),
        ({"points": 1, "per_minor": 100}, 10**15, 10**13),
    ],
)
def test_points_are_the_exact_rate_rounded_down(rate: Any, amount: int, points: int) -> None:
    assert earn(terms({"earning.rate": rate}), line(amount)).points == points


@pytest.mark.parametrize(
    ("base", "of_line", "expected"),
    [
        ({}, line(1000, tax_minor=100, discount_minor=50), 900),
        ({"tax": "include"}, line(1000, tax_minor=100, discount_minor=50), 1000),
        ({"discounts": "before"}, line(1000, tax_minor=100, discount_minor=50), 950),
        ({"tax": "include", "discounts": "before"}, line(1000, tax_minor=100, discount_minor=50), 1050),
        ({"discounts": "before"}, line(0, discount_minor=50), 50),
        ({}, line(50, tax_minor=80), 0),
        ({}, line(1000, reward=True), 0),
        ({"rewards": "include"}, line(1000, reward=True), 1000),
        ({"include_categories": ["coffee"]}, line(1000, "coffee"), 1000),
        ({"include_categories": ["coffee"]}, line(1000, "tea"), 0),
        ({"include_categories": ["coffee"]}, line(1000), 0),
        ({"exclude_categories": ["gift"]}, line(1000, "gift"), 0),
        ({"exclude_categories": ["gift"]}, line(1000, "Gift"), 1000),
        ({"exclude_categories": [""]}, line(1000), 0),
    ],
)
def test_the_base_of_a_line_is_what_the_terms_say(base: dict[str, Any], of_line: PurchaseLine, expected: int) -> None:
    assert earn(terms({"earning.base": base}), of_line).base_minor == expected


@pytest.mark.parametrize(
    ("rounding", "amounts", "points", "weights", "scale"),
    [
        ("floor_per_purchase", [150, 150], 3, [150, 150], 100),
        ("floor_per_purchase", [199], 1, [199], 100),
        ("floor_per_line", [150, 150], 2, [1, 1], 1),
        ("half_up_per_purchase", [149], 1, [149], 100),
        ("half_up_per_purchase", [150], 2, [150], 100),
        ("half_up_per_purchase", [50], 1, [50], 100),
        ("half_up_per_purchase", [49], 0, [49], 100),
        ("half_up_per_purchase", [150, 150], 3, [150, 150], 100),
        ("half_up_per_line", [150, 149], 3, [2, 1], 1),
    ],
)
def test_rounding_is_by_purchase_or_by_line(
    rounding: str, amounts: list[int], points: int, weights: list[int], scale: int
) -> None:
    earning = earn(terms({"earning.rounding": rounding}), *map(line, amounts))
    assert (earning.points, earning.weights, earning.scale) == (points, weights, scale)


def test_a_plain_purchase_has_one_part_for_every_line() -> None:
    earning = earn(terms(), line(250), line(0), line(130))
    assert earning.parts == [Part(rules=["base"], base_minor=380, rate="1/100")]
    assert earning.weights == [250, 0, 130]


def test_a_purchase_that_earns_nothing_has_no_parts_and_a_weight_for_each_line() -> None:
    earning = earn(terms(), line(0), line(100, reward=True))
    assert (earning.points, earning.parts, earning.weights) == (0, [], [0, 0])


@pytest.mark.parametrize(
    ("stacking", "multiplier", "rules", "points"),
    [
        ("multiply", "3/2", ["base", "coffee", "app", "sale"], 15),
        ("add", "2", ["base", "coffee", "app", "sale"], 20),  # 1 + (2 - 1) + (1.5 - 1) + (0.5 - 1)
        ("highest", "2", ["base", "coffee"], 20),
        ("first", "2", ["base", "coffee"], 20),
    ],
)
def test_multipliers_stack_as_the_terms_say(stacking: str, multiplier: str, rules: list[str], points: int) -> None:
    of = with_rules(COFFEE, APP, SALE, stacking=stacking)
    earning = earn(of, line(1000, "coffee"), channel="app", store="s1")
    assert earning.points == points
    assert earning.parts == [Part(rules=rules, base_minor=1000, rate="1/100", multiplier=multiplier)]


def test_first_is_the_first_in_the_document_even_if_lower() -> None:
    assert earn(with_rules(SALE, COFFEE, stacking="first"), line(1000, "coffee"), store="s1").points == 5


def test_highest_takes_the_only_rule_that_applies_even_below_1() -> None:
    assert earn(with_rules(SALE, COFFEE, stacking="highest"), line(1000), store="s1").points == 5


def test_of_equal_multipliers_highest_names_the_first() -> None:
    also = {"rule": "also", "multiplier": "2", "when": {"channels": ["app"]}}
    earning = earn(with_rules(also, COFFEE, stacking="highest"), line(100, "coffee"), channel="app")
    assert earning.parts[0].rules == ["base", "also"]


def test_adding_reductions_never_goes_below_nothing() -> None:
    fifth = {"rule": "fifth", "multiplier": "0.2", "when": {"channels": ["app"]}}
    tenth = {"rule": "tenth", "multiplier": "0.1", "when": {"stores": ["s1"]}}
    earning = earn(with_rules(fifth, tenth, stacking="add"), line(1000), channel="app", store="s1")
    assert (earning.points, earning.parts[0].multiplier) == (0, "0")


def test_lines_of_different_rules_are_parts_of_their_own() -> None:
    earning = earn(with_rules(COFFEE, APP), line(100, "coffee"), line(30), line(0), line(70), line(10, "coffee"))
    assert earning.parts == [
        Part(rules=["base", "coffee"], base_minor=110, rate="1/100", multiplier="2", lines=[0, 4]),
        Part(rules=["base"], base_minor=100, rate="1/100", multiplier="1", lines=[1, 3]),
    ]


def test_weights_of_different_rules_share_one_scale() -> None:
    third = {"rule": "third", "multiplier": {"numerator": 4, "denominator": 3}, "when": {"categories": ["tea"]}}
    earning = earn(with_rules(COFFEE, third), line(100, "coffee"), line(100, "tea"), line(100))
    assert (earning.weights, earning.scale) == ([600, 400, 300], 300)
    assert earning.points == 4  # 13/3


def test_a_cap_leaves_the_weights_as_they_are() -> None:
    earning = earn(terms({"earning.caps": {"purchase": 5}}), line(1000))
    assert (earning.points, earning.weights, earning.scale) == (5, [1000], 100)


@pytest.mark.parametrize(
    ("caps", "day", "month", "points", "cap", "before"),
    [
        ({"purchase": 10}, 0, 0, 10, None, None),
        ({"purchase": 9}, 0, 0, 9, "purchase", 10),
        ({"day": 10}, 0, 0, 10, None, None),
        ({"day": 10}, 1, 0, 9, "day", 10),
        ({"day": 10}, 10, 10, 0, "day", 10),
        ({"day": 10}, 25, 25, 0, "day", 10),
        ({"month": 100}, 0, 95, 5, "month", 10),
        ({"purchase": 8, "day": 20, "month": 100}, 5, 50, 8, "purchase", 10),
        ({"purchase": 8, "day": 20, "month": 100}, 13, 50, 7, "day", 10),
        ({"purchase": 8, "day": 20, "month": 100}, 13, 94, 6, "month", 10),
        ({"purchase": 8, "day": 20, "month": 100}, 12, 92, 8, "purchase", 10),
        ({"day": 20, "month": 100}, 14, 94, 6, "day", 10),
    ],
)
def test_the_tightest_cap_bites_and_is_named(
    caps: dict[str, int], day: int, month: int, points: int, cap: str | None, before: int | None
) -> None:
    earning = earn(terms({"earning.caps": caps}), line(1000), day=day, month=month)
    assert (earning.points, earning.cap, earning.before_cap) == (points, cap, before)


def test_a_day_under_a_cap_is_the_local_one() -> None:
    asked: list[object] = []

    def earned(period: object) -> int:
        asked.append(period)
        return 0

    earning = terms({"earning.caps": {"day": 9, "month": 9}, "time_zone": "Asia/Shanghai"}).earn(
        [line(1000)],
        channel="",
        store="",
        occurred_at=datetime(2026, 1, 31, 16, tzinfo=UTC),
        first_purchase=False,
        attributes={},
        earned_in_day=earned,
        earned_in_month=earned,
    )
    assert asked == [date(2026, 2, 1), (2026, 2)]
    assert earning.earned_on == date(2026, 2, 1)


def test_without_a_cap_of_a_day_or_month_no_day_is_recorded() -> None:
    assert earn(terms({"earning.caps": {"purchase": 5}}), line(1000)).earned_on is None


@pytest.mark.parametrize(
    ("caps", "calendar"), [({}, False), ({"purchase": 1}, False), ({"day": 1}, True), ({"month": 1}, True)]
)
def test_terms_say_whether_they_cap_days_or_months(caps: dict[str, int], calendar: bool) -> None:
    assert terms({"earning.caps": caps}).has_calendar_caps is calendar


@pytest.mark.parametrize(("amount", "points"), [(0, 0), (99, 0), (100, 1), (10_099, 100)])
def test_the_base_rate_knows_neither_multipliers_nor_caps(amount: int, points: int) -> None:
    of = with_rules(APP, stacking=None, **{"earning.caps": {"purchase": 1}})
    assert of.base_rate_points(amount) == points


def test_a_document_that_nobody_checked_says_which_rules_lack_an_order() -> None:
    rules = [Multiplier(rule=name, multiplier="2", when=When(channels=["app"])) for name in ("one", "two")]
    unchecked = TermsDocument(
        name="Unchecked",
        effective_from=datetime(2020, 1, 1, tzinfo=UTC),
        currency="USD",
        time_zone="UTC",
        earning=EarningTerms(rate="1", multipliers=rules),
    )
    with pytest.raises(ValueError, match="rules one, two overlap"):
        earn(compile_terms(unchecked, 1), line(100), channel="app")


def test_more_sets_of_rules_than_are_kept_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.earning.SELECTIONS_MAX", 1)
    of = with_rules(COFFEE, APP)
    first = [earn(of, line(1000, "coffee"), channel=channel) for channel in ("app", "web")]
    assert [earn(of, line(1000, "coffee"), channel=channel) for channel in ("app", "web")] == first


def test_the_plain_document_is_what_the_tests_take_it_for() -> None:
    assert document()["earning"] == {"rate": "0.01"}
