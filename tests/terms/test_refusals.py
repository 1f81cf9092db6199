"""Every refusal of a terms document: where, the rule in words, and the value as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.terms import Problem, TermsDocument, parse_terms
from tests.terms.documents import ABSENT, document

RATE = 'must be a decimal string such as "0.01", or {"points": 1, "per_minor": 100}'
MULTIPLIER = 'must be a decimal string such as "1.5", or {"numerator": 3, "denominator": 2}'
PERIOD = "must be a whole number and one of D, W, M (months), Y, h, m (minutes), such as 14D"
ZONE = "must be the IANA name of a time zone, such as Asia/Shanghai"
INSTANT = "must be an RFC 3339 instant with an offset, such as 2026-01-01T00:00:00+08:00"
CLOCK = "must be a time of day from 00:00 to 23:59"
APP = {"channels": ["app"]}


def rule(when: Any, name: str = "one", multiplier: Any = "2") -> dict[str, Any]:
    return {"rule": name, "multiplier": multiplier, "when": when}


def when(**conditions: Any) -> dict[str, Any]:
    return {"earning.multipliers": [rule(conditions)]}


WHEN = "$.earning.multipliers[0].when"

FIELDS: list[tuple[dict[str, Any], str, str, str]] = [
    # missing, unknown, of the wrong type
    ({"name": ABSENT}, "$.name", "is required", ""),
    ({"earning": {}}, "$.earning.rate", "is required", ""),
    ({"nick": "x"}, "$.nick", "is not a field of the terms", '"x"'),
    ({"earning.rat": "1"}, "$.earning.rat", "is not a field of the terms", '"1"'),
    ({"earning.caps.week": 5}, "$.earning.caps.week", "is not a field of the terms", "5"),
    (when(day="mon"), f"{WHEN}.day", "is not a field of the terms", '"mon"'),
    ({"name": ""}, "$.name", "must have at least 1 character", '""'),
    ({"name": 5}, "$.name", "must be a string, not a whole number", "5"),
    ({"returns": []}, "$.returns", "must be an object, not a list", "[]"),
    ({"earning.multipliers": {}}, "$.earning.multipliers", "must be a list, not an object", "{}"),
    ({"redemption.minimum": True}, "$.redemption.minimum", "must be a whole number or null, not true or false", "true"),
    ({"redemption.minimum": "5"}, "$.redemption.minimum", "must be a whole number or null, not a string", '"5"'),
    (when(first_purchase="yes"), f"{WHEN}.first_purchase", "must be true or false or null, not a string", '"yes"'),
    # time, place, money
    ({"effective_from": "2026-01-01T00:00:00"}, "$.effective_from", INSTANT, '"2026-01-01T00:00:00"'),
    ({"effective_from": "2026-01-01"}, "$.effective_from", INSTANT, '"2026-01-01"'),
    ({"effective_from": 1}, "$.effective_from", INSTANT, "1"),
    (
        {"effective_from": "0001-01-01T00:00:00+08:00"},
        "$.effective_from",
        "must be in the years 1970 to 8999",
        '"0001-01-01T00:00:00+08:00"',
    ),
    (
        when(until="9999-12-31T23:59:59-08:00"),
        f"{WHEN}.until",
        "must be in the years 1970 to 8999",
        '"9999-12-31T23:59:59-08:00"',
    ),
    ({"currency": "usd"}, "$.currency", "must be an ISO 4217 code of three capital letters, such as CNY", '"usd"'),
    ({"time_zone": ""}, "$.time_zone", ZONE, '""'),
    ({"time_zone": "Mars/Olympus"}, "$.time_zone", ZONE, '"Mars/Olympus"'),
    ({"time_zone": "America"}, "$.time_zone", ZONE, '"America"'),
    ({"time_zone": "../etc/passwd"}, "$.time_zone", ZONE, '"../etc/passwd"'),
    ({"time_zone": "/etc/localtime"}, "$.time_zone", ZONE, '"/etc/localtime"'),
    ({"time_zone": "localtime"}, "$.time_zone", ZONE, '"localtime"'),
    ({"time_zone": "right/UTC"}, "$.time_zone", ZONE, '"right/UTC"'),
    # the rate
    ({"earning.rate": 0.01}, "$.earning.rate", f"must be exact, not a JSON float: {RATE[8:]}", "0.01"),
    ({"earning.rate": 1}, "$.earning.rate", RATE, "1"),
    ({"earning.rate": "-0.01"}, "$.earning.rate", RATE, '"-0.01"'),
    ({"earning.rate": "1e-2"}, "$.earning.rate", RATE, '"1e-2"'),
    ({"earning.rate": ".5"}, "$.earning.rate", RATE, '".5"'),
    ({"earning.rate": "1/100"}, "$.earning.rate", RATE, '"1/100"'),
    ({"earning.rate": "0.00"}, "$.earning.rate", "must be above 0", '"0.00"'),
    ({"earning.rate": {"points": 0, "per_minor": 1}}, "$.earning.rate.points", "must be at least 1", "0"),
    ({"earning.rate": {"points": 1, "per_minor": 0}}, "$.earning.rate.per_minor", "must be at least 1", "0"),
    ({"earning.rate": {"points": 1}}, "$.earning.rate.per_minor", "is required", ""),
    # base
    ({"earning.base.tax": "no"}, "$.earning.base.tax", "must be one of exclude, include", '"no"'),
    (
        {"earning.base.include_categories": []},
        "$.earning.base.include_categories",
        "must have at least 1 entry",
        "[]",
    ),
    (
        {"earning.base.exclude_categories": ["a", "a"]},
        "$.earning.base.exclude_categories",
        "must not name anything twice",
        '"a"',
    ),
    (
        {"earning.base": {"include_categories": ["a", "b"], "exclude_categories": ["b"]}},
        "$.earning.base.exclude_categories",
        "must not name a category that include_categories names",
        '"b"',
    ),
    (
        {"earning.rounding": "ceil"},
        "$.earning.rounding",
        "must be one of floor_per_line, floor_per_purchase, half_up_per_line, half_up_per_purchase",
        '"ceil"',
    ),
    ({"earning.stacking": "max"}, "$.earning.stacking", "must be one of add, first, highest, multiply", '"max"'),
    # multipliers
    (
        {"earning.multipliers": [rule(APP, multiplier=1.5)]},
        "$.earning.multipliers[0].multiplier",
        f"must be exact, not a JSON float: {MULTIPLIER[8:]}",
        "1.5",
    ),
    ({"earning.multipliers": [rule(APP, multiplier=2)]}, "$.earning.multipliers[0].multiplier", MULTIPLIER, "2"),
    (
        {"earning.multipliers": [rule(APP, multiplier="0")]},
        "$.earning.multipliers[0].multiplier",
        "must be above 0; to earn nothing on something, use base.exclude_categories",
        '"0"',
    ),
    (
        {"earning.multipliers": [rule(APP, name="base")]},
        "$.earning.multipliers[0].rule",
        "must not be base, the name of the rate itself",
        '"base"',
    ),
    (
        {"earning.multipliers": [rule(APP), rule({"channels": ["web"]})]},
        "$.earning.multipliers[1].rule",
        "must be the name of one multiplier only",
        '"one"',
    ),
    (
        {"earning.multipliers": [rule(APP), rule({"stores": ["s"]}, name="two")]},
        "$.earning.stacking",
        "is required: the rules 'one' and 'two' can apply to the same line",
        "",
    ),
    (when(), WHEN, "must have a condition: what always applies belongs in the rate", "{}"),
    (when(channels=[]), f"{WHEN}.channels", "must have at least 1 entry", "[]"),
    (when(channels=["a", "a"]), f"{WHEN}.channels", "must not name anything twice", '"a"'),
    (when(weekdays=["monday"]), f"{WHEN}.weekdays[0]", "must be one of fri, mon, sat, sun, thu, tue, wed", '"monday"'),
    (when(weekdays=["mon", "mon"]), f"{WHEN}.weekdays", "must not name anything twice", '"mon"'),
    (when(attributes={}), f"{WHEN}.attributes", "must have at least 1 entry", "{}"),
    (when(local_time={"from": "9:00", "until": "10:00"}), f"{WHEN}.local_time.from", CLOCK, '"9:00"'),
    (when(local_time={"from": "09:00", "until": "24:00"}), f"{WHEN}.local_time.until", CLOCK, '"24:00"'),
    (when(local_time={"from": "09:00"}), f"{WHEN}.local_time.until", "is required", ""),
    (
        when(local_time={"from": "09:00", "until": "09:00"}),
        f"{WHEN}.local_time",
        "must not end when it begins; leave it out for the whole day",
        "09:00",
    ),
    (
        {**when(**{"from": "2026-05-02T00:00:00Z", "until": "2026-05-02T00:00:00Z"})},
        f"{WHEN}.until",
        "must be after from",
        "2026-05-02T00:00:00+00:00",
    ),
    (
        when(until="2019-05-02T00:00:00Z"),
        f"{WHEN}.until",
        "must be after effective_from, or the rule never applies",
        "2019-05-02T00:00:00+00:00",
    ),
    (when(until="2026-05-02"), f"{WHEN}.until", INSTANT, '"2026-05-02"'),
    (
        {**when(categories=["gift"]), "earning.base.exclude_categories": ["gift"]},
        f"{WHEN}.categories",
        "must name a category that earns, see base",
        '["gift"]',
    ),
    (
        {**when(categories=["tea"]), "earning.base.include_categories": ["coffee"]},
        f"{WHEN}.categories",
        "must name a category that earns, see base",
        '["tea"]',
    ),
    # caps
    ({"earning.caps.day": 0}, "$.earning.caps.day", "must be at least 1", "0"),
    ({"earning.caps.purchase": -5}, "$.earning.caps.purchase", "must be at least 1", "-5"),
    ({"earning.caps.month": 10**15 + 1}, "$.earning.caps.month", f"must be at most {10**15}", str(10**15 + 1)),
    ({"earning.caps.month": 5.0}, "$.earning.caps.month", "must be exact, not a JSON float", "5.0"),
    (
        {"earning.caps": {"purchase": 9, "day": 8}},
        "$.earning.caps.purchase",
        "must not be above the cap of the day, 8",
        "9",
    ),
    (
        {"earning.caps": {"purchase": 9, "month": 8}},
        "$.earning.caps.purchase",
        "must not be above the cap of the month, 8",
        "9",
    ),
    # activation and expiry
    ({"earning.activation": "2 weeks"}, "$.earning.activation", PERIOD, '"2 weeks"'),
    ({"earning.activation": "-1D"}, "$.earning.activation", PERIOD, '"-1D"'),
    ({"earning.activation": "101Y"}, "$.earning.activation", "must not be more than 100Y", '"101Y"'),
    (
        {"earning.expiry": {"kind": "sometime"}},
        "$.earning.expiry.kind",
        "must be one of after, end_of_month, on_date, never",
        '"sometime"',
    ),
    ({"earning.expiry": {"period": "1M"}}, "$.earning.expiry.kind", "is required", ""),
    ({"earning.expiry": {"kind": "after"}}, "$.earning.expiry.period", "is required", ""),
    ({"earning.expiry": {"kind": "after", "period": "1"}}, "$.earning.expiry.period", PERIOD, '"1"'),
    (
        {"earning.expiry": {"kind": "after", "period": "0D"}},
        "$.earning.expiry.period",
        "must be longer than the activation, 0D, or points expire before they can be spent",
        '"0D"',
    ),
    (
        {"earning.expiry": {"kind": "after", "period": "14D"}, "earning.activation": "2W"},
        "$.earning.expiry.period",
        "must be longer than the activation, 2W, or points expire before they can be spent",
        '"14D"',
    ),
    (
        {"earning.expiry": {"kind": "end_of_month", "after": "0M"}, "earning.activation": "14D"},
        "$.earning.expiry.after",
        "must not be shorter than the activation, 14D, or points expire before they can be spent",
        '"0M"',
    ),
    (
        {"earning.expiry": {"kind": "end_of_month", "after": "36h"}},
        "$.earning.expiry.after",
        "must be in D, W, M or Y, because it leads to a day",
        '"36h"',
    ),
    (
        {"earning.expiry": {"kind": "on_date", "month_day": "13-01"}},
        "$.earning.expiry.month_day",
        "must be a month and a day, such as 12-31",
        '"13-01"',
    ),
    (
        {"earning.expiry": {"kind": "on_date", "month_day": "02-30"}},
        "$.earning.expiry.month_day",
        "must be a day that its month has",
        '"02-30"',
    ),
    # redemption and returns
    ({"redemption.minimum": 0}, "$.redemption.minimum", "must be at least 1", "0"),
    ({"redemption.step": 0}, "$.redemption.step", "must be at least 1", "0"),
    ({"redemption": {"minimum": 120, "step": 50}}, "$.redemption.minimum", "must be a multiple of the step, 50", "120"),
    (
        {"redemption.hold_timeout": "0m"},
        "$.redemption.hold_timeout",
        "must not be zero, or every hold times out at once",
        '"0m"',
    ),
    (
        {"redemption.reversal_of_expired": "extend"},
        "$.redemption.reversal_of_expired",
        'must be "forfeit" or {"extend_days": 30}',
        '"extend"',
    ),
    (
        {"redemption.reversal_of_expired": {"extend_days": 0}},
        "$.redemption.reversal_of_expired.extend_days",
        "must be at least 1",
        "0",
    ),
    ({"returns.window": "90d"}, "$.returns.window", PERIOD, '"90d"'),
    ({"returns.policy": "all"}, "$.returns.policy", "must be one of arrears, only_pending, within_balance", '"all"'),
    ({"returns.unmatched": ""}, "$.returns.unmatched", "must be one of base_rate, refuse", '""'),
]


@pytest.mark.parametrize(("changes", "path", "sentence", "value"), FIELDS)
def test_a_document_that_breaks_a_rule_says_where_which_and_with_what(
    changes: dict[str, Any], path: str, sentence: str, value: str
) -> None:
    assert parse_terms(document(changes)) == [Problem(path, sentence, value)]


@pytest.mark.parametrize(("changes", "path", "sentence", "value"), FIELDS)
def test_json_text_is_refused_as_decoded_json_is(changes: dict[str, Any], path: str, sentence: str, value: str) -> None:
    assert parse_terms(json.dumps(document(changes)).encode()) == [Problem(path, sentence, value)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "must be JSON: Expecting value"),
        (b"{", "must be JSON: Expecting property name"),
        (b'{"name": "\xff"}', "must be UTF-8 text"),
        (b'{"rate": NaN}', "must be JSON, which has no NaN"),
        (b'{"a": {"day": 1, "day": 2}}', "has the field 'day' twice in one object"),
        (b"[" * 100_000, "is nested too deeply"),
        (b" " * 2_000_000, "must not be larger than 1048576 bytes"),
    ],
)
def test_what_is_no_json_document_is_refused_in_words(text: bytes, sentence: str) -> None:
    (problem,) = parse_terms(text)  # type: ignore[misc]
    assert problem.path == "$"
    assert problem.rule.startswith(sentence)


@pytest.mark.parametrize("text", [b"[]", b"5", b'"terms"', b"null"])
def test_json_that_is_no_object_is_refused(text: bytes) -> None:
    (problem,) = parse_terms(text)  # type: ignore[misc]
    assert (problem.path, problem.rule.startswith("must be an object, not")) == ("$", True)


def test_a_float_is_shown_as_it_was_written() -> None:
    text = json.dumps(document()).replace('"0.01"', "0.010").encode()
    (problem,) = parse_terms(text)  # type: ignore[misc]
    assert problem.value == "0.010"


def test_every_problem_of_the_rules_together_is_told_at_once() -> None:
    found = parse_terms(
        document(
            {
                "time_zone": "Nowhere",
                "earning.rate": "0",
                "earning.caps": {"purchase": 9, "day": 8},
                "redemption": {"minimum": 3, "step": 2},
            }
        )
    )
    assert not isinstance(found, TermsDocument)
    assert [problem.path for problem in found] == [
        "$.time_zone",
        "$.earning.rate",
        "$.earning.caps.purchase",
        "$.redemption.minimum",
    ]


def test_deep_nesting_is_refused_and_not_followed() -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    (problem,) = parse_terms(document({"deep": deep}))  # type: ignore[misc]
    assert (problem.path, problem.rule) == ("$.deep", "is not a field of the terms")


def test_text_that_could_not_be_stored_is_refused() -> None:
    text = json.dumps(document({"name": "x\ud800"})).encode()
    (problem,) = parse_terms(text)  # type: ignore[misc]
    assert problem == Problem("$", "must be text that UTF-8 can hold, without lone surrogates", r"'x\ud800'")


def test_a_long_value_is_shown_in_part() -> None:
    (problem,) = parse_terms(document({"currency": "X" * 1_000}))  # type: ignore[misc]
    assert len(problem.value) == 120


def test_a_problem_reads_as_one_sentence() -> None:
    assert str(Problem("$.earning.rate", "must be above 0", '"0"')) == '$.earning.rate: must be above 0 (was "0")'
