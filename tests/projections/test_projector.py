"""The projector: points do not wait for figures, and neither goes on without the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ledger.store.database import Database
from projections.checkpoints import ProjectionOutdated, checkpoint, wait_until
from projections.lifetime import Lifetime
from service.projector import Projector
from service.read_models import read_models
from tests.projections.histories import History, new_journals, record
from tests.waiting import PATIENCE_SECONDS


@contextmanager
def following(projector: Projector) -> Iterator[None]:
    stop = threading.Event()
    follower = threading.Thread(target=projector.follow, args=(stop,))
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join(PATIENCE_SECONDS)
        assert not follower.is_alive()


def test_points_do_not_wait_for_figures(database: Database) -> None:
    """While somebody holds the figures of a journal, its balances and statements move on; then the figures do too."""
    (journal,) = new_journals(database)
    history = History(7, 60)
    last = len(history.events)
    with following(Projector(database)):
        versions: dict[str, int] = {}
        record(database, journal, history.events[:20], versions, each=10)
        for model in read_models():
            wait_until(database, model.name, journal, 20, timeout_seconds=PATIENCE_SECONDS)
        with database.transaction() as holding:
            holding.execute(
                "SELECT FROM projections WHERE projection = %s AND journal = %s FOR UPDATE", (Lifetime.name, journal)
            )
            record(database, journal, history.events[20:], versions, each=10)
            for name in ("balances", "statement"):
                wait_until(database, name, journal, last, timeout_seconds=PATIENCE_SECONDS)
            assert checkpoint(holding, Lifetime.name, journal) == 20
        wait_until(database, Lifetime.name, journal, last, timeout_seconds=PATIENCE_SECONDS)


def test_figures_of_another_version_end_both(database: Database) -> None:
    """Read models that must be rebuilt are not passed over in silence."""
    (journal,) = new_journals(database)
    record(database, journal, History(8, 20).events, {}, each=10)
    with database.transaction() as cur:
        cur.execute(
            "INSERT INTO projections (projection, version, journal, position) VALUES (%s, %s, %s, 0)",
            (Lifetime.name, Lifetime.version + 1, journal),
        )
    stop = threading.Event()
    with pytest.raises(ProjectionOutdated, match="'lifetime' are of version"):
        Projector(database).follow(stop)
    assert stop.is_set()
