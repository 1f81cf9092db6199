"""The event store: journals in PostgreSQL, and a persistence module of the eventsourcing library.

Set PERSISTENCE_MODULE=ledger.store to run an application of that library on it. The library looks for factory classes
in this module and accepts exactly one, so no other may be imported here.
"""

from ledger.store.factory import JournalFactory

__all__ = ["JournalFactory"]
