"""`loyalty audit certify`: a signed statement of what the read models are, and its check elsewhere."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from audit.certificate_check import check_certificate
from audit.certificates import CertificateRefused, Recomputing, certify, found_wrong
from audit.certified_recomputation import GivenRecomputation, RebuiltRecomputation
from audit.manifest import ExportError
from audit.recomputation import PositionsDiffer
from audit.verify_proof import VerifierKey
from service import cli_proofs
from service.cli_recompute import engine_of
from service.console import EXIT_FAILURE, count, instant, note, say, show_json, stop
from service.progress import progress_bar
from service.read_models import catch_up, read_models
from service.settings import Settings
from service.submitting import programme_of
from service.workspace import opened

LEFT_OUT: Final = "loyalty audit certify was asked to leave it out (--no-recompute)"
NOT_INSTALLED: Final = "duckdb, which recomputes, is not installed where loyalty audit certify ran"


class PeriodParameter(click.ParamType):
    """A month, or two days, the last one included; kept as the first day and the day after the last."""

    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[date, date]:
        if isinstance(value, tuple):
            return value
        first, two, last = value.partition("..")
        try:
            if two:
                from_on, until_on = date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1)
            else:
                from_on = date.fromisoformat(f"{value}-01")
                until_on = (from_on + timedelta(days=31)).replace(day=1)
        except (ValueError, OverflowError) as error:
            wanted = "a month such as 2026-10, or two days such as 2026-10-01..2026-12-31"
            self.fail(f"{value!r} is not {wanted}: {error}", param, ctx)
        if from_on >= until_on:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return from_on, until_on


@click.command("certify")
@click.option("--period", type=PeriodParameter(), help="A month, 2026-10, or days, 2026-10-01..2026-12-31.")
@click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
@cli_proofs.key_file_option
@cli_proofs.key_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write, which must be new.")
@click.option(
    "--check", "checked", type=click.File("r", encoding="utf-8"), help="Check the certificate in FILE instead."
)
@click.option("--no-recompute", is_flag=True, help="Recompute nothing in SQL; the certificate says so.")
@click.option(
    "--recomputation",
    "recomputation",
    type=click.File("r", encoding="utf-8"),
    help="Certify the result in FILE, of loyalty audit recompute --json at the same positions.",
)
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Journals at a time.")
@click.option("--json", "as_json", is_flag=True, help="What was checked as JSON.")
@click.pass_obj
def certify_command(
    settings: Settings,
    period: tuple[date, date] | None,
    programme: str,
    key_file: Path | None,
    keys: tuple[VerifierKey, ...],
    out: Path | None,
    checked: Any,
    no_recompute: bool,
    recomputation: Any,
    threads: int,
    as_json: bool,
) -> None:
    """Rebuild the read models up to the checkpoint after a period, and sign their hashes; or check such a certificate.

    What is rebuilt is recomputed in SQL from an export, where duckdb is installed; the certificate holds the result.
    Reads only: the rebuilt tables are temporary. Exit code 1 where something is not as it must be.
    """
    if checked is not None:
        if period is not None or out is not None or recomputation is not None:
            raise click.UsageError("--check takes neither --period, --out nor --recomputation")
        _check(settings, checked, keys, no_recompute, threads, as_json)
        return
    if no_recompute and recomputation is not None:
        raise click.UsageError("--no-recompute and --recomputation exclude each other")
    if period is None or out is None:
        raise click.UsageError("give --period and --out, or --check FILE")
    key = cli_proofs.read_signing_key(key_file)
    with opened(settings) as workspace:
        if settings.database_url is None:
            catch_up(workspace.database)
        name = programme_of(workspace, programme, settings)
        try:
            with (
                _recomputing(workspace.database.dsn, no_recompute, recomputation) as recomputing,
                progress_bar("rebuilding") as told,
            ):
                text = certify(
                    workspace.database.dsn,
                    name,
                    *period,
                    read_models(),
                    key,
                    trusted=keys,
                    recomputing=recomputing,
                    no_recomputation=LEFT_OUT if no_recompute else NOT_INSTALLED,
                    threads=threads,
                    on_progress=told,
                )
        except (CertificateRefused, ExportError, PositionsDiffer) as error:
            raise click.ClickException(f"nothing was certified: {error}") from error
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{out}: exists already; a certificate is never overwritten") from error
    say(f"Wrote {out}: {name}, {period[0]} until before {period[1]}, signed by {key.verifier_key.name}.")
    held = json.loads(text)["certificate"]["recomputation"]
    if held["result"] is None:
        note(f"It holds no recomputation: {held['reason']}.")
        return
    rows = count(sum(held["result"]["rows_compared"].values()), "row")
    say(f"Recomputed by {held['result']['engine']}: {rows} compared, result {held['sha256']}.")
    if wrong := found_wrong(held["result"]):
        stop(EXIT_FAILURE, f"The recomputation {' and '.join(wrong)}: the certificate says so.")


@contextmanager
def _recomputing(dsn: str, no_recompute: bool, given: Any = None) -> Iterator[Recomputing | None]:
    """What recomputes, with a folder for its files; None where nothing does."""
    if given is not None:
        try:
            recomputing = GivenRecomputation(given.read())
        except ValueError as error:
            raise click.ClickException(f"{given.name}: {error}") from error
        yield recomputing
        return
    if no_recompute or find_spec("duckdb") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="loyalty-certify-") as work:
        yield RebuiltRecomputation(dsn, Path(work), engine_of("duckdb"))


def _check(
    settings: Settings, file: Any, keys: tuple[VerifierKey, ...], no_recompute: bool, threads: int, as_json: bool
) -> None:
    if not keys:
        raise click.UsageError(f"no keys that are trusted: give --key or set {cli_proofs.VERIFIER_KEYS}")
    with opened(settings) as workspace:
        try:
            with (
                _recomputing(workspace.database.dsn, no_recompute) as recomputing,
                progress_bar("rebuilding") as told,
            ):
                found = check_certificate(
                    workspace.database.dsn,
                    file.read(),
                    keys,
                    read_models(),
                    recomputing=recomputing,
                    threads=threads,
                    on_progress=told,
                )
        except CertificateRefused as error:
            if as_json:
                show_json({"ok": False, "problems": [str(error)]})
                stop(EXIT_FAILURE)
            raise click.ClickException(f"{file.name}: {error}") from error
    certificate = found.certificate
    if as_json:
        show_json({"ok": not found.problems, **msgspec.structs.asdict(found)})
    else:
        period = certificate.period
        issued = f"issued {instant(certificate.issued_at)}, signed by {', '.join(found.signed_by)}"
        say(f"{certificate.programme}, {period.from_on} until before {period.until_on}: {issued}")
        for words in found.behind:
            note(f"Not compared with the certificate's log: {words}; loyalty project --once.")
        for problem in found.problems:
            say(problem)
        if not found.problems:
            events = count(sum(journal.size for journal in certificate.journals), "event")
            say(f"Every hash agrees with this ledger: {events}, {count(len(certificate.projections), 'projection')}.")
        if found.is_recomputed:
            say("Its recomputation was repeated.")
        elif certificate.recomputation.result is None:
            note(f"It holds no recomputation: {certificate.recomputation.reason}.")
        else:
            note("Its recomputation was not repeated.")
    if found.problems:
        stop(EXIT_FAILURE, "" if as_json else "The certificate does NOT agree with this ledger.")


COMMANDS: Final = (certify_command,)
