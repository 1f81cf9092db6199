"""A byte that changes on its way from the broker is noticed; what it stood in is fetched again."""

from __future__ import annotations

import pytest

from ledger.engine import Ledger
from tests.broker import Kafka, KafkaBroker
from tests.faults.tcp_proxy import TcpProxy
from tests.kafka.inflow import Inflow
from tests.waiting import wait_for


@pytest.mark.parametrize("poll_records_max", [3, 500])
def test_the_partition_goes_on(poll_records_max: int, own_kafka: KafkaBroker, ledger: Ledger) -> None:
    """Whether the bad batch is read at once or in parts: each message is taken once, as it was sent."""
    with TcpProxy(own_kafka.ports.proxy, own_kafka.ports.behind_proxy) as network:
        inflow = Inflow(Kafka(network.address), ledger, 1, partitions=2)
        inflow.produce(inflow.purchases(60))
        network.corrupt(b'"o37"')
        with inflow.consuming("corrupt", poll_records_max=poll_records_max):
            wait_for(lambda: inflow.next_offsets() == inflow.ends())
        assert network.corrupted.is_set()
        inflow.assert_exact(ledger)
