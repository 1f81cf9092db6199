"""Money about the member: cost to serve, and yearly spend in the category."""

from __future__ import annotations

from typing import Any

from ledger import commands as c
from ledger.events import CostAttributed, WalletShareSurveyed
from tests.decider.scenario import NOT_YET, command, given, happened, refusals, unless_open


def cost(currency: str = "CNY", **more: Any) -> Any:
    return command(c.AttributeCost, "cost", currency=currency, amount_minor=1250, kind="call", **more)


def wallet(currency: str = "CNY", **more: Any) -> Any:
    return command(c.RecordWalletShare, "wallet", currency=currency, yearly_spend_minor=900_000, **more)


def test_a_cost_to_serve_is_recorded() -> None:
    """It needs no terms."""
    given(terms=NOT_YET).when(cost()).then(happened(CostAttributed, currency="CNY", amount_minor=1250, kind="call"))


def test_the_yearly_spend_is_recorded() -> None:
    """It needs no terms."""
    given(terms=NOT_YET).when(wallet()).then(happened(WalletShareSurveyed, currency="CNY", yearly_spend_minor=900_000))


@refusals(*unless_open(cost("EUR")), ("CURRENCY_MISMATCH", [], cost("EUR")))
def test_refuses_costs(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """In money of another currency they would not add up."""
    given(*history, terms=under).when(refused).then(code)


@refusals(*unless_open(wallet("EUR")), ("CURRENCY_MISMATCH", [], wallet("EUR")))
def test_refuses_yearly_spend(code: str, history: list[Any], refused: Any, under: Any) -> None:
    """In money of another currency it cannot be compared."""
    given(*history, terms=under).when(refused).then(code)
