"""How fresh the read models are that a command reads.

An embedded ledger has no process that follows it, so its read models are brought up to date first. Those of a server
are read as they are, with a note if they are behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from ledger.store.database import Database, PgCursor
from projections.checkpoints import ProjectionOutdated
from service.console import count, note
from service.read_models import catch_up
from service.settings import Settings


def freshen(settings: Settings, database: Database) -> None:
    """Bring the read models of an embedded ledger up to date."""
    if settings.database_url is None:
        try:
            catch_up(database)
        except ProjectionOutdated as error:
            raise click.ClickException(f"{error}: loyalty rebuild") from error


def note_if_behind(settings: Settings, cursor: PgCursor, journals: Sequence[int], *projections: str) -> None:
    """Tell where a read model of a server has not seen all events of some journals yet: how many, for the last one."""
    if settings.database_url is None:
        return
    cursor.execute(
        "SELECT coalesce(max(behind), 0)::bigint FROM ("
        "SELECT sum(journals.position - coalesce((SELECT max(folded.position) FROM projections folded"
        " WHERE folded.projection = model AND folded.journal = journals.journal), 0)) AS behind"
        " FROM unnest(%s::text[]) AS model CROSS JOIN journals WHERE journals.journal = ANY (%s) GROUP BY model"
        ") models",
        (list(projections), list(journals)),
    )
    (behind,) = cursor.fetchone() or (0,)
    if behind:
        note(f"{count(behind, 'event')} not in yet; loyalty project keeps the read models up.")
