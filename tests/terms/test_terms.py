"""Compiled terms: when points become available and expire, windows, versions in force, the schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ledger.terms import TermsBook, TermsDocument, decode_terms, parse_terms, terms_json_schema
from tests.terms.documents import document, terms

NEW_YORK = {"time_zone": "America/New_York"}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("expiry", "earned", "expires"),
    [
        ({"kind": "after", "period": "12M"}, "2017-01-15T10:00-05:00", "2018-01-15T10:00-05:00"),
        ({"kind": "after", "period": "12M"}, "2016-02-29T10:00-05:00", "2017-02-28T10:00-05:00"),
        ({"kind": "after", "period": "6M"}, "2017-01-31T10:00-05:00", "2017-07-31T10:00-04:00"),
        ({"kind": "after", "period": "24h"}, "2017-03-11T10:00-05:00", "2017-03-12T11:00-04:00"),
        ({"kind": "end_of_month", "after": "12M"}, "2017-02-01T00:00-05:00", "2018-03-01T00:00-05:00"),
        ({"kind": "end_of_month", "after": "12M"}, "2017-01-31T23:59-05:00", "2018-02-01T00:00-05:00"),
        ({"kind": "end_of_month", "after": "1M"}, "2017-01-31T10:00-05:00", "2017-03-01T00:00-05:00"),
        ({"kind": "end_of_month", "after": "0D"}, "2017-03-31T23:59-04:00", "2017-04-01T00:00-04:00"),
        ({"kind": "end_of_month", "after": "10D"}, "2017-03-25T10:00-04:00", "2017-05-01T00:00-04:00"),
        ({"kind": "on_date", "month_day": "12-31"}, "2017-12-31T23:59-05:00", "2018-01-01T00:00-05:00"),
        ({"kind": "on_date", "month_day": "12-31", "after": "1Y"}, "2017-05-01T10:00-04:00", "2019-01-01T00:00-05:00"),
        ({"kind": "on_date", "month_day": "03-31", "after": "3M"}, "2017-02-01T10:00-05:00", "2018-04-01T00:00-04:00"),
        ({"kind": "on_date", "month_day": "02-29"}, "2017-03-01T10:00-05:00", "2018-03-01T00:00-05:00"),
        ({"kind": "on_date", "month_day": "02-29"}, "2019-03-01T10:00-05:00", "2020-03-01T00:00-05:00"),
        ({"kind": "never"}, "2017-02-01T10:00-05:00", None),
    ],
)
def test_points_expire_as_the_terms_say(expiry: dict[str, Any], earned: str, expires: str | None) -> None:
    of = terms({**NEW_YORK, "earning.expiry": expiry})
    assert of.expires_at(utc(earned)) == (None if expires is None else utc(expires))


@pytest.mark.parametrize(
    ("activation", "available"),
    [("0D", "2017-03-10T10:00-05:00"), ("14D", "2017-03-24T10:00-04:00"), ("36h", "2017-03-11T22:00-05:00")],
)
def test_points_become_available_after_the_activation(activation: str, available: str) -> None:
    of = terms({**NEW_YORK, "earning.activation": activation})
    assert of.available_at(utc("2017-03-10T10:00-05:00")) == utc(available)


AT = utc("2026-05-06T12:00Z")


@pytest.mark.parametrize(
    ("changes", "asked", "days"),
    [
        ({}, "returnable_until", 90),
        ({}, "purchase_kept_until", 120),
        ({}, "reversible_until", 90),
        ({}, "redemption_kept_until", 120),
        ({"returns.window": "0D"}, "returnable_until", 0),
        ({"returns.window": "2W", "returns.late_grace": "24h"}, "purchase_kept_until", 15),
        ({"redemption.reversal_window": "30D", "returns.late_grace": "0D"}, "redemption_kept_until", 30),
        ({"redemption.hold_timeout": "48h"}, "times_out_at", 2),
        ({"redemption.reversal_of_expired": {"extend_days": 30}}, "reversed_expiry", 30),
    ],
)
def test_windows_are_counted_from_their_instant(changes: dict[str, Any], asked: str, days: int) -> None:
    assert getattr(terms(changes), asked)(AT) == AT + timedelta(days=days)


def test_a_hold_times_out_after_half_an_hour_unless_the_terms_say_otherwise() -> None:
    assert terms().times_out_at(AT) == AT + timedelta(minutes=30)


def test_points_that_expired_before_a_reversal_are_forfeited_unless_the_terms_say_otherwise() -> None:
    assert terms().reversed_expiry(AT) is None


@pytest.mark.parametrize(
    ("redemption", "minimum", "step"),
    [({}, 1, 1), ({"step": 50}, 50, 50), ({"minimum": 100}, 100, 1), ({"minimum": 100, "step": 50}, 100, 50)],
)
def test_the_least_redemption_is_one_step_unless_the_terms_say_otherwise(
    redemption: dict[str, int], minimum: int, step: int
) -> None:
    of = terms({"redemption": redemption})
    assert (of.minimum, of.step) == (minimum, step)


def test_compiled_terms_carry_what_the_ledger_asks() -> None:
    of = terms({"effective_from": "2026-01-01T00:00:00+08:00", "returns": {"policy": "arrears"}}, version=7)
    assert (of.version, of.effective_from, of.currency) == (7, utc("2025-12-31T16:00Z"), "USD")
    assert (of.return_policy, of.unmatched, of.zone.key) == ("arrears", "refuse", "UTC")


def version(number: int, effective_from: str) -> Any:
    return terms({"effective_from": effective_from}, version=number)


@pytest.mark.parametrize(
    ("at", "in_force"),
    [
        ("2019-12-31T23:59:59.999999Z", None),
        ("2020-01-01T00:00:00Z", 1),
        ("2020-05-31T23:59:59.999999Z", 1),
        ("2020-06-01T00:00:00Z", 4),  # published later, for an earlier date
        ("2021-01-01T00:00:00Z", 3),  # of two from the same instant the higher version
        ("2030-01-01T00:00:00Z", 3),
    ],
)
def test_the_terms_in_force_are_those_that_took_effect_last(at: str, in_force: int | None) -> None:
    versions = [
        (1, "2020-01-01T00:00:00Z"),
        (2, "2021-01-01T00:00:00Z"),
        (3, "2021-01-01T00:00:00Z"),
        (4, "2020-06-01T00:00:00Z"),
    ]
    for order in (versions, versions[::-1]):
        found = TermsBook([version(*each) for each in order]).in_force(utc(at))
        assert (found and found.version) == in_force


def test_an_empty_book_has_no_terms_in_force() -> None:
    assert TermsBook().in_force(AT) is None


def test_a_book_has_a_version_only_once() -> None:
    with pytest.raises(ValueError, match="same number"):
        TermsBook([version(1, "2020-01-01T00:00:00Z"), version(1, "2021-01-01T00:00:00Z")])


def test_a_recorded_document_reads_back_as_it_was() -> None:
    parsed = parse_terms(document({"earning.caps.day": 5}))
    assert decode_terms(msgspec.json.encode(parsed)) == parsed


def test_text_and_decoded_json_read_the_same() -> None:
    assert parse_terms(json.dumps(document()).encode()) == parse_terms(document())


def test_defaults_written_out_are_the_defaults() -> None:
    """What docs/terms.md lists as defaults, written out, is the same document as one that leaves it out."""
    written = {
        "earning": {
            "rate": "0.01",
            "base": {"exclude_categories": [], "tax": "exclude", "discounts": "after", "rewards": "exclude"},
            "rounding": "floor_per_purchase",
            "multipliers": [],
            "caps": {},
            "activation": "0D",
            "expiry": {"kind": "never"},
        },
        "redemption": {
            "step": 1,
            "hold_timeout": "30m",
            "reversal_window": "90D",
            "reversal_of_expired": "forfeit",
        },
        "returns": {"window": "90D", "late_grace": "30D", "policy": "within_balance", "unmatched": "refuse"},
    }
    assert isinstance(parse_terms(document(written)), TermsDocument)
    assert parse_terms(document(written)) == parse_terms(document())


def test_the_schema_closes_every_object_and_describes_every_definition() -> None:
    schema = terms_json_schema()
    assert schema["$ref"] == "#/$defs/TermsDocument"
    for name, definition in schema["$defs"].items():
        assert definition["additionalProperties"] is False, name
        assert definition["description"], name
