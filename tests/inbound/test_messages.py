"""A message on any wire is a command as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.inbound import decode
from ledger import upcasters
from ledger.commands import PurchaseLine, RecordPurchase, RecordSurvey, ScheduleFollowUp
from ledger.submissions import Malformed
from tests.inbound.messages import FOLLOW_UP, PURCHASE, SURVEY, purchase

COMMAND = RecordPurchase(
    id="order-4711",
    source="pos",
    programme="demo",
    member="M0001",
    occurred_at=datetime(2026, 11, 20, 4, 19, 52, 161606, UTC),
    currency="CNY",
    channel="mini-program",
    store="S-0012",
    lines=[PurchaseLine(sku="A1", category="coffee", quantity=2, amount_minor=5600, cost_minor=3000)],
)


def test_a_message_becomes_its_command() -> None:
    assert decode(PURCHASE) == COMMAND


def test_the_order_of_fields_does_not_matter() -> None:
    head, _, lines = PURCHASE[1:-1].partition(b',"lines":')
    reordered = b'{"lines":' + lines + b"," + head + b"}"
    assert decode(reordered) == COMMAND


def test_the_programme_of_the_way_in_stands_in() -> None:
    assert decode(purchase(b'"programme":"demo",', b""), programme="demo") == COMMAND


def test_a_programme_that_the_message_names_stays() -> None:
    assert decode(PURCHASE, programme="other") == COMMAND


def test_instants_are_kept_in_utc() -> None:
    """The same instant in another offset is the same command: it has the same bytes, and so the same hash."""
    shanghai = decode(purchase(b"2026-11-20T04:19:52.161606Z", b"2026-11-20T12:19:52.161606+08:00"))
    assert isinstance(shanghai, RecordPurchase)
    assert shanghai.occurred_at.tzinfo is UTC
    assert shanghai == COMMAND


def test_instants_besides_the_business_time_are_kept_in_utc_too() -> None:
    found = decode(FOLLOW_UP)
    assert isinstance(found, ScheduleFollowUp)
    assert found.due_at.isoformat() == "2026-11-24T02:00:00+00:00"


def test_a_further_instant_that_utc_cannot_express_is_refused() -> None:
    found = decode(FOLLOW_UP.replace(b"2026-11-24T10:00:00+08:00", b"0001-01-01T00:00:00+08:00"))
    assert isinstance(found, Malformed)
    assert (found.rejection.code, found.rejection.field) == ("INVALID_FIELD", "due_at")


def test_escapes_of_other_characters_are_taken() -> None:
    escaped = decode(purchase(b"S-0012", rb"\u5e97\/\"\u0041\\n"))
    assert isinstance(escaped, RecordPurchase)
    assert escaped.store == '店/"A\\n'


def test_free_text_may_have_line_breaks() -> None:
    found = decode(SURVEY.replace(b'"recommend":9', rb'"why":"slow\nand cold"'))
    assert isinstance(found, RecordSurvey)
    assert found.answers == {"why": "slow\nand cold"}


def test_decoding_is_fast() -> None:
    """3 to 5 µs a message; the bound leaves room for a machine ten times slower. The fastest of many rounds counts, for
    a round may have a collection of garbage in it.
    """

    def round_seconds() -> float:
        started = time.thread_time()
        for _ in range(250):
            decode(PURCHASE)
        return time.thread_time() - started

    assert min(round_seconds() for _ in range(20)) / 250 < 50e-6


# --- old versions -------------------------------------------------------------------------------------------------


def _split_price(document: dict[str, Any]) -> dict[str, Any]:
    document["lines"] = [
        {"sku": line["sku"], "quantity": line["quantity"], "amount_minor": line["unit_minor"] * line["quantity"]}
        for line in document.pop("items")
    ]
    return document


OLD = (
    b'{"type":"purchase.v-1","id":"1","source":"pos","programme":"demo","client":"M0001",'
    b'"occurred_at":"2026-11-20T04:19:52Z","currency":"CNY","items":[{"sku":"A1","quantity":2,"unit_minor":2800}]}'
)


@pytest.fixture
def _old_versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    registry: upcasters.Registry = {
        "purchase.v-1": ("purchase.v0", lambda old: {"member": old.pop("client"), **old}),
        "purchase.v0": ("purchase.v1", _split_price),
    }
    monkeypatch.setattr(upcasters, "INBOUND", registry)
    return


@pytest.mark.usefixtures("_old_versions")
def test_a_message_of_an_old_version_is_read_as_the_new_one() -> None:
    found = decode(OLD)
    assert isinstance(found, RecordPurchase)
    assert (found.member, found.lines) == ("M0001", [PurchaseLine(sku="A1", quantity=2, amount_minor=5600)])


@pytest.mark.usefixtures("_old_versions")
def test_an_old_version_with_a_bad_field_is_refused_by_the_new_ones_rules() -> None:
    found = decode(OLD.replace(b"CNY", b"CN"))
    assert isinstance(found, Malformed)
    assert (found.rejection.field, found.type, found.id) == ("currency", "purchase.v-1", "1")


@pytest.mark.usefixtures("_old_versions")
def test_a_message_that_is_not_of_the_old_version_it_names_is_refused() -> None:
    found = decode(OLD.replace(b"client", b"customer"))
    assert isinstance(found, Malformed)
    assert str(found.rejection).startswith(
        "INVALID_FIELD: message: must be a message of the version that it names: KeyError 'client'"
    )


@pytest.mark.usefixtures("_old_versions")
def test_old_versions_are_among_the_known_ones() -> None:
    found = decode(purchase(b"purchase.v1", b"purchase.v9"))
    assert isinstance(found, Malformed)
    assert found.rejection.rule.endswith("it takes purchase.v1, purchase.v-1, purchase.v0")


def test_an_event_of_an_old_topic_is_read_as_the_new_one() -> None:
    registry: upcasters.Registry = {"points-earned.v0": ("points-accrued.v1", lambda old: {**old, "scale": 100})}
    topic, state = upcasters.upcast_event("points-earned.v0", b'{"points":5}', registry)
    assert (topic, state) == ("points-accrued.v1", b'{"points":5,"scale":100}')


def test_an_event_of_a_current_topic_comes_back_untouched() -> None:
    assert upcasters.upcast_event("points-accrued.v1", b'{"points": 5}') == ("points-accrued.v1", b'{"points": 5}')


def test_upcasters_that_lead_in_a_circle_are_refused() -> None:
    registry: upcasters.Registry = {"a.v1": ("a.v2", dict), "a.v2": ("a.v1", dict)}
    with pytest.raises(ValueError, match="lead in a circle"):
        upcasters.upcast(registry, "a.v1", {})
