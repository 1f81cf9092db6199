"""A rebuild beside appends, runners and readers: nobody sees less than all of it."""

from __future__ import annotations

import threading
from typing import Any

import psycopg2
import pytest
from eventsourcing.persistence import IntegrityError

from ledger.store.database import Database, connect
from projections import rebuild as rebuilding
from projections.balances import Balances
from projections.batch import Batch, HistoryGap, read_batch
from projections.checkpoints import ProjectionOutdated, checkpoint
from projections.rebuild import RebuildRefused, rebuild, table_digests
from projections.runner import Runner
from projections.statement import Statement
from tests.projections.histories import History, new_journals, record
from tests.projections.test_incremental import check_against_fold
from tests.waiting import PATIENCE_SECONDS

PROJECTIONS = (Balances(), Statement())


def test_a_rebuild_beside_appends_and_runners_misses_nothing(database: Database, database_dsn: str) -> None:
    """Several rebuilds run while two journals grow and a runner follows; in the end all agree with the core."""
    histories = [History(seed, 400) for seed in (41, 42)]
    journals = new_journals(database, 2)
    done, rebuilt_twice, failures = threading.Event(), threading.Event(), []

    def watched(work: Any) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except Exception as error:
                failures.append(error)
                raise

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write() -> None:
        for journal, history in zip(journals, histories, strict=True):
            versions: dict[str, int] = {}
            most = len(history.events) * 3 // 4
            record(database, journal, history.events[:most], versions, each=3)
            rebuilt_twice.wait(timeout=PATIENCE_SECONDS)
            record(database, journal, history.events[most:], versions, each=3)
        done.set()

    def follow() -> None:
        runner = Runner(database, PROJECTIONS, batch_events_max=20)
        while not done.is_set():
            runner.run_once()

    def read() -> None:
        """What has been folded in stays: the statement never shrinks, and balances always agree with it."""
        seen = 0
        while not done.is_set():
            with database.connection() as cur:
                cur.execute(
                    "SELECT count(*), sum(s.points), (SELECT sum(open + held) FROM balances),"
                    " (SELECT sum(points) FROM lots), (SELECT sum(open) FROM balances) FROM statement s"
                )
                count, *sums = (value or 0 for value in cur.fetchone() or ())
            assert count >= seen
            assert sums[0] == sums[1], "the statement and the balances are not of one position"
            assert sums[2] == sums[3], "the lots and the balances are not of one position"
            seen = count

    threads = [watched(write), watched(follow), watched(read)]
    rebuilds = 0
    while not done.is_set():
        rebuild(database_dsn, PROJECTIONS, batch_events_max=50)
        rebuilds += 1
        if rebuilds == 2:
            rebuilt_twice.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rebuilds > 1
    Runner(database, PROJECTIONS).run_once()
    for journal, history in zip(journals, histories, strict=True):
        check_against_fold(database, journal, history)
    with database.connection() as cur:
        live = table_digests(cur, PROJECTIONS)
    report = rebuild(database_dsn, PROJECTIONS)
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == live
    assert report.events_count == sum(len(history.events) for history in histories)


def test_a_swap_that_has_much_to_catch_up_folds_it_in_one_transaction(
    database: Database, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many batches of two journals between lock and commit: what one batch staged must not be merged with the next."""
    histories = [History(seed, 150) for seed in (45, 46)]
    journals = new_journals(database, 2)
    for journal, history in zip(journals, histories, strict=True):
        record(database, journal, history.events, {})
    monkeypatch.setattr(rebuilding, "_fill", lambda *_: None)
    rebuild(database_dsn, PROJECTIONS, batch_events_max=20)
    for journal, history in zip(journals, histories, strict=True):
        check_against_fold(database, journal, history)


def test_a_rebuild_leaves_the_schema_as_it_was(database: Database, database_dsn: str) -> None:
    """Columns, constraints, indexes, rights and storage of the new tables are those of the migrations."""
    before = schema_of(database_dsn)
    rebuild(database_dsn, PROJECTIONS)
    assert schema_of(database_dsn) == before
    assert any("loyalty_writer" in str(row) for row in before)
    assert any("fillfactor=70" in str(row) for row in before)


def test_views_survive_a_rebuild(database: Database, database_dsn: str) -> None:
    """An operator's views over read models, and views over those, keep their rows, rights, options and comments."""
    history = History(51, 80)
    (journal,) = new_journals(database)
    record(database, journal, history.events, {})
    Runner(database, PROJECTIONS).run_once()
    connection = connect(database_dsn)
    with connection.cursor() as cur:
        cur.execute(
            """
            CREATE SCHEMA "Reports";
            CREATE VIEW "Reports"."Open lots" WITH (security_barrier) AS
                SELECT l.member AS "Who", l.points, b.open FROM lots l JOIN balances b USING (journal, member);
            CREATE VIEW "Reports".total AS
                SELECT sum(points) AS points, (SELECT count(*) FROM lots) AS lots FROM "Reports"."Open lots";
            COMMENT ON VIEW "Reports"."Open lots" IS 'it''s what is open';
            COMMENT ON COLUMN "Reports"."Open lots"."Who" IS 'the member';
            GRANT SELECT ON "Reports"."Open lots" TO loyalty_reader;
            GRANT SELECT ON "Reports".total TO PUBLIC;
            """
        )
        before = views_of(cur)
        rebuild(database_dsn, PROJECTIONS)
        assert views_of(cur) == before
        assert "security_barrier" in str(before)
        cur.execute('CREATE MATERIALIZED VIEW "Reports".kept AS SELECT * FROM "Reports".total')
        with pytest.raises(RebuildRefused, match=r"materialized view \"Reports\"\.kept"):
            rebuild(database_dsn, PROJECTIONS)
        assert views_of(cur)[-2:] == before[-2:]
    connection.close()


def views_of(cur: Any) -> list[Any]:
    cur.execute(
        "SELECT relname, pg_get_viewdef(oid), reloptions, relacl::text, pg_get_userbyid(relowner),"
        " obj_description(oid, 'pg_class'), (SELECT array_agg(col_description(oid, attnum) ORDER BY attnum)"
        " FROM pg_attribute WHERE attrelid = oid) FROM pg_class WHERE relkind = 'v'"
        " AND relnamespace = '\"Reports\"'::regnamespace ORDER BY relname"
    )
    found: list[Any] = cur.fetchall()
    cur.execute('SELECT points, lots FROM "Reports".total')
    found += cur.fetchall()
    cur.execute('SELECT * FROM "Reports"."Open lots" ORDER BY 1, 2 LIMIT 1')
    return [*found, *cur.fetchall()]


def schema_of(dsn: str) -> list[Any]:
    connection = connect(dsn)
    tables = ("balances", "lots", "statement")
    rows: list[Any] = []
    with connection.cursor() as cur:
        for statement in (
            "SELECT table_name, column_name, ordinal_position, data_type, collation_name, is_nullable, column_default"
            " FROM information_schema.columns WHERE table_schema = 'loyalty' AND table_name IN %s",
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid::regclass::text IN %s",
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'loyalty' AND tablename IN %s",
            "SELECT relname, unnest(relacl)::text FROM pg_class WHERE relnamespace = 'loyalty'::regnamespace"
            " AND relname IN %s",
            "SELECT relname, unnest(reloptions) FROM pg_class WHERE relnamespace = 'loyalty'::regnamespace"
            " AND relname IN %s",
            "SELECT nspname, '', '' FROM pg_namespace WHERE nspname LIKE 'loyalty%%' AND 'lots' IN %s",
        ):
            cur.execute(statement, (tables,))
            rows += sorted(map(str, cur.fetchall()))
    connection.close()
    return rows


def test_a_failed_rebuild_leaves_the_live_tables(
    database: Database, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off in the middle of the swap, everything is as before; the next rebuild clears what is left and succeeds."""
    (journal,) = new_journals(database)
    record(database, journal, History(51, 80).events, {})
    Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        live = table_digests(cur, PROJECTIONS)

    def broken(cur: Any, projection: Any, shadows: Any) -> None:
        raise psycopg2.IntegrityError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(rebuilding, "_set_checkpoints", broken)
        with pytest.raises(IntegrityError):
            rebuild(database_dsn, PROJECTIONS)
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == live
    rebuild(database_dsn, PROJECTIONS)
    with database.connection() as cur:
        assert table_digests(cur, PROJECTIONS) == live


def test_a_reader_who_holds_a_table_makes_the_swap_wait_and_then_refuse(
    database: Database, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap lets readers through between its attempts and gives up after the last; the live tables stay."""
    monkeypatch.setattr(rebuilding, "SWAP_ATTEMPTS_MAX", 2)
    with database.transaction() as cur:
        cur.execute("SELECT count(*) FROM lots")
        with pytest.raises(RebuildRefused, match="in use"):
            rebuild(database_dsn, PROJECTIONS)
    rebuild(database_dsn, PROJECTIONS)


def test_two_rebuilds_at_once_are_refused(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second would pull the shadow away from under the first."""
    monkeypatch.setattr(rebuilding, "TURN_TIMEOUT_MS", 50)
    connection = connect(database_dsn)
    with connection.cursor() as cur:
        cur.execute("SELECT pg_advisory_lock(%s)", (rebuilding._REBUILD_LOCK_KEY,))
        with pytest.raises(RebuildRefused, match="another rebuild"):
            rebuild(database_dsn, PROJECTIONS)
    connection.close()


def test_tables_of_another_version_are_refused_until_rebuilt(database: Database, database_dsn: str) -> None:
    """Rows that mean something else are not added to; a rebuild moves the tables to the version of the code."""
    (journal,) = new_journals(database)
    record(database, journal, History(61, 40).events, {})
    Runner(database, PROJECTIONS).run_once()

    class NewBalances(Balances):
        version = 2

    with pytest.raises(ProjectionOutdated, match="rebuild it"):
        Runner(database, [NewBalances()]).run_once()
    rebuild(database_dsn, [NewBalances()])
    assert Runner(database, [NewBalances()]).run_once() == 0
    with pytest.raises(ProjectionOutdated):
        Runner(database, [Balances()]).run_once()


def test_a_gap_in_the_positions_is_refused(database: Database, database_dsn: str) -> None:
    """A journal whose events are not all there is not folded, as if they had never been."""
    (journal,) = new_journals(database)
    history = History(71, 30)
    record(database, journal, history.events, {})
    connection = connect(database_dsn)
    with connection.cursor() as cur:
        cur.execute(
            "INSERT INTO events SELECT journal, position + 7, 'member-x', 1, topic, state, recorded_at, leaf_hash"
            " FROM events ORDER BY position DESC LIMIT 1"
        )
    connection.close()
    with pytest.raises(HistoryGap, match="6 events"):
        Runner(database, PROJECTIONS).run_once()
    with database.connection() as cur:
        assert checkpoint(cur, "balances", journal) == 0
        batch = read_batch(cur, journal, after=5, limit=10, topics=())
    assert isinstance(batch, Batch)
    assert (batch.after, batch.last, {row[4] for row in batch.rows}) == (5, 15, {None})
