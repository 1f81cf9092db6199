"""A real Apache Kafka, in KRaft mode, one node: obtained with Maven, started and stopped by the tests."""

from tests.broker.broker import Kafka, KafkaBroker
from tests.broker.unavailable import KafkaUnavailable

__all__ = ["Kafka", "KafkaBroker", "KafkaUnavailable"]
