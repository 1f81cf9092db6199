"""Topics: created where they are missing, with the settings that their use asks for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Final

from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError
from msgspec import Struct

RECONNECT_PAUSE_MS_MAX: Final = 1_000
READY_MS_MAX: Final = 60_000
"""Until a new topic has its leaders: as long as a producer waits to know a topic."""


class WantedTopic(Struct, frozen=True, kw_only=True):
    """A topic as it is to be created: a name, how many partitions, and settings by Kafka's names."""

    name: str
    partitions: int
    settings: Mapping[str, str] = {}


def ensure_topics(bootstrap: str, wanted: list[WantedTopic]) -> list[WantedTopic]:
    """Create the topics that are missing, with the broker's own replication factor; those created.

    A topic that exists stays as it is. Raises a KafkaError when the broker does not answer or does not allow it.
    """
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, reconnect_backoff_max_ms=RECONNECT_PAUSE_MS_MAX)
    with closing(admin):
        known = set(admin.list_topics())
        return [topic for topic in wanted if topic.name not in known and _create(admin, topic)]


def partition_counts(bootstrap: str, topics: set[str]) -> dict[str, int]:
    """How many partitions each of the topics has; topics that do not exist are left out."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, reconnect_backoff_max_ms=RECONNECT_PAUSE_MS_MAX)
    with closing(admin):
        known = sorted(topics & set(admin.list_topics()))
        described = admin.describe_topics(known) if known else []
        return {str(topic["name"]): len(topic["partitions"]) for topic in described}


def _create(admin: KafkaAdminClient, topic: WantedTopic) -> bool:
    asked = {"num_partitions": topic.partitions, "configs": dict(topic.settings)}
    try:
        admin.create_topics({topic.name: asked})
    except TopicAlreadyExistsError:  # another process was first
        return False
    admin.wait_for_topics([topic.name], timeout_ms=READY_MS_MAX)
    return True
