"""What stands behind the HTTP API: the ledger with its queue, pools of readers, keys, and threads for what blocks."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from eventsourcing.persistence import PersistenceError
from msgspec import Struct

from audit.verify_proof import VerifierKey
from ledger.engine import is_passing
from ledger.group_commit import GroupCommit
from ledger.programmes import ProgrammeInfo, read_programme
from ledger.store.database import Database, PgCursor
from ledger.store.deadlines import timed_out
from ledger.store.listener import Listener
from ledger.submissions import Outcome, Submission
from projections.balances import PREPARE_BALANCES, Balance, balances_of, balances_query
from projections.checkpoints import ProjectionOutdated
from service.audit_runs import AuditRuns
from service.http.group_read import GroupRead
from service.http.key_ring import KeyRing
from service.http.loop_reader import LoopReader
from service.http.problems import problem
from service.http.single_flight import SingleFlight
from service.projector import Projector
from service.workspace import Workspace

READ_THREADS: Final = 12
"""Reads at a time; each has a connection. More only wait for the interpreter's lock."""
COMMAND_THREADS: Final = 4
"""Batches at a time. They are not the threads of reads: how long a commit takes is not bounded, a read is."""
LISTEN_SECONDS: Final = 0.5
USES_RECORDED_EVERY_SECONDS: Final = 30.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Limits(Struct, frozen=True, kw_only=True):
    """What a server takes: bytes of a body, seconds that a client has to send one and to take what waits for it,
    requests a second of a key (and how many at once beyond that), seconds to wait for a read model, and seconds that a
    read may take.
    """

    body_bytes: int = 1 << 20
    batch_bytes: int = 32 << 20
    client_seconds: float = 30.0
    requests_per_second: float = 10_000.0
    requests_at_once: int = 20_000
    wait_seconds: float = 10.0
    read_seconds: float = 30.0
    streams: int = 200


class Backend:
    """The ledger as the handlers see it; made in `create_app`, closed by its lifespan.

    Commands go through the queue of group commit and answer on the event loop: a request that waits holds no thread.
    Reads run in threads, those that there are most of on the event loop, on connections that act as the reader role.
    """

    def __init__(
        self,
        workspace: Workspace,
        limits: Limits | None = None,
        *,
        follow: bool = False,
        verifier_keys: Sequence[VerifierKey] = (),
    ) -> None:
        self.limits = limits or Limits()
        self.verifier_keys = verifier_keys
        self.ledger = workspace.ledger
        self._database = workspace.database
        read_seconds = self.limits.read_seconds
        self.readers = Database(
            workspace.database.dsn,
            "loyalty_reader",
            pool_size=READ_THREADS,
            max_overflow=0,
            pool_timeout=min(5.0, read_seconds),
            seconds_max=read_seconds,
        )
        self.writers = Database(
            workspace.database.dsn, pool_size=2, pool_timeout=min(5.0, read_seconds), seconds_max=read_seconds
        )
        """For keys, sessions and runs: what is no command, and must not keep a thread of the reads."""
        self.audits = AuditRuns(self.writers)
        self.keys = KeyRing(self.writers, self.limits.requests_per_second, self.limits.requests_at_once)
        self.queue = GroupCommit(workspace.ledger)
        self.stopping = threading.Event()
        self.streams = 0
        self._balance_reader = self._loop_reader(PREPARE_BALANCES)
        self.freshness_reader = self._loop_reader()
        """Of its own: what waits for the balances, which somebody may have locked, is not what all reads wait for."""
        self.balances = GroupRead(self._read_balances)
        """By journal and member."""
        self.freshness: dict[Any, Any] = {}
        self.refreshing = SingleFlight[Any, Any]()
        """What `service.http.reading` found a moment ago, and what it is looking for."""
        self._threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        self._command_threads = ThreadPoolExecutor(COMMAND_THREADS, thread_name_prefix="commands")
        self._programmes: dict[str, ProgrammeInfo] = {}
        self._reading_programmes = SingleFlight[str, ProgrammeInfo | None]()
        self._follow = follow
        self._stop_projecting = threading.Event()
        self._background: list[threading.Thread] = []
        self._grown: asyncio.Event | None = None

    # --- lifespan ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what runs beside the requests; on the event loop."""
        self._grown = asyncio.Event()
        loop = asyncio.get_running_loop()
        targets: list[Callable[[], None]] = [lambda: self._listen(loop), self._record_uses]
        if self._follow:
            targets.append(self._project)
        for target in targets:
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._background.append(thread)

    def stop(self) -> None:
        """Finish what was submitted, end the threads and close the readers; the workspace is its owner's to close."""
        self.stopping.set()
        self._stop_projecting.set()
        self.audits.stop()
        self.queue.close()
        self._threads.shutdown()
        self._command_threads.shutdown()
        for thread in self._background:
            thread.join()
        self._balance_reader.close()
        self.freshness_reader.close()
        self.readers.close()
        self.writers.close()

    def _project(self) -> None:
        """Keep the read models up to date. Where they cannot be, the reads go on and say how old they are."""
        try:
            Projector(self._database).follow(self._stop_projecting)
        except ProjectionOutdated as error:
            _log.error("the read models are not kept up to date: %s", error)

    def _record_uses(self) -> None:
        while not self.stopping.wait(USES_RECORDED_EVERY_SECONDS):
            self._flush_uses()
        self._flush_uses()

    def _flush_uses(self) -> None:
        try:
            self.keys.record_uses()
        except PersistenceError as error:
            _log.warning("the last uses of keys are recorded later: %s", error)

    # --- threads -----------------------------------------------------------------------------------------------

    async def in_thread(self, run: Callable[[], T]) -> T:
        """Run what blocks, though not without end, in one of a bounded number of threads.

        Raises what `timed_out` gives where none of them was free in time.
        """
        until = time.monotonic() + self.limits.read_seconds

        def in_turn() -> T:
            if time.monotonic() > until:
                raise timed_out("the threads were busy for too long")
            return run()

        return await asyncio.get_running_loop().run_in_executor(self._threads, in_turn)

    async def in_command_thread(self, run: Callable[[], T]) -> T:
        """Run what gives commands to the ledger, and so takes as long as the database takes to commit."""
        return await asyncio.get_running_loop().run_in_executor(self._command_threads, run)

    async def read(self, read: Callable[[PgCursor], T]) -> T:
        """Read as the reader role."""

        def attempt() -> T:
            with self.readers.connection() as cursor:
                return read(cursor)

        return await self.look_up(attempt)

    def _loop_reader(self, *prepare: str) -> LoopReader:
        return LoopReader(
            lambda: self.readers.connect(asynchronous=True),
            self.in_thread,
            prepare=prepare,
            seconds_max=self.limits.read_seconds,
        )

    async def _read_balances(self, members: Sequence[tuple[int, str]]) -> list[Balance]:
        return balances_of(await self._balance_reader.rows(*balances_query(members, datetime.now(UTC))))

    async def look_up(self, find: Callable[[], T]) -> T:
        """Run what uses the database and may be done twice in a thread: again where the connection had broken since it
        was last used.
        """

        def again() -> T:
            try:
                return find()
            except PersistenceError as error:
                if not is_passing(error):
                    raise
            return find()

        return await self.in_thread(again)

    async def programme(self, name: str) -> ProgrammeInfo:
        """A programme with its journals, currency and time zone, which never change. Terms may be newer by now.

        Raises Problem where there is none of the name.
        """
        info = self._programmes.get(name)
        if info is None:
            info = await self._reading_programmes.get(
                name, lambda: self.read(lambda cursor: read_programme(cursor, name))
            )
            if info is None:
                raise problem("NOT_FOUND", "There is no such programme.", field="programme")
            self._programmes[name] = info
        return info

    def known_programme(self, name: str) -> ProgrammeInfo | None:
        """The same, where it was asked for before: without the database."""
        return self._programmes.get(name)

    # --- commands ----------------------------------------------------------------------------------------------

    async def submit(self, submission: Submission) -> Outcome:
        """Handle one command; its outcome is durable."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Outcome] = loop.create_future()

        def settle(outcome: Outcome | None, error: BaseException | None) -> None:
            if waiting.done():  # the client has gone; the command stands all the same
                return
            if error is not None:
                waiting.set_exception(error)
            elif outcome is not None:
                waiting.set_result(outcome)

        self.queue.submit_then(submission, lambda *found: _tell(loop, settle, *found))
        return await waiting

    async def handle(self, submissions: Sequence[Submission], *, dry_run: bool = False) -> list[Outcome]:
        """Handle a batch, or only tell what would become of it."""
        if self.stopping.is_set():
            raise problem("STOPPING")
        return await self.in_command_thread(lambda: self.ledger.handle(submissions, dry_run=dry_run))

    # --- growth ------------------------------------------------------------------------------------------------

    def growth(self) -> asyncio.Event:
        """What is set when some journal grows from now on, or the server stops."""
        assert self._grown is not None
        return self._grown

    async def wait_for(self, grown: asyncio.Event, timeout_seconds: float) -> bool:
        """Wait until it is set; whether it was in time. A hint may be lost, so look again after a timeout too."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await grown.wait()
        except TimeoutError:
            return False
        return True

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        listener = Listener(self.readers)
        try:
            while not self.stopping.is_set():
                was_listening = listener.is_listening
                if listener.wait(LISTEN_SECONDS) or not (was_listening and listener.is_listening):
                    _tell(loop, self._wake)  # also where something may have been missed
        finally:
            listener.close()
            _tell(loop, self._wake)

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        if grown is not None:
            grown.set()


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *arguments: Any) -> None:
    """Call something on the event loop, from another thread; nothing where the loop has ended."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *arguments)
