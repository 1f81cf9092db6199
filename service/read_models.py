"""The read models of the ledger, and bringing them up to date."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ledger.store.database import Database, PgCursor
from projections.balances import Balances
from projections.liability import Liability
from projections.lifetime import Lifetime
from projections.member_data import MemberData
from projections.protocol import Projection
from projections.runner import Runner
from projections.satisfaction import Satisfaction
from projections.statement import Statement
from projections.steering import Steering


def points() -> list[Projection]:
    """What a till waits for, a new instance of each."""
    return [Balances(), Statement()]


def figures() -> list[Projection]:
    """What is computed from the same events for people and reports, a new instance of each."""
    return [Lifetime(), Satisfaction(), MemberData(), Steering(), Liability()]


def read_models() -> list[Projection]:
    """All of them, a new instance of each."""
    return [*points(), *figures()]


def catch_up(database: Database) -> int:
    """Fold in what the read models have not seen yet; the events folded."""
    return Runner(database, read_models()).run_once()


class ProjectionLag(Struct, frozen=True):
    """How many events a projection has not folded in, in all journals."""

    projection: str
    lag: int


def projection_lags(cur: PgCursor, journals: Sequence[int] | None = None) -> list[ProjectionLag]:
    """The lag of every read model, in all journals or in some."""
    models = read_models()
    cur.execute(
        "SELECT wanted.name, (SELECT coalesce(sum(j.position - coalesce(p.position, 0)), 0)::bigint FROM journals j"
        " LEFT JOIN projections p"
        " ON p.journal = j.journal AND p.projection = wanted.name AND p.version = wanted.version"
        " WHERE j.kind = 'programme' AND (%s OR j.journal = ANY (%s)))"
        " FROM unnest(%s::text[], %s::int[]) wanted (name, version) ORDER BY wanted.name",
        (journals is None, list(journals or ()), [each.name for each in models], [each.version for each in models]),
    )
    return [ProjectionLag(*row) for row in cur.fetchall()]
