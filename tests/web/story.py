"""A programme with one of everything that pages show, and hostile text in every field that takes text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ledger.store.database import Database
from service.keys import create_key
from tests.cli.running import Loyalty
from tests.http.serving import TERMS, Api, purchase

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{7*7}}"
MEMBER = "<img src=x onerror=alert(3)>\"'/&{{7*7}}"
RULE = "<b>rule\"'&</b>"
BASE = "/console/programmes/club"


def at(days_ago: float) -> str:
    """An instant of the past as commands have it."""
    return (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()


def member_path(member: str = MEMBER) -> str:
    return f"{BASE}/members/{quote(member, safe='')}"


def tell(api: Api) -> None:
    """Record the story in `club`."""
    numbers = iter(range(1_000_000))

    def post(path: str, days_ago: float, **fields: Any) -> None:
        body = {"id": f"{HOSTILE}{next(numbers)}", "occurred_at": at(days_ago), **fields}
        answer = api.post(path, body)
        assert answer.status_code == 201, answer.text

    document = {
        **TERMS,
        "name": HOSTILE,
        "earning": TERMS["earning"]  # type: ignore[operator]
        | {"multipliers": [{"rule": RULE, "multiplier": "2", "when": {"channels": [HOSTILE]}}], "stacking": "multiply"},
    }
    post("terms", 100, document=document)
    for member in (MEMBER, "other one", "gone"):
        post("members", 90, member=member, attributes={})
    line = {"sku": HOSTILE, "quantity": 1, "amount_minor": 50_000, "category": HOSTILE}
    for days in (80, 50, 20, 3):
        bought = purchase(MEMBER, lines=[line], channel=HOSTILE, store=HOSTILE)
        post("purchases", days, **{name: bought[name] for name in ("member", "currency", "lines", "channel", "store")})
    post("accruals", 19, member="other one", points=50, reason=HOSTILE)
    post("redemptions", 10, member=MEMBER, points=100)
    post("holds", 0, member=MEMBER, points=7, reason=HOSTILE)
    post("adjustments", 2, member=MEMBER, points=-5, reason=HOSTILE, approver=HOSTILE)
    post("complaints", 2, member=MEMBER, category=HOSTILE, touchpoint=HOSTILE)
    due = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    post("follow-ups", 2, member=MEMBER, due_at=due, reason=HOSTILE)
    post("survey-answers", 1, member=MEMBER, instrument="NPS", scale=[0, 10], answers={"q": 9}, touchpoint=HOSTILE)
    post("accruals", 5, member="gone", points=20, reason=HOSTILE)
    post("merges", 0, member="gone", into=MEMBER, reason=HOSTILE)


def refuse(dsn: str, folder: Path, number: int = 3, member: str = HOSTILE, points: int = 10) -> None:
    """Leave refused messages: redemptions of a member that is not there."""
    file = folder / f"refused-{member[:3].strip('<')}.jsonl"
    messages = (
        {"type": "redemption.v1", "id": f"{HOSTILE}r{each}", "source": HOSTILE, "member": member[:64],
         "occurred_at": at(0), "points": points}
        for each in range(number)
    )  # fmt: skip
    file.write_text("".join(json.dumps(message) + "\n" for message in messages))
    Loyalty(LOYALTY_DATABASE_URL=dsn)("ingest", str(file), "--programme", "club", exit_code=3)


def hostile_key(database: Database) -> str:
    """A key with a hostile name, that may do everything."""
    return create_key(database, programme="club", role="admin", name=HOSTILE, source=HOSTILE)[1]
