"""What the command line says: to people on a terminal, in plain lines to a pipe, as JSON to programs.

Exit codes: 0 done; 1 failed, such as a database that cannot be reached; 2 the command line or a file it names is wrong;
3 the ledger refused some or all of what it was given; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NoReturn

import click
import msgspec

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_REJECTED: Final = 3
EXIT_INTERRUPTED: Final = 130


def say(text: str) -> None:
    """A result, on standard output."""
    click.echo(text)


def note(text: str) -> None:
    """Something beside the result, on standard error."""
    click.echo(text, err=True)


def show_json(value: Any) -> None:
    """One line of JSON on standard output."""
    click.echo(msgspec.json.encode(value))


def stop(code: int, text: str = "") -> NoReturn:
    """End with an exit code, and the reason on standard error."""
    if text:
        note(text)
    raise click.exceptions.Exit(code)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on a terminal; lines of values between tabs in a pipe, the names of the columns first.

    A column whose name starts with "#" holds numbers, and loses the "#".
    """
    if not sys.stdout.isatty():
        for row in ([column.removeprefix("#") for column in columns], *rows):
            say("\t".join(_cell(value, grouped=False) for value in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith("#") else "left"
        table.add_column(column.removeprefix("#"), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value, grouped=True) for value in row))
    Console(highlight=False, markup=False).print(table)


def _cell(value: Any, *, grouped: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if grouped else str(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%SZ}" if grouped else instant(value)
    return str(value)


def instant(value: datetime) -> str:
    """An instant as RFC 3339 in UTC, without a fraction if it has none."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 message, 2,000 messages."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
