"""How a long-running command is watched: its log, and over HTTP its metrics and its health."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec

from service.health import Answer, Health, Probe, Trouble
from service.logs import Troubles, logging_to_stderr
from service.metrics import Metrics, Source, of_database, of_log
from service.settings import Settings

PROGRESS_SECONDS: Final = 5.0
REQUEST_SECONDS_MAX: Final = 10.0

_log = logging.getLogger(__name__)


class Watch:
    """What a command is watched by, until it ends."""

    def __init__(self, settings: Settings, port: int | None, troubles: Troubles, held: ExitStack) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._port = port
        self._troubles = troubles
        self._held = held

    def serve(
        self,
        dsn: str,
        source: Source,
        *,
        trouble: Callable[[], str],
        idle_seconds: Callable[[], float],
        lag_max: int | None = None,
    ) -> None:
        """Serve metrics and health, if a port is given; the arguments are those of Health and Metrics.

        Raises OSError when the port is taken.
        """
        if self._port is None:
            return
        probe = Probe(dsn)
        self._held.callback(probe.close)
        for each in (source, of_database(probe), of_log(self._troubles)):
            self.metrics.watch(each)
        health = Health(probe, lag_max=lag_max, trouble=trouble, idle_seconds=idle_seconds, last_error=self._last_error)
        self._held.enter_context(serving(self._settings.metrics_host, self._port, self.metrics, health))
        _log.info("metrics and health at http://%s:%s", self._settings.metrics_host, self._port)

    def _last_error(self) -> Trouble | None:
        return None if self._troubles.last is None else Trouble(*self._troubles.last)


@contextmanager
def watched(settings: Settings, command: str, port: int | None) -> Iterator[Watch]:
    """Log to standard error while a command runs, and let it serve its metrics and health."""
    with logging_to_stderr(settings.log_format, command) as troubles, ExitStack() as held:
        yield Watch(settings, port, troubles, held)


def since(at: float | None) -> float:
    """Seconds since an instant of the monotonic clock; 0 for None."""
    return 0.0 if at is None else time.monotonic() - at


@contextmanager
def reporting(report: Callable[[], None]) -> Iterator[None]:
    """Report every few seconds, from a thread of its own."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(PROGRESS_SECONDS):
            report()

    thread = threading.Thread(target=run, name="progress")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# --- over HTTP ----------------------------------------------------------------------------------------------------


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS_MAX

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a probe every few seconds is no news."""


@contextmanager
def serving(host: str, port: int, metrics: Metrics, health: Health) -> Iterator[int]:
    """Serve /metrics, /health/live and /health/ready on a port (0: any that is free), which is given."""
    server = make_server(host, port, _application(metrics, health), _Server, _Handler)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _application(metrics: Metrics, health: Health) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    def respond(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        status, content_type, body = _response(environ["PATH_INFO"], environ.get("HTTP_ACCEPT", ""), metrics, health)
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [body]

    return respond


def _response(path: str, accept: str, metrics: Metrics, health: Health) -> tuple[str, str, bytes]:
    if path == "/metrics":
        body, content_type = metrics.render(accept)
        return "200 OK", content_type, body
    if path == "/health/live":
        return _told(health.live())
    if path == "/health/ready":
        return _told(health.ready())
    return "404 Not Found", "text/plain", b"There are /metrics, /health/live and /health/ready.\n"


def _told(answer: Answer) -> tuple[str, str, bytes]:
    status = "200 OK" if answer.ok else "503 Service Unavailable"
    return status, "application/json", msgspec.json.encode(answer) + b"\n"
