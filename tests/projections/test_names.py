"""Names that the core and the projections each have for themselves, because neither may import the other's."""

from __future__ import annotations

from ledger.objectives import FIGURES
from ledger.steering import CHART_FIGURES, RESERVED_BANDS
from projections.ledger_figures import LEDGER_FIGURES
from projections.pyramid import ABSENT, INACTIVE, PROSPECT, UNKNOWN
from projections.satisfaction_figures import FIGURES as TIMELINE_FIGURES


def test_every_figure_that_an_objective_may_be_bound_to_is_read_and_no_other() -> None:
    assert set(FIGURES) == LEDGER_FIGURES


def test_every_figure_that_a_chart_may_be_of_is_read_and_no_other() -> None:
    """For each kind of chart: a share has samples, a count is one."""
    readable = {
        name: ("individuals", *(["p"] if made.sample else []), *(["c"] if made.count else []))
        for name, made in TIMELINE_FIGURES.items()
    }
    assert readable == CHART_FIGURES


def test_no_band_can_have_a_name_that_the_pyramid_gives() -> None:
    assert {INACTIVE, PROSPECT, UNKNOWN, ABSENT} <= set(RESERVED_BANDS)
