"""What goes into the ledger's door, and what comes out."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ledger.commands import AnyCommand, RecordPurchase, RecordReturn
from ledger.rejections import Rejection


class Malformed(Struct, frozen=True, kw_only=True, gc=False):
    """A message that is no command, with as much of its identity as could be read."""

    rejection: Rejection
    programme: str = ""
    source: str = ""
    id: str = ""
    member: str = ""
    type: str = ""


class Place(Struct, frozen=True, gc=False):
    """Where in a partition of a topic a message stood, and what came with it: what is refused is kept with all of it.

    `timestamp_ms` is that of the message, -1 where it has none. A header's name is bytes where it is not UTF-8.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = -1
    key: bytes | None = None
    headers: tuple[tuple[str | bytes, bytes | None], ...] = ()


class Submission(Struct, frozen=True, gc=False):
    """A command to handle.

    `body` is the message as it came and `origin` where from (a file and line, a partition and offset): what is refused
    is kept with both. With neither body nor `place` nothing is kept, for callers who see the refusal themselves.
    """

    command: AnyCommand | Malformed
    body: bytes | None = None
    origin: str = ""
    place: Place | None = None


class Outcome(Struct, frozen=True, gc=False):
    """What became of a submission. `first` and `last` are the positions of its events in `journal`, which is that of
    `command.member`; 0 where it was rejected. A duplicate has those of the first time. "taken": the journal took the
    message at this place before, and counted then what became of it.
    """

    status: Literal["posted", "duplicate", "rejected", "taken"]
    journal: int = 0
    first: int = 0
    last: int = 0
    rejection: Rejection | None = None


POSTED_DUPLICATE_REJECTED: Final = ("posted", "duplicate", "rejected")
"""What becomes of a message that was not taken before, in the order in which amounts are kept."""


def add_named_amount(amounts: dict[str, list[int]], command: AnyCommand | Malformed, status: str) -> None:
    """Add the amount that a message names to those by currency and status: of a purchase its lines; less for a return,
    as far as it names an amount or lines. Others name none.
    """
    if isinstance(command, RecordPurchase):
        amount = sum([line.amount_minor for line in command.lines])
    elif isinstance(command, RecordReturn):
        amount = -(command.amount_minor or sum(line.amount_minor for line in command.lines or ()))
    else:
        return
    sums = amounts.get(command.currency)
    if sums is None:
        sums = amounts[command.currency] = [0, 0, 0]
    sums[POSTED_DUPLICATE_REJECTED.index(status)] += amount
