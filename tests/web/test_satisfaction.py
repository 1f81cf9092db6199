"""Satisfaction in the console: the timeline of the API, and control charts with the rules that points complete."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.running import Loyalty
from tests.http.serving import Api, Server, enrolled
from tests.web.browsing import Page, Visitor
from tests.web.conftest import SignedIn
from tests.web.tables import folded, lines, refused_field, table

BASE = "/programmes/club/satisfaction"
DAYS = {"by": "day", "from_on": "2026-04-01", "until_on": "2026-04-15"}
CHART = "nps <b>daily</b>/1"
STORES = ("north", "<b>south</b>")


@pytest.fixture(scope="module", autouse=True)
def answered(api: Api, server: Server) -> None:
    """Answers of two weeks in two stores, worse from the thirteenth day on; limits were frozen on the first ten."""
    member = enrolled(api)
    for day in range(1, 15):
        at = f"2026-04-{day:02}T10:00:00Z"
        for number, score in enumerate((9, 8 - day % 3, 9 if day < 13 else 0, 10 if day < 13 else 1)):
            body = {"id": f"nps {day} {number}", "member": member, "occurred_at": at, "instrument": "NPS",
                    "answers": {"q": score}, "scale": [0, 10], "store": STORES[number % 2]}  # fmt: skip
            last = api.post("survey-answers", body)
            assert last.status_code == 201, last.text
        body = {"id": f"csat {day}", "member": member, "occurred_at": at, "instrument": "CSAT",
                "answers": {"q": 5 - day % 2}, "scale": [1, 5]}  # fmt: skip
        last = api.post("survey-answers", body)
        assert last.status_code == 201, last.text
    folded(api, "satisfaction/charts")
    frozen = Loyalty(LOYALTY_DATABASE_URL=server.dsn).json(
        "satisfaction", "freeze", CHART, "--programme", "club", "--figure", "nps", "--period", "day",
        "--from", "2026-04-01", "--until", "2026-04-11",
    )  # fmt: skip
    folded(api, "satisfaction/charts", at_least=frozen["at_least"])


@pytest.fixture(scope="module")
def reader(signed_in: SignedIn) -> Visitor:
    return signed_in("reader")


def shown(figure: dict[str, Any]) -> str:
    """A figure as the table has it."""
    if figure["value"] is None:
        return "–"
    error = "" if figure["standard_error"] is None else f" ± {figure['standard_error']:,.1f}"
    return f"{figure['value']:,.1f}{error} ({figure['n']:,})"


@pytest.mark.parametrize("by", ["day", "week", "month"])
def test_the_timeline_is_that_of_the_api(reader: Visitor, api: Api, by: str) -> None:
    asked = DAYS | {"by": by}
    entries = api.read("satisfaction", **asked)["entries"]
    rows = lines(reader.get(BASE, **asked), "timeline")
    names = ("nps", "csat", "ces", "acsi", "complaint_rate")
    assert [row[1:-1] for row in rows] == [
        [str(entry["responses"]), *(shown(entry["figures"][name]) for name in names)] for entry in reversed(entries)
    ]
    assert rows[0][2] != "–"


def test_by_store_and_of_one_store(reader: Visitor, api: Api) -> None:
    asked = DAYS | {"by": "month", "per": "store"}
    entries = {entry["value"]: entry for entry in api.read("satisfaction", **asked)["entries"]}
    page = reader.get(BASE, **asked)
    found = {row[1].text: row for row in table(page, "timeline")[1:]}
    assert {store: found[store][3].text for store in STORES} == {
        store: shown(entries[store]["figures"]["nps"]) for store in STORES
    }
    assert found.keys() == {*STORES, "none"}  # an answer to CSAT names no store
    assert "<b>" not in page.html
    one = reader.get(found["<b>south</b>"][1].address)
    assert [row[1] for row in lines(one, "timeline")] == ["<b>south</b>"]
    assert one.form("/satisfaction").fields["only"] == "<b>south</b>"


def test_what_is_drawn_is_what_was_asked_for(reader: Visitor, api: Api) -> None:
    entries = api.read("satisfaction", **DAYS)["entries"]
    (trace,) = drawn(reader.get(BASE, figure="csat", **DAYS))["traces"]
    assert trace["x"] == [entry["period_on"] for entry in entries]
    assert trace["y"] == [entry["figures"]["csat"]["value"] for entry in entries]


def drawn(page: Page) -> Any:
    """The data of the only chart of a page."""
    (script,) = [text for text in page.scripts if text.startswith("{")]
    return json.loads(script)


def test_a_control_chart_has_the_points_limits_and_rules_of_the_api(reader: Visitor, api: Api) -> None:
    (link,) = [cell.address for row in table(reader.get(BASE), "charts")[1:] for cell in row if cell.address]
    page = reader.get(link, from_on="2026-04-01", until_on="2026-04-15")
    path = "satisfaction/charts/nps%20%3Cb%3Edaily%3C%2Fb%3E%2F1"
    found = api.read(path, from_on="2026-04-01", until_on="2026-04-15")
    points = found["points"]
    rows = lines(page, "points")[::-1]
    assert len(rows) == len(points) == 14
    for row, point in zip(rows, points, strict=True):
        limits = point["limits"]
        figures = [point["value"], *(limits[name] for name in ("lower", "centre", "upper"))] if limits else []
        assert [row[1], row[3], row[4], row[5]] == [f"{value:,.4f}" for value in figures] or not limits
        assert all(rule in row[7] for rule in point["rules"])
    assert "one point beyond 3 sigma" in rows[-1][7]
    assert points[-1]["rules"][0] == "WE1"
    baseline = found["baselines"][0]
    assert lines(page, "baselines")[0][3] == f"{float(baseline['centre']):,.4f}"
    traces = {trace["name"]: trace for trace in drawn(page)["traces"]}
    hits = [point for point in points if point["rules"]]
    assert traces["Completes a rule"]["x"] == [point["period_on"] for point in hits] != []
    for point, text, words in zip(hits, *(traces["Completes a rule"][of] for of in ("text", "hovertext")), strict=True):
        assert text.startswith(point["rules"][0])
        assert all(rule in words for rule in point["rules"])
    assert traces["Upper limit"]["y"][-1] == points[-1]["limits"]["upper"]
    assert traces["Value"]["y"] == [point["value"] for point in points]
    assert "<b>" not in page.html


def test_a_chart_is_judged_by_the_rules_that_are_asked_for(reader: Visitor) -> None:
    (link,) = [cell.address for row in table(reader.get(BASE), "charts")[1:] for cell in row if cell.address]
    asked = {"from_on": "2026-04-01", "until_on": "2026-04-15"}
    for rules, other in (("WE", "N"), ("N", "WE")):
        told = lines(reader.get(link, rules=rules, **asked), "points")[0][7].split()
        assert f"{rules}1" in told
        assert f"{other}1" not in told
    assert "must be one of" in refused_field(reader.get(link, rules="luck", status=400, **asked), "rules")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"by": "year"}, "by", "must be one of month, week, day"),
    ({"per": "planet"}, "per", "must be one of programme, store, channel, touchpoint"),
    ({"only": "north"}, "only", "needs a store, channel or touchpoint to be chosen"),
    ({"figure": "luck"}, "figure", "must be one of nps"),
    ({"from_on": "yesterday"}, "from_on", "must be a day such as 2026-11-20"),
    ({"from_on": "2026-04-02", "until_on": "2026-04-01"}, "until_on", "must be after 2026-04-02"),
    ({"from_on": "0001-01-01"}, "from_on", "must be at most 3700 days before the last"),
]


@pytest.mark.parametrize(("asked", "field", "rule"), BAD)
def test_bad_input_is_explained_beside_its_field(reader: Visitor, asked: dict[str, Any], field: str, rule: str) -> None:
    assert rule in refused_field(reader.get(BASE, status=400, **asked), field)


def test_there_is_no_chart_of_another_name(reader: Visitor) -> None:
    assert "there is no baseline named" in reader.get(f"{BASE}/charts/none", status=404).text
    page = reader.get(f"{BASE}/charts/none", status=400, from_on="x")
    assert refused_field(page, "from_on") == "must be a day such as 2026-11-20"


def test_an_empty_programme_is_told_what_to_do_in_both_languages(signed_in: SignedIn) -> None:
    base = BASE.replace("club", "other")
    page = signed_in("reader", "other").get(base)
    assert "Publish survey answers" in page.text
    assert "loyalty satisfaction freeze" in page.text
    assert "还没有控制图。" in signed_in("reader", "other", "zh").get(base).text


def test_rules_are_told_in_chinese(signed_in: SignedIn) -> None:
    chinese = signed_in("reader", language="zh")
    (link,) = [cell.address for row in table(chinese.get(BASE), "charts")[1:] for cell in row if cell.address]
    page = chinese.get(link, from_on="2026-04-01", until_on="2026-04-15")
    assert "一点超出 3σ" in lines(page, "points")[0][7]
