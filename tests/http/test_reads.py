"""Reads over HTTP: what they find, how fresh they are, tags, cursors, streams, and names of any kind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.cli.running import Loyalty, rows
from tests.http.conftest import Keyed
from tests.http.serving import AT, Api, Server, enrolled, new, purchase
from tests.http.test_commands import problem
from tests.waiting import PATIENCE_SECONDS

HOSTILE = [
    "a/b", "../../etc/passwd", "a b", "100%", "%2e%2e", "a%2Fb", "?x=1", "#x", "é", "会员", "'; DROP TABLE events; --",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "$(id)", "\\", "balance", ".", "..",
    "a;b=c", "null", "0",
]  # fmt: skip


def test_a_member_from_all_sides(api: Api) -> None:
    member = enrolled(api, 50_000)
    held = api.post("holds", {"id": new("h"), "member": member, "points": 30, "occurred_at": AT})
    survey = {"id": new("s"), "member": member, "occurred_at": AT, "instrument": "NPS", "answers": {"q": 9}}
    answered = api.post("survey-answers", survey | {"scale": [0, 10]})
    assert answered.status_code == 201, answered.text
    balance = api.read(f"members/{member}/balance", answered)
    assert (balance["active"], balance["held"], balance["balance"]) == (470, 30, 500)
    lots = api.read(f"members/{member}/lots", answered)
    assert [lot["points"] for lot in lots["lots"]] == [470]
    assert lots["expiries"] == [{"expires_at": "2027-03-01T10:00:00Z", "points": 470}]
    statement = api.read(f"members/{member}/statement", held)
    assert [(one["points"], one["balance"]) for one in statement["entries"]] == [(500, 500), (0, 500)]
    assert statement["next"] is None
    summary = api.read(f"members/{member}/summary", answered)
    assert (summary["lifetime"]["purchases"], summary["balance"]["balance"]) == (1, 500)
    latest = api.read(f"members/{member}/satisfaction", answered)
    assert [(one["instrument"], one["satisfied"]) for one in latest["answers"]] == [("NPS", True)]
    stream = api.read(f"members/{member}/events")
    assert [one["version"] for one in stream["events"]] == list(range(1, len(stream["events"]) + 1))
    assert stream["events"][0]["topic"] == "member-enrolled.v1"
    assert stream["events"][0]["data"]["member"] == member


def test_balances_that_are_read_together_are_each_their_own(api: Api) -> None:
    """Of members of both journals, of nobody, and of the same one by several at once."""
    members = [enrolled(api) for _ in range(20)]
    batch = {"purchases": [purchase(member, 100 * points) for points, member in enumerate(members, 1)]}
    at_least = api.post("purchase-batches", batch).headers["Ledger-Position"]
    expected = {member: points for points, member in enumerate(members, 1)} | {"nobody": 0}

    def read(member: str) -> tuple[str, int]:
        found = api.read(f"members/{member}/balance", at_least=at_least)
        return found["member"], found["active"]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(read, [*expected] * 20))
    assert found == [*expected.items()] * 20


def test_pages_of_a_statement_join_up(api: Api) -> None:
    member = enrolled(api)
    for number in range(7):
        last = api.post("purchases", purchase(member, 1_000 * (number + 1)))
    whole = api.read(f"members/{member}/statement", last)["entries"]
    for newest_first in (False, True):
        pages: list[Any] = []
        parameters: dict[str, Any] = {"limit": 3, "newest_first": newest_first}
        while parameters.get("after", 0) is not None:
            page = api.get(f"members/{member}/statement", params=parameters).json()
            pages += page["entries"]
            parameters["after"] = page["next"]
        assert pages == (whole[::-1] if newest_first else whole)


def test_the_past_is_folded_from_the_log(api: Api) -> None:
    member = enrolled(api, 10_000)
    later = api.post("redemptions", {"id": new("r"), "member": member, "points": 40,
                                     "occurred_at": "2026-04-01T00:00:00Z"})  # fmt: skip
    assert api.read(f"members/{member}/balance", later)["active"] == 60
    past = {"as_of": "2026-03-31T00:00:00Z"}
    assert api.get(f"members/{member}/balance", params=past).json()["active"] == 100
    assert len(api.get(f"members/{member}/statement", params=past).json()["entries"]) == 1
    assert api.get(f"members/{member}/summary", params=past).json()["balance"]["active"] == 100
    for bad in ("yesterday", "2026-03-31", "2026-03-31T00:00:00", "9999-12-31T23:59:59-12:00"):
        problem(api.get(f"members/{member}/balance", params={"as_of": bad}), 400, "INVALID_FIELD")


def test_figures_of_the_programme(api: Api) -> None:
    member = enrolled(api)
    last = api.post("purchases", purchase(member, 10_000))
    assert api.read("")["currency"] == "USD"
    pyramid = api.read("pyramid", last, from_on="2026-01-01", until_on="2026-12-01")
    assert pyramid["active"] > 0
    assert api.read("value", last)["revenue_minor"] > 0
    timeline = api.read("satisfaction", by="month", from_on="2026-01-01", until_on="2026-06-01")
    assert len(timeline["entries"]) == 5
    body = {"id": new("o"), "objective": "nps", "comparator": ">=", "target": "50", "unit": "points",
            "direction": "up", "period": "month", "owner": "ada", "occurred_at": AT}  # fmt: skip
    defined = api.post("objectives", body)
    assert defined.status_code == 201, defined.text
    objectives = api.read("objectives", defined)
    assert [(one["objective"], one["target"]) for one in objectives["objectives"]] == [("nps", "50")]
    assert api.read("objectives", as_of="2026-02-28")["objectives"] == []
    problem(api.get("objectives", params={"as_of": "2999-01-01"}), 400, "INVALID_FIELD")
    problem(api.get("pyramid", params={"from_on": "2026-02-30"}), 400, "INVALID_FIELD")
    problem(api.get("pyramid", params={"by": "luck"}), 400, "INVALID_FIELD")
    problem(api.get("satisfaction", params={"from_on": "0001-01-01", "by": "day"}), 400, "INVALID_FIELD")


def test_refused_messages_are_listed(api: Api, keyed: Keyed, server: Server, tmp_path: Any) -> None:
    bad = tmp_path / "bad.jsonl"
    lines = [{"type": "purchase.v1", **purchase("nobody"), "source": "f"} for _ in range(5)]
    bad.write_text("".join(json.dumps(line) + "\n" for line in lines))
    Loyalty(LOYALTY_DATABASE_URL=server.dsn)("ingest", str(bad), "--programme", "club", exit_code=3)
    first = api.read("rejected", limit=3)
    second = api.read("rejected", limit=3, before=first["next"])
    found = first["messages"] + second["messages"]
    assert [one["id"] for one in found] == [line["id"] for line in reversed(lines)]
    assert {one["code"] for one in found} == {"MEMBER_UNKNOWN"}
    assert second["next"] is None
    assert keyed("auditor", "other", path="other").read("rejected")["messages"] == []
    assert api.read("rejected", status="resolved")["messages"] == []


def test_objectives_and_what_is_open_are_those_of_the_command_line(api: Api, server: Server) -> None:
    body = {"id": "late", "what": "late answers", "owner": "bob", "due_on": "2026-03-05",
            "occurred_at": AT}  # fmt: skip
    last = api.post("nonconformities", body)
    assert last.status_code == 201, last.text
    found = api.read("objectives", last)
    assert found == Loyalty(LOYALTY_DATABASE_URL=server.dsn).json("objectives", "--programme", "club")
    assert [(step["nonconformity"], step["step"]) for step in found["open_steps"]] == [("late", "find_cause")]


def test_who_moved_between_bands(api: Api, server: Server) -> None:
    member = enrolled(api)
    api.post("purchases", purchase(member, 10_000, occurred_at="2026-01-10T10:00:00Z"))
    last = api.post("purchases", purchase(member, 20_000, occurred_at="2026-02-10T10:00:00Z"))
    asked = {"earlier_from": "2026-01-01", "earlier_until": "2026-02-01", "from_on": "2026-02-01",
             "until_on": "2026-03-01"}  # fmt: skip
    found = api.read("pyramid/migration", last, **asked)
    shown = Loyalty(LOYALTY_DATABASE_URL=server.dsn).json(
        "pyramid", "--programme", "club", "--from", "2026-02-01", "--until", "2026-03-01",
        "--against", "2026-01-01..2026-02-01",
    )  # fmt: skip
    assert found["migration"] == shown["migration"] != []
    assert (found["earlier"], found["later"]) == (shown["against"], shown["pyramid"]["period"])
    missing = api.get("pyramid/migration", params={"earlier_until": "2026-02-01"})
    assert problem(missing, 400, "INVALID_FIELD")["field"] == "earlier_from"
    problem(api.get("pyramid/migration", params=asked | {"earlier_until": "2025-01-01"}), 400, "INVALID_FIELD")


def test_a_control_chart(keyed: Keyed, server: Server) -> None:
    """Two answers a day; the limits are frozen on ten days, and the day after them is far outside."""
    api = keyed("admin", "other", path="other")
    member = enrolled(api)
    for day in range(1, 12):
        for score in (9, 0) if day == 11 else (9, 8 - day % 3):
            body = {"id": new("s"), "member": member, "occurred_at": f"2026-04-{day:02}T10:00:00Z", "instrument": "NPS",
                    "answers": {"q": score}, "scale": [0, 10]}  # fmt: skip
            last = api.post("survey-answers", body)
            assert last.status_code == 201, last.text
    assert api.read("satisfaction/charts", last)["charts"] == []
    loyalty = Loyalty(LOYALTY_DATABASE_URL=server.dsn, LOYALTY_PROGRAMME="other")
    frozen = loyalty.json(
        "satisfaction", "freeze", "a/b", "--figure", "nps", "--period", "day", "--from", "2026-04-01",
        "--until", "2026-04-11",
    )  # fmt: skip
    asked = {"from_on": "2026-04-01", "until_on": "2026-04-12"}
    found = api.read("satisfaction/charts/a%2Fb", **asked, at_least=frozen["at_least"])
    assert found == loyalty.json("satisfaction", "chart", "a/b", "--from", "2026-04-01", "--until", "2026-04-12")
    assert found["points"][-1]["limits"]["centre"] == float(found["baselines"][0]["centre"])
    (named,) = api.read("satisfaction/charts")["charts"]
    assert (named["chart"], named["definition"]["figure"], named["baselines"]) == ("a/b", "nps", 1)
    problem(api.get("satisfaction/charts/none"), 404, "NOT_FOUND")
    problem(api.get("satisfaction/charts/a%2Fb", params={"from_on": "2026-05-01", "until_on": "2026-04-01"}), 400,
            "INVALID_FIELD")  # fmt: skip


# --- freshness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", ["1", "1:x", "x:1", "1:2:3", "-1:2", "1:-2", ",", "1:2,", "99999:1", f"1:{10**20}", "1:١", "' OR 1=1"]
)
def test_a_position_must_be_one_of_the_programmes(api: Api, bad: str) -> None:
    answer = api.get("members/m/balance", params={"at_least": bad})
    assert problem(answer, 400, "INVALID_FIELD")["field"] == "at_least"


def test_what_a_client_has_is_not_sent_again(api: Api) -> None:
    member = enrolled(api, 10_000)
    path = f"members/{member}/balance"
    position = api.post("purchases", purchase(member, 100)).headers["Ledger-Position"]
    first = api.get(path, params={"at_least": position})
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = api.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    after = api.post("purchases", purchase(member, 100))
    changed = api.get(path, params={"at_least": after.headers["Ledger-Position"]}, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


# --- the log ------------------------------------------------------------------------------------------------------


def test_every_change_comes_once_in_the_order_of_its_journal(api: Api, server: Server) -> None:
    for _ in range(3):
        enrolled(api, 100)
    found, cursor = [], None
    while True:
        page = api.get("changes", params={"limit": 7} | ({"after": cursor} if cursor else {})).json()
        cursor = page["next"]
        if not page["events"]:
            break
        found += page["events"]
    journals = api.read("")["journals"]
    logged = rows(
        server.dsn,
        "SELECT journal, position, originator_id, convert_from(state, 'UTF8')::json FROM events"
        f" WHERE journal IN {tuple(journals)} ORDER BY journal, position",
    )
    assert [(one["journal"], one["position"], one["stream"], one["data"]) for one in found] == logged
    enrolled(api)
    (new_one,) = api.get("changes", params={"after": cursor}).json()["events"]
    assert new_one["topic"] == "member-enrolled.v1"
    for bad in ("x", "1", "999:1", f"{journals[0]}:-1", f"{journals[0]}:1;", "1:1\n2:2"):
        problem(api.get("changes", params={"after": bad}), 400, "INVALID_FIELD")


def test_a_stream_of_any_kind_is_read_page_by_page(api: Api) -> None:
    member = enrolled(api, 100)
    body = {"id": "a/b", "what": "x", "owner": "bob", "due_on": "2026-03-05", "occurred_at": AT}
    assert api.post("nonconformities", body).status_code == 201
    cause = {"id": new("c"), "nonconformity": "a/b", "cause": "y", "owner": "bob", "due_on": "2026-03-05",
             "occurred_at": AT}  # fmt: skip
    assert api.post("causes", cause).status_code == 201
    first = api.read("streams/nonconformity-a%2Fb/events", limit=1)
    second = api.get("streams/nonconformity-a%2Fb/events", params={"limit": 2, "after": first["next"]}).json()
    assert [one["topic"] for one in first["events"] + second["events"]] == ["nonconformity-raised.v1", "cause-found.v1"]
    assert second["next"] is None
    assert api.read(f"streams/member-{member}/events")["events"] == api.read(f"members/{member}/events")["events"]
    assert api.read("streams/nothing/events")["events"] == []


def test_changes_come_as_they_are_recorded(api: Api) -> None:
    start = _end_of(api)
    member = new()
    with api.client.stream("GET", "/v1/programmes/club/changes/stream", params={"after": start}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        enrolled_here = api.post("members", {"id": new("e"), "member": member, "occurred_at": AT})
        seen = _next_event(lines)
    assert seen["event"] == "member-enrolled.v1"
    assert json.loads(seen["data"])["data"]["member"] == member
    assert enrolled_here.headers["Ledger-Position"] in seen["id"].split(",")
    api.post("purchases", purchase(member, 100))
    with api.client.stream(
        "GET", "/v1/programmes/club/changes/stream", headers={"Last-Event-ID": seen["id"]}
    ) as stream:
        assert _next_event(stream.iter_lines())["event"] == "purchase-recorded.v1"


def _end_of(api: Api) -> str:
    cursor = ""
    while True:
        page = api.get("changes", params={"after": cursor, "limit": 1_000}).json()
        cursor = page["next"]
        if not page["events"]:
            return str(cursor)


def _next_event(lines: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name in ("event", "data", "id"):
            found[name] = value
        if not line and found:
            return found
    raise AssertionError("the stream ended")


# --- names of any kind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", HOSTILE)
def test_a_member_of_any_name_is_written_and_read(api: Api, member: str) -> None:
    body = {"id": new("e"), "member": member, "occurred_at": AT, "channel": member, "store": member,
            "attributes": {member: member}}  # fmt: skip
    assert api.post("members", body).status_code == 201
    last = api.post("purchases", purchase(member, 10_000, id=f"{member} order", channel=member, store=member))
    assert last.status_code == 201, last.text
    spent = {"id": new("r"), "member": member, "points": 1, "reason": member, "occurred_at": AT}
    last = api.post("redemptions", spent)
    path = f"/v1/programmes/club/members/{_encoded(member)}"
    for what in ("balance", "lots", "statement", "summary", "satisfaction", "events"):
        at_least = {} if what == "events" else {"at_least": last.headers["Ledger-Position"]}
        answer = api.client.get(f"{path}/{what}", params=at_least)
        assert answer.status_code == 200, (what, answer.text)
        assert answer.headers["content-type"] == "application/json"
    assert api.client.get(f"{path}/balance").json()["member"] == member
    assert api.client.get(f"{path}/statement").json()["entries"][-1]["reason"] == member


def _encoded(member: str) -> str:
    """Percent-encoded; dots too, which clients would take for steps in the path."""
    return quote(member, safe="").replace(".", "%2E")


@pytest.mark.parametrize("part", ["%00", "a%0d%0aX-Evil:%201", "%ff", "a" * 65, "%E2%82"])
def test_what_cannot_be_a_name_is_refused(api: Api, part: str) -> None:
    for path in (f"/v1/programmes/club/members/{part}/balance",):
        answer = api.client.get(path)
        problem(answer, 400, "INVALID_FIELD")
        assert "x-evil" not in answer.headers
    assert api.client.get(f"/v1/programmes/{part}/pyramid").status_code in (400, 403)


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/programmes/club", "/v1/programmes/club/nothing", "/v1/docs/x", "/v1/../v1/programmes",
     "//v1//docs//../../etc/passwd"],
)  # fmt: skip
def test_there_is_nothing_at_other_paths(api: Api, path: str) -> None:
    assert api.client.get(path).status_code in (404, 405)


def test_headers_are_not_what_a_client_says(api: Api) -> None:
    """Nothing of a request comes back in a header but numbers."""
    answer = api.get("members/m/balance", headers={"If-None-Match": '"x"', "X-Forwarded-For": "1.2.3.4"})
    assert set(answer.headers) == {"content-type", "ledger-as-of", "ledger-behind", "etag", "cache-control", "vary",
                                   "content-length", "date"}  # fmt: skip


def test_the_page_loads_nothing_and_escapes(server: Server) -> None:
    page = httpx.get(f"{server.url}/v1/docs", timeout=PATIENCE_SECONDS)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("https://", "")
    assert "src=" not in page.text
    assert "RedeemPoints" in page.text
