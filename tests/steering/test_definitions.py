"""Surveys, analysis, baselines, budgets and focus audits: what is recorded, and what is refused in which words."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ledger.events import AnalysisSet, Band, BaselineFrozen, BudgetSet, FocusAssessed, FocusItem, SurveyDefined
from tests.steering.scenario import TODAY, assess, budget, define_survey, freeze, given, happened, set_analysis, today

# --- surveys ------------------------------------------------------------------------------------------------------


def test_a_survey_is_defined_in_versions() -> None:
    scenario = given().when(define_survey(weights=[3, 0], name="After a delivery", touchpoint="delivery"))
    scenario.then(
        happened(SurveyDefined, survey="delivery", version=1, scale=(1, 10), questions=["overall", "expected"],
                 weights=[3, 0], name="After a delivery", touchpoint="delivery")
    )  # fmt: skip
    scenario.when(define_survey(survey="another")).then(happened(SurveyDefined, version=1))
    scenario.when(define_survey(scale=(1, 7))).then(happened(SurveyDefined, version=2, scale=(1, 7)))


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (define_survey(scale=(5, 5), questions=["q", "q"]), ["SCALE_INVALID", "[5, 5]"]),
        (define_survey(instrument="NPS", scale=(1, 10), questions=["q", "q"]), ["SCALE_INVALID", "[0, 10] for NPS"]),
        (define_survey(questions=["q", "r", "q"], weights=[1]), ["NAME_REPEATED", "stands 2 times (was q)"]),
        (define_survey(instrument="CSAT", weights=[1, 2]), ["WEIGHTS_INVALID", "only an ACSI survey is weighted"]),
        (define_survey(weights=[1]), ["WEIGHTS_INVALID", "one for each of the 2 questions"]),
        (define_survey(weights=[0, 0]), ["WEIGHTS_INVALID", "must not all be 0"]),
    ],
)
def test_refuses_surveys(refused: Any, words: list[str]) -> None:
    given().when(refused).then(*words)


# --- analysis -----------------------------------------------------------------------------------------------------


def test_an_analysis_is_set_in_versions() -> None:
    """Shares are exact decimals: thirds of a percent add up where their decimals do."""
    bands = [("top", "33.333333333"), ("middle", "33.333333333"), ("rest", "33.333333334")]
    scenario = given().when(set_analysis(*bands))
    scenario.then(
        happened(AnalysisSet, version=1, bands=[Band(name=name, share_percent=share) for name, share in bands])
    )
    scenario.when(set_analysis(("all", "100.0"), inactive_after_days=90)).then(
        happened(AnalysisSet, version=2, inactive_after_days=90)
    )


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ([("top", "50"), ("top", "49")], ["NAME_REPEATED"]),
        ([("inactive", "100")], ["BANDS_INVALID", "bands[0].name", "use another name"]),
        ([("top", "1"), ("prospects", "99")], ["BANDS_INVALID", "bands[1].name"]),
        ([("unknown profit", "100")], ["BANDS_INVALID", "bands[0].name"]),
        ([("top", "0"), ("rest", "100")], ["BANDS_INVALID", "bands[0].share_percent", "above 0"]),
        ([("top", "-1"), ("rest", "101")], ["BANDS_INVALID", "(was -1)"]),
        ([("top", "0.1"), ("rest", "99.899999999")], ["BANDS_INVALID", "exactly 100", "(was 99.999999999)"]),
    ],
)
def test_refuses_bands(bands: list[tuple[str, str]], words: list[str]) -> None:
    given().when(set_analysis(*bands)).then(*words)


# --- baselines ----------------------------------------------------------------------------------------------------


def test_a_baseline_is_frozen_in_versions() -> None:
    scenario = given().when(freeze("individuals", "-3.5", "1.25", store="S-1"))
    scenario.then(
        happened(BaselineFrozen, chart="late", version=1, centre="-3.5", sigma="1.25", store="S-1", points=30)
    )
    late = freeze("p", "0.2313", figure="late_rate")
    scenario.when(late).then(happened(BaselineFrozen, version=2, kind="p", figure="late_rate", sigma=None))
    counts = freeze("c", "4.1", figure="complaints", chart="other")
    scenario.when(counts).then(happened(BaselineFrozen, version=1, kind="c"))


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (freeze("p", "2", from_on=TODAY), ["RANGE_INVALID", "after from_on"]),
        (freeze("p", "0.5", until_on=today(1)), ["RANGE_INVALID", "limits are of what is past"]),
        (freeze("p", "0.5", channel="app", store="S-1"), ["INVALID_FIELD", "only one of channel, store"]),
        (freeze("individuals", "5", "0"), ["LIMITS_INVALID", "a series that never changes has no limits (was 0)"]),
        (freeze("individuals", "5", "-1"), ["LIMITS_INVALID", "sigma"]),
        (freeze("individuals", "5"), ["LIMITS_INVALID", "sigma", "must be given"]),
        (freeze("p", "0.5", "1"), ["LIMITS_INVALID", "sigma", "left out for a p chart"]),
        (freeze("p", "0"), ["LIMITS_INVALID", "centre", "never changes"]),
        (freeze("p", "1.000"), ["LIMITS_INVALID", "centre", "below 1"]),
        (freeze("c", "3", "1"), ["LIMITS_INVALID", "left out for a c chart"]),
        (freeze("c", "0.0"), ["LIMITS_INVALID", "always 0"]),
        (freeze("c", "0.0", figure="enps"), ["LIMITS_INVALID"]),
        (freeze("individuals", "5", "1", figure="enps"), ["FIGURE_UNKNOWN", "one of nps, csat, ces", "(was enps)"]),
        (freeze("p", "0.5"), ["FIGURE_UNKNOWN", "one of csat, follow_up_rate, late_rate for a chart of the kind p"]),
        (freeze("c", "3", figure="csat"), ["FIGURE_UNKNOWN", "one of responses, complaints for a chart of the kind c"]),
    ],
)
def test_refuses_baselines(refused: Any, words: list[str]) -> None:
    given().when(refused).then(*words)


# --- budgets ------------------------------------------------------------------------------------------------------


def test_budgets_are_set_in_versions_by_their_days() -> None:
    """Ranges that touch do not overlap; the end is exclusive."""
    scenario = given().when(budget("1000")).then(happened(BudgetSet, version=1, value="1000", who=""))
    scenario.when(budget("2000", today(30), today(60))).then(happened(BudgetSet, version=1))
    scenario.when(budget("1500")).then(happened(BudgetSet, version=2, value="1500"))
    scenario.when(budget("7", today(10), today(20), measure="activity")).then(happened(BudgetSet, version=1))
    scenario.when(budget("7", today(10), today(20), direction="bottom_up")).then(happened(BudgetSet, version=1))


@pytest.mark.parametrize(
    ("days", "named"),
    [((10, 20), (0, 30)), ((-5, 1), (0, 30)), ((29, 31), (0, 30)), ((-5, 90), (0, 30)), ((0, 29), (0, 30)),
     ((59, 61), (30, 60))],
)  # fmt: skip
def test_refuses_budgets_that_overlap(days: tuple[int, int], named: tuple[int, int]) -> None:
    """The words name the range that is in the way."""
    history = given(budget(), budget("1", today(30), today(60)))
    history.when(budget("1", today(days[0]), today(days[1]))).then(
        "BUDGET_OVERLAPS", f"the budget from {today(named[0])} until before {today(named[1])}"
    )


@pytest.mark.parametrize(
    ("fields", "recorded"),
    [
        ({"value": "100.00"}, "100"),
        ({"value": "-0"}, "0"),
        ({"value": "-250.0", "measure": "profit"}, "-250"),
        ({"value": "12", "measure": "activity", "level": "member", "who": "M1"}, "12"),
        ({"value": "81.35", "measure": "satisfaction", "level": "segment", "who": "tier=gold=1"}, "81.35"),
        ({"value": "100", "measure": "satisfaction"}, "100"),
    ],
)
def test_a_budget_is_recorded_as_a_whole_number_where_it_is_one(fields: dict[str, str], recorded: str) -> None:
    given().when(budget(**fields)).then(happened(BudgetSet, value=recorded))


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (budget(from_on=today(30), who="tier"), ["RANGE_INVALID"]),
        (budget(who="tier=gold"), ["WHO_INVALID", "left out for the whole programme"]),
        (budget(level="segment", value="1.5"), ["WHO_INVALID", "attribute=value"]),
        (budget(level="segment", who="gold"), ["WHO_INVALID", "(was gold)"]),
        (budget(level="segment", who="=gold"), ["WHO_INVALID"]),
        (budget(level="segment", who="tier="), ["WHO_INVALID"]),
        (budget(level="member"), ["WHO_INVALID", "must name the member"]),
        (budget("1.5"), ["BUDGET_VALUE_INVALID", "a whole number of minor units"]),
        (budget("0.000000001", measure="profit"), ["BUDGET_VALUE_INVALID"]),
        (budget("1.5", measure="activity"), ["BUDGET_VALUE_INVALID", "a whole number of purchases"]),
        (budget("-1"), ["BUDGET_VALUE_INVALID", "at least 0"]),
        (budget("-1", measure="activity"), ["BUDGET_VALUE_INVALID"]),
        (budget("100.000000001", measure="satisfaction"), ["BUDGET_VALUE_INVALID", "from 0 to 100"]),
        (budget("-0.1", measure="satisfaction"), ["BUDGET_VALUE_INVALID"]),
    ],
)
def test_refuses_budgets(refused: Any, words: list[str]) -> None:
    given().when(refused).then(*words)


# --- focus audits -------------------------------------------------------------------------------------------------


def test_a_focus_audit_is_recorded() -> None:
    given().when(assess(("complete", 1), ("current", 5), segment="tier=gold")).then(
        happened(
            FocusAssessed,
            items=[FocusItem(item="complete", score=1), FocusItem(item="current", score=5)],
            segment="tier=gold",
        )
    )


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (assess(("a", 9), scale=(5, 1)), ["SCALE_INVALID"]),
        (assess(("a", 3), ("a", 6)), ["SCORE_OUT_OF_SCALE", "items[1].score", "1 to 5 (was 6)"]),
        (assess(("a", 0), segment="gold"), ["SCORE_OUT_OF_SCALE", "items[0].score"]),
        (assess(("a", 3), ("a", 4), segment="gold"), ["NAME_REPEATED", "items"]),
        (assess(("a", 3), segment="gold"), ["WHO_INVALID", "segment"]),
    ],
)
def test_refuses_focus_audits(refused: Any, words: list[str]) -> None:
    given().when(refused).then(*words)


def test_a_range_may_begin_long_ago() -> None:
    said = freeze("c", "3", figure="responses", from_on=date(1970, 1, 1))
    given().when(said).then(happened(BaselineFrozen, from_on=date(1970, 1, 1)))
