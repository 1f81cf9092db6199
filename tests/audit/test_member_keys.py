"""Keys of members: one that was changed, lost or put back is named, and with it what it sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from audit import member_keys
from audit.member_keys import check_keys
from ledger.commands import EraseMember, MergeMembers, UndoMerge
from ledger.engine import Ledger
from ledger.store.database import Database, PgCursor, connect
from tests.audit.ledgers import AT, build, handle
from tests.cli.running import Loyalty
from tests.conftest import create_database, drop_database

NAMED: dict[str, Any] = {"source": "test", "programme": "grocery"}


@pytest.fixture(scope="module")
def database(server_dsn: str, template_database: str) -> Iterator[Database]:
    """Members of two programmes; of one, one was erased, one merged into it before, and one merge was undone."""
    name = f"loyalty_test_{os.getpid()}_member_keys"
    dsn = create_database(server_dsn, name, template=template_database)
    with closing(Database(dsn)) as pool, closing(Ledger(pool)) as ledger:
        build(ledger)
        later = [AT + timedelta(days=days) for days in (50, 51, 52, 53)]
        handle(ledger, [
            MergeMembers(id="m1", occurred_at=later[0], member="M0004", into="M0003", **NAMED),
            MergeMembers(id="m2", occurred_at=later[1], member="M0005", into="M0003", **NAMED),
            UndoMerge(id="u2", occurred_at=later[2], member="M0005", **NAMED),
            EraseMember(id="e", occurred_at=later[3], member="M0003", **NAMED),
        ])  # fmt: skip
        yield pool
    drop_database(server_dsn, name)


@pytest.fixture
def cur(database: Database) -> Iterator[PgCursor]:
    with closing(connect(database.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE kept AS TABLE member_keys")
        yield cursor
        cursor.execute("DELETE FROM member_keys; INSERT INTO member_keys SELECT * FROM kept")


def first_sealed(cur: PgCursor, member: str) -> tuple[int, int]:
    cur.execute(
        "SELECT journal, events.position FROM events JOIN journals USING (journal) WHERE name = 'grocery'"
        " AND originator_id = %s AND topic = 'member-profile-changed.v1' ORDER BY events.position LIMIT 1",
        (f"member-{member}",),
    )
    ((journal, position),) = cur.fetchall()
    return journal, position


def test_keys_that_open_what_they_sealed_are_good(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the erased member and of whom it absorbed are gone, as they must be."""
    report = check_keys(database)
    assert (report.keys, report.bad, report.problems, report.ok) == (14, 0, [], True)
    monkeypatch.setattr(member_keys, "ROWS_AT_ONCE", 3)
    assert check_keys(database) == report


@pytest.mark.parametrize("byte", range(32))
def test_a_changed_byte_of_a_key_is_found(byte: int, database: Database, cur: PgCursor) -> None:
    journal, position = first_sealed(cur, "M0006")
    cur.execute(
        "UPDATE member_keys SET key = set_byte(key, %s, get_byte(key, %s) # 1) WHERE journal = %s AND member = 'M0006'",
        (byte, byte, journal),
    )
    words = f"was changed: it does not open its data, which position {position} sealed"
    assert check_keys(database).problems == [f"journal {journal}: the key of M0006 {words}"]


@pytest.mark.parametrize("key", ["", "key || key", "substr(key, 2)"])
def test_a_key_of_another_length_is_found(key: str, database: Database, cur: PgCursor) -> None:
    journal, _ = first_sealed(cur, "M0006")
    cur.execute(f"UPDATE member_keys SET key = {key or repr('')} WHERE journal = {journal} AND member = 'M0006'")
    assert [words.split(" which ")[0] for words in check_keys(database).problems] == [
        f"journal {journal}: the key of M0006 was changed: it does not open its data,"
    ]


def test_keys_exchanged_between_members_are_found(database: Database, cur: PgCursor) -> None:
    cur.execute(
        "UPDATE member_keys SET key = other.key FROM kept other WHERE member_keys.journal = 1 AND other.journal = 1"
        " AND (member_keys.member, other.member) IN (('M0001', 'M0002'), ('M0002', 'M0001'))"
    )
    found = check_keys(database).problems
    assert len(found) == 2
    for member, words in zip(("M0001", "M0002"), found, strict=True):
        assert words.startswith(f"journal 1: the key of {member} was changed: it does not open its data")


def test_a_lost_key_is_found(database: Database, cur: PgCursor) -> None:
    """Also that of a member whose merge into one who was erased had been undone before."""
    journal, position = first_sealed(cur, "M0005")
    cur.execute("DELETE FROM member_keys WHERE journal = %s AND member = 'M0005'", (journal,))
    words = "is missing, though the member was not erased: nothing opens its data"
    assert check_keys(database).problems == [
        f"journal {journal}: the key of M0005 {words}, which position {position} sealed"
    ]


@pytest.mark.parametrize("member", ["M0003", "M0004"])
def test_a_key_that_was_put_back_after_the_erasure_is_found(member: str, database: Database, cur: PgCursor) -> None:
    """From a backup of the table; of the member itself, or of one that it had absorbed."""
    journal, _ = first_sealed(cur, member)
    cur.execute("INSERT INTO member_keys (journal, member, key) VALUES (%s, %s, %s)", (journal, member, bytes(32)))
    words = f"the key of {member} is there, though it was erased: its data can be read again"
    assert check_keys(database).problems == [f"journal {journal}: {words}"]


def test_the_command_names_them_and_shows_no_data(database: Database, cur: PgCursor) -> None:
    loyalty = Loyalty(LOYALTY_DATABASE_URL=database.dsn)
    assert loyalty("audit", "keys").output == "Every key opens what it sealed; 14 keys.\n"
    cur.execute("DELETE FROM member_keys")
    said = loyalty.json("audit", "keys", exit_code=1)
    assert (said["ok"], said["keys"], said["bad"], len(said["problems"])) == (False, 0, 14, 14)
    output = loyalty("audit", "keys", exit_code=1).output
    assert output.endswith("NOT every key is as it must be: 14 are not; 0 keys.\n")
    assert "Name of" not in output
