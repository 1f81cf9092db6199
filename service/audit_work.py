"""The process of one run of `service.audit_runs`: the work comes as a line of JSON, what comes of it goes out as lines.

    python -m service.audit_work

It says twice a second how far it is. When nobody reads that any more it ends, so it does not outlive its server.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from types import TracebackType
from typing import Any, Final

import msgspec
from msgspec import Struct

from audit.verify import verify
from audit.verify_proof import parse_key
from ledger.store.database import Database, PgCursor
from projections.member_fold import add_figures
from projections.replay import replay_member, replay_programme, snapshot
from projections.restatement import Effect, difference, restate

EFFECTS_KEPT_MAX: Final = 500
TOLD_EVERY_SECONDS: Final = 0.5
NICE: Final = 10
"""Requests go before."""


class Verify(Struct, frozen=True, kw_only=True, tag="verify"):
    """Compute every hash, position, head and checkpoint of the programme again. `keys`: verifier keys that are trusted;
    without any, who signed the checkpoints is not checked.
    """

    keys: list[str]


class Replay(Struct, frozen=True, kw_only=True, tag="replay"):
    """The figures of the programme at `as_of`, as known at `as_known_at`."""

    as_of: datetime
    as_known_at: datetime


class Restate(Struct, frozen=True, kw_only=True, tag="restate"):
    """Why the figures at `as_of` were others when they were known again."""

    as_of: datetime
    known_at: datetime
    known_again_at: datetime


Job = Verify | Replay | Restate


class Work(Struct, frozen=True, kw_only=True):
    """What the process is to do, for the journals of a programme."""

    dsn: str
    journals: list[int]
    job: Job


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the process: how far it is, and in the last one the result as JSON, or what failed and where."""

    done: int = 0
    total: int = 0
    result: str = ""
    failure: str = ""
    where: str = ""


class Restated(Struct, frozen=True, kw_only=True):
    """What `loyalty audit restate` says: the first effects of `events`, and each figure known first and known again.

    `explained` is the sum of all effects, and must be `changed`, the difference of the two replays.
    """

    effects: list[Effect]
    events: int
    late: int
    corrections: int
    before: dict[str, int]
    after: dict[str, int]
    changed: dict[str, int]
    explained: dict[str, int]

    @property
    def moved(self) -> dict[str, int]:
        """The difference of each figure that has one, or that some event changed."""
        return dict.fromkeys(self.explained, 0) | self.changed

    @property
    def ok(self) -> bool:
        """Whether the events come to the difference."""
        return self.changed == self.explained


def restated(cur: PgCursor, journals: Sequence[int], member: str | None, job: Restate) -> Restated:
    """Restate the figures of a member, or (None) of all. `cur` is in a transaction."""

    def figures_at(known_at: datetime) -> dict[str, int]:
        if member is None:
            return replay_programme(cur, journals, job.as_of, known_at).figures
        return replay_member(cur, journals, member, job.as_of, known_at).figures

    before, after = figures_at(job.known_at), figures_at(job.known_again_at)
    effects: list[Effect] = []
    explained: dict[str, int] = {}
    events = late = corrections = 0
    for effect in restate(cur, journals, member, job.as_of, job.known_at, job.known_again_at):
        events += 1
        late += effect.late
        corrections += effect.correction
        add_figures(explained, effect.changes.items())
        if events <= EFFECTS_KEPT_MAX:
            effects.append(effect)
    return Restated(
        effects=effects,
        events=events,
        late=late,
        corrections=corrections,
        before=before,
        after=after,
        changed=difference(before, after),
        explained=explained,
    )


class _Teller:
    """Writes the lines, and one every so often by itself."""

    def __init__(self) -> None:
        self._done = self._total = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._tell_on, daemon=True).start()

    def progress(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def end(self, *, result: Any = None, failure: str = "", where: str = "") -> None:
        self._ended.set()
        text = "" if failure else msgspec.json.encode(result).decode()
        self._tell(Said(done=self._done, total=self._total, result=text, failure=failure, where=where))

    def _tell_on(self) -> None:
        while not self._ended.wait(TOLD_EVERY_SECONDS):
            self._tell(Said(done=self._done, total=self._total))

    def _tell(self, said: Said) -> None:
        with self._lock:
            try:
                sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                os._exit(1)


def main() -> None:
    """Do the work that standard input names."""
    teller = _Teller()

    def failed(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        teller.end(failure=f"{kind.__module__}.{kind.__qualname__}", where="".join(traceback.format_tb(frames)))

    sys.excepthook = failed  # without the words of the error, which may quote what is in the ledger
    os.nice(NICE)
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Work)
    match work.job:
        case Verify(keys=trusted):
            keys = [parse_key(key) for key in trusted]
            teller.end(result=verify(work.dsn, work.journals, processes=1, keys=keys, on_progress=teller.progress))
        case Replay() | Restate() as job:
            with closing(Database(work.dsn, "loyalty_reader", pool_size=1)) as database, snapshot(database) as cur:
                if isinstance(job, Replay):
                    teller.end(result=replay_programme(cur, work.journals, job.as_of, job.as_known_at))
                else:
                    teller.end(result=restated(cur, work.journals, None, job))


if __name__ == "__main__":
    main()
