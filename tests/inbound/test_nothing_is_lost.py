"""What is refused is kept as it came, by whichever rule, and can be tried again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consumers.files import Counts, ingest
from consumers.rejected import find_rejected, list_rejected, open_numbers, retry
from ledger.engine import Ledger
from tests.inbound.messages import PURCHASE
from tests.inbound.test_bad_messages import BAD_FIELDS, NOT_MESSAGES

COFFEE = json.loads((Path(__file__).parent.parent.parent / "examples" / "terms" / "coffee.json").read_bytes())
COFFEE_LINE = {"sku": "A1", "category": "coffee", "quantity": 2, "amount_minor": 5600}


def message(type_: str, id_: str, at: str = "2026-02-02T10:00:00Z", **fields: Any) -> bytes:
    document = {"type": f"{type_}.v1", "id": id_, "source": "test", "programme": "demo", "occurred_at": at, **fields}
    return json.dumps(document).encode()


def bought(id_: str, member: str = "open", at: str = "2026-02-02T10:00:00Z", **fields: Any) -> bytes:
    return message("purchase", id_, at, **{"member": member, "currency": "CNY", "lines": [COFFEE_LINE], **fields})


def returned(id_: str, at: str = "2026-02-05T10:00:00Z", **fields: Any) -> bytes:
    return message("return", id_, at, **{"member": "open", "currency": "CNY", **fields})


PROGRAMME = message("programme", "p", currency="CNY", time_zone="Asia/Shanghai")
TERMS = message("terms", "t", document=COFFEE)
MEMBERS = [message("enrolment", f"e-{name}", member=name) for name in ("open", "closed", "merged", "into", "erased")]
ENDED = [
    message("closure", "c", member="closed"),
    message("merge", "m", member="merged", into="into"),
    message("erasure", "x", member="erased"),
]
HISTORY = [
    bought("bought"),
    bought("bought-back"),
    returned("back", purchase="bought-back"),
    message("accrual", "pending", member="open", points=200, reason="welcome"),
]

REFUSED: dict[str, tuple[bytes, str, str]] = {
    "a programme that was never created": (
        bought("b1", programme="shop"), "PROGRAMME_UNKNOWN", "programme: must be created first (was shop)"),
    "a programme that exists": (
        message("programme", "b2", currency="CNY"), "PROGRAMME_EXISTS", "programme: exists already (was demo)"),
    "terms with a float for a rate": (
        message("terms", "b3", document={**COFFEE, "earning": {"rate": 0.01}}), "TERMS_INVALID", ""),
    "a wrong currency": (bought("b4", currency="USD"), "CURRENCY_MISMATCH", ""),
    "a currency in small letters": (bought("b5", currency="cny"), "CURRENCY_MISMATCH", ""),
    "a far future": (bought("b6", at="2999-01-01T00:00:00Z"), "OCCURRED_AT_OUT_OF_RANGE", ""),
    "a time before 1970": (bought("b7", at="1969-12-31T23:59:59Z"), "OCCURRED_AT_OUT_OF_RANGE", ""),
    "a time without terms": (bought("b8", at="2025-12-31T15:59:59Z"), "TERMS_MISSING", ""),
    "a member never enrolled": (bought("b9", "nobody"), "MEMBER_UNKNOWN", ""),
    "a member enrolled already": (message("enrolment", "b10", member="open"), "MEMBER_ALREADY_ENROLLED", ""),
    "a member that is closed": (bought("b11", "closed"), "MEMBER_CLOSED", ""),
    "a member that was merged": (bought("b12", "merged"), "MEMBER_MERGED", ""),
    "a member that was erased": (bought("b13", "erased"), "MEMBER_ERASED", ""),
    "a return of nothing known": (returned("b14", purchase="never"), "PURCHASE_NOT_FOUND", ""),
    "a return without purchase or lines": (returned("b15"), "PURCHASE_REQUIRED", ""),
    "a return without purchase, of goods never bought": (
        returned("b16", lines=[{"sku": "Z9", "quantity": 1, "amount_minor": 100}]), "RETURN_UNMATCHED", ""),
    "a return of more than was bought": (
        returned("b17", purchase="bought", lines=[{"sku": "A1", "quantity": 3, "amount_minor": 100}]),
        "RETURN_EXCEEDS_PURCHASE", ""),
    "a return dated before its purchase": (
        returned("b18", "2026-02-02T09:59:59Z", purchase="bought"), "RETURN_BEFORE_PURCHASE", ""),
    "goods that were returned before": (returned("b19", purchase="bought-back"), "RETURN_EXCEEDS_PURCHASE", ""),
    "a return after its window": (
        returned("b20", "2026-03-05T10:00:00Z", purchase="bought"), "RETURN_WINDOW_PASSED", ""),
    "a redemption over the balance": (
        message("redemption", "b21", "2026-03-01T00:00:00Z", member="open", points=10_000), "INSUFFICIENT_POINTS", ""),
    "a redemption of pending points": (
        message("redemption", "b22", member="open", points=100), "INSUFFICIENT_POINTS", ""),
    "a redemption of zero": (
        message("redemption", "b23", member="open", points=0), "INVALID_FIELD", "points: must be at least 1 (was 0)"),
    "a key used with other input": (bought("bought", store="S-9"), "IDEMPOTENCY_CONFLICT", ""),
}  # fmt: skip


def post(ledger: Ledger, tmp_path: Path, messages: list[bytes], name: str = "m.jsonl", **options: Any) -> Counts:
    path = tmp_path / name
    path.write_bytes(b"\n".join(messages) + b"\n")
    return ingest(ledger, [str(path)], **options)


def test_what_the_rules_refuse_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    """Every message refused for a reason of its own, in one file: each row has the code, and the bytes as they came."""
    post(ledger, tmp_path, [PROGRAMME, TERMS, *MEMBERS, *ENDED, *HISTORY], "history.jsonl")
    assert list_rejected(ledger.database) == []

    counts = post(ledger, tmp_path, [body for body, _, _ in REFUSED.values()])

    assert (counts.read, counts.posted, counts.rejected) == (len(REFUSED), 0, len(REFUSED))
    rows = {row.origin: row for row in list_rejected(ledger.database)}
    assert len(rows) == len(REFUSED)
    for line, (name, (body, code, words)) in enumerate(REFUSED.items(), start=1):
        row = rows[f"file:m.jsonl:{line}"]
        assert row.code == code, name
        assert words in f"{row.field}: {row.rule} (was {row.value})", name
        assert row.rule, name
        found = find_rejected(ledger.database, row.number)
        assert found is not None
        assert found.body == body, name
        document = json.loads(body)
        assert (found.source, found.id, found.type) == (document["source"], document["id"], document["type"]), name


def test_what_is_no_message_is_kept_as_it_came(ledger: Ledger, tmp_path: Path) -> None:
    """Byte for byte, whatever the bytes are; a line break inside a message cannot be, in a file of lines."""
    cases = [case for case in [*NOT_MESSAGES, *BAD_FIELDS] if b"\n" not in case.message and case.message.strip()]
    counts = post(ledger, tmp_path, [b"", *(case.message for case in cases)])
    assert (counts.read, counts.rejected, counts.blank) == (len(cases), len(cases), 1)
    rows = {row.origin: row for row in list_rejected(ledger.database)}
    for line, case in enumerate(cases, start=2):
        row = rows[f"file:m.jsonl:{line}"]
        assert (row.code, row.field, row.rule) == (case.code, case.field, case.rule), case.name
        found = find_rejected(ledger.database, row.number)
        assert found is not None
        assert found.body == case.message, case.name


def test_a_refused_message_that_comes_again_counts_as_an_attempt(ledger: Ledger, tmp_path: Path) -> None:
    post(ledger, tmp_path, [PURCHASE])
    post(ledger, tmp_path, [PURCHASE])
    (row,) = list_rejected(ledger.database)
    assert (row.code, row.attempts, row.status) == ("PROGRAMME_UNKNOWN", 2, "open")


def test_a_retry_posts_what_is_accepted_by_now(ledger: Ledger, tmp_path: Path) -> None:
    post(ledger, tmp_path, [bought("early"), b"nonsense"])
    post(ledger, tmp_path, [PROGRAMME, TERMS, *MEMBERS])
    retried = list(retry(ledger, open_numbers(ledger.database)))
    assert [one.outcome.status for one in retried if one.outcome] == ["posted", "rejected"]
    assert {row.status: row.body for row in map(_with_body(ledger), retried)} == {
        "resolved": bought("early"),
        "open": b"nonsense",
    }
    again = list(retry(ledger, [one.number for one in retried]))
    assert [one.outcome.status for one in again if one.outcome] == ["duplicate", "rejected"]


def _with_body(ledger: Ledger) -> Any:
    return lambda retried: find_rejected(ledger.database, retried.number)


def test_a_retry_uses_the_programme_of_the_way_in(ledger: Ledger, tmp_path: Path) -> None:
    nameless = bought("nameless").replace(b'"programme": "demo", ', b"")
    post(ledger, tmp_path, [nameless], programme="demo")
    post(ledger, tmp_path, [PROGRAMME, TERMS, *MEMBERS])
    (retried,) = retry(ledger, open_numbers(ledger.database))
    assert retried.outcome is not None
    assert retried.outcome.status == "posted"


def test_what_cannot_be_tried_again_is_said(ledger: Ledger, tmp_path: Path) -> None:
    too_large = NOT_MESSAGES[0]
    assert too_large.code == "MESSAGE_TOO_LARGE"
    post(ledger, tmp_path, [too_large.message])
    (number,) = open_numbers(ledger.database)
    retried = list(retry(ledger, [number, number + 1]))
    assert [(one.outcome, one.why_not) for one in retried] == [
        (None, "it is too large for any way in: send it in parts"),
        (None, "there is no refused message of that number"),
    ]


def test_what_a_refused_message_says_of_an_erased_member_is_gone(ledger: Ledger, tmp_path: Path) -> None:
    post(ledger, tmp_path, [PROGRAMME, TERMS, *MEMBERS, bought("refused", "erased", currency="USD")])
    post(ledger, tmp_path, ENDED)
    (number,) = open_numbers(ledger.database)
    (retried,) = retry(ledger, [number])
    assert retried.why_not == "its content was erased with its member"
