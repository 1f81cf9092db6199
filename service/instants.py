"""Instants and days on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

import click


class InstantParameter(click.ParamType):
    """RFC 3339 with an offset, such as 2026-11-20T04:19:52Z; kept in UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            if found.tzinfo is None:
                raise ValueError("it has no offset")
            return found.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            wanted = "an instant as in RFC 3339 with an offset, such as 2026-11-20T04:19:52Z"
            raise click.BadParameter(f"{value!r} is not {wanted}: {error}", ctx, param) from error


INSTANT: Final = InstantParameter()


class DayParameter(click.ParamType):
    """A day, such as 2026-11-20."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a day, such as 2026-11-20: {error}", ctx, param) from error


DAY: Final = DayParameter()
