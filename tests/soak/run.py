"""A run: processes under traffic, faults dealt by a seed, and the check when all has settled."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from msgspec import Struct

from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from tests.broker import KafkaBroker
from tests.faults.proxy import Proxy
from tests.faults.tcp_proxy import TcpProxy
from tests.soak.faults import LOCK_TIMEOUT_SECONDS, Faults
from tests.soak.outcome import check
from tests.soak.stage import Stage


class Result(Struct, kw_only=True):
    """What happened in a run that ended well."""

    faults: Counter[str]
    messages: Counter[str]
    fenced: int
    ended_at_start: int
    producer_failures: int
    seconds: float


def run(
    seed: int,
    faults: int,
    broker: KafkaBroker,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    *,
    only: str = "",
    fenced: bool = True,
) -> Result:
    """Let so many faults happen, and check what came of it. AssertionError when anything is wrong.

    What the processes said is left in `folder`. `only` is a part of the names of the faults that may happen
    (`freeze_consumer`); without `fenced` it is a control (`tests.soak.unfenced`).
    """
    started = time.monotonic()
    network = TcpProxy(broker.ports.proxy, broker.ports.behind_proxy)
    with network, _server(folder) as (server, dsn), Proxy(dsn) as proxy:
        stage = Stage(seed, broker, server, dsn, proxy, network, folder, fenced)
        dealt = Faults(stage, only)
        try:
            stage.begin()
            for number in range(1, faults + 1):
                kind = dealt.happen(number, faults)
                say(f"{time.monotonic() - started:7.1f} s  {number:4} of {faults}  {kind}")
            stage.settle()
            say(f"{time.monotonic() - started:7.1f} s  settled")
            stage.end()
            reference = stage.reference()
            messages = check(
                stage.club, stage.topic, stage.events_topic, stage.traffic, stage.losses, broker, reference
            )
        finally:
            stage.close()
        return Result(
            faults=dealt.counts,
            messages=messages,
            fenced=sum(file.read_text(errors="replace").count("taken over by") for file in folder.glob("*.log")),
            ended_at_start=sum(each.ended_early for each in stage.programs),
            producer_failures=stage.traffic.failures,
            seconds=time.monotonic() - started,
        )


@contextmanager
def _server(folder: Path) -> Iterator[tuple[EmbeddedPostgres, str]]:
    with tempfile.TemporaryDirectory(prefix="loyalty-soak-", ignore_cleanup_errors=True) as data:
        server = EmbeddedPostgres(Path(data) / "postgres")
        try:
            dsn = server.start()
            migrate(dsn)
            with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cur:
                cur.execute("SELECT format('ALTER DATABASE %%I SET lock_timeout = %%L', current_database(), %s)",
                            (f"{LOCK_TIMEOUT_SECONDS}s",))  # fmt: skip
                cur.execute(*cur.fetchone() or ())
            yield server, dsn
        finally:
            server.stop()
