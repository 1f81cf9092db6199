"""`loyalty consume`: messages of Kafka topics, each taken exactly once, whatever stops or fails.

Two threads. The caller's is the member of the consumer group: it claims the partitions it is given, polls, decodes, and
puts what it read into a backlog of bounded size; while that is full it lets nothing come, and goes on polling so as to
stay a member. The other takes batch by batch:

1. `Ledger.handle` with the claims: events, offsets and counts in one transaction a journal.
2. `complete`, when all journals have committed.
3. Kafka is told, as a courtesy. What counts are the offsets in the database.

When the database is away, step 1 is tried again until it is back; nothing is refused for that. A message that makes the
ledger fail by itself is set apart and refused. A partition whose messages are gone from Kafka stops, and says which are
lost, until somebody accepts it; the others go on.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError
from msgspec import Struct, field

from consumers.backlog import BACKLOG_BYTES_MAX, MESSAGE_OVERHEAD_BYTES, Backlog, Batch
from consumers.cloud_events import decode_message
from consumers.kafka_client import POLL_MS, Bounds, ClientSettings, CutShort, GroupClient, OutOfRange, Record
from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.rejections import Rejection
from ledger.store.database import sentence, sqlstate
from ledger.store.sources import (
    Behind,
    Claim,
    Fenced,
    Read,
    TopicPartition,
    claim,
    complete,
    partitions,
    stop_partition,
)
from ledger.submissions import Malformed, Outcome, Place, Submission

ROOM_WAIT_SECONDS: Final = 2.0
"""For so long the member of the group waits for room without polling; far below the time after which it is missed."""
DRAIN_WAIT_SECONDS: Final = 2.0
"""For so long partitions that stay ours are not claimed again, so that what was read of them is taken before."""
UNSETTLED_SECONDS_MAX: Final = 20.0
"""When the group has not given us partitions, or none, for so long, its join hangs: start again with a new client."""
COURTESY_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 2.0
TOPIC_KNOWN_SECONDS: Final = 0.25
"""What is read is taken where its topic was seen, no longer ago than this, to be the one that was claimed. Offsets of
one that was made again look like those of the old one, and a fetch only says its name."""
RETRY_SECONDS: Final = 0.2
RETRY_SECONDS_MAX: Final = 5.0
CLAIM_THREADS: Final = 4
SET_APART_MAX: Final = 20
"""When so many messages in a row make the ledger fail, it is not the messages."""

_log = logging.getLogger(__name__)


class ConsumeSettings(Struct, frozen=True, kw_only=True):
    """What to consume, and how. `programme` is for messages that name none; `auto_enrol` as of Ledger.handle."""

    client: ClientSettings
    programme: str = ""
    auto_enrol: bool = False
    until_caught_up: bool = False
    backlog_bytes_max: int = BACKLOG_BYTES_MAX


class Progress(Struct, kw_only=True):
    """What became of the messages so far; `read` = posted + duplicate + rejected + taken (before, by a journal that was
    ahead) + dropped (because the partition went to another consumer, which takes them).

    `lag` is messages behind the end of our partitions' logs. `state` says what is waited for, "" where nothing is.
    `stopped` are the partitions that wait for a gap to be accepted, and why. `lags` is `lag` by partition. The member
    of the group was last at work at `turned_at`, by the monotonic clock; `in_hand_since` is when the batch that the
    other thread has in hand was last tried, None where it has none.
    """

    read: int = 0
    posted: int = 0
    duplicate: int = 0
    rejected: int = 0
    taken: int = 0
    dropped: int = 0
    lag: int = 0
    partitions: int = 0
    state: str = ""
    codes: Counter[str] = field(default_factory=Counter)
    stopped: dict[TopicPartition, str] = {}
    lags: dict[TopicPartition, int] = {}
    turned_at: float = field(default_factory=time.monotonic)
    in_hand_since: float | None = None


class Consumer:
    """Consumes until it is stopped, or has caught up. `progress` may be read from any thread."""

    def __init__(self, ledger: Ledger, settings: ConsumeSettings) -> None:
        self._ledger = ledger
        self._settings = settings
        self.progress = Progress()
        self._backlog = Backlog(settings.backlog_bytes_max)
        self._taker = Taker(ledger, self._backlog, self.progress, auto_enrol=settings.auto_enrol)
        self._owner = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, stop: Event, on_tick: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Consume until `stop` is set, after the batch in hand, or until everything is taken that was there at the
        start; where it ended. `on_tick` is called about twice a second from this thread.

        Brokers or a database that are away are waited for. Raises LookupError when a topic is not there at the start,
        and what is neither of these nor the fault of a message.
        """
        taking = Thread(target=self._taker.run, args=(stop,), name="taker")
        taking.start()
        pause = RETRY_SECONDS
        began = False
        try:
            while not stop.is_set():
                try:
                    client = GroupClient(self._settings.client)
                except (KafkaError, LookupError) as error:
                    if isinstance(error, LookupError) and not began:
                        raise
                    self._wait(stop, pause, f"Kafka does not answer: {sentence(error)}", on_tick)
                    pause = min(2 * pause, RETRY_SECONDS_MAX)
                    continue
                began, pause = True, RETRY_SECONDS
                if self._consume(client, stop, on_tick):
                    break
        finally:
            self._backlog.close()
            taking.join()
            self._taker.raise_failure()
        return self.progress

    def _consume(self, client: GroupClient, stop: Event, on_tick: Callable[[Progress], None]) -> bool:
        """Be a member of the group until it is enough, or the client hangs; whether it is enough."""
        membership = Membership(client, self._ledger, self._settings, self._backlog, self.progress, self._owner)
        try:
            while not stop.is_set():
                self._taker.raise_failure()
                self.progress.turned_at = time.monotonic()
                try:
                    membership.step()
                except KafkaError as error:
                    self._wait(stop, RETRY_SECONDS, f"Kafka: {sentence(error)}", on_tick)
                while not self._taker.behind.empty():
                    membership.claim_again(self._taker.behind.get())
                membership.courtesy(self._taker.completed)
                on_tick(self.progress)
                if self._settings.until_caught_up and membership.is_caught_up():
                    return True
                if client.notes.unsettled_seconds() > UNSETTLED_SECONDS_MAX:
                    _log.warning("the group has given out no partitions for %s s: joining again", UNSETTLED_SECONDS_MAX)
                    return False
            self._backlog.close()
            self._taker.finished.wait(RETRY_SECONDS_MAX)
            return True
        finally:
            membership.close(self._taker.completed)

    def _wait(self, stop: Event, seconds: float, state: str, on_tick: Callable[[Progress], None]) -> None:
        self.progress.state, self.progress.turned_at = state, time.monotonic()
        on_tick(self.progress)
        stop.wait(seconds)
        self.progress.state = ""


# --- the member of the group --------------------------------------------------------------------------------------


class Held(Struct, kw_only=True):
    """A partition that the group gave us. It is open, and read up to `position`, once it is claimed."""

    name: TopicPartition
    claim: Claim | None = None
    claiming: Future[Claim] | None = None
    position: int = 0
    stopped: bool = False
    again_at: float = 0.0


class Membership:
    """Claims what the group gives, reads it, and fills the backlog. For one thread."""

    def __init__(
        self,
        client: GroupClient,
        ledger: Ledger,
        settings: ConsumeSettings,
        backlog: Backlog,
        progress: Progress,
        owner: str,
    ) -> None:
        self._client = client
        self._database = ledger.database
        self._settings = settings
        self._backlog = backlog
        self._progress = progress
        self._owner = owner
        self._threads = ThreadPoolExecutor(CLAIM_THREADS, thread_name_prefix="claim")
        self._generation = 0
        self._drain_until = 0.0
        self._held: dict[TopicPartition, Held] = {}
        self._paused = False
        self._targets: dict[TopicPartition, Bounds] | None = None
        self._told: dict[TopicPartition, int] = {}
        self._told_at = self._looked_at = self._asked_at = self._known_at = 0.0

    def step(self) -> None:
        """Take over what is new, and read once. Raises kafka.errors.KafkaError."""
        self._adopt()
        self._claim()
        self._look()
        if self._backlog.has_room(ROOM_WAIT_SECONDS):
            self._pause(False)
        else:
            self._pause(True)
        try:
            self._poll()
        except OutOfRange as error:
            self._stop_out_of_range(error.offsets)
        except CutShort as error:
            self._stop_cut_short(error.ends)

    def _poll(self) -> None:
        found = self._client.poll(POLL_MS)
        if self._client.notes.generation != self._generation:
            return  # given out again while we polled: what we got is read again when it is claimed
        if found:
            self._leave_what_was_made_again(found)
            self._put(found)
        else:
            self._skip_what_is_no_message()
        self._measure()

    def is_caught_up(self) -> bool:
        """Whether everything is taken that was there when we joined, by us or another; what is stopped aside."""
        if self._targets is None:
            self._targets = self._client.bounds(self._client.partitions())
        if time.monotonic() - self._asked_at < RETRY_SECONDS or not self._backlog.is_idle():
            return False
        self._asked_at = time.monotonic()
        try:
            with self._database.connection() as cur:
                found = {(each.topic, each.partition): each for each in partitions(cur)}
        except PersistenceError:
            return False
        return all(
            bounds.begin == bounds.end
            or (name in found and (found[name].next_offset >= bounds.end or bool(found[name].stopped)))
            for name, bounds in self._targets.items()
        )

    def claim_again(self, names: Collection[TopicPartition]) -> None:
        """Claim some of our partitions anew, and read from where the database says."""
        self._claim_again(held for held in self._held.values() if held.claim is not None and held.name in names)

    def courtesy(self, completed: Mapping[TopicPartition, int], *, wait: bool = False) -> None:
        """Tell Kafka how far we are, now and then."""
        now = time.monotonic()
        if not wait and now - self._told_at < COURTESY_SECONDS:
            return
        self._told_at = now
        offsets = {name: offset for name, offset in list(completed.items()) if name in self._held}
        news = {name: offset for name, offset in offsets.items() if self._told.get(name) != offset}
        if news:
            self._client.commit_courtesy(news, wait=wait)
            self._told |= news

    def close(self, completed: Mapping[TopicPartition, int]) -> None:
        """Leave the group."""
        self.courtesy(completed, wait=True)
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- partitions --------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Note what the group gave us since the last time. All of it is claimed anew, what we had before as well."""
        notes = self._client.notes
        if notes.generation == self._generation:
            return
        self._generation = notes.generation
        self._held = {name: Held(name=name) for name in sorted(notes.assigned)}
        self._drain_until = time.monotonic() + DRAIN_WAIT_SECONDS
        self._paused = False
        self._progress.partitions = len(self._held)
        self._progress.stopped = {}

    def _claim(self) -> None:
        now = time.monotonic()
        new = [
            held
            for held in self._held.values()
            if held.claim is None and held.claiming is None and not held.stopped and held.again_at <= now
        ]
        if new and (self._backlog.is_idle() or now > self._drain_until):
            self._client.refresh()
            bounds = self._client.bounds([held.name for held in new])
            for held in new:
                held.claiming = self._threads.submit(self._claimed, held.name, bounds[held.name].begin)
        for held in self._held.values():
            if held.claiming is not None and held.claiming.done():
                self._open(held, held.claiming)

    def _claimed(self, name: TopicPartition, begin: int) -> Claim:
        """In a thread of its own, because a claim waits for whoever holds the partition, and for the database."""
        topic, partition = name
        with self._database.connection() as cur:
            return claim(
                cur,
                topic,
                partition,
                owner=self._owner,
                begin_offset=begin,
                topic_id=self._client.topic_id(topic),
            )

    def _open(self, held: Held, claiming: Future[Claim]) -> None:
        held.claiming = None
        error = claiming.exception()
        if error is not None:
            if not is_outage(error):
                raise error
            self._progress.state = f"the database does not answer: {sentence(error)}"
            held.again_at = time.monotonic() + RETRY_SECONDS_MAX / 5
            return
        self._progress.state = ""
        claimed = claiming.result()
        bounds = self._client.bounds([held.name])[held.name]
        held.position = claimed.next_offset
        if claimed.stopped:
            self._note_stopped(held, claimed.stopped)
        elif self._was_made_again(claimed):
            self._stop(held, claimed, _made_again(claimed.next_offset), lost_to=bounds.begin)
        elif claimed.next_offset < bounds.begin:
            self._stop(held, claimed, _retention(claimed.next_offset, bounds.begin), lost_to=bounds.begin)
        elif self._client.open_at(held.name, claimed.next_offset, claimed.leader_epoch):
            held.claim = claimed
            if self._paused:
                self._client.pause([held.name])

    def _stop_out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Stop partitions that do not have the offset to go on from."""
        for held, claimed, bounds in self._lost(offsets):
            offset = offsets[held.name]
            if offset < bounds.begin:
                self._stop(held, claimed, _retention(offset, bounds.begin), lost_to=bounds.begin)
            elif offset > bounds.end:
                same = claimed.topic_id is not None and claimed.topic_id == self._client.topic_id(claimed.topic)
                lost_to = bounds.end if same else bounds.begin  # of the same topic what is below was taken
                self._stop(held, claimed, _log_ends_before(offset, bounds.end), lost_to=lost_to)
            # else it is asked for again

    def _stop_cut_short(self, ends: Mapping[TopicPartition, int | None]) -> None:
        """Stop partitions whose logs are not those that we read any more."""
        for held, claimed, bounds in self._lost(ends):
            end = ends[held.name]
            lost_to = bounds.begin if end is None else end
            self._stop(held, claimed, _cut_and_went_on(held.position, lost_to), lost_to=lost_to)

    def _lost(self, names: Collection[TopicPartition]) -> Iterator[tuple[Held, Claim, Bounds]]:
        """Those of some partitions that are ours, with their bounds; but those of topics that were made again, whose
        offsets say nothing of ours, are stopped here.
        """
        bounds = self._client.bounds(names)
        self._client.refresh()  # after the bounds: they are the topic's that is known then, where it is still ours
        for name in names:
            held = self._held.get(name)
            if held is None or held.claim is None:
                continue
            if self._was_made_again(held.claim):
                begin = self._client.bounds([name])[name].begin
                self._stop(held, held.claim, _made_again(held.position), lost_to=begin)
            else:
                yield held, held.claim, bounds[name]

    def _stop(self, held: Held, claimed: Claim, reason: str, *, lost_to: int) -> None:
        self._client.pause([held.name])
        held.claim = None
        try:
            with self._database.connection() as cur:
                stop_partition(cur, claimed, reason, lost_from=held.position, lost_to=lost_to)
        except PersistenceError:  # found again when it is claimed again
            held.again_at = time.monotonic() + RETRY_SECONDS_MAX / 5
            return
        self._note_stopped(held, reason)

    def _note_stopped(self, held: Held, reason: str) -> None:
        held.stopped = True
        self._progress.stopped = self._progress.stopped | {held.name: reason}
        topic, partition = held.name
        _log.error("topic %s, partition %s is stopped: %s", topic, partition, reason)

    def _look(self) -> None:
        """Now and then: whether somebody accepted a gap, and whether a topic was made again."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        self._claim_again(held for held in self._held.values() if self._was_made_again(held.claim))
        if self._progress.stopped:
            try:
                with self._database.connection() as cur:
                    waiting = {(each.topic, each.partition) for each in partitions(cur) if each.stopped}
            except PersistenceError:
                return
            self._claim_again(held for held in self._held.values() if held.stopped and held.name not in waiting)

    def _claim_again(self, some: Iterable[Held]) -> None:
        for held in list(some):
            self._client.pause([held.name])
            held.claim, held.stopped = None, False
            self._progress.stopped = {name: why for name, why in self._progress.stopped.items() if name != held.name}

    # --- reading -----------------------------------------------------------------------------------------------

    def _pause(self, pause: bool) -> None:
        if pause == self._paused:
            return
        self._paused = pause
        open_ones = [held.name for held in self._held.values() if held.claim is not None]
        if pause:
            self._client.pause(open_ones)
        else:
            self._client.resume(open_ones)

    def _leave_what_was_made_again(self, read: Collection[TopicPartition]) -> None:
        """Claim partitions anew whose topic is not the one that was claimed: what was read of them is another's."""
        mine = [self._held[name] for name in read if name in self._held]
        if time.monotonic() - self._known_at > TOPIC_KNOWN_SECONDS:
            try:
                self._client.refresh()
            except KafkaError:
                self._claim_again(mine)
                raise
            self._known_at = time.monotonic()
        self._claim_again(held for held in mine if self._was_made_again(held.claim))

    def _was_made_again(self, claimed: Claim | None) -> bool:
        """Whether the topic, as the brokers told of it last, is another than the one that was claimed."""
        if claimed is None or claimed.topic_id is None:
            return False
        return self._client.topic_id(claimed.topic) not in (None, claimed.topic_id)

    def _put(self, found: Mapping[TopicPartition, list[Record]]) -> None:
        submissions: list[Submission] = []
        reads: list[Read] = []
        claims: dict[TopicPartition, int] = {}
        size_bytes = 0
        for name, records in found.items():
            held = self._held.get(name)
            if held is None or held.claim is None:
                continue
            size_bytes += self._decode(records, submissions)
            next_offset = records[-1].offset + 1
            reads.append(_read(held.claim, held.position, next_offset, len(records), records[-1].leader_epoch))
            claims[name] = held.claim.epoch
            held.position = next_offset
        if reads:
            self._progress.read += len(submissions)
            self._backlog.put(Batch(submissions, reads, claims, size_bytes))

    def _decode(self, records: Sequence[Record], submissions: list[Submission]) -> int:
        programme, size_bytes = self._settings.programme, 0
        for record in records:
            value, key = record.value, record.key
            topic, partition, offset = record.topic, record.partition, record.offset
            headers = tuple(record.headers)
            place = Place(topic, partition, offset, record.timestamp, key, headers)
            command: AnyCommand | Malformed
            try:
                command = decode_message(value, headers, programme=programme)
            except Exception as error:  # noqa: BLE001 - a defect of the decoder may not stop the partition
                _log.exception("kafka:%s:%s:%s: the decoder failed on it", topic, partition, offset)
                command = Malformed(rejection=_failed_on(error), programme=programme)
            submissions.append(Submission(command, value, f"kafka:{topic}:{partition}:{offset}", place))
            size_bytes += MESSAGE_OVERHEAD_BYTES + len(value or b"") + len(key or b"")
        return size_bytes

    def _skip_what_is_no_message(self) -> None:
        """Move on over control records and what was aborted, so that the end is reached."""
        if self._paused:
            return
        ahead: dict[TopicPartition, int] = {}
        for held in self._held.values():
            position = None if held.claim is None else self._client.position(held.name)
            if position is not None and position > held.position:
                ahead[held.name] = position
        if ahead:
            self._leave_what_was_made_again(ahead)
        reads, claims = [], {}
        for name, position in ahead.items():
            held = self._held[name]
            if held.claim is not None:
                reads.append(_read(held.claim, held.position, position, 0))
                claims[name] = held.claim.epoch
                held.position = position
        if reads:
            self._backlog.put(Batch((), reads, claims, 0))

    def _measure(self) -> None:
        ends = ((held, self._client.high_water(held.name)) for held in self._held.values() if held.claim is not None)
        lags = {held.name: max(end - held.position, 0) for held, end in ends if end is not None}
        self._progress.lags, self._progress.lag = lags, sum(lags.values())


def _read(claimed: Claim, first: int, next_offset: int, messages: int, leader_epoch: int = -1) -> Read:
    return Read(
        topic=claimed.topic,
        partition=claimed.partition,
        epoch=claimed.epoch,
        first_offset=first,
        next_offset=next_offset,
        messages=messages,
        leader_epoch=leader_epoch,
    )


def _retention(ours: int, begin: int) -> str:
    return f"Kafka has deleted offsets {ours} to {begin - 1} before they were read: its log begins at {begin}"


def _made_again(ours: int) -> str:
    return f"the topic was deleted and made again: what the old one had from offset {ours} on is lost"


def _log_ends_before(ours: int, end: int) -> str:
    return (
        f"the log ends at offset {end}, though everything before {ours} was taken: it was cut short, or the topic was"
        " made again; what it had from there on is lost"
    )


def _cut_and_went_on(ours: int, end: int) -> str:
    return (
        f"the log was cut short at offset {end}, though everything before {ours} was taken, and may have gone on from"
        f" there: what it has from offset {end} on was not read"
    )


# --- taking -------------------------------------------------------------------------------------------------------


class Taker:
    """Hands batch after batch to the ledger, in a thread of its own."""

    def __init__(self, ledger: Ledger, backlog: Backlog, progress: Progress, *, auto_enrol: bool) -> None:
        self._ledger = ledger
        self._backlog = backlog
        self._progress = progress
        self._auto_enrol = auto_enrol
        self._failure: BaseException | None = None
        self._apart_in_a_row = 0
        self.completed: dict[TopicPartition, int] = {}
        self.behind: SimpleQueue[frozenset[TopicPartition]] = SimpleQueue()
        """Partitions to be claimed and read again."""
        self.finished = Event()

    def raise_failure(self) -> None:
        """Raise what ended the thread, if that was an error."""
        if self._failure is not None:
            raise self._failure

    def run(self, stop: Event) -> None:
        """Take batches until the backlog is closed."""
        try:
            while (batch := self._backlog.take()) is not None:
                if not self.take(batch, stop):
                    self._backlog.close()  # what follows may not be taken before it
                self._backlog.done(batch)
                self._progress.in_hand_since = None
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that consumes
            self._failure = error
            self._backlog.close()
        finally:
            self.finished.set()

    def take(self, batch: Batch, stop: Event) -> bool:
        """Take one batch: whether to the end; not where `stop` came while the database was away."""
        submissions, reads = batch.submissions, batch.reads
        outcomes: list[Outcome | None] = [None] * len(submissions)
        pause = RETRY_SECONDS
        while reads:
            self._progress.in_hand_since = time.monotonic()
            try:
                self._handle(outcomes, submissions, batch.claims)
                with self._ledger.database.connection() as cur:
                    complete(cur, reads)
                self._progress.state = ""
                break
            except (Fenced, Behind) as error:
                gone = error.partitions
                kept = [n for n, each in enumerate(submissions) if _partition_of(each) not in gone]
                self._count([o for n, o in enumerate(outcomes) if _partition_of(submissions[n]) in gone])
                submissions, outcomes = [submissions[n] for n in kept], [outcomes[n] for n in kept]
                reads = [read for read in reads if (read.topic, read.partition) not in gone]
                if isinstance(error, Behind):
                    self.behind.put(gone)
                _log.warning("%s", error)
            except (PersistenceError, OSError) as error:
                if not is_outage(error):
                    raise
                self._progress.state = f"the database does not answer: {sentence(error)}"
                _log.warning("the database failed, trying again in %s s: %s", pause, sentence(error))
                if stop.wait(pause):
                    self._count(outcomes)
                    return False
                pause = min(2 * pause, RETRY_SECONDS_MAX)
        self._count(outcomes)
        self.completed.update({(read.topic, read.partition): read.next_offset for read in reads})
        return True

    def _handle(
        self,
        outcomes: list[Outcome | None],
        submissions: Sequence[Submission],
        claims: Mapping[TopicPartition, int],
    ) -> None:
        try:
            self._ledger.handle_into(outcomes, submissions, auto_enrol=self._auto_enrol, claims=claims)
        except Exception as error:  # one message may be at fault, and may not stop the others
            if isinstance(error, Fenced) or is_outage(error):
                raise
            self._handle_apart(outcomes, submissions, claims, error)
            return
        self._apart_in_a_row = 0

    def _handle_apart(
        self,
        outcomes: list[Outcome | None],
        submissions: Sequence[Submission],
        claims: Mapping[TopicPartition, int],
        error: Exception,
    ) -> None:
        """Find the message that fails, by halves and in order, and refuse it."""
        if len(submissions) == 1:
            self._apart_in_a_row += 1
            if self._apart_in_a_row > SET_APART_MAX:
                raise error
            # Without the cause: that of the driver quotes the row, which may have personal data in it.
            told = "".join(traceback.format_exception(error, chain=False))
            _log.error("%s: the ledger failed on it\n%s", submissions[0].origin, told)
            self._ledger.handle_into(outcomes, [_unprocessable(submissions[0], error)], claims=claims)
            return
        middle = len(submissions) // 2
        for some in (slice(None, middle), slice(middle, None)):
            part = outcomes[some]
            try:
                self._handle(part, submissions[some], claims)
            finally:
                outcomes[some] = part

    def _count(self, outcomes: Sequence[Outcome | None]) -> None:
        counted, progress = Counter(outcome.status if outcome else "" for outcome in outcomes), self._progress
        progress.posted += counted["posted"]
        progress.duplicate += counted["duplicate"]
        progress.rejected += counted["rejected"]
        progress.taken += counted["taken"]
        progress.dropped += counted[""]
        if counted["rejected"]:
            progress.codes.update(o.rejection.code for o in outcomes if o is not None and o.rejection is not None)


def is_outage(error: BaseException) -> bool:
    """Whether it is the database that failed, or its state, and not what it was given: then waiting helps."""
    if isinstance(error, PersistenceError):
        return not (sqlstate(error) or "").startswith("22")  # data exceptions
    return isinstance(error, OSError)


def _partition_of(submission: Submission) -> TopicPartition:
    assert submission.place is not None
    return submission.place.topic, submission.place.partition


def _unprocessable(submission: Submission, error: Exception) -> Submission:
    command: AnyCommand | Malformed = submission.command
    malformed = Malformed(
        rejection=_failed_on(error),
        programme=command.programme,
        source=command.source,
        id=command.id,
        member=getattr(command, "member", ""),
        type=command.type if isinstance(command, Malformed) else str(command.__struct_config__.tag),
    )
    return Submission(malformed, submission.body, submission.origin, submission.place)


def _failed_on(error: Exception) -> Rejection:
    rule = f"the ledger failed on it: {type(error).__name__}: {sentence(error)}"
    return Rejection("UNPROCESSABLE", "message", rule)
