"""Runs: what an auditor asks for that takes long. One at a time of a server, in a process of its own (`audit_work`).

So it slows no request, can be ended, and gives its memory back. What was asked, by whom and when, and what came of it
stand in the table `audit_runs`: any server of the database can tell how far a run is.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from eventsourcing.persistence import PersistenceError
from msgspec import Struct

from audit.verify import VerifyReport
from ledger.programmes import ProgrammeInfo
from ledger.store.database import Database, PgCursor
from projections.replay import ProgrammeReplay
from service.audit_work import Job, Replay, Restated, Said, Verify, Work
from service.keys import ApiKey

SECONDS_MAX: Final = 3_600.0
"""A run that takes longer is ended."""
RUNS_KEPT: Final = 100
"""Of a programme; with a new one, older ones go."""
TOLD_EVERY_SECONDS: Final = 1.0
LOST_AFTER_SECONDS: Final = 60
STOPPED: Final = "stopped"
TOO_LONG: Final = "too-long"
ENDED: Final = "ended"
LOST: Final = "lost"

_COLUMNS: Final = (
    "run, key, asked_by, asked_at, job, done, total, finished_at, failure, result,"
    f" finished_at IS NULL AND seen_at < clock_timestamp() - interval '{LOST_AFTER_SECONDS} seconds'"
)

_log = logging.getLogger(__name__)


class Busy(Exception):
    """The server works at another run, or is about to stop."""


class Run(Struct, frozen=True, kw_only=True):
    """A run. `done` of `total` events; both are 0 where that is not known. `failure`: "" or why there is no result:
    STOPPED (with its server), TOO_LONG, ENDED (its process, by itself), LOST (its server is gone), or an exception.
    """

    run: int
    key: str
    asked_by: str
    asked_at: datetime
    job: Job
    done: int
    total: int
    finished_at: datetime | None
    failure: str
    result: VerifyReport | ProgrammeReplay | Restated | None

    @property
    def state(self) -> Literal["running", "failed", "done"]:
        """Whether there is a result, will be one, or will not."""
        if self.failure:
            return "failed"
        return "running" if self.result is None else "done"


def read_run(cur: PgCursor, programme: str, run: int) -> Run | None:
    """A run of a programme; None where there is none of the number."""
    cur.execute(f"SELECT {_COLUMNS} FROM audit_runs WHERE programme = %s AND run = %s", (programme, run))
    row = cur.fetchone()
    return None if row is None else _run(row)


def read_verifications(cur: PgCursor, programme: str, limit: int) -> list[Run]:
    """The newest verifications of a programme, the newest first."""
    cur.execute(
        f"SELECT {_COLUMNS} FROM audit_runs WHERE programme = %s AND job LIKE %s ORDER BY run DESC LIMIT %s",
        (programme, '{"type":"verify"%', limit),
    )
    return [_run(row) for row in cur.fetchall()]


def _run(row: tuple[Any, ...]) -> Run:
    number, key, asked_by, asked_at, text, done, total, finished_at, failure, result, lost = row
    job = msgspec.json.decode(text, type=Job)
    kind = VerifyReport if isinstance(job, Verify) else ProgrammeReplay if isinstance(job, Replay) else Restated
    return Run(
        run=number,
        key=key,
        asked_by=asked_by,
        asked_at=asked_at,
        job=job,
        done=done,
        total=total,
        finished_at=finished_at,
        failure=LOST if lost else failure,
        result=None if result is None else msgspec.json.decode(result, type=kind),
    )


class AuditRuns:
    """The runs of one server."""

    def __init__(self, database: Database, *, seconds_max: float = SECONDS_MAX) -> None:
        self._database = database
        self._seconds_max = seconds_max
        self._lock = threading.Lock()
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None

    def start(self, info: ProgrammeInfo, key: ApiKey, job: Job) -> int:
        """Begin a run that a key asked for; its number. Raises Busy, and errors of eventsourcing.persistence."""
        with self._lock:
            if self._stopping or (self._process is not None and self._process.poll() is None):
                raise Busy
            if self._watcher is not None:
                self._watcher.join()  # it writes down what came of the run before
            run = self._insert(info.programme.programme, key, job)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.audit_work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is for the server, which ends this
            )
            work = Work(dsn=self._database.dsn, journals=info.journals, job=job)
            self._watcher = threading.Thread(target=self._watch, args=(self._process, run, work), daemon=True)
            self._watcher.start()
            return run

    def stop(self) -> None:
        """End the run that is under way, and begin none any more."""
        with self._lock:
            self._stopping = True
            if self._process is not None:
                self._process.kill()
        if self._watcher is not None:
            self._watcher.join()

    def _insert(self, programme: str, key: ApiKey, job: Job) -> int:
        with self._database.transaction() as cur:
            cur.execute(
                "INSERT INTO audit_runs (programme, key, asked_by, job) VALUES (%s, %s, %s, %s) RETURNING run",
                (programme, key.key, key.name, msgspec.json.encode(job).decode()),
            )
            ((run,),) = cur.fetchall()
            cur.execute(
                "DELETE FROM audit_runs WHERE programme = %s AND run <= (SELECT run FROM audit_runs"
                " WHERE programme = %s ORDER BY run DESC OFFSET %s LIMIT 1)",
                (programme, programme, RUNS_KEPT),
            )
        return int(run)

    def _watch(self, process: subprocess.Popen[bytes], run: int, work: Work) -> None:
        """Give the process its work, and tell in the table how far it is, until it ends."""
        said = [Said()]
        ended = threading.Event()
        teller = threading.Thread(target=self._tell_on, args=(run, said, ended), daemon=True)
        teller.start()
        too_long = threading.Event()

        def end_late() -> None:
            too_long.set()  # first: whoever sees that the process is gone asks for it
            process.kill()

        late = threading.Timer(self._seconds_max, end_late)
        late.start()
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it was ended before it began
                process.stdin.write(msgspec.json.encode(work) + b"\n")
                process.stdin.close()
            for line in process.stdout:
                if line.endswith(b"\n"):  # else it was ended in the middle of it
                    said[0] = msgspec.json.decode(line, type=Said)
        late.cancel()
        ended.set()
        teller.join()
        last = said[0]
        if last.failure:
            _log.error("run %d failed: %s\n%s", run, last.failure, last.where)
        elif not last.result:
            failure = STOPPED if self._stopping else TOO_LONG if too_long.is_set() else ENDED
            last = msgspec.structs.replace(last, failure=failure)
        self._tell(run, last)

    def _tell_on(self, run: int, said: list[Said], ended: threading.Event) -> None:
        """Tell every second how far it is, and that the server is there; what it says at its end comes later."""
        while not ended.wait(TOLD_EVERY_SECONDS):
            self._tell(run, Said(done=said[0].done, total=said[0].total))

    def _tell(self, run: int, said: Said) -> None:
        try:
            with self._database.connection() as cur:
                cur.execute(
                    "UPDATE audit_runs SET done = greatest(done, %s), total = greatest(total, %s), failure = %s,"
                    " result = nullif(%s, ''), finished_at = CASE WHEN %s THEN clock_timestamp() END,"
                    " seen_at = clock_timestamp() WHERE run = %s",
                    (said.done, said.total, said.failure, said.result, bool(said.failure or said.result), run),
                )
        except PersistenceError as error:
            _log.warning("run %d: the database failed: %s", run, type(error).__name__)
