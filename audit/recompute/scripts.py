"""The SQL files, statement by statement, and the tables that they leave."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

LAYERS: Final = "1_layers.sql"
BALANCES: Final = "2_balances.sql"

FIGURES: Final = (
    LAYERS,
    BALANCES,
    "3_lots.sql",
    "4_trial_balance.sql",
    "5_lifetime.sql",
    "6_satisfaction.sql",
    "events_behind.sql",
)
"""Files that compute figures, each from the tables of those before it."""
CHECKS: Final = ("7_accruals.sql", "8_returns.sql", "9_allocations.sql")
"""Files that execute decisions again; they need the tables of all figures, of whole programmes."""

RESULTS: Final = (
    "recomputed_balances",
    "recomputed_points",
    "recomputed_lots",
    "recomputed_trial_balance",
    "recomputed_lifetime",
    "recomputed_satisfaction_days",
    "recomputed_satisfaction_months",
    "recomputed_service_days",
    "found_in_postings",
)
"""Tables that the files of figures leave to readers."""
FINDINGS: Final = (
    "found_in_postings",
    "found_in_accruals",
    "found_in_returns",
    "found_in_allocations",
    "found_in_arrears",
    "found_in_pairs",
)
"""Tables of what is recorded and should not be: finding, journal, position, member, what, expected, recorded."""


def statements(name: str) -> list[str]:
    """The statements of a file, in their order; a statement ends with a semicolon at the end of a line."""
    text = (files(__package__) / "sql" / name).read_text(encoding="utf-8")
    bare = re.sub(r"^\s*--.*$", "", text, flags=re.MULTILINE)
    return [statement.strip() for statement in re.split(r";[ \t]*(?:\n|\Z)", bare) if statement.strip()]
