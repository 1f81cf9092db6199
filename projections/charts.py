"""Control charts of satisfaction figures: points by period, each judged by the baseline that was frozen before it.

A baseline is an event. It judges the periods that begin on or after its `until_on`, so none of the points that it was
made of, until a later version takes over from its own `until_on` on. Points before any baseline are not judged, and
periods without data or not yet over are no points. Runs of points begin anew with each baseline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ledger.store.database import PgCursor
from ledger.values import FAR
from projections.control_charts import (
    RULES,
    Baseline,
    Kind,
    Limits,
    Point,
    Sample,
    c_baseline,
    individuals_baseline,
    judge_samples,
    judge_values,
    p_baseline,
)
from projections.satisfaction_figures import FIGURES, Tally, figure
from projections.timelines import MEDIAN, By, Per, next_period, period_start, read_tallies

BASELINE_POINTS_MIN: Final = 8
"""As many as the longest Western Electric rule looks at: fewer cannot show that they were in control themselves."""
DECIMALS: Final = 9


class ChartDefinition(Struct, frozen=True, kw_only=True):
    """What a chart is of: a figure by period, of the programme or of one channel, store or touchpoint (`value`)."""

    kind: Kind
    figure: str
    period: By
    per: Per = "programme"
    value: str = ""


class FrozenBaseline(Struct, frozen=True, kw_only=True):
    """A version of a chart's baseline, as it was frozen; `until_on` is exclusive. `sigma` is None where it follows from
    the centre.
    """

    version: int
    definition: ChartDefinition
    from_on: date
    until_on: date
    points: int
    centre: Decimal
    sigma: Decimal | None
    frozen_at: datetime


class NamedChart(Struct, frozen=True, kw_only=True):
    """A chart that there is: what it is of, and how many baselines were frozen for it."""

    chart: str
    definition: ChartDefinition
    baselines: int


class ChartPoint(Struct, frozen=True, kw_only=True):
    """A period of a chart. `n` is how many its value is of. What judges it is None before any baseline; `rules` are
    those that it completes, see `projections.control_charts.RULES`.
    """

    period_on: date
    until_on: date
    value: float
    n: int
    baseline: int | None = None
    limits: Limits | None = None
    distance: float | None = None
    rules: tuple[str, ...] = ()


class Chart(Struct, frozen=True, kw_only=True):
    """A chart: what it is of, its baselines from the first version on, and its points. Shares are from 0 to 1."""

    chart: str
    definition: ChartDefinition
    unit: str
    method: str
    baselines: list[FrozenBaseline]
    points: list[ChartPoint]


class ChartUnknown(ValueError):
    """No baseline was ever frozen under the name."""


def read_chart(
    cur: PgCursor,
    journals: Sequence[int],
    chart: str,
    *,
    from_on: date,
    until_on: date,
    today: date,
    as_of: datetime = FAR,
    rules: Iterable[str] = RULES,
) -> Chart:
    """The points of a chart in the periods from `from_on` until before `until_on`, judged by rules.

    `today` is the day in progress, and `as_of` the instant by which a baseline must have been frozen to count. What the
    chart is of is what its newest baseline says; older ones of something else do not judge its points. Rules look back
    to points before `from_on`.

    Raises ChartUnknown; ValueError for a rule that does not exist, periods as `read_timeline` refuses them, or a figure
    that cannot be charted, which an old baseline may name.
    """
    baselines = _read_baselines(cur, journals, chart, as_of)
    if not baselines:
        raise ChartUnknown(f"chart: there is no baseline named {chart!r}")
    definition = baselines[-1].definition
    check_definition(definition)
    baselines = [baseline for baseline in baselines if baseline.definition == definition]
    first_on = min(from_on, *(baseline.until_on for baseline in baselines))
    found = _points(cur, journals, definition, first_on, until_on, today)
    judged: list[ChartPoint] = []
    for baseline, group in groupby(found, key=lambda pair: _in_force(baselines, pair[0].period_on)):
        judged += _judged(baseline, list(group), rules)
    return Chart(
        chart=chart,
        definition=definition,
        unit="share" if definition.kind == "p" else FIGURES[definition.figure].unit,
        method=figure(definition.figure, Tally()).method,
        baselines=baselines,
        points=[point for point in judged if point.period_on >= period_start(from_on, definition.period)],
    )


def read_charts(cur: PgCursor, journals: Sequence[int]) -> list[NamedChart]:
    """The charts of a programme by name, each as its newest baseline says what it is of."""
    cur.execute(
        "SELECT DISTINCT ON (chart) chart, kind, figure, period, per, value, version FROM baselines"
        " WHERE journal = ANY (%s) ORDER BY chart, version DESC",
        (list(journals),),
    )
    return [
        NamedChart(
            chart=chart,
            definition=ChartDefinition(kind=kind, figure=figure, period=period, per=per, value=value),
            baselines=version,
        )
        for chart, kind, figure, period, per, value, version in cur.fetchall()
    ]


def compute_baseline(
    cur: PgCursor, journals: Sequence[int], definition: ChartDefinition, *, from_on: date, until_on: date, today: date
) -> Baseline:
    """Centre and sigma of the points from `from_on` until before `until_on`, to nine decimals, to be frozen.

    Raises ValueError, in words, for a figure that there is none of or no such chart of, for days that are no edges of
    periods, or periods that are not over, and for a series that is empty, too short or does not vary.
    """
    check_definition(definition)
    for name, day in (("from", from_on), ("until", until_on)):
        if day != period_start(day, definition.period):
            raise ValueError(
                f"{name}: must be the first day of a {definition.period}, such as"
                f" {period_start(day, definition.period)}; got {day}"
            )
    if until_on > today:
        raise ValueError(f"until: must not be after today, {today}, for what is frozen must be over; got {until_on}")
    found = _points(cur, journals, definition, from_on, until_on, today)
    if not found:
        raise ValueError(f"figure: {definition.figure} has no data from {from_on} until before {until_on}")
    if len(found) < BASELINE_POINTS_MIN:
        raise ValueError(
            f"figure: {definition.figure} has data in {len(found)} periods from {from_on} until before {until_on}; a"
            f" baseline takes at least {BASELINE_POINTS_MIN}"
        )
    made = _baseline(definition.kind, found)
    centre, sigma = round(made.centre, DECIMALS), None if made.sigma is None else round(made.sigma, DECIMALS)
    if sigma == 0 or (definition.kind != "individuals" and centre == 0):
        raise ValueError(f"baseline: the values do not vary within {DECIMALS} decimals; such a series has no limits")
    return replace(made, centre=centre, sigma=sigma)


def check_definition(definition: ChartDefinition) -> None:
    """Raise ValueError unless there is such a figure, and such a chart of it."""
    known = FIGURES.get(definition.figure)
    if known is None:
        raise ValueError(f"figure: there is no {definition.figure!r}; there are {', '.join(FIGURES)}")
    if definition.kind == "p" and known.sample is None:
        shares = ", ".join(name for name, made in FIGURES.items() if made.sample)
        raise ValueError(f"kind: a p chart is of a share, which {definition.figure} is not; shares are {shares}")
    if definition.kind == "c" and known.count is None:
        counts = ", ".join(name for name, made in FIGURES.items() if made.count)
        raise ValueError(f"kind: a c chart is of a count, which {definition.figure} is not; counts are {counts}")


# --- points ---------------------------------------------------------------------------------------------------------


def _points(
    cur: PgCursor, journals: Sequence[int], definition: ChartDefinition, from_on: date, until_on: date, today: date
) -> list[tuple[ChartPoint, Sample | None]]:
    """The points of the periods that are over, and for a p chart the samples behind them."""
    tallies = read_tallies(
        cur,
        journals,
        by=definition.period,
        from_on=from_on,
        until_on=until_on,
        today=today,
        per=definition.per,
        only=None if definition.per == "programme" else definition.value,
        median=definition.figure == MEDIAN,
    )
    found = []
    for (start, _), tally in tallies.items():
        end = next_period(start, definition.period)
        value, n, sample = _value(definition, tally)
        if value is not None and end <= today:
            found.append((ChartPoint(period_on=start, until_on=end, value=value, n=n), sample))
    return found


def _value(definition: ChartDefinition, tally: Tally) -> tuple[float | None, int, Sample | None]:
    sample_of = FIGURES[definition.figure].sample
    if definition.kind == "p" and sample_of is not None:
        sample = sample_of(tally)
        return (sample.count / sample.size if sample.size else None), sample.size, sample
    made = figure(definition.figure, tally)
    return made.value, made.n, None


def _baseline(kind: Kind, found: Sequence[tuple[ChartPoint, Sample | None]]) -> Baseline:
    if kind == "p":
        return p_baseline([sample for _, sample in found if sample is not None])
    if kind == "c":
        return c_baseline([int(point.value) for point, _ in found])
    return individuals_baseline([point.value for point, _ in found])


# --- judging --------------------------------------------------------------------------------------------------------


def _in_force(baselines: Sequence[FrozenBaseline], day: date) -> FrozenBaseline | None:
    """The newest version of those that end by a day."""
    return next((baseline for baseline in reversed(baselines) if baseline.until_on <= day), None)


def _judged(
    frozen: FrozenBaseline | None, found: Sequence[tuple[ChartPoint, Sample | None]], rules: Iterable[str]
) -> list[ChartPoint]:
    if frozen is None:
        return [point for point, _ in found]
    baseline = Baseline(
        kind=frozen.definition.kind,
        points=frozen.points,
        centre=float(frozen.centre),
        sigma=_sigma(frozen),
        method="",
    )
    judgements: list[Point]
    if baseline.kind == "p":
        judgements = judge_samples(baseline, [sample for _, sample in found if sample is not None], rules)
    else:
        judgements = judge_values(baseline, [point.value for point, _ in found], rules)
    return [
        replace(point, baseline=frozen.version, limits=judged.limits, distance=judged.distance, rules=judged.rules)
        for (point, _), judged in zip(found, judgements, strict=True)
    ]


def _sigma(frozen: FrozenBaseline) -> float | None:
    if frozen.definition.kind == "c":
        return float(frozen.centre.sqrt())
    return None if frozen.sigma is None else float(frozen.sigma)


def _read_baselines(cur: PgCursor, journals: Sequence[int], chart: str, as_of: datetime) -> list[FrozenBaseline]:
    cur.execute(
        "SELECT version, kind, figure, period, per, value, from_on, until_on, points, centre, sigma, frozen_at"
        " FROM baselines WHERE journal = ANY (%s) AND chart = %s AND frozen_at <= %s ORDER BY version",
        (list(journals), chart, as_of),
    )
    return [_frozen(*row) for row in cur.fetchall()]


def _frozen(version: int, kind: Kind, figure: str, period: By, per: Per, value: str, *rest: Any) -> FrozenBaseline:
    from_on, until_on, points, centre, sigma, frozen_at = rest
    return FrozenBaseline(
        version=version,
        definition=ChartDefinition(kind=kind, figure=figure, period=period, per=per, value=value),
        from_on=from_on,
        until_on=until_on,
        points=points,
        centre=centre,
        sigma=sigma,
        frozen_at=frozen_at,
    )


def decimal_text(value: float) -> str:
    """A number to nine decimals as an event has it."""
    text = f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
