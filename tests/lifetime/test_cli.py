"""`loyalty member`, `value` and `pyramid`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import COFFEE, Loyalty, rows

AT = "2026-02-01T00:00:00Z"


@pytest.fixture
def loyalty(database_dsn: str, tmp_path: Path) -> Loyalty:
    """The program, with members of whom A bought twice, B once without a cost, and C never."""
    program = Loyalty(LOYALTY_DATABASE_URL=database_dsn)
    program("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    program("terms", "publish", str(COFFEE), "--at", "2026-01-01T00:00:00Z")
    for member in ("A", "B", "C"):
        program("enrol", member, "--at", AT)
    messages = tmp_path / "purchases.jsonl"
    bought = (("A", "02-10", 30_000, 10_000), ("A", "03-20", 50_000, 20_000), ("B", "02-11", 9_000, None))
    lines = [_purchase(number, *purchase) for number, purchase in enumerate(bought)]
    messages.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    program("ingest", str(messages))
    program("project", "--once")
    return program


def _purchase(number: int, member: str, day: str, amount: int, cost: int | None) -> dict[str, Any]:
    line = {"sku": "beans", "quantity": 1, "amount_minor": amount, "category": "coffee"}
    return {
        "type": "purchase.v1", "id": f"order-{number}", "source": "pos", "programme": "demo", "member": member,
        "occurred_at": f"2026-{day}T17:00:00Z", "currency": "CNY", "channel": "pos", "store": "S-1",
        "lines": [line if cost is None else line | {"cost_minor": cost}],
    }  # fmt: skip


def test_a_member_on_one_screen(loyalty: Loyalty) -> None:
    shown = loyalty("member", "A").stdout
    assert "revenue 80,000 = purchased 80,000 - returned 0" in shown
    assert "profit 50,000" in shown
    assert "purchased again within 30 days: no, 90 days: yes, 365 days: yes" in shown
    assert "profit unknown: no cost of 1 line" in loyalty("member", "B").stdout
    assert "prospect" in loyalty("member", "C").stdout
    found = loyalty.json("member", "A")
    assert (found["lifetime"]["frequency"], found["balance"]["status"]) == (1, "open")
    past = loyalty.json("member", "A", "--as-of", "2026-03-01T00:00:00Z")["lifetime"]
    assert (past["purchases"], past["repurchased_within_30_days"], past["recency_days"]) == (1, None, 18)


def test_a_return_takes_back_what_its_goods_had_cost(loyalty: Loyalty) -> None:
    """The core finds the cost; where only an amount is paid back, no goods came back."""
    names = ("revenue_minor", "goods_cost_minor", "profit_minor", "units")
    back = ("return", "A", "--purchase", "order-1", "--at", "2026-03-25T00:00:00Z")
    for more, expected in ((("--amount", "5000"), (75_000, 30_000, 45_000, 2)), ((), (30_000, 10_000, 20_000, 1))):
        loyalty(*back, *more)
        loyalty("project", "--once")
        found = loyalty.json("member", "A")["lifetime"]
        assert tuple(found[name] for name in names) == expected


def test_analysis_as_the_programme_sets_it(loyalty: Loyalty, tmp_path: Path) -> None:
    message = {
        "type": "analysis.v1", "id": "a-1", "source": "desk", "programme": "demo", "occurred_at": AT,
        "inactive_after_days": 7, "bands": [{"name": name, "share_percent": "50"} for name in ("gold", "rest")],
    }  # fmt: skip
    path = tmp_path / "analysis.jsonl"
    path.write_text(json.dumps(message) + "\n")
    loyalty("ingest", str(path))
    loyalty("project", "--once")
    assert loyalty.json("member", "A")["lifetime"]["inactive_after_days"] == 7
    assert [band["name"] for band in loyalty.json("pyramid")["pyramid"]["bands"]][:2] == ["gold", "rest"]


def test_a_merged_member_says_where_its_figures_are(loyalty: Loyalty) -> None:
    loyalty("merge", "B", "A", "--at", "2026-04-01T00:00:00Z")
    loyalty("project", "--once")
    assert "merged into A: loyalty member A" in loyalty("member", "B").stdout
    shown = loyalty("member", "A").stdout
    assert "with B, merged into it" in shown
    assert "profit unknown" in shown


def test_the_value_of_all(loyalty: Loyalty) -> None:
    shown = loyalty("value").stdout
    assert "operating profit 50,000 = profit 50,000 of 1 - loss 0 of 0" in shown
    assert "1 member whose profit is unknown, with revenue 9,000" in shown
    found = loyalty.json("value")
    assert [point["customers"] for point in found["value"]["whale_curve"]] == [1]
    assert [(cohort["cohort"], cohort["members"]) for cohort in found["cohorts"]] == [("2026-02-01", 3)]


def test_the_pyramid_and_who_moved(loyalty: Loyalty) -> None:
    assert "remaining 80 %\t2\t66.67 %\t89000\t100.00 %" in loyalty("pyramid").stdout
    found = loyalty.json("pyramid", "--from", "2026-03-01", "--against", "2026-02-01..2026-03-01")
    assert {(cell["from_band"], cell["to_band"], cell["members"]) for cell in found["migration"]} == {
        ("remaining 80 %", "remaining 80 %", 1),
        ("remaining 80 %", "inactive", 1),
        ("prospect", "prospect", 1),
    }
    by_profit = loyalty.json("pyramid", "--by", "profit", "--as-of", "2026-03-01T00:00:00Z")["pyramid"]
    assert [band["members"] for band in by_profit["bands"]] == [0, 0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "yesterday"), "'yesterday' is not a day such as 2026-11-20"),
        (("--against", "2026-01-01"), "is not FROM..UNTIL"),
        (("--from", "2026-03-01", "--until", "2026-03-01"), "it must begin before it ends"),
        (("--until", "2026-03-01", "--as-of", AT), "give one of them"),
    ],
)
def test_bad_periods(loyalty: Loyalty, arguments: tuple[str, ...], message: str) -> None:
    assert message in loyalty("pyramid", *arguments, exit_code=2).stderr


def test_views_of_the_reader_agree(loyalty: Loyalty) -> None:
    """Also after a merge and a rebuild: persons, not records."""
    dsn = loyalty.settings["LOYALTY_DATABASE_URL"]
    assert dsn is not None
    loyalty("merge", "A", "C", "--at", "2026-04-01T00:00:00Z")
    loyalty("project", "--once")
    for _ in range(2):
        found = loyalty.json("value")["value"]
        names = ("members", "prospects", "customers", "revenue_minor", "profit_minor", "loss_minor",
                 "operating_profit_minor", "unknown_profit_members", "unknown_profit_revenue_minor")  # fmt: skip
        select = f"SELECT {', '.join(names)} FROM loyalty_read.programme_value WHERE programme = 'demo'"
        assert rows(dsn, f"SET ROLE loyalty_reader; {select}") == [tuple(found[name] for name in names)]
        assert rows(dsn, "SELECT member, profit_minor FROM loyalty_read.member_lifetime ORDER BY member") == [
            ("B", None),
            ("C", 50_000),
        ]
        assert rows(dsn, "SELECT sum(purchases) FROM loyalty_read.trade_days WHERE person = 'C'") == [(2,)]
        assert rows(dsn, "SELECT sum(active_members), max(members) FROM loyalty_read.cohorts") == [(3, 3)]
        loyalty("rebuild")
