"""The recorders of the eventsourcing library on the journals of this store.

An application of that library has one journal of kind `application`; its notification ids are positions in it. A
recorder can also be pointed at a journal of a programme, to run that library's projections on it; it refuses to insert
there, because only the ledger's engine appends to programmes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    InterfaceError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)

from ledger.store import journal as log
from ledger.store.database import Database, PgCursor
from ledger.store.listener import Listener

OriginatorIdType = Literal["uuid", "text"]
READ_ATTEMPTS_MAX = 3
READ_RETRY_PAUSE_SECONDS = 0.2
POLL_INTERVAL_SECONDS = 0.5
STOP_CHECK_SECONDS = 0.1

_Result = TypeVar("_Result")


class ApplicationJournal:
    """The journal of one application of the library: found, or created at its first use.

    `number` points at an existing journal instead, of a programme or an application.
    """

    def __init__(self, database: Database, name: str, number: int | None = None) -> None:
        self._database = database
        self._name = name
        self._number = number
        self._lock = Lock()

    def number(self) -> int:
        """The journal's number."""
        with self._lock:
            if self._number is None:
                with self._database.transaction() as cursor:
                    (self._number,) = log.create_journals(cursor, "application", self._name, 1)
            return self._number


class _StreamRecorder:
    """What recorders of streams share: the database, the journal and the type of originator ids."""

    def __init__(self, database: Database, journal: ApplicationJournal, originator_id_type: OriginatorIdType) -> None:
        self.database = database
        self._journal = journal
        self._originator_id: Callable[[str], UUID | str] = UUID if originator_id_type == "uuid" else str

    def _select_stream(
        self, source: str, conditions: Sequence[Any], gt: int | None, lte: int | None, desc: bool, limit: int | None
    ) -> list[StoredEvent]:
        statement = f"SELECT originator_id, originator_version, topic, state {source}"
        statement += "" if gt is None else " AND originator_version > %s"
        statement += "" if lte is None else " AND originator_version <= %s"
        statement += f" ORDER BY originator_version {'DESC' if desc else 'ASC'}"
        statement += "" if limit is None else " LIMIT %s"
        bounds = [bound for bound in (gt, lte, limit) if bound is not None]

        def select(cursor: PgCursor) -> list[StoredEvent]:
            cursor.execute(statement, (*conditions, *bounds))
            return [
                StoredEvent(self._originator_id(stream), version, topic, bytes(state))
                for stream, version, topic, state in cursor.fetchall()
            ]

        return _read(self.database, select)


class JournalAggregateRecorder(_StreamRecorder, AggregateRecorder):
    """Stored events without an application sequence, such as snapshots."""

    def __init__(
        self,
        database: Database,
        journal: ApplicationJournal,
        *,
        purpose: str = "events",
        originator_id_type: OriginatorIdType = "uuid",
    ) -> None:
        super().__init__(database, journal, originator_id_type)
        self._purpose = purpose

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Insert all or, raising IntegrityError when a stream has one of the versions, nothing. Returns None."""
        if stored_events:
            journal = self._journal.number()
            with self.database.connection() as cursor:
                cursor.execute(
                    "INSERT INTO aggregate_records"
                    " SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[])",
                    (
                        journal,
                        self._purpose,
                        [str(event.originator_id) for event in stored_events],
                        [event.originator_version for event in stored_events],
                        [event.topic for event in stored_events],
                        [event.state for event in stored_events],
                    ),
                )
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream with gt < version <= lte, ordered by version."""
        source = "FROM aggregate_records WHERE journal = %s AND purpose = %s AND originator_id = %s"
        conditions = (self._journal.number(), self._purpose, str(originator_id))
        return self._select_stream(source, conditions, gt, lte, desc, limit)


class JournalApplicationRecorder(_StreamRecorder, ApplicationRecorder):
    """The events of an application in its journal, hashed and in contiguous positions."""

    def __init__(
        self, database: Database, journal: ApplicationJournal, *, originator_id_type: OriginatorIdType = "uuid"
    ) -> None:
        _StreamRecorder.__init__(self, database, journal, originator_id_type)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append all or nothing; the position of each in input order.

        Raises IntegrityError when a stream already has one of the versions; ProgrammingError when the journal is a
        programme's.
        """
        if not stored_events:
            return []
        records: list[log.Record] = [
            (str(event.originator_id), event.originator_version, event.topic, event.state, None, None, None)
            for event in stored_events
        ]
        journal = self._journal.number()
        with self.database.connection() as cursor:
            head = log.lock_head(cursor, journal, begin=True)
            if head.kind != "application":
                raise ProgrammingError(f"journal {journal} belongs to a {head.kind}: only the ledger appends to it")
            self._insert_beside(cursor, **kwargs)
            log.append(cursor, head, records)
            log.store_head(cursor, head, commit=True)
        return list(range(head.position - len(records) + 1, head.position + 1))

    def _insert_beside(self, cursor: PgCursor, **kwargs: Any) -> None:
        """What a subclass records in the same transaction as the events, given the arguments of `insert_events`."""

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream with gt < version <= lte, ordered by version."""
        source = "FROM events WHERE journal = %s AND originator_id = %s"
        return self._select_stream(source, (self._journal.number(), str(originator_id)), gt, lte, desc, limit)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events from position `start` (or after it) to `stop`, at most `limit`, in order; of the topics if given."""
        after = 0 if start is None else start - inclusive_of_start
        journal = self._journal.number()
        rows = _read(
            self.database,
            lambda cursor: log.read_light(cursor, journal, after=after, limit=limit, upto=stop, topics=topics),
        )
        return [
            Notification(self._originator_id(originator_id), version, topic, state, position)
            for position, originator_id, version, topic, state, _ in rows
        ]

    def max_notification_id(self) -> int | None:
        """The position of the newest event, None if there is none."""

        def select(cursor: PgCursor) -> int | None:
            cursor.execute("SELECT position FROM journals WHERE journal = %s AND position > 0", (journal,))
            row = cursor.fetchone()
            return None if row is None else cast(int, row[0])

        journal = self._journal.number()
        return _read(self.database, select)

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """An iterator over the events after position `gt` that waits for those to come."""
        return JournalSubscription(self, gt=gt, topics=topics)


class JournalSubscription(ListenNotifySubscription[JournalApplicationRecorder]):
    """Wakes at a hint that a journal grew, and every half second in case a hint was lost."""

    def __init__(self, recorder: JournalApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._listen_thread = Thread(target=self._listen, name="journal-subscription")
        self._listen_thread.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._listen_thread.join()

    def _listen(self) -> None:
        listener = Listener(self._recorder.database)
        polled_at = time.monotonic()
        while not self._has_been_stopped:
            hinted = listener.wait(STOP_CHECK_SECONDS)
            if hinted or time.monotonic() - polled_at >= POLL_INTERVAL_SECONDS:
                polled_at = time.monotonic()
                self._has_been_notified.set()
        listener.close()


class JournalTrackingRecorder(TrackingRecorder):
    """How far a projection has processed each upstream application: one row each, which only moves on."""

    def __init__(self, database: Database, *, tracking_name: str) -> None:
        self.database = database
        self._tracking_name = tracking_name

    def insert_tracking(self, tracking: Tracking) -> None:
        """Record that a notification is processed; raises IntegrityError if it or a later one is recorded already."""
        with self.database.connection() as cursor:
            self._insert_tracking(cursor, tracking)

    def _insert_tracking(self, cursor: PgCursor, tracking: Tracking) -> None:
        """As `insert_tracking`, in the transaction of the cursor, where a view also records its changes."""
        cursor.execute(
            "INSERT INTO tracking AS t VALUES (%s, %s, %s) ON CONFLICT (recorder, application_name)"
            " DO UPDATE SET notification_id = excluded.notification_id"
            " WHERE t.notification_id < excluded.notification_id",
            (self._tracking_name, tracking.application_name, tracking.notification_id),
        )
        if cursor.rowcount == 0:
            raise IntegrityError(
                f"notification {tracking.notification_id} of {tracking.application_name!r} is already processed"
            )

    def max_tracking_id(self, application_name: str) -> int | None:
        """The newest notification processed of an application, None if none was."""

        def select(cursor: PgCursor) -> int | None:
            cursor.execute(
                "SELECT notification_id FROM tracking WHERE recorder = %s AND application_name = %s",
                (self._tracking_name, application_name),
            )
            row = cursor.fetchone()
            return None if row is None else cast(int, row[0])

        return _read(self.database, select)


class JournalProcessRecorder(JournalTrackingRecorder, JournalApplicationRecorder, ProcessRecorder):
    """Events and the tracking of the notification that caused them, in one transaction."""

    def __init__(
        self,
        database: Database,
        journal: ApplicationJournal,
        *,
        tracking_name: str,
        originator_id_type: OriginatorIdType = "uuid",
    ) -> None:
        JournalTrackingRecorder.__init__(self, database, tracking_name=tracking_name)
        JournalApplicationRecorder.__init__(self, database, journal, originator_id_type=originator_id_type)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """As of the application recorder; the keyword argument `tracking` is recorded too, even without events."""
        if not stored_events:
            with self.database.transaction() as cursor:
                self._insert_beside(cursor, **kwargs)
        return super().insert_events(stored_events, **kwargs)

    def _insert_beside(self, cursor: PgCursor, **kwargs: Any) -> None:
        tracking: Tracking | None = kwargs.get("tracking")
        if tracking is not None:
            self._insert_tracking(cursor, tracking)


def _read(database: Database, select: Callable[[PgCursor], _Result]) -> _Result:
    """Run a read, again on a new connection if one broke; after the last attempt the error is raised.

    Only reads are repeated: whether a write was committed before its connection broke is for its caller to find out.
    """
    for _ in range(READ_ATTEMPTS_MAX - 1):
        try:
            with database.connection() as cursor:
                return select(cursor)
        except (OperationalError, InterfaceError):
            time.sleep(READ_RETRY_PAUSE_SECONDS)
    with database.connection() as cursor:
        return select(cursor)
