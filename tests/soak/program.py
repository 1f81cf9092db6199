"""The program `loyalty` with a group session of three seconds, so that what waits for its end does not wait long."""

from __future__ import annotations

from functools import partial
from typing import Any

from consumers.kafka_client import ClientSettings
from service import cli_kafka
from service.cli import cli

SESSION_SECONDS = 3.0

if __name__ == "__main__":
    quick: Any = partial(
        ClientSettings, session_timeout_ms=int(SESSION_SECONDS * 1000), heartbeat_interval_ms=500,
        metadata_max_age_ms=2_000, poll_records_max=500,
    )  # fmt: skip
    cli_kafka.ClientSettings = quick  # type: ignore[misc]
    cli()
