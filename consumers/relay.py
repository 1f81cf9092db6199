"""The relay: what was recorded, on to Kafka. Events, the newest balances, and what was refused.

The order of a round is the correctness argument:

1. Hold the lock of the topic: one relay publishes, others wait. The lock is on the connection that writes the
   checkpoints, so who has lost it cannot move them.
2. At the start, read back what each partition was given after the checkpoint; it is not published again. Each partition
   is given its batches one after the other, so what it holds of a journal has no hole.
3. Read the events after the checkpoint and publish them. Positions have no gaps and are committed in order.
4. Only when the broker has acknowledged all of it, move the checkpoint, and with it the offsets to read back from.

Killed anywhere, nothing is lost. What may come twice are the events of one round, where a batch was still on its way
when the topic was read back; `consumers.repeats` tells them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from hashlib import sha256
from threading import Event
from typing import Final

import psycopg2
from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError
from msgspec import Struct, field

from consumers.dead_letters import DeadLetters, DeadLetterTooLarge
from consumers.publisher import Publication, Publisher, close_quietly
from consumers.relayed_balances import lay_out_balances, projected, read_balances
from consumers.relayed_events import END, EventLayout, Held, ReadBackFailed, Row, read_back, read_events
from consumers.topics import WantedTopic, ensure_topics
from ledger.store.database import Database, PgConnection, sentence
from ledger.store.listener import Listener

TOPIC: Final = "loyalty.events"
BALANCES_TOPIC: Final = "loyalty.balances"
PARTITIONS: Final = 6
ROUND_EVENTS_MAX: Final = 8_000
ROUND_JOURNAL_EVENTS_MIN: Final = 250
ROUND_BYTES_MAX: Final = 16 * 1024 * 1024
BALANCE_EVENTS_MAX: Final = 20_000
BALANCE_PAUSE_SECONDS: Final = 0.1
EVENTS_SETTINGS: Final = {"max.message.bytes": str(16 * 1024 * 1024)}  # a merge carries much; brokers take 1 MiB
POLL_SECONDS: Final = 1.0
STOP_CHECK_SECONDS: Final = 0.2
RETRY_PAUSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

__all__ = ["BALANCES_TOPIC", "PARTITIONS", "TOPIC", "Progress", "ReadBackFailed", "Relay", "UnknownPosition", "lag"]


class _Stopped(Exception):
    """The relay was stopped before the broker answered; what is not acknowledged is published again."""


class UnknownPosition(ValueError):
    """There is no such journal, or its events do not go that far."""


class Progress(Struct, kw_only=True):
    """What a relay did since it was made. `state` is what it does now, in words; `trouble` what it waits out, "" where
    nothing. It was last at work at `turned_at`, by the monotonic clock.
    """

    state: str = "starting"
    events: int = 0
    balances: int = 0
    dead_letters: int = 0
    failures: int = 0
    trouble: str = ""
    turned_at: float = field(default_factory=time.monotonic)


def lag(database: Database, topic: str = TOPIC) -> int:
    """How many recorded events a topic is behind."""
    with database.connection() as cur:
        cur.execute(
            "SELECT coalesce(sum(greatest(journals.position - coalesce(reached.position, 0), 0)), 0)::bigint"
            " FROM journals LEFT JOIN relay_checkpoints reached ON reached.journal = journals.journal AND topic = %s"
            " WHERE kind = 'programme'",
            (topic,),
        )
        return int((cur.fetchone() or (0,))[0])


class Relay:
    """Publishes to the topics of one broker. Any number may run on a database: one is active, the others wait.

    `balances_topic` None publishes no balances; they are published as far as the projection of balances is, which is
    run by others. `partitions` is for topics that must be created; `say` gets a sentence about each of those.
    """

    def __init__(
        self,
        database: Database,
        bootstrap: str,
        *,
        topic: str = TOPIC,
        balances_topic: str | None = BALANCES_TOPIC,
        partitions: int = PARTITIONS,
        compression: str | None = None,
        say: Callable[[str], None] = _log.info,
    ) -> None:
        if partitions < 1:
            raise ValueError("partitions: must be at least 1")
        self._database = database
        self._bootstrap = bootstrap
        self._topic = topic
        self._balances_topic = balances_topic
        self._partitions = partitions
        self._compression = compression
        self._say = say
        self._replay: dict[int, int] = {}
        self._unpublishable: list[int] = []
        self._session: _Session | None = None
        self.progress = Progress()

    def replay_from(self, positions: Mapping[int, int]) -> None:
        """Publish journals again from a position (1 is the first event) when the relay becomes active; and balances.

        Raises UnknownPosition.
        """
        with self._database.connection() as cur:
            cur.execute("SELECT journal, position FROM journals WHERE kind = 'programme'")
            heads: dict[int, int] = dict(cur.fetchall())
        for journal, position in positions.items():
            if journal not in heads:
                raise UnknownPosition(f"there is no journal {journal} of a programme")
            if not 1 <= position <= heads[journal] + 1:
                raise UnknownPosition(f"journal {journal}: its events are 1 to {heads[journal]}, got {position}")
        self._replay = dict(positions)

    def run_once(self, stop: Event | None = None) -> Progress:
        """Publish all that is recorded, once no other relay is active; returns when everything was acknowledged.

        Raises KafkaError and errors of eventsourcing.persistence at once instead of trying again, ReadBackFailed.
        """
        stop = stop or Event()
        try:
            while not stop.is_set():
                session = self._opened()
                if session is None:
                    stop.wait(POLL_SECONDS)
                elif not self._step(stop):
                    break
                elif session.balances_wait:
                    stop.wait(BALANCE_PAUSE_SECONDS)
            return self.progress
        finally:
            self.close()

    def follow(self, stop: Event) -> None:
        """Publish what is recorded as it is recorded, until `stop` is set; wait for a broker or database that is away.

        A hint that a journal grew wakes it at once; a lost hint costs at most a second.

        Raises ReadBackFailed.
        """
        listener = Listener(self._database)
        try:
            polled_at = -POLL_SECONDS
            while not stop.is_set():
                self.progress.turned_at = time.monotonic()
                if time.monotonic() - polled_at >= POLL_SECONDS:
                    polled_at = time.monotonic()
                    self._step_or_pause(stop)
                pause = self._pause()
                if listener.wait(pause) or pause < STOP_CHECK_SECONDS:
                    polled_at = -POLL_SECONDS
        finally:
            listener.close()
            self.close()

    def close(self) -> None:
        """Let go of the lock and the connections; a relay that waits takes over. It can be run again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _pause(self) -> float:
        balances_wait = self._session is not None and self._session.balances_wait
        return BALANCE_PAUSE_SECONDS if balances_wait else STOP_CHECK_SECONDS

    def _step_or_pause(self, stop: Event) -> None:
        try:
            if self._opened() is not None:
                self._step(stop)
            self.progress.trouble = ""
        except (PersistenceError, psycopg2.Error, KafkaError, OSError) as error:
            self.close()
            self.progress.failures += 1
            self.progress.trouble = sentence(error)
            self.progress.state = f"trying again: {self.progress.trouble}"
            _log.warning("relay: %s; trying again in %s s", sentence(error), RETRY_PAUSE_SECONDS)
            stop.wait(RETRY_PAUSE_SECONDS)

    def _step(self, stop: Event) -> bool:
        assert self._session is not None
        try:
            moved = self._session.relay_events(stop)
            moved += self._session.relay_balances(stop)
            moved += self._session.relay_dead_letters(stop)
        except _Stopped:
            return False
        except DeadLetterTooLarge:
            self.close()
            return True
        return moved > 0

    def _opened(self) -> _Session | None:
        """The session that publishes; None while another relay is active."""
        if self._session is None:
            lock = _take_lock(self._database, self._topic)
            if lock is None:
                self.progress.state = "waiting: another relay is active"
                return None
            try:
                self._session = self._open(lock)
            except BaseException:
                lock.close()
                raise
            self._replay = {}
            self.progress.state = "active"
        return self._session

    def _open(self, lock: PgConnection) -> _Session:
        created = ensure_topics(self._bootstrap, self._wanted_topics())
        for topic in created:
            settings = "".join(f", {name}={value}" for name, value in topic.settings.items())
            self._say(f"Created topic {topic.name} ({topic.partitions} partitions{settings}).")
        publisher = Publisher(self._bootstrap, compression=self._compression)
        try:
            dead_letters = DeadLetters(self._database, self._bootstrap, publisher, self._unpublishable, self._say)
            session = _Session(self._database, lock, publisher, dead_letters, self.progress)
            session.start(self._bootstrap, self._topic, self._balances_topic, self._replay)
        except BaseException:
            close_quietly(publisher)
            raise
        return session

    def _wanted_topics(self) -> list[WantedTopic]:
        wanted = [WantedTopic(name=self._topic, partitions=self._partitions, settings=EVENTS_SETTINGS)]
        if self._balances_topic is not None:
            compacted = {"cleanup.policy": "compact"}
            wanted.append(WantedTopic(name=self._balances_topic, partitions=self._partitions, settings=compacted))
        return wanted


class _Session:
    """One relay's time as the active one."""

    def __init__(
        self,
        database: Database,
        lock: PgConnection,
        publisher: Publisher,
        dead_letters: DeadLetters,
        progress: Progress,
    ) -> None:
        self._database = database
        self._lock = lock
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._progress = progress
        self._programmes: dict[int, str] = {}
        self._heads: dict[int, int] = {}
        self._reached: dict[int, int] = {}  # events handed to the publisher; the checkpoint follows
        self._held: Held = {}
        self._balances: tuple[str, int] | None = None
        self._balances_reached: dict[int, int] = {}
        self._balances_looked_at = 0.0
        self.balances_wait = False
        """Whether there may be balances to publish that were put off."""

    def start(self, bootstrap: str, topic: str, balances_topic: str | None, replay: Mapping[int, int]) -> None:
        """Find out where to go on, and go back to where a replay begins."""
        self._topic = topic
        self._layout = EventLayout(topic, self._publisher.partitions(topic))
        self._reached = self._checkpoints(topic)
        ends = self._read_back(bootstrap, may_be_shorter=bool(replay))
        self._look_at_heads()
        if balances_topic is not None:
            self._balances = (balances_topic, self._publisher.partitions(balances_topic))
            self._balances_reached = self._checkpoints(balances_topic)
        if not replay:
            return
        before = {journal: position - 1 for journal, position in replay.items()}
        for journals in self._held.values():
            for journal in replay:
                journals.pop(journal, None)
        self._reached |= before
        self._save(topic, before, ends)
        if balances_topic is not None:
            self._balances_reached |= before
            self._save(balances_topic, before, {})

    def close(self) -> None:
        close_quietly(self._publisher)
        with suppress(psycopg2.Error):  # it may be broken already
            self._lock.close()

    # --- events ------------------------------------------------------------------------------------------------

    def relay_events(self, stop: Event) -> int:
        """Publish until caught up; a round is read and laid out while the one before is on its way."""
        total = 0
        under_way: tuple[Publication, dict[int, int], int] | None = None
        while True:
            events = {} if stop.is_set() else self._next_round()
            laid_out = self._layout.lay_out(events, self._held) if events else {}
            if under_way is not None:
                total += self._finish(under_way, stop)
            if not events:
                return total
            reached = {journal: rows[-1][0] for journal, (_, rows) in events.items()}
            count = sum(batch.count for batches in laid_out.values() for batch in batches)
            under_way = (self._publisher.publish(laid_out), reached, count)
            self._reached |= reached

    def _finish(self, under_way: tuple[Publication, dict[int, int], int], stop: Event) -> int:
        publication, reached, count = under_way
        if not publication.wait(stop):
            raise _Stopped
        self._save(self._topic, reached, {at.partition: offset for at, offset in publication.next_offsets.items()})
        self._progress.events += count
        self._progress.turned_at = time.monotonic()
        return count

    def _next_round(self) -> dict[int, tuple[str, list[Row]]]:
        behind = self._behind()
        if not behind:
            self._look_at_heads()
            behind = self._behind()
        if not behind:
            return {}
        behind = behind[: ROUND_EVENTS_MAX // ROUND_JOURNAL_EVENTS_MIN]
        limit, bytes_max = ROUND_EVENTS_MAX // len(behind), ROUND_BYTES_MAX // len(behind)
        events: dict[int, tuple[str, list[Row]]] = {}
        with self._database.connection() as cur:
            for journal in behind:
                after = self._reached.get(journal, 0)
                rows = read_events(cur, journal, after=after, limit=limit, bytes_max=bytes_max)
                if rows:
                    events[journal] = (self._programmes[journal], rows)
        return events

    def _behind(self) -> list[int]:
        """Journals with events to publish, the one that is furthest behind first."""
        behind = {journal: head - self._reached.get(journal, 0) for journal, head in self._heads.items()}
        return sorted((j for j, events in behind.items() if events > 0), key=lambda j: -behind[j])

    def _look_at_heads(self) -> None:
        with self._database.connection() as cur:
            cur.execute("SELECT journal, position, name FROM journals WHERE kind = 'programme'")
            rows = cur.fetchall()
        self._heads = {journal: position for journal, position, _ in rows}
        self._programmes = {journal: name for journal, _, name in rows}

    # --- balances and refused messages -------------------------------------------------------------------------

    def relay_balances(self, stop: Event) -> int:
        """Publish the balances of all members touched since the last time, at most every tenth of a second."""
        self.balances_wait = time.monotonic() - self._balances_looked_at < BALANCE_PAUSE_SECONDS
        if self._balances is None or self.balances_wait:
            self.balances_wait = self.balances_wait and self._balances is not None
            return int(self.balances_wait)
        topic, partitions = self._balances
        with self._database.connection() as cur:
            behind = {
                journal: reached
                for journal, reached in projected(cur).items()
                if reached > self._balances_reached.get(journal, 0) and journal in self._programmes
            }
        total = 0
        for journal, reached in behind.items():
            while not stop.is_set() and (after := self._balances_reached.get(journal, 0)) < reached:
                upto = min(reached, after + BALANCE_EVENTS_MAX)
                with self._database.connection() as cur:
                    balances = read_balances(cur, journal, self._programmes[journal], after=after, upto=upto)
                if not self._publisher.publish(lay_out_balances(balances, topic, partitions)).wait(stop):
                    raise _Stopped
                self._save(topic, {journal: upto}, {})
                self._balances_reached[journal] = upto
                total += len(balances)
        self._progress.balances += total
        self._balances_looked_at = time.monotonic()
        return total

    def relay_dead_letters(self, stop: Event) -> int:
        """Publish what was refused since the last time."""
        count = self._dead_letters.relay(stop)
        self._progress.dead_letters += count
        return count

    # --- checkpoints -------------------------------------------------------------------------------------------

    def _checkpoints(self, topic: str) -> dict[int, int]:
        with self._lock.cursor() as cur:
            cur.execute("SELECT journal, position FROM relay_checkpoints WHERE topic = %s", (topic,))
            return dict(cur.fetchall())

    def _read_back(self, bootstrap: str, *, may_be_shorter: bool) -> dict[int, int]:
        """Learn what was published after the checkpoints; where each partition ends.

        A topic that we have not published to counts as empty: what is in it is another database's.
        """
        with self._lock.cursor() as cur:
            cur.execute("SELECT partition, next_offset FROM relay_partitions WHERE topic = %s", (self._topic,))
            left_at: dict[int, int] = dict(cur.fetchall())
        known = {partition: left_at.get(partition, 0) for partition in range(self._layout.partitions)}
        held, ends = read_back(bootstrap, self._topic, known if left_at else {}, may_be_shorter=may_be_shorter)
        if left_at.keys() == known.keys():
            self._held = held
        else:  # the first time, or members are in other partitions than before: better twice than not at all
            _, ends = read_back(bootstrap, self._topic, dict.fromkeys(known, END))
            self._save(self._topic, {}, ends)
        return ends

    def _save(self, topic: str, positions: Mapping[int, int], next_offsets: Mapping[int, int]) -> None:
        with closing(self._lock.cursor()) as cur:
            cur.execute(
                "BEGIN;"
                "INSERT INTO relay_checkpoints (topic, journal, position)"
                " SELECT %s, * FROM unnest(%s::int[], %s::bigint[]) ON CONFLICT (topic, journal)"
                " DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at;"
                "INSERT INTO relay_partitions (topic, partition, next_offset)"
                " SELECT %s, * FROM unnest(%s::int[], %s::bigint[]) ON CONFLICT (topic, partition)"
                " DO UPDATE SET next_offset = excluded.next_offset;"
                "COMMIT",
                (topic, *_columns(positions), topic, *_columns(next_offsets)),
            )


def _take_lock(database: Database, topic: str) -> PgConnection | None:
    """A connection that holds the lock of a topic for as long as it is open; None while another has it."""
    connection = database.connect()
    try:
        with connection.cursor() as cur:
            # What a crash of the server takes back is read back from the topic.
            cur.execute("SET synchronous_commit = off; SELECT pg_try_advisory_lock(%s)", (_lock_key(topic),))
            if cur.fetchone() == (True,):
                return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _columns(pairs: Mapping[int, int]) -> tuple[list[int], list[int]]:
    return list(pairs), list(pairs.values())


def _lock_key(topic: str) -> int:
    return int.from_bytes(sha256(b"loyalty relay " + topic.encode()).digest()[:8], signed=True)
