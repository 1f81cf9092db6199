"""One transaction of the ledger: from locking its journals to the commit. `ledger.engine` has the order and why.

A transaction may be run again when the database dropped it. Where an earlier try was committed although its answer was
lost, which its keys at their positions tell (of messages with a place, how far the journal has taken their partition),
its outcomes stand: it is not decided again on what came after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from time import perf_counter
from typing import TypeAlias, cast, get_args

from eventsourcing.persistence import IntegrityError
from msgspec import Struct
from psycopg2.extras import execute_values

from ledger.cache import MemberCache
from ledger.codec import MEMBER_STREAM, PROGRAMME_STREAM, decode_member_event, encode
from ledger.commands import (
    AnyCommand,
    AnyMemberCommand,
    AnySteeringCommand,
    ChangeProfile,
    CreateProgramme,
    EraseMember,
    MemberCommand,
    MergeMembers,
    PublishTerms,
    RecordPurchase,
    RecordSurvey,
    SteeringCommand,
    TransferPoints,
    UndoMerge,
)
from ledger.decider import Decision, PairDecision, decide, decide_pair, other_member
from ledger.events import Event, MemberEnrolled, MemberEvent
from ledger.evolver import evolve
from ledger.measures import TransactionMeasure
from ledger.member import STATE_LAYOUT, Member, freeze, initial, thaw
from ledger.personal import is_personal, may_be_personal, owner, personal_data, with_sealed
from ledger.programme_decider import ProgrammeState, decide_programme
from ledger.programmes import (
    ProgrammeInfo,
    journal_of,
    read_programme,
    read_programmes,
    read_steering,
    record_programme,
    state_of,
)
from ledger.refused import erase_refused, is_kept, keep_refused
from ledger.rejections import Rejection
from ledger.sealing import keyed_hash, new_key, seal
from ledger.steering import decide_steering
from ledger.steering_state import evolve_steering, streams_of
from ledger.store.database import PgCursor
from ledger.store.journal import (
    Head,
    JournalCountError,
    Record,
    append,
    create_journals,
    find_commands,
    lock_head,
    read_light,
    read_streams,
    store_head,
)
from ledger.store.sources import NO_JOURNAL, Taken, TopicPartition, lock_places, record_taken
from ledger.submissions import Malformed, Outcome, Place, Submission, add_named_amount

CATCH_UP_EVENTS_MAX = 20_000
"""When other writers have appended more than this, their journal's cache is dropped rather than caught up."""
CATCH_UP_PAGE = 5_000
LOAD_MEMBERS_MAX = 500
"""Members read at once when a batch finds them cold: bounds the memory that their histories take."""
SNAPSHOT_AFTER_EVENTS = 32
"""A cold read of more events than this, and than the state has entries, leaves a snapshot."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_ERASURE_LOCK_KEY = 0x6C6F79616C747904
"""Exclusive to an erasure, shared by those who keep refused messages that may be of a member who was erased."""
ToTwo: TypeAlias = TransferPoints | MergeMembers | UndoMerge
TO_TWO = frozenset({TransferPoints, MergeMembers, UndoMerge})
"""The commands that touch two members."""
STEERING: frozenset[type] = frozenset(get_args(AnySteeringCommand))
"""The commands to the small streams of a programme's first journal."""


class Sent(Struct, frozen=True, kw_only=True):
    """What a try was about to commit: the outcomes, and the position of the first event of each key."""

    outcomes: dict[int, Outcome]
    given: dict[bytes, int]


class Work(Struct, kw_only=True):
    """The submissions of one transaction, in order, and the journals that it locks, ascending; none where there is no
    programme (yet) to lock. `claims` are the epochs of the partitions that they came from, None where they did not.
    With `dry_run` it ends in a rollback.
    """

    journals: tuple[int, ...]
    info: ProgrammeInfo | None
    auto_enrol: bool
    claims: Mapping[TopicPartition, int] | None = None
    dry_run: bool = False
    numbers: list[int] = []


class Transaction:
    """See the module."""

    def __init__(self, work: Work, submissions: Sequence[Submission], clock_tolerance: timedelta) -> None:
        self.info = work.info
        self.outcomes: dict[int, Outcome] = {}
        self._work = work
        self._submissions = submissions
        self._clock_tolerance = clock_tolerance
        self._new_keys: dict[str, bytes] = {}
        self._sent: Sent | None = None

    def run(self, cur: PgCursor, caches: dict[int, MemberCache]) -> None:
        """Run it to the commit; `caches` are those of its journals, locked by the caller. Afterwards `outcomes` has the
        outcome of each number, `info` the programme as it was found, and `measure` what it did.
        """
        started = perf_counter()
        self._cur = cur
        self._heads: dict[int, Head] = {}
        self._touched: dict[int, dict[str, Member]] = {journal: {} for journal in self._work.journals}
        self._records: dict[int, list[Record]] = {journal: [] for journal in self._work.journals}
        self._given: dict[bytes, int] = {}
        self._numbers = self._work.numbers
        self.info = self._work.info
        self.outcomes = {}
        self._refused: Counter[str] = Counter()
        self._cached = self._loaded = 0
        try:
            self._open(caches)
            if self._work.claims is not None:
                self._drop_taken(self._work.claims)
            self._load(caches)
            opened = perf_counter()
            if self._sent is not None and self._is_recorded(self._sent):
                self.outcomes = self._sent.outcomes
            else:
                for number in self._numbers:
                    self.outcomes[number] = self._outcome(number)
                self._keep_refused()
                if self._work.claims is not None:
                    self._record_taken(self._work.claims)
            decided = perf_counter()
            if self._work.dry_run:
                self._cur.execute("ROLLBACK")
            else:
                self._commit()
        except BaseException:
            self._forget(caches)
            raise
        if self._work.dry_run:
            self._forget(caches)
            return
        for journal, cache in caches.items():
            cache.settle(self._touched[journal], self._heads[journal].position)
        self.measure = self._measured(opened - started, decided - opened, perf_counter() - decided)

    def _measured(self, open_seconds: float, decide_seconds: float, commit_seconds: float) -> TransactionMeasure:
        commands, posted = len(self._work.numbers), len(self._given)
        taken = commands - len(self._numbers)
        return TransactionMeasure(
            commands=commands,
            posted=posted,
            duplicate=commands - posted - self._refused.total() - taken,
            taken=taken,
            rejected=self._refused,
            events=sum(len(records) for records in self._records.values()),
            cached=self._cached,
            loaded=self._loaded,
            open_seconds=open_seconds,
            decide_seconds=decide_seconds,
            commit_seconds=commit_seconds,
        )

    def _forget(self, caches: dict[int, MemberCache]) -> None:
        for journal, cache in caches.items():
            cache.forget(self._touched[journal])

    # --- 1: lock, and catch up ---------------------------------------------------------------------------------

    def _open(self, caches: dict[int, MemberCache]) -> None:
        if not caches:
            self._cur.execute("BEGIN")
            self._create_if_asked()
        for number, (journal, cache) in enumerate(sorted(caches.items())):
            head = lock_head(self._cur, journal, begin=number == 0)
            self._heads[journal] = head
            if cache.position != head.position:
                catch_up(self._cur, cache, head)
            if self.info is not None and head.revision != self.info.revision:
                self.info = read_programme(self._cur, self.info.programme.programme)
        now = max((head.now for head in self._heads.values()), default=_EARLIEST)
        self._latest = now + self._clock_tolerance

    def _create_if_asked(self) -> None:
        """The journals of a programme that is to be created, locked like any others."""
        command = self._submissions[self._work.numbers[0]].command
        if not isinstance(command, CreateProgramme) or not command.programme:
            return
        try:
            journals = create_journals(self._cur, "programme", command.programme, command.journals)
        except JournalCountError:  # somebody else created it meanwhile, with another count: refused below
            journals = []
        self.info = read_programme(self._cur, command.programme)
        for journal in (self.info.journals if self.info else journals)[:1]:
            self._heads[journal] = lock_head(self._cur, journal)
            self._touched[journal] = {}
            self._records[journal] = []

    # --- 2: what is taken or recorded already, and the states --------------------------------------------------

    def _drop_taken(self, claims: Mapping[TopicPartition, int]) -> None:
        """Check that the partitions are still ours, and leave out what the journal took of them before."""
        places = {number: _place_of(self._submissions[number]) for number in self._numbers}
        self._source_journal = self._journal_of_places()
        partitions = dict.fromkeys((place.topic, place.partition) for place in places.values())
        self._progress = lock_places(self._cur, self._source_journal, claims, list(partitions))
        taken = Outcome("taken", self._source_journal)
        self._numbers = []
        for number, place in places.items():
            progress = self._progress[place.topic, place.partition]
            if place.offset < progress.next_offset or place.offset in progress.homeless:
                self.outcomes[number] = taken
            else:
                self._numbers.append(number)

    def _journal_of_places(self) -> int:
        """The journal in which the messages count: that of their members, the same whatever else the command locks."""
        if len(self._heads) < 2:
            return min(self._heads, default=NO_JOURNAL)
        command = self._submissions[self._numbers[0]].command
        assert not isinstance(command, Malformed)
        return self._home(command)

    def _load(self, caches: dict[int, MemberCache]) -> None:
        self._caches = caches
        self._keys: dict[int, bytes] = {}
        self._recorded: dict[bytes, tuple[bytes, int, int]] = {}
        if not self._heads:
            return
        names: dict[int, dict[str, None]] = {journal: {} for journal in self._heads}
        streams: dict[str, None] = {}
        keys: dict[int, list[bytes]] = {journal: [] for journal in self._heads}
        only = min(self._heads) if len(self._heads) == 1 else None
        for number in self._numbers:
            command = self._submissions[number].command
            if isinstance(command, Malformed):
                continue
            key = self._keys[number] = command_key(command.source, command.id)
            home = only or self._home(command)
            keys[home].append(key)
            if isinstance(command, MemberCommand):
                names[home][command.member] = None
            elif isinstance(command, SteeringCommand):
                streams |= dict.fromkeys(streams_of(command))
        self._steered = read_steering(self._cur, min(self._heads), list(streams))
        for journal in self._heads:
            self._recorded |= find_commands(self._cur, journal, keys[journal])
            self._load_members(journal, names[journal])

    def _is_recorded(self, sent: Sent) -> bool:
        """Whether an earlier try was committed: all of it was, or nothing."""
        if self._work.claims is not None:  # nobody else could take what the earlier try had yet to take
            return not self._numbers
        recorded = self._recorded
        return bool(sent.given) and all(key in recorded and recorded[key][1] == at for key, at in sent.given.items())

    def _journal_of(self, member: str) -> int:
        assert self.info is not None
        return journal_of(self.info, member)

    def _load_members(self, journal: int, names: Iterable[str]) -> None:
        cached, touched = self._caches[journal].members if journal in self._caches else {}, self._touched[journal]
        missing = []
        touched_before = len(touched)
        for name in names:
            member = cached.get(name)
            if member is None:
                missing.append(name)
            else:
                touched[name] = member
        self._cached += len(touched) - touched_before
        self._loaded += len(missing)
        if missing:
            loaded, replayed = load_members(self._cur, journal, missing)
            touched.update(loaded)
            store_snapshots(self._cur, journal, loaded, replayed)

    def _member(self, name: str) -> Member:
        journal = self._journal_of(name)
        if name not in self._touched[journal]:
            self._load_members(journal, [name])
        return self._touched[journal][name]

    # --- 3: decide and evolve ----------------------------------------------------------------------------------

    def _outcome(self, number: int) -> Outcome:
        command = self._submissions[number].command
        if isinstance(command, Malformed):
            return _refused(command.rejection)
        if not self._heads:
            return _refused(_no_programme(command))
        key = self._keys[number]
        digest = self._input_hash(command)
        recorded = self._recorded.get(key)
        if recorded is not None:
            return self._again(command, key, digest, recorded)
        if not _EARLIEST <= command.occurred_at <= self._latest:
            return _refused(_out_of_range(command.occurred_at, self._latest))
        if isinstance(command, MemberCommand):
            if type(command) in TO_TWO:
                return self._handle_pair(cast(ToTwo, command), key, digest)
            return self._handle_member(command, key, digest)
        if isinstance(command, SteeringCommand):
            return self._handle_steering(command, key, digest)
        return self._handle_programme(command, key, digest)

    def _again(self, command: AnyCommand, key: bytes, digest: bytes, recorded: tuple[bytes, int, int]) -> Outcome:
        recorded_digest, first, events = recorded
        if digest != recorded_digest:
            rule = f"were recorded before with other input, at position {first}: use a new id"
            return _refused(Rejection("IDEMPOTENCY_CONFLICT", "id", f"source and id {rule}", command.id))
        return Outcome("duplicate", self._home(command), first, first + events - 1)

    def _home(self, command: AnyCommand) -> int:
        """The journal that has the command's key."""
        return self._journal_of(command.member) if isinstance(command, MemberCommand) else min(self._heads)

    def _handle_member(self, command: AnyMemberCommand, key: bytes, digest: bytes) -> Outcome:
        info = self.info
        assert info is not None
        (journal,) = self._heads
        member = self._touched[journal][command.member]
        terms = info.book.in_force(command.occurred_at)
        decision: Decision
        kind = type(command)
        if member.version == 0 and self._work.auto_enrol and kind is RecordPurchase:
            enrolled = _automatic_enrolment(cast(RecordPurchase, command))
            decision = decide(evolve(initial(command.member), enrolled), command, terms, info.programme)
            if not isinstance(decision, Rejection):
                decision = (enrolled, *decision)
        else:
            decision = decide(member, command, terms, info.programme)
        if isinstance(decision, Rejection):
            return _refused(decision)
        if kind is EraseMember:
            self._destroy_keys([command.member, *self._absorbed_by(member)])
        elif is_personal(command):
            decision = self._sealed(command, decision)
        return self._post(journal, member, decision, key, digest)

    def _handle_pair(self, command: ToTwo, key: bytes, digest: bytes) -> Outcome:
        first = self._member(command.member)
        other = other_member(first, command)
        if other is None or self._journal_of(other) not in self._heads:
            second = first  # an undo of a merge that is not there (any more): refused for that
        else:
            second = self._member(other)
        decision: PairDecision = decide_pair(first, second, command)
        if isinstance(decision, Rejection):
            return _refused(decision)
        assert other is not None
        outcome = self._post(self._journal_of(command.member), first, decision[0], key, digest)
        self._post(self._journal_of(other), second, decision[1], None, None)
        return outcome

    def _post(
        self,
        journal: int,
        member: Member,
        events: Sequence[MemberEvent],
        key: bytes | None,
        digest: bytes | None,
    ) -> Outcome:
        """Add events to what the transaction appends; the key of their command stands on the first of them."""
        outcome = self._record(journal, MEMBER_STREAM + member.member, member.version, events, key, digest)
        for event in events:
            evolve(member, event)
        return outcome

    def _record(
        self,
        journal: int,
        stream: str,
        version: int,
        events: Sequence[Event],
        key: bytes | None,
        digest: bytes | None,
    ) -> Outcome:
        """As `_post`, for any stream: `version` is what it has reached."""
        records = self._records[journal]
        first = self._heads[journal].position + len(records) + 1
        count: int | None = None
        if key is not None and digest is not None:
            count = len(events)
            self._recorded[key] = (digest, first, count)
            self._given[key] = first
        for event in events:
            version += 1
            records.append((stream, version, event.topic, encode(event), key, digest, count))
            key = digest = count = None
        return Outcome("posted", journal, first, first + len(events) - 1)

    def _handle_programme(self, command: CreateProgramme | PublishTerms, key: bytes, digest: bytes) -> Outcome:
        """A command to the programme's own stream: its creation, then its terms, one event each."""
        if self.info is not None:  # the version seen while waiting for the lock may be that of before it
            self.info = read_programme(self._cur, command.programme)
        stream_version = 0 if self.info is None else 1 + self.info.terms_versions
        state = ProgrammeState() if self.info is None else state_of(self.info, stream_version)
        decision = decide_programme(state, command)
        if isinstance(decision, Rejection):
            return _refused(decision)
        stream = PROGRAMME_STREAM + command.programme
        outcome = self._record(min(self._heads), stream, stream_version, decision, key, digest)
        self._look_up_again(decision)
        return outcome

    def _handle_steering(self, command: AnySteeringCommand, key: bytes, digest: bytes) -> Outcome:
        """A command to small streams of the programme's first journal; the key stands on the first event of its own."""
        assert self.info is not None
        decision = decide_steering(self._steered, command, self.info.programme)
        if isinstance(decision, Rejection):
            return _refused(decision)
        own, *others = decision
        outcome = self._steer(own, decision[own], key, digest)
        for stream in others:
            self._steer(stream, decision[stream], None, None)
        self._look_up_again(decision[own])
        return outcome

    def _steer(self, stream: str, events: Sequence[Event], key: bytes | None, digest: bytes | None) -> Outcome:
        state = self._steered[stream]
        outcome = self._record(min(self._heads), stream, state.version, events, key, digest)
        for event in events:
            evolve_steering(state, event)
        return outcome

    def _look_up_again(self, events: Sequence[Event]) -> None:
        """Write what writers look up, and look it up."""
        for event in events:
            if record_programme(self._cur, event):
                self.info = read_programme(self._cur, event.programme)

    # --- personal data -----------------------------------------------------------------------------------------

    def _input_hash(self, command: AnyCommand) -> bytes:
        if is_personal(command):
            return keyed_hash(self._member_key(command.member), encode(command))
        return blake2b(encode(command), digest_size=16).digest()

    def _member_key(self, member: str) -> bytes:
        self._cur.execute(
            "SELECT key FROM member_keys WHERE journal = %s AND member = %s", (self._journal_of(member), member)
        )
        row = self._cur.fetchone()
        return bytes(row[0]) if row else self._new_keys.setdefault(member, new_key())

    def _sealed(
        self, command: ChangeProfile | RecordSurvey, events: tuple[MemberEvent, ...]
    ) -> tuple[MemberEvent, ...]:
        """The events with what is personal in them sealed, under a key that is there once they are."""
        key = self._member_key(command.member)
        self._cur.execute(
            "INSERT INTO member_keys (journal, member, key) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (self._journal_of(command.member), command.member, key),
        )
        personal = personal_data(command)
        sealed = seal(key, command.programme, command.member, personal) if personal else b""
        return tuple(with_sealed(event, sealed) for event in events)

    def _absorbed_by(self, member: Member) -> list[str]:
        """The members merged into this one, and those merged into them before. Their journals need no lock: a merge can
        only be undone while its survivor is open, and the journal of the last survivor is locked.
        """
        names: list[str] = []
        waiting = list(member.absorbed)
        while waiting:
            name = waiting.pop()
            names.append(name)
            waiting += self._read(name).absorbed
        return names

    def _read(self, name: str) -> Member:
        """A member of any journal, as it is committed."""
        return load_members(self._cur, self._journal_of(name), [name])[0][name]

    def _destroy_keys(self, members: list[str]) -> None:
        """Destroy the keys of members, and what refused messages of theirs may say: those that name one of them, and
        those of which no member could be told but that have such a name in them.
        """
        assert self.info is not None
        self._cur.execute("SELECT pg_advisory_xact_lock(%s)", (_ERASURE_LOCK_KEY,))
        for journal, names in self._by_journal(self.info, members).items():
            self._cur.execute("DELETE FROM member_keys WHERE journal = %s AND member = ANY (%s)", (journal, names))
        erase_refused(self._cur, self.info.programme.programme, members)

    # --- 4 and 5: append, keep, commit -------------------------------------------------------------------------

    def _keep_refused(self) -> None:
        self._refused.update(each.rejection.code for each in self.outcomes.values() if each.rejection is not None)
        refused = [
            (self._submissions[number], outcome.rejection)
            for number, outcome in self.outcomes.items()
            if outcome.rejection is not None and is_kept(self._submissions[number])
        ]
        erased = self._erased({owner(each.command) for each, _ in refused if may_be_personal(each.command)})
        keep_refused(
            self._cur,
            [
                (submission, rejection, may_be_personal(submission.command) and owner(submission.command) in erased)
                for submission, rejection in refused
            ],
        )

    def _erased(self, owners: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """The (programme, member) out of some that were erased, themselves or with whom they were merged into: messages
        with their personal data may be delivered once more, and keeping them would bring back what was erased.

        Where there is no such programme, the member may be of any. An erasure under way elsewhere is waited for, and
        one that comes after finds what is kept here.
        """
        if not owners:
            return set()
        self._cur.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_ERASURE_LOCK_KEY,))
        erased = set()
        for programme in {programme for programme, _ in owners}:
            members = [member for of, member in owners if of == programme]
            infos = [self.info] if self._heads else read_programmes(self._cur, programme)
            for info in infos:
                if info is not None:
                    erased |= {(programme, member) for member in self._erased_of(info, members)}
        return erased

    def _erased_of(self, info: ProgrammeInfo, members: Iterable[str]) -> set[str]:
        erased: set[str] = set()
        now = {member: member for member in members}
        while now:
            states = self._states(info, set(now.values()))
            erased |= {member for member, name in now.items() if states[name].status == "erased"}
            now = {member: states[name].merged_into for member, name in now.items() if states[name].status == "merged"}
        return erased

    def _states(self, info: ProgrammeInfo, members: Iterable[str]) -> dict[str, Member]:
        """Members of any journal, as this transaction has them, else as they are committed."""
        states: dict[str, Member] = {}
        for journal, names in self._by_journal(info, members).items():
            touched = self._touched.get(journal, {})
            states |= {name: touched[name] for name in names if name in touched}
            missing = [name for name in names if name not in touched]
            states |= load_members(self._cur, journal, missing)[0] if missing else {}
        return states

    def _by_journal(self, info: ProgrammeInfo, members: Iterable[str]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for member in members:
            found.setdefault(journal_of(info, member), []).append(member)
        return found

    def _record_taken(self, claims: Mapping[TopicPartition, int]) -> None:
        taken: dict[TopicPartition, Taken] = {}
        homeless = self._source_journal == NO_JOURNAL
        for number in self._numbers:
            place = _place_of(self._submissions[number])
            name = place.topic, place.partition
            here = taken.get(name)
            if here is None:
                here = taken[name] = _nothing_taken(place, claims[name])
                if homeless:  # to be known until every journal has taken what was read with them
                    here.offsets = sorted(self._progress[name].homeless)
            here.last_offset = place.offset
            status = self.outcomes[number].status
            add_named_amount(here.amounts, self._submissions[number].command, status)
            if status == "posted":
                here.posted += 1
            elif status == "duplicate":
                here.duplicate += 1
            else:
                here.rejected += 1
            if homeless:
                here.offsets.append(place.offset)
        if taken:
            record_taken(self._cur, self._source_journal, list(taken.values()))

    def _commit(self) -> None:
        if self._given or self._work.claims is not None:
            self._sent = Sent(outcomes=self.outcomes, given=self._given)
        changed = [head for journal, head in sorted(self._heads.items()) if self._records[journal]]
        for head in changed:
            append(self._cur, head, self._records[head.journal])
            store_head(self._cur, head, commit=head is changed[-1])
        if not changed:
            self._cur.execute("COMMIT")


def _place_of(submission: Submission) -> Place:
    if submission.place is None:
        raise ValueError(f"a submission has no place, though its batch has claims: {submission.origin}")
    return submission.place


def _nothing_taken(place: Place, epoch: int) -> Taken:
    """From this place on; to be added to."""
    return Taken(
        topic=place.topic,
        partition=place.partition,
        epoch=epoch,
        first_offset=place.offset,
        last_offset=place.offset,
    )


def _refused(rejection: Rejection) -> Outcome:
    return Outcome("rejected", rejection=rejection)


def _no_programme(command: AnyCommand) -> Rejection:
    name = command.programme
    if not name:
        return Rejection("PROGRAMME_MISSING", "programme", "must be given, by the message or the way in")
    if isinstance(command, CreateProgramme):  # it came into being meanwhile, with another number of journals
        return Rejection("PROGRAMME_EXISTS", "programme", "exists already", name)
    return Rejection("PROGRAMME_UNKNOWN", "programme", "must be created first", name)


def _out_of_range(at: datetime, latest: datetime) -> Rejection:
    rule = f"must be from 1970 to {latest:%Y-%m-%dT%H:%M:%SZ}, as far ahead as clocks may differ"
    return Rejection("OCCURRED_AT_OUT_OF_RANGE", "occurred_at", rule, f"{at:%Y-%m-%dT%H:%M:%SZ}")


def _automatic_enrolment(command: RecordPurchase) -> MemberEnrolled:
    return MemberEnrolled(
        programme=command.programme,
        member=command.member,
        occurred_at=command.occurred_at,
        source=command.source,
        id=command.id,
        channel=command.channel,
        store=command.store,
        automatic=True,
    )


def command_key(source: str, id: str) -> bytes:
    """The idempotency key of a command: 16 bytes over its source and id, framed so that no two pairs share bytes."""
    return blake2b(f"{len(source)}:{source}{id}".encode(), digest_size=16).digest()


# --- states -------------------------------------------------------------------------------------------------------


def catch_up(cur: PgCursor, cache: MemberCache, head: Head) -> None:
    """Bring a cache to the head of its journal: evolve what it has by what others appended, or drop it."""
    if not cache.members or not cache.position <= head.position <= cache.position + CATCH_UP_EVENTS_MAX:
        cache.clear()
        cache.position = head.position
        return
    while cache.position < head.position:
        rows = read_light(cur, head.journal, after=cache.position, limit=CATCH_UP_PAGE, upto=head.position)
        if not rows:
            raise IntegrityError(f"journal {head.journal} has no event after position {cache.position}")
        for position, stream, version, topic, state, _ in rows:
            member = cache.members.get(stream.removeprefix(MEMBER_STREAM))
            if member is not None and stream.startswith(MEMBER_STREAM) and version > member.version:
                evolve(member, decode_member_event(topic, state))
            cache.position = position


def load_members(cur: PgCursor, journal: int, names: Sequence[str]) -> tuple[dict[str, Member], dict[str, int]]:
    """States of members by name, from the newest snapshots and the events after them, and how many events each took."""
    members = {name: initial(name) for name in names}
    replayed = dict.fromkeys(names, 0)
    for start in range(0, len(names), LOAD_MEMBERS_MAX):
        _load_some(cur, journal, names[start : start + LOAD_MEMBERS_MAX], members, replayed)
    return members, replayed


def _load_some(
    cur: PgCursor, journal: int, names: Sequence[str], members: dict[str, Member], replayed: dict[str, int]
) -> None:
    cur.execute(
        "SELECT originator_id, state FROM member_snapshots"
        " WHERE journal = %s AND layout = %s AND originator_id = ANY (%s)",
        (journal, STATE_LAYOUT, [MEMBER_STREAM + name for name in names]),
    )
    for stream, state in cur.fetchall():
        members[stream.removeprefix(MEMBER_STREAM)] = thaw(bytes(state))
    after = [(MEMBER_STREAM + name, members[name].version) for name in names]
    for _, stream, _, topic, state, _ in read_streams(cur, journal, after):
        name = stream.removeprefix(MEMBER_STREAM)
        evolve(members[name], decode_member_event(topic, state))
        replayed[name] += 1


def store_snapshots(cur: PgCursor, journal: int, members: dict[str, Member], replayed: dict[str, int]) -> None:
    """Leave snapshots of the states that took long to read."""
    rows = [
        (journal, MEMBER_STREAM + name, member.version, STATE_LAYOUT, freeze(member))
        for name, member in members.items()
        if replayed[name] > max(SNAPSHOT_AFTER_EVENTS, member.weight())
    ]
    if rows:
        execute_values(
            cur,
            "INSERT INTO member_snapshots (journal, originator_id, originator_version, layout, state) VALUES %s"
            " ON CONFLICT (journal, originator_id) DO UPDATE SET"
            " originator_version = excluded.originator_version, layout = excluded.layout, state = excluded.state",
            rows,
        )
