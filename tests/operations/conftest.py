"""A real Apache Kafka for the tests below."""

from tests.broker.fixtures import kafka, own_kafka

__all__ = ["kafka", "own_kafka"]
