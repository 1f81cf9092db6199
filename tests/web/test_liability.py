"""The liability in the console: the figures of the API, and the events behind each of them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.liability_figures import COLUMNS
from tests.http.serving import Api
from tests.http.test_liability import three_months
from tests.web.browsing import Page, Visitor
from tests.web.conftest import SignedIn
from tests.web.tables import Cell, folded, lines, refused_field, table

BASE = "/programmes/club/liability"


@pytest.fixture(scope="module")
def owed(api: Api) -> httpx.Response:
    """The last write of a history over three months, folded in."""
    last = three_months(api)
    folded(api, "liability")
    return last


@pytest.fixture(scope="module")
def reader(signed_in: SignedIn, owed: httpx.Response) -> Visitor:
    return signed_in("reader")


@pytest.mark.parametrize(
    "asked",
    [{"to_month": "2026-03"}, {"from_month": "2026-02", "to_month": "2026-03"}, {"by": "month", "to_month": "2026-03"},
     {"vintage": "2026-01", "to_month": "2026-03"}],
)  # fmt: skip
def test_the_table_is_the_roll_forward_of_the_api_and_its_total_sums(
    reader: Visitor, api: Api, asked: dict[str, str]
) -> None:
    page = reader.get(BASE, **asked)
    found = api.read("liability", **asked)["roll_forward"]
    head, *rows = table(page, "roll-forward")
    assert len(rows) == len(found["lines"]) + 1
    shown = {"Earned": "earned", "Came in": "in", "Redeemed": "redeemed", "Expired": "expired", "Adjusted": "adjusted",
             "Went out": "out"}  # fmt: skip
    columns = [shown[cell.text] for cell in head[2:-1]]
    assert {"earned", "redeemed", "expired"} <= set(columns)
    for row, line in zip(rows, [*found["lines"], found["total"]], strict=True):
        flows = [sum(line["flows"][flow] for flow in COLUMNS[column]) for column in columns]
        assert [cell.number for cell in row[1:]] == [line["opening"], *flows, line["closing"]]
        assert line["opening"] + sum(flows) == line["closing"]  # so nothing was left out
    if "vintage" not in asked and asked.get("by") != "month":
        for column in range(1, len(head)):
            assert sum(row[column].number for row in rows[:-1]) == rows[-1][column].number
    split = table(page, "split")[-1]
    total = found["total"]
    assert [cell.number for cell in split[1:]] == [
        total[part] for part in ("closing", "pending", "available", "overdue", "held")
    ]
    assert "All of it agrees with the balances" in page.text


def test_every_figure_leads_to_events_that_add_up_to_it(reader: Visitor) -> None:
    rows = table(reader.get(BASE, to_month="2026-03"), "roll-forward")
    figures = [cell for row in (rows[1], rows[-1]) for cell in row[1:] if cell.address]
    assert len(figures) >= 8
    for figure in figures:
        pages = followed(reader, figure)
        found = [row for page in pages for row in table(page, "events")[1:]]
        assert sum(int(row[7].text.replace(",", "")) for row in found) == figure.number
    assert len(pages) > 1  # the closing of all has more events than a page
    event = found[0][0]
    shown = reader.get(event.address)
    assert event.text in shown.text
    assert reader.get(found[0][3].address).status == 200  # the member


def followed(reader: Visitor, figure: Cell) -> list[Page]:
    pages = [reader.get(figure.address)]
    while following := [given["href"] for tag, given in pages[-1].tags if tag == "a" and given.get("rel") == "next"]:
        pages.append(reader.get(following[0]))
    return pages


def test_a_vintage_is_followed_month_by_month(reader: Visitor) -> None:
    vintage = table(reader.get(BASE, to_month="2026-03"), "roll-forward")[1][0]
    assert vintage.text == "Jan 2026"
    page = reader.get(vintage.address)
    assert [row[0] for row in lines(page, "roll-forward")] == ["Jan 2026", "Feb 2026", "Mar 2026", "Total"]


def test_cut_off_and_adjustments_are_those_of_the_api(reader: Visitor, api: Api) -> None:
    asked = {"from_month": "2026-01", "to_month": "2026-03"}
    rows = table(reader.get(f"{BASE}/cut-off", **asked), "cut-off")[1:]
    found = api.read("liability/cut-off", **asked)["cut_off"]
    assert len(rows) == len(found) + 1
    assert [(row[3].number, int(row[4].text.replace(",", ""))) for row in rows[:-1]] == [
        (each["events"], each["points"]) for each in found
    ]
    assert rows[-1][1].number == sum(each["events"] for each in found)
    assert reader.get(rows[0][6].address).status == 200
    page = reader.get(f"{BASE}/adjustments", **asked)
    assert lines(page, "adjustments") == [
        ["kim", "<b>typo</b>", "1", "0", "30"], ["lee", "a gift", "1", "40", "0"], ["Total", "2", "40", "30"],
    ]  # fmt: skip
    assert "<b>" not in page.html


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("", {"from_month": "2026-13"}, "from_month", "must be a month such as 2026-11"),
    ("", {"to_month": "<b>"}, "to_month", "must be a month such as 2026-11"),
    ("", {"from_month": "2026-05", "to_month": "2026-04"}, "to_month", "must not be before the first month"),
    ("", {"to_month": "9999-12"}, "to_month", "must be before the year 9999"),
    ("", {"by": "week"}, "by", "must be one of vintage, month"),
    ("/events", {"column": "stolen"}, "column", "must be one of"),
    ("/cut-off", {"to_month": "1"}, "to_month", "must be a month such as 2026-11"),
    ("/adjustments", {"from_month": "x"}, "from_month", "must be a month such as 2026-11"),
]


@pytest.mark.parametrize(("path", "asked", "field", "rule"), BAD)
def test_bad_input_is_explained_beside_its_field(
    reader: Visitor, path: str, asked: dict[str, Any], field: str, rule: str
) -> None:
    page = reader.get(BASE + path, status=400, **asked)
    assert rule in refused_field(page, field)
    assert "<b>" not in page.html


def test_a_place_that_is_none_is_refused(reader: Visitor) -> None:
    assert "after" in reader.get(f"{BASE}/events", after="x", status=400).text


def test_it_says_what_to_do_where_there_is_nothing(signed_in: SignedIn) -> None:
    other = signed_in("auditor", "other")
    base = BASE.replace("club", "other")
    assert "No points were given" in other.get(base).text
    assert "No events." in other.get(f"{base}/events").text
    assert "Everything was recorded in the month" in other.get(f"{base}/cut-off").text
    assert "Nothing was adjusted by hand" in other.get(f"{base}/adjustments").text


def test_it_speaks_chinese(signed_in: SignedIn, reader: Visitor) -> None:
    chinese = signed_in("reader", language="zh")
    asked = {"to_month": "2026-03"}
    page, english = chinese.get(BASE, **asked), reader.get(BASE, **asked)
    assert "滚动表" in page.text
    assert [row[1:] for row in lines(page, "roll-forward")] == [row[1:] for row in lines(english, "roll-forward")]
    assert refused_field(chinese.get(BASE, status=400, from_month="x"), "from_month") == "必须是月份，例如 2026-11"
