"""A message of a version that is no longer written is taken as long as there is an upcaster, by every way in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.cloud_events import decode_message
from consumers.files import ingest
from consumers.inbound import decode
from consumers.rejected import list_rejected, retry
from ledger import upcasters
from ledger.commands import PurchaseLine, RecordPurchase
from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.submissions import Malformed
from tests.inbound.test_nothing_is_lost import PROGRAMME, TERMS, message

IDENTITY = {
    "type": "purchase.v0",
    "id": "o-1",
    "source": "pos",
    "programme": "demo",
    "occurred_at": "2026-02-02T10:00:00Z",
}
OLD = {**IDENTITY, "customer": "M1", "currency": "CNY", "items": [["A1", 2, 5600]]}
NEW = {
    **IDENTITY,
    "type": "purchase.v1",
    "member": "M1",
    "currency": "CNY",
    "lines": [{"sku": "A1", "quantity": 2, "amount_minor": 5600}],
}
REGISTRY: upcasters.Registry = {"purchase.v0": ("purchase.v1", lambda old: upcast_purchase(old))}


def upcast_purchase(old: upcasters.Document) -> upcasters.Document:
    """Version 0 said customer for member, and had its lines as lists."""
    names = ("sku", "quantity", "amount_minor")
    lines = [dict(zip(names, item, strict=True)) for item in old.pop("items")]
    return {"member": old.pop("customer"), **old, "lines": lines}


def encoded(message: Any) -> bytes:
    return json.dumps(message).encode()


@pytest.fixture
def _purchase_v0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upcasters, "INBOUND", REGISTRY)


def binary(**left_in: Any) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    names = {"type": "type", "id": "id", "source": "source", "occurred_at": "time"}
    headers = [(f"ce_{attribute}", str(OLD[name]).encode()) for name, attribute in names.items()]
    data = {name: value for name, value in OLD.items() if name not in names}
    return encoded({**data, **left_in}), [("ce_specversion", b"1.0"), *headers]


@pytest.mark.usefixtures("_purchase_v0")
def test_the_old_and_the_new_version_are_one_command() -> None:
    found = decode(encoded(OLD))
    assert isinstance(found, RecordPurchase), found
    assert found == decode(encoded(NEW))
    assert (found.source, found.id, found.member) == ("pos", "o-1", "M1")
    assert found.lines == [PurchaseLine(sku="A1", quantity=2, amount_minor=5600)]


@pytest.mark.usefixtures("_purchase_v0")
def test_an_event_may_name_the_old_version() -> None:
    value, headers = binary()
    assert decode_message(value, headers) == decode(encoded(NEW))
    prefixed = [(name, b"com.example." + (text or b"") if name == "ce_type" else text) for name, text in headers]
    assert decode_message(value, prefixed) == decode(encoded(NEW))
    assert decode_message(value, [*headers, ("ce_subject", b"M1")]) == decode(encoded(NEW))


@pytest.mark.usefixtures("_purchase_v0")
def test_an_old_version_may_leave_its_member_to_the_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upcasters, "INBOUND", {"purchase.v0": ("purchase.v1", lambda old: {**old, "currency": "CNY"})})
    _, headers = binary()
    found = decode_message(encoded({"programme": "demo", "lines": NEW["lines"]}), [*headers, ("ce_subject", b"M1")])
    assert found == decode(encoded(NEW))


@pytest.mark.usefixtures("_purchase_v0")
def test_an_old_version_is_compared_with_its_attributes_after_it_was_read() -> None:
    value, headers = binary()
    found = decode_message(value, [*headers, ("ce_subject", b"M2")])
    assert isinstance(found, Malformed)
    assert (found.rejection.field, "which is M1" in found.rejection.rule) == ("ce_subject", True)


@pytest.mark.usefixtures("_purchase_v0")
@pytest.mark.parametrize(("header", "in_data"), [("purchase.v1", "purchase.v0"), ("purchase.v0", "purchase.v1")])
def test_an_event_does_not_name_one_version_and_hold_another(header: str, in_data: str) -> None:
    value, headers = binary(type=in_data)
    changed = [(name, header.encode() if name == "ce_type" else text) for name, text in headers]
    found = decode_message(value, changed)
    assert isinstance(found, Malformed)
    assert (found.rejection.field, in_data in found.rejection.rule) == ("ce_type", True)


def test_without_its_upcaster_the_old_version_is_refused() -> None:
    found = decode(encoded(OLD))
    assert isinstance(found, Malformed)
    assert (found.rejection.code, found.id) == ("UNKNOWN_TYPE", "o-1")


def test_an_old_file_is_posted_once_with_its_identity(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before the upcaster was there, posted by a retry after; the new version of it is then a duplicate."""
    ledger = Ledger(database)
    file = tmp_path / "messages.jsonl"
    file.write_bytes(b"\n".join([PROGRAMME, TERMS, message("enrolment", "e", member="M1"), encoded(OLD)]))
    assert ingest(ledger, [str(file)]).rejected == 1
    (refused,) = list_rejected(database)
    assert (refused.type, refused.source, refused.id) == ("purchase.v0", "pos", "o-1")

    monkeypatch.setattr(upcasters, "INBOUND", REGISTRY)
    (again,) = retry(ledger, [refused.number])
    assert again.outcome is not None
    assert again.outcome.status == "posted"

    file.write_bytes(b"\n".join([encoded(OLD), encoded(NEW)]))
    counts = ingest(ledger, [str(file)])
    assert (counts.posted, counts.duplicate, counts.rejected) == (0, 2, 0)
    with database.connection() as cursor:
        cursor.execute("SELECT convert_from(state, 'UTF8') FROM events WHERE topic = 'purchase-recorded.v1'")
        ((state,),) = cursor.fetchall()
    recorded = json.loads(state)
    assert (recorded["source"], recorded["id"], recorded["member"]) == ("pos", "o-1", "M1")


def test_an_old_message_is_posted_by_ingest_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upcasters, "INBOUND", REGISTRY)
    file = tmp_path / "messages.jsonl"
    old = encoded({**OLD, "id": "o-2"})
    file.write_bytes(b"\n".join([PROGRAMME, TERMS, message("enrolment", "e", member="M1"), old, old]))
    counts = ingest(Ledger(database), [str(file)])
    assert (counts.posted, counts.duplicate, counts.rejected) == (4, 1, 0)
