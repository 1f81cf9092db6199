"""Days and months of the programme's time zone, and the cost of goods that come back: from message to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import COFFEE, Loyalty, rows

LAST_OF_FEBRUARY, FIRST_OF_MARCH = "2026-03-01T04:59:59.999999Z", "2026-03-01T05:00:00Z"
LAST_OF_MARCH = "2026-04-01T03:59:59Z"
"""In New York, an hour nearer to UTC since 8 March."""


@pytest.fixture
def loyalty(database_dsn: str, tmp_path: Path) -> Loyalty:
    """Ann enrolled in the last hour of January, bought in the last and first instant of two months, and returned one of
    three boxes and later the others, both in New York.
    """
    program = Loyalty(LOYALTY_DATABASE_URL=database_dsn)
    program("programme", "create", "demo", "--currency", "CNY", "--time-zone", "America/New_York", "--journals", "2")
    terms = tmp_path / "terms.json"
    document = json.loads(COFFEE.read_text(encoding="utf-8"))
    document |= {"time_zone": "America/New_York", "returns": document["returns"] | {"window": "60D"}}
    terms.write_text(json.dumps(document), encoding="utf-8")
    program("terms", "publish", str(terms), "--at", "2026-01-01T00:00:00Z")
    say(
        program, tmp_path,
        {"type": "enrolment.v1", "occurred_at": "2026-02-01T04:30:00Z"},
        {"type": "purchase.v1", "id": "late", "occurred_at": LAST_OF_FEBRUARY, **bought(3, 30_000, 10_000)},
        {"type": "purchase.v1", "id": "early", "occurred_at": FIRST_OF_MARCH, **bought(1, 8_000, 5_000)},
        {"type": "cost.v1", "occurred_at": FIRST_OF_MARCH, "currency": "CNY", "amount_minor": 200},
        {"type": "return.v1", "occurred_at": LAST_OF_MARCH, **back(1, 10_000)},
    )  # fmt: skip
    return program


def bought(quantity: int, amount: int, cost: int) -> dict[str, Any]:
    line = {"sku": "box", "quantity": quantity, "amount_minor": amount, "cost_minor": cost}
    return {"currency": "CNY", "lines": [line]}


def back(quantity: int, amount: int) -> dict[str, Any]:
    line = {"sku": "box", "quantity": quantity, "amount_minor": amount}
    return {"purchase": "late", "currency": "CNY", "lines": [line]}


def say(program: Loyalty, directory: Path, *messages: dict[str, Any]) -> None:
    lines = (
        json.dumps({"id": f"{message['type']}-{message['occurred_at']}", "source": "till", "member": "ann"} | message)
        for message in messages
    )
    path = directory / "messages.jsonl"
    path.write_text("\n".join(lines))
    program("ingest", str(path), "--programme", "demo")
    program("project", "--once")


def test_an_instant_before_midnight_is_of_the_day_and_month_before(loyalty: Loyalty, database_dsn: str) -> None:
    """A microsecond lies between two days, two months and two rows of everything that is by day or month."""
    found = loyalty.json("member", "ann")["lifetime"]
    assert (found["purchase_days"], found["months_active"], found["median_days_between_purchases"]) == (2, 2, 1)
    for _ in range(2):
        assert rows(
            database_dsn,
            "SELECT day::text, purchases, returns, purchased_minor, returned_minor, goods_cost_minor,"
            " attributed_cost_minor FROM loyalty_read.trade_days ORDER BY day",
        ) == [
            ("2026-02-28", 1, 0, 30_000, 0, 10_000, 0),
            ("2026-03-01", 1, 0, 8_000, 0, 5_000, 200),
            ("2026-03-31", 0, 1, 0, 10_000, -3_333, 0),
        ]
        assert rows(
            database_dsn,
            "SELECT cohort::text, month::text, active_members, purchases, revenue_minor FROM loyalty_read.cohorts"
            " ORDER BY month",
        ) == [("2026-01-01", "2026-02-01", 1, 1, 30_000), ("2026-01-01", "2026-03-01", 1, 1, -2_000)]
        loyalty("rebuild")


def test_reads_by_day_cut_at_the_programmes_midnight(loyalty: Loyalty) -> None:
    march = loyalty.json("pyramid", "--from", "2026-03-01", "--until", "2026-04-01")["pyramid"]
    assert sum(band["revenue_minor"] for band in march["bands"]) == -2_000
    to_february = loyalty.json("pyramid", "--as-of", LAST_OF_FEBRUARY)["pyramid"]
    assert sum(band["revenue_minor"] for band in to_february["bands"]) == 30_000
    before = loyalty.json("member", "ann", "--as-of", LAST_OF_FEBRUARY)["lifetime"]
    assert (before["on"], before["recency_days"], before["tenure_months"]) == ("2026-02-28", 0, 0)
    after = loyalty.json("member", "ann", "--as-of", FIRST_OF_MARCH)["lifetime"]
    assert (after["on"], after["recency_days"], after["tenure_days"], after["frequency"]) == ("2026-03-01", 0, 1, 1)
    (cohort,) = loyalty.json("value")["cohorts"]
    assert (cohort["cohort"], [month["month"] for month in cohort["months"]]) == (
        "2026-01-01", ["2026-02-01", "2026-03-01"],
    )  # fmt: skip


def test_goods_that_come_back_take_their_cost_with_them_to_the_last_minor_unit(
    loyalty: Loyalty, tmp_path: Path
) -> None:
    """A third of 10,000 each time, and the rest with the last: nothing of the cost is left when all is back."""
    names = ("revenue_minor", "goods_cost_minor", "attributed_cost_minor", "profit_minor", "uncosted_lines")
    expected = [(28_000, 11_667, 200, 16_133, 0), (18_000, 8_334, 200, 9_466, 0), (8_000, 5_000, 200, 2_800, 0)]
    for day, figures in enumerate(expected, 1):
        found = loyalty.json("member", "ann")["lifetime"]
        past = loyalty.json("member", "ann", "--as-of", f"2026-04-{day:02}T12:00:00Z")["lifetime"]
        assert tuple(found[name] for name in names) == tuple(past[name] for name in names) == figures
        assert loyalty.json("value")["value"]["operating_profit_minor"] == figures[3]
        if day < len(expected):
            say(loyalty, tmp_path, {"type": "return.v1", "occurred_at": f"2026-04-{day + 1:02}T04:00:00Z",
                                    **back(1, 10_000)})  # fmt: skip
