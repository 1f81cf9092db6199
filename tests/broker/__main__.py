"""make kafka: a real Apache Kafka to play with, on localhost:9092 or the next free port, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time

import click

from tests.broker.broker import KafkaBroker
from tests.broker.jars import kafka_version
from tests.broker.unavailable import KafkaUnavailable

USAGE = """\
Apache Kafka {version} answers on {address} (ready in {seconds:.1f} s). In another terminal:

  {python} -m kafka.admin -b {address} topics create -t purchases --num-partitions 4
  {python} -m kafka.producer -b {address} -t purchases
  {python} -m kafka.consumer -b {address} -t purchases -g me -C auto_offset_reset=earliest

Tests use it instead of one of their own with LOYALTY_TEST_KAFKA={address}
Its data is in {directory} and goes with it, its log is {log}
Ctrl-C stops it."""


@click.command(help=__doc__)
@click.option("--port", default=9092, show_default=True, help="The first port to try.")
@click.option("--topic", "topics", multiple=True, metavar="NAME[:PARTITIONS]", help="Create a topic; repeatable.")
def main(port: int, topics: tuple[str, ...]) -> None:
    """Start, say how to use it, and wait."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    broker = KafkaBroker(first_port=port)
    try:
        run(broker, topics)
    except KafkaUnavailable as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("\nstopping …")
    finally:
        broker.close()


def run(broker: KafkaBroker, topics: tuple[str, ...]) -> None:
    """Until the broker ends by itself, which is an error, or a KeyboardInterrupt."""
    click.echo(f"starting Apache Kafka {kafka_version()} (the first time, Maven downloads 45 MB) …")
    began = time.monotonic()
    broker.start()
    seconds = time.monotonic() - began
    for name, _, partitions in (topic.partition(":") for topic in topics):
        broker.create_topic(name, int(partitions or 1))
    address = broker.bootstrap.replace("127.0.0.1", "localhost")
    places = {"python": sys.executable, "directory": broker.log.parent, "log": broker.log}
    click.echo(USAGE.format(version=kafka_version(), address=address, seconds=seconds, **places))
    code = broker.wait()
    raise click.ClickException(f"Kafka ended by itself with exit code {code}. The end of its log:\n{broker.log_tail()}")


if __name__ == "__main__":
    main()
