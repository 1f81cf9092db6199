"""Charts: points judged only by a baseline that was frozen before them, and series that no limits can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ledger.events import BaselineFrozen, ComplaintOpened, FollowUpCompleted, FollowUpScheduled, SurveyAnswered
from ledger.store.database import Database
from projections.charts import ChartDefinition, ChartUnknown, compute_baseline, decimal_text, read_chart
from projections.control_charts import Limits
from projections.runner import Runner
from projections.satisfaction import Satisfaction
from tests.satisfaction.histories import new_programme, record_members, record_steering

FIRST = date(2026, 1, 1)
DAILY_NPS: Any = {"kind": "individuals", "figure": "nps", "period": "day"}
STEADY = (3, 5, 3, 4, 5, 4, 3, 5)
"""Promoters of eight answers a day: a series with some variation."""


def on(day: int) -> date:
    return FIRST + timedelta(days=day)


def at(day: int, hour: int = 4) -> datetime:
    """Of a day of the programme, which is in Shanghai."""
    return datetime.combine(on(day), datetime.min.time(), UTC) + timedelta(hours=hour)


def event(kind: Any, id: str, when: datetime, **fields: Any) -> Any:
    return kind(programme="club", member="ann", source="desk", id=id, occurred_at=when, **fields)


def answers(days: Sequence[int], first: int = 0, store: str = "") -> list[Any]:
    """Eight answers to NPS a day, so many of them promoters and the others passive."""
    return [
        event(
            SurveyAnswered, f"a-{day}-{number}", at(day), instrument="NPS", scale=(0, 10), store=store,
            answers={"q": 10 if number < promoters else 8},
        )
        for day, promoters in enumerate(days, first)
        for number in range(8)
    ]  # fmt: skip


def frozen(version: int, from_day: int, until_day: int, centre: str, sigma: str | None, **fields: Any) -> Any:
    return BaselineFrozen(
        programme="club", source="desk", id=f"f-{version}", occurred_at=at(until_day, 20), chart="nps-daily",
        version=version, from_on=on(from_day), until_on=on(until_day), points=until_day - from_day, centre=centre,
        sigma=sigma, **(DAILY_NPS | fields),
    )  # fmt: skip


def folded(database: Database, events: Sequence[Any], baselines: Sequence[Any] = ()) -> list[int]:
    """A programme whose read model has events of a member and of a chart."""
    journals = new_programme(database, "club")
    record_members(database, journals, events, {})
    if baselines:
        record_steering(database, journals[0], "baseline-nps-daily", baselines)
    Runner(database, [Satisfaction()]).run_once()
    return journals


def chart(database: Database, journals: list[int], from_day: int, until_day: int, today: int, **more: Any) -> Any:
    days: Any = {"from_on": on(from_day), "until_on": on(until_day), "today": on(today)}
    with database.connection() as cur:
        return read_chart(cur, journals, "nps-daily", **days, **more)


def test_a_baseline_judges_nothing_that_it_was_made_of(database: Database) -> None:
    """Its own points and those before it have no limits; what follows has."""
    journals = folded(database, answers([*STEADY, 4, 8, 0]), [frozen(1, 2, 8, "50", "5")])
    points = chart(database, journals, 0, 12, today=11).points
    assert [point.baseline for point in points] == [None] * 8 + [1] * 3
    assert [point.rules for point in points[:9]] == [()] * 9
    assert points[8].limits == Limits(centre=50, lower=35, upper=65)
    assert [(point.value, point.distance, point.rules[0]) for point in points[9:]] == [
        (100.0, 10.0, "WE1"),
        (0.0, -10.0, "WE1"),
    ]


def test_a_later_baseline_takes_over_from_its_own_end_on_and_runs_begin_anew(database: Database) -> None:
    """Eight points above the first centre would be a run, but a new centre cuts it."""
    days = [*STEADY, *[5] * 14]
    one, two = frozen(1, 0, 8, "50", "10"), frozen(2, 8, 14, "60", "10")
    journals = folded(database, answers(days), [one])
    runs = [point.period_on for point in chart(database, journals, 0, 22, today=22).points if "WE4" in point.rules]
    assert runs == [on(day) for day in range(15, 22)]
    record_steering(database, journals[0], "baseline-nps-daily", [two], after=1)
    Runner(database, [Satisfaction()]).run_once()
    points = chart(database, journals, 0, 22, today=22).points
    assert [point.baseline for point in points] == [None] * 8 + [1] * 6 + [2] * 8
    assert [(point.period_on, point.limits.centre) for point in points if "WE4" in point.rules] == [(on(21), 60.0)]
    before = chart(database, journals, 0, 22, today=22, as_of=at(14))
    assert [baseline.version for baseline in before.baselines] == [1]


def test_rules_look_back_beyond_the_first_day_that_is_shown(database: Database) -> None:
    """The eighth point in a row completes a run, however few of them are asked for."""
    journals = folded(database, answers([*STEADY, *[5] * 8]), [frozen(1, 0, 8, "50", "10")])
    (last,) = chart(database, journals, 15, 16, today=16).points
    assert "WE4" in last.rules


def test_days_without_answers_or_not_over_are_no_points(database: Database) -> None:
    """A gap is left out, and today is judged tomorrow."""
    events = [*answers(STEADY), *answers([4, 4], first=10)]
    journals = folded(database, events, [frozen(1, 0, 8, "50", "10")])
    assert [point.period_on for point in chart(database, journals, 8, 20, today=11).points] == [on(10)]


def test_a_chart_of_something_else_before_does_not_judge(database: Database) -> None:
    """Only versions of what the newest one is of."""
    baselines = [frozen(1, 0, 8, "50", "10", store="s"), frozen(2, 0, 9, "40", "9")]
    found = chart(database, folded(database, answers([*STEADY, 4, 4]), baselines), 0, 10, today=10)
    assert [baseline.version for baseline in found.baselines] == [2]
    assert [point.baseline for point in found.points] == [None] * 9 + [2]


def test_a_frozen_baseline_is_that_of_its_points(database: Database) -> None:
    """Individuals of one store: mean, and mean moving range over 1.128."""
    journals = folded(database, [*answers(STEADY, store="s")])
    definition = ChartDefinition(**DAILY_NPS, per="store", value="s")
    with database.connection() as cur:
        made = compute_baseline(cur, journals, definition, from_on=on(0), until_on=on(8), today=on(8))
    assert (made.points, made.centre) == (8, 50.0)
    assert made.sigma == pytest.approx(12.5 * (2 + 2 + 1 + 1 + 1 + 1 + 2) / 7 / 1.128, abs=1e-9)
    assert decimal_text(made.centre) == "50"


def test_p_and_c_charts_are_of_shares_and_counts(database: Database) -> None:
    """Limits of a share follow the number of each period; days without complaints count as 0."""
    kept = {day: day % 3 for day in range(10)}
    promises = [
        event(FollowUpScheduled, f"f-{day}-{n}", at(day), due_at=at(day, 6)) for day in range(10) for n in range(4)
    ]
    done = [
        event(FollowUpCompleted, f"d-{day}-{n}", at(day, 5 if n < kept[day] else 7), follow_up=f"f-{day}-{n}",
              due_at=at(day, 6))
        for day in range(10) for n in range(3)
    ]  # fmt: skip
    complaints = [event(ComplaintOpened, f"c-{day}", at(day)) for day in (0, 2, 2, 5)]
    complaints[2] = event(ComplaintOpened, "c-2b", at(2))
    baseline = frozen(1, 0, 8, "0.25", None, kind="p", figure="follow_up_rate")
    journals = folded(database, [*promises, *done, *complaints], [baseline])
    with database.connection() as cur:
        edges: Any = {"from_on": on(0), "until_on": on(8), "today": on(11)}
        shares = compute_baseline(
            cur, journals, ChartDefinition(kind="p", figure="follow_up_rate", period="day"), **edges
        )
        counts = compute_baseline(cur, journals, ChartDefinition(kind="c", figure="complaints", period="day"), **edges)
    assert (shares.points, shares.centre) == (8, sum(kept[day] for day in range(8)) / 32)
    assert (counts.points, counts.centre) == (8, 0.5)
    *_, last = chart(database, journals, 0, 11, today=11).points
    assert (last.period_on, last.value, last.n) == (on(9), 0.0, 4)
    assert last.limits.upper == pytest.approx(0.25 + 3 * (0.25 * 0.75 / 4) ** 0.5)
    assert last.limits.lower == 0


@pytest.mark.parametrize(
    ("days", "changes", "message"),
    [
        ([], {}, "nps has no data from 2026-01-01 until before 2026-01-09"),
        (STEADY[:7], {}, "nps has data in 7 periods .* a baseline takes at least 8"),
        ([5] * 8, {}, "does not vary"),
        (STEADY, {"figure": "happiness"}, "figure: there is no 'happiness'; there are nps, csat"),
        (STEADY, {"kind": "p"}, "kind: a p chart is of a share, which nps is not; shares are csat, follow_up_rate"),
        (STEADY, {"kind": "c"}, "kind: a c chart is of a count, which nps is not; counts are responses, complaints"),
        (STEADY, {"kind": "c", "figure": "complaints"}, "all 8 counts are 0; .* no limits"),
        (STEADY, {"period": "month"}, "until: must be the first day of a month, such as 2026-01-01; got 2026-01-09"),
        (STEADY, {"today": 7}, "until: must not be after today, 2026-01-08, .* got 2026-01-09"),
        (STEADY, {"until_day": 0}, "until: must be after from, 2026-01-01; got 2026-01-01"),
    ],
)
def test_what_no_limits_can_be_made_of_is_refused_in_words(
    database: Database, days: Sequence[int], changes: dict[str, Any], message: str
) -> None:
    """Empty, short and constant series; figures, kinds and days that cannot be."""
    journals = folded(database, answers(days))
    wanted = {"today": 9, "until_day": 8} | changes
    edges: Any = {"from_on": on(0), "until_on": on(wanted.pop("until_day")), "today": on(wanted.pop("today"))}
    with database.connection() as cur, pytest.raises(ValueError, match=message):
        compute_baseline(cur, journals, ChartDefinition(**(DAILY_NPS | wanted)), **edges)


def test_a_chart_that_was_never_frozen_is_unknown(database: Database) -> None:
    journals = folded(database, answers(STEADY))
    with pytest.raises(ChartUnknown, match="no baseline named 'nps-daily'"):
        chart(database, journals, 0, 8, today=9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"figure": "follow_up_late_percent"}, "there is no 'follow_up_late_percent'"),
        ({"kind": "p"}, "which nps is not"),
    ],
)
def test_a_chart_of_an_old_baseline_that_cannot_be_drawn_says_so(
    database: Database, fields: dict[str, str], words: str
) -> None:
    """The ledger once recorded baselines of whatever figure."""
    journals = folded(database, answers(STEADY), [frozen(1, 0, 8, "0.5", None, **fields)])
    with pytest.raises(ValueError, match=words):
        chart(database, journals, 0, 9, today=9)


def test_a_rule_that_does_not_exist_is_refused(database: Database) -> None:
    journals = folded(database, answers([*STEADY, 4]), [frozen(1, 0, 8, "50", "10")])
    with pytest.raises(ValueError, match="no rule 'WE9'"):
        chart(database, journals, 0, 9, today=9, rules=["WE9"])
