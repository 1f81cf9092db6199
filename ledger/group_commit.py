"""Group commit: single commands from many threads, handled together while the commit before them is under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import TypeAlias

from ledger.engine import Ledger, is_passing
from ledger.submissions import Outcome, Submission

BATCH_COUNT_MAX = 2_000


class GroupCommitClosed(RuntimeError):
    """The queue takes no more commands."""


Done: TypeAlias = Callable[[Outcome | None, BaseException | None], None]
"""Is told the outcome, or the error in its place."""


class _Submitted:
    """A submission, and whom to tell what became of it."""

    __slots__ = ("done", "submission")

    def __init__(self, submission: Submission, done: Done) -> None:
        self.submission = submission
        self.done = done


class _Waiting:
    """A thread that waits for an outcome. The bare lock is the cheapest thing a thread can wait on."""

    __slots__ = ("error", "lock", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.lock = Lock()
        self.lock.acquire()

    def done(self, outcome: Outcome | None, error: BaseException | None) -> None:
        self.outcome, self.error = outcome, error
        self.lock.release()


class GroupCommit:
    """A queue before `Ledger.handle`. One thread takes whatever is waiting, up to `BATCH_COUNT_MAX`, as one batch."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._queue: SimpleQueue[_Submitted | None] = SimpleQueue()
        self._closing = Lock()
        self._closed = False
        self._thread = Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, submission: Submission) -> Outcome:
        """Handle one command and wait for its outcome, which is then durable.

        Raises GroupCommitClosed after `close`, and what `Ledger.handle` raises.
        """
        waiting = _Waiting()
        self.submit_then(submission, waiting.done)
        waiting.lock.acquire()
        if waiting.error is not None:
            raise waiting.error
        assert waiting.outcome is not None
        return waiting.outcome

    def waiting(self) -> int:
        """How many commands wait for the batch before them, about."""
        return self._queue.qsize()

    def submit_then(self, submission: Submission, done: Done) -> None:
        """Handle one command without waiting: `done` is called on the queue's thread with the outcome, when it is
        durable, or with the error. It must be quick, and must not raise.

        Raises GroupCommitClosed after `close`.
        """
        with self._closing:
            if self._closed:
                raise GroupCommitClosed("the ledger is stopping and takes no more commands")
            self._queue.put(_Submitted(submission, done))

    def close(self) -> None:
        """Finish what was submitted and take no more."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> GroupCommit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch, last = self._waiting_with(first)
            self._handle(batch)
            if last:
                return

    def _waiting_with(self, first: _Submitted) -> tuple[list[_Submitted], bool]:
        """What is waiting now, from `first` on, and whether the queue was closed behind it."""
        batch = [first]
        while len(batch) < BATCH_COUNT_MAX:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is None:
                return batch, True
            batch.append(waiting)
        return batch, False

    def _handle(self, batch: Sequence[_Submitted]) -> None:
        outcomes: list[Outcome | None] = [None] * len(batch)
        failure: BaseException | None = None
        try:
            self._ledger.handle_into(outcomes, [waiting.submission for waiting in batch])
        except BaseException as error:  # noqa: BLE001 - raised in the threads that wait
            failure = error
        failed = []
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                failed.append(waiting)
                continue
            waiting.done(outcome, None)
        if failure is not None:
            self._handle_failed(failed, failure, alone=len(batch) == 1)

    def _handle_failed(self, failed: Sequence[_Submitted], error: BaseException, *, alone: bool) -> None:
        """Tell every thread whose command failed, where the database did or the command was alone. Otherwise one
        command may have failed them all: handle each by itself, so that only the culprit's thread hears of it.
        """
        if alone or is_passing(error):
            for waiting in failed:
                waiting.done(None, error)
            return
        for waiting in failed:
            self._handle([waiting])
