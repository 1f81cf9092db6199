"""Which read models are compared with which recomputed tables, by which columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Model(Struct, frozen=True, kw_only=True):
    """A read model. Its rows are those of the table `recomputed_<name>`, and each has one row of a key.

    `values` has the compared columns, each with the name by which the view `behind_<name>` finds its events.
    """

    name: str
    projection: str
    key: tuple[str, ...]
    values: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Key and values."""
        return (*self.key, *self.values)


_POSTED: Final = (
    "held",
    "arrears",
    "earned",
    "spent",
    "expired",
    "forfeited",
    "clawed_back",
    "adjusted",
    "transferred",
    "merged",
    "written_off",
)
_TRADED: Final = (
    "purchases",
    "units",
    "revenue_minor",
    "returns",
    "returned_units",
    "returned_minor",
    "goods_cost_minor",
    "attributed_cost_minor",
    "uncosted_lines",
)
_OF_PURCHASES: Final = (
    "first_purchase_at",
    "last_purchase_at",
    "first_day",
    "second_day",
    "last_day",
    "months_active",
    "channels",
    "stores",
)
_ANSWERED: Final = (
    "answers",
    "scored",
    "promoters",
    "detractors",
    "satisfied",
    "weighted",
    "score_millionths",
    "square_trillionths",
)

MODELS: Final = (
    Model(
        name="balances",
        projection="balances",
        key=("journal", "member"),
        values={
            "status": "status",
            "version": "newest",
            "position": "newest",
            "open": "open",
            **{name: name for name in _POSTED},
        },
    ),
    Model(
        name="lots",
        projection="balances",
        key=("journal", "member", "lot", "available_at", "expires_at"),
        values={"opened_at": "layer", "points": "layer"},
    ),
    Model(
        name="lifetime",
        projection="lifetime",
        key=("journal", "member"),
        values={
            **dict.fromkeys(("status", "enrolled_at", "cohort", "survivor"), "status"),
            **dict.fromkeys(_OF_PURCHASES, "purchases"),
            **dict.fromkeys(("surveyed_at", "yearly_spend_minor", "survey_currency"), "wallet"),
            "points_earned": "earned",
            "points_redeemed": "spent",
            **{name: name for name in _TRADED},
        },
    ),
    Model(
        name="satisfaction_days",
        projection="satisfaction",
        key=("journal", "per", "value", "day", "instrument", "lowest", "highest"),
        values=dict.fromkeys(_ANSWERED, "answers"),
    ),
    Model(
        name="service_days",
        projection="satisfaction",
        key=("journal", "per", "value", "day"),
        values={
            "purchases": "purchases",
            "complaints": "complaints",
            "resolved": "resolved",
            "resolution_microseconds": "resolved",
            "follow_ups": "follow_ups",
            "follow_ups_in_time": "follow_ups_in_time",
            "follow_ups_late": "follow_ups_late",
        },
    ),
)

PROJECTIONS: Final = tuple(sorted({model.projection for model in MODELS}))
"""What fills the compared read models."""
