"""Metrics for Prometheus. The parts of the ledger report plain numbers; here they get names.

Transactions are counted as they happen, a few additions each; everything else is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from consumers import kafka_in, relay
from ledger.measures import TransactionMeasure
from projections import runner
from service.health import Probe
from service.logs import Troubles

BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
SECONDS_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

Source = Callable[[], Iterable[Metric]]


class Metrics:
    """The metrics of one process, in a registry of its own. `observe_transaction` is for the ledger."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        commands = self._counter("commands", "Commands handled, by what became of them.", "status")
        self._posted, self._duplicate, self._taken = (commands.labels(s) for s in ("posted", "duplicate", "taken"))
        self._refused = commands.labels("rejected")
        self._rejected = self._counter("rejected", "Commands refused, by code.", "code")
        self._events = self._counter("events", "Events appended.")
        lookups = self._counter("member_lookups", "Members that transactions looked up, by where they were.", "found")
        self._cached, self._loaded = lookups.labels("memory"), lookups.labels("database")
        self._batch = self._histogram("transaction_commands", "Commands a transaction.", BATCH_BUCKETS)
        self._open, self._decide, self._commit = (
            self._histogram(f"transaction_{part}_seconds", f"Seconds a transaction took to {words}.", SECONDS_BUCKETS)
            for part, words in (
                ("open", "lock its journals and have the states"),
                ("decide", "decide and evolve"),
                ("commit", "append and commit"),
            )
        )

    def observe_transaction(self, measure: TransactionMeasure) -> None:
        """Count a transaction."""
        self._posted.inc(measure.posted)
        self._duplicate.inc(measure.duplicate)
        self._taken.inc(measure.taken)
        for code, number in measure.rejected.items():
            self._refused.inc(number)
            self._rejected.labels(code).inc(number)
        self._events.inc(measure.events)
        self._cached.inc(measure.cached)
        self._loaded.inc(measure.loaded)
        self._batch.observe(measure.commands)
        self._open.observe(measure.open_seconds)
        self._decide.observe(measure.decide_seconds)
        self._commit.observe(measure.commit_seconds)

    def watch(self, source: Source) -> None:
        """Ask a source whenever the metrics are asked for."""
        self.registry.register(_Collected(source))

    def watch_number(self, name: str, help: str, read: Callable[[], float]) -> None:
        """A gauge that is read whenever the metrics are asked for, such as the length of a queue."""
        Gauge(f"loyalty_{name}", help, registry=self.registry).set_function(read)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that an Accept header asks for, and its content type; for whatever serves HTTP."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"loyalty_{name}", help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"loyalty_{name}", help, buckets=buckets, registry=self.registry)


class _Collected(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering it asks nobody."""
        return []


# --- sources ------------------------------------------------------------------------------------------------------


def of_database(probe: Probe) -> Source:
    """Whether the database answers, and how far the read models are behind."""

    def collect() -> Iterator[Metric]:
        state = probe.state()
        yield _gauge("database_up", "1 if the database answers.", 0 if state.trouble else 1)
        lag = GaugeMetricFamily(
            "loyalty_projection_lag_events", "Events that a read model has not folded in.", labels=["projection"]
        )
        for each in state.projections:
            lag.add_metric([each.projection], each.lag)
        yield lag

    return collect


def of_log(troubles: Troubles) -> Source:
    """How many warnings and errors were logged."""

    def collect() -> Iterator[Metric]:
        family = CounterMetricFamily("loyalty_log_messages", "Warnings and worse in the log.", labels=["level"])
        for level in ("warning", "error", "critical"):
            family.add_metric([level], troubles.counts[level])
        yield family

    return collect


def of_consumer(progress: kafka_in.Progress) -> Source:
    """Messages taken from Kafka, and the lag of the partitions that this process has."""

    def collect() -> Iterator[Metric]:
        messages = CounterMetricFamily(
            "loyalty_consumer_messages", "Messages, by what became of them.", labels=["status"]
        )
        for status in ("read", "posted", "duplicate", "rejected", "taken", "dropped"):
            messages.add_metric([status], getattr(progress, status))
        yield messages
        labels = ["topic", "partition"]
        lag = GaugeMetricFamily("loyalty_consumer_lag_messages", "Messages of a partition not read yet.", labels=labels)
        for (topic, partition), number in progress.lags.items():
            lag.add_metric([topic, str(partition)], number)
        yield lag
        stopped = GaugeMetricFamily(
            "loyalty_consumer_partition_stopped", "1 where a partition waits for a gap to be accepted.", labels=labels
        )
        for topic, partition in progress.stopped:
            stopped.add_metric([topic, str(partition)], 1)
        yield stopped
        yield _gauge("consumer_partitions", "Partitions that this consumer was given.", progress.partitions)
        yield _gauge("consumer_waiting", "1 while the database or Kafka is waited for.", 1 if progress.state else 0)

    return collect


def of_projector(progress: Mapping[str, runner.Progress]) -> Source:
    """Events folded into read models by this process; a progress for each runner, by its name."""

    def collect() -> Iterator[Metric]:
        for name, help, value in (
            ("events", "Events folded into the read models.", lambda each: each.events),
            ("batches", "Batches that they were folded in.", lambda each: each.batches),
            ("batch_seconds", "Seconds that those batches took.", lambda each: each.batch_seconds),
            ("failures", "Times that the database failed.", lambda each: each.failures),
        ):
            counter = CounterMetricFamily(f"loyalty_projection_{name}", help, labels=["read_models"])
            for read_models, done in progress.items():
                counter.add_metric([read_models], value(done))
            yield counter

    return collect


def of_relay(progress: relay.Progress, lag: Callable[[], int | None]) -> Source:
    """What was published to Kafka; `lag` gives the events that were not, None where it cannot be told."""

    def collect() -> Iterator[Metric]:
        published = CounterMetricFamily("loyalty_relay_published", "Records acknowledged by Kafka.", labels=["kind"])
        published.add_metric(["event"], progress.events)
        published.add_metric(["balance"], progress.balances)
        published.add_metric(["dead letter"], progress.dead_letters)
        yield published
        yield _counter("relay_failures", "Times that Kafka or the database failed.", progress.failures)
        yield _gauge("relay_active", "1 where this relay publishes, 0 where it waits.", int(progress.state == "active"))
        behind = lag()
        if behind is not None:
            yield _gauge("relay_lag_events", "Events that are recorded and not published.", behind)

    return collect


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"loyalty_{name}", help, value=value)


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"loyalty_{name}", help, value=value)
