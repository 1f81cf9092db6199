"""Trade as read models need it: purchases, returns, costs and wallet surveys, decoded once for all that share a batch.

Decoding is narrow: only these fields, and instants stay the text that they were stored as.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from ledger.store.database import PgCursor
from projections.batch import Batch, Row

HOURS_REMEMBERED_MAX = 100_000
DAYS_REMEMBERED_MAX = 100_000

PURCHASE_TOPIC = "purchase-recorded.v1"


class PurchaseLine(Struct, gc=False):
    """A line of a purchase; `cost_minor` None: unknown."""

    quantity: int
    amount_minor: int
    cost_minor: int | None = None


class Purchase(Struct, gc=False):
    """A purchase."""

    occurred_at: str
    lines: list[PurchaseLine]
    channel: str = ""
    store: str = ""


class ReturnMatch(Struct, gc=False):
    """What of one purchase came back: (line, quantity, amount) each, and what it had cost; None: unknown."""

    lines: list[tuple[int, int, int]]
    cost_minor: int | None = None


class UnmatchedLine(Struct, gc=False):
    """Goods that came back and belong to no purchase that is known; what they had cost is not known either."""

    quantity: int


class Return(Struct, gc=False):
    """A return."""

    occurred_at: str
    amount_minor: int
    matches: list[ReturnMatch] = []
    unmatched: list[UnmatchedLine] = []


class Cost(Struct, gc=False):
    """A cost of serving a member, beside that of goods."""

    occurred_at: str
    amount_minor: int


class WalletSurvey(Struct, gc=False):
    """What a member says to spend in a year, with whomever."""

    occurred_at: str
    currency: str
    yearly_spend_minor: int


OtherTrade: TypeAlias = Return | Cost | WalletSurvey


def purchases(batch: Batch) -> list[tuple[Row, Purchase]]:
    """The purchases of a batch with their rows, in order."""
    return [(row, _decode_purchase(row[4] or "")) for row in batch.rows if row[3] == PURCHASE_TOPIC]


def other_trades(batch: Batch) -> list[tuple[Row, OtherTrade]]:
    """The events of trade of a batch, but for purchases, with their rows, in order."""
    decoders = _DECODERS
    return [(row, decoders[row[3]](row[4])) for row in batch.rows if row[3] in decoders]


_decode_purchase = msgspec.json.Decoder(Purchase).decode
_DECODERS: dict[str, Callable[[Any], Any]] = {
    topic: msgspec.json.Decoder(fields).decode
    for topic, fields in (
        ("purchase-returned.v1", Return),
        ("cost-attributed.v1", Cost),
        ("wallet-share-surveyed.v1", WalletSurvey),
    )
}

TRADE_TOPICS = frozenset({PURCHASE_TOPIC, *_DECODERS})
"""The events of trade."""


# --- business days --------------------------------------------------------------------------------------------------


def day_of(instant: str, time_zone: str) -> int:
    """The day (proleptic ordinal) of an instant in UTC, as text, in a time zone.

    Nearly all hours are of one day, so that one conversion an hour is enough. In those in which a day begins or clocks
    change it is one a minute: days begin on a whole minute in every time zone since 1972.
    """
    return _day_of_hour(instant[:13], time_zone) or _day_of_minute(instant[:16], time_zone)


@lru_cache(HOURS_REMEMBERED_MAX)
def _day_of_hour(hour: str, time_zone: str) -> int | None:
    """The day of all of an hour; None where it may not be one."""
    begins = datetime.fromisoformat(f"{hour}:00").replace(tzinfo=UTC)
    try:
        first, last = (at.astimezone(_zone(time_zone)) for at in (begins, begins + timedelta(minutes=59)))
    except OverflowError:  # at either end of the calendar
        return None
    same = first.date() == last.date() and first.utcoffset() == last.utcoffset()
    return first.toordinal() if same else None


@lru_cache(HOURS_REMEMBERED_MAX)
def _day_of_minute(minute: str, time_zone: str) -> int:
    return datetime.fromisoformat(minute).replace(tzinfo=UTC).astimezone(_zone(time_zone)).toordinal()


@lru_cache(16)
def _zone(time_zone: str) -> ZoneInfo:
    return ZoneInfo(time_zone)


def business_day(at: datetime, time_zone: str) -> date:
    """The day of an instant in a time zone."""
    return at.astimezone(_zone(time_zone)).date()


@lru_cache(DAYS_REMEMBERED_MAX)
def iso_day(day: int) -> str:
    """A day (ordinal) as text, YYYY-MM-DD."""
    return date.fromordinal(day).isoformat()


@lru_cache(DAYS_REMEMBERED_MAX)
def month_of(day: int) -> int:
    """The month of a day (ordinal) as one number: 12 * year + month - 1."""
    on = date.fromordinal(day)
    return 12 * on.year + on.month - 1


def first_of_month(month: int) -> date:
    """The first day of a month given as one number."""
    return date(month // 12, month % 12 + 1, 1)


def time_zone_of(cur: PgCursor, journal: int) -> str:
    """The time zone of the programme of a journal; UTC where the journal is of none that is registered."""
    cur.execute(
        "SELECT time_zone FROM journals JOIN programmes ON programme = journals.name"
        " WHERE journal = %s AND kind = 'programme'",
        (journal,),
    )
    row = cur.fetchone()
    return "UTC" if row is None else str(row[0])
