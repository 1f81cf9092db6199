"""What the pages of the console say, beside what the API says, and what their forms do."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.store.database import Database
from service.http.problems import Problem
from service.web.fields import instant_field
from tests.cli.running import rows
from tests.http.serving import AT, TERMS, Api, Server, a_key, enrolled, new, purchase
from tests.waiting import wait_for
from tests.web.conftest import SignedIn
from tests.web.story import BASE, MEMBER, member_path, refuse, tell
from tests.web.tables import folded


@pytest.fixture(scope="module")
def told(api: Api) -> None:
    tell(api)
    folded(api, "members/x/balance", "members/x/statement", "members/x/summary", "members/x/satisfaction", "value")


@pytest.fixture(scope="module")
def figures(told: None, api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.read("members/" + member_path().rpartition("/")[2] + "/summary")
    return found


# --- the overview -------------------------------------------------------------------------------------------------


def test_the_overview_has_the_figures_of_the_programme(told: None, api: Api, signed_in: SignedIn) -> None:
    value = api.read("value")
    page = signed_in("reader").get(BASE)
    assert page.pairs["Members"] == f"{value['members']:,}"
    assert page.pairs["Points issued"] == f"{value['points_earned']:,}"
    assert page.pairs["Points redeemed"] == f"{value['points_redeemed']:,}"
    assert page.pairs["Points outstanding"] == "3,965"  # 4 × 1,000 + 50 + 20 - 100 - 5; what is held is outstanding
    assert "Everything recorded is in these figures." in page.text
    assert "Members merged" in page.text


def test_a_programme_without_events_says_what_to_do(signed_in: SignedIn) -> None:
    visitor = signed_in("reader", "other")
    page = visitor.get("/")
    assert page.pairs["Members"] == "0"
    assert "Programme created" in page.text
    assert "There is no member yet." in visitor.get("/programmes/other/members").text


# --- members ------------------------------------------------------------------------------------------------------


def test_members_are_found_by_the_beginning_of_their_name(told: None, signed_in: SignedIn) -> None:
    visitor = signed_in("reader")
    form = visitor.get(f"{BASE}/members").form("/members")
    assert visitor.send(form, q="other one").path.endswith("/members/other%20one")
    assert visitor.send(form, q=MEMBER).path == member_path()
    page = visitor.send(form, q="o")
    assert "other one" in page.text
    assert "gone" not in page.text.partition("Members whose")[2]
    assert "No member has a name that begins so." in visitor.send(form, q="Other").text


def test_a_long_list_of_members_has_pages(api: Api, signed_in: SignedIn, server: Server) -> None:
    purchases = [purchase(f"many{number:03}") for number in range(120)]
    for body in purchases:
        assert api.post("members", {"id": new("e"), "member": body["member"], "occurred_at": AT}).status_code == 201
    visitor = signed_in("reader")
    wait_for(lambda: rows(server.dsn, "SELECT count(*) FROM balances WHERE member LIKE 'many%'") == [(120,)])
    seen: list[str] = []
    page = visitor.get(f"{BASE}/members?q=many")
    while True:
        seen += [link.rpartition("/")[2] for link in page.links if "/members/many" in link]
        if not page.following:
            break
        page = visitor.get(page.following)
    assert seen == [f"many{number:03}" for number in range(120)]


def test_a_member_has_the_figures_of_the_api(figures: dict[str, Any], signed_in: SignedIn) -> None:
    balance, lifetime = figures["balance"], figures["lifetime"]
    page = signed_in("reader").get(member_path())
    for title, field in (("Balance", "balance"), ("Active", "active"), ("Held", "held"), ("Spent", "spent")):
        assert page.pairs[title] == f"{balance[field]:,}"
    assert page.pairs["Revenue"].startswith(f"US${lifetime['revenue_minor'] / 100:,.2f}")
    assert page.pairs["Complaints"].startswith("1 1 open")
    assert page.pairs["NPS"].startswith("9 on 0 to 10 satisfied")
    assert "Merged into" not in page.text
    assert "gone" in page.text


def test_every_movement_leads_to_its_rule_and_its_event(told: None, api: Api, signed_in: SignedIn) -> None:
    visitor = signed_in("reader")
    page = visitor.get(f"{member_path()}/statement")
    entries = api.read("members/" + member_path().rpartition("/")[2] + "/statement", newest_first="true")["entries"]
    for entry in entries:
        places = [link for link in page.links if link.endswith(f"/{entry['position']}") and "/events/" in link]
        assert places, entry
        event = visitor.get(places[0])
        assert entry["topic"] in event.text
        assert "as it was recorded" in event.text
    (first, *_) = [link for link in page.links if "#rule-" in link]
    anchor = first.partition("#")[2]
    assert anchor in [attributes.get("id") for _, attributes in visitor.get(first).tags]


def test_a_statement_has_pages(api: Api, signed_in: SignedIn) -> None:
    member = enrolled(api)
    batch = [purchase(member, 100) for _ in range(230)]
    answer = api.post("purchase-batches", {"purchases": batch})
    api.read(f"members/{member}/statement", answer)
    visitor = signed_in("reader")
    page = visitor.get(f"{BASE}/members/{member}/statement")
    seen: list[int] = []
    while True:
        seen.append([tag for tag, _ in page.tags].count("tr") - 1)
        if not page.following:
            break
        page = visitor.get(page.following)
    assert seen == [100, 100, 30]


def test_the_past_is_as_it_was(told: None, api: Api, signed_in: SignedIn) -> None:
    name = member_path().rpartition("/")[2]
    at = datetime.now(UTC) - timedelta(days=15)
    then = api.read(f"members/{name}/balance", as_of=at.isoformat())
    visitor = signed_in("reader")
    form = visitor.get(member_path()).form(name)
    page = visitor.send(form, as_of=at.replace(tzinfo=None).isoformat(timespec="seconds"))
    assert page.pairs["Balance"] == f"{then['balance']:,}"
    assert page.pairs["Spent"] == "0"
    assert "As of " in page.text
    before = visitor.send(form, as_known_at="2020-01-01T00:00")
    assert before.pairs["Balance"] == "0"
    assert "No points are open." in before.text


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00", "x" * 65, "0001-01-01T00:00"])
def test_an_instant_that_is_none_is_refused_in_words(told: None, signed_in: SignedIn, text: str) -> None:
    page = signed_in("reader").get(member_path(), status=400, as_of=text)
    assert "Go back, correct what is named here" in page.text


def test_instants_are_on_the_clock_of_the_programme() -> None:
    zone = "America/New_York"
    assert instant_field("as_of", "", zone) is None
    assert instant_field("as_of", "2026-07-01T12:00", zone) == datetime(2026, 7, 1, 16, tzinfo=UTC)
    assert instant_field("as_of", "2026-07-01T12:00:00+02:00", zone) == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert instant_field("as_of", "2026-11-01T01:30", zone) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)  # the first
    with pytest.raises(Problem):
        instant_field("as_of", "0001-01-01T00:00", "Asia/Shanghai")


# --- refused messages ---------------------------------------------------------------------------------------------


def test_refused_messages_are_tried_again_by_who_may(
    api: Api, server: Server, signed_in: SignedIn, tmp_path: Path
) -> None:
    member = new("later")
    refuse(server.dsn, tmp_path, 3, member)
    operator, auditor = signed_in("operator"), signed_in("auditor")
    page = operator.get(f"{BASE}/rejected?code=MEMBER_UNKNOWN")
    assert page.links.count(f"{server.url}{BASE}/members?q={member}") == 3
    closed = auditor.get(f"{BASE}/rejected")
    assert not [form for form in closed.forms if form.method == "post" and form.action.endswith("/rejected")]
    token = closed.form("/sign-out").fields["form_token"]
    answer = auditor.client.post(f"{BASE}/rejected", data={"form_token": token, "code": ""})
    assert answer.status_code == 403

    one = next(form for form in page.forms if ("number", "3") in form.buttons)
    again = operator.send(one, button=("number", "3"))
    assert "1 message was tried again: 1 was refused again." in again.text
    assert api.post("members", {"id": new("e"), "member": member, "occurred_at": AT}).status_code == 201
    body = {"id": new("a"), "member": member, "occurred_at": AT, "points": 100, "reason": "welcome"}
    assert api.post("accruals", body).status_code == 201
    done = operator.send(one, button=("number", "3"))
    assert "1 message was tried again: none was refused." in done.text
    forms = operator.get(f"{BASE}/rejected").forms
    every = next(form for form in forms if form.method == "post" and "code" in form.fields)
    assert "2 messages were tried again: none was refused." in operator.send(every).text
    assert operator.get(f"{BASE}/rejected").text.count("No such message.") == 1
    assert operator.get(f"{BASE}/rejected?status=resolved").text.count("resolved") > 3
    assert operator.send(one, button=("number", "3"), status=404).status == 404


def test_a_refused_message_of_another_programme_is_not_there(
    server: Server, signed_in: SignedIn, tmp_path: Path
) -> None:
    refuse(server.dsn, tmp_path, 1, new("nobody"))
    ((number,),) = rows(server.dsn, "SELECT max(rejected_id) FROM rejected")
    other = signed_in("admin", "other")
    token = other.get("/").form("/sign-out").fields["form_token"]
    path = "/console/programmes/other/rejected"
    for given in (str(number), "0", "x", "9" * 30):
        answer = other.client.post(path, data={"form_token": token, "number": given})
        assert answer.status_code in (400, 404), given
    other.client.post(path, data={"form_token": token, "code": ""})
    assert rows(server.dsn, f"SELECT attempts FROM rejected WHERE rejected_id = {number}") == [(1,)]


def test_the_chart_of_lots_has_the_days_of_the_programme(signed_in: SignedIn, api: Api, keys: Database) -> None:
    admin = Api(api.client.base_url.__str__(), a_key(keys, "admin", None), "tokyo")
    created = {"id": "tokyo", "programme": "tokyo", "currency": "JPY", "time_zone": "Asia/Tokyo", "occurred_at": AT}
    assert admin.client.post("/v1/programmes", json=created).status_code == 201
    expiry = {"kind": "end_of_month", "after": "12M"}
    document = {**TERMS, "currency": "JPY", "time_zone": "Asia/Tokyo", "earning": {"rate": "1", "expiry": expiry}}
    terms = {"id": "terms", "occurred_at": AT, "document": document}
    assert admin.post("terms", terms).status_code == 201
    member = enrolled(admin)
    body = purchase(member, 1_234) | {"currency": "JPY", "occurred_at": datetime.now(UTC).isoformat()}
    admin.read(f"members/{member}/summary", admin.post("purchases", body))
    admin.close()
    page = signed_in("reader", None).get(f"/programmes/tokyo/members/{member}")
    (chart,) = [json.loads(script) for script in page.scripts if script]
    (day,) = chart["traces"][0]["x"]
    assert date.fromisoformat(day).day == 1, "midnight at the end of a month, in Tokyo"
    assert chart["traces"][0]["y"] == [1_234]
    assert page.pairs["Revenue"].startswith("JP¥1,234 ")
