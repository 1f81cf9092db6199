"""`loyalty key`: keys of the HTTP API, made, listed and revoked."""

from __future__ import annotations

from typing import Any, Final

import click
from eventsourcing.persistence import IntegrityError

from ledger.rejections import Rejection
from service import keys
from service.console import EXIT_REJECTED, note, say, show_json, show_table, stop
from service.settings import Settings
from service.submitting import programme_of
from service.workspace import opened


@click.group("key")
def key() -> None:
    """Make, list and revoke keys of the HTTP API."""


class Name(click.ParamType):
    """1 to 128 characters, none of them a control character."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not (1 <= len(text) <= keys.NAME_CHARACTERS_MAX and text.isprintable()):
            self.fail(f"{text!r} is not 1 to {keys.NAME_CHARACTERS_MAX} printable characters", param, ctx)
        return text


@key.command("create")
@click.argument("name", type=Name())
@click.option("--role", type=click.Choice(keys.ROLES), required=True, help="What it may do: docs/http.md.")
@click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
@click.option("--every-programme", is_flag=True, help="For every programme, those yet to come too.")
@click.option("--source", type=Name(), default=None, help="The source of the commands that come by it (default: NAME).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    role: keys.Role,
    programme: str,
    every_programme: bool,
    source: str | None,
    as_json: bool,
) -> None:
    """Make a key for NAME and show it: it is not kept, and cannot be shown again."""
    if programme and every_programme:
        raise click.UsageError("--programme and --every-programme do not go together")
    with opened(settings) as workspace:
        of = None if every_programme else programme_of(workspace, programme, settings)
        try:
            made, text = keys.create_key(workspace.database, programme=of, role=role, name=name, source=source or name)
        except IntegrityError:
            stop(
                EXIT_REJECTED,
                f"Refused. {Rejection('PROGRAMME_UNKNOWN', 'programme', 'must be created first', of or '')}",
            )
    if as_json:
        show_json({"key": made.key, "programme": made.programme, "role": role, "source": made.source, "text": text})
        return
    say(text)
    note(
        f"Key {made.key}: {role} of {made.programme or 'every programme'}, source {made.source}."
        " Keep it: it is not shown again."
    )


@key.command("list")
@click.option("--programme", default="", help="Only those for this programme.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line.")
@click.pass_obj
def list_keys(settings: Settings, programme: str, as_json: bool) -> None:
    """List keys, without their secrets."""
    with opened(settings) as workspace:
        found = keys.list_keys(workspace.database, programme=programme)
    if as_json:
        for one in found:
            show_json(one)
        return
    columns = ("key", "programme", "role", "name", "source", "created_at", "last_used_at", "revoked_at")
    show_table(
        columns,
        ([getattr(one, column) or ("*" if column == "programme" else None) for column in columns] for one in found),
    )


@key.command("revoke")
@click.argument("public", metavar="KEY")
@click.pass_obj
def revoke(settings: Settings, public: str) -> None:
    """Revoke KEY, named by its public part. Servers that know it hear of it within seconds."""
    with opened(settings) as workspace:
        try:
            keys.revoke_key(workspace.database, public)
        except keys.KeyUnknown as error:
            raise click.ClickException(str(error)) from error
    say(f"Revoked {public}.")


COMMANDS: Final = (key,)
