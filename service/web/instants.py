"""Instants as people write them into a form."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from service.web.languages import N_

INSTANT_WANTED: Final = N_("This is no instant: write 2026-10-31T23:59:59 or 2026-10-31T15:59:59Z, or only 2026-10-31.")
YEARS: Final = range(1900, 3000)


def parse_instant(text: str, time_zone: str) -> datetime:
    """An instant as in RFC 3339; without an offset it is in the time zone, and a day alone means its last microsecond.

    Raises ValueError, with a text that is translated where it is shown.
    """
    zone = ZoneInfo(time_zone)
    try:
        if len(text) == len("2026-10-31"):
            found = datetime.combine(date.fromisoformat(text), time.max, zone)
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(INSTANT_WANTED) from None
    if found.year not in YEARS:
        raise ValueError(INSTANT_WANTED)
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
