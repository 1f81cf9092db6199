"""`loyalty liability`, as somebody who may only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import make_dsn

from tests.cli.running import Loyalty, rows
from tests.conftest import execute_on

READER = "auditor_of_liability"
TERMS = {
    "name": "a point for ten",
    "effective_from": "2024-01-01T00:00:00Z",
    "currency": "JPY",
    "time_zone": "Asia/Tokyo",
    "earning": {"rate": "0.1", "activation": "0D", "expiry": {"kind": "never"}},
    "redemption": {"hold_timeout": "4D", "reversal_window": "40D"},
    "returns": {"window": "40D", "late_grace": "5D", "policy": "arrears", "unmatched": "base_rate"},
}


def message(kind: str, id: str, at: str, member: str = "ann", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": id, "source": "pos", "member": member, "occurred_at": at, **fields}


HISTORY = [
    message("enrolment.v1", "e-1", "2025-01-01T00:00:00Z"),
    message(
        "purchase.v1", "p-1", "2025-01-31T14:59:59Z", currency="JPY",
        lines=[{"sku": "a", "quantity": 1, "amount_minor": 100_000}],
    ),
    message("redemption.v1", "r-1", "2025-11-10T00:00:00Z", points=4_500),
    message("redemption.v1", "r-2", "2026-05-10T00:00:00Z", points=4_000),
    message("adjustment.v1", "a-1", "2026-06-10T00:00:00Z", points=-20, reason="double entry", approver="lee"),
]  # fmt: skip


@pytest.fixture
def reader(database_dsn: str, tmp_path: Path) -> Iterator[Loyalty]:
    """Example 52 of IFRS 15 as a ledger; the program logged in as somebody who has the reader role and no other."""
    program = Loyalty(LOYALTY_DATABASE_URL=database_dsn, LOYALTY_PROGRAMME="demo")
    program("programme", "create", "demo", "--currency", "JPY", "--time-zone", "Asia/Tokyo", "--journals", "2")
    (tmp_path / "terms.json").write_text(json.dumps(TERMS))
    program("terms", "publish", str(tmp_path / "terms.json"), "--at", "2024-01-01T00:00:00Z")
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in HISTORY))
    program("ingest", str(path))
    program("project", "--once")
    execute_on(database_dsn, f"CREATE ROLE {READER} LOGIN PASSWORD 'reads'; GRANT loyalty_reader TO {READER}")
    try:
        yield Loyalty(
            LOYALTY_DATABASE_URL=make_dsn(database_dsn, user=READER, password="reads"), LOYALTY_PROGRAMME="demo"
        )
    finally:
        execute_on(database_dsn, f"DROP ROLE {READER}")


RATES = ("--point-value", "1", "--rate", "2025-01=95%", "--rate", "2026-01=0.97")


def test_ifrs_15_example_52(reader: Loyalty) -> None:
    first = reader.json("liability", "revenue", *RATES, "--from", "2025-01", "--to", "2025-12")["revenue"]
    assert first["vintages"][0]["price_minor"] == 100_000
    assert first["vintages"][0]["points"] == 10_000
    assert first["total"] == {
        "opening": 0, "additions": 8_676, "recognised": 4_110, "from_opening": 0, "true_up": 0, "closing": 4_566,
    }  # fmt: skip
    second = reader.json("liability", "revenue", *RATES, "--from", "2026-01", "--to", "2026-05")["revenue"]
    assert second["total"] == {
        "opening": 4_566, "additions": 0, "recognised": 3_493, "from_opening": 3_493, "true_up": -85, "closing": 1_073,
    }  # fmt: skip
    # 96 % and 98 % of 10,000 points: 8,676 - 8,676 x 8,500 / 9,600 and / 9,800.
    assert [(each["rate_points"], each["closing"]) for each in second["sensitivity"]] == [(-1, 994), (1, 1_151)]
    shown = reader("liability", "revenue", *RATES, "--from", "2026-01", "--to", "2026-05").stdout
    assert "Opening 4,566 + additions 0 - recognised 3,493 = closing 1,073" in shown
    assert "redemption rates 1 point higher: recognised 3,415, closing 1,151" in shown


def test_the_roll_forward_and_what_is_behind_it(reader: Loyalty) -> None:
    screen = reader.json("liability", "--from", "2026-01", "--to", "2026-12")
    total = screen["roll_forward"]["total"]
    assert (total["opening"], total["closing"], total["available"]) == (5_500, 1_480, 1_480)
    assert {flow: points for flow, points in total["flows"].items() if points} == {
        "redeemed": -4_000, "adjusted_down": -20,
    }  # fmt: skip
    assert screen["agrees"]
    shown = reader("liability", "--vintage", "2025-01").stdout.splitlines()
    assert shown[0] == "Points of demo, earned in 2025-01, from the beginning to " + shown[0][-7:]
    # 14:59:59 UTC is the last second of January in Tokyo.
    assert shown[2].split("\t") == ["2025-01", "0", "10000", *["0"] * 9, "10000"]
    assert shown[-1] == "All of it agrees with the balances: 1,480 points, 0 in arrears."
    (cell,) = [each for each in reader.json("liability", "cells") if each["flow"] == "adjusted_down"]
    assert (cell["month"], cell["points"], cell["first_position"]) == ("2026-06-01", -20, cell["last_position"])
    (event,) = [
        json.loads(line)
        for line in reader(
            "liability", "events", "--vintage", "2025-01", "--month", "2026-06", "--json"
        ).stdout.splitlines()
    ]
    assert (event["id"], event["points"], event["position"]) == ("a-1", -20, cell["first_position"])
    assert (event["journal"], event["flow"]) == (cell["journal"], "adjusted_down")


def test_breakage(reader: Loyalty) -> None:
    found = reader.json("liability", "breakage", "--to", "2026-06")["breakage"]
    assert found["method"] == "chain-ladder"
    assert (found["open"], found["to_redeem"], found["breakage"]) == (1_480, 0, 1_480)  # no older vintage to learn from
    set_ = reader.json("liability", "breakage", "--to", "2026-06", "--rate", "2026-01=97%")["breakage"]
    # 97 % of 9,980 that are left of the issue: 9,680.6, of which 8,500 were redeemed.
    assert (set_["method"], set_["to_redeem"], set_["breakage"]) == ("set", 1_181, 299)
    assert [(each["to_redeem"], each["breakage"]) for each in set_["sensitivity"]] == [(1_081, 399), (1_280, 200)]


def test_cut_off_and_adjustments(reader: Loyalty) -> None:
    """Everything was recorded today."""
    found = reader.json("liability", "cut-off", "--to", "2025-12")
    assert [(each["occurred_in"], each["topic"], each["points"]) for each in found] == [
        ("2025-01-01", "points-accrued.v1", 10_000),
        ("2025-11-01", "points-redeemed.v1", -4_500),
    ]
    assert reader.json("liability", "adjustments", "--from", "2026-06", "--to", "2026-06") == [
        {"approver": "lee", "reason": "double entry", "events": 1, "points_up": 0, "points_down": 20}
    ]
    assert reader.json("liability", "adjustments", "--to", "2026-05") == []


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--from", "2026-13"), "'2026-13' is not a month such as 2026-11"),
    (("--from", "2026-05", "--to", "2026-04"), "no month: it begins with 2026-05 and ends with 2026-04"),
    (("revenue", "--point-value", "-1"), "is not a number of minor units, 0 or more"),
    (("breakage", "--rate", "2026-01=101%"), "is not MONTH=RATE with a rate from 0 to 1"),
    (("breakage", "--rate", "95%"), "is not MONTH=RATE with a rate from 0 to 1"),
]


def test_what_is_no_month_rate_or_amount(reader: Loyalty) -> None:
    for arguments, rule in REFUSED:
        result = reader("liability", *arguments, exit_code=2)
        assert rule in " ".join(result.stderr.split())


def test_views(reader: Loyalty) -> None:
    """What the commands say, for readers of the database; every column is explained there."""
    dsn = str(reader.settings["LOYALTY_DATABASE_URL"])
    seen = {
        view: rows(dsn, f"SELECT {columns} FROM loyalty_read.liability_{view} ORDER BY {columns}")
        for view, columns in {
            "rollforward": "month::text, opening, earned, redeemed, adjusted_down, closing",
            "cells": "vintage::text, month::text, flow, points, last_position - first_position",
            "open_points": "month::text, available_in::text, expires_in::text, points",
            "arrears": "month::text, opening, owed, closing",
            "cut_off": "occurred_in::text, topic, events, points",
            "adjustments": "month::text, approver, reason, events, points_up, points_down",
        }.items()
    }
    assert seen["rollforward"] == [
        ("2025-01-01", 0, 10_000, 0, 0, 10_000),
        ("2025-11-01", 10_000, 0, 4_500, 0, 5_500),
        ("2026-05-01", 5_500, 0, 4_000, 0, 1_500),
        ("2026-06-01", 1_500, 0, 0, 20, 1_480),
    ]
    assert seen["cells"][-1] == ("2025-01-01", "2026-06-01", "adjusted_down", -20, 0)
    assert seen["open_points"][1] == ("2025-11-01", "2025-01-01", "infinity", -4_500)
    assert seen["arrears"][0] == ("2025-01-01", 0, 0, 0)
    assert seen["cut_off"][0] == ("2025-01-01", "points-accrued.v1", 1, 10_000)
    assert seen["adjustments"] == [("2026-06-01", "lee", "double entry", 1, 0, 20)]
    silent = rows(
        dsn,
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnum > 0 AND attrelid::regclass::text"
        " LIKE 'loyalty_read.liability_%' AND col_description(attrelid, attnum) IS NULL",
    )
    assert silent == []


def test_sources(reader: Loyalty, tmp_path: Path) -> None:
    """The file that was ingested, and what its producer says of it."""
    (taken,) = reader.json("audit", "sources")["files"]
    assert (taken["file"], taken["lines"], taken["posted"], taken["problems"]) == ("history.jsonl", 5, 5, [])
    assert taken["amounts"] == {"JPY": {"posted": 100_000, "duplicate": 0, "rejected": 0}}
    path = tmp_path / "statement.csv"
    path.write_text("source,first,last,count,amount_minor,currency\nhistory.jsonl,1,5,5,100000,JPY\n")
    shown = reader("audit", "sources", "--statement", str(path)).stdout
    assert "The statement of history.jsonl, 1 to 5, agrees:" in shown
    path.write_text('{"source": "history.jsonl", "first": 1, "last": 6, "count": 6}')
    shown = reader("audit", "sources", "--statement", str(path), exit_code=1).stdout
    assert "DIFFERS" in shown
    assert "lines 1 to 6 stated; the file has lines 1 to 5" in shown
    assert "count: 6 stated, 5 taken (5 posted, 0 duplicate, 0 rejected): 1 less than stated" in shown
    path.write_text("source\nhistory.jsonl\n")
    refused = reader("audit", "sources", "--statement", str(path), exit_code=2)
    assert "statement 1: Object missing required field" in refused.stderr
    path.write_text("".join(json.dumps(line) + "\n" for line in HISTORY))
    shown = reader("audit", "file", str(path)).stdout
    assert shown == "5 lines: 0 blank, 5 recorded, 0 refused, 0 missing.\n"
    path.write_text(json.dumps(HISTORY[1] | {"id": "p-2"}))
    shown = reader("audit", "file", str(path), exit_code=1).stdout
    assert "line 1 is missing: source 'pos', id 'p-2'" in shown
