"""What pages run on: the program, ready to fork, and the ledgers that they begin with."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumers.relay import BALANCES_TOPIC, TOPIC
from tests.broker import Kafka
from tests.broker.fixtures import kafka
from tests.docs.ledgers import Ledgers
from tests.docs.pages import ROOT, Page
from tests.docs.program import install
from tests.docs.running import running
from tests.waiting import wait_for

__all__ = ["kafka"]

RunPage = Callable[[Page], None]


@pytest.fixture(scope="session")
def program() -> Iterator[Path]:
    """The program `loyalty`."""
    folder = Path(tempfile.mkdtemp(prefix="loyalty-docs-"))
    socket = folder / "socket"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.docs.program", str(socket)],
        cwd=ROOT,
        env={"OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        install(folder / "loyalty", socket)
        yield folder / "loyalty"
        process.stdin.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ledgers() -> Iterator[Ledgers]:
    """Prepared ledgers, by name."""
    folder = Path(tempfile.mkdtemp(prefix="loyalty-docs-"))
    yield Ledgers(folder)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def topics_removed(broker: Kafka | None, page: Page) -> Iterator[None]:
    """Remove the topics that a page makes: the next one may give another ledger's the same names."""
    if broker is None:
        yield
        return
    admin = broker.admin()
    words = " ".join(block.text for block in page.blocks)
    try:
        before = set(admin.list_topics())
        try:
            yield
        finally:
            new = set(admin.list_topics()) - before  # of others too, where the broker is not ours alone
            made = {name for name in new if name in (TOPIC, BALANCES_TOPIC) or name.removesuffix(".dlq") in words}
            if made:
                admin.delete_topics(sorted(made))
                wait_for(lambda: not made & set(admin.list_topics()))
    finally:
        admin.close()


@pytest.fixture
def run_page(program: Path, ledgers: Ledgers, request: pytest.FixtureRequest) -> RunPage:
    """Runs a page; raises Wrong at the first block that is not as the page says."""

    def run(page: Page) -> None:
        wants_kafka = "kafka" in page.comments
        broker: Kafka | None = request.getfixturevalue("kafka") if wants_kafka else None
        with running(ledgers, program, page, broker) as under_way, topics_removed(broker, page):
            under_way.page(page)

    return run
