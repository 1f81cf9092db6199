"""Numbers, money, shares and instants as people write them: filters of the templates, one set for each language.

Instants are shown in the time zone of the programme, which the context of a page has as `time_zone`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta, get_timezone_name
from babel.numbers import format_currency, format_decimal, format_percent, get_currency_precision
from jinja2 import pass_context
from jinja2.runtime import Context

NOTHING: Final = "–"
"""Shown where there is nothing to tell."""


def filters(locale: Locale) -> dict[str, Callable[..., str]]:
    """The filters by name; None gives `NOTHING`.

    number: an integer or decimal; `number(2)` rounds to two digits. signed: with + too. percent: a share of 1.
    money: minor units of a currency. instant, day, month: with the time zone of the page. name: part of an address.
    """

    def number(value: float | Decimal | None, digits: int | None = None) -> str:
        if value is None:
            return NOTHING
        pattern = None if digits is None else f"#,##0.{'0' * digits}" if digits else "#,##0"
        return str(format_decimal(value, format=pattern, locale=locale))

    def signed(value: int | None) -> str:
        shown = number(value)
        return f"+{shown}" if value is not None and value > 0 else shown

    def percent(share: float | None, digits: int = 1) -> str:
        if share is None:
            return NOTHING
        return str(format_percent(share, format=f"#,##0.{'0' * digits}%" if digits else "#,##0%", locale=locale))

    @pass_context
    def money(context: Context, minor: float | None, currency: str | None = None) -> str:
        if minor is None:
            return NOTHING
        code = currency or str(context["currency"])
        digits = get_currency_precision(code)
        return str(format_currency(Decimal(minor) / 10**digits, code, locale=locale))

    @pass_context
    def instant(context: Context, at: datetime | None, kind: str = "medium") -> str:
        if at is None:
            return NOTHING
        return str(format_datetime(at, kind, tzinfo=_zone(context), locale=locale))

    @pass_context
    def zone(context: Context, _: Any = None) -> str:
        return str(get_timezone_name(_zone(context), locale=locale))

    def day(on: date | None, kind: str = "medium") -> str:
        return NOTHING if on is None else str(format_date(on, kind, locale=locale))

    def month(on: date | None) -> str:
        return NOTHING if on is None else str(format_date(on, "MMM y" if locale.language == "en" else "y年M月", locale))

    def ago(seconds: float | None) -> str:
        return NOTHING if seconds is None else str(format_timedelta(-seconds, add_direction=True, locale=locale))

    return {
        "number": number,
        "signed": signed,
        "percent": percent,
        "money": money,
        "instant": instant,
        "zone": zone,
        "day": day,
        "month": month,
        "ago": ago,
        "name": lambda text: quote(str(text), safe=""),
        "iso": lambda at: at.isoformat().replace("+00:00", "Z"),
    }


def _zone(context: Context) -> ZoneInfo:
    return ZoneInfo(str(context.get("time_zone") or "UTC"))
