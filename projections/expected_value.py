"""What members are expected to be worth over the next 12 months, by the models fitted to their programme.

Purchases are purchase days, expected by BG/NBD; revenue is that times the expected average of a purchase day, by
Gamma-Gamma; profit is revenue times a margin: the member's own where all its costs are known, else the programme's.
Nothing is discounted.
"""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from projections.bg_nbd import expected_purchases, probability_alive
from projections.gamma_gamma import expected_average
from projections.likelihood import Floats
from projections.trade_histories import TradeHistories, TradeHistory
from projections.value_fits import DAYS_PER_WEEK, CannotFit, Fit

HORIZON_DAYS: Final = 365

Basis = Literal["own purchases", "population", "none"]


class ExpectedValue(Struct, frozen=True, kw_only=True):
    """What a member is expected to be worth from `on` for `horizon_days`. Money is in minor units.

    `basis` says what it rests on; `notes` say in words what the figures assume and why one is None.
    """

    on: date
    horizon_days: int
    basis: Basis
    probability_alive: float | None
    expected_purchases: float | None
    expected_average_minor: int | None
    expected_revenue_minor: int | None
    margin: float | None
    margin_of: Literal["member", "programme"] | None
    expected_profit_minor: int | None
    fit_version: int
    fitted_as_of: date
    notes: list[str]


class ExpectedValues(Struct, frozen=True, kw_only=True):
    """The same of many members: arrays of one length; NaN where a figure cannot be told."""

    probability_alive: Floats
    expected_purchases: Floats
    expected_average_minor: Floats
    expected_revenue_minor: Floats
    margin: Floats
    margin_is_own: NDArray[np.bool_]
    expected_profit_minor: Floats


def expected_values(fit: Fit, customers: TradeHistories) -> ExpectedValues:
    """The expectations of customers of the fitted programme. Those who left expect nothing: 0 purchases, 0 revenue.

    Raises CannotFit where the fit did not converge.
    """
    if not fit.converged:
        raise CannotFit(
            f"fit {fit.version} of {fit.programme} did not converge, so it tells nothing of members"
            f" (purchases: {fit.purchases_message}; value: {fit.value_message})"
        )
    x, t_x, t = customers.repeats, customers.recency_days / DAYS_PER_WEEK, customers.age_days / DAYS_PER_WEEK
    alive = probability_alive(fit.purchases_model, x, t_x, t)
    purchases = expected_purchases(fit.purchases_model, x, t_x, t, HORIZON_DAYS / DAYS_PER_WEEK)
    alive[customers.left] = 0.0
    purchases[customers.left] = 0.0
    average = expected_average(fit.value_model, x, customers.repeat_value_minor / np.maximum(x, 1))
    revenue = purchases * average
    own = (customers.uncosted_lines == 0) & (customers.revenue_minor > 0)
    margin = np.full(len(x), np.nan if fit.margin is None else fit.margin)
    margin[own] = 1 - customers.cost_minor[own] / customers.revenue_minor[own]
    return ExpectedValues(
        probability_alive=alive,
        expected_purchases=purchases,
        expected_average_minor=average,
        expected_revenue_minor=revenue,
        margin=margin,
        margin_is_own=own,
        expected_profit_minor=revenue * margin,
    )


def expected_value(fit: Fit, customer: TradeHistory | None, on: date) -> ExpectedValue:
    """The expectations of one member, known to the end of business day `on`; None: it has no purchase.

    Raises CannotFit where the fit did not converge.
    """
    if customer is None:
        return _nothing(fit, on, "no purchase yet: a prospect has no estimate, the models know only customers")
    if customer.left:
        return _nothing(fit, on, "the membership has ended: nothing more is expected of it")
    found = expected_values(fit, _array_of_one(customer))
    average, revenue, margin = (
        _finite(values) for values in (found.expected_average_minor, found.expected_revenue_minor, found.margin)
    )
    own = bool(found.margin_is_own[0])
    return ExpectedValue(
        on=on,
        horizon_days=HORIZON_DAYS,
        basis="own purchases" if customer.repeats else "population",
        probability_alive=float(found.probability_alive[0]),
        expected_purchases=float(found.expected_purchases[0]),
        expected_average_minor=_rounded(average),
        expected_revenue_minor=_rounded(revenue),
        margin=margin,
        margin_of=None if margin is None else "member" if own else "programme",
        expected_profit_minor=_rounded(_finite(found.expected_profit_minor)),
        fit_version=fit.version,
        fitted_as_of=fit.as_of,
        notes=_notes(fit, customer, average, margin, own),
    )


def _notes(fit: Fit, customer: TradeHistory, average: float | None, margin: float | None, own: bool) -> list[str]:
    notes = []
    if not customer.repeats:
        notes.append(
            "purchases on one day only: the probability of being alive is 1 by assumption, as BG/NBD lets nobody leave"
            " before a repeat purchase; purchases and their value are expected from the population"
        )
    elif customer.repeat_value_minor <= 0:
        notes.append("returns outweigh the repeat purchases: their average counts as 0")
    if average is None:
        notes.append(f"the population has no finite mean value (q = {fit.q:.3g} is not above 1): revenue is unknown")
    if margin is None:
        notes.append("profit is unknown: not all costs of this member are known, and the programme has no known margin")
    elif not own:
        notes.append(
            f"costs of this member are not all known: the margin is that of the {fit.margin_members} members of the"
            " programme whose costs are"
        )
    return notes


def _nothing(fit: Fit, on: date, why: str) -> ExpectedValue:
    return ExpectedValue(
        on=on,
        horizon_days=HORIZON_DAYS,
        basis="none",
        probability_alive=None,
        expected_purchases=None,
        expected_average_minor=None,
        expected_revenue_minor=None,
        margin=None,
        margin_of=None,
        expected_profit_minor=None,
        fit_version=fit.version,
        fitted_as_of=fit.as_of,
        notes=[why],
    )


def _array_of_one(customer: TradeHistory) -> TradeHistories:
    return TradeHistories(**{name: np.array([getattr(customer, name)]) for name in TradeHistory.__struct_fields__})


def _finite(values: Floats) -> float | None:
    value = float(values[0])
    return value if np.isfinite(value) else None


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
