"""What a purchase earns, the slow and obvious way: straight from the JSON document, in fractions, line by line.

It shares no code with the ledger.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def number(value: Any) -> Fraction:
    match value:
        case {"numerator": numerator, "denominator": denominator}:
            return Fraction(numerator, denominator)
        case _:
            return Fraction(value)


def base_of(line: dict[str, Any], base: dict[str, Any]) -> int:
    category = line.get("category", "")
    if line.get("reward") and base.get("rewards") != "include":
        return 0
    if "include_categories" in base and category not in base["include_categories"]:
        return 0
    if category in base.get("exclude_categories", []):
        return 0
    amount = line["amount_minor"]
    if base.get("tax") != "include":
        amount -= line.get("tax_minor", 0)
    if base.get("discounts") == "before":
        amount += line.get("discount_minor", 0)
    return max(0, amount)


def applies(when: dict[str, Any], line: dict[str, Any], purchase: dict[str, Any], zone: str) -> bool:
    local = purchase["at"].astimezone(ZoneInfo(zone))
    day = local
    if "local_time" in when:
        clock, start, end = local.strftime("%H:%M"), when["local_time"]["from"], when["local_time"]["until"]
        if start < end:
            if not start <= clock < end:
                return False
        elif clock < end:
            day = local - timedelta(days=1)  # the window opened the evening before
        elif clock < start:
            return False
    if "weekdays" in when and DAYS[day.weekday()] not in when["weekdays"]:
        return False
    if "categories" in when and line.get("category", "") not in when["categories"]:
        return False
    if "channels" in when and purchase["channel"] not in when["channels"]:
        return False
    if "stores" in when and purchase["store"] not in when["stores"]:
        return False
    if "first_purchase" in when and purchase["first"] != when["first_purchase"]:
        return False
    if any(purchase["attributes"].get(name) != value for name, value in when.get("attributes", {}).items()):
        return False
    if "from" in when and purchase["at"] < datetime.fromisoformat(when["from"]):
        return False
    return not ("until" in when and purchase["at"] >= datetime.fromisoformat(when["until"]))


def stacked(multipliers: list[Fraction], stacking: str | None) -> Fraction:
    if not multipliers:
        return Fraction(1)
    if stacking == "add":
        total = Fraction(1)
        for multiplier in multipliers:
            total += multiplier - 1
        return max(total, Fraction(0))
    if stacking == "highest":
        return max(multipliers)
    if stacking == "first":
        return multipliers[0]
    product = Fraction(1)
    for multiplier in multipliers:
        product *= multiplier
    return product


def exact_points(document: dict[str, Any], lines: list[dict[str, Any]], purchase: dict[str, Any]) -> list[Fraction]:
    """Points of each line before rounding and caps."""
    earning = document["earning"]
    points = []
    for line in lines:
        fit = [
            number(rule["multiplier"])
            for rule in earning.get("multipliers", [])
            if applies(rule["when"], line, purchase, document["time_zone"])
        ]
        base = base_of(line, earning.get("base", {}))
        points.append(base * number(earning["rate"]) * stacked(fit, earning.get("stacking")))
    return points


def rounded(points: list[Fraction], rounding: str) -> int:
    half = Fraction(1, 2) if rounding.startswith("half_up") else 0
    if rounding.endswith("per_line"):
        return sum(floor(each + half) for each in points)
    return floor(sum(points) + half)


def capped(points: int, caps: dict[str, int], day: int, month: int) -> int:
    room = [points]
    if "purchase" in caps:
        room.append(caps["purchase"])
    if "day" in caps:
        room.append(max(0, caps["day"] - day))
    if "month" in caps:
        room.append(max(0, caps["month"] - month))
    return min(room)
