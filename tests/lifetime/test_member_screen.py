"""`loyalty member`: value, what is expected, behaviour, satisfaction and balance, of now and of the past."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ledger.programmes import read_programme
from ledger.store.database import Database
from projections.expected_value import expected_value
from projections.trade_histories import read_trade_history
from projections.value_fits import latest_fit
from tests.cli.running import COFFEE, Loyalty, rows

FIT: dict[str, Any] = {
    "as_of": "2026-05-01", "months": 4, "members": 100, "repeaters": 60, "spenders": 60, "time_unit": "week",
    "method": "",
    "purchases_converged": True, "purchases_message": "", "purchases_log_likelihood": -1, "value_converged": True,
    "value_message": "", "value_log_likelihood": -1, "r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259,
    "p": 6.2496, "q": 3.7442, "v": 15_443.5, "margin": 0.25, "margin_members": 40,
} | {f"{name}_se": 0.1 for name in ("r", "alpha", "a", "b", "p", "q", "v")}  # fmt: skip


@pytest.fixture
def loyalty(database_dsn: str, tmp_path: Path) -> Loyalty:
    """Ann, with bob merged into her, bought, answered, complained and was promised a call; cat never did."""
    program = Loyalty(LOYALTY_DATABASE_URL=database_dsn)
    program("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai", "--journals", "2")
    program("terms", "publish", str(COFFEE), "--at", "2026-01-01T00:00:00Z")
    say(program, tmp_path, [
        *({"type": "enrolment.v1", "member": name, "occurred_at": "2026-01-02T00:00:00Z"} for name in
          ("ann", "bob", "cat", "dan", "eve")),
        purchase("ann", "2026-02-01", 30_000, 10_000),
        purchase("bob", "2026-02-20", 50_000, 20_000),
        purchase("ann", "2026-04-01", 20_000, 8_000),
        purchase("dan", "2026-03-01", 9_000, None),
        purchase("eve", "2026-03-01", 9_000, 1_000),
        answer("ann", "2026-02-02", 9),
        answer("bob", "2026-03-02", 3),
        {"type": "complaint.v1", "member": "bob", "id": "cold", "occurred_at": "2026-03-01T00:00:00Z"},
        {"type": "complaint.v1", "member": "ann", "id": "slow", "category": "service",
         "occurred_at": "2026-04-02T00:00:00Z"},
        {"type": "complaint-resolution.v1", "member": "bob", "complaint": "cold",
         "occurred_at": "2026-03-05T00:00:00Z"},
        {"type": "follow-up.v1", "member": "ann", "id": "call", "reason": "to apologise",
         "occurred_at": "2026-04-02T00:00:00Z", "due_at": "2026-04-09T00:00:00Z"},
        {"type": "merge.v1", "member": "bob", "into": "ann", "occurred_at": "2026-04-03T00:00:00Z"},
        {"type": "closure.v1", "member": "eve", "occurred_at": "2026-05-01T00:00:00Z"},
    ])  # fmt: skip
    return program


def say(program: Loyalty, directory: Path, messages: list[dict[str, Any]]) -> None:
    lines = (json.dumps({"id": f"m-{number}", "source": "t"} | message) for number, message in enumerate(messages))
    path = directory / "messages.jsonl"
    path.write_text("\n".join(lines))
    program("ingest", str(path), "--programme", "demo")
    program("project", "--once")


def purchase(member: str, day: str, amount: int, cost: int | None) -> dict[str, Any]:
    line = {"sku": "latte", "quantity": 1, "amount_minor": amount} | ({} if cost is None else {"cost_minor": cost})
    at = f"{day}T12:00:00+08:00"
    return {"type": "purchase.v1", "member": member, "occurred_at": at, "currency": "CNY", "lines": [line]}


def answer(member: str, day: str, score: int) -> dict[str, Any]:
    return {
        "type": "survey.v1", "member": member, "occurred_at": f"{day}T12:00:00+08:00", "instrument": "NPS",
        "scale": [0, 10], "answers": {"recommend": score},
    }  # fmt: skip


def keep_fit(dsn: str, **fields: Any) -> None:
    """As `loyalty value-model fit` keeps it, which takes more members than there are here."""
    fit = {"programme": "demo", "version": 1, "fitted_at": "2026-05-02T00:00:00Z"} | FIT | fields
    rows(
        dsn,
        "INSERT INTO lifetime_value_fits SELECT * FROM json_populate_record(NULL::lifetime_value_fits,"
        f" '{json.dumps(fit)}') RETURNING version",
    )


def test_one_screen(loyalty: Loyalty) -> None:
    """All of it, with what the merged member did; and where there is no fit, the command that makes one."""
    shown = loyalty("member", "ann").stdout
    for line in (
        "with bob, merged into it",
        "revenue 100,000 = purchased 100,000 - returned 0",
        "profit 62,000",
        "expected unknown: no fit is kept yet of ",
        "; loyalty value-model fit makes one",
        "Behaviour\n  ",
        "NPS 3 on 0 to 10, not satisfied; answered 2026-03-02T04:00:00Z",
        "complaints 2, of them open 1\n    slow (service) since 2026-04-02T00:00:00Z",
        "follow-ups 1: 0 in time, 0 late, 1 open\n    call (to apologise) overdue since 2026-04-09T00:00:00Z",
        "Points\n  balance ",
    ):
        assert line in shown
    assert [line for line in shown.splitlines() if not line.startswith(" ")][1:] == [
        "Value", "Behaviour", "Satisfaction", "Points",
    ]  # fmt: skip
    assert "no answer that can be scored\n  complaints 0, of them open 0" in loyalty("member", "cat").stdout


def test_what_is_expected_is_what_the_models_say(loyalty: Loyalty, database: Database, database_dsn: str) -> None:
    """By the newest fit that converged; of a merged member, of who it is now."""
    keep_fit(database_dsn)
    keep_fit(database_dsn, version=2, value_converged=False, p_se=None, q_se=None, v_se=None)
    found = loyalty.json("member", "ann")
    with database.connection() as cursor:
        info = read_programme(cursor, "demo")
        assert info is not None
        fit = latest_fit(cursor, "demo", converged=True)
        assert fit is not None
        on = date.fromisoformat(found["lifetime"]["on"])
        (journal,) = [j for j in info.journals if read_trade_history(cursor, info.journals, j, "ann", on)]
        history = read_trade_history(cursor, info.journals, journal, "ann", on)
    expected = expected_value(fit, history, on)
    assert history is not None
    assert (history.repeats, history.repeat_value_minor, history.cost_minor) == (2, 70_000, 38_000)
    for name in ("expected_profit_minor", "expected_revenue_minor", "probability_alive", "margin", "fit_version"):
        assert found["expected"][name] == getattr(expected, name)
    assert (expected.fit_version, expected.margin_of) == (1, "member")
    shown = loyalty("member", "ann").stdout
    assert f"profit {expected.expected_profit_minor:,} (margin 62.00 % of the member)" in shown
    assert "by fit 1, of members to 2026-05-01" in shown
    merged = loyalty.json("member", "bob")
    assert (merged["person"], merged["expected"], merged["satisfaction"]) == (
        "ann", found["expected"], found["satisfaction"],
    )  # fmt: skip
    assert "merged into ann: loyalty member ann" in loyalty("member", "bob").stdout


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("cat", "expected: nothing is told: no purchase yet: a prospect has no estimate"),
        ("nobody", "expected: nothing is told: no purchase yet"),
        ("dan", "purchases on one day only: the probability of being alive is 1 by assumption"),
        ("dan", "the margin is that of the 40 members of the programme whose costs are"),
        ("eve", "expected: nothing is told: the membership has ended"),
    ],
)
def test_what_cannot_be_expected_is_told_in_words(loyalty: Loyalty, database_dsn: str, member: str, words: str) -> None:
    keep_fit(database_dsn)
    assert words in loyalty("member", member).stdout


def test_the_screen_of_the_past(loyalty: Loyalty, database_dsn: str) -> None:
    """What had happened by then, by the fit that could be had then; what was known later is not known before."""
    keep_fit(database_dsn)
    before = loyalty.json("member", "ann", "--as-of", "2026-03-10T00:00:00Z")
    assert [answer["score"] for answer in before["satisfaction"]["latest_answers"]] == ["9.000000"]
    assert (before["satisfaction"]["complaints"], before["satisfaction"]["follow_ups"]) == (0, 0)
    assert (before["lifetime"]["purchases"], before["expected"]) == (1, None)
    assert before["no_expectation"].startswith("unknown: no fit is kept yet of 2026-03-10 or before")
    bob = loyalty.json("member", "bob", "--as-of", "2026-03-03T00:00:00Z")
    assert (bob["person"], len(bob["satisfaction"]["open_complaints"])) == ("bob", 1)
    later = loyalty.json("member", "ann", "--as-of", "2026-05-03T00:00:00Z")
    assert (later["expected"]["on"], later["expected"]["fit_version"]) == ("2026-05-03", 1)
    assert later["satisfaction"] == loyalty.json("member", "ann")["satisfaction"]
    unheard = loyalty.json("member", "ann", "--as-known-at", "2026-01-01T00:00:00Z")
    assert (unheard["lifetime"]["membership"], unheard["satisfaction"]["complaints"]) == ("unknown", 0)
    assert unheard["expected"] is None


def test_fits_that_did_not_converge_tell_nothing(loyalty: Loyalty, database_dsn: str) -> None:
    keep_fit(database_dsn, purchases_converged=False, r_se=None, alpha_se=None, a_se=None, b_se=None)
    assert "expected unknown: no fit has converged yet of " in loyalty("member", "ann").stdout


def test_a_read_of_models_that_are_behind_says_so(loyalty: Loyalty) -> None:
    """Also where it is the fit that reads them, which then finds nothing to fit."""
    loyalty("enrol", "fay", "--at", "2026-06-01T00:00:00Z")
    behind = "1 event not in yet; loyalty project keeps the read models up."
    assert behind in loyalty("member", "ann").stderr
    assert behind in loyalty("value-model", "fit", exit_code=1).stderr
    assert behind not in loyalty("member", "ann", "--as-of", "2026-06-02T00:00:00Z").stderr
    loyalty("project", "--once")
    assert loyalty("member", "ann").stderr == ""
