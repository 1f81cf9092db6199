"""Reads of many members stay linear, also where the server has no statistics of the tables yet.

Each statement has seconds for what takes a fraction of one; joined row by row, the plan alone would take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from ledger.store.database import Database, PgCursor
from projections.calendar_periods import Days
from projections.focus import FocusAudit
from projections.focus_links import read_focus_links
from projections.ledger_figures import LEDGER_FIGURES, read_figure
from projections.plan import read_plan

MEMBERS = 2_000
JOURNALS = [1, 2]


@pytest.fixture
def cursor(database: Database) -> Iterator[PgCursor]:
    """Members who each purchased for 10.00 on 12 days, a fifth of them gold; budgets of 9 groups and 400 members."""
    with database.transaction() as cur:
        cur.execute(
            "INSERT INTO trade_days SELECT 1 + m %% 2, 'm' || m, DATE '2026-01-01' + (m * 7 + k * 30) %% 360,"
            " 1, 1, 1000, 0, 0, 0, 400, 0, 0 FROM generate_series(1, %s) m, generate_series(0, 11) k",
            (MEMBERS,),
        )
        cur.execute(
            "INSERT INTO member_profiles SELECT 1 + m %% 2, 'm' || m, 'open', '2026-01-01'"
            " FROM generate_series(1, %s) m",
            (MEMBERS,),
        )
        cur.execute(
            "INSERT INTO member_attributes SELECT 1 + m %% 2, 'm' || m, 'tier',"
            " CASE m %% 5 WHEN 0 THEN 'gold' ELSE 'plain' END FROM generate_series(1, %s) m",
            (MEMBERS,),
        )
        cur.execute(
            "INSERT INTO budgets SELECT 1, 'top_down', measure, level, who, '2026-01-01', '2027-01-01', 1, 1000000,"
            " '2026-01-01' FROM unnest(ARRAY['revenue', 'profit', 'activity']) measure,"
            " (VALUES ('programme', ''), ('segment', 'tier=gold'), ('segment', 'tier=plain')) AS of (level, who)"
        )
        cur.execute(
            "INSERT INTO budgets SELECT 1, 'bottom_up', 'revenue', 'member', 'm' || m, '2026-01-01', '2027-01-01', 1,"
            " 5000, '2026-01-01' FROM generate_series(1, %s) m",
            (MEMBERS // 5,),
        )
    with database.connection() as cur:
        cur.execute("SET statement_timeout = '10s'")
        try:
            yield cur
        finally:
            cur.execute("RESET statement_timeout")


def test_the_plan_of_many(cursor: PgCursor) -> None:
    plan = read_plan(cursor, JOURNALS, "UTC", date(2026, 12, 31))
    actual = {(one.measure, one.level, one.who): one.actual for one in plan.budgets}
    assert actual["revenue", "programme", ""] == 12_000 * MEMBERS
    assert actual["profit", "segment", "tier=gold"] == 12 * 600 * MEMBERS // 5
    assert actual["revenue", "member", ""] == 12_000 * MEMBERS // 5


@pytest.mark.parametrize("name", sorted(LEDGER_FIGURES))
def test_every_figure_of_many(cursor: PgCursor, name: str) -> None:
    (found,) = read_figure(cursor, JOURNALS, name, [Days(date(2026, 1, 1), date(2027, 1, 1))], date(2027, 1, 1))
    expected = {"revenue_minor": 12_000 * MEMBERS, "profit_minor": 7_200 * MEMBERS, "active_members": MEMBERS,
                "inactive_members_percent": 0, "repurchase_rate_percent": 100}  # fmt: skip
    assert found.value == expected.get(name)


def test_the_chain_of_many(cursor: PgCursor) -> None:
    audits = [
        FocusAudit(
            factor="information", segment=segment, assessed_at=datetime(2026, month, 5, tzinfo=UTC),
            assessed_on=date(2026, month, 5), assessor="wu", lowest=Decimal(1), highest=Decimal(5),
            index=Decimal(10 * month), items=[],
        )
        for segment in ("", "tier=gold", "tier=plain") for month in (1, 4, 7, 10)
    ]  # fmt: skip
    links = read_focus_links(cursor, JOURNALS, audits, date(2026, 12, 31), 0)
    assert {link.segment: link.pairs for link in links if link.effect == "value"} == {
        "": 4, "tier=gold": 4, "tier=plain": 4,
    }  # fmt: skip
