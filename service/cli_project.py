"""`loyalty project`: the read models, brought up to date and kept so."""

from __future__ import annotations

import logging
from typing import Final

import click

from service.cli_reads import clearly
from service.console import EXIT_INTERRUPTED, count, say, stop
from service.metrics import of_projector
from service.options import metrics_port_option
from service.projector import Projector
from service.runtime import settle_for_batches
from service.settings import Settings
from service.stopping import stopping
from service.watching import reporting, since, watched
from service.workspace import opened

_log = logging.getLogger(__name__)


@click.command("project")
@click.option("--once", is_flag=True, help="End when everything recorded is folded in; default: follow until Ctrl-C.")
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Journals at a time.")
@metrics_port_option
@click.pass_obj
def project(settings: Settings, once: bool, threads: int, metrics_port: int | None) -> None:
    """Bring the read models up to date, and keep them so."""
    settle_for_batches()
    with (
        watched(settings, "project", metrics_port) as watch,
        opened(settings) as workspace,
        stopping(_log.info) as stopped,
    ):
        projector = Projector(workspace.database, threads=threads)
        watch.serve(
            workspace.database.dsn,
            of_projector(projector.progress),
            trouble=lambda: projector.trouble,
            idle_seconds=lambda: since(projector.turned_at),
            lag_max=settings.ready_lag_max,
        )
        if once:
            clearly(lambda: projector.run_once(stopped))
        else:
            with reporting(_Report(projector)):
                clearly(lambda: projector.follow(stopped))
        say(f"Folded in {count(projector.events, 'event')}.")
        if once and stopped.is_set():
            _log.info("Stopped. The next one goes on where this one ended.")
            stop(EXIT_INTERRUPTED)


class _Report:
    """A line of the log, where there was something to fold since the one before."""

    def __init__(self, projector: Projector) -> None:
        self._projector, self._events = projector, 0

    def __call__(self) -> None:
        folded = self._projector.events
        if folded > self._events:
            _log.info("folded in %s", count(folded - self._events, "event"))
            self._events = folded


COMMANDS: Final = (project,)
