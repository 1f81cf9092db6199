"""`loyalty audit certify`: a signed statement of what the read models are, and its check elsewhere."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from audit.certificate_check import check_certificate
from audit.certificates import CertificateRefused, certify
from audit.verify_proof import VerifierKey
from service import cli_proofs
from service.console import EXIT_FAILURE, count, instant, note, say, show_json, stop
from service.progress import progress_bar
from service.read_models import catch_up, read_models
from service.settings import Settings
from service.submitting import programme_of
from service.workspace import opened

NOT_RECOMPUTED: Final = "loyalty audit certify ran no independent recomputation"


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
    threads: int,
    as_json: bool,
) -> None:
    """Rebuild the read models up to the checkpoint after a period, and sign their hashes; or check such a certificate.

    Reads only: the rebuilt tables are temporary. Exit code 1 where something is not as it must be.
    """
    if checked is not None:
        if period is not None or out is not None:
            raise click.UsageError("--check takes neither --period nor --out")
        _check(settings, checked, keys, threads, as_json)
        return
    if period is None or out is None:
        raise click.UsageError("give --period and --out, or --check FILE")
    key = cli_proofs.read_signing_key(key_file)
    with opened(settings) as workspace:
        if settings.database_url is None:
            catch_up(workspace.database)
        name = programme_of(workspace, programme, settings)
        try:
            with progress_bar("rebuilding") as told:
                text = certify(
                    workspace.database.dsn,
                    name,
                    *period,
                    read_models(),
                    key,
                    trusted=keys,
                    no_recomputation=NOT_RECOMPUTED,
                    threads=threads,
                    on_progress=told,
                )
        except CertificateRefused as error:
            raise click.ClickException(f"nothing was certified: {error}") from error
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{out}: exists already; a certificate is never overwritten") from error
    say(f"Wrote {out}: {name}, {period[0]} until before {period[1]}, signed by {key.verifier_key.name}.")


def _check(settings: Settings, file: Any, keys: tuple[VerifierKey, ...], threads: int, as_json: bool) -> None:
    if not keys:
        raise click.UsageError(f"no keys that are trusted: give --key or set {cli_proofs.VERIFIER_KEYS}")
    with opened(settings) as workspace:
        try:
            with progress_bar("rebuilding") as told:
                found = check_certificate(
                    workspace.database.dsn, file.read(), keys, read_models(), threads=threads, on_progress=told
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
    if found.problems:
        stop(EXIT_FAILURE, "" if as_json else "The certificate does NOT agree with this ledger.")


COMMANDS: Final = (certify_command,)
