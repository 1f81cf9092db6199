"""`loyalty serve`: the HTTP API and the web console."""

from __future__ import annotations

import logging
from typing import Final

import click

from audit.verify_proof import VerifierKey
from service.cli_proofs import key_option
from service.console import say
from service.options import metrics_port_option
from service.settings import Settings
from service.watching import watched
from service.workspace import opened

_log = logging.getLogger(__name__)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0: any that is free.")
@click.option(
    "--project/--no-project",
    default=None,
    help="Keep the read models up in this process too (default: of an embedded database).",
)
@click.option(
    "--wait", type=click.FloatRange(0, 60), default=10.0, show_default=True, help="Seconds that at_least waits for."
)
@click.option(
    "--client-seconds",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    help="For a body to arrive, and for an answer to be taken.",
)
@click.option(
    "--requests-per-second",
    type=click.FloatRange(0.1),
    default=10_000.0,
    show_default=True,
    help="Of one key; twice as many at once.",
)
@key_option
@metrics_port_option
@click.pass_obj
def serve(
    settings: Settings,
    host: str,
    port: int,
    project: bool | None,
    wait: float,
    client_seconds: float,
    requests_per_second: float,
    keys: tuple[VerifierKey, ...],
    metrics_port: int | None,
) -> None:
    """Serve the HTTP API and the web console until Ctrl-C, then finish what was accepted."""
    from service.http import server
    from service.http.app import create_app
    from service.http.backend import Backend, Limits
    from service.web.app import answer_error, console

    listening = server.bind(host, port)
    with (
        watched(settings, "serve", metrics_port) as watch,
        opened(settings, watch.metrics.observe_transaction) as workspace,
    ):
        follow = settings.database_url is None if project is None else project
        limits = Limits(
            wait_seconds=wait,
            read_seconds=settings.read_seconds,
            client_seconds=client_seconds,
            requests_per_second=requests_per_second,
            requests_at_once=max(1, round(2 * requests_per_second)),
        )
        backend = Backend(workspace, limits, follow=follow, verifier_keys=keys)
        app = create_app(backend, beside=[console()], errors=answer_error)
        watch.metrics.watch_number(
            "group_commit_waiting", "Commands that wait for the transaction before them.", backend.queue.waiting
        )
        watch.serve(workspace.database.dsn, lambda: (), trouble=lambda: "", idle_seconds=lambda: 0.0)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        say(f"Listening on {url}, described at /v1/docs.")
        say(f"The web console is at {url}/console; sign in with a key: loyalty key create.")
        _log.info("Ctrl-C ends it.")
        server.serve(app, backend, listening)
        _log.info("Stopped: what was accepted is done.")


COMMANDS: Final = (serve,)
