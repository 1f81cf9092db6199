"""What SQL makes of an export is what the read models have; and whatever is wrong in either is named."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from audit.export import export
from audit.manifest import ExportError
from audit.recomputation import PositionsDiffer, RecomputeReport, recompute_and_compare
from audit.recompute.duckdb_engine import duckdb_engine
from audit.recompute.engine import Engine
from ledger import decider, earning, returns
from ledger.commands import AccruePoints, EnrolMember
from ledger.engine import Ledger
from ledger.events import TOPICS, MemberEvent, OpenedLot, PointsTransferredIn
from ledger.store.database import Database, connect
from ledger.store.migrations import migrate
from projections.balances import Balances, read_balance
from projections.runner import Runner
from service.read_models import catch_up
from tests.audit.ledgers import handle as posted
from tests.recompute.histories import OFFICE, opening, record

NOT_RECOMPUTED = {"member-profile-changed.v1"}
"""Events of members that change nothing that is recomputed."""
LATER = {**OFFICE, "occurred_at": datetime(2026, 9, 1, tzinfo=UTC)}


def compared(database: Database, tmp_path: Path, **options: Any) -> RecomputeReport:
    work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
    return recompute_and_compare(database.dsn, work, duckdb_engine, **options)


def execute(database: Database, statement: str, *values: Any) -> None:
    """Change what nobody should change."""
    connection = connect(database.dsn)
    try:
        with connection.cursor() as cur:
            cur.execute(statement, values)
            assert cur.rowcount == 1, statement
    finally:
        connection.close()


def row(database: Database, statement: str) -> tuple[Any, ...]:
    with database.connection() as cur:
        cur.execute(statement)
        (found,) = cur.fetchall()
        return found


# --- what is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "journals"), [(2, 3), (3, 1), (4, 3), (8, 1), (11, 1), (13, 3)])
def test_read_models_of_random_histories_are_what_is_recomputed(
    database: Database, ledger: Ledger, tmp_path: Path, seed: int, journals: int
) -> None:
    record(ledger, seed, 450, journals)
    catch_up(database)
    report = compared(database, tmp_path)
    assert (report.differences, report.findings) == ([], [])
    assert report.ok
    assert sum(report.positions.values()) == report.events
    assert all(report.rows_compared.values())
    with database.connection() as cur:
        cur.execute("SELECT journal, member FROM balances")
        balances = [read_balance(cur, *row, report.judged_at) for row in cur.fetchall()]
    assert report.totals["club"] == {
        "members": len(balances),
        **{
            name: sum(getattr(one, name) for one in balances)
            for name in ("active", "pending", "held", "spent", "expired", "arrears")
        },
    }


def test_the_histories_have_every_kind_of_event(database: Database, ledger: Ledger) -> None:
    record(ledger, 2, 450, 3)
    kinds = {topic for topic, event in TOPICS.items() if issubclass(event, MemberEvent)}
    with database.connection() as cur:
        cur.execute("SELECT DISTINCT topic FROM events")
        assert kinds - {topic for (topic,) in cur.fetchall()} == NOT_RECOMPUTED


def test_a_query_that_is_stopped_says_so(tmp_path: Path) -> None:
    """As Ctrl-C stops anything: not as an error of the program."""

    def ask(engine: Engine) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # here, where it is expected: outside it would end the whole run
        while True:
            engine.rows("SELECT sum(hash(one.number, other.number)) FROM numbers one, numbers other")

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with duckdb_engine(tmp_path) as engine:
            engine.execute("CREATE TABLE numbers AS SELECT range AS number FROM range(20000)")
            with pytest.raises(KeyboardInterrupt):
                ask(engine)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- what is wrong in a read model -----------------------------------------------------------------------------------


def test_rows_edited_by_hand_are_found_and_named(database: Database, ledger: Ledger, tmp_path: Path) -> None:
    record(ledger, 2, 450, 3)
    catch_up(database)
    journal, member = row(database, "SELECT journal, member FROM balances WHERE earned > 0 ORDER BY 1, 2 LIMIT 1")
    lot = row(database, "SELECT journal, member, lot, available_at, points FROM lots ORDER BY 1, 2, 3, 4 LIMIT 1")
    gone = row(
        database, "SELECT journal, member, lot, available_at FROM lots ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 LIMIT 1"
    )
    day = row(
        database, "SELECT journal, value, day FROM satisfaction_days WHERE per = 'store' AND promoters > 0 LIMIT 1"
    )
    of_member = "journal = %s AND member = %s"
    of_layer = f"{of_member} AND lot = %s AND available_at = %s"
    execute(database, f"UPDATE balances SET held = held + 7, earned = earned + 7 WHERE {of_member}", journal, member)
    execute(database, f"UPDATE lots SET points = points + 1 WHERE {of_layer}", *lot[:4])
    execute(database, f"DELETE FROM lots WHERE {of_layer}", *gone)
    execute(database, f"UPDATE lifetime SET last_day = last_day + 1 WHERE {of_member}", journal, member)
    execute(
        database,
        "UPDATE satisfaction_days SET promoters = 0 WHERE journal = %s AND per = 'store' AND value = %s AND day = %s"
        " AND promoters > 0",
        *day,
    )
    execute(
        database, "INSERT INTO service_days VALUES (%s, 'store', 'none', '2026-01-01', 1, 0, 0, 0, 0, 0, 0)", journal
    )
    report = compared(database, tmp_path)
    assert not report.ok
    assert report.rows_differing == {
        "balances": 1, "lots": 2, "lifetime": 1, "satisfaction_days": 1, "service_days": 1
    }  # fmt: skip
    assert report.findings == []
    found = {(one.model, one.column, *list(one.key.values())[:3]): one for one in report.differences}
    assert set(found) == {
        ("balances", "held", journal, member),
        ("balances", "earned", journal, member),
        ("lots", "points", *lot[:3]),
        ("lots", "row", *gone[:3]),
        ("lifetime", "last_day", journal, member),
        ("satisfaction_days", "promoters", day[0], "store", day[1]),
        ("service_days", "row", journal, "store", "none"),
    }
    earned = found["balances", "earned", journal, member]
    assert earned.found == earned.recomputed + 7
    assert found["lots", "points", *lot[:3]].found == lot[4] + 1
    assert (found["lots", "row", *gone[:3]].recomputed, found["lots", "row", *gone[:3]].found) == ("a row", "none")
    positions = of_topic(database, journal, member, "points-accrued.v1")
    assert earned.events == [f"{journal}:{position}" for position in positions[:10]]
    assert earned.events_count == len(positions)
    last = found["lifetime", "last_day", journal, member]
    assert last.found == last.recomputed + timedelta(days=1)
    assert last.events_count == len(of_topic(database, journal, member, "purchase-recorded.v1"))
    assert found["satisfaction_days", "promoters", day[0], "store", day[1]].events
    assert found["service_days", "row", journal, "store", "none"].events == []


def of_topic(database: Database, journal: int, member: str, topic: str) -> list[int]:
    """Positions, the newest first."""
    with database.connection() as cur:
        cur.execute(
            "SELECT position FROM events WHERE journal = %s AND originator_id = %s AND topic = %s ORDER BY 1 DESC",
            (journal, f"member-{member}", topic),
        )
        return [position for (position,) in cur.fetchall()]


# --- what is wrong in what was decided -------------------------------------------------------------------------------


def accrue_one_too_many(patch: pytest.MonkeyPatch) -> None:
    earn = earning.EarningRules.earn
    patch.setattr(earning.EarningRules, "earn", lambda *of, **at: plus_one(earn(*of, **at)))


def plus_one(earned: earning.Earning) -> earning.Earning:
    return replace(earned, points=earned.points + 1) if earned.points else earned


def weigh_tax(patch: pytest.MonkeyPatch) -> None:
    """Every line earns on its amount, whatever of it is tax, a reward or excluded."""
    patch.setattr(earning._Base, "of", lambda base, lines: [line.amount_minor for line in lines])


def spend_the_last_layer_first(patch: pytest.MonkeyPatch) -> None:
    def taken(member: Any, points: int, at: Any) -> Any:
        parts = []
        for layer in reversed(list(member.unexpired(at))):
            if layer.available_at <= at and points:
                parts.append(layer.allocation(min(points, layer.points)))
                points -= parts[-1].points
        return None if points else parts

    patch.setattr(decider, "layers_taken", taken)


def claim_one_too_many(patch: pytest.MonkeyPatch) -> None:
    points_due = returns.points_due
    patch.setattr(returns, "points_due", lambda *of: points_due(*of) + 1)


def forget_arrears(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decider, "_repaid", lambda *of: 0)


def waive_what_is_owed(patch: pytest.MonkeyPatch) -> None:
    claw_back = decider.claw_back
    patch.setattr(decider, "claw_back", lambda *of: claw_back(*of[:-1], "within_balance"))


def lose_a_point_in_merges(patch: pytest.MonkeyPatch) -> None:
    opened = decider._opened_lot
    patch.setattr(decider, "_opened_lot", lambda layer, points: opened(layer, max(1, points - 1)))


def receive_one_too_many(patch: pytest.MonkeyPatch) -> None:
    received = decider.PointsTransferredIn

    def receive(*, points: int, lots: list[OpenedLot], **of: Any) -> PointsTransferredIn:
        if lots:
            points, lots = points + 1, [replace(lots[0], points=lots[0].points + 1), *lots[1:]]
        return received(points=points, lots=lots, **of)

    patch.setattr(decider, "PointsTransferredIn", receive)


@pytest.mark.parametrize(
    ("plant", "seed", "kind", "what"),
    [
        (accrue_one_too_many, 2, "accrual", "points"),
        (weigh_tax, 2, "accrual", "base of the lines that earn"),
        (spend_the_last_layer_first, 2, "allocation", "points taken from the layer of "),
        (claim_one_too_many, 2, "return", "points due for the purchase "),
        (forget_arrears, 3, "arrears", "points that repay arrears"),
        (waive_what_is_owed, 3, "allocation", "points that layers do not cover"),
        (lose_a_point_in_merges, 2, "allocation", "points taken from the layer of "),
        (receive_one_too_many, 2, "pair", "points that leave one member less those that arrive"),
    ],
)
def test_a_bug_planted_in_decide_is_found(
    database: Database,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    seed: int,
    kind: str,
    what: str,
) -> None:
    """The read models follow the events, so that they differ from nothing; the events follow no rule."""
    plant(monkeypatch)
    record(ledger, seed, 300, 3)
    catch_up(database)
    report = compared(database, tmp_path)
    assert not report.ok
    assert report.differences == []
    assert [one for one in report.findings if one.kind == kind and one.what.startswith(what)], report.findings


# --- where they are compared -----------------------------------------------------------------------------------------


def enrolment(member: str) -> EnrolMember:
    return EnrolMember(id=f"enrol-{member}", member=member, **LATER)


def accrual(member: str) -> AccruePoints:
    return AccruePoints(id=f"accrue-{member}", member=member, points=5, reason="welcome", **LATER)


def test_read_models_that_are_behind_are_compared_where_they_are(
    database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    """What is found wrong in decisions is of the whole log all the same."""
    record(ledger, 3, 200, 3)
    catch_up(database)
    posted(ledger, [enrolment(f"late-{number}") for number in range(5)])
    posted(ledger, [accrual(f"late-{number}") for number in range(5)])
    report = compared(database, tmp_path)
    assert (report.differences, report.findings) == ([], [])
    folder = tmp_path / "export"
    assert sum(one.size for one in export(database.dsn, folder).manifest.journals) == report.events + 10
    assert compared(database, tmp_path, folder=folder).positions == report.positions
    catch_up(database)
    assert compared(database, tmp_path, folder=folder).events == report.events + 10
    execute(database, "UPDATE lots SET points = points + 1 WHERE member = 'late-1'")
    (difference,) = compared(database, tmp_path, folder=folder).differences
    assert (difference.model, difference.key["member"], difference.column) == ("lots", "late-1", "points")


def test_positions_that_cannot_agree_are_refused(
    database: Database, ledger: Ledger, empty_database_dsn: str, tmp_path: Path
) -> None:
    posted(ledger, opening())
    folder = tmp_path / "export"
    export(database.dsn, folder)
    Runner(database, [Balances()]).run_once()
    with pytest.raises(
        PositionsDiffer, match=r"not at one position \(balances at 2, lifetime at 0, satisfaction at 0\)"
    ):
        compared(database, tmp_path, folder=folder)
    posted(ledger, [enrolment("m")])
    catch_up(database)
    with pytest.raises(PositionsDiffer, match="are at 3, the export ends at 2: bring it up to date"):
        compared(database, tmp_path, folder=folder)
    with pytest.raises(ExportError, match="the export has no programme 'other'; it has club"):
        compared(database, tmp_path, folder=folder, programmes=["other"])
    migrate(empty_database_dsn)
    other = Database(empty_database_dsn)
    try:
        twin = Ledger(other)
        posted(twin, opening())
        catch_up(other)
        with pytest.raises(PositionsDiffer, match="the event 1:2 of the export is not that of the ledger"):
            compared(other, tmp_path, folder=folder)
        twin.close()
    finally:
        other.close()


# --- the engine ------------------------------------------------------------------------------------------------------


def test_the_engine_writes_nothing_to_standard_output(tmp_path: Path) -> None:
    """DuckDB would show how far statements of more than two seconds are, between the lines of JSON."""
    with duckdb_engine(tmp_path) as engine:
        assert engine.rows("SELECT current_setting('enable_progress_bar')") == [(False,)]


def test_what_exceeds_the_memory_is_in_the_folder(tmp_path: Path) -> None:
    with duckdb_engine(tmp_path, memory_limit="32MB", threads=1) as engine:
        engine.execute("CREATE TABLE large AS SELECT range AS number, hash(range) AS hash FROM range(6000000)")
        assert sum(path.stat().st_size for path in (tmp_path / "spilled").iterdir()) > 10_000_000
        assert engine.rows("SELECT count(DISTINCT number % 1000), sum(number) FROM large") == [(1000, 17999997000000)]
