"""Budgets beside what came of them: made by hand through the command line, and at random against a slow oracle."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.commands import PurchaseLine
from ledger.events import (
    BudgetSet,
    CostAttributed,
    MemberEnrolled,
    MembersMerged,
    PurchaseRecorded,
    SurveyAnswered,
)
from ledger.store.database import Database
from projections.plan import read_plan
from projections.runner import Runner
from service.read_models import read_models
from tests.projections.histories import new_journals
from tests.steering_reads.conftest import Club
from tests.steering_reads.histories import record

JANUARY = {"from_on": "2026-01-01", "until_on": "2026-02-01"}


def budget(direction: str, level: str, who: str, measure: str, value: str, **days: str) -> tuple[str, str, dict]:
    fields = {"direction": direction, "level": level, "who": who, "measure": measure, "value": value}
    return "budget.v1", "2026-01-01", {**fields, **(days or JANUARY)}


def planned(club: Club, as_of: str, *options: str) -> tuple[dict[tuple[str, str, str], dict], list[dict]]:
    plan = club.read("plan", "--as-of", as_of, *options)["plan"]
    budgets = {(one["direction"], one["measure"], one["level"] + one["who"]): one for one in plan["budgets"]}
    return budgets, plan["gaps"]


def test_actual_against_plan_to_date(club: Club) -> None:
    """Pro rata by day, up to and with the day, in Shanghai; the members behind it by budget or by equal share."""
    for member, tier in (("ann", "gold"), ("bob", "gold"), ("eve", "plain"), ("kim", "gold")):
        club.member(member, tier=tier)
    late = {"occurred_at": "2026-01-10T16:30:00Z"}  # the 11th in Shanghai
    purchase = club.purchase("bob", "2026-01-10", 5_000, 1_000)
    club.say_all(
        [
            club.purchase("ann", "2026-01-05", 10_000, 4_000),
            club.purchase("eve", "2026-01-10", 3_000),
            (purchase[0], purchase[1], {**purchase[2], **late}),
            ("cost.v1", "2026-01-06", {"member": "ann", "currency": "CNY", "amount_minor": 500}),
            club.answer("ann", "2026-01-07", 10),
            club.answer("bob", "2026-01-08", 7),
            budget("top_down", "programme", "", "revenue", "31000"),
            budget("top_down", "programme", "", "profit", "3100"),
            budget("top_down", "segment", "tier=gold", "profit", "3100"),
            budget("top_down", "segment", "tier=gold", "satisfaction", "90"),
            budget("top_down", "programme", "", "activity", "62"),
            budget("bottom_up", "member", "ann", "revenue", "3100"),
            budget("bottom_up", "member", "kim", "revenue", "31000"),
        ]
    )
    found, _ = planned(club, "2026-01-10")
    revenue = found["top_down", "revenue", "programme"]
    assert (revenue["planned_to_date"], revenue["actual"], revenue["difference"]) == ("10000", "13000", "3000")
    assert [(one["member"], one["basis"], one["planned"], one["actual"]) for one in revenue["members"]] == [
        ("ann", "equal_share", "2500.00", "10000"),
        ("eve", "equal_share", "2500.00", "3000"),
    ]
    profit = found["top_down", "profit", "programme"]
    assert (profit["actual"], profit["actual_known"], profit["unknown_members"]) == (None, "5500", 1)
    assert [one["member"] for one in profit["members"]] == ["ann"]
    gold = found["top_down", "profit", "segmenttier=gold"]
    assert (gold["planned_to_date"], gold["actual"], gold["difference"]) == ("1000", "5500", "4500")
    satisfaction = found["top_down", "satisfaction", "segmenttier=gold"]
    assert (satisfaction["planned_to_date"], satisfaction["actual"]) == ("90", "83.33")
    assert [(one["member"], one["difference"]) for one in satisfaction["members"]] == [
        ("bob", "-23.33"),
        ("ann", "10.00"),
    ]
    assert found["top_down", "activity", "programme"]["actual"] == "2"
    members = found["bottom_up", "revenue", "member"]
    assert (members["budgets"], members["value"], members["planned_to_date"]) == (2, "34100", "11000")
    assert [(one["member"], one["basis"], one["difference"]) for one in members["members"]] == [
        ("kim", "budget", "-10000.00"),
        ("ann", "budget", "9000.00"),
    ]
    found, _ = planned(club, "2026-01-11", "--top", "1")
    assert found["top_down", "revenue", "programme"]["actual"] == "18000"
    assert len(found["top_down", "revenue", "programme"]["members"]) == 1
    found, _ = planned(club, "2026-03-31")
    assert found["top_down", "revenue", "programme"]["planned_to_date"] == "31000"
    text = club.loyalty("plan", "--as-of", "2026-01-10").stdout
    assert "profit of 1 member unknown; of the others 5500" in text
    assert "To the end of 2026-01-10; planned to date is value × days elapsed / days" in text


def test_versions_and_days_ahead(club: Club) -> None:
    """A budget set again counts from when it was set; before its first day nothing is planned and nothing actual."""
    ahead = {"from_on": "2027-01-01", "until_on": "2028-01-01"}
    club.say_all(
        [
            budget("top_down", "programme", "", "revenue", "100"),
            budget("top_down", "programme", "", "revenue", "365", **ahead),
        ]
    )
    club.say("budget.v1", "2026-01-20", **budget("top_down", "programme", "", "revenue", "200")[2])
    plan = club.read("plan", "--as-of", "2026-01-19")["plan"]["budgets"]
    assert [(one["value"], one["version"]) for one in plan] == [("100", 1), ("365", 1)]
    assert (plan[1]["planned_to_date"], plan[1]["actual"], plan[1]["difference"]) == ("0", None, None)
    plan = club.read("plan", "--as-of", "2026-01-20")["plan"]["budgets"]
    assert [(one["value"], one["version"]) for one in plan] == [("200", 2), ("365", 1)]
    assert "not begun" in club.loyalty("plan", "--as-of", "2026-01-20").stdout


def test_gap_between_plans_from_above_and_from_below(club: Club) -> None:
    """Segments are added up by attribute, members all together or by segment; satisfaction is weighted by members."""
    for member, tier, city in (("ann", "gold", "sh"), ("bob", "gold", "bj"), ("eve", "plain", "sh"), ("kim", "", "")):
        club.member(member, **{name: value for name, value in (("tier", tier), ("city", city)) if value})
    february = {"from_on": "2026-02-01", "until_on": "2026-03-01"}
    club.say_all(
        [
            budget("top_down", "programme", "", "revenue", "1000"),
            budget("top_down", "segment", "tier=gold", "revenue", "700"),
            budget("bottom_up", "programme", "", "revenue", "950"),
            budget("bottom_up", "segment", "tier=gold", "revenue", "600"),
            budget("bottom_up", "segment", "tier=plain", "revenue", "250"),
            budget("bottom_up", "segment", "city=sh", "revenue", "990"),
            budget("bottom_up", "segment", "tier=plain", "revenue", "9999", **february),
            budget("bottom_up", "member", "ann", "revenue", "100"),
            budget("bottom_up", "member", "eve", "revenue", "30"),
            budget("top_down", "programme", "", "satisfaction", "80"),
            budget("bottom_up", "segment", "tier=gold", "satisfaction", "90"),
            budget("bottom_up", "segment", "tier=plain", "satisfaction", "60"),
        ]
    )
    _, gaps = planned(club, "2026-01-31")
    found = {(gap["measure"], gap["level"], gap["below"]): (gap["parts"], gap["bottom_up"], gap["gap"]) for gap in gaps}
    assert found == {
        ("revenue", "programme", "stated"): (1, "950", "50"),
        ("revenue", "programme", "segments by tier"): (2, "850", "150"),
        ("revenue", "programme", "segments by city"): (1, "990", "10"),
        ("revenue", "programme", "members"): (2, "130", "870"),
        ("revenue", "segment", "stated"): (1, "600", "100"),
        ("revenue", "segment", "members"): (1, "100", "600"),
        ("satisfaction", "programme", "segments by tier"): (2, "80.00", "0.00"),
    }
    assert "segments by tier (2)" in club.loyalty("plan", "--as-of", "2026-01-31").stdout


def test_nothing_planned_and_days_to_come(club: Club) -> None:
    assert "No budgets" in club.loyalty("plan").stderr
    assert "must not be after today" in club.loyalty("plan", "--as-of", "2999-01-01", exit_code=2).stderr
    assert "is not a day" in club.loyalty("plan", "--as-of", "soon", exit_code=2).stderr


# --- at random, against an oracle -----------------------------------------------------------------------------------

FIRST = date(2026, 1, 1)
RANGES = [(0, 31), (0, 59), (31, 59)]


class Trade:
    """Random trade of members in two journals, some of them merged, and budgets over it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.members = {f"m{number}": number % 2 for number in range(6)}
        self.tiers = {member: self.random.choice(["gold", "plain", None]) for member in self.members}
        self.person = {member: member for member in self.members}
        self.events: list[tuple[int, Any]] = []
        self.rows: list[tuple[str, date, str, Decimal, bool]] = []
        """member, day, measure, amount, whether it is unknown."""
        self.budgets: dict[tuple[Any, ...], int] = {}
        for member, journal in self.members.items():
            tier = self.tiers[member]
            self._say(journal, MemberEnrolled, 0, member=member, attributes={"tier": tier} if tier else {})
        for _ in range(self.random.randrange(60)):
            self._trade()
        for _ in range(self.random.randrange(25)):
            self._budget()
        for _ in range(self.random.randrange(3)):
            self._merge()

    def _say(self, journal: int, kind: Any, day: int, **fields: Any) -> None:
        at = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)
        id = str(len(self.events))
        self.events.append((journal, kind(id=id, source="desk", programme="club", occurred_at=at, **fields)))

    def _trade(self) -> None:
        member, day = self.random.choice(list(self.members)), self.random.randrange(70)
        journal, on = self.members[member], FIRST + timedelta(days=day)
        what = self.random.random()
        if what < 0.5:
            amount, cost = self.random.randrange(1000), self.random.choice([None, *[self.random.randrange(500)] * 6])
            line = PurchaseLine(sku="A", quantity=1, amount_minor=amount, cost_minor=cost)
            far = datetime(2027, 1, 1, tzinfo=UTC)
            self._say(
                journal, PurchaseRecorded, day, member=member, currency="CNY", lines=[line], terms=1,
                returnable_until=far, keep_until=far,
            )  # fmt: skip
            self.rows.append((member, on, "revenue", Decimal(amount), False))
            self.rows.append((member, on, "profit", Decimal(amount - (cost or 0)), cost is None))
            self.rows.append((member, on, "activity", Decimal(1), False))
        elif what < 0.7:
            amount = self.random.randrange(300)
            self._say(journal, CostAttributed, day, member=member, currency="CNY", amount_minor=amount)
            self.rows.append((member, on, "profit", Decimal(-amount), False))
        else:
            score = self.random.randint(1, 5)
            self._say(
                journal, SurveyAnswered, day, member=member, instrument="ACSI", answers={"q": score}, scale=(1, 5)
            )
            self.rows.append((member, on, "satisfaction", Decimal(25 * (score - 1)), False))

    def _budget(self) -> None:
        level, who = self.random.choice(
            [("programme", ""), ("segment", "tier=gold"), *[("member", f"m{n}") for n in range(6)]]
        )
        key = (
            self.random.choice(["top_down", "bottom_up"]),
            self.random.choice(["revenue", "profit", "satisfaction", "activity"]),
            level, who, *self.random.choice(RANGES),
        )  # fmt: skip
        self.budgets[key] = value = self.random.randrange(100)
        days = {name: FIRST + timedelta(days=day) for name, day in zip(("from_on", "until_on"), key[4:], strict=True)}
        version = 1 + sum(isinstance(event, BudgetSet) for _, event in self.events)
        self._say(
            0, BudgetSet, 0, direction=key[0], measure=key[1], level=level, who=who, value=str(value), version=version,
            **days,
        )  # fmt: skip

    def _merge(self) -> None:
        alive = [member for member in self.members if self.person[member] == member]
        member, other = self.random.sample(alive, 2)
        self._say(self.members[member], MembersMerged, 71, member=member, side="out", other=other)
        self._say(self.members[other], MembersMerged, 71, member=other, side="in", other=member)
        self.person = {name: other if person == member else person for name, person in self.person.items()}

    # --- what it should come to

    def actual(self, measure: str, level: str, who: str, from_on: int, until_on: int) -> tuple[Decimal | None, int]:
        """By adding up rows one by one; and how many persons have an unknown profit."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        counts: dict[str, int] = defaultdict(int)
        unknown = set()
        for member, day, of, amount, is_unknown in self.rows:
            person = self.person[member]
            within = FIRST + timedelta(days=from_on) <= day < FIRST + timedelta(days=until_on)
            inside = {"programme": True, "segment": self.tiers[person] == "gold", "member": person == who}[level]
            if of == measure and within and inside:
                sums[person] += amount
                counts[person] += 1
                if is_unknown:
                    unknown.add(person)
        if measure == "satisfaction":
            total = sum(counts.values())
            return (sum(sums.values()) / total).quantize(Decimal("0.01")) if total else None, 0
        return sum((amount for person, amount in sums.items() if person not in unknown), Decimal(0)), len(unknown)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**9), day=st.sampled_from([0, 10, 30, 31, 45, 80]))
def test_every_actual_is_what_adding_up_by_hand_gives(database: Database, seed: int, day: int) -> None:
    """Programme, segment and members, over merged members in two journals, at any day."""
    trade = Trade(seed)
    name = f"club-{uuid4()}"
    journals = new_journals(database, 2, name)
    with database.connection() as cur:
        cur.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals) VALUES (%s, '', 'CNY', 'UTC', 2)",
            (name,),
        )
    versions: list[dict[str, int]] = [{}, {}]
    for journal, event in trade.events:
        record(database, journals[journal], [event], versions[journal])
    Runner(database, read_models()).run_once()
    with database.connection() as cur:
        plan = read_plan(cur, journals, "UTC", FIRST + timedelta(days=day), 100)
    wanted = {key for key in trade.budgets if key[2] != "member"} | {
        (*key[:2], "member", "", *key[4:]) for key in trade.budgets if key[2] == "member"
    }
    found = {
        (one.direction, one.measure, one.level, one.who, (one.from_on - FIRST).days, (one.until_on - FIRST).days): one
        for one in plan.budgets
    }
    assert set(found) == wanted
    for key, report in found.items():
        _, measure, level, who, from_on, until_on = key
        to = min(until_on, day + 1)
        elapsed = max(0, to - from_on)
        same = [value for other, value in trade.budgets.items() if (*other[:3], *other[4:]) == (*key[:3], *key[4:])]
        if level != "member":
            value = trade.budgets[key]
            assert (report.value, report.days_elapsed) == (value, elapsed)
            exact = Fraction(value) if measure == "satisfaction" else Fraction(value * elapsed, until_on - from_on)
            assert abs(Fraction(report.planned_to_date) - exact) <= Fraction(1, 2)
            actual, unknown = trade.actual(measure, level, who, from_on, to)
            assert report.unknown_members == unknown
            assert report.actual_known == (actual if elapsed else None)
            assert report.actual == (None if unknown or not elapsed else actual)
        else:
            assert report.budgets == len(same)
            for one in report.members:
                actual, unknown = trade.actual(measure, level, one.member, from_on, to)
                assert (one.actual, unknown) == (actual, 0)


@pytest.mark.parametrize("level", ["programme", "segment"])
def test_shares_are_of_open_members(club: Club, level: str) -> None:
    """Who left counts with what it bought, and not as one that the rest is shared among."""
    for member in ("ann", "bob", "eve"):
        club.member(member, tier="gold")
    club.say_all([club.purchase("eve", "2026-01-05", 900), ("closure.v1", "2026-01-06", {"member": "eve"})])
    club.say_all([budget("top_down", level, "" if level == "programme" else "tier=gold", "revenue", "3100")])
    ((_, report),) = planned(club, "2026-01-10")[0].items()
    assert report["actual"] == "900"
    assert [(one["member"], one["planned"]) for one in report["members"]] == [("eve", "500.00")]
