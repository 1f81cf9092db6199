"""Purchases as upstream teams send them: made once, in order of time, the same for every contender."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from ledger.commands import CreateProgramme, PublishTerms
from ledger.engine import Ledger, Submission

PROGRAMME = "bench"
STARTS_AT = datetime(2025, 1, 1, tzinfo=UTC)
TERMS = Path(__file__).parent.parent / "examples" / "terms" / "grocery.json"


def create_programme(ledger: Ledger, journals: int) -> None:
    """The programme of the benchmarks, with the shipped grocery terms."""
    at = datetime.now(UTC)
    create = CreateProgramme(
        id="create",
        source="bench",
        programme=PROGRAMME,
        occurred_at=at,
        currency="USD",
        time_zone="America/New_York",
        journals=journals,
    )
    publish = PublishTerms(
        id="terms-1", source="bench", programme=PROGRAMME, occurred_at=at, document=json.loads(TERMS.read_text())
    )
    outcomes = ledger.handle([Submission(create), Submission(publish)])
    assert [outcome.status for outcome in outcomes] == ["posted", "posted"], outcomes


def purchases(
    count: int,
    members: int,
    *,
    first: int = 0,
    seed: int = 1,
    starts_at: datetime = STARTS_AT,
    interval_s: int = 60,
) -> list[bytes]:
    """`count` messages of about 300 bytes, of one line, numbered from `first`, spread over `members` members."""
    pick = random.Random(seed + first)
    return [
        msgspec.json.encode(
            {
                "type": "purchase.v1",
                "id": f"order-{number}",
                "source": "pos",
                "programme": PROGRAMME,
                "member": f"M{pick.randrange(members):07d}",
                "occurred_at": starts_at + timedelta(seconds=number * interval_s),
                "currency": "USD",
                "channel": "mini-program",
                "store": f"S-{pick.randrange(100):04d}",
                "lines": [
                    {
                        "sku": f"A{pick.randrange(5_000)}",
                        "category": "coffee",
                        "quantity": 2,
                        "amount_minor": pick.randrange(150, 20_000),
                        "cost_minor": 120,
                    }
                ],
            }
        )
        for number in range(first, first + count)
    ]
