"""When a multiplier applies, and when two of them can never apply together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.terms import TermsDocument, parse_terms
from tests.terms.documents import document, earn, line, terms


def doubles(when: dict[str, Any], zone: str = "UTC", **purchase: Any) -> bool:
    """Whether a rule of multiplier 2 applies to a purchase of one point."""
    rule = {"rule": "double", "multiplier": "2", "when": when}
    points = earn(terms({"earning.multipliers": [rule], "time_zone": zone}), line(100, "coffee"), **purchase).points
    assert points in (1, 2)
    return points == 2


@pytest.mark.parametrize(
    ("when", "purchase", "applies"),
    [
        ({"categories": ["coffee"]}, {}, True),
        ({"categories": ["tea"]}, {}, False),
        ({"categories": ["tea", "coffee"]}, {}, True),
        ({"channels": ["app", "web"]}, {"channel": "web"}, True),
        ({"channels": ["app"]}, {"channel": "web"}, False),
        ({"channels": ["app"]}, {}, False),
        ({"stores": ["s1"]}, {"store": "s1"}, True),
        ({"stores": ["s1"]}, {"store": "s10"}, False),
        ({"first_purchase": True}, {"first_purchase": True}, True),
        ({"first_purchase": True}, {"first_purchase": False}, False),
        ({"first_purchase": False}, {"first_purchase": True}, False),
        ({"first_purchase": False}, {"first_purchase": False}, True),
        ({"attributes": {"staff": "yes"}}, {"attributes": {"staff": "yes", "city": "x"}}, True),
        ({"attributes": {"staff": "yes"}}, {"attributes": {"staff": "no"}}, False),
        ({"attributes": {"staff": "yes"}}, {}, False),
        ({"attributes": {"staff": "yes", "city": "x"}}, {"attributes": {"staff": "yes"}}, False),
        ({"channels": ["app"], "stores": ["s1"]}, {"channel": "app", "store": "s1"}, True),
        ({"channels": ["app"], "stores": ["s1"]}, {"channel": "app", "store": "s2"}, False),
    ],
)
def test_every_condition_given_must_hold(when: dict[str, Any], purchase: dict[str, Any], applies: bool) -> None:
    assert doubles(when, **purchase) is applies


@pytest.mark.parametrize(
    ("at", "applies"),
    [
        ("2026-05-01T09:59:59.999999+08:00", False),
        ("2026-05-01T10:00:00+08:00", True),
        ("2026-05-02T09:59:59.999999+08:00", True),
        ("2026-05-02T10:00:00+08:00", False),
    ],
)
def test_a_campaign_begins_at_from_and_ends_before_until(at: str, applies: bool) -> None:
    when = {"from": "2026-05-01T02:00:00Z", "until": "2026-05-02T10:00:00+08:00"}
    assert doubles(when, at=datetime.fromisoformat(at).astimezone(UTC)) is applies


AFTERNOON = {"local_time": {"from": "14:00", "until": "17:00"}}
NIGHT = {"local_time": {"from": "22:00", "until": "02:00"}}


@pytest.mark.parametrize(
    ("when", "local", "applies"),
    [
        (AFTERNOON, "2026-05-06T13:59:59.999999", False),
        (AFTERNOON, "2026-05-06T14:00", True),
        (AFTERNOON, "2026-05-06T16:59:59.999999", True),
        (AFTERNOON, "2026-05-06T17:00", False),
        (NIGHT, "2026-05-06T21:59", False),
        (NIGHT, "2026-05-06T22:00", True),
        (NIGHT, "2026-05-07T01:59", True),
        (NIGHT, "2026-05-07T02:00", False),
        ({"weekdays": ["wed"]}, "2026-05-06T00:00", True),
        ({"weekdays": ["wed"]}, "2026-05-06T23:59:59.999999", True),
        ({"weekdays": ["wed"]}, "2026-05-07T00:00", False),
        ({"weekdays": ["fri"], **NIGHT}, "2026-05-08T23:00", True),  # Friday night
        ({"weekdays": ["fri"], **NIGHT}, "2026-05-09T01:00", True),  # goes on into Saturday
        ({"weekdays": ["fri"], **NIGHT}, "2026-05-08T01:00", False),  # that was Thursday night
        ({"weekdays": ["sun"], **NIGHT}, "2026-05-11T01:00", True),  # past the end of the week
        ({"local_time": {"from": "18:00", "until": "00:00"}}, "2026-05-06T23:59", True),
        ({"local_time": {"from": "18:00", "until": "00:00"}}, "2026-05-07T00:00", False),
    ],
)
def test_weekdays_and_times_are_local(when: dict[str, Any], local: str, applies: bool) -> None:
    at = datetime.fromisoformat(f"{local}+08:00").astimezone(UTC)
    assert doubles(when, zone="Asia/Shanghai", at=at) is applies


@pytest.mark.parametrize("at", ["2017-11-05T01:30-04:00", "2017-11-05T01:30-05:00"])
def test_an_hour_that_comes_twice_counts_both_times(at: str) -> None:
    when = {"local_time": {"from": "01:00", "until": "02:00"}}
    assert doubles(when, zone="America/New_York", at=datetime.fromisoformat(at).astimezone(UTC))


@pytest.mark.parametrize(
    ("one", "other", "disjoint"),
    [
        ({"categories": ["coffee"]}, {"categories": ["tea"]}, True),
        ({"categories": ["coffee", "tea"]}, {"categories": ["tea"]}, False),
        ({"categories": ["coffee"]}, {"channels": ["app"]}, False),
        ({"channels": ["app"]}, {"channels": ["web"]}, True),
        ({"stores": ["s1"]}, {"stores": ["s2"]}, True),
        ({"stores": ["s1"]}, {"stores": ["s1", "s2"]}, False),
        ({"first_purchase": True}, {"first_purchase": False}, True),
        ({"first_purchase": True}, {"channels": ["app"]}, False),
        ({"attributes": {"tier": "gold"}}, {"attributes": {"tier": "silver"}}, True),
        ({"attributes": {"tier": "gold"}}, {"attributes": {"staff": "yes"}}, False),
        ({"attributes": {"tier": "gold"}}, {"attributes": {"tier": "gold"}}, False),
        ({"weekdays": ["mon"]}, {"weekdays": ["tue"]}, True),
        ({"weekdays": ["mon", "tue"]}, {"weekdays": ["tue"]}, False),
        (AFTERNOON, {"local_time": {"from": "17:00", "until": "18:00"}}, True),
        (AFTERNOON, {"local_time": {"from": "16:59", "until": "18:00"}}, False),
        ({"weekdays": ["fri"], **NIGHT}, {"weekdays": ["sat"]}, False),  # Saturday 01:00 is in both
        ({"weekdays": ["fri"], **NIGHT}, {"weekdays": ["sun"]}, True),
        ({"weekdays": ["fri"], **AFTERNOON}, {"weekdays": ["sat"]}, True),
        ({"until": "2026-05-01T00:00:00Z"}, {"from": "2026-05-01T00:00:00Z"}, True),
        ({"from": "2026-05-01T00:00:00Z"}, {"until": "2026-05-01T00:00:00Z"}, True),
        ({"until": "2026-05-01T00:00:01Z"}, {"from": "2026-05-01T00:00:00Z"}, False),
        ({"channels": ["app"], "stores": ["s1"]}, {"channels": ["app"], "stores": ["s2"]}, True),
    ],
)
def test_only_rules_that_can_meet_need_a_stacking(one: dict[str, Any], other: dict[str, Any], disjoint: bool) -> None:
    rules = [{"rule": "one", "multiplier": "2", "when": one}, {"rule": "other", "multiplier": "3", "when": other}]
    for order in (rules, rules[::-1]):
        parsed = parse_terms(document({"earning.multipliers": order}))
        assert isinstance(parsed, TermsDocument) is disjoint
