"""Read models edited by hand are found and named, row by row, wherever their runners are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from typing import Any

import psycopg2
import pytest

from ledger.commands import AccruePoints
from ledger.engine import Ledger
from ledger.store.database import Database, PgCursor, connect
from projections.batch import HistoryGap
from projections.checkpoints import ProjectionOutdated
from projections.comparison import RowDifference, compare
from projections.rebuild import SHADOW_SCHEMA, rebuild
from projections.runner import Runner
from service.read_models import catch_up, read_models
from tests.audit.ledgers import AT, build, handle
from tests.cli.running import Loyalty
from tests.conftest import create_database, drop_database
from tests.waiting import PATIENCE_SECONDS

TABLES = [table for model in read_models() for table in model.tables]
EDITS = ("{0} + 1", "{0} || 'x'", "NOT {0}", "{0} + interval '1 second'", "'[]'", "NULL")
FILLED = {"balances", "lots", "statement", "lifetime", "trade_days", "objectives", "member_profiles"}
"""Tables in which the histories of the test leave rows, some of them."""


@pytest.fixture(scope="module")
def filled(server_dsn: str, template_database: str) -> Iterator[str]:
    """A ledger with read models; each test leaves them as the log gives them."""
    name = f"loyalty_test_{os.getpid()}_comparison"
    dsn = create_database(server_dsn, name, template=template_database)
    with closing(Database(dsn)) as database, closing(Ledger(database)) as ledger:
        build(ledger)
        catch_up(database)
    yield dsn
    drop_database(server_dsn, name)


@pytest.fixture
def cur(filled: str) -> Iterator[PgCursor]:
    with closing(connect(filled)) as connection, connection.cursor() as cursor:
        yield cursor
    rebuild(filled, read_models())


def values(cur: PgCursor, statement: str) -> list[str]:
    cur.execute(statement)
    return [value for (value,) in cur.fetchall()]


def key_of(cur: PgCursor, table: str) -> list[str]:
    return values(
        cur,
        "SELECT attname FROM pg_attribute JOIN pg_index ON indrelid = attrelid AND attnum = ANY (indkey)"
        f" WHERE indisprimary AND attrelid = '{table}'::regclass",
    )


def edit(cur: PgCursor, table: str, which: str) -> str:
    """Change what can be changed of a row within the checks of its table; the column."""
    key = key_of(cur, table)
    columns = values(cur, f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
        f" AND table_schema = 'loyalty' AND column_name <> 'journal' ORDER BY ordinal_position DESC")  # fmt: skip
    for column in [name for name in columns if name not in key]:
        for expression in EDITS:
            try:
                cur.execute(
                    f'UPDATE {table} SET "{column}" = {expression.format(column)} WHERE ctid = %s'
                    f' AND "{column}"::text IS DISTINCT FROM ({expression.format(column)})::text',
                    (which,),
                )
            except psycopg2.Error:
                continue
            if cur.rowcount == 1:
                return column
    raise AssertionError(f"no column of {table} can be changed")


def test_what_was_folded_from_the_log_is_good(filled: str, cur: PgCursor) -> None:
    found = compare(filled, read_models())
    assert found.ok
    assert found.differences == []
    assert found.rows == {table: int(values(cur, f"SELECT count(*) FROM {table}")[0]) for table in TABLES}
    assert {table for table, rows in found.rows.items() if rows} >= FILLED
    assert values(cur, f"SELECT 1 FROM pg_namespace WHERE nspname = '{SHADOW_SCHEMA}'") == [], "nothing is left behind"


def test_a_row_edited_removed_or_added_in_any_table_is_named(filled: str, cur: PgCursor) -> None:
    """One of each in every table that has rows for it."""
    expected: set[tuple[str, str, str]] = set()
    for table in TABLES:
        rows = values(cur, f"SELECT ctid::text FROM {table} ORDER BY ctid LIMIT 3")
        as_text = ", ".join(f'"{name}"::text' for name in key_of(cur, table))
        if rows:
            cur.execute(f"SELECT concat_ws(',', {as_text}) FROM {table} WHERE ctid = %s", (rows[0],))
            ((key,),) = cur.fetchall()
            expected.add((table, key, edit(cur, table, rows[0])))
        if len(rows) > 1:
            cur.execute(f"DELETE FROM {table} WHERE ctid = %s RETURNING concat_ws(',', {as_text})", (rows[1],))
            ((key,),) = cur.fetchall()
            expected.add((table, key, "missing"))
        if len(rows) > 2:
            cur.execute(
                f"UPDATE {table} SET journal = 99 WHERE ctid = %s RETURNING concat_ws(',', {as_text})", (rows[2],)
            )
            ((key,),) = cur.fetchall()
            expected.add((table, key, "one too many"))
            expected.add((table, key, "missing"))  # from where it was
    found = compare(filled, read_models())
    assert not found.ok
    told = {(one.table, ",".join(one.key.values()), what(one)) for one in found.differences}
    assert {(table, key.partition(",")[2], how) for table, key, how in expected} == {
        (table, key.partition(",")[2], how) for table, key, how in told
    }
    assert {table for table, rows in found.differing.items() if rows} >= FILLED


def what(difference: RowDifference) -> str:
    if difference.live is None:
        return "missing"
    if difference.folded is None:
        return "one too many"
    (column,) = difference.live
    return column


def test_words_name_table_row_column_and_both_values(filled: str, cur: PgCursor) -> None:
    (version,) = values(cur, "SELECT version::text FROM balances WHERE journal = 1 AND member = 'M0003'")
    cur.execute("UPDATE balances SET version = 99 WHERE journal = 1 AND member = 'M0003'")
    cur.execute("DELETE FROM member_profiles WHERE journal = 1 AND member = 'M0004'")
    cur.execute("INSERT INTO member_attributes VALUES (1, 'M0005', 'tier', 'gold')")
    loyalty = Loyalty(LOYALTY_DATABASE_URL=filled)
    said = loyalty("audit", "read-models", exit_code=1).output.splitlines()
    assert said == [
        f"balances: the row of journal 1, member M0003 has version '99', where the log gives '{version}'",
        "member_profiles: the row of journal 1, member M0004 is missing",
        "member_attributes: the row of journal 1, member M0005, attribute tier is one too many: no event gives it",
        "balances: 1 row of 16 not as the log gives them.",
        "member_profiles: 1 row of 15 not as the log gives them.",
        "member_attributes: 1 row of 1 not as the log gives them.",
        said[-1],
    ]
    assert said[-1].startswith("NOT every row is what the log gives: ")
    assert loyalty.json("audit", "read-models", "member_data", exit_code=1)["differing"] == {
        "member_profiles": 1, "member_attributes": 1,
    }  # fmt: skip
    assert loyalty("audit", "read-models", "statement").output.startswith("Every row is what the log gives")
    assert "there is no read model 'x'" in loyalty("audit", "read-models", "x", exit_code=2).output


def test_the_first_of_many_are_told_and_all_are_counted(filled: str, cur: PgCursor) -> None:
    cur.execute("UPDATE statement SET reason = reason || '!'")
    found = compare(filled, read_models(), differences_max=3)
    assert len(found.differences) == 3
    assert found.differing["statement"] == found.rows["statement"] > 3


def test_rows_are_compared_where_their_projection_is(database: Database, database_dsn: str) -> None:
    """Projections that never ran, that are halfway, and that are at the end, in one comparison."""
    with closing(Ledger(database)) as ledger:
        build(ledger)
    balances, statement, *_ = read_models()
    Runner(database, [balances], batch_events_max=7).advance(1)
    Runner(database, [statement]).run_once()
    found = compare(database_dsn, read_models(), batch_events_max=5)
    assert found.differences == []
    assert found.rows["statement"] > found.rows["balances"] > found.rows["lifetime"] == 0


def test_runners_and_writers_go_on_meanwhile(database: Database, database_dsn: str) -> None:
    stop, written = threading.Event(), threading.Semaphore(0)
    with closing(Ledger(database)) as ledger, ThreadPoolExecutor(1) as threads:
        build(ledger)

        def write() -> int:
            gift: dict[str, Any] = {"source": "test", "programme": "coffee", "member": "M0001", "points": 5}
            for number in count():
                handle(ledger, [AccruePoints(id=f"more-{number}", occurred_at=AT, reason="gift", **gift)])
                catch_up(database)
                written.release()
                if stop.is_set():
                    return number
            raise AssertionError

        writing = threads.submit(write)
        found = []
        try:
            for _ in range(3):
                assert written.acquire(timeout=PATIENCE_SECONDS)
                found.append(compare(database_dsn, read_models()))
        finally:
            stop.set()
        assert writing.result() > 1
    assert [one.differences for one in found] == [[], [], []]
    assert found[0].rows["statement"] < found[-1].rows["statement"]


def test_what_cannot_be_compared_is_refused(filled: str, cur: PgCursor) -> None:
    cur.execute("UPDATE projections SET position = position + 1000 WHERE projection = 'balances'")
    with pytest.raises(HistoryGap, match="are missing, read models are at"):
        compare(filled, read_models())
    cur.execute("UPDATE projections SET version = 999 WHERE projection = 'balances'")
    with pytest.raises(ProjectionOutdated):
        compare(filled, read_models())
