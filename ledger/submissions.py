"""What goes into the ledger's door, and what comes out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ledger.commands import AnyCommand
from ledger.rejections import Rejection


class Malformed(Struct, frozen=True, kw_only=True, gc=False):
    """A message that is no command, with as much of its identity as could be read."""

    rejection: Rejection
    programme: str = ""
    source: str = ""
    id: str = ""
    member: str = ""
    type: str = ""


class Submission(Struct, frozen=True, gc=False):
    """A command to handle.

    `body` is the message as it came and `origin` where from (a file and line, a partition and offset): what is refused
    is kept with both. Without a body nothing is kept, for callers who see the refusal themselves.
    """

    command: AnyCommand | Malformed
    body: bytes | None = None
    origin: str = ""


class Outcome(Struct, frozen=True, gc=False):
    """What became of a submission. `first` and `last` are the positions of its events in `journal`, which is that of
    `command.member`; 0 where it was rejected. A duplicate has those of the first time.
    """

    status: Literal["posted", "duplicate", "rejected"]
    journal: int = 0
    first: int = 0
    last: int = 0
    rejection: Rejection | None = None
