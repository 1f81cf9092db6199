"""Kafka for tests: any that answers (`Kafka`), and one of our own that can be killed (`KafkaBroker`)."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.broker.jars import kafka_jars
from tests.broker.ports import LOOPBACK, ReservedPort, first_free_port
from tests.broker.settings import LOG_LEVELS, Ports, server_properties
from tests.broker.unavailable import KafkaUnavailable
from tests.broker.watcher import Watcher
from tests.waiting import PATIENCE_SECONDS, wait_for

START_SECONDS_MAX = 180.0  # after an unclean stop it first reads its logs again
STOP_SECONDS_MAX = 20.0
STARTS_MAX = 3
LOG_LINES_MAX = 30
HEAP_MB_MAX = 384


class Kafka:
    """A Kafka that answers at `bootstrap` (host:port), whoever runs it."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @property
    def bootstrap(self) -> str:
        """host:port, for `bootstrap_servers`."""
        return self._bootstrap

    def admin(self, timeout_seconds: float = PATIENCE_SECONDS) -> KafkaAdminClient:
        """A new admin client, to be closed by the caller; KafkaError if nothing answers in time."""
        return KafkaAdminClient(
            bootstrap_servers=self.bootstrap,
            bootstrap_timeout_ms=int(timeout_seconds * 1000),
            reconnect_backoff_max_ms=500,  # it grows to 30 s otherwise
        )

    def create_topic(self, name: str, partitions: int = 1, **config: object) -> None:
        """Create a topic and wait until each partition has a leader.

        Settings are Kafka's with underscores for dots: `create_topic("t", 2, cleanup_policy="compact")`.

        Raises kafka.errors.TopicAlreadyExistsError, or InvalidConfigurationError for a setting that is none.
        """
        configs = {key.replace("_", "."): _as_setting(value) for key, value in config.items()}
        with self.admin() as admin:
            admin.create_topics({name: {"num_partitions": partitions, "configs": configs}})
            admin.wait_for_topics([name], timeout_ms=int(PATIENCE_SECONDS * 1000))

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until the broker has forgotten it; its name can then be used again.

        Raises kafka.errors.UnknownTopicOrPartitionError if there is none.
        """
        with self.admin() as admin:
            admin.delete_topics([name])
            wait_for(lambda: name not in admin.list_topics(), pause_seconds=0.1)


class KafkaBroker(Kafka):
    """A broker of our own in a temporary directory, as a context manager or from `start` to `close`.

    It can be stopped, killed and started again on the same port and data, and paused. When the process that made it
    ends, in whatever way, the broker is killed and its directory removed.

    `first_port` makes it take that port or the next free one, instead of any. `properties` are added to
    server.properties, or replace what stands there.
    """

    def __init__(self, *, first_port: int | None = None, properties: Mapping[str, str] | None = None) -> None:
        self._first_port = first_port
        self._properties = dict(properties or {})
        self._cluster_id = _new_cluster_id()
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._place: _Place | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._placed.port.number}"

    @property
    def ports(self) -> Ports:
        """Where it listens, and where a proxy of a test may."""
        return self._placed.ports

    @property
    def process_id(self) -> int | None:
        """Of the broker's process; None while it does not run."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """What the broker wrote, over all its starts, until `close` removes it."""
        return self._placed.directory / "broker.log"

    def log_tail(self, lines_max: int = LOG_LINES_MAX) -> str:
        """The last lines of the log, for a failure's message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join(lines[-lines_max:])

    def start(self) -> Self:
        """Start it and wait until it answers; after `stop` or `kill`, on the same port and data.

        Raises KafkaUnavailable, with the end of the log, if it cannot be had or does not answer in START_SECONDS_MAX.
        """
        assert not self.running, "the broker runs already"
        first_start = self._place is None
        for starts_left in reversed(range(STARTS_MAX)):
            try:
                self._start_once()
                return self
            except _PortTaken:  # between our look and Java's bind
                refused = KafkaUnavailable(f"starting it on {self.bootstrap}: port taken", detail=self.log_tail())
                if not first_start:
                    raise refused from None
                self._first_port = self._first_port and self._placed.port.number + 1
                self.close()
                if not starts_left:
                    raise refused from None
            except BaseException:
                if first_start:
                    self.close()
                raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self) -> None:
        """Shut it down in order (SIGTERM), or by force after STOP_SECONDS_MAX. Its data stays."""
        if not self.running or self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._ended()

    def kill(self) -> None:
        """SIGKILL: the next start finds an unclean log and recovers it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._ended()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self.running, "the broker does not run"
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # until the last of its threads has stopped
        self._paused = True

    def resume(self) -> None:
        """SIGCONT after `pause`; else nothing."""
        if self._paused and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def wait(self) -> int:
        """Wait until the process ends by itself; its exit code."""
        assert self._process is not None, "the broker was not started"
        return self._process.wait()

    def close(self) -> None:
        """Kill it (its data goes too, so it need not be written out), remove the directory, give the port back."""
        self.kill()
        if self._place is not None:
            self._place.close()
            self._place = None

    @property
    def _placed(self) -> _Place:
        assert self._place is not None, "the broker was not started, or was closed"
        return self._place

    def _start_once(self) -> None:
        java = _java()
        jars = kafka_jars()
        if self._place is None:
            self._place = _Place(self._first_port)
            self._place.write_properties(self._properties)
            self._format(java, jars)
        self._launch(java, jars)
        self._wait_until_ready()

    def _format(self, java: str, jars: Path) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id, "-c", str(self._placed.properties)]
        options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *_log_options()]
        command = [java, *options, "-cp", f"{jars}/*", *tool]
        run = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False)
        if "UnsupportedClassVersionError" in run.stderr:
            raise KafkaUnavailable(f"Java ({java}): too old, Kafka needs 17 or newer")
        if run.returncode != 0:
            raise KafkaUnavailable(
                f"formatting its storage: exit code {run.returncode}", detail=run.stdout + run.stderr
            )

    def _launch(self, java: str, jars: Path) -> None:
        options = ["-Xms128m", f"-Xmx{HEAP_MB_MAX}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        command = [java, *options, *_log_options(), "-cp", f"{jars}/*", "kafka.Kafka", str(self._placed.properties)]
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._placed.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for us, who then stop it
            )
        self._placed.watcher.watch(self._process.pid)

    def _wait_until_ready(self) -> None:
        try:
            _wait_until(self._answers, START_SECONDS_MAX, f"no answer from {self.bootstrap}")
        except (TimeoutError, _Exited) as error:
            tail = self.log_tail()
            self.kill()
            raise KafkaUnavailable(f"starting it: {error}", detail=f"The end of its log:\n{tail}") from None

    def _answers(self) -> bool:
        """Whether the broker that answers is this one, by its cluster's id, and open to clients."""
        if b"Address already in use" in self.log.read_bytes()[self._log_start :]:
            self.kill()  # by itself it takes seconds to end
            raise _PortTaken
        if self._process is not None and self._process.poll() is not None:
            raise _Exited(f"the process ended with exit code {self._process.returncode}")
        if not _listens(self._placed.port.number):
            return False
        try:
            with self.admin(timeout_seconds=2.0) as admin:
                cluster = admin.describe_cluster()
        except KafkaError:
            return False
        return cluster["cluster_id"] == self._cluster_id and not any(b.get("is_fenced") for b in cluster["brokers"])

    def _ended(self) -> None:
        self._process = None
        self._paused = False
        if self._place is not None:
            self._place.watcher.watch(None)


class _Place:
    """Where a broker lives until it is closed: a directory, its ports, and the watcher over them."""

    def __init__(self, first_port: int | None) -> None:
        self.port = ReservedPort() if first_port is None else first_free_port(first_port)
        self._others = [ReservedPort() for _ in Ports._fields[1:]]
        self.ports = Ports(self.port.number, *(each.number for each in self._others))
        self.directory = Path(tempfile.mkdtemp(prefix="loyalty-kafka-"))
        self.properties = self.directory / "server.properties"
        self.watcher = Watcher(self.directory)

    def write_properties(self, overrides: Mapping[str, str]) -> None:
        data = self.directory / "data"
        self.properties.write_text(server_properties(self.ports, data, overrides))

    def close(self) -> None:
        self.watcher.close()
        for port in (self.port, *self._others):
            port.release()


class _PortTaken(Exception):
    """Another process got the port first."""


class _Exited(Exception):
    """The broker's process ended while it was starting."""


def _java() -> str:
    """JAVA_HOME's java or the one on the PATH; KafkaUnavailable without either."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home}) or on the PATH" if home else "on the PATH, and JAVA_HOME is not set"
        raise KafkaUnavailable(f"Java: there is no java {where}")
    return java


def _log_options() -> list[str]:
    return [f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in LOG_LEVELS.items()]


def _new_cluster_id() -> str:
    """16 random bytes in base64url; one that starts with a dash would be read as an option."""
    while (new := base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")).startswith("-"):
        pass
    return new


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False


def _as_setting(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wait_until(condition: Callable[[], bool], seconds_max: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{otherwise} after {seconds_max:.0f} s")
        time.sleep(0.1)
