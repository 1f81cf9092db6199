"""The expiry sweep: find the members of whom something expired or timed out, and let the ledger recognise it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger.commands import ExpirePoints
from ledger.programmes import ProgrammeInfo
from ledger.submissions import Submission
from service.console import instant
from service.workspace import Workspace

SWEEP_BATCH_MESSAGES: Final = 2_000
SOURCE: Final = "expiry-sweep"


class Swept(Struct, kw_only=True):
    """Members of whom something was expired now, or had been by a sweep of the same instant; of whom nothing was due
    (a hold that is still open); and those refused for another reason.
    """

    members: int = 0
    nothing_due: int = 0
    refused: int = 0
    first_refusal: str = ""


def expire(workspace: Workspace, info: ProgrammeInfo, as_of: datetime) -> Swept:
    """Recognise what has expired or timed out by `as_of`, of every member of a programme.

    The read models must have been brought up to date: they say whom to look at, and the ledger decides. The id of
    each command is made of the instant and the member, so that a sweep that broke off can be run again.
    """
    swept = Swept()
    for members in _candidates(workspace, info, as_of):
        submissions = [Submission(_command(info, member, as_of)) for member in members]
        for outcome in workspace.ledger.handle(submissions):
            if outcome.rejection is None:
                swept.members += 1
            elif outcome.rejection.code == "NOTHING_TO_EXPIRE":
                swept.nothing_due += 1
            else:
                swept.refused += 1
                swept.first_refusal = swept.first_refusal or str(outcome.rejection)
    return swept


def _command(info: ProgrammeInfo, member: str, as_of: datetime) -> ExpirePoints:
    return ExpirePoints(
        id=f"expire-{instant(as_of)}-{member}",
        source=SOURCE,
        programme=info.programme.programme,
        occurred_at=as_of,
        member=member,
    )


def _candidates(workspace: Workspace, info: ProgrammeInfo, as_of: datetime) -> Iterator[list[str]]:
    """Members with an open layer that expires by `as_of`, or with points held, a page at a time."""
    for journal in info.journals:
        after = ""
        while True:
            with workspace.database.connection() as cursor:
                cursor.execute(
                    "SELECT DISTINCT member FROM ("
                    " SELECT member FROM lots WHERE journal = %(journal)s AND expires_at <= %(as_of)s"
                    " UNION ALL SELECT member FROM balances WHERE journal = %(journal)s AND held > 0"
                    ") due WHERE member > %(after)s ORDER BY member LIMIT %(limit)s",
                    {"journal": journal, "as_of": as_of, "after": after, "limit": SWEEP_BATCH_MESSAGES},
                )
                members = [member for (member,) in cursor.fetchall()]
            if not members:
                break
            yield members
            after = members[-1]
