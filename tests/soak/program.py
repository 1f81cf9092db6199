"""The program `loyalty` with a group session of three seconds, so that what waits for its end does not wait long."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from consumers.kafka_client import ClientSettings
from service import cli_kafka
from service.cli import cli
from tests.soak.unfenced import remove_the_fence

SESSION_SECONDS = 3.0
UNFENCED = "LOYALTY_SOAK_UNFENCED"
"""Set in the environment of a control, which must fail."""
BEGAN = "began at "
"""Said when all is imported, with the time."""

if __name__ == "__main__":
    quick: Any = partial(
        ClientSettings, session_timeout_ms=int(SESSION_SECONDS * 1000), heartbeat_interval_ms=500,
        metadata_max_age_ms=2_000, poll_records_max=500,
    )  # fmt: skip
    cli_kafka.ClientSettings = quick  # type: ignore[misc]
    if UNFENCED in os.environ:
        remove_the_fence()
    print(f"{BEGAN}{time.time()}", flush=True)  # noqa: T201 - into the file that the run keeps
    cli()
