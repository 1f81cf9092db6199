"""Single commands from the command line: the options they share, and what is said of their outcome.

A command is built as the message that any other way in would bring, and decoded like one: so it means the same, and is
refused in the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import click
import msgspec
from msgspec import Struct

from consumers.inbound import decode
from ledger import codec
from ledger.commands import AnyCommand
from ledger.events import Event
from ledger.programmes import ProgrammeInfo, read_programme
from ledger.rejections import Rejection
from ledger.store.journal import find_commands, read_light
from ledger.submissions import Malformed, Outcome, Submission
from ledger.transaction import command_key
from service.console import EXIT_REJECTED, instant, note, say, show_json, stop
from service.settings import Settings
from service.workspace import Workspace, opened


class Given(Struct, frozen=True, kw_only=True):
    """What the shared options of a command say."""

    settings: Settings
    programme: str
    key: str
    source: str
    at: str
    as_json: bool


def command_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every single command has; the function gets them as its first argument, a `Given`."""

    @click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
    @click.option("--key", default="", help="The id of the command: given again, it is not recorded twice.")
    @click.option("--source", default="cli", show_default=True, help="Who sends it; source and key identify it.")
    @click.option("--at", default="", help="Business time, RFC 3339 with an offset (default: now).")
    @click.option("--json", "as_json", is_flag=True, help="The outcome as JSON.")
    @click.pass_obj
    def command(
        settings: Settings, /, *, programme: str, key: str, source: str, at: str, as_json: bool, **arguments: Any
    ) -> None:
        given = Given(settings=settings, programme=programme, key=key, source=source, at=at, as_json=as_json)
        function(given, **arguments)

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__click_params__ = [  # type: ignore[attr-defined]
        *getattr(function, "__click_params__", []),
        *command.__click_params__,  # type: ignore[attr-defined]
    ]
    return command


def submit(given: Given, type_: str, did: str, **fields: Any) -> None:
    """Hand one command to the ledger and say what became of it; ends with exit code 3 if it is refused.

    `did` says what was done if it is. Fields that are None are left out of the message.
    """
    with opened(given.settings) as workspace:
        submit_to(workspace, given, type_, did, **fields)


def submit_to(workspace: Workspace, given: Given, type_: str, did: str, **fields: Any) -> None:
    """As `submit`, to a ledger that is open already."""
    message, outcome = hand_over(workspace, given, type_, **fields)
    show_outcome(given, message, outcome, did)


def hand_over(workspace: Workspace, given: Given, type_: str, **fields: Any) -> tuple[dict[str, Any], Outcome]:
    """Hand one command to the ledger; the message that it was taken as, and its outcome."""
    programme = fields.pop("programme", None) or programme_of(workspace, given.programme, given.settings)
    message = {
        "type": type_,
        "id": given.key or f"{type_.partition('.')[0]}-{uuid4()}",
        "source": given.source,
        "programme": programme,
        "occurred_at": given.at or instant(datetime.now(UTC)),
        **{name: value for name, value in fields.items() if value is not None},
    }
    command = decode(msgspec.json.encode(message))
    if isinstance(command, Malformed):
        return message, Outcome("rejected", rejection=command.rejection)
    command, outcome = _handled(workspace, given, command)
    message["occurred_at"] = instant(command.occurred_at)
    return message, outcome


def events_of(workspace: Workspace, outcome: Outcome) -> list[Event]:
    """The events that a command recorded."""
    with workspace.database.connection() as cursor:
        rows = read_light(cursor, outcome.journal, after=outcome.first - 1, limit=outcome.last - outcome.first + 1)
    return [codec.decode(row[3], row[4]) for row in rows]


def _handled(workspace: Workspace, given: Given, command: AnyCommand) -> tuple[AnyCommand, Outcome]:
    """Hand a command to the ledger; the command as it was taken, and its outcome.

    Repeated with its key but without a time, it would differ from the first by the clock alone: it is then taken as of
    the time of the first, so that repeating a command line with its key is always safe.
    """
    (outcome,) = workspace.ledger.handle([Submission(command)])
    if given.key and not given.at and outcome.rejection and outcome.rejection.code == "IDEMPOTENCY_CONFLICT":
        recorded = _time_recorded(workspace, command)
        if recorded is not None:
            command = msgspec.structs.replace(command, occurred_at=recorded)
            (outcome,) = workspace.ledger.handle([Submission(command)])
    return command, outcome


def _time_recorded(workspace: Workspace, command: AnyCommand) -> datetime | None:
    """The business time under which a command's key is recorded."""
    key = command_key(command.source, command.id)
    with workspace.database.connection() as cursor:
        info = read_programme(cursor, command.programme)
        for journal in info.journals if info else ():
            recorded = find_commands(cursor, journal, [key]).get(key)
            if recorded is not None:
                (row,) = read_light(cursor, journal, after=recorded[1] - 1, limit=1)
                return codec.decode(row[3], row[4]).occurred_at
    return None


def show_outcome(given: Given, message: dict[str, Any], outcome: Outcome, did: str) -> None:
    """Say what became of a command; ends with exit code 3 if it was refused."""
    if given.as_json:
        at_least = f"{outcome.journal}:{outcome.last}" if outcome.last else None
        named = {"key": message["id"], "source": message["source"], "occurred_at": message["occurred_at"]}
        show_json({**msgspec.to_builtins(outcome), **named, "at_least": at_least})
    elif outcome.rejection is not None:
        refuse(outcome.rejection)
    else:
        say(did if outcome.status == "posted" else "Nothing new: it had been recorded before, with the same input.")
        note(
            f"  key {message['id']}, at {message['occurred_at']}; journal {outcome.journal},"
            f" position {outcome.last} (--at-least {outcome.journal}:{outcome.last})"
        )
    if outcome.rejection is not None:
        stop(EXIT_REJECTED)


def refuse(rejection: Rejection) -> None:
    """Say why something was refused: code, field, rule and value."""
    note(f"Refused. {rejection}")


def programme_of(workspace: Workspace, named: str, settings: Settings) -> str:
    """The programme that an option or the settings name, or else the only one there is.

    Raises click.UsageError when there is none, or several to choose from.
    """
    if named or settings.programme:
        return named or settings.programme
    with workspace.database.connection() as cursor:
        cursor.execute("SELECT programme FROM programmes ORDER BY programme LIMIT 20")
        found = [name for (name,) in cursor.fetchall()]
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise click.UsageError("there is no programme yet: loyalty programme create")
    raise click.UsageError(f"name one with --programme: {', '.join(found)}")


def programme_info(workspace: Workspace, named: str, settings: Settings) -> ProgrammeInfo:
    """As `programme_of`, with its journals and terms. Raises click.ClickException when there is no such programme."""
    name = programme_of(workspace, named, settings)
    with workspace.database.connection() as cursor:
        info = read_programme(cursor, name)
    if info is None:
        raise click.ClickException(f"there is no programme {name!r}: loyalty programme list")
    return info
