"""`loyalty export` and `loyalty import-ledger`: the log as Parquet files with their proof, and a ledger from them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from audit.export import export
from audit.export_check import check_export
from audit.import_ledger import import_ledger
from audit.manifest import MANIFEST, ExportError, Manifest
from audit.verify_proof import VerifierKey
from service.cli_proofs import key_option, say_checkpoints
from service.console import EXIT_FAILURE, count, say, show_json, stop
from service.progress import progress_bar
from service.settings import Settings
from service.workspace import opened

FOLDER: Final = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER: Final = click.Path(file_okay=False, exists=True, path_type=Path)


@click.command("export")
@click.option("--to", "folder", type=FOLDER, help="Export to this folder, or bring the export in it up to date.")
@click.option("--check", "checked", type=EXISTING_FOLDER, help="Check the export in this folder, without a database.")
@click.option("--programme", "programmes", multiple=True, help="Only this one; may be repeated (default: all).")
@click.option("--from-scratch", is_flag=True, help="Remove what is exported there, and export all anew.")
@key_option
@click.option("--json", "as_json", is_flag=True, help="What the export holds as JSON.")
@click.pass_obj
def export_command(
    settings: Settings,
    folder: Path | None,
    checked: Path | None,
    programmes: tuple[str, ...],
    from_scratch: bool,
    keys: tuple[VerifierKey, ...],
    as_json: bool,
) -> None:
    """Write the events as Parquet segments with a manifest of their hashes, or check such an export.

    Who signed the checkpoints in it is only checked with --key.

    It may run beside writers, be stopped and run again: it goes on where it was, and a later one adds what is new.
    """
    if (folder is None) == (checked is None):
        raise click.UsageError("either --to DIR or --check DIR must be given")
    if checked is not None:
        if programmes or from_scratch:
            raise click.UsageError("--check checks all that is there: --programme and --from-scratch belong to --to")
        _check(checked, keys, as_json)
        return
    assert folder is not None
    with opened(settings) as workspace, progress_bar("exporting") as told:
        try:
            report = export(
                workspace.database.dsn, folder, programmes or None, from_scratch=from_scratch, on_progress=told
            )
        except ExportError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        show_json({"written": report.written, **_summary(report.manifest)})
        return
    _say_journals(report.manifest)
    say(f"Exported {count(report.written, 'event')}; {folder} holds {count(report.manifest.events, 'event')}.")
    say(f"SHA-256 of {MANIFEST}: {report.manifest.sha256}")


def _check(folder: Path, keys: tuple[VerifierKey, ...], as_json: bool) -> None:
    try:
        with progress_bar("checking") as told:
            manifest = check_export(folder, keys=keys, on_progress=told)
    except ExportError as error:
        if as_json:
            show_json({"ok": False, "problem": str(error)})
            stop(EXIT_FAILURE)
        raise click.ClickException(str(error)) from error
    if as_json:
        show_json({"ok": True, **_summary(manifest)})
        return
    _say_journals(manifest)
    say_checkpoints(len(manifest.checkpoints), signed=bool(keys))
    say(f"The export is whole and unchanged: {count(manifest.events, 'event')}, manifest {manifest.sha256}.")


@click.command("import-ledger")
@click.argument("folder", type=EXISTING_FOLDER, metavar="DIR")
@key_option
@click.option("--json", "as_json", is_flag=True, help="What was imported as JSON.")
@click.pass_obj
def import_command(settings: Settings, folder: Path, keys: tuple[VerifierKey, ...], as_json: bool) -> None:
    """Make an identical ledger from the export in DIR, in a database that has none of its programmes.

    Every hash is checked on the way. It may be stopped and run again; writers see the programmes when all of it is in.
    Its checkpoints are taken over only with --key, which must have signed every one of them.
    """
    with opened(settings) as workspace, progress_bar("importing") as told:
        try:
            report = import_ledger(workspace.database.dsn, folder, keys=keys, on_progress=told)
        except ExportError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        show_json({"imported": report.imported, "checkpoints": report.checkpoints, **_summary(report.manifest)})
        return
    _say_journals(report.manifest)
    if report.manifest.checkpoints:
        _say_taken_over(report.checkpoints, len(report.manifest.checkpoints), signed=bool(keys))
    say(f"Imported {count(report.imported, 'event')}. Read models: loyalty project --once.")


def _say_taken_over(taken: int, there: int, *, signed: bool) -> None:
    if taken:
        say(f"Checkpoints taken over, signed by keys that are trusted: {taken:,}.")
    if taken < there:
        why = "it does not say when they were signed" if signed else "who signed them was not checked (--key)"
        say(f"Checkpoints that stay in the export: {there - taken:,}; {why}.")


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "events": manifest.events,
        "manifest_sha256": manifest.sha256,
        "cut_at": manifest.cut_at,
        "programmes": [
            {
                "programme": programme.programme,
                "journals": [
                    {"journal": one.journal, "ordinal": one.ordinal, "size": one.size, "root": one.root}
                    for one in programme.journals
                ],
            }
            for programme in manifest.programmes
        ],
    }


def _say_journals(manifest: Manifest) -> None:
    for programme in manifest.programmes:
        for journal in programme.journals:
            events = count(journal.size, "event")
            say(f"journal {journal.journal} ({programme.programme}): {events}, root {journal.root}")


COMMANDS: Final = (export_command, import_command)
