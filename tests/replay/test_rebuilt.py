"""Rebuilds in temporary tables: the same digests however batches are cut, and nothing left of them."""

from __future__ import annotations

from random import Random

import pytest

from ledger.store.database import Database
from projections import rebuilt
from projections.batch import HistoryGap
from projections.rebuilt import Rebuilt, session
from projections.runner import Runner
from service.read_models import read_models
from tests.cli.running import rows
from tests.replay.recording import Recorded
from tests.waiting import wait_for


@pytest.mark.parametrize("seed", [7])
def test_the_digests_at_a_position_do_not_depend_on_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Nor on stops between them; and going on from there comes to what the live tables have."""
    recorded = Recorded(database, seed, 90)
    (journal, position), *_ = rows(database.dsn, "SELECT journal, position FROM journals ORDER BY position DESC")
    middle = Random(seed).randint(1, position - 1)
    with session(database.dsn) as cur:
        once = Rebuilt(cur, journal, read_models())
        counted: list[int] = []
        once.fold_to(middle, counted.append)
        digests = once.digests()
    assert sum(counted) == middle
    assert sum(table.rows for tables in digests.values() for table in tables.values()) > len(recorded.members)
    monkeypatch.setattr(rebuilt, "BATCH_EVENTS_MAX", 9)
    Runner(database, read_models(), batch_events_max=11).run_once()
    with session(database.dsn) as cur:
        bit_by_bit = Rebuilt(cur, journal, read_models())
        bit_by_bit.fold_to(middle // 2)
        bit_by_bit.fold_to(middle)
        assert bit_by_bit.digests() == digests
        live = bit_by_bit.compare_live()
        assert (live.differences, live.behind) == ([], [])
        with pytest.raises(HistoryGap, match=f"journal {journal} ends at position {position}, before {position + 1}"):
            bit_by_bit.fold_to(position + 1)
    wait_for(lambda: rows(database.dsn, "SELECT 1 FROM pg_class WHERE relname = 'lots' AND relpersistence = 't'") == [])
