"""The conformance classes of the eventsourcing library for factories, applications and projections, on this store."""

from __future__ import annotations

from typing import ClassVar

import pytest
from eventsourcing.persistence import Tracking, TrackingRecorder
from eventsourcing.projection import BaseProjectionRunner
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import persistence as persistence_cases
from eventsourcing.tests import projection as projection_cases
from eventsourcing.utils import Environment, get_topic

from ledger.store.database import Database, PgCursor
from ledger.store.factory import JournalFactory
from ledger.store.recorders import (
    JournalAggregateRecorder,
    JournalApplicationRecorder,
    JournalProcessRecorder,
    JournalTrackingRecorder,
)
from tests.conftest import execute_on
from tests.waiting import PATIENCE_SECONDS


class InEnvironment:
    """Points the library at this store on a fresh database, by environment variables."""

    environment: ClassVar[dict[str, str]]

    @pytest.fixture(autouse=True)
    def use_environment(self, database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        type(self).environment = {"PERSISTENCE_MODULE": "ledger.store", "LOYALTY_DATABASE_URL": database_dsn}
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)


class Patient:
    """What must come to pass is given more than the library's one and five seconds: a busy machine is no fault."""

    @pytest.fixture(autouse=True)
    def be_patient(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        run_forever = BaseProjectionRunner.run_forever
        monkeypatch.setattr(BaseProjectionRunner, "run_forever", lambda self, **_: run_forever(self, PATIENCE_SECONDS))
        if request.node.name != "test_run_forever_raises_projection_error":  # it waits for what never comes
            monkeypatch.setattr(TrackingRecorder.wait, "__defaults__", (PATIENCE_SECONDS, None))
            monkeypatch.setattr(BaseProjectionRunner.wait, "__defaults__", (PATIENCE_SECONDS,))


class TrackingRecorderOfTest(JournalTrackingRecorder):
    """A subclass for the factory to construct."""


class TestFactory(InEnvironment, persistence_cases.InfrastructureFactoryTestCase[JournalFactory]):
    def setUp(self) -> None:
        self.env = Environment("TestCase", self.environment)
        super().setUp()

    def expected_factory_class(self) -> type[JournalFactory]:
        return JournalFactory

    def expected_aggregate_recorder_class(self) -> type[JournalAggregateRecorder]:
        return JournalAggregateRecorder

    def expected_application_recorder_class(self) -> type[JournalApplicationRecorder]:
        return JournalApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[JournalTrackingRecorder]:
        return JournalTrackingRecorder

    def tracking_recorder_subclass(self) -> type[JournalTrackingRecorder]:
        return TrackingRecorderOfTest

    def expected_process_recorder_class(self) -> type[JournalProcessRecorder]:
        return JournalProcessRecorder

    def test_missing_database_is_named(self) -> None:
        """Without LOYALTY_DATABASE_URL the factory names the variable."""
        with pytest.raises(OSError, match="LOYALTY_DATABASE_URL"):
            JournalFactory(Environment("X", {}))

    def test_bad_originator_id_type_is_named(self) -> None:
        """An unknown type of originator ids is refused by name."""
        with pytest.raises(OSError, match="ORIGINATOR_ID_TYPE"):
            JournalFactory(Environment("X", {**self.environment, "ORIGINATOR_ID_TYPE": "integer"}))

    def test_bad_journal_is_named(self) -> None:
        """A journal that is not a number is refused by name."""
        with pytest.raises(OSError, match="LOYALTY_JOURNAL"):
            JournalFactory(Environment("X", {**self.environment, "LOYALTY_JOURNAL": "first"}))


class TestExampleApplication(InEnvironment, application_cases.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(JournalFactory)


class TestApplication(InEnvironment, application_cases.ApplicationTestCase):
    pass


class CountersInPostgres(JournalTrackingRecorder, projection_cases.EventCountersView):
    """Two counters in one table, changed in the transaction that records the tracking."""

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        with self.database.connection() as cursor:
            cursor.execute("SELECT coalesce(sum(value), 0) FROM counters WHERE name = %s", (name,))
            return int(_single_value(cursor))

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.database.transaction() as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("INSERT INTO counters VALUES (%s, 1)", (name,))


def _single_value(cursor: PgCursor) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


class WithCountersTable(InEnvironment):
    @pytest.fixture(autouse=True)
    def create_counters(self, use_environment: None, database_dsn: str) -> None:
        execute_on(database_dsn, "CREATE TABLE counters (name text, value integer)")
        execute_on(database_dsn, "GRANT SELECT, INSERT ON counters TO loyalty_writer")


class TestEventCountersView(WithCountersTable, projection_cases.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> CountersInPostgres:
        database = Database(self.environment["LOYALTY_DATABASE_URL"])
        self.addCleanup(database.close)
        return CountersInPostgres(database, tracking_name="counters")


class TestEventCountersProjection(
    WithCountersTable, Patient, projection_cases.AggregateEventCountersProjectionTestCase
):
    view_class = CountersInPostgres

    def setUp(self) -> None:
        type(self).env = self.environment


class TestEventSourcedProjection(InEnvironment, Patient, projection_cases.EventSourcedProjectionTestCase):
    pass
