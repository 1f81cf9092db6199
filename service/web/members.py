"""Finding a member."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Response
from litestar.params import QueryParameter
from msgspec import Struct

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from service.http.access import FIGURES
from service.web.security import quoted
from service.web.visits import Visit, page

MEMBERS_SHOWN: Final = 50
_LAST_CHARACTER: Final = "\U0010ffff"

Name = Annotated[str, QueryParameter(max_length=64)]


class Found(Struct, frozen=True, kw_only=True):
    """A member of a list."""

    member: str
    status: str
    earned: int
    spent: int


def find_members(cursor: PgCursor, journals: list[int], prefix: str, after: str, limit: int) -> list[Found]:
    """Members whose names begin with a text and come after another, by name: one index range a journal."""
    first, last = max(prefix, after), prefix + _LAST_CHARACTER
    cursor.execute(
        "SELECT found.* FROM unnest(%s::integer[]) AS wanted (of_journal), LATERAL ("
        "SELECT member, status, earned, spent FROM balances WHERE journal = wanted.of_journal"
        " AND member >= %s AND member > %s AND member < %s ORDER BY member LIMIT %s) AS found"
        ' ORDER BY member COLLATE "C" LIMIT %s',
        (journals, first, after, last, limit, limit),
    )
    return [Found(**dict(zip(Found.__struct_fields__, row, strict=True))) for row in cursor.fetchall()]


@page("/members", "members", FIGURES)
async def members(visit: Visit, q: Name = "", after: Name = "") -> Response[Any]:
    """Members by the beginning of their name; the one whose whole name was given is shown at once."""
    wanted = q.strip().replace("\x00", "")

    def read(cursor: PgCursor, info: ProgrammeInfo) -> list[Found]:
        return find_members(cursor, info.journals, wanted, after.replace("\x00", ""), MEMBERS_SHOWN + 1)

    found = await visit.read(read, "balances")
    if wanted and not after and len(found) == 1 and found[0].member == wanted:
        return visit.redirect(visit.url(f"/members/{quoted(wanted)}"))
    shown = found[:MEMBERS_SHOWN]
    following = shown[-1].member if len(found) > MEMBERS_SHOWN else None
    return visit.render("members.html", q=wanted, members=shown, following=following)


HANDLERS: Final = (members,)
