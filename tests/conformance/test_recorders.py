"""The conformance classes of the eventsourcing library for recorders, run on this store."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.tests import persistence as conformance

from ledger.store.database import Database
from ledger.store.recorders import (
    ApplicationJournal,
    JournalAggregateRecorder,
    JournalApplicationRecorder,
    JournalProcessRecorder,
    JournalTrackingRecorder,
)


class OnFreshDatabase:
    """Gives the recorders of a test case a database and an application of their own."""

    database: Database

    @pytest.fixture(autouse=True)
    def use_database(self, database: Database) -> None:
        self.database = database

    def journal(self) -> ApplicationJournal:
        return ApplicationJournal(self.database, f"application-{uuid4()}")


class TestAggregateRecorder(OnFreshDatabase, conformance.AggregateRecorderTestCase):
    def create_recorder(self) -> JournalAggregateRecorder:
        return JournalAggregateRecorder(self.database, self.journal())


class TestApplicationRecorder(OnFreshDatabase, conformance.ApplicationRecorderTestCase[Any]):
    def create_recorder(self) -> JournalApplicationRecorder:
        return JournalApplicationRecorder(self.database, self.journal())

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(TestApplicationRecorder):
    def new_originator_id(self) -> str:
        return f"stream-{uuid4()}"

    def create_recorder(self) -> JournalApplicationRecorder:
        return JournalApplicationRecorder(self.database, self.journal(), originator_id_type="text")


class TestTrackingRecorder(OnFreshDatabase, conformance.TrackingRecorderTestCase):
    def create_recorder(self) -> JournalTrackingRecorder:
        return JournalTrackingRecorder(self.database, tracking_name="tracking")


class TestProcessRecorder(OnFreshDatabase, conformance.ProcessRecorderTestCase):
    def create_recorder(self) -> JournalProcessRecorder:
        return JournalProcessRecorder(self.database, self.journal(), tracking_name="process")


class TestNonInterleavingNotificationIds(OnFreshDatabase, conformance.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> JournalApplicationRecorder:
        return JournalApplicationRecorder(self.database, self.journal())
