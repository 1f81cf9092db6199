"""Given what was decided before, when a steering command comes, then these events or this refusal.

    given(define_objective()).when(measure("12")).then(happened(ObjectiveMeasured, attained=False), …)

Commands are dated noon of 15 June 2026, UTC, a Monday, unless `day` moves them. A command's id is its verb unless it is
given.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from ledger import commands as c
from ledger.decider import Programme
from ledger.rejections import CODES, Rejection
from ledger.steering import decide_steering
from ledger.steering_state import SteeringState, evolve_steering, initial_steering, streams_of

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
TODAY = NOON.date()


def today(days: int = 0) -> date:
    return TODAY + timedelta(days=days)


def command(verb: Any, /, *, id: str, day: float = 0, **fields: Any) -> Any:
    return verb(id=id, source="office", programme="club", occurred_at=NOON + timedelta(days=day), **fields)


def define_survey(**more: Any) -> Any:
    given = {"survey": "delivery", "instrument": "ACSI", "scale": (1, 10), "questions": ["overall", "expected"]}
    return command(c.DefineSurvey, **({"id": "survey"} | given | more))


def set_analysis(*shares: tuple[str, str], **more: Any) -> Any:
    bands = [c.PyramidBand(name=name, share_percent=share) for name, share in shares]
    return command(c.SetAnalysis, **({"id": "analysis", "inactive_after_days": 365, "bands": bands} | more))


def freeze(kind: str, centre: str, sigma: str | None = None, **more: Any) -> Any:
    given = {
        "chart": "late",
        "figure": "nps",
        "period": "day",
        "from_on": today(-30),
        "until_on": today(),
        "points": 30,
    }
    return command(
        c.FreezeBaseline, **({"id": "baseline", "kind": kind, "centre": centre, "sigma": sigma} | given | more)
    )


def define_objective(comparator: str = "<=", target: str = "10", direction: str = "down", **more: Any) -> Any:
    given = {"objective": "answer", "unit": "s", "period": "week", "owner": "lee", "respond_within_days": 14}
    said = {"comparator": comparator, "target": target, "direction": direction}
    return command(c.DefineObjective, **({"id": "objective"} | given | said | more))


def measure(value: str, bound: str = "", **more: Any) -> Any:
    given = {"objective": "answer", "period_on": TODAY, "value": value, "bound": bound}
    return command(c.MeasureObjective, **({"id": "measurement"} | given | more))


def raise_it(id: str = "late", **more: Any) -> Any:
    given = {"what": "answers are late", "owner": "lee", "due_on": today(14)}
    return command(c.RaiseNonconformity, id=id, **(given | more))


def find_cause(of: str = "late", **more: Any) -> Any:
    given = {"nonconformity": of, "cause": "two vacancies", "owner": "wang", "due_on": today(20)}
    return command(c.FindCause, **({"id": "cause"} | given | more))


def plan(id: str = "hire", of: str = "late", **more: Any) -> Any:
    given = {"nonconformity": of, "what": "hire two", "owner": "zhou", "due_on": today(40)}
    return command(c.PlanCorrectiveAction, id=id, **(given | more))


def complete(action: str = "hire", of: str = "late", **more: Any) -> Any:
    given = {"nonconformity": of, "action": action, "done_by": "zhou", "owner": "lee", "due_on": today(60)}
    return command(c.CompleteCorrectiveAction, **({"id": f"{action}-done"} | given | more))


def verify(action: str = "hire", *, effective: bool = True, of: str = "late", **more: Any) -> Any:
    given = {"nonconformity": of, "action": action, "effective": effective, "verified_by": "lee"}
    return command(c.VerifyCorrectiveAction, **({"id": f"{action}-verified"} | given | more))


def budget(value: str = "100", from_on: date = TODAY, until_on: date | None = None, **more: Any) -> Any:
    given = {"direction": "top_down", "level": "programme", "measure": "revenue"}
    days = {"from_on": from_on, "until_on": until_on or today(30)}
    return command(c.SetBudget, **({"id": "budget", "value": value} | days | given | more))


def assess(*scores: tuple[str, int], **more: Any) -> Any:
    items = [c.FocusScore(item=item, score=score) for item, score in scores]
    given = {"id": "focus", "factor": "information", "scale": (1, 5), "items": items, "assessor": "zhou"}
    return command(c.AssessFocus, **(given | more))


def happened(event: type[Any], **fields: Any) -> tuple[type[Any], dict[str, Any]]:
    """An event of this type, with these values of these fields."""
    return event, fields


class Scenario:
    """The streams of a programme, and what the last command did."""

    def __init__(self, time_zone: str) -> None:
        self.programme = Programme(programme="club", currency="CNY", time_zone=time_zone)
        self.states: dict[str, SteeringState] = {}
        self.outcome: Any = None

    def when(self, command: Any) -> Scenario:
        """The command in question; what it decided is evolved."""
        states = {stream: self.states.get(stream) or initial_steering(stream) for stream in streams_of(command)}
        self.outcome = decide_steering(states, command, self.programme)
        if not isinstance(self.outcome, Rejection):
            assert set(self.outcome) <= set(states)
            for stream, events in self.outcome.items():
                for event in events:
                    assert (event.source, event.id, event.occurred_at) == ("office", command.id, command.occurred_at)
                    evolve_steering(states[stream], event)
            self.states |= states
        return self

    def then(self, *expected: Any) -> Scenario:
        """Exactly these events, in the order of their streams; or one refusal, by its code and words of its rule."""
        if isinstance(expected[0], str):
            code, *words = expected
            assert isinstance(self.outcome, Rejection), self.outcome
            assert self.outcome.code == code, self.outcome
            assert code in CODES
            assert self.outcome.field
            assert all(word in str(self.outcome) for word in words), str(self.outcome)
            return self
        assert not isinstance(self.outcome, Rejection), self.outcome
        events = [event for of_stream in self.outcome.values() for event in of_stream]
        assert [type(event) for event in events] == [kind for kind, _ in expected]
        for event, (_, fields) in zip(events, expected, strict=True):
            assert {name: getattr(event, name) for name in fields} == fields
        return self


def given(*history: Any, time_zone: str = "UTC") -> Scenario:
    """A history of commands, each of which must be accepted."""
    scenario = Scenario(time_zone)
    for step in history:
        scenario.when(step)
        assert not isinstance(scenario.outcome, Rejection), f"given {step}: {scenario.outcome}"
    return scenario
