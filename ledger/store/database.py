"""Connections to PostgreSQL: a small pool, one role a pool, errors translated to the persistence interface's own."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import Any, Literal

import psycopg2
import psycopg2.extensions
from eventsourcing import persistence
from eventsourcing.persistence import Connection, ConnectionPool, Params
from psycopg2.extensions import POLL_OK, POLL_WRITE, make_dsn, parse_dsn

from ledger.store.deadlines import Deadlines

PgConnection = psycopg2.extensions.connection
PgCursor = psycopg2.extensions.cursor
Role = Literal["loyalty_writer", "loyalty_reader"]

SCHEMA = "loyalty"
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 60  # a writer that froze with a head locked would stop its journal for ever
IDLE = psycopg2.extensions.TRANSACTION_STATUS_IDLE
NETWORK = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,  # seconds, as the interval; of connections over TCP
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""When a network that swallows everything, or a machine that is gone, is noticed. What a DSN says goes before."""
CUT_AFTER_SECONDS = 1.0
"""So much later than the server's own timeout, of which it can tell, a connection is cut."""

_TRANSLATIONS: tuple[tuple[type[psycopg2.Error], type[persistence.PersistenceError]], ...] = (
    (psycopg2.IntegrityError, persistence.IntegrityError),
    (psycopg2.OperationalError, persistence.OperationalError),
    (psycopg2.InternalError, persistence.InternalError),
    (psycopg2.ProgrammingError, persistence.ProgrammingError),
    (psycopg2.DataError, persistence.DataError),
    (psycopg2.NotSupportedError, persistence.NotSupportedError),
    (psycopg2.DatabaseError, persistence.DatabaseError),
    (psycopg2.InterfaceError, persistence.InterfaceError),
)


def translated(error: psycopg2.Error) -> persistence.PersistenceError:
    """The error of `eventsourcing.persistence` of the same meaning, with `pgcode` (SQLSTATE) and `constraint` kept.

    Both are None when the server did not send them, as when the connection broke. The details that the server sends are
    left out: they quote the row that failed, which may have personal data in it, and errors are logged.
    """
    target = next((to for source, to in _TRANSLATIONS if isinstance(error, source)), persistence.PersistenceError)
    said = [words for words in (error.diag.message_primary, error.diag.message_hint) if words]
    result = target("\n".join(said) or str(error).strip())
    vars(result).update(pgcode=error.pgcode, constraint=error.diag.constraint_name)
    return result


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a translated or original database error, None if it has none."""
    code = getattr(error, "pgcode", None)
    return code if isinstance(code, str) else None


def sentence(error: BaseException) -> str:
    """What went wrong, on one line that may be logged: of a database's error only its first line, because what follows
    (DETAIL, CONTEXT) quotes rows.
    """
    text = str(error).strip()
    if isinstance(error, persistence.PersistenceError | psycopg2.Error):
        text = text.partition("\n")[0]
    return " ".join(text.split()) or type(error).__name__


def connect(
    dsn: str,
    role: Role | None = None,
    schema: str = SCHEMA,
    *,
    statement_seconds_max: float | None = None,
    asynchronous: bool = False,
) -> PgConnection:
    """Open a connection in autocommit mode, in UTC, on the given schema, acting as `role` (None: as who logs in). The
    server ends what takes longer than `statement_seconds_max`. Whoever uses an `asynchronous` one waits for it.

    Raises eventsourcing.persistence.OperationalError when the server cannot be reached or refuses.
    """
    settings = {"search_path": schema, "timezone": "UTC"}
    if role is not None:
        settings |= {"role": role, "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s"}
    if statement_seconds_max is not None:
        settings["statement_timeout"] = str(max(1, round(1_000 * statement_seconds_max)))
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    try:
        wanted = NETWORK | parse_dsn(dsn) | {"options": options}
        connection = psycopg2.connect(make_dsn(**wanted))
        if asynchronous:
            return _asynchronous(connection, wanted, statement_seconds_max or math.inf)
        connection.autocommit = True
    except psycopg2.Error as error:
        raise translated(error) from error
    return connection


def _asynchronous(found: PgConnection, wanted: Mapping[str, Any], seconds_max: float) -> PgConnection:
    """An asynchronous connection to where another one has led, which is closed. It commits by itself.

    psycopg2 holds the interpreter's lock while it begins one, and so must not have to look up a name then.
    """
    with closing(found), socket.socket(fileno=os.dup(found.fileno())) as wire:
        where = {"host": found.info.host, "port": found.info.port}
        if wire.family != socket.AF_UNIX:
            where["hostaddr"] = wire.getpeername()[0]
    timeout = float(wanted["connect_timeout"])  # which libpq keeps to for the others alone
    connection = psycopg2.connect(make_dsn(**{**wanted, **where}), async_=True)
    _wait(connection, min(seconds_max, timeout if timeout > 0 else math.inf))
    return connection


def _wait(connection: PgConnection, seconds_max: float) -> None:
    """Wait until an asynchronous connection is open."""
    until, waiting = time.monotonic() + seconds_max, select.poll()  # not `select`, which ends at 1,024 files
    while (state := connection.poll()) != POLL_OK:
        waiting.register(connection.fileno(), select.POLLOUT if state == POLL_WRITE else select.POLLIN)
        if not waiting.poll(None if until == math.inf else max(0.0, until - time.monotonic()) * 1_000):
            connection.close()
            raise psycopg2.OperationalError(f"the server did not take the connection within {seconds_max:g} s")
        waiting.unregister(connection.fileno())


class Database:
    """A thread-safe pool of connections that act as one role in the schema of the ledger.

    Arguments: `dsn`, a libpq connection string or URI; `role`, `loyalty_writer` or `loyalty_reader`; `pool_size`,
    connections kept open; `max_overflow`, connections allowed beyond them; `pool_timeout`, seconds to wait for one;
    `seconds_max`, for how long a statement may run, and a connection be used at a time: a database that does not answer
    then raises OperationalError with the SQLSTATE of a statement that took too long (None: waited for without end).
    """

    def __init__(
        self,
        dsn: str,
        role: Role = "loyalty_writer",
        *,
        pool_size: int = 5,
        max_overflow: int = 10,
        pool_timeout: float = 30.0,
        seconds_max: float | None = None,
    ) -> None:
        self.dsn = dsn
        self.role: Role = role
        self._seconds_max = seconds_max
        self._deadlines = None if seconds_max is None else Deadlines(seconds_max + CUT_AFTER_SECONDS)
        self._pool = _Pool(self.connect, pool_size=pool_size, max_overflow=max_overflow, pool_timeout=pool_timeout)

    def connect(self, *, asynchronous: bool = False) -> PgConnection:
        """Open a connection outside the pool, such as one that listens; the caller closes it."""
        return connect(self.dsn, self.role, statement_seconds_max=self._seconds_max, asynchronous=asynchronous)

    def limited(self, session: PgConnection) -> AbstractContextManager[None]:
        """Within it, no wait on the connection is longer than `seconds_max` and a moment."""
        return nullcontext() if self._deadlines is None else self._deadlines.over(session)

    @contextmanager
    def connection(self) -> Iterator[PgCursor]:
        """A cursor in autocommit mode, for statements on their own and callers who send BEGIN and COMMIT themselves.

        A transaction left open is rolled back. A broken connection is closed, and the idle ones with it.
        Database errors that leave the block are translated.
        """
        pooled = self._pool.get_connection()
        try:
            with self.limited(pooled.session):
                try:
                    with pooled.session.cursor() as cursor:
                        yield cursor
                finally:
                    pooled.end_transaction()
        except psycopg2.Error as error:
            raise translated(error) from error
        finally:
            self._give_back(pooled)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[PgCursor]:
        """A cursor inside a transaction that commits when the block ends and rolls back when it raises.

        If it need not be `durable`, the commit does not wait for the disk: a crash of the server within the next
        moments may undo it, as a whole. For what would then simply be done again.
        """
        with self.connection() as cursor:
            cursor.execute("BEGIN" if durable else "BEGIN; SET LOCAL synchronous_commit = off")
            yield cursor
            cursor.execute("COMMIT")
            if cursor.statusmessage != "COMMIT":  # PostgreSQL answers COMMIT after a failed statement with a rollback
                raise persistence.InternalError("a statement of the transaction had failed: it was rolled back")

    def close(self) -> None:
        """Close every connection; the pool cannot be used afterwards."""
        self._pool.close()
        if self._deadlines is not None:
            self._deadlines.close()

    def _give_back(self, pooled: _PooledConnection) -> None:
        if self._pool.closed:
            pooled.close()
            return
        if not pooled.is_usable():
            pooled.close()
            self._pool.close_idle()
        self._pool.put_connection(pooled)


class _PooledCursor(persistence.Cursor):
    """What the pool of the library asks of a cursor; it is used only to test a connection."""

    def __init__(self, cursor: PgCursor) -> None:
        self._cursor = cursor

    def execute(self, statement: str | bytes, params: Params | None = None) -> None:
        self._cursor.execute(statement, params)

    def fetchall(self) -> Any:
        return self._cursor.fetchall()

    def fetchone(self) -> Any:
        return self._cursor.fetchone()


class _PooledConnection(Connection[_PooledCursor]):
    def __init__(self, session: PgConnection) -> None:
        super().__init__()
        self.session = session

    def end_transaction(self) -> None:
        """Roll back a transaction left open."""
        with suppress(psycopg2.Error):  # the connection is closed instead
            if not self.session.closed and self.session.info.transaction_status != IDLE:
                with self.session.cursor() as cursor:
                    cursor.execute("ROLLBACK")

    def is_usable(self) -> bool:
        """Whether the connection is open and outside any transaction."""
        return not self.session.closed and self.session.info.transaction_status == IDLE

    def commit(self) -> None:
        self.session.commit()

    def rollback(self) -> None:
        self.session.rollback()

    def cursor(self) -> _PooledCursor:
        return _PooledCursor(self.session.cursor())

    def _close(self) -> None:
        super()._close()
        self.session.close()


class _Pool(ConnectionPool[_PooledConnection]):
    def __init__(
        self, connect: Callable[[], PgConnection], *, pool_size: int, max_overflow: int, pool_timeout: float
    ) -> None:
        self._connect = connect
        super().__init__(pool_size=pool_size, max_overflow=max_overflow, pool_timeout=pool_timeout)

    def _create_connection(self) -> _PooledConnection:
        return _PooledConnection(self._connect())

    def close_idle(self) -> None:
        """Close idle connections: after one broke, as at a restart of the server, the others are likely broken too."""
        with self._put_condition:
            while self._pool:
                self._pool.popleft().close()
