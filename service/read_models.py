"""The read models of the ledger, and bringing them up to date."""

from __future__ import annotations

from ledger.store.database import Database
from projections.balances import Balances
from projections.liability import Liability
from projections.lifetime import Lifetime
from projections.member_data import MemberData
from projections.protocol import Projection
from projections.runner import Runner
from projections.satisfaction import Satisfaction
from projections.statement import Statement
from projections.steering import Steering


def read_models() -> list[Projection]:
    """A new instance of each."""
    return [Balances(), Statement(), Lifetime(), Satisfaction(), MemberData(), Steering(), Liability()]


def catch_up(database: Database) -> int:
    """Fold in what the read models have not seen yet; the events folded."""
    return Runner(database, read_models()).run_once()
