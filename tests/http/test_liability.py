"""The liability over HTTP: the figures of the command line, what is behind them page by page, and bad questions."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.cli.running import Loyalty
from tests.http.conftest import Keyed
from tests.http.serving import Api, Server, new, purchase
from tests.http.test_commands import problem

MEMBERS = 12
MONTHS = (("from_month", "--from"), ("to_month", "--to"), ("by", "--by"), ("vintage", "--vintage"), ("flow", "--flow"))


@pytest.fixture(scope="module")
def owed(keyed: Keyed) -> tuple[Api, httpx.Response]:
    """A client, and the last write of the history."""
    api = keyed("admin")
    return api, three_months(api)


def three_months(api: Api) -> httpx.Response:
    """A history in which something of most kinds occurred; its last write."""
    members = [f"owed {number}" for number in range(MEMBERS)]
    for member in members:
        done(api, "members", member=member, occurred_at="2026-01-01T00:00:00Z")
    for month in (1, 2, 3):
        for member in members:
            at = f"2026-0{month}-10T10:00:00Z"
            assert api.post("purchases", purchase(member, 10_000 * month, occurred_at=at)).status_code == 201
    for member in members[:6]:
        done(api, "redemptions", member=member, points=150, occurred_at="2026-02-20T10:00:00Z")
    done(api, "transfers", member=members[6], to=members[7], points=50, occurred_at="2026-03-11T10:00:00Z")
    done(api, "adjustments", member=members[8], points=40, reason="a gift", approver="lee",
         occurred_at="2026-03-12T10:00:00Z")  # fmt: skip
    done(api, "adjustments", member=members[8], points=-30, reason="<b>typo</b>", approver="kim",
         occurred_at="2026-03-13T10:00:00Z")  # fmt: skip
    return done(api, "redemptions", member=members[9], points=500, occurred_at="2026-03-20T10:00:00Z")


def done(api: Api, path: str, **fields: Any) -> httpx.Response:
    answer = api.post(path, {"id": new("liability"), **fields})
    assert answer.status_code == 201, answer.text
    return answer


def said(server: Server, *words: str, **parameters: str) -> Any:
    """What the command line says in JSON of the same question."""
    names = dict(MONTHS)
    options = [part for name, value in parameters.items() for part in (names[name], value)]
    return Loyalty(LOYALTY_DATABASE_URL=server.dsn).json("liability", *words, "--programme", "club", *options)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"from_month": "2026-02", "to_month": "2026-03"}, {"by": "month", "to_month": "2026-04"},
     {"vintage": "2026-01", "to_month": "2026-03"}],
)  # fmt: skip
def test_the_roll_forward_is_that_of_the_command_line(
    owed: tuple[Api, httpx.Response], server: Server, parameters: dict[str, str]
) -> None:
    api, last = owed
    found = api.read("liability", last, **parameters)
    shown = said(server, **parameters)
    assert found == {name: value for name, value in shown.items() if name != "cells"}
    assert found["agrees"]
    total = found["roll_forward"]["total"]
    assert total["closing"] == total["opening"] + sum(total["flows"].values())
    assert total["closing"] == sum(total[part] for part in ("pending", "available", "overdue", "held"))


def test_pages_of_events_join_up_to_the_figure(owed: tuple[Api, httpx.Response], server: Server) -> None:
    api, last = owed
    lines = api.read("liability", last, vintage="2026-01", to_month="2026-03")["roll_forward"]["lines"]
    assert [line["month"] for line in lines] == ["2026-01-01", "2026-02-01", "2026-03-01"]
    for line in lines:
        for flow in (None, *(flow for flow, points in line["flows"].items() if points)):
            cell = {"vintage": "2026-01", "month": line["month"][:7], **({"flow": flow} if flow else {})}
            found = pages(api, cell, limit=4)
            points = sum(line["flows"].values()) if flow is None else line["flows"][flow]
            assert sum(event["points"] for event in found) == points
            assert found == all_events(server, cell)
    assert max(len(page) for page in paged(api, {"vintage": "2026-01", "month": "2026-01"}, limit=4)) == 4


def paged(api: Api, cell: dict[str, str], limit: int) -> list[list[Any]]:
    found, after = [], {}
    while True:
        page = api.get("liability/events", params={**cell, "limit": limit, **after}).json()
        found.append(page["events"])
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def pages(api: Api, cell: dict[str, str], limit: int) -> list[Any]:
    return [event for page in paged(api, cell, limit) for event in page]


def all_events(server: Server, cell: dict[str, str]) -> list[Any]:
    options = [part for name, value in cell.items() for part in (f"--{name}", value)]
    run = Loyalty(LOYALTY_DATABASE_URL=server.dsn)("liability", "events", "--programme", "club", *options, "--json")
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_cut_off_and_adjustments_are_those_of_the_command_line(
    owed: tuple[Api, httpx.Response], server: Server
) -> None:
    api, last = owed
    asked = {"from_month": "2026-02", "to_month": "2026-03"}
    assert api.read("liability/cut-off", last, **asked)["cut_off"] == said(server, "cut-off", **asked) != []
    found = api.read("liability/adjustments", last, **asked)["adjustments"]
    assert found == said(server, "adjustments", **asked)
    assert [(each["approver"], each["points_up"], each["points_down"]) for each in found] == [
        ("kim", 0, 30), ("lee", 40, 0),
    ]  # fmt: skip


def test_breakage_and_deferred_revenue_are_those_of_the_command_line(
    owed: tuple[Api, httpx.Response], server: Server
) -> None:
    api, last = owed
    words = ("--to", "2026-03", "--rate", "2026-01=60%", "--rate", "2026-02=0.7")
    rates = {"to_month": "2026-03", "rate": ["2026-01=60%", "2026-02=0.7"]}
    found = api.read("liability/breakage", last, **rates)
    assert found == said(server, "breakage", *words)
    assert found["breakage"]["method"] == "set"
    assert api.read("liability/breakage", last, to_month="2026-03") == said(server, "breakage", "--to", "2026-03")
    revenue = api.read("liability/revenue", last, point_value="0.8", **rates)
    assert revenue == said(server, "revenue", "--point-value", "0.8", *words)
    assert revenue["revenue"]["total"]["additions"] > 0


def test_what_a_client_has_is_not_sent_again(owed: tuple[Api, httpx.Response]) -> None:
    api, _ = owed
    asked = {"to_month": "2026-03", "at_least": api.at_least}
    first = api.get("liability", params=asked)
    assert first.headers["Ledger-Behind"] == "0"
    again = api.get("liability", params=asked, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("liability", {"from_month": "2026-13"}, "from_month"),
    ("liability", {"to_month": "2026-1"}, "to_month"),
    ("liability", {"vintage": "' OR 1=1"}, "vintage"),
    ("liability", {"by": "week"}, "by"),
    ("liability", {"from_month": "2026-05", "to_month": "2026-04"}, "query"),
    ("liability", {"to_month": "9999-12"}, "query"),
    ("liability/events", {"month": "2026-01"}, "vintage"),
    ("liability/events", {"vintage": "2026-01", "month": "2026-01", "flow": "stolen"}, "flow"),
    ("liability/events", {"vintage": "2026-01", "month": "2026-01", "after": "x"}, "after"),
    ("liability/events", {"vintage": "2026-01", "month": "2026-01", "limit": 1_001}, "limit"),
    ("liability/breakage", {"rate": "2026-01=101%"}, "rate"),
    ("liability/breakage", {"rate": "2026-01=1e999999999"}, "rate"),
    ("liability/breakage", {"rate": ["2026-01=50%"] * 101}, "rate"),
    ("liability/revenue", {}, "point_value"),
    ("liability/revenue", {"point_value": "-1"}, "point_value"),
    ("liability/revenue", {"point_value": "1e9999999"}, "point_value"),
]


@pytest.mark.parametrize(("path", "parameters", "field"), BAD)
def test_a_bad_question_is_answered_with_its_field(api: Api, path: str, parameters: dict[str, Any], field: str) -> None:
    assert problem(api.get(path, params=parameters), 400, "INVALID_FIELD")["field"] == field
