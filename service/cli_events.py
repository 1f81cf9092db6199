"""`loyalty events`: the log itself."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import click
import msgspec
from msgspec import Struct

from ledger.codec import MEMBER_STREAM
from ledger.programmes import journal_of
from service.cli_reads import AtLeast
from service.console import note, show_json, show_table
from service.log_events import EVENTS_MAX, LogEvent, read_changes, read_stream_from
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import opened


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
            if member:
                stream = MEMBER_STREAM + member
                found = read_stream_from(cursor, journals[0], stream, position=first, limit=limit)
            else:
                found = read_changes(cursor, dict.fromkeys(journals, first - 1), limit)
    if as_json:
        for event in found:
            show_json(event)
    elif found:
        _show(found)
    else:
        note("None.")
    if len(found) == limit:
        note(f"There may be more: --from {found[-1].journal}:{found[-1].position + 1}")


def _show(found: list[LogEvent]) -> None:
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
