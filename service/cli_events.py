"""`loyalty events`: the log itself."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import click
import msgspec
from msgspec import Raw, Struct

from ledger.programmes import journal_of
from ledger.store.database import PgCursor
from service.cli_reads import AtLeast
from service.console import note, show_json, show_table
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import opened

EVENTS_MAX: Final = 1_000


class Recorded(Struct, frozen=True, kw_only=True):
    """An event as it was recorded; `data` is what schemas/events says of its topic."""

    journal: int
    position: int
    stream: str
    version: int
    topic: str
    recorded_at: datetime
    data: Raw


class _Said(Struct, frozen=True):
    occurred_at: datetime
    source: str
    id: str


@click.command("events")
@click.argument("member", default="")
@click.option("--from", "start", type=AtLeast(), default=None, help="The first to show (default: of every journal).")
@click.option("--limit", type=click.IntRange(1, EVENTS_MAX), default=100, show_default=True)
@click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with all that the event says.")
@click.pass_obj
def events(
    settings: Settings, member: str, start: tuple[int, int] | None, limit: int, programme: str, as_json: bool
) -> None:
    """Show events as they were recorded, journal by journal: those of MEMBER, or all of the programme."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        journals = [journal_of(info, member)] if member else list(info.journals)
        if start is not None and start[0] not in journals:
            whose = "the member's" if member else "one of the programme's"
            raise click.UsageError(f"--from: journal {start[0]} is not {whose}")
        journals, first = ([start[0]], start[1]) if start else (journals, 1)
        with workspace.database.connection() as cursor:
            found = _read(cursor, journals, first, f"member-{member}" if member else "", limit)
    if as_json:
        for event in found:
            show_json(event)
    elif found:
        _show(found)
    else:
        note("None.")
    if len(found) == limit:
        note(f"There may be more: --from {found[-1].journal}:{found[-1].position + 1}")


def _read(cursor: PgCursor, journals: list[int], first: int, stream: str, limit: int) -> list[Recorded]:
    of_stream = "AND originator_id = %(stream)s" if stream else ""
    cursor.execute(
        "SELECT journal, position, originator_id, originator_version, topic, recorded_at, state FROM events"
        f" WHERE journal = ANY (%(journals)s) AND position >= %(first)s {of_stream}"
        " ORDER BY journal, position LIMIT %(limit)s",
        {"journals": journals, "first": first, "stream": stream, "limit": limit},
    )
    return [
        Recorded(
            journal=journal,
            position=position,
            stream=stream,
            version=version,
            topic=topic,
            recorded_at=recorded_at,
            data=Raw(bytes(state)),
        )
        for journal, position, stream, version, topic, recorded_at, state in cursor.fetchall()
    ]


def _show(found: list[Recorded]) -> None:
    columns = ("#journal", "#position", "topic", "occurred_at", "recorded_at", "stream", "#version", "source", "id")
    said = [msgspec.json.decode(event.data, type=_Said) for event in found]
    show_table(
        columns,
        (
            (
                event.journal,
                event.position,
                event.topic,
                data.occurred_at,
                event.recorded_at,
                event.stream,
                event.version,
                data.source,
                data.id,
            )
            for event, data in zip(found, said, strict=True)
        ),
    )


COMMANDS: Final = (events,)
