"""Fields of forms as what they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from litestar.params import QueryParameter

from service.http.member_reads import instant
from service.http.problems import invalid

LONGEST: Final = 64
AsOfField = Annotated[str, QueryParameter(max_length=LONGEST)]
"""An instant of a form; "" where none is given."""


def instant_field(name: str, text: str, zone: str) -> datetime | None:
    """An instant as a form or a link has it: on the clock of a time zone, or RFC 3339. Raises Problem where it is none.

    Of a time that the clock shows twice it is the first.
    """
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text)
        if local.tzinfo is None:
            return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(name, "must be a date and a time, such as 2026-11-20T04:19", text[:LONGEST]) from None
    return instant(name, text)
