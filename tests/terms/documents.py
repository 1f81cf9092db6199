"""Terms documents for the tests: a plain one, and changes to it by path."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from ledger.commands import PurchaseLine
from ledger.earning import Earning
from ledger.terms import Terms, TermsDocument, compile_terms, parse_terms

PLAIN: dict[str, Any] = {
    "name": "Plain",
    "effective_from": "2020-01-01T00:00:00Z",
    "currency": "USD",
    "time_zone": "UTC",
    "earning": {"rate": "0.01"},
}
ABSENT = object()


def document(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The plain document with values set at dotted paths (`earning.caps.day`); ABSENT takes a field out."""
    made = copy.deepcopy(PLAIN)
    for path, value in (changes or {}).items():
        *outer, last = path.split(".")
        here = made
        for name in outer:
            here = here.setdefault(name, {})
        if value is ABSENT:
            del here[last]
        else:
            here[last] = value
    return made


def terms(changes: dict[str, Any] | None = None, version: int = 1) -> Terms:
    parsed = parse_terms(document(changes))
    assert isinstance(parsed, TermsDocument), [str(problem) for problem in parsed]
    return compile_terms(parsed, version)


def line(amount_minor: int, category: str = "", **fields: Any) -> PurchaseLine:
    return PurchaseLine(sku="sku", quantity=1, amount_minor=amount_minor, category=category, **fields)


def earn(
    of: Terms,
    *lines: PurchaseLine,
    at: datetime = datetime(2026, 5, 6, 12, tzinfo=UTC),
    channel: str = "",
    store: str = "",
    first_purchase: bool = False,
    attributes: dict[str, str] | None = None,
    day: int = 0,
    month: int = 0,
) -> Earning:
    return of.earn(
        list(lines),
        channel=channel,
        store=store,
        occurred_at=at,
        first_purchase=first_purchase,
        attributes=attributes or {},
        earned_in_day=lambda _: day,
        earned_in_month=lambda _: month,
    )
