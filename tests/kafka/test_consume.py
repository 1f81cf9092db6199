"""`loyalty consume` on a real broker: whatever stops or fails, every acknowledged message is taken exactly once."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

import pytest
from psycopg2.extensions import make_dsn

from ledger.codec import encode
from ledger.engine import Ledger
from ledger.store import sources
from ledger.store.database import connect
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrations import migrate
from ledger.transaction import Transaction
from tests.broker import Kafka
from tests.engine.clubs import assert_sound
from tests.engine.test_steering import answer, measure, objective, survey
from tests.faults.proxy import Proxy
from tests.kafka.dying import Where, consume_and_die, consume_for_ever
from tests.kafka.inflow import MEMBERS, Inflow, ledger_on, producer
from tests.waiting import PATIENCE_SECONDS, wait_for

J = (1, 4)
VICTIM = "consumer to be disturbed"
KILLS_MAX = 50


@pytest.mark.parametrize("journals", J)
def test_good_refused_repeated_and_poisonous_messages_are_each_taken_once(
    journals: int, kafka: Kafka, ledger: Ledger
) -> None:
    """Poison stands at the start, the end and everywhere between, of whatever batch."""
    inflow = Inflow(kafka, ledger, journals)
    inflow.produce(inflow.purchases(1_000))
    progress = inflow.consume()
    taken = inflow.assert_exact(ledger)
    assert taken["messages"] == progress.read == len(inflow.acknowledged)
    assert (progress.posted, progress.duplicate, progress.rejected) == tuple(
        taken[name] for name in ("posted", "duplicate", "rejected")
    )
    assert inflow.consume().read == 0


def test_what_steers_a_programme_is_taken_in_its_place(kafka: Kafka, ledger: Ledger) -> None:
    """Between members' messages of one partition, in their order; and not again."""
    inflow = Inflow(kafka, ledger, 4, partitions=1)
    club = inflow.club
    commands = [
        *(club.enrol(member) for member in MEMBERS),
        *(answer(club, member, f"{member}-early", 4) for member in MEMBERS),
        survey(club, "s1"),
        *(answer(club, member, f"{member}-1", 4) for member in MEMBERS),
        objective(club),
        measure(club, "m", "12"),
        survey(club, "s2", (1, 7)),
        *(answer(club, member, f"{member}-2", 7, (1, 7)) for member in MEMBERS),
    ]
    inflow.produce([(b"key", encode(command)) for command in commands])
    progress = inflow.consume()
    assert (progress.posted, progress.duplicate, progress.rejected) == (len(commands) - 12, 0, 12)
    assert {row[0] for row in club.refused()} == {"SURVEY_UNKNOWN"}
    assert inflow.consume().read == 0
    assert_sound(club, ledger)


def test_a_refused_message_is_kept_as_it_came(kafka: Kafka, ledger: Ledger) -> None:
    """Value, key, headers and timestamp byte for byte, a null value as null; equal messages are two."""
    inflow = Inflow(kafka, ledger, 1, partitions=1)
    headers = [("a", b"\x00\xff"), ("a", b"")]
    with producer(kafka) as writer:
        for value in (b"\x00", b"\x00", None):
            sent = writer.send(inflow.topic, value, key=b"\xfe", headers=headers, timestamp_ms=1_700_000_000_123)
            inflow.note([(value, sent)])
    inflow.consume()
    with ledger.database.connection() as cur:
        cur.execute('SELECT body, key, headers, timestamp_ms, "offset", attempts FROM rejected ORDER BY "offset"')
        found = [(*(None if part is None else bytes(part) for part in row[:3]), *row[3:]) for row in cur.fetchall()]
    packed = b"\x92\x92\xa1a\xc4\x02\x00\xff\x92\xa1a\xc4\x00"
    assert found == [
        (value, b"\xfe", packed, 1_700_000_000_123, offset, 1) for offset, value in enumerate((b"\x00", b"\x00", None))
    ]


@pytest.mark.parametrize("journals", J)
def test_aborted_transactions_are_neither_taken_nor_gaps(journals: int, kafka: Kafka, ledger: Ledger) -> None:
    """What an upstream producer aborted never arrives, and the end of the log is reached over its markers."""
    inflow = Inflow(kafka, ledger, journals)
    messages = inflow.purchases(120)
    with producer(kafka, transactional_id=inflow.topic) as writer:
        writer.init_transactions()
        for start in range(0, len(messages), 10):
            writer.begin_transaction()
            sent = [(value, writer.send(inflow.topic, value, key=key)) for key, value in messages[start : start + 10]]
            writer.flush()
            if start % 30 == 0:
                writer.abort_transaction()
            else:
                writer.commit_transaction()
                inflow.note(sent)
    inflow.consume(poll_records_max=7)
    inflow.assert_exact(ledger)


@pytest.mark.parametrize("where", ["before a commit", "after a commit", "before complete", "after complete"])
def test_a_killed_consumer(where: Where, kafka: Kafka, database_dsn: str, ledger: Ledger) -> None:
    """SIGKILL between the journals of a batch, before the first and after the last; twice, and then to the end."""
    inflow = Inflow(kafka, ledger, 4)
    inflow.produce(inflow.purchases(700))
    for nth in (2, 3):
        process = multiprocessing.get_context("spawn").Process(
            target=consume_and_die,
            args=(database_dsn, kafka.bootstrap, inflow.topic, inflow.club.name, where, nth),
        )
        process.start()
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == -9
    assert inflow.consume().read > 0
    inflow.assert_exact(ledger)


@pytest.mark.parametrize("journals", J)
def test_members_that_come_and_go(journals: int, kafka: Kafka, database_dsn: str, ledger: Ledger) -> None:
    """A second member joins in mid-batch, and the first leaves: partitions change hands under way."""
    inflow = Inflow(kafka, ledger, journals, partitions=4)
    inflow.produce(inflow.purchases(1_500))
    other_database, other = ledger_on(database_dsn)
    with inflow.consuming("pair", ledger, poll_records_max=20) as first:
        wait_for(lambda: first.progress.posted > 50)
        with inflow.consuming("pair", other, poll_records_max=20) as second:
            more = count(2)
            while second.progress.posted <= 50:  # the first may have taken all that was there before the second joined
                seed = next(more)
                inflow.produce(inflow.purchases(60, seed=seed, first=10_000 * seed))
            wait_for(lambda: inflow.next_offsets() == inflow.ends())
            wait_for(lambda: second.progress.partitions == 2)
    taken = inflow.assert_exact(ledger, other)
    assert first.progress.posted + second.progress.posted == taken["posted"]
    assert min(first.progress.posted, second.progress.posted) > 0
    other.close()
    other_database.close()


@pytest.mark.parametrize("journals", J)
def test_terminated_connections(journals: int, kafka: Kafka, database_dsn: str, ledger: Ledger) -> None:
    """Backends of the consumer are killed at random: it goes on, nothing is refused for it."""
    inflow = Inflow(kafka, ledger, journals)
    inflow.produce(inflow.purchases(1_200))
    database, victim = ledger_on(make_dsn(database_dsn, application_name=VICTIM))
    done, kills = Event(), list[int]()
    killer = Thread(target=kill_now_and_then, args=(database_dsn, random.Random(5), done, kills))
    killer.start()
    try:
        inflow.consume(victim, poll_records_max=30)
        more = count(2)
        while len(kills) <= 3:  # on a fast machine it had taken all before
            seed = next(more)
            inflow.produce(inflow.purchases(400, seed=seed, first=10_000 * seed))
            inflow.consume(victim, poll_records_max=30)
    finally:
        done.set()
        killer.join()
    inflow.assert_exact(ledger, victim)
    victim.close()
    database.close()


def test_a_database_that_is_away_is_waited_for(kafka: Kafka, database_dsn: str, ledger: Ledger) -> None:
    """Past the time after which a silent member is missed: it stays a member, nothing is refused, and it goes on."""
    inflow = Inflow(kafka, ledger, 4)
    inflow.produce(inflow.purchases(60))
    with Proxy(database_dsn) as proxy:
        database, away = ledger_on(proxy.dsn)
        with inflow.consuming("away", away, poll_records_max=20, backlog_bytes_max=50_000) as consumer:
            wait_for(lambda: inflow.next_offsets() == inflow.ends())
            proxy.cut_all(refuse=True)
            inflow.produce(inflow.purchases(400, seed=2, first=1_000))
            wait_for(lambda: "database" in consumer.progress.state)
            held = consumer.progress.partitions
            time.sleep(7.0)  # the session of a member that sends no heartbeats ends after 6 s
            assert consumer.progress.partitions == held == 3
            read = consumer.progress.read
            proxy.allow()
            wait_for(lambda: inflow.next_offsets() == inflow.ends())
            assert read < len(inflow.acknowledged)
        inflow.assert_exact(ledger, away)
        away.close()
        database.close()


def test_a_server_that_restarts(kafka: Kafka) -> None:
    """PostgreSQL stops at once and starts again, in mid-stream."""
    with own_server("restart") as (server, dsn, _):
        database, writer = ledger_on(dsn)
        inflow = Inflow(kafka, writer, 4)
        inflow.produce(inflow.purchases(800))
        with inflow.consuming("restart", poll_records_max=20) as consumer:
            wait_for(lambda: consumer.progress.posted > 50)
            server.stop()
            server.start()
            wait_for(lambda: _try(inflow.next_offsets) == inflow.ends())
        inflow.assert_exact(writer)
        writer.close()
        database.close()


@contextmanager
def own_server(name: str) -> Iterator[tuple[EmbeddedPostgres, str, Path]]:
    """A migrated server of a test's own, its DSN and its data folder."""
    directory = Path(tempfile.mkdtemp(prefix=f"loyalty-{name}-"))
    server = EmbeddedPostgres(directory / "postgres")
    try:
        dsn = server.start()
        migrate(dsn)
        yield server, dsn, directory / "postgres"
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def test_a_server_that_forgets_what_was_completed(kafka: Kafka) -> None:
    """A crash takes the last completions with it, not what journals took: those are read again, and found taken."""
    with own_server("forget") as (server, dsn, folder), Proxy(dsn) as proxy:
        database, writer = ledger_on(dsn)
        cut_database, cut = ledger_on(proxy.dsn)
        inflow = Inflow(kafka, writer, 4)
        inflow.produce(inflow.purchases(100))
        stop_writing_the_log(dsn)
        with inflow.consuming("forget", cut) as consumer:
            wait_for(lambda: inflow.next_offsets() == inflow.ends())
            proxy.cut_all(refuse=True)  # it completes nothing before we have looked
            os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
            wait_for(lambda: not (folder / "postmaster.pid").exists())
            server.start()
            wait_for(lambda: _try(inflow.next_offsets) is not None)
            ends = inflow.ends()
            assert any(offset < ends[partition] for partition, offset in inflow.next_offsets().items())
            proxy.allow()
            inflow.produce(inflow.purchases(100, seed=2, first=100))
            wait_for(lambda: _try(inflow.next_offsets) == inflow.ends())
            assert consumer.progress.read > len(inflow.acknowledged)
        inflow.assert_exact(writer, cut)
        for each in (writer, cut, database, cut_database):
            each.close()


def stop_writing_the_log(dsn: str) -> None:
    """Stop the process that writes out what nobody waits for, until the server ends: only a commit does from now on."""
    with closing(connect(dsn)) as owner, owner.cursor() as cur:
        cur.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
        ((pid,),) = cur.fetchall()
    os.kill(pid, signal.SIGSTOP)


def _try(call: Any) -> Any:
    try:
        return call()
    except Exception:  # noqa: BLE001 - the server is restarting
        return None


def test_an_answer_lost_at_the_commit(kafka: Kafka, database_dsn: str, ledger: Ledger) -> None:
    """The connection breaks when the server has committed: it is read again, not assumed, and counted once."""
    inflow = Inflow(kafka, ledger, 4)
    with Proxy(database_dsn) as proxy:
        database, cut = ledger_on(proxy.dsn)
        for number, fault in enumerate(("drop reply", "cut after", "cut before", "half close")):
            inflow.produce(inflow.purchases(100, seed=number, first=number * 100))
            proxy.arm(cast(Any, fault), b"COMMIT")
            inflow.consume(cut, poll_records_max=40)
            assert proxy.reached.is_set()
        inflow.assert_exact(ledger, cut)
        cut.close()
        database.close()


def test_a_partition_that_is_added_is_picked_up(kafka: Kafka, ledger: Ledger) -> None:
    """While the consumer runs."""
    inflow = Inflow(kafka, ledger, 4, partitions=1)
    inflow.produce(inflow.purchases(50))
    with inflow.consuming("grown") as consumer:
        wait_for(lambda: inflow.next_offsets() == inflow.ends())
        with kafka.admin() as admin:
            admin.create_partitions({inflow.topic: 3})
        wait_for(lambda: consumer.progress.partitions == 3)
        inflow.produce(inflow.purchases(50, first=100))
        wait_for(lambda: inflow.next_offsets() == {p: end for p, end in inflow.ends().items() if end})
    with ledger.database.connection() as cur:
        assert {each.partition for each in sources.partitions(cur, inflow.topic)} == {0, 1, 2}
    taken = inflow.taken()
    assert taken["posted"] + taken["duplicate"] + taken["rejected"] == len(inflow.acknowledged)


def test_retention_past_our_offset_stops_the_partition_until_the_gap_is_accepted(kafka: Kafka, ledger: Ledger) -> None:
    """It names the range that is lost, and the other partitions go on; never a silent jump."""
    inflow = Inflow(kafka, ledger, 1, partitions=2)
    send(inflow, 0, 10)
    inflow.consume()
    send(inflow, 0, 10)
    send(inflow, 1, 5)
    delete_before(inflow, 0, 15)
    stopped = inflow.consume().stopped
    assert list(stopped) == [(inflow.topic, 0)]
    assert "offsets 10 to 14" in stopped[inflow.topic, 0]
    assert inflow.next_offsets() == {0: 10, 1: 5}
    with ledger.database.connection() as cur:
        assert [(gap.first_offset, gap.next_offset) for gap in sources.gaps(cur, inflow.topic)] == [(10, 15)]
    with inflow.consuming("patient") as consumer:
        wait_for(lambda: bool(consumer.progress.stopped))
        with ledger.database.transaction() as cur:
            assert sources.accept_gap(cur, inflow.topic, 0) == (10, 15)
        wait_for(lambda: inflow.next_offsets() == {0: 20, 1: 5})
        assert consumer.progress.stopped == {}
    with ledger.database.connection() as cur:
        (gap,) = sources.gaps(cur, inflow.topic)
    assert gap.accepted_at is not None
    assert inflow.taken()["messages"] == 20


def test_retention_while_the_consumer_is_reading_is_told(kafka: Kafka, ledger: Ledger) -> None:
    """Out of range in mid-stream: the range between what was taken and what there is."""
    inflow = Inflow(kafka, ledger, 1, partitions=1)
    send(inflow, 0, 10)
    with inflow.consuming("slow", poll_records_max=10, backlog_bytes_max=1) as consumer:
        wait_for(lambda: inflow.next_offsets() == {0: 10})
        slow_down(ledger)
        send(inflow, 0, 60)
        delete_before(inflow, 0, 65)
        wait_for(lambda: bool(consumer.progress.stopped) or inflow.next_offsets() == {0: 70})
    with ledger.database.connection() as cur:
        gaps = sources.gaps(cur, inflow.topic)
        lost = sum(gap.next_offset - gap.first_offset for gap in gaps)
    read = inflow.taken()["messages"]
    assert read + lost in (65, 70), (read, gaps)


def test_a_topic_that_was_made_again_stops_until_it_is_accepted(kafka: Kafka, ledger: Ledger) -> None:
    """Even where the new log is already longer than what was taken of the old one; then it is read from its start."""
    inflow = Inflow(kafka, ledger, 4, partitions=1)
    inflow.produce(inflow.purchases(20))
    inflow.consume()
    before = inflow.taken()
    kafka.delete_topic(inflow.topic)
    kafka.create_topic(inflow.topic, 1, max_message_bytes=4 << 20)
    old, inflow.acknowledged = len(inflow.acknowledged), {}
    inflow.produce(inflow.purchases(60, seed=9, first=500))
    stopped = inflow.consume().stopped
    assert "made again" in stopped[inflow.topic, 0]
    assert inflow.next_offsets() == {0: old}
    with ledger.database.transaction() as cur:
        assert sources.accept_gap(cur, inflow.topic, 0) == (old, 0)
    inflow.consume()
    assert inflow.next_offsets() == inflow.ends()
    assert sum((inflow.taken() - before)[name] for name in ("posted", "duplicate", "rejected")) == len(
        inflow.acknowledged
    )


@pytest.mark.parametrize("messages", [20, 200], ids=["shorter", "longer"])
def test_a_topic_made_again_behind_a_reader_is_read_from_its_start(
    messages: int, kafka: Kafka, database_dsn: str, ledger: Ledger
) -> None:
    """A reader that stood still meanwhile, and knows only the old topic, takes nothing of the new one before somebody
    has accepted that the old one's rest is lost; even where the new one's offsets go on from ours.
    """
    inflow = Inflow(kafka, ledger, 4, partitions=1)
    inflow.produce(inflow.purchases(60))
    reader = multiprocessing.get_context("spawn").Process(
        target=consume_for_ever, args=(database_dsn, kafka.bootstrap, inflow.topic, inflow.club.name)
    )
    reader.start()
    assert reader.pid is not None
    try:
        wait_for(lambda: inflow.next_offsets() == inflow.ends())
        before, old = inflow.taken(), len(inflow.acknowledged)
        os.kill(reader.pid, signal.SIGSTOP)
        kafka.delete_topic(inflow.topic)
        kafka.create_topic(inflow.topic, 1, max_message_bytes=4 << 20)
        inflow.acknowledged = {}
        inflow.produce(inflow.purchases(messages, seed=9, first=500))
        os.kill(reader.pid, signal.SIGCONT)
        wait_for(lambda: bool(inflow.stopped()))
        assert "made again" in inflow.stopped()
        assert inflow.next_offsets() == {0: old}
        with ledger.database.transaction() as cur:
            assert sources.accept_gap(cur, inflow.topic, 0) == (old, 0)
        wait_for(lambda: inflow.next_offsets() == inflow.ends())
    finally:
        reader.kill()
        reader.join()
    assert sum((inflow.taken() - before)[name] for name in ("posted", "duplicate", "rejected")) == len(
        inflow.acknowledged
    )


def test_a_message_on_which_the_ledger_fails_is_set_apart(
    kafka: Kafka, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect that one message lays open refuses that message, and the partition goes on."""
    inflow = Inflow(kafka, ledger, 4, partitions=1)
    messages = [message for message in inflow.purchases(60) if message[1] and b'"o17"' in message[1]][:1]
    messages = [*inflow.purchases(10, first=100), *messages, *inflow.purchases(10, first=200)]
    inflow.produce(messages)
    handle = Transaction._handle_member

    def failing(self: Transaction, command: Any, key: bytes, digest: bytes) -> Any:
        if command.id == "o17":
            raise ZeroDivisionError("a defect")
        return handle(self, command, key, digest)

    monkeypatch.setattr(Transaction, "_handle_member", failing)
    progress = inflow.consume()
    assert progress.codes["UNPROCESSABLE"] == 1
    assert progress.taken == 0
    taken = inflow.taken()
    assert taken["posted"] + taken["duplicate"] + taken["rejected"] == len(inflow.acknowledged)
    assert progress.read == progress.posted + progress.duplicate + progress.rejected


def send(inflow: Inflow, partition: int, number: int) -> None:
    with producer(inflow.kafka) as writer:
        inflow.note([(b"{}", writer.send(inflow.topic, b"{}", partition=partition)) for _ in range(number)])


def delete_before(inflow: Inflow, partition: int, offset: int) -> None:
    from kafka import TopicPartition

    with inflow.kafka.admin() as admin:
        admin.delete_records({TopicPartition(inflow.topic, partition): offset})


def slow_down(ledger: Ledger) -> None:
    handle = ledger.handle_into

    def slowly(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.3)
        handle(*args, **kwargs)

    cast(Any, ledger).handle_into = slowly


def kill_now_and_then(dsn: str, rng: random.Random, done: Event, kills: list[int]) -> None:
    """Kill a random backend of the consumer, several times a second, until done; no more than KILLS_MAX, since on a
    slow machine nothing may ever get done between two.
    """
    connection = connect(dsn)
    with connection.cursor() as cursor:
        while len(kills) < KILLS_MAX and not done.wait(rng.uniform(0.02, 0.25)):
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s ORDER BY pid", (VICTIM,))
            pids = [pid for (pid,) in cursor.fetchall()]
            if pids:
                kills.append(rng.choice(pids))
                cursor.execute("SELECT pg_terminate_backend(%s)", (kills[-1],))
    connection.close()
