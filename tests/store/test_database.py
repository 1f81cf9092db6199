"""The pool: errors translated, broken connections discarded, nothing left open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from eventsourcing import persistence

from ledger.store.database import Database, sqlstate
from tests.store.test_faults import terminate


@pytest.mark.parametrize(
    ("statement", "error", "code"),
    [
        ("SELECT 1/0", persistence.DataError, "22012"),
        ("SELECT nothing", persistence.ProgrammingError, "42703"),
        ("INSERT INTO tracking VALUES ('a', 'b', NULL)", persistence.IntegrityError, "23502"),
        ("SET lock_timeout = '-1'", persistence.DataError, "22023"),
        ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'LY001'; END $$", persistence.PersistenceError, "LY001"),
    ],
)
def test_errors_are_translated_and_keep_their_sqlstate(
    statement: str, error: type[Exception], code: str, database: Database
) -> None:
    """Errors leave the pool as the persistence interface's, with the SQLSTATE by which callers tell them apart."""
    with pytest.raises(error) as caught, database.connection() as cursor:
        cursor.execute(statement)
    assert sqlstate(caught.value) == code
    assert isinstance(caught.value.__cause__, psycopg2.Error)


def test_a_transaction_left_open_is_rolled_back(database: Database) -> None:
    """A caller who forgets COMMIT neither keeps a lock nor hands its transaction to the next user."""
    with database.connection() as cursor:
        cursor.execute("BEGIN; INSERT INTO tracking VALUES ('a', 'b', 1)")
    with database.connection() as cursor:
        cursor.execute("SELECT FROM tracking")
        assert cursor.rowcount == 0


def test_an_exception_rolls_the_transaction_back(database: Database) -> None:
    """An exception that is not the database's undoes the transaction as well."""
    with pytest.raises(KeyError), database.transaction() as cursor:  # noqa: PT012  # the block is what is tested
        cursor.execute("INSERT INTO tracking VALUES ('a', 'b', 1)")
        raise KeyError
    with database.connection() as cursor:
        cursor.execute("SELECT FROM tracking")
        assert cursor.rowcount == 0


def test_a_commit_that_was_a_rollback_is_an_error(database: Database) -> None:
    """PostgreSQL answers COMMIT with a rollback after a failed statement; swallowing the failure must not look well."""
    with pytest.raises(persistence.InternalError, match="rolled back"), database.transaction() as cursor:  # noqa: PT012
        cursor.execute("INSERT INTO tracking VALUES ('a', 'b', 1)")
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1/0")


def test_a_broken_connection_is_replaced(database: Database, database_dsn: str) -> None:
    """After its connection was killed the pool raises once and then works."""
    with pytest.raises(persistence.OperationalError), database.connection() as cursor:  # noqa: PT012
        terminate(database_dsn, cursor.connection.info.backend_pid)
        cursor.execute("SELECT 1")
    with database.connection() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]


def test_one_broken_connection_discards_the_idle_ones(database: Database, database_dsn: str) -> None:
    """After a restart of the server one caller gets the error, not as many callers as there were idle connections."""
    with database.connection() as first, database.connection() as second, database.connection() as third:
        pids = [cursor.connection.info.backend_pid for cursor in (first, second, third)]
    for pid in pids:
        terminate(database_dsn, pid)
    with pytest.raises(persistence.OperationalError), database.connection() as cursor:
        cursor.execute("SELECT 1")
    for _ in pids:
        with database.connection() as cursor:
            cursor.execute("SELECT 1")


def test_threads_wait_for_a_connection(database_dsn: str) -> None:
    """More threads than connections wait for their turn instead of failing."""
    pool = Database(database_dsn, pool_size=1, max_overflow=1)

    def ask(number: int) -> int:
        with pool.connection() as cursor:
            cursor.execute("SELECT %s, pg_sleep(0.01)", (number,))
            row = cursor.fetchone()
            assert row is not None
            return int(row[0])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(16))) == list(range(16))
    pool.close()


def test_connections_act_as_their_role_in_utc(database_dsn: str) -> None:
    """Role, schema, time zone and the limit on idle transactions are set when the connection opens."""
    reader = Database(database_dsn, "loyalty_reader")
    with reader.connection() as cursor:
        cursor.execute(
            "SELECT current_user, current_schema, current_setting('timezone'),"
            " current_setting('idle_in_transaction_session_timeout')"
        )
        assert cursor.fetchone() == ("loyalty_reader", "loyalty", "UTC", "1min")
    reader.close()
