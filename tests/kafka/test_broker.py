"""The broker that the tests start: transactions, an unclean stop, a pause, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError

from tests.broker import Kafka, KafkaBroker, KafkaUnavailable
from tests.broker.ports import LOOPBACK, PORTS_TRIED_MAX, ReservedPort, first_free_port
from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).parent.parent.parent
_names = count(1)


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    """A topic of one partition, for one test."""
    name = f"broker-test-{os.getpid()}-{next(_names)}"
    kafka.create_topic(name)
    yield name
    kafka.delete_topic(name)


@contextmanager
def producer(kafka: Kafka, **settings: object) -> Iterator[KafkaProducer]:
    """A producer that looks for a broker that was away every half second: kafka-python's own wait grows to 30 s."""
    settings = {"acks": "all", "reconnect_backoff_max_ms": 500, **settings}
    opened = KafkaProducer(bootstrap_servers=kafka.bootstrap, **settings)
    try:
        yield opened
    finally:
        opened.close(timeout=PATIENCE_SECONDS)


def read(kafka: Kafka, topic: str, isolation_level: str = "read_committed") -> list[bytes]:
    """All values of the topic's one partition, in order, up to the end offset of now."""
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap, isolation_level=isolation_level, enable_auto_commit=False
    )
    try:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        values: list[bytes] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while consumer.position(partition) < end:
            assert time.monotonic() < deadline, f"at {consumer.position(partition)} of {end} after {PATIENCE_SECONDS} s"
            values += [record.value for records in consumer.poll(500).values() for record in records]
        return values
    finally:
        consumer.close()


def test_read_committed_sees_committed_transactions_only(kafka: Kafka, topic: str) -> None:
    """An aborted transaction of an upstream producer never reaches a read_committed consumer."""
    with producer(kafka, transactional_id=topic, transaction_timeout_ms=10_000) as writer:
        writer.init_transactions()
        for value, end in [(b"one", "commit"), (b"never", "abort"), (b"two", "commit")]:
            writer.begin_transaction()
            writer.send(topic, value)
            writer.flush()
            writer.commit_transaction() if end == "commit" else writer.abort_transaction()
    assert read(kafka, topic) == [b"one", b"two"]
    assert read(kafka, topic, "read_uncommitted") == [b"one", b"never", b"two"]


def test_acknowledged_messages_survive_an_unclean_kill(own_kafka: KafkaBroker) -> None:
    """What the broker acknowledged before SIGKILL is there, in order, after it recovered its log on the same port."""
    topic = f"killed-{next(_names)}"
    own_kafka.create_topic(topic)
    bootstrap = own_kafka.bootstrap
    with producer(own_kafka) as writer:
        sent = [(value, writer.send(topic, value)) for value in (b"%d" % number for number in range(5000))]
        sent[2000][1].get(timeout=PATIENCE_SECONDS)
        own_kafka.kill()
        acknowledged = [value for value, future in sent if future.succeeded()]
        own_kafka.start()
    assert own_kafka.bootstrap == bootstrap
    assert len(acknowledged) > 2000
    assert read(own_kafka, topic)[: len(acknowledged)] == acknowledged
    own_kafka.delete_topic(topic)


def test_a_paused_broker_keeps_its_port_and_answers_after_it_is_resumed(own_kafka: KafkaBroker) -> None:
    """SIGSTOP looks like a network that swallows everything: no refusal, no answer, and then all of it."""
    topic = f"paused-{next(_names)}"
    own_kafka.create_topic(topic)
    with producer(own_kafka) as writer:
        writer.send(topic, b"before").get(timeout=PATIENCE_SECONDS)
        own_kafka.pause()
        waiting = writer.send(topic, b"during")
        time.sleep(1.0)
        assert own_kafka.running
        assert not waiting.is_done
        own_kafka.resume()
        waiting.get(timeout=PATIENCE_SECONDS)
    assert read(own_kafka, topic) == [b"before", b"during"]
    own_kafka.delete_topic(topic)


def test_a_deleted_topic_is_gone_and_its_name_can_be_used_again(kafka: Kafka, topic: str) -> None:
    """A recreated topic starts empty, at offset 0."""
    with producer(kafka) as writer:
        writer.send(topic, b"old").get(timeout=PATIENCE_SECONDS)
    kafka.delete_topic(topic)
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka.delete_topic(topic)
    kafka.create_topic(topic, max_message_bytes=2_000_000)
    assert read(kafka, topic) == []


def test_a_second_broker_runs_beside_and_dies_with_the_process_that_started_it(own_kafka: KafkaBroker) -> None:
    """A test run that is killed leaves neither a broker nor its files."""
    script = (
        "from tests.broker import KafkaBroker\n"
        "broker = KafkaBroker().start()\n"
        "print(broker.bootstrap, broker.process_id, broker.log.parent, flush=True)\n"
        "broker.wait()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        bootstrap, process_id, directory = child.stdout.readline().split()
        assert bootstrap != own_kafka.bootstrap
        with Kafka(bootstrap).admin() as admin:
            assert admin.list_topics() == []
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    wait_for(lambda: not is_alive(int(process_id)) and not Path(directory).exists())
    assert own_kafka.running


def test_a_broker_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message holds the end of the broker's log, and the directory is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broker = KafkaBroker(properties={"authorizer.class.name": "no.such.Authorizer"})
    with pytest.raises(KafkaUnavailable, match=r"the process ended(.|\n)*no\.such\.Authorizer"):
        broker.start()
    assert not broker.running
    assert list(tmp_path.iterdir()) == []


def test_another_port_is_taken_where_something_listens_on_the_first() -> None:
    """`make kafka` beside a Kafka on 9092 does not fail."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        number = taken.getsockname()[1]
        port = first_free_port(number)
        port.release()
    assert number < port.number <= number + PORTS_TRIED_MAX


def test_a_port_lost_between_the_look_and_the_start_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that binds first costs one more attempt, not the test run."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        lost = ReservedPort()
        lost.release()
        lost.number = taken.getsockname()[1]
        offered = iter([lost, ReservedPort()])
        monkeypatch.setattr("tests.broker.broker.first_free_port", lambda _first: next(offered))
        with KafkaBroker(first_port=lost.number) as broker, broker.admin() as admin:
            assert broker.bootstrap != f"{LOOPBACK}:{lost.number}"
            assert admin.list_topics() == []


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process_id}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
