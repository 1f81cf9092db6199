"""The memory of `loyalty consume` over millions of messages: nine years of purchases, one a minute, in one go.

Points expire after a year, and every quarter `loyalty expire` recognises it as an operator has it do, so what the state
of a member holds comes and goes; the memory should stop growing after the first year of them, however long the stream.
"""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.kafka import Target, key_of, producer_to, start_loyalty
from benchmarks.purchases import PROGRAMME, purchases
from ledger.store import sources
from ledger.store.database import Database
from projections.balances import Balances
from projections.runner import Runner
from tests.broker import KafkaBroker

MESSAGES = 5_000_000
MEMBERS = 20_000
CHUNK = 43_800
"""A month of purchases."""
SWEEP_EVERY = 3 * CHUNK
AHEAD_MAX = 200_000
STARTS_AT = datetime(2016, 1, 2, tzinfo=UTC)
SAMPLE_EVERY = 250_000
SETTLED_AFTER = 1_000_000
GROWTH_MAX = 1.1
WAIT_SECONDS_MAX = 600.0


def measure(server_dsn: str, messages: int = MESSAGES) -> dict[str, Any]:
    """Resident MiB of the consumer by messages taken, and its growth from a million messages to the last.

    Raises AssertionError where a message is missing or counted twice.
    """
    target = Target(server_dsn)
    topic = f"memory-{uuid.uuid4().hex[:12]}"
    samples: dict[int, float] = {}
    with KafkaBroker() as broker:
        broker.create_topic(topic, 4)
        consumer = start_loyalty(
            target, "consume", "--bootstrap", broker.bootstrap, "--topic", topic, "--group", topic,
            "--programme", PROGRAMME, "--auto-enrol",
        )  # fmt: skip
        try:
            with closing(producer_to(broker)) as producer:
                for first in range(0, messages, CHUNK):
                    after = min(first + CHUNK, messages)
                    for body in purchases(after - first, MEMBERS, first=first, starts_at=STARTS_AT):
                        producer.send(topic, body, key=key_of(body))
                    producer.flush()
                    sweep = after % SWEEP_EVERY == 0
                    taken = _wait_until_taken(target.database, after if sweep else after - AHEAD_MAX)
                    if sweep:
                        _expire(target, STARTS_AT + timedelta(minutes=after))
                    if taken // SAMPLE_EVERY > len(samples):
                        samples[taken] = _resident_mib(consumer.pid)
            _wait_until_taken(target.database, messages)
            samples[messages] = _resident_mib(consumer.pid)
        finally:
            consumer.terminate()
            consumer.communicate()
    target.check(messages)
    target.close()
    settled = [mib for taken, mib in samples.items() if taken >= min(SETTLED_AFTER, messages // 2)]
    growth = settled[-1] / settled[0]
    return {
        "messages": messages,
        "members": MEMBERS,
        "swept_every": SWEEP_EVERY,
        "consumer_mib": {str(taken): round(mib) for taken, mib in samples.items()},
        "growth_since_settled": round(growth, 3),
        "met": {"flat": growth <= GROWTH_MAX},
    }


def _expire(target: Target, as_of: datetime) -> None:
    """What `loyalty project` and a nightly `loyalty expire` do."""
    Runner(target.database, [Balances()]).run_once()
    sweep = start_loyalty(target, "expire", "--programme", PROGRAMME, "--as-of", as_of.isoformat())
    sweep.communicate()
    assert sweep.returncode == 0


def _wait_until_taken(database: Database, messages: int) -> int:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        with database.connection() as cur:
            taken = sum(each.taken for each in sources.stretches(cur))
        if taken >= messages:
            return taken
        assert time.monotonic() < deadline, f"{taken} of {messages} taken"
        time.sleep(0.25)


def _resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
