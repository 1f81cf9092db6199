"""`loyalty audit replay` and `restate` as an auditor uses them: the example of docs/audit-replay.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Loyalty, rows

END_OF_OCTOBER = "2026-10-31T15:59:59Z"


@pytest.fixture
def restated(loyalty: Loyalty, tmp_path: Path) -> tuple[Loyalty, str, str]:
    """A purchase, then a late one and a return; and the times at which the one and all were known."""
    loyalty("enrol", "M1", "--at", "2026-10-01T08:00:00Z")
    dsn = str(loyalty.settings["LOYALTY_DATABASE_URL"])
    ingest(loyalty, tmp_path, purchase("order-1", "2026-10-05T09:00:00Z", 12_000))
    known_at = newest(dsn)
    more = {"type": "return.v1", "id": "return-1", "purchase": "order-1", "amount_minor": 3_000}
    given_back = {**purchase("", "2026-10-20T09:00:00Z", 0), **more}
    del given_back["lines"]
    ingest(loyalty, tmp_path, purchase("order-2", "2026-10-12T09:00:00Z", 8_000), given_back)
    return loyalty, known_at, newest(dsn)


def purchase(id: str, at: str, amount: int) -> dict[str, Any]:
    line = {"sku": "A1", "quantity": 1, "amount_minor": amount, "category": "drinks"}
    common = {"source": "till", "programme": "demo", "member": "M1", "currency": "CNY"}
    return {"type": "purchase.v1", "id": id, "occurred_at": at, "lines": [line], **common}


def ingest(loyalty: Loyalty, folder: Path, *messages: dict[str, Any]) -> None:
    file = folder / "messages.jsonl"
    file.write_text("".join(json.dumps(message) + "\n" for message in messages))
    loyalty("ingest", str(file))


def newest(dsn: str) -> str:
    return rows(dsn, "SELECT max(recorded_at) FROM events")[0][0].isoformat()  # type: ignore[no-any-return]


def test_what_was_known_then(restated: tuple[Loyalty, str, str]) -> None:
    loyalty, known_at, _ = restated
    then = ("audit", "replay", "--as-of", END_OF_OCTOBER, "--as-known-at", known_at)
    said = loyalty(*then, "--member", "M1").stdout
    assert said.startswith(f"M1 of demo (open) as of {END_OF_OCTOBER} as known at ")
    assert "\nactive\t360\n" in said
    assert "\n2027-11-01\t360\t0\t0\n" in said
    assert "\npurchased_minor\t12000\n" in said
    whole = loyalty.json(*then)
    assert (whole["members"], whole["events"], whole["positions"]) == (1, 3, {"1": 5})
    assert whole["figures"] == loyalty.json(*then, "--member", "M1")["figures"]
    assert whole["value"]["customers"] == 1
    assert "demo as of" in loyalty("audit", "replay").stdout


@pytest.mark.parametrize("which", [("--member", "M1"), ()])
def test_why_it_is_another_now(restated: tuple[Loyalty, str, str], which: tuple[str, ...]) -> None:
    loyalty, known_at, known_again_at = restated
    asked = ("audit", "restate", *which, "--as-of", END_OF_OCTOBER, "--known-at", known_at, "--and", known_again_at)
    said = loyalty(*asked).stdout
    assert "1:8  M1  purchase-returned  occurred 2026-10-20T09:00:00Z" in said
    assert "(late, correction)\n    returned_minor +3,000, returns +1\n" in said
    assert "4 events recorded between" in said
    assert "of them 4 late and 2 corrections" in said
    assert "\nactive\t360\t350\t-10\t-10\n" in said
    *effects, last = map(json.loads, loyalty(*asked, "--json").stdout.splitlines())
    assert [(one["position"], one["changes"].get("active", 0)) for one in effects] == [
        (6, 0),
        (7, 80),
        (8, 0),
        (9, -90),
    ]
    assert last["ok"] is True
    assert last["difference"] == last["explained"]
    assert last["difference"]["purchased_minor"] == 8_000
    loyalty("audit", "restate", "--as-of", known_at, "--known-at", known_again_at, "--and", known_at, exit_code=2)
    loyalty("audit", "restate", "--as-of", known_at, "--known-at", "2100-01-01T00:00:00Z", exit_code=2)  # after now
