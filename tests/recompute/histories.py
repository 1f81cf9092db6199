"""Random histories of trade, points and satisfaction, handled by a ledger of one programme in several journals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from ledger.commands import (
    AnyCommand,
    AttributeCost,
    CreateProgramme,
    PublishTerms,
    PurchaseLine,
    RecordPurchase,
    RecordReturn,
    RecordWalletShare,
    ReturnLine,
)
from ledger.engine import Ledger
from ledger.submissions import Submission
from tests.projections import histories
from tests.satisfaction.histories import ZONE
from tests.satisfaction.histories import History as Satisfaction

BATCH = 40
OFFICE: dict[str, Any] = {"source": "office", "programme": "club", "occurred_at": datetime(2020, 1, 1, tzinfo=UTC)}
CATEGORIES = ("", "tea", "gift", "名前")
CHANNELS = ("", "app", "shop\\1")
RULES: list[dict[str, Any]] = [
    {"rule": "tea", "multiplier": "2", "when": {"categories": ["tea"]}},
    {"rule": "app", "multiplier": {"numerator": 4, "denominator": 3}, "when": {"channels": ["app"]}},
    {"rule": "welcome", "multiplier": "0.75", "when": {"first_purchase": True}},
    {"rule": "weekend", "multiplier": "1.5", "when": {"weekdays": ["sat", "sun"]}},
]
"""Rules of terms, any of which may hold for a line together."""


def terms(seed: int) -> dict[str, Any]:
    """Terms that differ by seed in everything that an accrual or a clawback depends on."""
    base: dict[str, Any] = {
        "tax": ("exclude", "include")[seed % 2],
        "discounts": ("after", "before")[seed // 2 % 2],
        "rewards": ("exclude", "include")[seed // 3 % 2],
    }
    if seed % 3 == 1:
        base["exclude_categories"] = ["gift"]
    if seed % 4 == 3:
        base["include_categories"] = ["tea", "名前", ""]
    earning: dict[str, Any] = {
        **histories.TERMS["earning"],
        "base": base,
        "rate": ("0.5", {"points": 3, "per_minor": 7}, "1")[seed % 3],
        "rounding": ("floor_per_purchase", "half_up_per_line", "half_up_per_purchase", "floor_per_line")[seed % 4],
    }
    if seed % 5:
        earning["multipliers"] = RULES
        earning["stacking"] = ("multiply", "add", "highest", "first")[seed % 4]
    if seed % 2:
        earning["caps"] = {"purchase": 200, "day": 300, "month": 900}
    policy = ("arrears", "within_balance", "only_pending")[seed % 3]
    return {
        **histories.TERMS,
        "time_zone": ZONE,
        "earning": earning,
        "returns": {**histories.TERMS["returns"], "policy": policy},
    }


class Trade(histories.History):
    """As `tests.projections.histories`, with lines of all kinds, returns by line and without a purchase, and costs."""

    def _purchase(self) -> None:
        choose = self._random.choice
        lines = [
            PurchaseLine(
                sku=f"sku{number}",
                quantity=choose([0, 1, 3]),
                amount_minor=choose([0, 30, 99, 250]),
                category=choose(CATEGORIES),
                cost_minor=choose([None, 0, 20]),
                tax_minor=choose([0, 0, 7, 40]),
                discount_minor=choose([0, 0, 15]),
                reward=choose([False, False, False, True]),
            )
            for number in range(self._random.randint(1, 4))
        ]
        where = {"channel": choose(CHANNELS), "store": choose(["", "s1"])}
        self._ask(RecordPurchase, self._who(), self._when(), "purchase", currency="CNY", lines=lines, **where)

    def _return(self) -> None:
        choose = self._random.choice
        member, fields = self._referring("purchase")
        if choose([True, False]):
            lines = [
                ReturnLine(sku=f"sku{choose([0, 1, 9])}", quantity=choose([0, 1]), amount_minor=choose([0, 10, 45]))
                for _ in range(choose([1, 2]))
            ]
            fields = choose([fields, {}])
            self._ask(RecordReturn, member, self._when(), currency="CNY", lines=lines, **fields)
        else:
            amount = choose([None, 10, 60])
            self._ask(RecordReturn, member, self._when(), currency="CNY", amount_minor=amount, **fields)

    def _cost(self) -> None:
        self._ask(AttributeCost, self._who(), self._when(), currency="CNY", amount_minor=self._random.choice([0, 12]))

    def _wallet(self) -> None:
        spend = self._random.choice([0, 90_000])
        self._ask(RecordWalletShare, self._who(), self._when(), currency="CNY", yearly_spend_minor=spend)

    _verbs = (_purchase, _return, _cost, _wallet, *histories.History._verbs[2:])
    _weights = (24, 10, 4, 2, *histories.History._weights[2:])


def opening(seed: int = 0, journals: int = 1) -> list[AnyCommand]:
    """Create the programme `club`, with its terms."""
    return [
        CreateProgramme(id="create", currency="CNY", time_zone=ZONE, journals=journals, **OFFICE),
        PublishTerms(id="terms", document=terms(seed), **OFFICE),
    ]


def record(ledger: Ledger, seed: int, commands: int, journals: int) -> None:
    """Open the programme and handle what two random histories ask for, with terms published again meanwhile."""
    document = terms(seed)
    trade = Trade(seed, commands, members=7, terms=document).commands
    satisfaction = [_renamed(command) for command in Satisfaction(seed, commands // 3, members=4).commands]
    again = PublishTerms(id="more", document={**document, "name": "again"}, **OFFICE)
    half = len(trade) // 2
    handle(ledger, [*opening(seed, journals), *trade[:half], *satisfaction, again, *trade[half:]])


def _renamed(command: Any) -> Any:
    """The same of other members, and of no message that the other history has."""
    names = {name: f"s-{getattr(command, name)}" for name in ("member", "into") if hasattr(command, name)}
    return replace(command, source=f"s-{command.source}", **names)


def handle(ledger: Ledger, commands: list[AnyCommand]) -> None:
    """Handle commands, some at a time."""
    for start in range(0, len(commands), BATCH):
        ledger.handle([Submission(command) for command in commands[start : start + BATCH]])
