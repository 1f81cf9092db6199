"""Objectives through the command line: attainment and trend, the corrective loop, figures of the ledger measured."""

from __future__ import annotations

import pytest

from ledger.store.database import connect
from tests.cli.running import position, recorded
from tests.steering_reads.conftest import Club

SATISFACTION = {
    "objective": "satisfaction", "comparator": ">=", "target": "81", "unit": "points", "direction": "up",
    "period": "month", "owner": "lee", "respond_within_days": 20,
}  # fmt: skip


def objective(club: Club, name: str) -> dict:
    found = {report["objective"]: report for report in club.read("objectives")["objectives"]}
    return found[name]


def test_attainment_and_trend_by_hand(club: Club) -> None:
    club.say("objective.v1", "2026-01-05", **SATISFACTION)
    measured = [
        ("2026-01-01", "79.5", ""),
        ("2026-02-01", "82", ""),
        ("2026-03-01", "81.3", ">"),
        ("2026-04-01", "85", ""),
    ]
    club.say_all(
        [
            (
                "measurement.v1",
                "2026-05-05",
                {"objective": "satisfaction", "period_on": on, "value": value, "bound": bound},
            )
            for on, value, bound in measured
        ]
    )
    found = objective(club, "satisfaction")
    assert [(one["period_on"], one["value"], one["bound"], one["attained"]) for one in found["periods"]] == [
        ("2026-01-01", "79.5", "", False),
        ("2026-02-01", "82", "", True),
        ("2026-03-01", "81.3", ">", True),
        ("2026-04-01", "85", "", True),
    ]
    assert (found["judged"], found["attained"], found["trend"]) == (4, 3, "better")


def test_trend_where_down_is_better_and_where_nothing_can_be_said(club: Club) -> None:
    for name, values in (("falls", "31"), ("rises", "13"), ("stays", "22"), ("once", "2")):
        club.say(
            "objective.v1", "2026-01-05",
            **SATISFACTION | {"objective": name, "comparator": "<=", "direction": "down", "target": "99"},
        )  # fmt: skip
        club.say_all(
            [
                ("measurement.v1", "2026-05-05", {"objective": name, "period_on": f"2026-0{month}-01", "value": value})
                for month, value in enumerate(values, 1)
            ]
        )
    found = {report["objective"]: report["trend"] for report in club.read("objectives")["objectives"]}
    assert found == {"falls": "better", "rises": "worse", "stays": "unchanged", "once": None}


def test_a_measurement_of_the_same_period_takes_the_place_of_the_former(club: Club) -> None:
    club.say("objective.v1", "2026-01-05", **SATISFACTION)
    for value in ("90", "70"):
        club.say("measurement.v1", "2026-02-05", objective="satisfaction", period_on="2026-01-01", value=value)
    assert [one["value"] for one in objective(club, "satisfaction")["periods"]] == ["70"]


def test_the_loop_from_a_missed_objective_to_its_end_as_of_each_day(club: Club) -> None:
    """Each step is open until the next, the overdue first, and what was open on a past day is told from the log."""
    club.say("objective.v1", "2026-01-05", **SATISFACTION)
    club.say("measurement.v1", "2026-02-01", objective="satisfaction", period_on="2026-01-01", value="70")
    name = "satisfaction:2026-01-01"
    club.say("cause.v1", "2026-02-03", nonconformity=name, cause="slow", owner="wu", due_on="2026-02-10")
    for id, day in (("fast", "2026-02-20"), ("faster", "2026-02-15")):
        club.say("corrective-action.v1", "2026-02-05", id=id, nonconformity=name, what=id, owner="chen", due_on=day)
    done = {"nonconformity": name, "done_by": "chen", "owner": "lee", "due_on": "2026-03-01"}
    club.say("corrective-action-completion.v1", "2026-02-12", action="fast", **done)
    verified = {"nonconformity": name, "verified_by": "lee"}
    club.say(
        "corrective-action-verification.v1",
        "2026-02-25",
        action="fast",
        effective=False,
        due_on="2026-03-05",
        **verified,
    )
    club.say("corrective-action-completion.v1", "2026-03-02", action="faster", **done | {"due_on": "2026-03-09"})
    club.say(
        "corrective-action.v1",
        "2026-03-03",
        id="third",
        nonconformity=name,
        what="x",
        owner="chen",
        due_on="2026-03-30",
    )

    def steps(as_of: str) -> list[tuple]:
        found = club.read("objectives", "--as-of", as_of)["open_steps"]
        return [(step["step"], step["action"], step["owner"], step["due_on"], step["days_overdue"]) for step in found]

    assert steps("2026-01-31") == []
    assert steps("2026-02-01") == [("find_cause", None, "lee", "2026-02-21", 0)]
    assert steps("2026-02-03") == [("plan_action", None, "wu", "2026-02-10", 0)]
    assert steps("2026-02-11") == [("do", "faster", "chen", "2026-02-15", 0), ("do", "fast", "chen", "2026-02-20", 0)]
    assert steps("2026-02-16") == [
        ("do", "faster", "chen", "2026-02-15", 1),
        ("verify", "fast", "lee", "2026-03-01", 0),
    ]
    assert steps("2026-03-01") == [
        ("do", "faster", "chen", "2026-02-15", 14),
        ("plan_action", None, "wu", "2026-03-05", 0),
    ]
    assert steps("2026-03-03") == [
        ("verify", "faster", "lee", "2026-03-09", 0),
        ("do", "third", "chen", "2026-03-30", 0),
    ]
    today = club.read("objectives")["open_steps"]
    assert [(step["action"], step["days_overdue"] > 0) for step in today] == [("faster", True), ("third", True)]
    assert "2 open steps of nonconformities, 2 overdue:" in club.loyalty("objectives").stdout
    club.say("corrective-action-completion.v1", "2026-03-10", action="third", **done | {"due_on": "2026-03-20"})
    for action in ("third", "faster"):
        club.say("corrective-action-verification.v1", "2026-03-15", action=action, effective=True, **verified)
    found = club.read("objectives")
    assert found["open_steps"] == []
    assert [(one["action"], one["step"]) for one in found["corrective_actions"]] == [
        ("fast", "ineffective"),
        ("faster", "effective"),
        ("third", "effective"),
    ]
    assert [(one["step"], one["cause"]) for one in found["nonconformities"]] == [("closed", "slow")]


def test_a_step_dated_before_what_it_is_a_step_of(club: Club) -> None:
    """As of a day in between, neither is there yet."""
    club.say("nonconformity.v1", "2026-03-10", id="n1", what="x", owner="lee", due_on="2026-03-20")
    club.say("cause.v1", "2026-03-05", nonconformity="n1", cause="y", owner="wu", due_on="2026-03-25")
    assert club.read("objectives", "--as-of", "2026-03-07")["open_steps"] == []
    (step,) = club.read("objectives", "--as-of", "2026-03-10")["open_steps"]
    assert step["step"] == "plan_action"


def test_a_nonconformity_closed_before_the_day_on_which_another_action_was_verified(club: Club) -> None:
    """The verification recorded last closes it, whatever its date; as of a day in between nothing is open of it."""
    club.say("nonconformity.v1", "2026-03-01", id="n1", what="x", owner="lee", due_on="2026-03-20")
    club.say("cause.v1", "2026-03-02", nonconformity="n1", cause="y", owner="wu", due_on="2026-03-25")
    for id in ("a", "b"):
        club.say(
            "corrective-action.v1", "2026-03-03", id=id, nonconformity="n1", what=id, owner="wu", due_on="2026-03-25"
        )
    done = {"nonconformity": "n1", "done_by": "wu", "owner": "lee", "due_on": "2026-03-30"}
    for id in ("a", "b"):
        club.say("corrective-action-completion.v1", "2026-03-05", action=id, **done)
    verified = {"nonconformity": "n1", "verified_by": "lee", "effective": True}
    club.say("corrective-action-verification.v1", "2026-03-20", action="b", **verified)
    club.say("corrective-action-verification.v1", "2026-03-10", action="a", **verified)
    for day, actions in (("2026-03-09", ["a", "b"]), ("2026-03-15", []), ("2026-03-20", [])):
        assert [step["action"] for step in club.read("objectives", "--as-of", day)["open_steps"]] == actions


# --- bound to figures of this ledger ------------------------------------------------------------------------------


def bind(club: Club, figure: str, comparator: str = ">=", target: str = "0", **fields: str) -> None:
    better = "down" if comparator.startswith("<") else "up"
    club.say(
        "objective.v1", "2026-01-05",
        **SATISFACTION | {"objective": figure, "comparator": comparator, "target": target, "direction": better,
                          "figure": figure, "unit": "units"} | fields,
    )  # fmt: skip


def measured(club: Club, *options: str) -> dict[tuple[str, str], tuple]:
    found = club.read("objectives", "measure", *options)["measurements"]
    return {
        (one["figure"], one["period_on"]): (one["value"], one["sample"], one["status"])
        for one in found
        if one["period_on"] < "2026-04-01"
    }


def traded(club: Club) -> None:
    """January to March 2026 of three members; nothing happened in March."""
    for member in ("ann", "bob", "eve"):
        club.member(member)
    purchases = [
        ("ann", "2026-01-05", 1000, 400), ("ann", "2026-01-20", 500, 100), ("bob", "2026-01-31", 2000, 500),
        ("bob", "2026-02-01", 300, 100), ("eve", "2026-02-02", 700, None), ("eve", "2026-02-02", 100, 50),
    ]  # fmt: skip
    answers = [("ann", "2026-01-06", 10), ("bob", "2026-01-07", 9), ("eve", "2026-01-08", 3), ("ann", "2026-02-06", 6)]
    club.say_all([club.purchase(*purchase) for purchase in purchases])
    club.say_all([club.answer(*answer, instrument="NPS") for answer in answers])
    club.say_all([club.answer("ann", "2026-01-09", 10), club.answer("bob", "2026-01-09", 1)])
    club.say("complaint.v1", "2026-02-03", member="eve", id="c1")
    club.say("complaint-resolution.v1", "2026-02-05", member="eve", complaint="c1")


FIGURES = {
    "revenue_minor": [("3500", 3), ("1100", 3), (None, 0)],
    "profit_minor": [("2500", 3), (None, 3), (None, 0)],
    "nps": [("33.333333", 3), ("-100", 1), (None, 0)],
    "acsi": [("50", 2), (None, 0), (None, 0)],
    "complaints_per_100000": [("0", 3), ("33333.333333", 3), (None, 0)],
    "complaint_resolution_hours": [(None, 0), ("48", 1), (None, 0)],
    "repurchase_rate_percent": [("50", 2), ("0", 2), (None, 0)],
    "active_members": [("2", 2), ("3", 3), ("2", 3)],
    "inactive_members_percent": [("0", 2), ("0", 3), ("33.333333", 3)],
}


def test_every_kind_of_figure_is_measured_over_the_periods_that_are_over(club: Club) -> None:
    """A period without data, or with a profit that is unknown, is not measured and says so."""
    traded(club)
    club.say("analysis.v1", "2026-01-02", inactive_after_days=60, bands=[{"name": "all", "share_percent": "100"}])
    for figure in FIGURES:
        bind(club, figure)
    found = measured(club)
    for figure, values in FIGURES.items():
        for month, (value, sample) in enumerate(values, 1):
            status = "not measured" if value is None else "posted"
            assert found[figure, f"2026-0{month}-01"] == (value, sample, status), figure
    assert objective(club, "revenue_minor")["periods"][0] == {
        "period_on": "2026-01-01", "value": "3500", "bound": "", "attained": True, "sample": 3,
    }  # fmt: skip


def test_measuring_again_records_nothing_and_measures_only_what_is_new(club: Club, database_dsn: str) -> None:
    traded(club)
    bind(club, "revenue_minor", target="2000")
    assert measured(club)["revenue_minor", "2026-01-01"] == ("3500", 3, "posted")
    before = recorded(database_dsn)
    assert {status for _, _, status in measured(club).values()} == {"not measured"}
    assert recorded(database_dsn) == before
    club.say_all([club.purchase("ann", "2026-03-31", 9)])
    assert measured(club) == {("revenue_minor", "2026-03-01"): ("9", 1, "posted")}


def test_the_same_measurement_from_a_read_model_that_does_not_show_it_yet_is_a_duplicate(
    club: Club, database_dsn: str
) -> None:
    """Two that measure at once find the same periods; what the second records is what the first did: nothing twice."""
    traded(club)
    bind(club, "revenue_minor")
    club.read("objectives", "measure")
    recorded_once = position(database_dsn)
    club.loyalty("project", "--once")
    connection = connect(database_dsn)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM objective_measurements")
    connection.close()
    found = measured(club)
    assert [status for value, _, status in found.values() if value] == ["duplicate", "duplicate"]
    assert position(database_dsn) == recorded_once


def test_a_missed_figure_raises_a_nonconformity(club: Club) -> None:
    traded(club)
    bind(club, "revenue_minor", target="2000")
    club.read("objectives", "measure")
    found = club.read("objectives")
    assert "revenue_minor:2026-02-01" in {step["nonconformity"] for step in found["open_steps"]}
    assert "revenue_minor:2026-01-01" not in {step["nonconformity"] for step in found["open_steps"]}


@pytest.mark.parametrize(
    ("period", "first", "value"),
    [("day", "2026-01-05", "1000"), ("week", "2026-01-05", "1000"), ("quarter", "2026-01-01", "4600")],
)
def test_periods_of_every_length_in_the_time_zone_of_the_programme(
    club: Club, period: str, first: str, value: str
) -> None:
    traded(club)
    bind(club, "revenue_minor", period=period)
    assert measured(club)["revenue_minor", first][0] == value


def test_periods_before_the_objective_was_defined_are_measured_where_asked(club: Club) -> None:
    traded(club)
    club.say("objective.v1", "2026-02-10", **SATISFACTION | {"objective": "late", "figure": "revenue_minor"})
    assert set(measured(club)) == {("revenue_minor", "2026-02-01"), ("revenue_minor", "2026-03-01")}
    assert measured(club, "--from", "2026-01-15")["revenue_minor", "2026-01-01"][0] == "3500"


def test_nothing_is_measured_while_read_models_are_behind(club: Club, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cli_steering.WAIT_SECONDS", 0.1)
    bind(club, "revenue_minor")
    club._file.write_text(
        '{"type":"enrolment.v1","id":"x","source":"desk","occurred_at":"2026-01-01T00:00:00Z","member":"zoe"}'
    )
    club.loyalty("ingest", str(club._file))
    result = club.loyalty("objectives", "measure", exit_code=1)
    assert "nothing measured" in result.stderr
