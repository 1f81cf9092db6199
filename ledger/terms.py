"""Programme terms: the rules of one programme from an instant on, read once, checked once, compiled once.

`parse_terms` reads a document and answers with every problem it finds; `compile_terms` makes the `Terms` that `decide`
asks; `TermsBook` says which version is in force when. docs/terms.md is the reference of the document.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, assert_never
from zoneinfo import ZoneInfo

import msgspec

from ledger.earning import Earning, EarningRules
from ledger.periods import (
    Move,
    Period,
    date_after,
    end_of_day_mover,
    last_day_of_month,
    mover,
    mover_of_both,
    next_yearly,
    parse_period,
)
from ledger.terms_checks import Problem, parse_terms
from ledger.terms_document import (
    ExpiryAfter,
    ExpiryEndOfMonth,
    ExpiryOnDate,
    ExtendDays,
    NeverExpires,
    TermsDocument,
)

__all__ = [
    "Earning",
    "Problem",
    "Terms",
    "TermsBook",
    "TermsDocument",
    "compile_terms",
    "decode_terms",
    "parse_terms",
    "terms_json_schema",
]


class Terms:
    """One version of a programme's terms, compiled.

    Immutable in what it answers: the same question has the same answer for ever. Inside are bounded memos of dates and
    of rule combinations. Instants come in and go out in UTC.
    """

    __slots__ = (
        "_available",
        "_expires",
        "_extended",
        "_purchase_kept",
        "_redemption_kept",
        "_returnable",
        "_reversible",
        "_rules",
        "_times_out",
        "currency",
        "earn",
        "effective_from",
        "has_calendar_caps",
        "minimum",
        "name",
        "return_policy",
        "step",
        "unmatched",
        "version",
        "zone",
    )

    def __init__(self, document: TermsDocument, version: int) -> None:
        zone = ZoneInfo(document.time_zone)
        redemption, returns = document.redemption, document.returns
        self.version = version
        self.name = document.name
        self.effective_from = document.effective_from.astimezone(UTC)
        self.currency = document.currency
        self.zone = zone
        self.minimum = redemption.minimum or redemption.step
        self.step = redemption.step
        self.return_policy: str = returns.policy
        self.unmatched: str = returns.unmatched
        self._rules = EarningRules(document.earning, zone)
        self.earn = self._rules.earn
        self.has_calendar_caps = self._rules.has_calendar_caps
        self._available = _mover(document.earning.activation, zone)
        self._expires = _expiry(document.earning.expiry, zone)
        self._returnable = _mover(returns.window, zone)
        self._reversible = _mover(redemption.reversal_window, zone)
        grace = parse_period(returns.late_grace)
        self._purchase_kept = mover_of_both(parse_period(returns.window), grace, zone)
        self._redemption_kept = mover_of_both(parse_period(redemption.reversal_window), grace, zone)
        self._times_out = _mover(redemption.hold_timeout, zone)
        extend = redemption.reversal_of_expired
        self._extended = mover(Period(extend.extend_days, "D"), zone) if isinstance(extend, ExtendDays) else None

    def base_rate_points(self, amount_minor: int) -> int:
        """Points that an amount earns at the bare rate, rounded down."""
        return self._rules.base_rate_points(amount_minor)

    def available_at(self, at: datetime) -> datetime:
        """When points earned at `at` can be spent."""
        return self._available(at)

    def expires_at(self, at: datetime) -> datetime | None:
        """The first instant at which points earned at `at` are gone; None is never."""
        return None if self._expires is None else self._expires(at)

    def returnable_until(self, at: datetime) -> datetime:
        """The last instant at which a purchase of `at` can be returned."""
        return self._returnable(at)

    def purchase_kept_until(self, at: datetime) -> datetime:
        """Until when a late message about the return of a purchase of `at` is still understood."""
        return self._purchase_kept(at)

    def reversible_until(self, at: datetime) -> datetime:
        """The last instant at which a redemption of `at` can be reversed."""
        return self._reversible(at)

    def redemption_kept_until(self, at: datetime) -> datetime:
        """Until when a late message about the reversal of a redemption of `at` is still understood."""
        return self._redemption_kept(at)

    def times_out_at(self, at: datetime) -> datetime:
        """The first instant at which a hold of `at` has timed out."""
        return self._times_out(at)

    def reversed_expiry(self, at: datetime) -> datetime | None:
        """When points expire that had expired and that a reversal at `at` brings back; None: they are forfeited."""
        return None if self._extended is None else self._extended(at)


def compile_terms(document: TermsDocument, version: int) -> Terms:
    """Compile a document that `parse_terms` found no problem in (or did when it was published)."""
    return Terms(document, version)


# Made here and not at the first use: msgspec finds out about a type when it is first asked for, and two threads that
# ask at once have crashed the process.
_decoder: Final = msgspec.json.Decoder(TermsDocument)


def decode_terms(document: bytes | msgspec.Raw) -> TermsDocument:
    """Read a document as it was recorded, without the checks that span fields.

    A check that was added after the document was published must not make history unreadable. Where it is no terms
    document at all, msgspec.ValidationError.
    """
    return _decoder.decode(document)


class TermsBook:
    """The versions of a programme's terms. Never changed: a new version makes a new book."""

    __slots__ = ("_effective", "_versions")

    def __init__(self, versions: Iterable[Terms] = ()) -> None:
        """ValueError where two have the same version number."""
        self._versions = sorted(versions, key=lambda terms: (terms.effective_from, terms.version))
        self._effective = [terms.effective_from for terms in self._versions]
        if len({terms.version for terms in self._versions}) != len(self._versions):
            raise ValueError("two versions of the terms have the same number")

    def __len__(self) -> int:
        return len(self._versions)

    def in_force(self, at: datetime) -> Terms | None:
        """The terms with the latest `effective_from` not after `at` (of equals, the higher version), or None."""
        after = bisect_right(self._effective, at)
        return self._versions[after - 1] if after else None


def terms_json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a terms document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(TermsDocument)}


def _mover(period: str, zone: ZoneInfo) -> Move:
    return mover(parse_period(period), zone)


def _expiry(expiry: ExpiryAfter | ExpiryEndOfMonth | ExpiryOnDate | NeverExpires, zone: ZoneInfo) -> Move | None:
    match expiry:
        case ExpiryAfter():
            return _mover(expiry.period, zone)
        case ExpiryEndOfMonth():
            after = parse_period(expiry.after)
            return end_of_day_mover(lambda day: last_day_of_month(date_after(day, after)), zone)
        case ExpiryOnDate():
            after = parse_period(expiry.after)
            month, day_of_month = map(int, expiry.month_day.split("-"))
            return end_of_day_mover(lambda day: next_yearly(date_after(day, after), month, day_of_month), zone)
        case NeverExpires():
            return None
        case _:
            assert_never(expiry)
