"""A consumer that is stopped while the database is away gives its batch up, and nothing of the partition after it."""

from __future__ import annotations

import logging
from threading import Event

import pytest

from consumers import backlog, kafka_in
from consumers.backlog import Backlog, Batch
from consumers.kafka_in import Progress, Taker
from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.store import sources
from ledger.store.database import Database
from ledger.store.sources import Read
from tests.engine.clubs import Club
from tests.faults.proxy import Proxy
from tests.faults.test_fence import NAME, claimed, counted, placed


class BackWhenItWasMissed(logging.Handler):
    """Lets the database be there again as soon as somebody has said that it is not."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self.missed = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.missed += 1
        self._proxy.allow()


def test_what_follows_an_abandoned_batch_is_not_taken(
    database: Database, ledger: Ledger, disturbed: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken before it, it would move the journal past messages that nobody took."""
    monkeypatch.setattr(backlog, "TAKEN_MESSAGES_MAX", 0)  # two polls are two batches
    club = Club(database, 1).open(ledger)
    epoch = claimed(database).epoch
    waiting, stop = Backlog(), Event()
    for first in (0, 3):
        commands: list[AnyCommand] = [club.enrol(f"m{first + n}") for n in range(3)]
        read = Read(
            topic=NAME[0], partition=NAME[1], epoch=epoch, first_offset=first, next_offset=first + 3, messages=3
        )
        waiting.put(Batch(placed(commands, first), [read], {NAME: epoch}, 1))
    handler = BackWhenItWasMissed(proxy)
    monkeypatch.setattr(kafka_in._log, "handlers", [handler])
    stop.set()
    proxy.cut_all(refuse=True)
    Taker(disturbed, waiting, Progress(), auto_enrol=False).run(stop)
    assert handler.missed == 1
    assert counted(database) == (0, 0, 0)
    with database.connection() as cur:
        assert [each.next_offset for each in sources.partitions(cur)] == [0]
