"""Deadlines: whoever waits for a database that does not answer is freed, because the connection is cut.

A socket that was shut down wakes the thread that reads from it, whatever the server or the network does: so this helps
where the server is stopped or the network swallows everything, and a timeout that the server keeps does not.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Final

import psycopg2
import psycopg2.extensions
from eventsourcing.persistence import OperationalError

TICK_SECONDS: Final = 0.25
QUERY_CANCELED: Final = "57014"


def timed_out(words: str) -> OperationalError:
    """The error of what took too long, with the SQLSTATE that PostgreSQL gives when it ends a statement for that."""
    error = OperationalError(words)
    vars(error).update(pgcode=QUERY_CANCELED, constraint=None)
    return error


class Deadlines:
    """Watches the connections that are in use, from one thread; `close` ends it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held: dict[psycopg2.extensions.connection, float] = {}
        self._lock = Lock()
        self._closed = Event()
        Thread(target=self._watch, name="deadlines", daemon=True).start()

    @contextmanager
    def over(self, session: psycopg2.extensions.connection) -> Iterator[None]:
        """Cut the connection if the block takes longer. Raises what `timed_out` gives, where it then fails for that."""
        with self._lock:
            self._held[session] = time.monotonic() + self._seconds
        try:
            yield
        except psycopg2.Error as error:
            if session in self._held:
                raise
            raise timed_out(f"the database did not answer within {self._seconds:g} s") from error
        finally:
            with self._lock:
                self._held.pop(session, None)

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            now = time.monotonic()
            with self._lock:  # while it is cut, nobody gives it back or closes it
                for session in [held for held, until in self._held.items() if until < now]:
                    del self._held[session]
                    _cut(session)


def _cut(session: psycopg2.extensions.connection) -> None:
    """Shut the socket down; the connection is still its user's to close."""
    with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(session.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
