"""`loyalty audit key`, `checkpoint`, `cosign` and `proof`: what is shown to those who do not trust this database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Any, Final, TypeVar

import click

from audit import verify_proof
from audit.checkpoints import (
    HeadSigned,
    StoredCheckpoint,
    add_cosignatures,
    checkpoint_of_size,
    newest_checkpoint,
    sign_heads,
)
from audit.notes import SigningKey, read_key, write_key
from audit.proofs import ProofError, prove_consistency, prove_event
from audit.verify_proof import Refused, VerifierKey, parse_key
from ledger.store.database import Database, PgCursor
from ledger.store.journal import find_commands, find_journals
from ledger.transaction import command_key
from service.console import EXIT_FAILURE, count, note, say, show_json, show_table, stop
from service.options import setting_option
from service.settings import Settings
from service.stopping import stopping
from service.workspace import opened

KEY_FILE: Final = "LOYALTY_CHECKPOINT_KEY_FILE"
VERIFIER_KEYS: Final = "LOYALTY_VERIFIER_KEYS"

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Key(click.ParamType):
    """A verifier key."""

    name = "vkey"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VerifierKey:
        if isinstance(value, VerifierKey):
            return value
        try:
            return parse_key(value)
        except Refused as error:
            self.fail(str(error), param, ctx)


def key_option(function: F) -> F:
    """Add the option of trusted verifier keys."""
    option = setting_option(
        "--key",
        "keys",
        field="verifier_keys",
        type=Key(),
        multiple=True,
        help="A verifier key that is trusted, of the ledger or a witness; may be repeated.",
    )
    return option(function)


def say_checkpoints(number: int, *, signed: bool) -> None:
    """Say how many checkpoints agree with the events, if there are any or keys were given to check them."""
    if number or signed:
        by_whom = ", signed by keys that are trusted" if signed else "; who signed them was not checked (--key)"
        say(f"Checkpoints that agree: {number:,}{by_whom}.")


def key_file_option(function: F) -> F:
    """Add the option of the file with the private key."""
    option = setting_option(
        "--key-file",
        field="checkpoint_key_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The file with the private key.",
    )
    return option(function)


def journal_options(function: F) -> F:
    """Add the options that name journals."""
    function = click.option("--programme", default="", help="Those of this programme only.")(function)
    return click.option("--journal", type=click.IntRange(1), default=None, help="This one only.")(function)


# --- keys -----------------------------------------------------------------------------------------------------------


@click.group("key")
def key_group() -> None:
    """The key that checkpoints are signed with."""


@key_group.command("new")
@click.option("--name", required=True, help="Whose key it is, such as loyalty.example: origins begin with it.")
@key_file_option
def key_new(name: str, key_file: Path | None) -> None:
    """Make a private key in a new file, and print its verifier key: give that to everybody who is to check proofs."""
    path = _required(key_file)
    try:
        key = SigningKey.generate(name)
        write_key(path, key)
    except Refused as error:
        raise click.BadParameter(str(error), param_hint="--name") from error
    except FileExistsError as error:
        raise click.ClickException(f"{path}: exists already; a key is never overwritten") from error
    note(f"Wrote the private key to {path}, readable by its owner only. The verifier key:")
    say(str(key.verifier_key))


@key_group.command("show")
@key_file_option
def key_show(key_file: Path | None) -> None:
    """Print the verifier key of the private key."""
    say(str(read_signing_key(key_file).verifier_key))


def _required(key_file: Path | None) -> Path:
    if key_file is None:
        raise click.UsageError(f"no file for the private key: give --key-file or set {KEY_FILE}")
    return key_file


def read_signing_key(key_file: Path | None) -> SigningKey:
    """The private key in the file that was given, or that the environment names."""
    path = _required(key_file)
    try:
        return read_key(path)
    except Refused as error:
        raise click.ClickException(f"{path}: {error}") from error


# --- checkpoints ----------------------------------------------------------------------------------------------------


@click.command("checkpoint")
@journal_options
@key_file_option
@key_option
@click.option("--every", type=click.FloatRange(min=0, min_open=True), help="Again every so many seconds, until Ctrl-C.")
@click.option("--show", is_flag=True, help="List the newest checkpoints instead of signing.")
@click.option("--export", is_flag=True, help="Print the note of one journal's newest checkpoint instead of signing.")
@click.option("--size", type=click.IntRange(1), default=None, help="With --export: the checkpoint of so many events.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def checkpoint(
    settings: Settings,
    journal: int | None,
    programme: str,
    key_file: Path | None,
    keys: tuple[VerifierKey, ...],
    every: float | None,
    show: bool,
    export: bool,
    size: int | None,
    as_json: bool,
) -> None:
    """Sign the heads of the journals. Exit code 1 if one is not what was signed before: then it is not signed."""
    if show and export:
        raise click.UsageError("--show and --export exclude each other")
    if show:
        _show(_reading(settings, lambda cur: _newest(cur, journal, programme)), as_json)
    elif export:
        _export(_reading(settings, lambda cur: _of_size(cur, _one_journal(cur, journal, programme), size)))
    else:
        _sign(settings, journal, programme, read_signing_key(key_file), keys, every, as_json)


def _sign(
    settings: Settings,
    journal: int | None,
    programme: str,
    key: SigningKey,
    keys: tuple[VerifierKey, ...],
    every: float | None,
    as_json: bool,
) -> None:
    refused = False
    with opened(settings) as workspace, stopping() as stopped:
        while True:
            started = time.monotonic()
            with workspace.database.connection() as cur:
                journals = _journals(cur, journal, programme)
            heads = sign_heads(workspace.database, key, journals, keys)
            refused = refused or any(head.refusal for head in heads)
            _say_heads(heads, as_json)
            if every is None or stopped.wait(max(0.0, started + every - time.monotonic())):
                break
    if refused:
        stop(EXIT_FAILURE)


def _say_heads(heads: list[HeadSigned], as_json: bool) -> None:
    if as_json:
        show_json({"heads": heads})
    for head in heads:
        if head.refusal is not None:
            note(f"journal {head.journal} ({head.name}): NOT signed: {head.refusal}")
        elif not as_json:
            words = "signed" if head.signed else "was signed already"
            say(f"journal {head.journal} ({head.name}): the checkpoint of {count(head.size, 'event')} {words}")


def _show(found: list[tuple[StoredCheckpoint, str]], as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "checkpoints": [
                    {
                        "journal": stored.journal,
                        "name": name,
                        "size": stored.size,
                        "root": stored.root.hex(),
                        "signed_at": stored.signed_at,
                        "note": stored.note,
                    }
                    for stored, name in found
                ]
            }
        )
        return
    show_table(
        ["#journal", "name", "#events", "signed at", "signed by", "root"],
        [
            (
                stored.journal,
                name,
                stored.size,
                stored.signed_at,
                ", ".join(one.name for one in verify_proof.parse_note(stored.note).signatures),
                stored.root.hex(),
            )
            for stored, name in found
        ],
    )


def _export(stored: StoredCheckpoint) -> None:
    click.echo(stored.note, nl=False)


def _newest(cur: PgCursor, journal: int | None, programme: str) -> list[tuple[StoredCheckpoint, str]]:
    cur.execute("SELECT journal, name FROM journals ORDER BY journal")
    names: dict[int, str] = dict(cur.fetchall())
    found = [newest_checkpoint(cur, number) for number in _journals(cur, journal, programme) or names]
    return [(stored, names[stored.journal]) for stored in found if stored is not None]


def _of_size(cur: PgCursor, journal: int, size: int | None) -> StoredCheckpoint:
    stored = newest_checkpoint(cur, journal) if size is None else checkpoint_of_size(cur, journal, size)
    if stored is None:
        raise click.ClickException(f"journal {journal} has no checkpoint" + (f" of {size} events" if size else ""))
    return stored


def _journals(cur: PgCursor, journal: int | None, programme: str) -> list[int] | None:
    """The journals that the options name; None where they name none."""
    if journal is not None:
        cur.execute("SELECT 1 FROM journals WHERE journal = %s AND %s IN ('', name)", (journal, programme))
        if cur.fetchone() is None:
            raise click.ClickException(f"there is no journal {journal}" + (f" of {programme}" if programme else ""))
        return [journal]
    if not programme:
        return None
    found = find_journals(cur, "programme", programme)
    if not found:
        raise click.ClickException(f"there is no programme {programme!r}")
    return found


def _one_journal(cur: PgCursor, journal: int | None, programme: str) -> int:
    """The only journal that the options leave."""
    found = _journals(cur, journal, programme)
    if found is None:
        cur.execute("SELECT journal FROM journals ORDER BY journal")
        found = [number for (number,) in cur.fetchall()]
    if len(found) != 1:
        raise click.UsageError(f"there are {count(len(found), 'journal')}: name one with --journal")
    return found[0]


def _reading(settings: Settings, work: Callable[[PgCursor], T]) -> T:
    """What reading gives, as the role that may only read."""
    with opened(settings) as workspace:
        reader = Database(workspace.database.dsn, "loyalty_reader", pool_size=1)
        try:
            with reader.connection() as cur:
                return work(cur)
        finally:
            reader.close()


@click.command("cosign")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@key_option
@click.pass_obj
def cosign(settings: Settings, file: Any, keys: tuple[VerifierKey, ...]) -> None:
    """Store what witnesses signed: FILE is a checkpoint's note with their lines, as a witness gives it back."""
    if not keys:
        raise click.UsageError(f"no keys of witnesses: give --key or set {VERIFIER_KEYS}")
    text = file.read()
    with opened(settings) as workspace, workspace.database.transaction() as cur:
        try:
            stored, found = add_cosignatures(cur, text, keys)
        except Refused as error:
            raise click.ClickException(f"{file.name}: {error}") from error
    for one in found:
        say(f"journal {stored.journal}: {stored} is cosigned by {one.key.name}")


# --- proofs ---------------------------------------------------------------------------------------------------------


@click.group("proof")
def proof_group() -> None:
    """Write proofs that anybody can check without this ledger."""


TO_FILE: Final = click.option(
    "--to", "file", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="The file (default: print it)."
)


@proof_group.command("event")
@click.argument("position", type=click.IntRange(1), required=False)
@click.option("--source", default="cli", show_default=True, help="With --id: who sent the command.")
@click.option("--id", "id_", default="", help="The id of the command whose (first) event it is, instead of POSITION.")
@journal_options
@TO_FILE
@click.pass_obj
def proof_event(
    settings: Settings, position: int | None, source: str, id_: str, journal: int | None, programme: str, file: Any
) -> None:
    """Prove that the event at POSITION of a journal is in its newest checkpoint."""
    if (position is None) == (not id_):
        raise click.UsageError("name the event by POSITION or by --id, one of them")

    def prove(cur: PgCursor) -> dict[str, Any]:
        if position is None:
            return prove_event(cur, *_event_of_command(cur, source, id_, journal, programme))
        return prove_event(cur, _one_journal(cur, journal, programme), position)

    _write(settings, prove, file)


def _event_of_command(cur: PgCursor, source: str, id_: str, journal: int | None, programme: str) -> tuple[int, int]:
    """Journal and position of the first event of a command, in the first of the journals that have it."""
    journals = _journals(cur, journal, programme)
    if journals is None:
        cur.execute("SELECT journal FROM journals WHERE kind = 'programme' ORDER BY journal")
        journals = [number for (number,) in cur.fetchall()]
    key = command_key(source, id_)
    found = {number: recorded[key] for number in journals if key in (recorded := find_commands(cur, number, [key]))}
    if not found:
        raise click.ClickException(f"nothing is recorded of a command with the source {source!r} and the id {id_!r}")
    for number, (_, first, events) in found.items():
        note(f"The command recorded positions {first} to {first + events - 1} of journal {number}.")
    if len(found) > 1:
        raise click.UsageError("the command recorded events in several journals: name one with --journal")
    ((number, (_, first, _)),) = found.items()
    return number, first


@proof_group.command("consistency")
@click.option("--from", "first", type=click.IntRange(1), required=True, help="Events of the earlier checkpoint.")
@click.option(
    "--to-size", "second", type=click.IntRange(1), help="Events of the later checkpoint (default: the newest)."
)
@journal_options
@TO_FILE
@click.pass_obj
def proof_consistency(
    settings: Settings, first: int, second: int | None, journal: int | None, programme: str, file: Any
) -> None:
    """Prove that a later checkpoint continues an earlier one: that nothing before it was changed."""
    _write(settings, lambda cur: prove_consistency(cur, _one_journal(cur, journal, programme), first, second), file)


@proof_group.command("verifier")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def proof_verifier(file: Path) -> None:
    """Copy the program that checks proofs to FILE: it needs Python and the package cryptography, and no ledger."""
    copyfile(verify_proof.__file__, file)
    note(f"Wrote {file}. Run: python {file} PROOF --key VKEY")


def _write(settings: Settings, prove: Callable[[PgCursor], dict[str, Any]], file: Any) -> None:
    try:
        document = _reading(settings, prove)
    except ProofError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(document, ensure_ascii=False, indent=1), file=file)


COMMANDS: Final = (key_group, checkpoint, cosign, proof_group)
