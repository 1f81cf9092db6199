"""Migrations: a fresh database equals a replayed one, and a database this code does not know is left alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from eventsourcing.persistence import ProgrammingError

from ledger.store.database import connect
from ledger.store.migrations import Migration, MigrationError, migrate, published_migrations

ALL = [migration.number for migration in published_migrations()]

CATALOGUE = [
    "SELECT table_name, ordinal_position, column_name, data_type, is_nullable, column_default, collation_name"
    " FROM information_schema.columns WHERE table_schema = 'loyalty'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'loyalty'::regnamespace",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'loyalty'",
    "SELECT tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger"
    " WHERE NOT tgisinternal",
    "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'loyalty'::regnamespace",
    "SELECT relname, relkind::text, relacl::text, reloptions::text FROM pg_class"
    " WHERE relnamespace = 'loyalty'::regnamespace",
    "SELECT attrelid::regclass::text, attname, attacl::text FROM pg_attribute WHERE attacl IS NOT NULL"
    " AND attrelid::regclass::text NOT LIKE 'pg_%'",
    "SELECT number, name, sha256 FROM loyalty.schema_migrations",
]


def catalogue(dsn: str) -> list[list[tuple[object, ...]]]:
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            result = []
            for query in CATALOGUE:
                cursor.execute(query)
                result.append(sorted(cursor.fetchall(), key=repr))
            return result
    finally:
        connection.close()


def test_a_fresh_database_equals_a_replayed_one(empty_database_dsn: str, database_dsn: str) -> None:
    """Migrating one version at a time, as deployments do, ends in the same schema as migrating at once."""
    migrations = published_migrations()
    for count in ALL:
        assert migrate(empty_database_dsn, migrations[:count]) == [count]
    replayed, fresh = catalogue(empty_database_dsn), catalogue(database_dsn)
    assert all(replayed), "a query of the comparison finds nothing, so it compares nothing"
    assert replayed == fresh


def test_migrating_again_does_nothing(database_dsn: str) -> None:
    """A database that is up to date stays as it is."""
    before = catalogue(database_dsn)
    assert migrate(database_dsn) == []
    assert catalogue(database_dsn) == before


def test_a_changed_file_is_refused(database_dsn: str) -> None:
    """Editing a migration that was applied is refused by its number and name, and nothing is applied."""
    first, *rest = published_migrations()
    changed = msgspec.structs.replace(first, sql=first.sql + "-- edited")
    more = Migration(number=len(ALL) + 1, name="more", sql="CREATE TABLE more ()")
    with pytest.raises(MigrationError, match=r"migration 1 \(journals_and_events\) has changed"):
        migrate(database_dsn, [changed, *rest, more])
    assert migrate(database_dsn) == []


def test_a_newer_database_is_refused(database_dsn: str) -> None:
    """Code that knows fewer migrations than the database has does not touch it."""
    with pytest.raises(MigrationError, match="newer than this code"):
        migrate(database_dsn, published_migrations()[:-1])


def test_a_failing_migration_leaves_no_trace(database_dsn: str) -> None:
    """Each migration is one transaction: the statements before the wrong one are undone, and it can be tried again."""
    wrong = Migration(number=len(ALL) + 1, name="wrong", sql="CREATE TABLE more (); SELECT no_such_column")
    before = catalogue(database_dsn)
    with pytest.raises(ProgrammingError, match="no_such_column"):
        migrate(database_dsn, [*published_migrations(), wrong])
    assert catalogue(database_dsn) == before


def test_concurrent_migrations_of_one_database(empty_database_dsn: str) -> None:
    """Four processes that start at once: one migrates, the others wait and find nothing to do."""
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(migrate, [empty_database_dsn] * 4))
    assert sorted(results) == [[], [], [], ALL]
