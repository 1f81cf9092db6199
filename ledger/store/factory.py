"""The factory through which applications of the eventsourcing library use this store."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar, cast

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from ledger.store.database import Database
from ledger.store.recorders import (
    ApplicationJournal,
    JournalAggregateRecorder,
    JournalApplicationRecorder,
    JournalProcessRecorder,
    JournalTrackingRecorder,
    OriginatorIdType,
)

TRecorder = TypeVar("TRecorder")
TTracking = TypeVar("TTracking", bound=JournalTrackingRecorder)


class JournalFactory(InfrastructureFactory[JournalTrackingRecorder]):
    """Recorders on PostgreSQL; set PERSISTENCE_MODULE=ledger.store to use it.

    Reads from the environment: LOYALTY_DATABASE_URL, the connection string of a migrated database (required);
    ORIGINATOR_ID_TYPE, `uuid` (default) or `text`; LOYALTY_JOURNAL, the number of an existing journal to read instead
    of the application's own; and, as in the library, the …_RECORDER_TOPIC variables.

    Raises OSError when LOYALTY_DATABASE_URL is missing or another variable is invalid.
    """

    LOYALTY_DATABASE_URL = "LOYALTY_DATABASE_URL"
    LOYALTY_JOURNAL = "LOYALTY_JOURNAL"
    ORIGINATOR_ID_TYPE = "ORIGINATOR_ID_TYPE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self.originator_id_type = self._originator_id_type()
        dsn = self.env.get(self.LOYALTY_DATABASE_URL)
        if not dsn:
            raise OSError(f"{self.LOYALTY_DATABASE_URL}: the connection string of the database is missing")
        self.database = Database(dsn)
        self.journal = ApplicationJournal(self.database, self._name("stored"), self._journal_number())

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder of stored events without an application sequence, kept apart by `purpose`."""
        return JournalAggregateRecorder(
            self.database, self.journal, purpose=purpose, originator_id_type=self.originator_id_type
        )

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder of events in the application's journal."""
        recorder_class = self._class(self.APPLICATION_RECORDER_TOPIC, JournalApplicationRecorder)
        return recorder_class(self.database, self.journal, originator_id_type=self.originator_id_type)

    def tracking_recorder(self, tracking_recorder_class: type[TTracking] | None = None) -> TTracking:
        """A recorder of what a projection has processed, or a view of the given class that is one."""
        if tracking_recorder_class is None:
            default = cast(type[TTracking], JournalTrackingRecorder)
            tracking_recorder_class = self._class(self.TRACKING_RECORDER_TOPIC, default)
        return tracking_recorder_class(self.database, tracking_name=self._name("notification"))

    def process_recorder(self) -> ProcessRecorder:
        """A recorder of events together with what was processed to make them."""
        recorder_class = self._class(self.PROCESS_RECORDER_TOPIC, JournalProcessRecorder)
        return recorder_class(
            self.database,
            self.journal,
            tracking_name=self._name("notification"),
            originator_id_type=self.originator_id_type,
        )

    def _class(self, variable: str, default: type[TRecorder]) -> type[TRecorder]:
        topic = self.env.get(variable)
        if not topic:
            return default
        configured = resolve_topic(topic)
        if not (isinstance(configured, type) and issubclass(configured, default)):
            raise OSError(f"{variable}: {topic!r} is not a subclass of {default.__name__}")
        return configured

    def _name(self, default: str) -> str:
        return self.env.name.lower() or default

    def _originator_id_type(self) -> OriginatorIdType:
        value = (self.env.get(self.ORIGINATOR_ID_TYPE) or "uuid").lower()
        if value not in ("uuid", "text"):
            raise OSError(f"{self.ORIGINATOR_ID_TYPE}: must be 'uuid' or 'text', not {value!r}")
        return cast(OriginatorIdType, value)

    def _journal_number(self) -> int | None:
        value = self.env.get(self.LOYALTY_JOURNAL)
        if not value:
            return None
        if not value.isdecimal():
            raise OSError(f"{self.LOYALTY_JOURNAL}: must be the number of a journal, not {value!r}")
        return int(value)
