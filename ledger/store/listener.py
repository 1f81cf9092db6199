"""Hints that journals grew. They may be lost or late, so whoever waits for them polls as well."""

from __future__ import annotations

import select
import time
from contextlib import suppress

import psycopg2
from eventsourcing.persistence import PersistenceError

from ledger.store.database import Database, PgConnection
from ledger.store.journal import CHANNEL


class Listener:
    """Listens on a connection of its own, opened at the first wait and again after it broke; for one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: PgConnection | None = None

    @property
    def is_listening(self) -> bool:
        """Whether nothing was missed since the last wait: not before the first one, nor after its connection broke."""
        return self._connection is not None

    def wait(self, timeout_seconds: float) -> set[int]:
        """The journals that were hinted at, as soon as there are any; an empty set after the timeout.

        Without a server it waits for the timeout and returns an empty set: the poll that follows reports the trouble.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            connection = self._connection = self._connection or self._listen()
            if not connection.notifies:
                select.select([connection], [], [], timeout_seconds)
                connection.poll()
        except (PersistenceError, psycopg2.Error):
            self.close()
            time.sleep(max(0.0, deadline - time.monotonic()))
            return set()
        journals = {int(hint.payload) for hint in connection.notifies}
        connection.notifies.clear()
        return journals

    def close(self) -> None:
        """Close the connection; another wait opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg2.Error):  # it may be broken already
                connection.close()

    def _listen(self) -> PgConnection:
        connection = self._database.connect()
        with self._database.limited(connection), connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        return connection
