"""The SQL files, statement by statement, and the tables they make."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

LAYERS: Final = "1_layers.sql"
BALANCES: Final = "2_balances.sql"
LOTS: Final = "3_lots.sql"
TRIAL_BALANCE: Final = "4_trial_balance.sql"
LIFETIME: Final = "5_lifetime.sql"
SATISFACTION: Final = "6_satisfaction.sql"
ACCRUALS: Final = "7_accruals.sql"
RETURNS: Final = "8_returns.sql"
ALLOCATIONS: Final = "9_allocations.sql"

FIGURES: Final = (LAYERS, BALANCES, LOTS, TRIAL_BALANCE, LIFETIME, SATISFACTION)
"""Files that compute figures: of everything that is recorded, or of what had occurred by an instant."""
CHECKS: Final = (ACCRUALS, RETURNS, ALLOCATIONS)
"""Files that execute decisions again; they need everything that is recorded, and the figures."""

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
FINDINGS: Final = ("found_in_postings", "found_in_accruals", "found_in_returns", "found_in_allocations", "found_in_arrears")
"""Tables of what is recorded and should not be, all of the same columns."""


def statements(name: str) -> list[str]:
    """The statements of a file, in their order; a statement ends with a semicolon at the end of a line."""
    text = (files(__package__) / "sql" / name).read_text(encoding="utf-8")
    bare = re.sub(r"^\s*--.*$", "", text, flags=re.MULTILINE)
    return [statement.strip() for statement in re.split(r";[ \t]*(?:\n|\Z)", bare) if statement.strip()]
