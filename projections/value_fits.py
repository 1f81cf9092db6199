"""Fits of the models of expected lifetime value to a programme, each kept as a version that is never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.bg_nbd import BgNbd, fit_bg_nbd, grouped
from projections.gamma_gamma import GammaGamma, fit_gamma_gamma, spenders
from projections.likelihood import Estimate
from projections.trade_histories import TradeHistories, read_trade_histories

DAYS_PER_WEEK: Final = 7
DAYS_PER_MONTH: Final = 365.25 / 12
REPEATERS_MIN: Final = 50
FAR: Final = datetime.max.replace(tzinfo=UTC)


class CannotFit(ValueError):
    """The programme's data does not carry the models; the message says what is missing."""


class Fit(Struct, frozen=True, kw_only=True):
    """A fit as it is kept in `lifetime_value_fits`, where each field is described.

    Times of the model are in weeks, money in minor units. Parameters of a model that did not converge are only where
    the search ended, have no standard errors, and are not used for expectations.
    """

    programme: str
    version: int
    fitted_at: datetime
    as_of: date
    months: float
    members: int
    repeaters: int
    spenders: int
    time_unit: str
    method: str
    purchases_converged: bool
    purchases_message: str
    purchases_log_likelihood: float
    r: float
    alpha: float
    a: float
    b: float
    r_se: float | None
    alpha_se: float | None
    a_se: float | None
    b_se: float | None
    value_converged: bool
    value_message: str
    value_log_likelihood: float
    p: float
    q: float
    v: float
    p_se: float | None
    q_se: float | None
    v_se: float | None
    margin: float | None
    margin_members: int

    @property
    def converged(self) -> bool:
        """Whether both models did."""
        return self.purchases_converged and self.value_converged

    @property
    def purchases_model(self) -> BgNbd:
        """The model of when customers buy, in weeks."""
        return BgNbd(r=self.r, alpha=self.alpha, a=self.a, b=self.b)

    @property
    def value_model(self) -> GammaGamma:
        """The model of what they spend a purchase day, in minor units."""
        return GammaGamma(p=self.p, q=self.q, v=self.v)


def fit_programme(cur: PgCursor, programme: str, at: datetime) -> Fit:
    """Fit both models to what customers did up to the business day of `at`, and keep the fit as the next version.

    Reading, fitting and keeping are statements of their own: use a cursor in autocommit mode, so that no transaction
    waits for the fit. Raises CannotFit where the data does not carry the models; a search that does not converge is
    kept, and says so. Two fits at the same time: the later one fails with IntegrityError, and can be tried again.
    """
    journals, on = journals_and_day(cur, programme, at)
    return _keep(cur, programme, on, fit_histories(read_trade_histories(cur, journals, on)))


def latest_fit(
    cur: PgCursor,
    programme: str,
    *,
    converged: bool = False,
    observed_by: date = date.max,
    fitted_by: datetime = FAR,
) -> Fit | None:
    """The newest fit of a programme, or the newest of which both models converged; None where there is none.

    Of those to customers as observed on a business day or before, and made by an instant.
    """
    cur.execute(
        f"SELECT {', '.join(Fit.__struct_fields__)} FROM lifetime_value_fits"
        " WHERE programme = %s AND as_of <= %s AND fitted_at <= %s"
        f"{' AND purchases_converged AND value_converged' if converged else ''} ORDER BY version DESC LIMIT 1",
        (programme, observed_by, fitted_by),
    )
    row = cur.fetchone()
    return None if row is None else _fit(row)


def journals_and_day(cur: PgCursor, programme: str, at: datetime) -> tuple[list[int], date]:
    """The journals of a programme and the business day of an instant. Raises CannotFit for a programme unknown."""
    cur.execute(
        "SELECT journal, time_zone FROM programmes JOIN journals ON kind = 'programme' AND journals.name = programme"
        " WHERE programme = %s ORDER BY ordinal",
        (programme,),
    )
    rows = cur.fetchall()
    if not rows:
        raise CannotFit(f"there is no programme {programme!r}")
    return [row[0] for row in rows], at.astimezone(ZoneInfo(rows[0][1])).date()


class Fitted(Struct, frozen=True, kw_only=True):
    """Both models fitted to customers, and the margin that is known of them."""

    purchases: Estimate
    value: Estimate
    months: float
    members: int
    repeaters: int
    margin: float | None
    margin_members: int


def fit_histories(customers: TradeHistories) -> Fitted:
    """Fit both models to customers. Raises CannotFit where there are too few, or values do not vary."""
    members = len(customers.repeats)
    again = customers.repeats > 0
    repeaters = int(again.sum())
    if not members:
        raise CannotFit("no member has a purchase yet")
    if repeaters < REPEATERS_MIN:
        raise CannotFit(
            f"{repeaters} of {members} members purchased on two days or more; a fit needs at least {REPEATERS_MIN}"
        )
    spend = again & (customers.repeat_value_minor > 0)
    if spend.sum() < REPEATERS_MIN:
        raise CannotFit(
            f"{int(spend.sum())} members have repeat purchases of a value above 0 net of returns; a fit needs at least"
            f" {REPEATERS_MIN}"
        )
    repeats = customers.repeats[spend]
    try:
        purchases = fit_bg_nbd(
            grouped(customers.repeats, customers.recency_days / DAYS_PER_WEEK, customers.age_days / DAYS_PER_WEEK)
        )
        value = fit_gamma_gamma(spenders(repeats, customers.repeat_value_minor[spend] / repeats))
    except ValueError as error:
        raise CannotFit(str(error)) from error
    margin, margin_members = _margin(customers)
    return Fitted(
        purchases=purchases,
        value=value,
        months=float(customers.age_days.max()) / DAYS_PER_MONTH,
        members=members,
        repeaters=repeaters,
        margin=margin,
        margin_members=margin_members,
    )


def _margin(customers: TradeHistories) -> tuple[float | None, int]:
    """Profit by net revenue of all whose costs are known, None where that is nothing; and how many they are."""
    known = customers.uncosted_lines == 0
    revenue, cost = int(customers.revenue_minor[known].sum()), int(customers.cost_minor[known].sum())
    return (revenue - cost) / revenue if revenue > 0 else None, int(known.sum())


def _keep(cur: PgCursor, programme: str, on: date, fitted: Fitted) -> Fit:
    values = {
        "programme": programme,
        "as_of": on,
        "months": fitted.months,
        "members": fitted.members,
        "repeaters": fitted.repeaters,
        "spenders": fitted.value.observations,
        "time_unit": "week",
        "method": fitted.purchases.method,
        "margin": fitted.margin,
        "margin_members": fitted.margin_members,
        **_columns("purchases", fitted.purchases),
        **_columns("value", fitted.value),
    }
    cur.execute(
        f"INSERT INTO lifetime_value_fits (version, {', '.join(values)})"
        f" SELECT coalesce(max(version), 0) + 1, {', '.join(f'%({name})s' for name in values)}"
        " FROM lifetime_value_fits WHERE programme = %(programme)s"
        f" RETURNING {', '.join(Fit.__struct_fields__)}",
        values,
    )
    return _fit(cur.fetchone() or ())


def _columns(model: str, estimate: Estimate) -> dict[str, object]:
    errors = estimate.standard_errors or dict.fromkeys(estimate.parameters)
    return {
        f"{model}_converged": estimate.converged,
        f"{model}_message": estimate.message,
        f"{model}_log_likelihood": estimate.log_likelihood,
        **estimate.parameters,
        **{f"{name}_se": error for name, error in errors.items()},
    }


def _fit(row: Sequence[object]) -> Fit:
    return Fit(**dict(zip(Fit.__struct_fields__, row, strict=True)))
