"""Objectives in the console: attainment as the API has it, and a nonconformity corrected with forms from end to end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.http.serving import Api
from tests.waiting import wait_for
from tests.web.browsing import Form, Page, Visitor
from tests.web.conftest import SignedIn
from tests.web.tables import folded, lines, refused_field, table

BASE = "/programmes/club/objectives"
HOSTILE = "<b>late</b> & \"answers'"


def day(number: int) -> str:
    """A day so many from today."""
    return (datetime.now(UTC).date() + timedelta(days=number)).isoformat()


def days_overdue(due: str, since: date) -> set[int]:
    """By how many days what was due is overdue since a day: more than one number where midnight came meanwhile."""
    until = datetime.now(UTC).date()
    return {(since - date.fromisoformat(due)).days, (until - date.fromisoformat(due)).days}


def taken(visitor: Visitor, form: Form, **fields: str) -> Page:
    """Take a step with a form; the page as soon as it shows it, however far the read model is behind."""
    pages = [visitor.send(form, **fields)]

    def is_shown() -> bool:
        pages.append(visitor.get(pages[0].path))
        return "Everything recorded is in these figures." in pages[-1].text

    wait_for(is_shown)
    return pages[-1]


@pytest.fixture(scope="module", autouse=True)
def overdue(api: Api) -> str:
    """An objective that was missed once and then attained, and three nonconformities; when one of them was due."""
    due_before = day(-2)
    done(api, "objectives", id="o", objective="nps", name="NPS of all", comparator=">=", target="50", unit="points",
         direction="up", period="month", owner="ada")  # fmt: skip
    for period, value in (("2026-01-01", "40"), ("2026-02-01", "55.5")):
        done(api, "measurements", id=period, objective="nps", period_on=period, value=value, sample=12,
             occurred_at=f"{day(-1)}T10:00:00Z")  # fmt: skip
    for name, due in (("due later", day(9)), ("overdue", due_before)):
        done(api, "nonconformities", id=name, what=f"{HOSTILE} {name}", owner="bob", due_on=due,
             occurred_at=f"{day(-5)}T10:00:00Z")  # fmt: skip
    done(api, "nonconformities", id="to correct", what="to correct", owner="bob", due_on=day(3))
    folded(api, "objectives")
    return due_before


def done(api: Api, path: str, **fields: Any) -> httpx.Response:
    answer = api.post(path, {"occurred_at": datetime.now(UTC).isoformat(), **fields})
    assert answer.status_code == 201, answer.text
    return answer


def test_attainment_and_open_steps_are_those_of_the_api(signed_in: SignedIn, api: Api, overdue: str) -> None:
    today = datetime.now(UTC).date()
    page = signed_in("reader").get(BASE)
    found = api.read("objectives")
    (row,) = lines(page, "objectives")
    report = found["objectives"][0]
    assert (report["attained"], report["judged"], report["trend"]) == (1, 2, "better")
    assert row[:2] == ["NPS of all", ">= 50 points"]
    assert row[3:7] == ["55.5 attained", "1 Feb 2026", "1 of 2", "better"]
    assert [cells[1:] for cells in lines(page, "periods")] == [["55.5", "12", "attained"], ["40", "12", "missed"]]
    steps = lines(page, "steps")
    assert [step[3] for step in steps] == [step["what"] for step in found["open_steps"]]
    assert any(f"{days} days overdue" in steps[0][0] for days in days_overdue(overdue, today))
    assert steps[0][1:4] == ["Find the cause", "bob", f"{HOSTILE} overdue"]
    assert "1 step is overdue." in page.text
    assert "<b>" not in page.html
    shown = signed_in("reader").get(table(page, "steps")[1][3].address)
    assert f"{HOSTILE} overdue" in shown.text
    assert any(f"{days} days overdue" in shown.text for days in days_overdue(overdue, today))


def test_a_past_day_is_shown_as_it_stood(signed_in: SignedIn) -> None:
    page = signed_in("auditor").get(BASE, as_of=day(-3))
    assert "There are no objectives yet." in page.text
    assert len(lines(page, "steps")) == 2
    assert "must not be after today" in refused_field(
        signed_in("auditor").get(BASE, as_of="2999-01-01", status=400), "as_of"
    )


def of(visitor: Visitor, name: str = "to correct") -> Page:
    return visitor.get(f"{BASE}/nonconformity", nonconformity=name)


def test_a_nonconformity_is_corrected_step_by_step(signed_in: SignedIn, api: Api) -> None:
    operator = signed_in("operator")
    page = of(operator)
    assert "Find the cause" in page.text
    page = taken(operator, page.form("/cause"), cause=f"why: {HOSTILE}", owner="ada", due_on=day(2))
    assert f"why: {HOSTILE}" in page.text
    page = taken(operator, page.form("/plan"), what="answer sooner", owner="eve", due_on=day(4))
    assert lines(page, "actions")[0][:3] == ["answer sooner", "Do", "eve"]
    itself = {"done_by": "eve", "owner": "eve", "due_on": day(5), "evidence": HOSTILE}
    refused = operator.send(page.form("/done"), status=422, **itself)
    assert "VERIFIER_NOT_INDEPENDENT" in refused.text
    assert "must be somebody else" in refused_field(refused, "owner-1")
    assert refused.form("/done").fields["evidence"] == HOSTILE  # what was filled in is kept
    page = taken(operator, refused.form("/done"), owner="ada")
    assert lines(page, "actions")[0][1] == "Verify"
    page = taken(operator, page.form("/verify"), effective="no", verified_by="ada", due_on=day(6))
    assert lines(page, "actions")[0][1] == "Ineffective"
    page = taken(operator, page.form("/plan"), what="answer at once", owner="eve", due_on=day(7))
    page = taken(operator, page.form("/done"), done_by="eve", owner="ada", due_on=day(8))
    page = taken(operator, page.form("/verify"), effective="yes", verified_by="ada", evidence="seen")
    assert "Closed" in page.text
    assert [form for form in page.forms if "/steps/" in form.action] == []
    assert "<b>" not in page.html
    found = api.read("objectives")
    (closed,) = [one for one in found["nonconformities"] if one["nonconformity"] == "to correct"]
    assert (closed["step"], closed["cause"]) == ("closed", f"why: {HOSTILE}")
    actions = [one for one in found["corrective_actions"] if one["nonconformity"] == "to correct"]
    assert sorted((one["what"], one["step"], one["done_by"], one["verified_by"]) for one in actions) == [
        ("answer at once", "effective", "eve", "ada"), ("answer sooner", "ineffective", "eve", "ada"),
    ]  # fmt: skip
    assert [row[0] for row in lines(operator.get(BASE), "closed")] == ["to correct"]


def test_a_form_that_is_sent_twice_is_recorded_once(signed_in: SignedIn, api: Api) -> None:
    operator = signed_in("admin")
    form = of(operator, "due later").form("/cause")
    fields = {"cause": "the clock", "owner": "ada", "due_on": day(2)}
    taken(operator, form, **fields)
    again = operator.send(form, status=422, **fields)
    assert "IDEMPOTENCY_CONFLICT" in again.text
    (one,) = [one for one in api.read("objectives")["nonconformities"] if one["nonconformity"] == "due later"]
    assert (one["step"], one["cause"]) == ("plan_action", "the clock")


def test_bad_fields_are_explained_beside_them(signed_in: SignedIn) -> None:
    operator = signed_in("operator")
    form = of(operator, "overdue").form("/cause")
    good = {"cause": "why", "owner": "ada", "due_on": day(2)}
    for field, value in (("cause", ""), ("owner", ""), ("due_on", "soon"), ("due_on", day(-1)), ("cause", "x" * 501)):
        page = operator.send(form, status=422, **(good | {field: value}))
        assert refused_field(page, f"{field}-1")
        assert page.form("/cause").fields["owner"] == ("" if field == "owner" else "ada")
    assert "nonconformity-" not in operator.send(form, status=404, **good, nonconformity="none").text
    assert operator.client.post("/console/programmes/club/objectives/steps/none", data=form.fields).status_code == 404


def test_who_may_only_read_sees_no_forms_and_sends_none(signed_in: SignedIn) -> None:
    reader, operator = signed_in("reader"), signed_in("operator")
    page = of(reader, "overdue")
    assert "The next step is taken with the role operator or admin." in page.text
    assert [form for form in page.forms if "/steps/" in form.action] == []
    form = of(operator, "overdue").form("/cause")
    token = next(value for name, value in page.forms[0].fields.items() if "token" in name)
    own = form.fields | {name: token for name in form.fields if "token" in name}
    answer = reader.client.post(form.action, data=own | {"cause": "why", "owner": "a", "due_on": day(1)})
    assert answer.status_code == 403
    without = {name: value for name, value in form.fields.items() if "token" not in name}
    assert operator.client.post(form.action, data=without | {"cause": "why"}).status_code == 403


def test_nothing_of_another_name(signed_in: SignedIn) -> None:
    reader = signed_in("reader")
    assert reader.get(f"{BASE}/nonconformity", nonconformity="none", status=404).status == 404
    page = reader.get(BASE, objective="none", status=400)
    assert "must be one of those below" in page.text


def test_an_empty_programme_is_told_what_to_do_in_both_languages(signed_in: SignedIn) -> None:
    base = BASE.replace("club", "other")
    page = signed_in("reader", "other").get(base)
    assert "There are no objectives yet." in page.text
    assert "Nothing is open." in page.text
    assert "还没有目标。" in signed_in("reader", "other", "zh").get(base).text


def test_stages_are_told_in_chinese(signed_in: SignedIn, overdue: str) -> None:
    today = datetime.now(UTC).date()
    page = of(signed_in("operator", language="zh"), "overdue")
    assert "查找原因" in page.text
    assert any(f"逾期 {days} 天" in page.text for days in days_overdue(overdue, today))
    assert date.fromisoformat(overdue).strftime("%Y年") in page.text
