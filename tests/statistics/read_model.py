"""Lifetime figures as their projection keeps them, written straight from a list of trades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from zlib import crc32

from msgspec import Struct
from psycopg2.extras import execute_values

from ledger.store.database import Database
from ledger.store.journal import create_journals
from tests.statistics.cdnow import daily_values


class Day(Struct, frozen=True):
    """What one member did on one day, in minor units."""

    member: str
    day: date
    purchases: int = 1
    revenue: int = 0
    returned: int = 0
    cost: int = 0
    uncosted: int = 0


def programme(database: Database, name: str, journals: int = 1, time_zone: str = "UTC") -> list[int]:
    """A programme without any event; its journals."""
    with database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO programmes (programme, name, currency, time_zone, journals) VALUES (%s, '', 'USD', %s, %s)",
            (name, time_zone, journals),
        )
        return create_journals(cursor, "programme", name, journals)


def fill(
    database: Database,
    journals: list[int],
    days: Iterable[Day],
    survivors: Mapping[str, str] | None = None,
    statuses: Mapping[str, str] | None = None,
) -> None:
    """Write the rows of members and their days; `survivors` says who was merged into whom."""
    days = list(days)
    survivors, statuses = survivors or {}, statuses or {}
    members = {day.member for day in days} | set(survivors) | set(survivors.values()) | set(statuses)
    first: dict[str, date] = {}
    for day in days:
        if day.purchases:
            first[day.member] = min(day.day, first.get(day.member, day.day))

    def journal_of(member: str) -> int:
        return journals[crc32(member.encode()) % len(journals)]

    with database.transaction() as cursor:
        execute_values(
            cursor,
            "INSERT INTO lifetime (journal, member, status, survivor, first_day, points_earned, points_redeemed,"
            " channels, stores, active_months, purchases, units, revenue_minor, returns, returned_units,"
            " returned_minor, goods_cost_minor, attributed_cost_minor, uncosted_lines) VALUES %s",
            [
                (
                    *(journal_of(member), member, "merged" if member in survivors else statuses.get(member, "open")),
                    *(survivors.get(member), first.get(member), 0, 0, [], [], [], 0, 0, 0, 0, 0, 0, 0, 0, 0),
                )
                for member in sorted(members)
            ],
            template=f"({', '.join(['%s'] * 7)}, %s::text[], %s::text[], %s::integer[], {', '.join(['%s'] * 9)})",
        )
        execute_values(
            cursor,
            "INSERT INTO trade_days (journal, member, day, purchases, revenue_minor, returned_minor, goods_cost_minor,"
            " uncosted_lines, attributed_cost_minor, units, returns, returned_units) VALUES %s",
            [
                (
                    journal_of(d.member),
                    d.member,
                    d.day,
                    d.purchases,
                    d.revenue,
                    d.returned,
                    d.cost,
                    d.uncosted,
                    0,
                    0,
                    0,
                    0,
                )
                for d in days
            ],
        )


def cdnow_days(uncosted: int = 1) -> list[Day]:
    """CDNOW as days of members, in cents, costs unknown."""
    return [
        Day(customer, day, revenue=cents, uncosted=uncosted)
        for customer, days in daily_values().items()
        for day, cents in days.items()
    ]
