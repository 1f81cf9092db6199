"""server.properties of a Kafka of one node, broker and controller in one process, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.broker.ports import LOOPBACK

SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    # Topics are made on purpose: a misspelt one is an error, as in production.
    "auto.create.topics.enable": "false",
    # Kafka's own topics, on one node.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Groups form at once, and a member that was killed or stopped can be missed after a second.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A broker that misses its session (9 s) is shut out for a moment, in which metadata name no broker, and clients
    # fail. A shorter one would be missed on a busy machine, though it is waited for after SIGKILL: only when the last
    # session is over does the controller let the broker in again.
    "broker.heartbeat.interval.ms": "500",
    # A transaction whose producer was killed is aborted soon after its own timeout, and readers go on.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # What a retention removes goes at once, and not five minutes after the start, when few runs are still there to see.
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
    # Little memory and few threads.
    "log.cleaner.dedupe.buffer.size": "2097152",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
}

LOG_LEVELS: Mapping[str, str] = {
    "defaultLogLevel": "info",
    # They list every setting at every start.
    "log.kafka.server.KafkaConfig": "warn",
    "log.org.apache.kafka.common.config.AbstractConfig": "warn",
    "showDateTime": "true",
    "dateTimeFormat": "HH:mm:ss.SSS",
    "showThreadName": "false",
}


class Ports(NamedTuple):
    """Where the broker listens. To clients that come to `behind_proxy` it gives its address as `proxy`, on which it
    does not listen: a proxy of a test may.
    """

    broker: int
    controller: int
    behind_proxy: int
    proxy: int


def server_properties(ports: Ports, data: Path, overrides: Mapping[str, str]) -> str:
    """The text of server.properties: SETTINGS, the places, and what the caller wants otherwise."""
    own, behind_proxy = f"BROKER://{LOOPBACK}:{ports.broker}", f"PROXIED://{LOOPBACK}:{ports.behind_proxy}"
    places = {
        "listeners": f"{own},{behind_proxy},CONTROLLER://{LOOPBACK}:{ports.controller}",
        "advertised.listeners": f"{own},PROXIED://{LOOPBACK}:{ports.proxy}",
        "controller.quorum.voters": f"1@{LOOPBACK}:{ports.controller}",
        "log.dirs": str(data),
    }
    return "".join(f"{name}={value}\n" for name, value in {**SETTINGS, **places, **overrides}.items())
