"""`loyalty value-model`: fits of the models of expected lifetime value.

The models are imported by the commands that use them: the other commands start without SciPy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec

from service.console import count, instant, note, say, show_json, show_table
from service.instants import INSTANT
from service.reading import freshen, note_if_behind
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import opened

if TYPE_CHECKING:
    from projections.value_fits import Fit

PROGRAMME = click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
PARAMETERS: Final = {
    "r": "shape of purchase rates",
    "alpha": "scale of purchase rates, weeks",
    "a": "leaving after a purchase",
    "b": "staying after a purchase",
    "p": "shape of a member's values",
    "q": "shape of value rates",
    "v": "scale of value rates, minor units",
}


@click.group("value-model")
def value_model_group() -> None:
    """Fit and show the models of expected lifetime value (BG/NBD and Gamma-Gamma)."""


@value_model_group.command("fit")
@PROGRAMME
@click.option("--as-of", type=INSTANT, default=None, help="What members did up to the business day of then.")
@AS_JSON
@click.pass_obj
def fit(settings: Settings, programme: str, as_of: datetime | None, as_json: bool) -> None:
    """Fit the models to what members did so far, and keep the fit as the programme's next version."""
    from projections.value_fits import CannotFit, fit_programme

    at = as_of or datetime.now(UTC)
    if at > datetime.now(UTC):
        raise click.UsageError(f"--as-of: must not be in the future, is {instant(at)}")
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        freshen(settings, workspace.database)
        with workspace.database.connection() as cursor:
            note_if_behind(settings, cursor, info.journals, "lifetime")
            try:
                found = fit_programme(cursor, info.programme.programme, at)
            except CannotFit as error:
                raise click.ClickException(f"nothing fitted: {error}") from error
    _show(found, as_json)


@value_model_group.command("show")
@PROGRAMME
@AS_JSON
@click.pass_obj
def show(settings: Settings, programme: str, as_json: bool) -> None:
    """Show the newest fit: parameters with standard errors, and what they were fitted on."""
    from projections.value_fits import latest_fit

    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        with workspace.database.connection() as cursor:
            found = latest_fit(cursor, info.programme.programme)
    if found is None:
        raise click.ClickException("no fit is kept yet: loyalty value-model fit")
    _show(found, as_json)


def _show(found: Fit, as_json: bool) -> None:
    if as_json:
        show_json({**msgspec.structs.asdict(found), "converged": found.converged})
        return
    say(f"Fit {found.version} of {found.programme}, {instant(found.fitted_at)}: members to {found.as_of}")
    say(
        f"  {count(found.members, 'member')} with a purchase, {found.repeaters:,} with a repeat purchase,"
        f" {found.spenders:,} with a repeat value above 0, over {found.months:.1f} months"
    )
    say(f"  purchases (BG/NBD): {found.purchases_message}; log-likelihood {found.purchases_log_likelihood:.2f}")
    say(f"  value (Gamma-Gamma): {found.value_message}; log-likelihood {found.value_log_likelihood:.2f}")
    margin = "unknown, no costs are known" if found.margin is None else f"{100 * found.margin:.1f} %"
    say(f"  margin {margin} ({count(found.margin_members, 'member')} with all costs known)")
    show_table(
        ("parameter", "#estimate", "#standard error", "meaning"),
        [
            (name, _figure(getattr(found, name)), _figure(getattr(found, f"{name}_se")), meaning)
            for name, meaning in PARAMETERS.items()
        ],
    )
    if not found.converged:
        note(
            "Not converged: the estimates are only where the search ended, and nothing is expected of members by them."
        )


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.5g}"


COMMANDS: Final = (value_model_group,)
