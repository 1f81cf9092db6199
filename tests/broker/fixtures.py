"""Fixtures: `kafka`, any Kafka, and `own_kafka`, one that the test may kill. One broker serves the whole session.

A conftest.py imports them: `from tests.broker.fixtures import kafka, own_kafka`. Where no Kafka can be had they fail,
and say what was tried; they never skip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaError

from tests.broker.broker import Kafka, KafkaBroker
from tests.broker.unavailable import ENVIRONMENT_VARIABLE, KafkaUnavailable

_SESSION_BROKER = pytest.StashKey[KafkaBroker]()
ANSWER_SECONDS_MAX = 10.0


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Kafka:
    """The Kafka that LOYALTY_TEST_KAFKA=host:port names, or a broker started for this session."""
    configured = os.environ.get(ENVIRONMENT_VARIABLE)
    return _configured(configured) if configured else _session_broker(pytestconfig)


@pytest.fixture
def own_kafka(pytestconfig: pytest.Config) -> Iterator[KafkaBroker]:
    """A broker started for this session, to be stopped, killed or paused at will; it runs again after the test."""
    broker = _session_broker(pytestconfig)
    yield broker
    broker.resume()
    if not broker.running:
        broker.start()


def _configured(bootstrap: str) -> Kafka:
    kafka = Kafka(bootstrap)
    try:
        kafka.admin(ANSWER_SECONDS_MAX).close()
        return kafka
    except (KafkaError, OSError, ValueError) as error:
        refused = KafkaUnavailable(f"{ENVIRONMENT_VARIABLE}={bootstrap}: {error}")
    pytest.fail(str(refused), pytrace=False)


def _session_broker(config: pytest.Config) -> KafkaBroker:
    """The session's own broker, whichever conftest asks first: two of them would take memory for nothing."""
    if _SESSION_BROKER in config.stash:
        return config.stash[_SESSION_BROKER]
    try:
        broker = config.stash[_SESSION_BROKER] = KafkaBroker().start()
        config.add_cleanup(broker.close)
        return broker
    except KafkaUnavailable as error:
        refused = error
    pytest.fail(str(refused), pytrace=False)
