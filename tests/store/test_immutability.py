"""What is recorded cannot be changed: triggers against everybody, privileges against the roles of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from ledger.store import journal as log
from ledger.store.database import Database, PgCursor, connect
from ledger.store.migrations import migrate, published_migrations
from tests.conftest import execute_on
from tests.store.test_journal import append, assert_consistent, new_journal, record

CHANGES = [
    "UPDATE events SET state = '' WHERE position = 1",
    "UPDATE events SET state = '' WHERE false",
    "DELETE FROM events",
    "TRUNCATE events",
    "INSERT INTO events SELECT * FROM events ON CONFLICT (journal, position) DO UPDATE SET state = ''",
    "MERGE INTO events USING journals j ON events.journal = j.journal WHEN MATCHED THEN DELETE",
    "DELETE FROM journals",
    "TRUNCATE journals",
]
HEAD_CHANGES = [
    "UPDATE journals SET position = position - 1",
    "UPDATE journals SET recorded_at = recorded_at - interval '1 microsecond'",
    "UPDATE journals SET journal = 99",
    "UPDATE journals SET name = 'other'",
    "UPDATE journals SET kind = 'application'",
    "UPDATE journals SET ordinal = 5",
]


@pytest.fixture
def journal(database: Database) -> int:
    number = new_journal(database)
    append(database, number, [record("s", version) for version in (1, 2, 3)])
    return number


@pytest.fixture
def superuser(database_dsn: str, journal: int) -> Iterator[PgCursor]:
    connection = connect(database_dsn)
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.mark.parametrize("statement", CHANGES)
def test_triggers_refuse_the_superuser(statement: str, superuser: PgCursor, database: Database, journal: int) -> None:
    """Even the superuser who owns the tables is told that what is recorded is never changed."""
    with pytest.raises(psycopg2.Error, match="never changed or removed") as caught:
        superuser.execute(statement)
    assert caught.value.pgcode == "LY001"
    assert assert_consistent(database, journal) == 3


@pytest.mark.parametrize("statement", HEAD_CHANGES)
def test_heads_only_move_on(statement: str, superuser: PgCursor, database: Database, journal: int) -> None:
    """A head's position and time never fall, and a journal never becomes another one."""
    with pytest.raises(psycopg2.Error, match="go back") as caught:
        superuser.execute(statement)
    assert caught.value.pgcode == "LY002"
    assert assert_consistent(database, journal) == 3


@pytest.mark.parametrize("statement", [*CHANGES, *HEAD_CHANGES])
def test_triggers_hold_in_replication_mode(statement: str, superuser: PgCursor) -> None:
    """`session_replication_role = replica`, which switches ordinary triggers off, does not switch these off."""
    superuser.execute("SET session_replication_role = replica")
    with pytest.raises(psycopg2.Error, match=r"never changed|go back"):
        superuser.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        *(change for change in CHANGES if not change.startswith("INSERT")),
        "UPDATE journals SET name = 'other'",
        "UPDATE terms SET document = ''",
        "UPDATE surveys SET lowest = 1",
        "DELETE FROM surveys",
        "DELETE FROM programmes",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TABLE events",
        "CREATE TABLE loyalty.extra ()",
    ],
)
def test_the_writer_has_no_privilege_to_change_the_log(statement: str, database: Database, journal: int) -> None:
    """The role of processes that write may insert events and move heads on, nothing else."""
    with database.connection() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM member_keys",
        "SELECT body FROM rejected",
        "SELECT * FROM rejected",
        "INSERT INTO tracking VALUES ('a', 'b', 1)",
        "UPDATE journals SET position = 9",
        "SELECT * FROM journals FOR UPDATE",
        "DELETE FROM member_snapshots",
    ],
)
def test_the_reader_sees_no_keys_and_no_bodies_and_writes_nothing(statement: str, database_dsn: str) -> None:
    """The role of processes that read sees neither keys of personal data nor refused bodies."""
    reader = Database(database_dsn, "loyalty_reader")
    with reader.connection() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute(statement)
    reader.close()


def test_the_reader_reads_the_log(database_dsn: str, journal: int) -> None:
    """Reading the log and the refused messages without their bodies is what the reader is for."""
    reader = Database(database_dsn, "loyalty_reader")
    with reader.connection() as cursor:
        assert len(log.read(cursor, journal, after=0, limit=9)) == 3
        cursor.execute("SELECT rejected_id, code, status FROM rejected")
        cursor.execute("SELECT number FROM schema_migrations")
        assert cursor.rowcount == len(published_migrations())
    reader.close()


@pytest.mark.skipif("LOYALTY_TEST_DATABASE_URL" in os.environ, reason="a new login role needs a server that trusts it")
def test_an_owner_without_superuser_migrates_and_writes(empty_database_dsn: str, template_database: str) -> None:
    """An ordinary login role that owns the database and is in both roles can migrate it and run the ledger."""
    database_name = parse_dsn(empty_database_dsn)["dbname"]
    owner = f"{database_name}_owner"
    execute_on(empty_database_dsn, f"CREATE ROLE {owner} LOGIN IN ROLE loyalty_writer, loyalty_reader")
    execute_on(empty_database_dsn, f"ALTER DATABASE {database_name} OWNER TO {owner}")
    dsn = make_dsn(empty_database_dsn, user=owner)
    try:
        assert migrate(dsn) == [migration.number for migration in published_migrations()]
        pool = Database(dsn)
        journal = new_journal(pool)
        append(pool, journal, [record("s", 1)])
        assert assert_consistent(pool, journal) == 1
        pool.close()
        with pytest.raises(psycopg2.Error, match="never changed"), connect(dsn).cursor() as cursor:
            cursor.execute("DELETE FROM events")
    finally:
        execute_on(empty_database_dsn, f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
        execute_on(empty_database_dsn, f"DROP OWNED BY {owner}")
        execute_on(empty_database_dsn, f"DROP ROLE {owner}")
