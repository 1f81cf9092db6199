"""Reading: balances, statements, the past, and waiting for a projection."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import MEMBER_STREAM, encode
from ledger.events import MemberEnrolled, Part, PointsAccrued, PointsRedeemed
from ledger.evolver import fold
from ledger.figures import figures
from ledger.member import initial
from ledger.store.database import Database
from ledger.store.journal import append, lock_head, store_head
from ledger.upcasters import EVENTS, Document
from projections.as_of import balance_as_of, statement_as_of
from projections.balances import Balances, read_balance
from projections.checkpoints import ProjectionBehind, wait_until
from projections.runner import Runner
from projections.statement import Statement, read_statement
from tests.projections.histories import TERMS, History, new_journals, record
from tests.projections.test_incremental import check_running, histories
from tests.waiting import PATIENCE_SECONDS

PROJECTIONS = (Balances(), Statement())
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@histories
@given(seed=st.integers(0, 10**9), share=st.floats(0, 1))
def test_the_past_as_the_log_has_it(database: Database, seed: int, share: float) -> None:
    """Now the folds agree with the tables, and at past instants with the core's fold of what was known then."""
    history = History(seed, 80, terms=TERMS)
    (journal,) = new_journals(database, 1, f"club-{uuid4()}")
    versions: dict[str, int] = {}
    early = history.events[: int(len(history.events) * share)]
    record(database, journal, early, versions)
    known_at = clock(database)
    record(database, journal, history.events[len(early) :], versions)
    Runner(database, PROJECTIONS, batch_events_max=33).run_once()
    now, between = clock(database), history.now - timedelta(days=4)
    with database.connection() as cur:
        for member in history.members:
            assert balance_as_of(cur, journal, member, history.now, now) == read_balance(
                cur, journal, member, history.now
            )
            assert statement_as_of(cur, journal, member, history.now, now) == read_statement(
                cur, journal, member, limit=1000
            )
            known = [event for event in early if event.member == member and event.occurred_at <= between]
            shown = balance_as_of(cur, journal, member, between, known_at)
            expected = figures(fold(initial(member), known), between)
            assert {name: getattr(shown, name) for name in expected.__struct_fields__} == {
                name: getattr(expected, name) for name in expected.__struct_fields__
            }
            assert shown.version == len(known)
            entries = statement_as_of(cur, journal, member, between, known_at)
            check_running(entries)
            assert (entries[-1].balance if entries else 0) == shown.balance + shown.expired - recognised(known)


def recognised(events: list[Any]) -> int:
    """Expired points that events say are expired."""
    return fold(initial(events[0].member), events).expired if events else 0


def clock(database: Database) -> datetime:
    with database.connection() as cur:
        cur.execute("SELECT clock_timestamp()")
        return cur.fetchone()[0]  # type: ignore[index]


def of(kind: Any, id: str, at: datetime, **fields: Any) -> Any:
    return kind(programme="club", member="ann", source="till", id=id, occurred_at=at, **fields)


def accrued(id: str, at: datetime, points: int, **fields: Any) -> PointsAccrued:
    lot, end = f"ann.{id}", at + timedelta(days=30)
    return of(PointsAccrued, id, at, lot=lot, points=points, available_at=at, expires_at=end, terms=2, **fields)


def test_a_late_event_stands_where_it_was_recorded_and_counts_from_when_it_occurred(database: Database) -> None:
    """Recorded second but earlier in time: last in the statement, and unknown as of before it was recorded."""
    (journal,) = new_journals(database)
    versions: dict[str, int] = {}
    record(database, journal, [of(MemberEnrolled, "e", AT), accrued("new", AT + timedelta(days=9), 5)], versions)
    before = clock(database)
    record(database, journal, [accrued("late", AT + timedelta(days=1), 70)], versions)
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        assert [(e.id, e.balance) for e in read_statement(cur, journal, "ann")] == [("new", 5), ("late", 75)]
        day_2 = AT + timedelta(days=2)
        assert balance_as_of(cur, journal, "ann", day_2, before).active == 0
        assert balance_as_of(cur, journal, "ann", day_2, clock(database)).active == 70
        assert [e.id for e in statement_as_of(cur, journal, "ann", day_2, clock(database))] == ["late"]
        shown = read_balance(cur, journal, "ann", AT + timedelta(days=31, hours=1))
        assert (shown.active, shown.expired, shown.next_expiry_points) == (5, 70, 5)
        assert shown.next_expiry_at == AT + timedelta(days=39)


def test_an_event_of_an_old_spelling_is_in_the_statement_of_the_past_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upcast_accrual(old: Document) -> Document:
        return {"points": old.pop("credits"), **old}

    monkeypatch.setitem(EVENTS, "points-accrued.v0", ("points-accrued.v1", upcast_accrual))  # type: ignore[attr-defined]
    (journal,) = new_journals(database)
    record(database, journal, [of(MemberEnrolled, "e", AT)], {})
    state = encode(accrued("a", AT, 9)).replace(b'"points"', b'"credits"')
    with database.connection() as cur:
        head = lock_head(cur, journal, begin=True)
        append(cur, head, [(MEMBER_STREAM + "ann", 2, "points-accrued.v0", state, None, None, None)])
        store_head(cur, head, commit=True)
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        (entry,) = statement_as_of(cur, journal, "ann", AT, clock(database))
        assert (entry.id, entry.topic, entry.points) == ("a", "points-accrued.v1", 9)
        assert [entry] == read_statement(cur, journal, "ann")


def test_an_entry_says_by_which_rules_and_from_which_lots(database: Database) -> None:
    """Provenance reads back as the event has it, with odd characters and with instants that have an offset."""
    (journal,) = new_journals(database)
    at = AT.astimezone(timezone(timedelta(hours=8)))
    parts = [
        Part(rules=["base", "double\\day"], base_minor=900, rate="1/100"),
        Part(rules=["base"], base_minor=1, rate="1"),
    ]
    first = accrued("order\\1", at, 10, purchase="order\\1", parts=parts)
    layer = {"lot": first.lot, "available_at": first.available_at, "expires_at": first.expires_at}
    taken = {"points": 4, "allocations": [{**layer, "points": 4}], "reason": 'a "b"'}
    spent = of(PointsRedeemed, "r", AT, **taken, reversible_until=AT, keep_until=AT, terms=2)
    record(database, journal, [of(MemberEnrolled, "e", at), first, spent], {})
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        earning, spending = read_statement(cur, journal, "ann")
        assert read_balance(cur, journal, "ann", AT).active == 6
    assert earning.rules == ["base", "double\\day"]
    assert (earning.parts, earning.terms, earning.reference, earning.id) == (parts, 2, "order\\1", "order\\1")
    assert (earning.occurred_at, earning.position, earning.version) == (AT, 2, 2)
    assert [(lot.lot, lot.points, lot.available_at) for lot in earning.lots] == [(first.lot, 10, AT)]
    assert [(lot.lot, lot.points, lot.expires_at) for lot in spending.lots] == [(first.lot, 4, first.expires_at)]
    assert (spending.points, spending.balance, spending.reason, spending.parts) == (-4, 6, 'a "b"', [])


def test_pages_of_a_statement_join_without_gap_or_repeat(database: Database) -> None:
    """Forwards and backwards, whatever the size of the page."""
    (journal,) = new_journals(database)
    record(database, journal, [of(MemberEnrolled, "e", AT), *(accrued(f"a{n}", AT, n) for n in range(1, 24))], {})
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        for newest_first in (False, True):
            found: list[str] = []
            after = 0
            while page := read_statement(cur, journal, "ann", after=after, limit=5, newest_first=newest_first):
                found += [entry.id for entry in page]
                after = page[-1].position
            assert found == [f"a{n}" for n in range(1, 24)][:: -1 if newest_first else 1]
        for limit in (0, 1001):
            with pytest.raises(ValueError, match="limit"):
                read_statement(cur, journal, "ann", limit=limit)


def test_a_member_never_heard_of_is_unknown(database: Database) -> None:
    """Zeros and version 0, from the tables and from the log alike."""
    (journal,) = new_journals(database)
    with database.connection() as cur:
        shown = read_balance(cur, journal, "nobody", AT)
        assert shown == balance_as_of(cur, journal, "nobody", AT, clock(database))
    assert (shown.status, shown.version, shown.balance) == ("unknown", 0, 0)


def test_waiting_returns_once_the_projection_has_passed_the_position(database: Database) -> None:
    """A reader who waits sees what was just written."""
    (journal,) = new_journals(database)
    record(database, journal, [of(MemberEnrolled, "e", AT), accrued("a", AT, 9)], {})
    runner = threading.Timer(0.2, Runner(database, PROJECTIONS).run_once)
    runner.start()
    assert wait_until(database, "balances", journal, 2, timeout_seconds=PATIENCE_SECONDS) == 2
    with database.connection() as cur:
        assert read_balance(cur, journal, "ann", AT).active == 9
    runner.join()


def test_waiting_in_vain_ends_and_says_how_far_behind(database: Database) -> None:
    """The wait is bounded, and its error tells where the projection is."""
    (journal,) = new_journals(database)
    record(database, journal, [of(MemberEnrolled, "e", AT)], {})
    Runner(database, PROJECTIONS).run_once()
    started = time.monotonic()
    with pytest.raises(ProjectionBehind, match="4 events before 5") as behind:
        wait_until(database, "statement", journal, 5, timeout_seconds=0.1)
    assert 0.1 <= time.monotonic() - started < PATIENCE_SECONDS
    assert (behind.value.reached, behind.value.wanted) == (1, 5)
