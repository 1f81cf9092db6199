"""Live tables beside the core's own fold: same layers, same figures, same running balances, however batches are cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.events import Allocation, MemberEnrolled, MembersMerged, OpenedLot, PointsRedeemed, PointsTransferredIn
from ledger.evolver import fold
from ledger.figures import figures
from ledger.member import initial
from ledger.store.database import Database
from ledger.values import FAR
from projections.balances import Balances, read_balance
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from projections.statement import Statement, read_statement
from tests.projections.histories import History, new_journals, record

histories = settings(max_examples=20)


def check_against_fold(database: Database, journal: int, history: History) -> None:
    """Every row of the journal says what the core's states say."""
    with database.connection() as cur:
        cur.execute(
            "SELECT member, lot, points, opened_at, available_at, nullif(expires_at, 'infinity') FROM lots"
            " WHERE journal = %s ORDER BY member, expires_at, available_at, lot",
            (journal,),
        )
        layers: dict[str, list[object]] = {member: [] for member in history.members}
        for member, *layer in cur.fetchall():
            layers[member].append(tuple(layer))
        for member in history.members:
            state = history.state(member)
            assert layers[member] == [
                (layer.lot, layer.points, layer.opened_at, layer.available_at, _none_if_far(layer.expires_at))
                for layer in state.layers()
            ]
            for at in (history.now, history.now + timedelta(days=6), history.now - timedelta(days=9)):
                shown = read_balance(cur, journal, member, at)
                expected = figures(state, at)
                assert (shown.status, shown.version) == (state.status, state.version)
                for name in expected.__struct_fields__:
                    assert getattr(shown, name) == getattr(expected, name), (member, name, at)
            entries = read_statement(cur, journal, member, limit=1000)
            check_running(entries)
            if entries:
                shown = read_balance(cur, journal, member, history.now)
                cur.execute("SELECT open + held FROM balances WHERE journal = %s AND member = %s", (journal, member))
                assert cur.fetchone() == (entries[-1].balance,)
                assert entries[-1].arrears == shown.arrears


def check_running(entries: list) -> None:
    balance = arrears = 0
    for entry in entries:
        balance += entry.points
        arrears += entry.owed
        assert (entry.balance, entry.arrears) == (balance, arrears), entry


def _none_if_far(at):
    return None if at == FAR else at


@histories
@given(seed=st.integers(0, 10**9), commands=st.integers(0, 150), cuts=st.data())
def test_live_tables_equal_the_fold_and_the_rebuild(
    database: Database, database_dsn: str, seed: int, commands: int, cuts: st.DataObject
) -> None:
    """However the batches are cut, and with cold or warm memory, the rows are the core's and those of a rebuild."""
    history = History(seed, commands)
    name = f"club-{uuid4()}"
    (journal,) = new_journals(database, 1, name)
    versions: dict[str, int] = {}
    projections = [Balances(), Statement()]
    start = 0
    while start < len(history.events):
        size = cuts.draw(st.integers(1, max(1, len(history.events) // 2)))
        record(database, journal, history.events[start : start + size], versions)
        start += size
        limit = cuts.draw(st.sampled_from([1, 7, 1000]))
        together = cuts.draw(st.booleans())
        for group in [projections] if together else [[projection] for projection in projections]:
            Runner(database, group, batch_events_max=limit).run_once()
    check_against_fold(database, journal, history)
    with database.connection() as cur:
        live = table_digests(cur, projections)
    rebuild(database_dsn, projections, batch_events_max=cuts.draw(st.sampled_from([3, 50, 1000])))
    with database.connection() as cur:
        assert table_digests(cur, projections) == live


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_layer_that_was_spent_opens_anew(database: Database, limit: int) -> None:
    """Spent and brought back by a merge, it has the instant of its new opening, though that is the earlier one."""
    at = datetime(2026, 2, 1, tzinfo=UTC)
    common = {"programme": "club", "member": "ann", "source": "desk"}

    def layer(points: int, day: int) -> OpenedLot:
        opened_at = at + timedelta(days=day)
        return OpenedLot("x.000001", points, opened_at, available_at=at + timedelta(days=10))

    taken = [Allocation("x.000001", 5, at + timedelta(days=10))]
    times = {"occurred_at": at + timedelta(days=12), "reversible_until": at, "keep_until": at}
    events = [
        MemberEnrolled(id="1", occurred_at=at, **common),
        PointsTransferredIn(id="2", occurred_at=at, sender="bob", points=5, lots=[layer(5, 9)], **common),
        PointsRedeemed(id="3", points=5, allocations=taken, terms=1, **times, **common),
        MembersMerged(id="4", occurred_at=at, side="in", other="bob", lots=[layer(7, 2)], **common),
    ]
    (journal,) = new_journals(database)
    record(database, journal, events, {})
    Runner(database, [Balances()], batch_events_max=limit).run_once()
    (expected,) = fold(initial("ann"), events).layers()
    with database.connection() as cur:
        cur.execute("SELECT points, opened_at FROM lots")
        assert cur.fetchall() == [(7, at + timedelta(days=2))] == [(expected.points, expected.opened_at)]
