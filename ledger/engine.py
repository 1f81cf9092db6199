"""Ledger.handle: the one door. Decide, append, commit.

One transaction a journal, in this order, which is the correctness argument:

1. Lock the journal's head. What this process holds of the journal catches up with what others appended meanwhile.
2. Drop what is recorded already: a key with the same input gives the first outcome, with another one a conflict. Of
   messages that have a place in a partition, check that the partition is still ours, and drop what the journal took.
3. Decide and evolve each command in order, each against the state that the one before it left.
4. Append the events, with their keys on them; keep what was refused; write what else the commands ask for, and how far
   the journal has taken each partition.
5. Store the new head and commit, once.
6. On any error: roll back, forget the states that were touched, raise. Trying again is safe because of step 2.

A command to two members in different journals does all this with both heads locked, in ascending order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import TypeGuard, TypeVar

from eventsourcing.persistence import OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ledger.cache import MemberCache
from ledger.commands import (
    AnyCommand,
    AnyMemberCommand,
    CreateProgramme,
    MemberCommand,
    UndoMerge,
)
from ledger.decider import other_member
from ledger.measures import Observer
from ledger.member import initial
from ledger.programmes import ProgrammeInfo, journal_of, read_programme
from ledger.store.database import Database, PgCursor, sqlstate
from ledger.store.sources import NO_JOURNAL, TopicPartition
from ledger.submissions import Malformed, Outcome, Submission
from ledger.transaction import STEERING, TO_TWO, Transaction, Work, load_members

T = TypeVar("T")

__all__ = ["Ledger", "Malformed", "Outcome", "Submission"]

ATTEMPTS_MAX = 5
"""How often a transaction, or a read before it, is tried when the database drops it."""
CACHE_WEIGHT_MAX = 2_000_000
"""Entries (open layers, purchases, redemptions, holds) that a writer keeps of all its journals together, by default."""
JOURNAL_THREADS_MAX = 3
"""Deciding holds the interpreter's lock and COPY does not: three keep both busy, more only contend for the lock."""

_RETRIED_SQLSTATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
"""Serialization failure, deadlock, lock timeout, and a server that is shutting down or starting up."""


class Ledger:
    """The writer of a database's journals; safe to share between threads.

    `cache_weight_max` bounds memory (entries of member state, about 1 KiB each); `clock_tolerance` is how far ahead
    of the database's clock a business time may be; `on_transaction` hears of every transaction (ledger.measures).
    """

    def __init__(
        self,
        database: Database,
        *,
        cache_weight_max: int = CACHE_WEIGHT_MAX,
        clock_tolerance: timedelta = timedelta(days=7),
        on_transaction: Observer | None = None,
    ) -> None:
        self.database = database
        self._clock_tolerance = clock_tolerance
        self._on_transaction = on_transaction
        self._cache_weight_max = cache_weight_max
        self._caches: dict[int, MemberCache] = {}
        self._programmes: dict[str, ProgrammeInfo] = {}
        self._threads = ThreadPoolExecutor(JOURNAL_THREADS_MAX, thread_name_prefix="journal")

    def close(self) -> None:
        """Wait for what is under way and end the threads; the database stays open."""
        self._threads.shutdown()

    def handle(
        self,
        submissions: Sequence[Submission],
        *,
        auto_enrol: bool = False,
        claims: Mapping[TopicPartition, int] | None = None,
        dry_run: bool = False,
    ) -> list[Outcome]:
        """Handle commands, in order for every member, and tell what became of each.

        `auto_enrol` enrols an unknown member with its first purchase. With `claims`, (topic, partition) → epoch, every
        submission has a place, those of a partition come in the order of their offsets, and each offset is taken once,
        however often it is handed in. When this returns, everything is committed.

        With `dry_run` each transaction is decided under the locks of its journals and rolled back: the outcomes are
        those that the commands would have had, and nothing is recorded.

        Raises eventsourcing.persistence.PersistenceError when the database fails for longer than the retries last:
        some journals of the batch may then be committed; handling the batch again completes it and doubles nothing.
        Raises Fenced (ledger.store.sources) where a claim does not stand any more; the journals of the batch that were
        committed before are then skipped by whoever has the partition now.
        """
        outcomes: list[Outcome | None] = [None] * len(submissions)
        self.handle_into(outcomes, submissions, auto_enrol=auto_enrol, claims=claims, dry_run=dry_run)
        return [outcome for outcome in outcomes if outcome is not None]

    def handle_into(
        self,
        outcomes: list[Outcome | None],
        submissions: Sequence[Submission],
        *,
        auto_enrol: bool = False,
        claims: Mapping[TopicPartition, int] | None = None,
        dry_run: bool = False,
    ) -> None:
        """As `handle`, entering each outcome at its number when it is committed: where this raises, what was entered
        stands, and the rest, which is None, was not reached or failed. Called again with the same list, what was
        entered stays.
        """
        for works in self._planned(submissions, auto_enrol, claims):
            for work in works:
                work.dry_run = dry_run
            if len(works) == 1:
                self._run(works[0], submissions, outcomes)
                continue
            futures = [self._threads.submit(self._run, work, submissions, outcomes) for work in works]
            errors = [error for error in (future.exception() for future in futures) if error is not None]
            if errors:
                raise errors[0]

    # --- planning ----------------------------------------------------------------------------------------------

    def _planned(
        self, submissions: Sequence[Submission], auto_enrol: bool, claims: Mapping[TopicPartition, int] | None
    ) -> Iterator[list[Work]]:
        """Split a batch into transactions. Those of one list touch different journals and may run at once. A command
        that touches several journals, or the programme itself, is a list of its own, after all that came before it;
        and so are commands that steer, as far as they follow each other, for members' commands depend on them.
        """
        pending: dict[int, Work] = {}
        steering = False
        infos: dict[str, ProgrammeInfo | None] = {}
        for number, submission in enumerate(submissions):
            command = submission.command
            name = command.programme
            steers = type(command) in STEERING
            if steers is not steering:
                if pending:
                    yield list(pending.values())
                    pending, infos = {}, {}
                steering = steers
            if name not in infos:
                infos[name] = self._programmes.get(name) or self._find_programme(name)
            info = infos[name]
            if info is not None and steers:
                journals: tuple[int, ...] = (info.journals[0],)
            elif info is not None and _is_of_one_journal(command, info):
                journals = (journal_of(info, command.member),)
            elif isinstance(command, Malformed) or (info is None and not isinstance(command, CreateProgramme)):
                journals, info = (), None  # nothing can become of it but to be kept
            else:
                if pending:
                    yield list(pending.values())
                    pending = {}
                journals = self._journals(command, info)
                yield [Work(journals=journals, info=info, auto_enrol=auto_enrol, claims=claims, numbers=[number])]
                infos.pop(name, None)
                continue
            home = journals[0] if journals else NO_JOURNAL
            work = pending.get(home)
            if work is None:
                work = pending[home] = Work(journals=journals, info=info, auto_enrol=auto_enrol, claims=claims)
            work.numbers.append(number)
        if pending:
            yield list(pending.values())

    def _journals(self, command: AnyCommand, info: ProgrammeInfo | None) -> tuple[int, ...]:
        """The journals, ascending, of a command that is planned on its own: its members', or the programme's first."""
        if info is None:
            return ()
        if not isinstance(command, MemberCommand):
            return (info.journals[0],)
        if isinstance(command, UndoMerge):
            other = self._merged_into(info, command.member)
        else:
            other = other_member(initial(command.member), command) or command.member
        return tuple(sorted({journal_of(info, command.member), journal_of(info, other)}))

    def _merged_into(self, info: ProgrammeInfo, member: str) -> str:
        """Whom a member was merged into, as far as can be seen without a lock; itself where it was not."""
        names, _ = self._read(lambda cur: load_members(cur, journal_of(info, member), [member]))
        return names[member].merged_into or member

    def _find_programme(self, name: str) -> ProgrammeInfo | None:
        if not name:
            return None
        return self._remember(self._read(lambda cur: read_programme(cur, name)))

    def _remember(self, info: ProgrammeInfo | None) -> ProgrammeInfo | None:
        if info is not None:
            self._programmes[info.programme.programme] = info
        return info

    def _read(self, read: Callable[[PgCursor], T]) -> T:
        """Read without a lock, again if the connection broke."""

        def attempt() -> T:
            with self.database.connection() as cur:
                return read(cur)

        return _retrying()(attempt)

    # --- running one transaction -------------------------------------------------------------------------------

    def _run(self, work: Work, submissions: Sequence[Submission], outcomes: list[Outcome | None]) -> None:
        """Run a transaction, again if the database dropped it, and enter its outcomes."""
        transaction = Transaction(work, submissions, self._clock_tolerance)
        for attempt in _retrying():
            with attempt, ExitStack() as held:
                caches = {journal: self._cache(journal, work.info) for journal in work.journals}
                for cache in caches.values():
                    held.enter_context(cache.lock)
                cur = held.enter_context(self.database.connection())
                transaction.run(cur, caches)
        if not work.dry_run:
            self._remember(transaction.info)
        for number, outcome in transaction.outcomes.items():
            if outcome.status != "taken" or outcomes[number] is None:
                outcomes[number] = outcome
        if self._on_transaction is not None and not work.dry_run:
            self._on_transaction(transaction.measure)

    def _cache(self, journal: int, info: ProgrammeInfo | None) -> MemberCache:
        cache = self._caches.get(journal)
        if cache is None:
            share = self._cache_weight_max // (len(info.journals) if info else 1)
            cache = self._caches.setdefault(journal, MemberCache(share))
        return cache


def _retrying() -> Retrying:
    return Retrying(
        retry=retry_if_exception(is_passing),
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        reraise=True,
    )


def _is_of_one_journal(command: AnyCommand | Malformed, info: ProgrammeInfo) -> TypeGuard[AnyMemberCommand]:
    if not isinstance(command, MemberCommand):
        return False
    return len(info.journals) == 1 or type(command) not in TO_TWO


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help, because it is the database that failed and not a command: the connection broke, or
    the database says so.
    """
    if sqlstate(error) in _RETRIED_SQLSTATES:
        return True
    return isinstance(error, OperationalError) and sqlstate(error) is None
