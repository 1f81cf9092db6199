"""A short run of the soak, with the same faults every time; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import KafkaBroker
from tests.broker.fixtures import own_kafka
from tests.soak.run import run

__all__ = ["own_kafka"]

SEED = 7
FAULTS = 8


@pytest.mark.timeout(600)  # four minutes on a busy machine, and each of its waits is bounded
def test_every_message_is_taken_once_whatever_fails(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    """Every message is posted, duplicate or refused once; log, read models and what is published agree in the end."""
    result = run(SEED, FAULTS, own_kafka, tmp_path)
    assert result.faults.total() == FAULTS
    assert min(result.messages[status] for status in ("posted", "duplicate", "rejected")) > 0
