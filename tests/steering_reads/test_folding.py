"""The tables of steering and of members' data: what was said, however batches are cut, and equal to a rebuild."""

from __future__ import annotations

from uuid import uuid4

import pytest
from eventsourcing.persistence import PersistenceError
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.store.database import Database
from projections.member_data import MemberData
from projections.rebuild import rebuild, table_digests
from projections.runner import Runner
from projections.steering import Steering
from tests.projections.histories import new_journals
from tests.projections.test_exactly_once import Cut
from tests.steering_reads.histories import Steered, record

PROJECTIONS = (Steering(), MemberData())


def check(database: Database, journal: int, said: Steered) -> None:
    with database.connection() as cur:
        cur.execute("SELECT nonconformity, step FROM nonconformities WHERE journal = %s", (journal,))
        assert dict(cur.fetchall()) == said.steps
        cur.execute("SELECT nonconformity, action, step FROM corrective_actions WHERE journal = %s", (journal,))
        assert {(name, action): step for name, action, step in cur.fetchall()} == said.actions
        cur.execute("SELECT member, status FROM member_profiles WHERE journal = %s", (journal,))
        assert dict(cur.fetchall()) == said.status
        cur.execute("SELECT member, attribute, value FROM member_attributes WHERE journal = %s", (journal,))
        held: dict[str, dict[str, str]] = {member: {} for member in said.attributes}
        for member, attribute, value in cur.fetchall():
            held[member][attribute] = value
        assert held == said.attributes


@settings(max_examples=12)
@given(seed=st.integers(0, 10**9), steps=st.integers(0, 120), cuts=st.data())
def test_live_tables_say_what_was_said_and_equal_the_rebuild(
    database: Database, database_dsn: str, seed: int, steps: int, cuts: st.DataObject
) -> None:
    said = Steered(seed, steps)
    (journal,) = new_journals(database, 1, f"club-{uuid4()}")
    versions: dict[str, int] = {}
    start = 0
    while start < len(said.events):
        size = cuts.draw(st.integers(1, max(1, len(said.events) // 2)))
        record(database, journal, said.events[start : start + size], versions)
        start += size
        limit = cuts.draw(st.sampled_from([1, 5, 1000]))
        for group in cuts.draw(st.sampled_from([[PROJECTIONS], [PROJECTIONS[:1], PROJECTIONS[1:]]])):
            Runner(database, group, batch_events_max=limit).run_once()
    Runner(database, PROJECTIONS).run_once()  # an example that was broken off may have left events to fold
    check(database, journal, said)
    with database.connection() as cur:
        live = table_digests(cur, PROJECTIONS)
    rebuild(database_dsn, PROJECTIONS, batch_events_max=cuts.draw(st.sampled_from([3, 50, 1000])))
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == live


@pytest.mark.parametrize("step", ["load", "after write"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_cut_connection_leaves_nothing_half_done(
    database: Database, database_dsn: str, step: str, number: int
) -> None:
    said = Steered(5, 200)
    (journal,) = new_journals(database)
    record(database, journal, said.events, {})
    projections = [Cut(one, step, 3) if at == number else one for at, one in enumerate((Steering(), MemberData()))]
    runner = Runner(database, projections, batch_events_max=20)
    with pytest.raises(PersistenceError):
        runner.run_once()
    assert 0 < runner.run_once() < len(said.events)
    check(database, journal, said)
