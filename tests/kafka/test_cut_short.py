"""A log that was cut short when its broker crashed, and went on since: what is new has offsets that were taken."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from ledger.codec import encode
from ledger.engine import Ledger
from ledger.store import sources
from tests.broker import KafkaBroker
from tests.kafka.inflow import Inflow
from tests.waiting import wait_for

SENT, KEPT, MORE = 60, 40, 50


@pytest.mark.parametrize("reader", ["stays", "comes back"])
def test_nothing_of_it_is_skipped(reader: str, own_kafka: KafkaBroker, ledger: Ledger) -> None:
    """The partition stops and says from where on it was not read, though the log has our offset again; when somebody
    has accepted that, it is read from there.
    """
    inflow = Inflow(own_kafka, ledger, 4, partitions=1)
    for first in range(0, SENT, KEPT // 2):
        send(inflow, first, KEPT // 2)
    with ExitStack() as stack:
        if reader == "stays":
            stack.enter_context(inflow.consuming("cut short"))
        else:
            inflow.consume()
        wait_for(lambda: inflow.next_offsets() == {0: SENT})
        own_kafka.kill()
        cut_short(own_kafka.log.parent / "data" / f"{inflow.topic}-0", KEPT)
        own_kafka.start()
        assert inflow.ends() == {0: KEPT}
        send(inflow, SENT, MORE)
        if reader == "comes back":
            inflow.consume()
        wait_for(lambda: inflow.stopped() != "")
        assert f"cut short at offset {KEPT}, though everything before {SENT} was taken" in inflow.stopped()
        assert inflow.taken()["posted"] == SENT
        with ledger.database.transaction() as cur:
            assert sources.accept_gap(cur, inflow.topic, 0) == (SENT, KEPT)
        if reader == "comes back":
            inflow.consume()
        wait_for(lambda: inflow.next_offsets() == inflow.ends() == {0: KEPT + MORE})
    assert inflow.taken() == {"posted": SENT + MORE, "messages": SENT + MORE, "duplicate": 0, "rejected": 0}


def send(inflow: Inflow, first: int, count: int) -> None:
    """Purchases with ids from o`first` on."""
    bought = [
        inflow.club.buy("m", f"o{each}", dollars=5, minutes=1 + each / 10) for each in range(first, first + count)
    ]
    inflow.produce([(b"m", encode(command)) for command in bought])


def cut_short(folder: Path, offset: int) -> None:
    """Take the batches from an offset on out of the log of a broker that does not run, as when a disk lost them."""
    file, place = folder / f"{0:020}.log", 0
    content = file.read_bytes()
    while struct.unpack_from(">q", content, place)[0] < offset:
        place += 12 + struct.unpack_from(">i", content, place + 8)[0]
    assert struct.unpack_from(">q", content, place)[0] == offset
    with file.open("r+b") as log:
        log.truncate(place)
