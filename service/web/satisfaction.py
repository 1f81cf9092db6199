"""Satisfaction over time, of all or by store, channel or touchpoint, and control charts with their limits and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Final, cast

from litestar import Response
from litestar.params import PathParameter

from ledger.programmes import ProgrammeInfo
from ledger.store.database import PgCursor
from projections.charts import Chart as ControlChart
from projections.charts import ChartPoint, ChartUnknown, NamedChart, read_chart, read_charts
from projections.control_charts import RULES
from projections.satisfaction_figures import FIGURES as MADE
from projections.satisfaction_figures import Tally
from projections.timelines import By, Entry, Key, Per, entry_of, read_tallies
from service.http.access import FIGURES
from service.http.paths import decoded
from service.http.problems import problem
from service.http.programme_reads import CHART_CHARACTERS_MAX, DAYS_SHOWN, TIMELINE_DAYS_MAX
from service.web.asked import Asked, Text
from service.web.charts import Chart
from service.web.languages import N_
from service.web.last_days import end_of_answers, end_of_figures, today_of
from service.web.rendering import translated
from service.web.visits import Visit, page

ENTRIES_SHOWN_MAX: Final = 200
GROUPS_DRAWN_MAX: Final = 6
CHART_DAYS: Final = 365

FIGURE_TITLES: Final = {
    "nps": N_("NPS"),
    "csat": N_("CSAT"),
    "ces": N_("CES"),
    "acsi": N_("ACSI"),
    "complaint_rate": N_("Complaint rate"),
    "resolution_time": N_("Time to resolve"),
    "resolution_time_median": N_("Median time to resolve"),
    "follow_up_rate": N_("Follow-ups in time"),
    "late_rate": N_("Follow-ups late"),
    "responses": N_("Answers"),
    "complaints": N_("Complaints"),
}
DRAWN: Final = ("nps", "csat", "ces", "acsi", "complaint_rate", "resolution_time", "follow_up_rate", "late_rate")
"""Figures that a timeline may draw."""
IN_TABLE: Final = ("nps", "csat", "ces", "acsi", "complaint_rate")
UNITS: Final = (
    N_("points"),
    N_("%"),
    N_("1 to 7"),
    N_("0 to 100"),
    N_("per 100,000 purchases"),
    N_("seconds"),
    N_("answers"),
    N_("complaints"),
    N_("share"),
)
RULE_TITLES: Final = (
    N_("one point beyond 3 sigma"),
    N_("two of three points beyond 2 sigma on one side"),
    N_("four of five points beyond 1 sigma on one side"),
    N_("eight points in a row on one side of the centre"),
    N_("nine points in a row on one side of the centre"),
    N_("six points in a row steadily rising or falling"),
    N_("fourteen points in a row alternating up and down"),
    N_("fifteen points in a row within 1 sigma, on either side"),
    N_("eight points in a row beyond 1 sigma, on either side"),
)
"""What the rules of control charts say, in the words of `RULES`."""
KIND_TITLES: Final = {"individuals": N_("individuals chart"), "p": N_("p chart"), "c": N_("c chart")}
PER_TITLES: Final = {
    "programme": N_("all together"),
    "store": N_("by store"),
    "channel": N_("by channel"),
    "touchpoint": N_("by touchpoint"),
}
BY_TITLES: Final = {"month": N_("by month"), "week": N_("by week"), "day": N_("by day")}

JUDGES: Final = {"all": N_("all rules"), "WE": N_("Western Electric"), "N": N_("Nelson")}
"""Which rules judge a chart: all, or those whose number begins so."""

Range = tuple[date, date]


# --- the timeline ---------------------------------------------------------------------------------------------------


@page("/satisfaction", "satisfaction", FIGURES)
async def satisfaction(
    visit: Visit,
    by: Text = "",
    per: Text = "",
    only: Text = "",
    figure: Text = "",
    from_on: Text = "",
    until_on: Text = "",
) -> Response[Any]:
    """Figures of each day, week or month, by default of the last 30 days, 13 weeks or 12 months with any."""
    asked = Asked(visit)
    period, group = cast(By, asked.choice("by", by, BY_TITLES)), cast(Per, asked.choice("per", per, PER_TITLES))
    drawn = asked.choice("figure", figure, DRAWN)
    today = today_of(visit)
    first, until = await _range(visit, asked, from_on, until_on, DAYS_SHOWN[period])
    if only and group == "programme":
        asked.errors["only"] = visit.gettext("needs a store, channel or touchpoint to be chosen")
    tallies: dict[Key, Tally] = {}
    charts: list[NamedChart] = []
    if not asked.errors:

        def read(cursor: PgCursor, info: ProgrammeInfo) -> tuple[dict[Key, Tally], list[NamedChart]]:
            edges: dict[str, Any] = {"by": period, "from_on": first, "until_on": until, "today": today}
            found = read_tallies(cursor, info.journals, per=group, only=only or None, **edges)
            return found, read_charts(cursor, info.journals)

        tallies, charts = await visit.read(read, "satisfaction")
    said = {key: tally for key, tally in tallies.items() if group == "programme" or _has_anything(tally)}
    newest = sorted(said, key=lambda key: (-key[0].toordinal(), -said[key].responses, key[1]))
    entries = [entry_of(key, said[key], period) for key in newest[:ENTRIES_SHOWN_MAX]]
    if not figure:
        drawn = next((name for name in DRAWN if any(entry.figures[name].value for entry in entries)), drawn)
    groups = _most_answered(said)
    drawn_of = [entry_of(key, tally, period) for key, tally in said.items() if key[1] in groups]
    answer: Response[Any] = visit.render(
        "satisfaction.html",
        asked.status,
        entries=entries,
        more=len(said) - len(entries),
        is_empty=not any(_has_anything(tally) for tally in tallies.values()),
        made=entries[0].figures if entries else {},
        chart=_timeline_chart(visit, drawn_of, groups, drawn, group),
        charts=charts,
        form={
            "by": period,
            "per": group,
            "only": only,
            "figure": drawn,
            "from_on": from_on or first,
            "until_on": until_on or until,
        },
        errors=asked.errors,
        titles=FIGURE_TITLES,
        drawn={name: FIGURE_TITLES[name] for name in DRAWN},
        in_table=IN_TABLE,
        per_titles=PER_TITLES,
        by_titles=BY_TITLES,
        kind_titles=KIND_TITLES,
    )
    return answer


async def _range(visit: Visit, asked: Asked, from_on: str, until_on: str, days: int) -> Range:
    """The days of a form; by default so many up to the last with figures."""
    until = asked.day("until_on", until_on) or await end_of_figures(visit, end_of_answers)
    first = asked.day("from_on", from_on) or until - min(timedelta(days=days), until - date.min)
    asked.period(first, "until_on", until)
    if (until - first).days > TIMELINE_DAYS_MAX:
        _ = asked.gettext
        asked.errors["from_on"] = _("must be at most %(days)s days before the last", days=TIMELINE_DAYS_MAX)
    return first, until


def _has_anything(tally: Tally) -> bool:
    return bool(tally.responses or tally.purchases or tally.complaints or tally.resolved or tally.follow_ups)


def _most_answered(tallies: Mapping[Key, Tally]) -> list[str]:
    """The groups with the most answers, as many as are drawn."""
    answers: dict[str, int] = {}
    for (_start, value), tally in tallies.items():
        answers[value] = answers.get(value, 0) + tally.responses
    return sorted(answers, key=lambda value: (-answers[value], value))[:GROUPS_DRAWN_MAX]


def _timeline_chart(visit: Visit, entries: Sequence[Entry], groups: Sequence[str], name: str, per: Per) -> Chart:
    """One figure over time, of each group; of the programme with its 95 % intervals."""
    _ = visit.gettext
    traces = []
    for group in groups:
        found = [(entry.period_on, entry.figures[name]) for entry in entries if entry.value == group]
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": _(FIGURE_TITLES[name]) if per == "programme" else group or _("none"),
            "x": [on for on, _figure in found],
            "y": [made.value for _on, made in found],
        }
        if per == "programme" and any(made.upper is not None for _on, made in found):
            trace["error_y"] = {
                "type": "data",
                "symmetric": False,
                "array": [_above(made.value, made.upper) for _on, made in found],
                "arrayminus": [_above(made.lower, made.value) for _on, made in found],
                "color": "--muted",
                "thickness": 1,
            }
        traces.append(trace)
    layout = {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": translated(visit.language.code, MADE[name].unit)}}}
    return Chart(title=_(FIGURE_TITLES[name]), traces=traces, layout=layout)


def _above(lower: float | None, upper: float | None) -> float | None:
    return None if lower is None or upper is None else upper - lower


# --- control charts -------------------------------------------------------------------------------------------------


@page("/satisfaction/charts/{chart:str}", "satisfaction", FIGURES, "control-chart")
async def control_chart(
    visit: Visit, chart: Annotated[str, PathParameter()], rules: Text = "", from_on: Text = "", until_on: Text = ""
) -> Response[Any]:
    """A control chart: its points, the limits that were frozen before each, and the rules that points complete."""
    name = decoded("chart", chart, CHART_CHARACTERS_MAX)
    asked = Asked(visit)
    judges = asked.choice("rules", rules, JUDGES)
    judging = [rule for rule in RULES if judges == "all" or rule.startswith(judges)]
    today = today_of(visit)
    first, until = await _range(visit, asked, from_on, until_on, CHART_DAYS)
    found: ControlChart | None = None
    if not asked.errors:

        def read(cursor: PgCursor, info: ProgrammeInfo) -> ControlChart:
            edges: dict[str, Any] = {"from_on": first, "until_on": until, "today": today}
            try:
                return read_chart(cursor, info.journals, name, rules=judging, **edges)
            except ChartUnknown as error:
                raise problem("NOT_FOUND", str(error), field="chart") from error

        found = await visit.read(read, "satisfaction")
    answer: Response[Any] = visit.render(
        "control_chart.html",
        asked.status,
        name=name,
        found=found,
        drawing=_control_drawing(visit, found) if found else None,
        form={"rules": judges, "from_on": from_on or first, "until_on": until_on or until},
        judges=JUDGES,
        completed=[_by_words(point) for point in found.points] if found else [],
        errors=asked.errors,
        rules={rule: RULES[rule][1] for rule in judging},
        hits=sum(bool(point.rules) for point in found.points) if found else 0,
        titles=FIGURE_TITLES,
        kind_titles=KIND_TITLES,
        per_titles=PER_TITLES,
    )
    return answer


def _control_drawing(visit: Visit, found: ControlChart) -> Chart:
    """Values with the centre and the limits that judge each, and points that complete rules with their numbers."""
    _ = visit.gettext
    points, hits = found.points, [point for point in found.points if point.rules]

    def line(field: str, title: str, dash: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines",
            "name": title,
            "x": [point.period_on for point in points],
            "y": [None if point.limits is None else getattr(point.limits, field) for point in points],
            "line": {"dash": dash, "shape": "hvh", "color": "--muted" if field == "centre" else "--warn"},
        }

    traces = [
        line("upper", _("Upper limit"), "dash"),
        line("centre", _("Centre"), "dot"),
        line("lower", _("Lower limit"), "dash"),
        _values(_("Value"), points, "--chart-1"),
        _values(_("Completes a rule"), hits, "--bad")
        | {
            "mode": "markers+text",
            "text": [_short(point.rules) for point in hits],
            "hovertext": [
                "<br>".join(f"{' '.join(rules)}: {_(words)}" for words, rules in _by_words(point).items())
                for point in hits
            ],
            "textposition": "top center",
            "textfont": {"color": "--bad"},
            "marker": {"color": "--bad", "size": 11, "symbol": "diamond"},
        },
    ]
    layout = {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": translated(visit.language.code, found.unit)}}}
    return Chart(title=f"{found.chart}: {_(FIGURE_TITLES[found.definition.figure])}", traces=traces, layout=layout)


def _by_words(point: ChartPoint) -> dict[str, list[str]]:
    """What the rules that a point completes say, each with their numbers: some say the same."""
    found: dict[str, list[str]] = {}
    for rule in point.rules:
        found.setdefault(RULES[rule][1], []).append(rule)
    return found


def _short(rules: Sequence[str]) -> str:
    """Numbers of rules beside a point; of more than two the first, and how many others."""
    return " ".join(rules) if len(rules) <= 2 else f"{rules[0]} +{len(rules) - 1}"


def _values(title: str, points: Sequence[ChartPoint], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": title,
        "x": [point.period_on for point in points],
        "y": [point.value for point in points],
        "line": {"color": colour},
    }


HANDLERS: Final = (satisfaction, control_chart)
