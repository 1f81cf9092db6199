"""What the pages of satisfaction, liability and objectives show, with hostile text: beside `story.tell`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.http.serving import Api
from tests.web.story import HOSTILE, at

OBJECTIVE = "<b>objective\"'&</b>"
NONCONFORMITY = "<i>nonconformity\"'&</i>"
CHART = "<i>chart\"'&</i>"
WEEKS = 12


def steer(api: Api) -> None:
    """Record answers of twelve weeks, an objective that was missed, and a control chart."""
    numbers = iter(range(1_000_000))

    def post(path: str, days_ago: float = 0, **fields: Any) -> None:
        body = {"id": f"{HOSTILE}s{next(numbers)}", "occurred_at": at(days_ago), **fields}
        answer = api.post(path, body)
        assert answer.status_code == 201, answer.text

    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday())
    survey = {"survey": HOSTILE, "instrument": "NPS", "scale": [0, 10], "questions": ["q"], "name": HOSTILE}
    post("survey-definitions", 100, **survey, touchpoint=HOSTILE)
    answered = {"member": "other one", "instrument": "NPS", "scale": [0, 10], "store": HOSTILE, "channel": HOSTILE}
    for week in range(1, WEEKS + 1):
        for score in (9, 3 + week % 7):
            post("survey-answers", 7 * week - 0.5, **answered, answers={"q": score, "why": HOSTILE})
    said = {"objective": OBJECTIVE, "name": OBJECTIVE, "owner": HOSTILE, "unit": "points", "direction": "up"}
    post("objectives", 100, **said, comparator=">=", target="80", period="week")
    for week in range(1, WEEKS + 1):
        on = monday - timedelta(days=7 * week)
        post("measurements", 0, objective=OBJECTIVE, period_on=str(on), value=str(70 + week), evidence=HOSTILE)
    limits = {
        "from_on": str(monday - timedelta(days=7 * WEEKS)),
        "until_on": str(monday - timedelta(days=42)),
        "points": WEEKS - 6,
    }
    of = {"chart": CHART, "kind": "individuals", "figure": "nps", "period": "week", "centre": "10", "sigma": "20"}
    post("baselines", 0, **of, **limits)
    due = str(today - timedelta(days=3))
    post("nonconformities", 9, id=NONCONFORMITY, what=HOSTILE, owner=HOSTILE, due_on=due)
