"""Single commands: what they do, what they say, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import COFFEE, Loyalty

AT = "2026-02-01T00:00:00Z"
LATER = "2026-03-01T00:00:00Z"


@pytest.fixture
def member(loyalty: Loyalty) -> Loyalty:
    """The program, with a member M1 who has 500 points from 15 February on, and a member M2."""
    loyalty("enrol", "M1", "--at", AT, "--attribute", "staff=yes", "--channel", "store")
    loyalty("enrol", "M2", "--at", AT)
    loyalty("accrue", "M1", "500", "--reason", "welcome", "--at", AT)
    return loyalty


def active(loyalty: Loyalty, name: str = "M1") -> int:
    loyalty("project", "--once")
    return int(loyalty.json("balance", name)["active"])


def test_redeem_and_reverse(member: Loyalty) -> None:
    done = member("redeem", "M1", "200", "--key", "r-1", "--at", LATER)
    assert done.stdout == "Redeemed 200 points of M1.\n"
    assert "key r-1" in done.stderr
    assert active(member) == 300
    member("reverse", "M1", "r-1", "--points", "50", "--at", LATER)
    assert active(member) == 350


def test_hold_capture_and_release(member: Loyalty) -> None:
    member("hold", "M1", "200", "--key", "h-1", "--at", LATER)
    member("capture", "M1", "h-1", "--points", "50", "--at", LATER)
    member("release", "M1", "h-1", "--at", LATER)
    assert active(member) == 450


def test_adjust_up_and_down(member: Loyalty) -> None:
    approved = ("--reason", "mistake", "--approver", "boss", "--at", LATER)
    assert member("adjust", "M1", "-50", *approved).stdout == "Adjusted M1 by -50.\n"
    member("adjust", "M1", "20", *approved)
    assert active(member) == 470


def test_transfer_merge_and_unmerge(member: Loyalty) -> None:
    member("transfer", "M1", "M2", "100", "--at", LATER)
    assert (active(member), active(member, "M2")) == (400, 100)
    member("merge", "M2", "M1", "--at", LATER)
    assert active(member) == 500
    member("unmerge", "M2", "--at", LATER)
    assert (active(member), active(member, "M2")) == (400, 100)


def test_a_purchase_is_returned(member: Loyalty) -> None:
    line = {"sku": "A1", "category": "coffee", "quantity": 2, "amount_minor": 5600}
    purchase = {"type": "purchase.v1", "id": "o-1", "source": "pos", "programme": "demo", "member": "M2",
                "occurred_at": AT, "currency": "CNY", "lines": [line]}  # fmt: skip
    member("ingest", "-", input=json.dumps(purchase))
    returned = member("return", "M2", "--line", "A1:1:2800", "--at", "2026-02-02T00:00:00Z").stdout
    assert returned == "Recorded the return of M2: 168 points taken back.\n"
    member("return", "M2", "--purchase", "o-1", "--purchase-source", "pos", "--at", "2026-02-03T00:00:00Z")
    assert active(member, "M2") == 0


def test_what_was_not_there_to_take_back_is_said(member: Loyalty) -> None:
    said = member("clawback", "M1", "600", "--reason", "fraud", "--key", "c-1", "--at", LATER).stdout
    assert said == "Clawed back points of M1: 500 points taken back, 100 waived.\n"
    again = member("clawback", "M1", "600", "--reason", "fraud", "--key", "c-1", "--at", LATER).stdout
    assert again.startswith("Nothing new")


def test_events_are_shown_as_they_were_recorded(member: Loyalty) -> None:
    listed = [json.loads(line) for line in member("events", "--json").stdout.splitlines()]
    assert [(each["journal"], each["position"]) for each in listed] == [(1, n) for n in range(1, len(listed) + 1)]
    mine = [json.loads(line) for line in member("events", "M1", "--json").stdout.splitlines()]
    assert mine == [each for each in listed if each["stream"] == "member-M1"]
    assert [each["version"] for each in mine] == list(range(1, len(mine) + 1))
    second = mine[1]
    (one,) = member("events", "M1", "--from", f"1:{second['position']}", "--limit", "1", "--json").stdout.splitlines()
    assert json.loads(one) == second
    head, row = member("events", "M1", "--limit", "1").stdout.splitlines()
    shown = dict(zip(head.split("\t"), row.split("\t"), strict=True))
    assert (shown["topic"], shown["stream"], shown["version"]) == ("member-enrolled.v1", "member-M1", "1")
    assert shown["id"] == mine[0]["data"]["id"]
    assert member("events", "nobody").stderr == "None.\n"
    assert "is not one of the programme's" in member("events", "--from", "7:1", exit_code=2).stderr


def test_claw_back_close_and_erase(member: Loyalty) -> None:
    member("clawback", "M1", "100", "--reason", "fraud", "--at", LATER)
    assert active(member) == 400
    member("close", "M1", "--at", LATER)
    assert active(member) == 0
    member("erase", "M1", "--yes", "--at", LATER)
    member("project", "--once")
    assert member.json("balance", "M1")["status"] == "erased"


def test_erasing_asks_first(member: Loyalty) -> None:
    assert "there is nobody to ask: give --yes" in member("erase", "M1", exit_code=2).stderr


def test_the_sweep_expires_what_is_due(member: Loyalty) -> None:
    """A hold that timed out is released by it, and running it again does nothing more."""
    member("hold", "M1", "100", "--at", LATER)
    as_of = ("--as-of", "2026-03-02T00:00:00Z")
    assert member("expire", *as_of).stdout.endswith("of 1 member.\n")
    assert active(member) == 500
    assert member("expire", *as_of).stdout.endswith("of 0 members.\n")


def test_the_sweep_says_when_it_is_refused(member: Loyalty) -> None:
    swept = member("expire", "--as-of", "2999-01-01T00:00:00Z", exit_code=3)
    assert "OCCURRED_AT_OUT_OF_RANGE" in swept.stderr


# --- what is said -------------------------------------------------------------------------------------------------


def test_a_refusal_says_code_field_rule_and_value(member: Loyalty) -> None:
    refused = member("redeem", "M1", "600", "--at", LATER, exit_code=3)
    assert refused.stdout == ""
    assert refused.stderr == (
        "Refused. INSUFFICIENT_POINTS: points: exceeds the 500 points available at 2026-03-01T00:00:00Z (was 600)\n"
    )


def test_a_refusal_as_json(member: Loyalty) -> None:
    outcome = member.json("redeem", "M1", "0", exit_code=3)
    assert outcome["status"] == "rejected"
    assert outcome["rejection"] == {
        "code": "INVALID_FIELD",
        "field": "points",
        "rule": "must be at least 1",
        "value": "0",
    }


def test_a_command_refused_to_a_person_is_not_kept(member: Loyalty) -> None:
    member("redeem", "M1", "600", exit_code=3)
    assert member("rejected", "list").stderr == "None.\n"


def test_a_command_repeated_with_its_key_is_recorded_once(member: Loyalty) -> None:
    """Without --at too, although the clock has moved on meanwhile."""
    first = member.json("accrue", "M1", "50", "--reason", "x", "--key", "k")
    again = member.json("accrue", "M1", "50", "--reason", "x", "--key", "k")
    assert (first["status"], again["status"]) == ("posted", "duplicate")
    assert (again["first"], again["occurred_at"]) == (first["first"], first["occurred_at"])


def test_a_key_used_for_something_else_is_refused(member: Loyalty) -> None:
    member("accrue", "M1", "50", "--reason", "x", "--key", "k")
    assert "IDEMPOTENCY_CONFLICT" in member("accrue", "M1", "60", "--reason", "x", "--key", "k", exit_code=3).stderr


def test_a_write_can_be_waited_for(member: Loyalty) -> None:
    at_least = member.json("redeem", "M1", "100", "--at", LATER)["at_least"]
    behind = member("balance", "M1", "--at-least", at_least, "--wait", "0", exit_code=1)
    assert "projection 'balances' is at position" in behind.stderr
    member("project", "--once")
    assert member.json("balance", "M1", "--at-least", at_least)["active"] == 400


def test_a_read_model_that_is_behind_says_so(member: Loyalty) -> None:
    assert "events of journal 1 not in yet" in member("balance", "M1").stderr


def test_the_past_is_read_from_the_log(member: Loyalty) -> None:
    member("redeem", "M1", "100", "--at", LATER)
    past = member.json("balance", "M1", "--as-of", "2026-02-20T00:00:00Z")
    assert (past["active"], past["spent"]) == (500, 0)
    unknown = member.json("balance", "M1", "--as-known-at", "2026-01-01T00:00:00Z")
    assert unknown["status"] == "unknown"
    assert len(member("statement", "M1", "--as-of", "2026-02-20T00:00:00Z").stdout.splitlines()) == 2


def test_a_statement_page_by_page(member: Loyalty) -> None:
    member("redeem", "M1", "100", "--at", LATER)
    member("project", "--once")
    first = member("statement", "M1", "--limit", "1", "--json")
    entry = json.loads(first.stdout)
    assert f"--after {entry['position']}" in first.stderr
    second = json.loads(member("statement", "M1", "--after", str(entry["position"]), "--json").stdout)
    assert (entry["points"], second["points"]) == (500, -100)
    assert json.loads(member("statement", "M1", "--newest-first", "--limit", "1", "--json").stdout) == second


def test_a_rebuild_equals_what_was_projected(member: Loyalty) -> None:
    member("project", "--once")
    before = member.json("balance", "M1")
    assert member("rebuild").stdout.startswith("Rebuilt balances, statement, ")
    assert member.json("balance", "M1") == before
    assert "there is no read model 'nonsense'" in member("rebuild", "nonsense", exit_code=2).stderr


# --- programmes, terms, settings ----------------------------------------------------------------------------------


def test_terms_are_checked_in_full(empty: Loyalty, tmp_path: Path) -> None:
    document = json.loads(COFFEE.read_bytes())
    document["earning"]["rate"] = 0.01
    document["redemtion"] = document.pop("redemption")
    path = tmp_path / "terms.json"
    path.write_text(json.dumps(document))
    assert empty("terms", "check", str(COFFEE)).stdout.startswith("Coffee club 2026: valid")
    for command in (("terms", "check", str(path)), ("terms", "publish", str(path), "--programme", "demo")):
        refused = empty(*command, exit_code=3)
        assert "Refused. TERMS_INVALID" in refused.stderr


def test_terms_and_programmes_are_listed(loyalty: Loyalty) -> None:
    listed = loyalty.json("programme", "list")
    assert (listed["programme"], listed["currency"], listed["terms_versions"]) == ("demo", "CNY", 1)
    assert loyalty.json("terms", "list")["document"]["name"] == "Coffee club 2026"
    assert "Coffee club 2026" in loyalty("terms", "list").stdout
    status = loyalty.json("status")
    assert (status["programme"], status["position"]) == ("demo", 2)


def test_with_several_programmes_one_must_be_named(loyalty: Loyalty) -> None:
    loyalty("programme", "create", "shop", "--currency", "EUR", "--journals", "4")
    assert "name one with --programme: demo, shop" in loyalty("enrol", "M1", exit_code=2).stderr
    loyalty("enrol", "M1", "--programme", "shop")
    assert "there is no programme 'nope'" in loyalty("balance", "M1", "--programme", "nope", exit_code=1).stderr


def test_without_a_programme_it_is_said_how_to_make_one(empty: Loyalty) -> None:
    assert "there is no programme yet: loyalty programme create" in empty("enrol", "M1", exit_code=2).stderr


def test_a_database_that_is_not_migrated(empty_database_dsn: str) -> None:
    loyalty = Loyalty(LOYALTY_DATABASE_URL=empty_database_dsn)
    assert "run: loyalty migrate" in loyalty("status", exit_code=1).stderr
    assert loyalty("migrate").stdout.startswith("Applied ")
    assert loyalty("migrate").stdout == "The database was up to date.\n"
    loyalty("status")


def test_a_database_that_cannot_be_reached() -> None:
    loyalty = Loyalty(LOYALTY_DATABASE_URL="postgresql://localhost:1/none")
    refused = loyalty("status", exit_code=1)
    assert refused.stderr.startswith("Error: the database failed: ")
    assert len(refused.stderr.splitlines()) == 1


def test_an_instant_needs_an_offset(loyalty: Loyalty) -> None:
    refused = loyalty("balance", "M1", "--as-of", "2026-02-20", exit_code=2)
    assert "is not an instant as in RFC 3339 with an offset" in refused.stderr


def test_tampering_is_found(member: Loyalty) -> None:
    from tests.conftest import execute_on

    assert "Everything is as it was recorded" in member("audit", "verify").stdout
    dsn = str(member.settings["LOYALTY_DATABASE_URL"])
    execute_on(
        dsn,
        "ALTER TABLE events DISABLE TRIGGER USER; UPDATE events SET topic = 'points-redeemed.v1' WHERE position = 5",
    )
    assert "5" in member("audit", "verify", exit_code=1).stdout
    assert member.json("audit", "verify", exit_code=1)["ok"] is False
