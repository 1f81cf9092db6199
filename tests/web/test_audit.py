"""The audit page: verifying, checkpoints, proofs that hold elsewhere, and figures of the past as the CLI has them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from audit.verify_proof import check_proof, parse_key
from ledger.programmes import ProgrammeInfo, read_programme
from ledger.store.database import Database, PgCursor, connect
from service.audit_runs import RUNS_KEPT, AuditRuns, Busy, Run, read_run
from service.audit_work import Replay, Said, Verify, Work
from service.keys import create_key
from service.web.instants import parse_instant
from tests.audit.test_checkpoints import Witness
from tests.cli.running import Loyalty, rows
from tests.conftest import execute_on
from tests.http.conftest import create_programmes
from tests.http.serving import FRESH, ROOT, Api, Server, a_key, new, purchase
from tests.waiting import PATIENCE_SECONDS, wait_for
from tests.web.browsing import Page, Visitor
from tests.web.conftest import SignedIn

OCTOBER = "2026-10-31"


@pytest.fixture(scope="module")
def signing(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Loyalty:
    """The program with a key to sign checkpoints with."""
    path = tmp_path_factory.mktemp("keys") / "key"
    loyalty = Loyalty(LOYALTY_DATABASE_URL=dsn, LOYALTY_CHECKPOINT_KEY_FILE=str(path), LOYALTY_PROGRAMME="club")
    loyalty("audit", "key", "new", "--name", "loyalty.example")
    return loyalty


@pytest.fixture(scope="module")
def vkey(signing: Loyalty) -> str:
    return signing("audit", "key", "show").stdout.strip()


@pytest.fixture(scope="module")
def witness() -> Witness:
    return Witness("witness.example")


@pytest.fixture(scope="module")
def server(dsn: str, keys: Database, vkey: str, witness: Witness) -> Iterator[Server]:
    """A server that trusts the key and the witness."""
    with Server(dsn, *FRESH, "--key", vkey, "--key", str(witness.key)) as running:
        create_programmes(running.url, a_key(keys, "admin", None, "setup"))
        yield running


@pytest.fixture(scope="module")
def known_at(api: Api, dsn: str) -> str:
    """A purchase of October; when it was known; then a late one and a return."""
    at = "2026-10-05T09:00:00Z"
    assert api.post("members", {"id": new("e"), "member": "M1", "occurred_at": at}).status_code == 201
    bought = purchase("M1", 12_000, occurred_at=at)
    assert api.post("purchases", bought).status_code == 201
    known: datetime = rows(dsn, "SELECT max(recorded_at) FROM events")[0][0]
    assert api.post("purchases", purchase("M1", 8_000, occurred_at="2026-10-12T09:00:00Z")).status_code == 201
    back = {"id": new("b"), "purchase": bought["id"], "amount_minor": 3_000, "currency": "USD", "member": "M1"}
    assert api.post("returns", back | {"occurred_at": "2026-10-20T09:00:00Z"}).status_code == 201
    return known.astimezone(UTC).isoformat()


@pytest.fixture(scope="module")
def auditor(signed_in: SignedIn, known_at: str) -> Visitor:
    return signed_in("auditor")


def ended(visitor: Visitor, page: Page) -> Page:
    """The page of a run when it has ended."""
    seen = [page]

    def has_ended() -> bool:
        seen.append(visitor.get(page.path))
        return "refresh" not in seen[-1].headers

    wait_for(has_ended)
    return seen[-1]


def values(page: Page, caption: str) -> dict[str, str]:
    """First and second cell of each row of the table with a caption."""
    table = next(part for part in page.html.split("<table>")[1:] if f"<caption>{caption}" in part)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("<tr>")[2:]]
    return {row[0]: row[1] for row in cells if len(row) > 1}


# --- verification ---------------------------------------------------------------------------------------------------


def test_an_empty_ledger_says_what_to_do(signed_in: SignedIn) -> None:
    page = signed_in("auditor", "other").get("/programmes/other/audit")
    assert "Nothing was verified from here yet." in page.text
    assert "Nothing is signed yet." in page.text
    assert "loyalty audit checkpoint" in page.text


def test_verify_now_shows_progress_and_keeps_the_result(auditor: Visitor, signing: Loyalty, vkey: str) -> None:
    page = auditor.send(auditor.get("/programmes/club/audit").form("/audit/verify"))
    assert re.fullmatch(r"/console/programmes/club/audit/runs/\d+", page.path)
    assert page.headers.get("refresh") == "2" or "Everything is as it was recorded." in page.text
    done = ended(auditor, page)
    assert "Everything is as it was recorded." in done.text
    assert "Asked for by a auditor" in done.text
    told = signing.json("audit", "verify", *[part for n in club_journals(signing) for part in ("--journal", str(n))])
    for journal in told["journals"]:
        assert journal["root"] in done.text
    assert f"{told['events']} events, verified in" in done.text
    assert vkey in done.text
    listed = auditor.get("/programmes/club/audit")
    assert "as recorded" in listed.text
    assert "a auditor" in listed.text


def club_journals(loyalty: Loyalty) -> list[int]:
    found = rows(str(loyalty.settings["LOYALTY_DATABASE_URL"]), "SELECT journal FROM journals WHERE name = 'club'")
    return [journal for (journal,) in found]


def test_what_was_tampered_with_is_named(auditor: Visitor, dsn: str) -> None:
    owner = "SET session_replication_role = replica;"
    name = "a tampered source"
    change = "UPDATE events SET state = convert_to(replace(convert_from(state, 'UTF8'), '{}', '{}'), 'UTF8')"
    where = "WHERE topic = 'purchase-recorded.v1'"
    execute_on(dsn, f"ALTER TABLE events DISABLE TRIGGER ALL; {owner} " + change.format('"till"', f'"{name}"') + where)
    try:
        page = ended(auditor, auditor.send(auditor.get("/programmes/club/audit").form("/audit/verify")))
    finally:
        execute_on(dsn, f"{owner} {change.format(f'{chr(34)}{name}{chr(34)}', chr(34) + 'till' + chr(34))} {where}")
        execute_on(dsn, "ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_never_changed")
    assert "NOT everything is as it was recorded." in page.text
    assert re.search(r"journal \d+ \(club\): position \d+", page.text)
    again = ended(auditor, auditor.send(auditor.get("/programmes/club/audit").form("/audit/verify")))
    assert "Everything is as it was recorded." in again.text


def test_a_run_of_another_programme_and_one_that_never_was(auditor: Visitor, signed_in: SignedIn) -> None:
    page = ended(auditor, auditor.send(auditor.get("/programmes/club/audit").form("/audit/verify")))
    run = page.path.rpartition("/")[2]
    other = signed_in("auditor", "other")
    assert other.get(f"/programmes/other/audit/runs/{run}", status=404)
    assert other.get(f"/programmes/club/audit/runs/{run}", status=403)
    for nothing in ("0", "99999999999999999999999", "x", "-1"):
        auditor.get(f"/programmes/club/audit/runs/{nothing}", status=404)


# --- checkpoints and proofs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(
    signing: Loyalty, known_at: str, api: Api, witness: Witness, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Two checkpoints of each of the programme's journals; a witness saw the newest of the journal of M1."""
    signing("audit", "checkpoint", "--programme", "club")
    first = {one["journal"]: one["size"] for one in checkpoints(signing)}
    for number in range(20):
        body = {"id": new("e"), "member": f"later {number}", "occurred_at": "2026-11-01T00:00:00Z"}
        assert api.post("members", body).status_code == 201
    signing("audit", "checkpoint", "--programme", "club")
    second = {one["journal"]: one["size"] for one in checkpoints(signing)}
    journal = min(second)
    note = signing("audit", "checkpoint", "--export", "--journal", str(journal)).stdout
    file = tmp_path_factory.mktemp("notes") / "note"
    file.write_text(witness.cosigned(note))
    signing("audit", "cosign", str(file), "--key", str(witness.key))
    return journal, first, second


def checkpoints(signing: Loyalty) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = signing.json("audit", "checkpoint", "--show", "--programme", "club")["checkpoints"]
    return found


def test_checkpoints_are_listed_with_who_signed_them(auditor: Visitor, signed: Any, signing: Loyalty) -> None:
    page = auditor.get("/programmes/club/audit")
    journal, first, second = signed
    assert f"loyalty.example/club/{journal}" in page.text
    for one in checkpoints(signing):
        assert one["root"] in page.text
    assert page.text.count("loyalty.example verified") == len(first) + len(second)
    assert page.text.count("witness.example verified") == 1
    assert "not verified" not in page.text
    note = auditor.client.get(f"/console/programmes/club/audit/checkpoints/{journal}/{second[journal]}")
    exported = signing("audit", "checkpoint", "--export", "--journal", str(journal)).stdout
    assert note.text == exported
    assert note.headers["content-disposition"].startswith("attachment")
    auditor.get(f"/programmes/club/audit/checkpoints/{journal}/99999", status=404)
    auditor.get("/programmes/club/audit/checkpoints/99/1", status=404)


def test_a_proof_of_an_event_is_the_one_of_the_command_line(
    auditor: Visitor, signed: Any, signing: Loyalty, vkey: str, witness: Witness, tmp_path: Path
) -> None:
    journal, _, second = signed
    form = auditor.get("/programmes/club/audit").form("/audit/proofs/event")
    got = auditor.client.get(form.action, params={"journal": journal, "position": second[journal]})
    assert got.status_code == 200
    assert got.headers["content-type"] == "application/json"
    assert got.headers["content-disposition"] == f'attachment; filename="event-{journal}-{second[journal]}.json"'
    told = signing("audit", "proof", "event", str(second[journal]), "--journal", str(journal)).stdout
    assert got.text == told
    verifier = tmp_path / "verify_proof.py"
    verifier.write_bytes(auditor.client.get("/console/programmes/club/audit/verify_proof.py").content)
    (tmp_path / "proof.json").write_bytes(got.content)
    offline = [sys.executable, "verify_proof.py", "proof.json", "--key", vkey, "--key", str(witness.key)]
    done = subprocess.run(offline, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_proof_of_consistency(auditor: Visitor, signed: Any, vkey: str) -> None:
    journal, first, second = signed
    form = auditor.get("/programmes/club/audit").form("/audit/proofs/consistency")
    asked = {"journal": journal, "first": first[journal], "second": second[journal]}
    got = auditor.client.get(form.action, params=asked)
    assert got.status_code == 200
    check_proof(json.loads(got.text), [parse_key(vkey)])


@pytest.mark.parametrize(
    ("kind", "asked", "status", "field", "words"),
    [
        ("event", {"position": ""}, 400, "event_position", "Write a whole number"),
        ("event", {"position": "0"}, 400, "event_position", "Write a whole number"),
        ("event", {"position": "x' OR 1=1"}, 400, "event_position", "Write a whole number"),
        ("event", {"position": "9" * 40}, 400, "event_position", "Write a whole number"),
        ("event", {"position": "99999"}, 404, "event_position", "has no position 99999"),
        ("event", {"position": "1", "journal": "99"}, 400, "event_journal", "not a journal of the programme"),
        ("event", {"position": "1", "journal": ""}, 400, "event_journal", "Write a whole number"),
        ("consistency", {"first": "7777", "second": "8888"}, 404, "consistency_second", "no checkpoint of 7777"),
        ("consistency", {"first": "a", "second": "1"}, 400, "consistency_first", "Write a whole number"),
    ],
)
def test_what_cannot_be_proven_is_said_beside_the_field(
    auditor: Visitor, signed: Any, kind: str, asked: dict[str, str], status: int, field: str, words: str
) -> None:
    form = auditor.get("/programmes/club/audit").form(f"/audit/proofs/{kind}")
    page = auditor.send(form, status=status, **{"journal": str(signed[0])} | asked)
    (marked,) = [found for _, found in page.tags if found.get("aria-invalid") == "true"]
    assert (marked["id"], marked["aria-describedby"]) == (field, f"{field}-note")
    beside = page.html.partition(f'id="{field}-note"')[2].partition("</p>")[0]
    assert words in beside
    if "position" in asked:
        assert page.form("/audit/proofs/event").fields["position"] == asked["position"]


# --- figures of the past --------------------------------------------------------------------------------------------


def test_a_member_as_of_an_instant_as_known_then(auditor: Visitor, known_at: str, signing: Loyalty) -> None:
    form = auditor.get("/programmes/club/audit/as-of").form("/audit/as-of")
    page = auditor.send(form, member="M1", as_of=OCTOBER, as_known_at=known_at)
    assert page.path.startswith("/console/programmes/club/audit/as-of?member=M1&as_of=2026-10-31&as_known_at=")
    replay = ("audit", "replay", "--as-of", "2026-10-31T23:59:59.999999Z", "--as-known-at", known_at)
    told = signing.json(*replay, "--member", "M1")
    assert (told["figures"]["active"], told["figures"]["purchased_minor"]) == (120, 12_000)
    shown = values(page, "Figures; those")
    assert shown["Points that can be spent"] == "120"
    assert shown["Purchased"] == "US$120.00"
    assert len(shown) == len(told["figures"])
    now = auditor.send(form, member="M1", as_of=OCTOBER)
    assert values(now, "Figures; those")["Purchased"] == "US$200.00"
    nobody = auditor.send(form, member="nobody at all")
    assert "not heard of by then" in nobody.text


def test_the_programme_as_of_an_instant_is_a_run(auditor: Visitor, known_at: str, signing: Loyalty) -> None:
    form = auditor.get("/programmes/club/audit/as-of").form("/audit/as-of")
    page = ended(auditor, auditor.send(form, as_of=OCTOBER, as_known_at=known_at))
    told = signing.json("audit", "replay", "--as-of", "2026-10-31T23:59:59.999999Z", "--as-known-at", known_at)
    shown = values(page, "Figures; those")
    assert len(shown) == len(told["figures"])
    assert shown["Purchased"] == "US$120.00"
    assert values(page, "Open lots") == {"1 Nov 2027": "120"} or list(values(page, "Open lots").values()) == ["120"]


def test_why_figures_changed(auditor: Visitor, known_at: str, signing: Loyalty) -> None:
    form = auditor.get("/programmes/club/audit/restate").form("/audit/restate")
    page = auditor.send(form, member="M1", as_of=OCTOBER, known_at=known_at)
    assert "4 events were recorded in between, and explain the difference to the unit." in page.text
    assert "Late: 4. Corrections: 2." in page.text
    now = datetime.now(UTC).isoformat()
    at = ("--as-of", "2026-10-31T23:59:59.999999Z", "--known-at", known_at, "--and", now)
    told = json.loads(signing("audit", "restate", *at, "--member", "M1", "--json").stdout.splitlines()[-1])
    moved = values(page, "Figures that differ")
    assert len(moved) == len(told["difference"] | told["explained"])
    row = page.text[page.text.index("Purchased US$120.00") :]
    assert row.startswith("Purchased US$120.00 US$200.00 US$80.00 US$80.00")
    run = ended(auditor, auditor.send(form, as_of=OCTOBER, known_at=known_at))
    assert values(run, "Figures that differ") == moved


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-10-31T25:00", "0001-01-01", "9999-12-31", "'--"])
def test_what_is_no_instant_is_said_beside_the_field(auditor: Visitor, text: str) -> None:
    form = auditor.get("/programmes/club/audit/as-of").form("/audit/as-of")
    page = auditor.send(form, status=400, member="M1", as_of=text)
    assert "This is no instant" in page.html.partition('id="as_of-note"')[2].partition("</p>")[0]
    assert page.form("/audit/as-of").fields["as_of"] == text
    again = auditor.get("/programmes/club/audit/as-of", status=400, member="M1", as_of=text)
    assert "This is no instant" in again.text


def test_other_wrong_questions(auditor: Visitor, known_at: str) -> None:
    form = auditor.get("/programmes/club/audit/restate").form("/audit/restate")
    needed = auditor.send(form, status=400, member="M1")
    assert needed.text.count("This is needed.") == 2
    backwards = auditor.send(form, status=400, as_of=OCTOBER, known_at=known_at, known_again_at="2020-01-01")
    assert "must not be before they were known first" in backwards.text
    for member in ("x" * 65, "a\x00b", "a\nb"):
        page = auditor.send(form, status=400, member=member, as_of=OCTOBER, known_at=known_at)
        assert "1 to 64 characters" in page.text


def test_days_and_hours_are_those_of_the_programme() -> None:
    shanghai = "Asia/Shanghai"
    assert parse_instant("2026-10-31", shanghai) == datetime(2026, 10, 31, 15, 59, 59, 999999, UTC)
    assert parse_instant("2026-10-31T12:00", shanghai) == datetime(2026, 10, 31, 4, tzinfo=UTC)
    assert parse_instant("2026-10-31T12:00Z", shanghai) == datetime(2026, 10, 31, 12, tzinfo=UTC)


# --- who may, and in which language ---------------------------------------------------------------------------------


PAGES = ("audit", "audit/as-of", "audit/restate", "audit/verify_proof.py", "audit/runs/1", "audit/checkpoints/1/1",
         "audit/proofs/event?journal=1&position=1", "audit/proofs/consistency?journal=1&first=1&second=1")  # fmt: skip


@pytest.mark.parametrize("role", ["reader", "operator"])
def test_only_auditors_and_administrators_may(signed_in: SignedIn, role: Any) -> None:
    visitor = signed_in(role)
    for path in PAGES:
        visitor.get(f"/programmes/club/{path}", status=403)
    assert not any(link.endswith("/audit") for link in visitor.get("/programmes/club").links)
    form = signed_in("auditor").get("/programmes/club/audit").form("/audit/verify")
    assert visitor.client.post(form.action, data=form.fields).status_code == 403


def test_in_chinese(signed_in: SignedIn, known_at: str) -> None:
    visitor = signed_in("admin", "club", "zh-CN")
    for path in PAGES[:3]:
        page = visitor.get(f"/programmes/club/{path}")
        assert "为何变化" in page.text
    done = ended(visitor, visitor.send(visitor.get("/programmes/club/audit").form("/audit/verify")))
    assert "一切与记录一致。" in done.text
    wrong = visitor.send(visitor.get("/programmes/club/audit/as-of").form("/audit/as-of"), status=400, as_of="x")
    assert "这不是时间" in wrong.text


def test_what_is_html_is_shown_as_text(auditor: Visitor, signed_in: SignedIn, keys: Database, server: Server) -> None:
    bad = "<script>alert(1)</script>"
    form = auditor.get("/programmes/club/audit/as-of").form("/audit/as-of")
    for page in (
        auditor.send(form, member=bad),
        auditor.send(form, status=400, as_of=bad),
        auditor.get("/programmes/club/audit/proofs/event", status=400, journal=bad, position=bad),
    ):
        assert not any("alert" in script for script in page.scripts)
        assert bad in page.html or "&lt;script&gt;" in page.html
    text = create_key(keys, programme="club", role="auditor", name=bad, source="x")[1]
    with Visitor(server.url) as visitor:
        visitor.sign_in(text)
        page = ended(visitor, visitor.send(visitor.get("/programmes/club/audit").form("/audit/verify")))
        assert f"Asked for by {bad}" in page.text
        assert page.scripts == []


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def info(server: Server, dsn: str) -> ProgrammeInfo:
    connection = connect(dsn)
    with connection.cursor() as cur:
        found = read_programme(cur, "club")
    connection.close()
    assert found is not None
    return found


def run_now(cur: PgCursor, run: int) -> Run:
    found = read_run(cur, "club", run)
    assert found is not None
    return found


def seen_at(cur: PgCursor, run: int) -> datetime:
    cur.execute("SELECT seen_at FROM audit_runs WHERE run = %s", (run,))
    ((found,),) = cur.fetchall()
    return found


def test_one_run_at_a_time_and_ended_with_the_server(keys: Database, info: ProgrammeInfo, dsn: str) -> None:
    key, _ = create_key(keys, programme="club", role="auditor", name="a", source="a")
    runs = AuditRuns(keys)
    blocker = connect(dsn)
    with blocker.cursor() as cur:
        cur.execute("BEGIN; LOCK TABLE events, journals IN ACCESS EXCLUSIVE MODE")
        run = runs.start(info, key, Verify(keys=[]))
        with pytest.raises(Busy):
            runs.start(info, key, Verify(keys=[]))
        with keys.connection() as reading:
            seen = seen_at(reading, run)
            wait_for(lambda: seen_at(reading, run) > seen)
            assert run_now(reading, run).state == "running"
        runs.stop()
        cur.execute("ROLLBACK")
    blocker.close()
    with keys.connection() as cur:
        found = run_now(cur, run)
        assert (found.state, found.failure, found.result) == ("failed", "stopped", None)
        assert read_run(cur, "other", run) is None
    with pytest.raises(Busy):
        runs.start(info, key, Verify(keys=[]))


def test_a_run_that_takes_too_long_is_ended_and_one_whose_server_is_gone_is_told_from_it(
    keys: Database, info: ProgrammeInfo, dsn: str
) -> None:
    key, _ = create_key(keys, programme="club", role="auditor", name="a", source="a")
    runs = AuditRuns(keys, seconds_max=0.2)
    blocker = connect(dsn)
    with blocker.cursor() as locking, keys.connection() as cur:
        locking.execute("BEGIN; LOCK TABLE events, journals IN ACCESS EXCLUSIVE MODE")
        run = runs.start(info, key, Verify(keys=[]))
        wait_for(lambda: run_now(cur, run).state != "running")
        assert run_now(cur, run).failure == "too-long"
        cur.execute("UPDATE audit_runs SET failure = '', finished_at = NULL, seen_at = seen_at - %s", (timedelta(1),))
        assert run_now(cur, run).failure == "lost"
    blocker.close()
    runs.stop()


def test_a_run_that_fails_says_with_what(keys: Database, info: ProgrammeInfo, caplog: pytest.LogCaptureFixture) -> None:
    key, _ = create_key(keys, programme="club", role="auditor", name="a", source="a")
    runs = AuditRuns(keys)
    run = runs.start(info, key, Verify(keys=["no key"]))
    with keys.connection() as cur:
        wait_for(lambda: run_now(cur, run).state != "running")
        found = run_now(cur, run)
        assert (found.state, found.failure) == ("failed", "audit.verify_proof.Refused")
    runs.stop()
    assert "parse_key" in caplog.text
    assert "no key" not in caplog.text


def test_the_process_tells_how_far_it_is_and_ends_when_nobody_listens(dsn: str, info: ProgrammeInfo) -> None:
    blocker = connect(dsn)
    with blocker.cursor() as cur:
        cur.execute("BEGIN; LOCK TABLE journals IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [sys.executable, "-m", "service.audit_work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdin is not None
        assert process.stdout is not None
        work = Work(dsn=dsn, journals=info.journals, job=Verify(keys=[]))
        process.stdin.write(msgspec.json.encode(work) + b"\n")
        process.stdin.flush()
        assert msgspec.json.decode(process.stdout.readline(), type=Said) == Said()
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 1
        cur.execute("ROLLBACK")
    blocker.close()


def test_runs_of_long_ago_go(keys: Database, info: ProgrammeInfo) -> None:
    key, _ = create_key(keys, programme="club", role="auditor", name="a", source="a")
    now = datetime.now(UTC)
    job = msgspec.json.encode(Replay(as_of=now, as_known_at=now)).decode()
    with keys.connection() as cur:
        cur.execute(
            "INSERT INTO audit_runs (programme, key, asked_by, job) SELECT 'club', %s, 'a', %s"
            " FROM generate_series(1, 150)",
            (key.key, job),
        )
    runs = AuditRuns(keys)
    runs.start(info, key, Verify(keys=[]))
    runs.stop()
    with keys.connection() as cur:
        cur.execute("SELECT count(*) FROM audit_runs WHERE programme = 'club'")
        assert cur.fetchall() == [(RUNS_KEPT,)]
