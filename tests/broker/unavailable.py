"""Why there is no Kafka, in words that say what was tried and what to do."""

from __future__ import annotations

ENVIRONMENT_VARIABLE = "LOYALTY_TEST_KAFKA"
_REMEDY = f"""\
Either let it be started here, which takes Java 17 or newer and, the first time, Maven and 45 MB from Maven Central
(Debian and Ubuntu: apt-get install openjdk-17-jre-headless maven), or set {ENVIRONMENT_VARIABLE}=host:port to a Kafka
that runs already, for example after: docker compose up --detach --wait kafka"""


class KafkaUnavailable(RuntimeError):
    """No broker could be had: what was tried, in order, with what came of it, and what to do about it."""

    def __init__(self, *tried: str, detail: str = "") -> None:
        lines = ["No Apache Kafka could be had. Tried:", *(f"  - {attempt}" for attempt in tried), _REMEDY]
        super().__init__("\n".join([*lines, *([detail] if detail else [])]))
