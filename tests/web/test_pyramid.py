"""The pyramid in the console: the bands and the migrations of the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.serving import Api, enrolled, purchase
from tests.web.browsing import Visitor
from tests.web.conftest import SignedIn
from tests.web.tables import folded, lines, refused_field, table

BASE = "/programmes/club/pyramid"
LATER = {"from_on": "2026-02-01", "until_on": "2026-03-01"}
EARLIER = {"earlier_from": "2026-01-01", "earlier_until": "2026-02-01"}
MEMBERS = 30


@pytest.fixture(scope="module", autouse=True)
def traded(api: Api) -> None:
    """Each member bought for more than the one before in January, and for less in February; every third did not."""
    for number in range(MEMBERS):
        member = enrolled(api)
        api.post("purchases", purchase(member, 1_000 * (number + 1), occurred_at="2026-01-10T10:00:00Z"))
        if number % 3:
            line = {"sku": "tea", "quantity": 1, "amount_minor": 40_000 - 1_000 * number, "cost_minor": 500}
            last = api.post("purchases", purchase(member, lines=[line], occurred_at="2026-02-10T10:00:00Z"))
            assert last.status_code == 201, last.text
    bands = [{"name": "<b>best</b>", "share_percent": "20"}, {"name": "the others", "share_percent": "80"}]
    body = {"id": "bands", "occurred_at": "2026-03-01T10:00:00Z", "inactive_after_days": 365, "bands": bands}
    last = api.post("analyses", body)
    assert last.status_code == 201, last.text
    folded(api, "value")


@pytest.fixture(scope="module")
def reader(signed_in: SignedIn) -> Visitor:
    return signed_in("reader")


@pytest.mark.parametrize("by", ["revenue", "profit"])
def test_bands_and_migrations_are_those_of_the_api(reader: Visitor, api: Api, by: str) -> None:
    page = reader.get(BASE, by=by, **LATER, **EARLIER)
    bands = api.read("pyramid", by=by, **LATER)["bands"]
    rows = table(page, "bands")[1:]
    assert [row[0].text for row in rows] == [*(band["name"] for band in bands), "Total"]
    assert [row[1].number for row in rows] == [*(band["members"] for band in bands), MEMBERS]
    assert [money(row[3].text) for row in rows[:-1]] == [band["revenue_minor"] for band in bands]
    assert money(rows[-1][3].text) == sum(band["revenue_minor"] for band in bands)
    assert [row[4].text for row in rows[:-1]] == [f"{100 * band['revenue_share']:.1f}%" for band in bands]
    assert [money(row[5].text) for row in rows[:-1]] == [band["profit_minor"] for band in bands]
    moved = api.read("pyramid/migration", by=by, **LATER, **EARLIER)["migration"]
    head, *cells = table(page, "migration")
    shown = {
        (row[0].text, column.text): cell.text.split()
        for row in cells[:-1]
        for column, cell in zip(head[1:-1], row[1:-1], strict=True)
        if cell.text
    }
    assert {key: (int(members), money(change)) for key, (members, change) in shown.items()} == {
        (cell["from_band"], cell["to_band"]): (cell["members"], cell["change_minor"]) for cell in moved
    }
    assert cells[-1][-1].number == sum(cell["members"] for cell in moved) == MEMBERS
    assert "<b>" not in page.html


def money(text: str) -> int:
    return round(100 * float(text.replace("US$", "").replace(",", "")))


def test_without_dates_it_is_of_the_days_with_trade(reader: Visitor) -> None:
    form = reader.get(BASE).form("/pyramid")
    assert (form.fields["until_on"], form.fields["from_on"]) == ("2026-03-01", "2025-03-01")
    assert (form.fields["earlier_until"], form.fields["earlier_from"]) == ("2025-03-01", "2024-03-01")
    assert lines(reader.send(form), "bands") == lines(reader.get(BASE), "bands")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"by": "luck"}, "by", "must be one of revenue, profit"),
    ({"from_on": "2026-02-30"}, "from_on", "must be a day such as 2026-11-20"),
    ({"from_on": "2026-03-01", "until_on": "2026-03-01"}, "until_on", "must be after 2026-03-01"),
    ({"earlier_from": "2026-03-01", "earlier_until": "2026-02-01"}, "earlier_until", "must be after 2026-03-01"),
    ({"until_on": "0001-01-01"}, "until_on", "must be after 0001-01-01"),
]


@pytest.mark.parametrize(("asked", "field", "rule"), BAD)
def test_bad_input_is_explained_beside_its_field(reader: Visitor, asked: dict[str, Any], field: str, rule: str) -> None:
    assert refused_field(reader.get(BASE, status=400, **asked), field) == rule


def test_an_empty_programme_is_told_what_to_do_in_both_languages(signed_in: SignedIn) -> None:
    base = BASE.replace("club", "other")
    assert "There are no members in this period." in signed_in("reader", "other").get(base).text
    assert "这段时间没有会员。" in signed_in("reader", "other", "zh").get(base).text


def test_names_of_bands_are_translated_unless_they_are_the_programmes_own(signed_in: SignedIn) -> None:
    page = signed_in("reader", language="zh").get(BASE, **LATER)
    assert [row[0] for row in lines(page, "bands")] == ["<b>best</b>", "the others", "不活跃", "潜在顾客", "合计"]
