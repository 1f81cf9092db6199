"""Verifying journals: everything that a journal's head commits to, computed again from the rows.

Of each journal: positions 1, 2, 3 … to the head and none beyond; the hash of every row; the root and frontier of the
head; times that never fall; the columns of commands; every state read as the event of its topic, in the journal and
stream where it belongs; versions 1, 2, 3 … in every stream; and the programme and its terms, as writers look them up,
against the events that they came from. And of each checkpoint: its root, and by whom it was signed.

The head is read first and only what it commits to is verified, in short statements: writers append meanwhile, and
nothing waits for anything. Memory does not grow with the journal: rows are hashed as they come and forgotten. The order
of versions in streams is checked by a sort in the database, which spills to disk what exceeds SORT_MEMORY.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from multiprocessing import get_context
from typing import Any

import msgspec
import psycopg2

from audit.commitments import Commitments
from audit.rows import COLUMNS, Owner, Problem, Scan
from audit.standing import programme_problem, strays
from audit.verify_proof import VerifierKey
from ledger.hashing import HASH_SIZE_BYTES, Frontier
from ledger.store.database import Database, PgConnection, PgCursor, connect, translated
from ledger.store.journal import JournalNotFoundError, Kind

ROWS_AT_ONCE = 20_000
"""Rows a statement: what a failure is found late by, at most, and how often progress is told."""
SORT_MEMORY = "32MB"
WORTH_A_PROCESS_EVENTS = 100_000
"""Below this many events another process takes longer to start than it saves."""
WORTH_A_CONNECTION_EVENTS = 20_000
"""The same for a connection that has the streams sorted while rows are read."""

Progress = Callable[[int, int], None]
"""Called with the number of events verified so far, and of all that are to be."""

UNREADABLE_SQLSTATES = frozenset({"XX001", "XX002"})
"""Data corrupted, index corrupted: pages that were changed in their files."""

_progress_counter: Any = None


class JournalResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the verification of one journal found.

    `events` were found good, from position 1 on, and `checkpoints` agree with them. `root` is the Merkle root over
    them, in hexadecimal. `problem` is None where all is well; else it says in words what is wrong first.
    `first_bad_position` is where; the first of a stretch where only that can be told (rows rewritten together with
    their hashes), None where the fault is in no position.
    """

    journal: int
    kind: Kind
    name: str
    """The programme, or the application."""
    events: int
    checkpoints: int
    root: str
    problem: str | None
    first_bad_position: int | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all of the journal is as it must be."""
        return self.problem is None


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found: by journal, and what belongs to no journal (`strays`, in words)."""

    journals: list[JournalResult]
    strays: list[str]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems

    @property
    def events(self) -> int:
        """Events found good, over all journals."""
        return sum(result.events for result in self.journals)

    @property
    def checkpoints(self) -> int:
        """Signed checkpoints that the events agree with, over all journals."""
        return sum(result.checkpoints for result in self.journals)

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        found = [f"journal {one.journal} ({one.name}): {one.problem}" for one in self.journals if one.problem]
        return found + self.strays


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """A row of journals; `recorded_at` as timestamptz is sent, for it may be no time at all."""

    journal: int
    kind: Kind
    name: str
    ordinal: int
    position: int
    root: bytes
    frontier: bytes
    recorded_at: bytes
    journals: int
    """How many journals have this kind and name."""


def verify(
    database: Database | str,
    journals: Iterable[int] | None = None,
    *,
    processes: int | None = None,
    deep: bool = True,
    keys: Sequence[VerifierKey] = (),
    on_progress: Progress | None = None,
) -> VerifyReport:
    """Verify journals, all of them by default, as the role that may only read. Tampered data raises nothing.

    `database` is a pool, of which only the address is used, or a DSN. `processes` work on different journals at once,
    by default one a core where there is enough to do; what they import is the main module, so a script that calls this
    guards its own work with `if __name__ == "__main__"`. `deep=False` leaves out reading the states: it still finds
    every byte that was changed, but not an event recorded in a wrong place. Checkpoints must be signed by one of
    `keys`, and what is signed in the name of one of them, a witness included, must be so. Without keys only their roots
    are compared, which whoever rewrites the events may rewrite too. `on_progress` is called in this thread.

    Raises JournalNotFoundError for a number that is no journal, and errors of eventsourcing.persistence when the
    database fails.
    """
    started = time.perf_counter()
    dsn = database if isinstance(database, str) else database.dsn
    with _reader(dsn) as cur:
        heads = _heads(cur)
        missing = set(journals or ()) - heads.keys()
        if missing:
            raise JournalNotFoundError(f"there is no journal {', '.join(map(str, sorted(missing)))}")
        found = strays(cur) if journals is None else []
    wanted = sorted(heads) if journals is None else sorted(set(journals))
    sizes = {number: heads[number].position for number in wanted}
    results = _verified(dsn, sizes, processes, deep, keys, on_progress or _untold)
    return VerifyReport(journals=results, strays=found, seconds=time.perf_counter() - started)


def _untold(done: int, total: int) -> None:
    """Nobody wants to know."""


# --- several journals at once ----------------------------------------------------------------------------------------


def _verified(
    dsn: str,
    sizes: dict[int, int],
    processes: int | None,
    deep: bool,
    keys: Sequence[VerifierKey],
    on_progress: Progress,
) -> list[JournalResult]:
    total = sum(sizes.values())
    if processes is None:
        processes = min(os.cpu_count() or 1, 1 + total // WORTH_A_PROCESS_EVENTS)
    processes = min(processes, len(sizes))
    if processes > 1:
        return _verified_in_processes(dsn, sizes, processes, deep, keys, on_progress)
    done = 0

    def count(events: int) -> None:
        nonlocal done
        done += events
        on_progress(done, total)

    return [verify_journal(dsn, number, deep=deep, keys=keys, on_events=count) for number in sizes]


def _verified_in_processes(
    dsn: str, sizes: dict[int, int], processes: int, deep: bool, keys: Sequence[VerifierKey], on_progress: Progress
) -> list[JournalResult]:
    """Each journal in a process, the largest first, so that none is left over for the end."""
    context = get_context("spawn")  # not fork: threads and connections of this process would be copied half-way
    counter = context.Value("q", 0)
    total = sum(sizes.values())
    with ProcessPoolExecutor(processes, context, initializer=_share_counter, initargs=(counter,)) as pool:
        largest_first = sorted(sizes, key=lambda number: -sizes[number])
        futures = {number: pool.submit(_verify_in_process, dsn, number, deep, keys) for number in largest_first}
        waiting: set[Future[JournalResult]] = set(futures.values())
        try:
            while waiting:
                waiting = wait(waiting, timeout=0.2).not_done
                on_progress(counter.value, total)
            return [futures[number].result() for number in sizes]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _share_counter(counter: Any) -> None:
    global _progress_counter
    _progress_counter = counter


def _verify_in_process(dsn: str, journal: int, deep: bool, keys: Sequence[VerifierKey]) -> JournalResult:
    return verify_journal(dsn, journal, deep=deep, keys=keys, on_events=_add_to_counter)


def _add_to_counter(events: int) -> None:
    with _progress_counter.get_lock():
        _progress_counter.value += events


# --- one journal -----------------------------------------------------------------------------------------------------


def verify_journal(
    dsn: str,
    journal: int,
    *,
    deep: bool = True,
    keys: Sequence[VerifierKey] = (),
    on_events: Callable[[int], None] = lambda _: None,
) -> JournalResult:
    """Verify one journal in this process; `on_events` is called with the number of further events every so often."""
    started = time.perf_counter()
    with _reader(dsn) as cur:
        head = _heads(cur)[journal]
        owner = None
        if head.kind == "programme":
            owner = Owner(programme=head.name, ordinal=head.ordinal, journals=head.journals)
        scan = Scan(journal, owner if deep else None)
        commitments = Commitments(journal, head.name, keys)
        try:
            problem = _problem(dsn, cur, head, owner, scan, commitments, on_events)
        except psycopg2.Error as error:
            if error.pgcode not in UNREADABLE_SQLSTATES:
                raise
            scan.flush()
            words = "the database cannot read the journal"
            problem = Problem(None, f"{words} as a whole, good up to {scan.position}: {_sentence(error)}")
    return JournalResult(
        journal=journal,
        kind=head.kind,
        name=head.name,
        events=scan.position,
        checkpoints=commitments.agreeing,
        root=scan.frontier.root().hex(),
        problem=problem.words if problem else None,
        first_bad_position=problem.position if problem else None,
        seconds=time.perf_counter() - started,
    )


def _problem(
    dsn: str,
    cur: PgCursor,
    head: _Head,
    owner: Owner | None,
    scan: Scan,
    commitments: Commitments,
    on_events: Callable[[int], None],
) -> Problem | None:
    """The first thing that is wrong; the more exactly it can be told where, the earlier it is looked for."""
    if owner is None:  # streams of an application of the eventsourcing library may begin anywhere
        problem = _read_rows(cur, scan, head, commitments, on_events)
    elif head.position < WORTH_A_CONNECTION_EVENTS:
        problem = _read_rows(cur, scan, head, commitments, on_events)
        problem = _stream_problem(cur, head, problem) or problem
    else:
        problem = _read_rows_while_ordering(dsn, cur, scan, head, commitments, on_events)
    problem = problem or _head_problem(head, scan) or commitments.problem_at_end(cur)
    if problem is None and owner is not None and owner.ordinal == 0:
        problem = programme_problem(cur, owner, head.journal)
    return problem


def _read_rows_while_ordering(
    dsn: str,
    cur: PgCursor,
    scan: Scan,
    head: _Head,
    commitments: Commitments,
    on_events: Callable[[int], None],
) -> Problem | None:
    """Read the rows while the database sorts the streams for another connection, which takes less long."""
    with closing(_connection(dsn)) as beside, ThreadPoolExecutor(1) as thread:
        ordered = thread.submit(_stream_problem, beside.cursor(), head, None)
        try:
            problem = _read_rows(cur, scan, head, commitments, on_events)
            if problem is None:
                return ordered.result()
        finally:
            beside.cancel()  # nobody waits for it any more
    return _stream_problem(cur, head, problem) or problem


def _read_rows(
    cur: PgCursor, scan: Scan, head: _Head, commitments: Commitments, on_events: Callable[[int], None]
) -> Problem | None:
    """Put all rows up to the head through the scan, page by page, until one is bad or they are not what a checkpoint
    committed to; then look beyond the head.
    """
    columns = ", ".join(COLUMNS)
    while scan.problem is None and scan.position < head.position:
        before = scan.position
        scan.want_roots(commitments.read(cur, before, before + ROWS_AT_ONCE))
        after = f"position > {before}" if before else "true"  # below 1 there is nothing, unless somebody put it there
        cur.copy_expert(
            f"COPY (SELECT {columns} FROM events WHERE journal = {head.journal} AND {after}"
            f" AND position <= {head.position} ORDER BY position LIMIT {ROWS_AT_ONCE}) TO STDOUT (FORMAT binary)",
            scan,
        )
        on_events(scan.position - before)
        scan.flush()
        if (problem := commitments.problem(scan.roots)) is not None:
            return problem
        if scan.position == before:
            break
    if scan.problem is not None:
        return scan.problem
    if scan.position < head.position:
        first = scan.position + 1
        to_head = f"position {first} is" if first == head.position else f"positions {first} to {head.position} are"
        return Problem(first, f"{to_head} missing at the end: the head is at {head.position}")
    if scan.rest_of_command:
        words = f"the journal ends {scan.rest_of_command} events before its last command does"
        return Problem(head.position, f"position {head.position} is not the last of its command: {words}")
    return _beyond(cur, head)


def _beyond(cur: PgCursor, head: _Head) -> Problem | None:
    """Rows that no head knows, after the last or before the first; in one statement, because the head moves on."""
    cur.execute(
        "SELECT position, head FROM (SELECT (SELECT position FROM journals WHERE journal = %(journal)s) AS head),"
        " LATERAL ((SELECT position FROM events WHERE journal = %(journal)s AND position > head"
        " ORDER BY position LIMIT 1) UNION ALL"
        " (SELECT position FROM events WHERE journal = %(journal)s AND position < 1 LIMIT 1)) stray"
        " ORDER BY position LIMIT 1",
        {"journal": head.journal},
    )
    row = cur.fetchone()
    if row is None:
        return None
    return Problem(row[0], f"position {row[0]} is one too many: the journal's head is at {row[1]}")


def _stream_problem(cur: PgCursor, head: _Head, before: Problem | None) -> Problem | None:
    """The first event, before a problem that is known, whose version is not the next one of its stream."""
    upto = head.position if before is None or before.position is None else before.position - 1
    cur.execute(
        "SELECT position, originator_id, originator_version, expected FROM"
        " (SELECT position, originator_id, originator_version,"
        " row_number() OVER (PARTITION BY originator_id ORDER BY position) AS expected"
        " FROM events WHERE journal = %s AND position <= %s) AS event"
        " WHERE originator_version <> expected ORDER BY position LIMIT 1",
        (head.journal, upto),
    )
    row = cur.fetchone()
    if row is None:
        return None
    position, stream, version, expected = row
    words = f"is version {version} of the stream {stream!r}, where version {expected} must come"
    return Problem(position, f"position {position} {words}")


def _head_problem(head: _Head, scan: Scan) -> Problem | None:
    """What differs between the head and the rows, which by themselves are good."""
    ours, root = scan.frontier.to_bytes(), scan.frontier.root()
    if head.frontier == ours and head.root == root:
        if head.position and head.recorded_at != scan.recorded_at:
            return Problem(None, f"the head's recorded_at is not that of position {head.position}: it was changed")
        return None
    if head.frontier == ours:
        return Problem(None, "the head's root is not that of its frontier, which the events agree with: it was changed")
    if head.root == root:
        return Problem(None, "the head's frontier is not that of its root, which the events agree with: it was changed")
    if len(head.frontier) != len(ours) or Frontier.from_bytes(head.position, head.frontier).root() != head.root:
        return Problem(None, "the events give neither the head's root nor its frontier, and these two do not agree")
    first, last = _differing_stretch(head.position, ours, head.frontier)
    where = f"position {first} is" if first == last else f"one or more of the positions {first} to {last} are"
    return Problem(first, f"{where} not what the head committed to: rewritten together with the leaf_hash")


def _differing_stretch(size: int, ours: bytes, theirs: bytes) -> tuple[int, int]:
    """The positions under the first of the perfect subtrees, widest first, whose roots differ."""
    first = 1
    widths = [1 << level for level in reversed(range(size.bit_length())) if size >> level & 1]
    for number, width in enumerate(widths):
        here = slice(number * HASH_SIZE_BYTES, (number + 1) * HASH_SIZE_BYTES)
        if ours[here] != theirs[here]:
            return first, first + width - 1
        first += width
    raise AssertionError("the frontiers are equal")


# --- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _reader(dsn: str) -> Iterator[PgCursor]:
    """A cursor that may only read, with plans that read a journal in order of position, and nothing else."""
    try:
        with closing(_connection(dsn)) as connection, connection.cursor() as cur:
            yield cur
    except psycopg2.Error as error:
        raise translated(error) from error


def _connection(dsn: str) -> PgConnection:
    connection = connect(dsn, "loyalty_reader")
    with connection.cursor() as cur:
        cur.execute("SET default_transaction_read_only = on")
        cur.execute("SET max_parallel_workers_per_gather = 0; SET jit = off")
        cur.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")  # they read other journals' rows too
        cur.execute(f"SET work_mem = '{SORT_MEMORY}'")
    return connection


def _heads(cur: PgCursor) -> dict[int, _Head]:
    cur.execute(
        "SELECT journal, kind, name, ordinal, position, coalesce(root, ''), coalesce(frontier, ''),"
        " coalesce(timestamptz_send(recorded_at), ''), count(*) OVER (PARTITION BY kind, name) FROM journals"
    )
    rows: Sequence[tuple[Any, ...]] = cur.fetchall()
    return {
        row[0]: _Head(
            journal=row[0],
            kind=row[1],
            name=row[2],
            ordinal=row[3],
            position=row[4],
            root=bytes(row[5]),
            frontier=bytes(row[6]),
            recorded_at=bytes(row[7]),
            journals=row[8],
        )
        for row in rows
    }


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())
