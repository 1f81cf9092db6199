"""One event of the log as it was recorded, with its hash."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response
from litestar.params import PathParameter

from audit.proofs import event_document
from audit.verify_proof import canonical_bytes, leaf_hash
from ledger.codec import MEMBER_STREAM
from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from ledger.store.journal import EventRow, read
from service.http.access import AUDIT, FIGURES
from service.http.problems import problem
from service.web.visits import Visit, page

Journal = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]
Position = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]


@page("/events/{journal:int}/{position:int}", "", FIGURES, "event")
async def event(visit: Visit, journal: Journal, position: Position) -> Response[Any]:
    """An event by its place, with its neighbours in its stream."""

    def read_event(cursor: PgCursor, info: ProgrammeInfo) -> tuple[EventRow | None, dict[int, int]]:
        found = read(cursor, journal, after=position - 1, limit=1, upto=position) if journal in info.journals else []
        return (found[0], _neighbours(cursor, found[0])) if found else (None, {})

    row, neighbours = await visit.read(read_event)
    if row is None:
        raise problem("NOT_FOUND", f"The programme has no event at {journal}:{position}.")
    document = event_document(row)
    leaf = leaf_hash(canonical_bytes(document))
    stream = row.originator_id
    return visit.render(
        "event.html",
        event=row,
        member=stream.removeprefix(MEMBER_STREAM) if stream.startswith(MEMBER_STREAM) else None,
        state=_shown(row.state),
        document=msgspec.json.format(msgspec.json.encode(document), indent=2).decode(),
        leaf=leaf.hex(),
        is_intact=leaf == row.leaf_hash,
        before=neighbours.get(row.originator_version - 1),
        after=neighbours.get(row.originator_version + 1),
        may_prove=visit.may(AUDIT),
    )


def _neighbours(cursor: PgCursor, row: EventRow) -> dict[int, int]:
    """The positions of the events before and after one in its stream, by their versions."""
    cursor.execute(
        "SELECT originator_version, position FROM events"
        " WHERE journal = %s AND originator_id = %s AND originator_version = ANY (%s)",
        (row.journal, row.originator_id, [row.originator_version - 1, row.originator_version + 1]),
    )
    return dict(cursor.fetchall())


def _shown(state: bytes) -> str:
    """A state with an indent, or as it is where it is no JSON."""
    try:
        return msgspec.json.format(state, indent=2).decode()
    except msgspec.DecodeError:
        return state.decode(errors="backslashreplace")


HANDLERS: Final = (event,)
