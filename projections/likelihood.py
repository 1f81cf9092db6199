"""Maximum likelihood for models whose parameters are all positive: the search, its errors, and whether it ended well.

The search runs in the logs of the parameters, on the mean log-likelihood of an observation, with its exact gradient.
Standard errors are those of the observed information: the Hessian of the log-likelihood at its maximum, by central
differences of the exact gradient, inverted; from log-parameters to parameters by the delta method, se(θ) = θ·se(ln θ).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Likelihood = Callable[[Floats], tuple[float, Floats]]
"""From the parameters to the log-likelihood and its gradient by the parameters."""

METHOD: Final = "maximum likelihood (L-BFGS-B in log-parameters), standard errors from the observed information"
SPAN: Final = 1e6
"""The search ends where a parameter is this many times above or below where it began."""
ITERATIONS_MAX: Final = 1000
HESSIAN_STEP: Final = 1e-4
DECREMENT_MAX: Final = 1e-4
"""How much log-likelihood may be left to gain, by Newton's quadratic approximation, at what is called the maximum."""
LOG_STANDARD_ERROR_MAX: Final = 2.0
"""Beyond it a parameter could be fifty times larger or smaller at 95 %: the data does not determine it."""


class Estimate(Struct, frozen=True, kw_only=True):
    """Parameters by maximum likelihood.

    Where `converged` is false, `parameters` are only where the search ended, there are no standard errors, and
    `message` says what is wrong.
    """

    parameters: dict[str, float]
    standard_errors: dict[str, float] | None
    log_likelihood: float
    observations: int
    converged: bool
    message: str
    method: str = METHOD


def maximise(likelihood: Likelihood, start: Mapping[str, float], observations: int) -> Estimate:
    """The parameters at which a log-likelihood of `observations` observations is largest.

    `start` names the parameters in the order of the likelihood's argument, each above 0. Nothing is raised where there
    is no maximum: the estimate says so.
    """
    names = list(start)
    origin = np.log(np.fromiter(start.values(), dtype=float))

    def objective(logs: Floats) -> tuple[float, Floats]:
        parameters = np.exp(logs)
        value, gradient = likelihood(parameters)
        return -value / observations, -gradient * parameters / observations

    reach = np.log(SPAN)
    with np.errstate(over="ignore"):
        found = minimize(
            objective,
            origin,
            jac=True,
            method="L-BFGS-B",
            bounds=[(centre - reach, centre + reach) for centre in origin],
            options={"maxiter": ITERATIONS_MAX, "maxfun": 4 * ITERATIONS_MAX, "ftol": 1e-15, "gtol": 1e-9},
        )
        logs = np.asarray(found.x, dtype=float)
        hessian = observations * _hessian(objective, logs)
        gradient = observations * objective(logs)[1]
    trouble, errors = _judge(names, logs, origin, hessian, gradient)
    parameters = np.exp(logs)
    return Estimate(
        parameters=dict(zip(names, parameters.tolist(), strict=True)),
        standard_errors=None if trouble else dict(zip(names, (parameters * errors).tolist(), strict=True)),
        log_likelihood=float(-observations * found.fun),
        observations=observations,
        converged=not trouble,
        message=trouble or f"converged after {found.nit} iterations",
    )


def _hessian(objective: Likelihood, logs: Floats) -> Floats:
    """Second derivatives, by central differences of the gradient, made symmetric."""
    rows = []
    for index in range(len(logs)):
        step = np.zeros_like(logs)
        step[index] = HESSIAN_STEP
        rows.append((objective(logs + step)[1] - objective(logs - step)[1]) / (2 * HESSIAN_STEP))
    found = np.array(rows)
    return (found + found.T) / 2


def _judge(names: list[str], logs: Floats, origin: Floats, hessian: Floats, gradient: Floats) -> tuple[str, Floats]:
    """What keeps the point from being a maximum ("" for nothing), and the standard errors of the logs."""
    none = np.full(len(names), np.nan)
    if not (np.isfinite(hessian).all() and np.isfinite(gradient).all()):
        return "not converged: the log-likelihood is not finite where the search ended", none
    at_edge = np.abs(logs - origin) > np.log(SPAN) - 1e-3
    if at_edge.any():
        named = ", ".join(name for name, far in zip(names, at_edge, strict=True) if far)
        return f"not converged: the likelihood still rises at the boundary of {named}", none
    try:
        np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        return "not converged: the likelihood is flat or not at a maximum (its curvature is not positive)", none
    covariance = np.linalg.inv(hessian)
    errors = np.sqrt(np.diag(covariance))
    undetermined = ~(errors < LOG_STANDARD_ERROR_MAX)
    if undetermined.any():
        named = ", ".join(name for name, flat in zip(names, undetermined, strict=True) if flat)
        return f"not converged: the likelihood is flat, the data does not determine {named}", none
    if float(gradient @ covariance @ gradient) / 2 > DECREMENT_MAX:
        return "not converged: the search ended before the maximum", none
    return "", errors
