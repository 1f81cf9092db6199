"""Consumer processes: one is killed with SIGKILL at a chosen place, the nth time it comes there."""

from __future__ import annotations

import os
import signal
from threading import Event, Lock
from typing import Any, Literal

from consumers import backlog, kafka_in
from consumers.kafka_in import Consumer
from ledger import transaction
from tests.kafka.inflow import consume_settings, ledger_on

Where = Literal["before a commit", "after a commit", "before complete", "after complete"]


def consume_and_die(dsn: str, bootstrap: str, topic: str, programme: str, where: Where, time: int) -> None:
    """Consume until the place is reached for the nth time."""
    backlog.TAKEN_MESSAGES_MAX = 0  # type: ignore[misc]  # each poll by itself, so that there are many places to die at
    _, ledger = ledger_on(dsn)
    _die_at(where, time)
    settings = consume_settings(bootstrap, topic, programme, poll_records_max=100)
    Consumer(ledger, settings).run(Event())


def consume_for_ever(dsn: str, bootstrap: str, topic: str, programme: str) -> None:
    """Consume, and learn nothing about topics by the mere passing of time."""
    _, ledger = ledger_on(dsn)
    settings = consume_settings(bootstrap, topic, programme, metadata_max_age_ms=300_000, session_timeout_ms=30_000)
    Consumer(ledger, settings).run(Event())


def _die_at(where: Where, time: int) -> None:
    left, lock = [time], Lock()

    def here() -> None:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def dying(*args: Any, **kwargs: Any) -> Any:
            if where.startswith("before"):
                here()
            result = original(*args, **kwargs)
            if where.startswith("after"):
                here()
            return result

        setattr(owner, name, dying)

    if where.endswith("commit"):
        around(transaction.Transaction, "_commit")
    else:
        around(kafka_in, "complete")
