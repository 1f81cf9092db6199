"""What waits is taken together, as long as each partition simply goes on under the same claim."""

from __future__ import annotations

import pytest

from consumers.backlog import TAKEN_MESSAGES_MAX, Backlog, Batch
from ledger.rejections import Rejection
from ledger.store.sources import Read
from ledger.submissions import Malformed, Place, Submission


def batch(partition: int, first: int, count: int, epoch: int = 1) -> Batch:
    """`count` messages of a partition from an offset on."""
    refused = Malformed(rejection=Rejection("NOT_JSON", "message", "must be a JSON object"))
    messages = [Submission(refused, b"x", "", Place("t", partition, first + number)) for number in range(count)]
    read = Read(
        topic="t", partition=partition, epoch=epoch, first_offset=first, next_offset=first + count, messages=count
    )
    return Batch(messages, [read], {("t", partition): epoch}, count)


def taken(*batches: Batch) -> list[tuple[list[tuple[int, int]], list[tuple[int, int, int, int]]]]:
    """What each take gives: places, and reads as (partition, first, next, messages)."""
    backlog = Backlog()
    for one in batches:
        backlog.put(one)
    found = []
    while not backlog.is_idle():
        one = backlog.take()
        assert one is not None
        places = [(s.place.partition, s.place.offset) for s in one.submissions if s.place is not None]
        found.append((places, [(r.partition, r.first_offset, r.next_offset, r.messages) for r in one.reads]))
        backlog.done(one)
    assert backlog.has_room()
    return found


def test_polls_that_go_on_are_one() -> None:
    assert taken(batch(0, 5, 2), batch(1, 9, 1), batch(0, 7, 1)) == [
        ([(0, 5), (0, 6), (1, 9), (0, 7)], [(0, 5, 8, 3), (1, 9, 10, 1)])
    ]


@pytest.mark.parametrize(
    "following", [batch(0, 8, 1), batch(0, 7, 1, epoch=2), batch(0, 5, 2)], ids=["a gap", "another claim", "again"]
)
def test_a_partition_that_does_not_go_on_is_taken_by_itself(following: Batch) -> None:
    assert len(taken(batch(0, 5, 2), following)) == 2


def test_no_more_is_taken_together_than_one_transaction_should_hold() -> None:
    most = taken(batch(0, 0, TAKEN_MESSAGES_MAX - 1), batch(0, TAKEN_MESSAGES_MAX - 1, 1), batch(1, 0, 1))
    assert [len(places) for places, _ in most] == [TAKEN_MESSAGES_MAX, 1]
