"""`loyalty programme`, `loyalty terms` and `loyalty status`."""

from __future__ import annotations

from typing import IO, Final

import click
import msgspec

from ledger.terms import TermsDocument, parse_terms
from service.console import EXIT_REJECTED, count, instant, note, say, show_json, show_table, stop
from service.settings import Settings
from service.submitting import Given, command_options, programme_info, submit
from service.workspace import opened

DOCUMENT = click.argument("file", type=click.File("rb"))


@click.group("programme")
def programme_group() -> None:
    """Create and list programmes."""


@programme_group.command("create")
@click.argument("programme_id", metavar="ID")
@click.option("--currency", required=True, help="ISO 4217 code, such as CNY.")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name; days and months are counted in it.")
@click.option(
    "--journals", type=int, default=1, show_default=True, help="How many writers at once; fixed for ever, 1 to 1024."
)
@click.option("--name", default="", help="What people call it.")
@command_options
def programme_create(given: Given, programme_id: str, currency: str, time_zone: str, journals: int, name: str) -> None:
    """Create the programme ID."""
    submit(
        given,
        "programme.v1",
        f"Created programme {programme_id} ({currency}, {time_zone}, {count(journals, 'journal')}).",
        programme=programme_id,
        currency=currency,
        time_zone=time_zone,
        journals=journals,
        name=name or None,
    )


@programme_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def programme_list(settings: Settings, as_json: bool) -> None:
    """List the programmes."""
    columns = ("programme", "name", "currency", "time_zone", "#journals", "#terms_versions")
    with opened(settings) as workspace, workspace.database.connection() as cursor:
        cursor.execute(f"SELECT {', '.join(c.lstrip('#') for c in columns)} FROM programmes ORDER BY programme")
        rows = cursor.fetchall()
    if as_json:
        for row in rows:
            show_json(dict(zip((column.lstrip("#") for column in columns), row, strict=True)))
    elif rows:
        show_table(columns, rows)
    else:
        note("None yet: loyalty programme create.")


@click.group("terms")
def terms_group() -> None:
    """Check, publish and list a programme's terms."""


@terms_group.command("check")
@DOCUMENT
def terms_check(file: IO[bytes]) -> None:
    """Say all that is wrong with the terms document in FILE ("-": standard input); exit code 3 if anything is."""
    document = _checked(file.read())
    say(f"{document.name}: valid, effective from {instant(document.effective_from)}.")


def _checked(content: bytes) -> TermsDocument:
    found = parse_terms(content)
    if not isinstance(found, TermsDocument):
        for problem in found:
            note(f"  {problem}")
        stop(EXIT_REJECTED, f"Refused. TERMS_INVALID: {count(len(found), 'problem')} in the document.")
    return found


@terms_group.command("publish")
@DOCUMENT
@command_options
def terms_publish(given: Given, file: IO[bytes]) -> None:
    """Publish the terms document in FILE ("-": standard input) as the programme's next version."""
    content = file.read()
    document = _checked(content)
    did = f"Published the terms {document.name!r}, effective from {instant(document.effective_from)}."
    submit(given, "terms.v1", did, document=msgspec.Raw(content))


@terms_group.command("list")
@click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the document.")
@click.pass_obj
def terms_list(settings: Settings, programme: str, as_json: bool) -> None:
    """List the versions of a programme's terms."""
    with opened(settings) as workspace:
        name = programme_info(workspace, programme, settings).programme.programme
        with workspace.database.connection() as cursor:
            cursor.execute(
                "SELECT version, effective_from, published_at, document FROM terms WHERE programme = %s"
                " ORDER BY version",
                (name,),
            )
            rows = [(*row[:3], bytes(row[3])) for row in cursor.fetchall()]
    if as_json:
        for version, effective_from, published_at, document in rows:
            show_json(
                {
                    "version": version,
                    "effective_from": effective_from,
                    "published_at": published_at,
                    "document": msgspec.Raw(document),
                }
            )
    elif rows:
        show_table(
            ("#version", "effective_from", "published_at", "name"),
            ((*row[:3], msgspec.json.decode(row[3])["name"]) for row in rows),
        )
    else:
        note("None yet: loyalty terms publish.")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, one a journal.")
@click.pass_obj
def status(settings: Settings, as_json: bool) -> None:
    """Say where every journal and its read models are, and how many messages were refused."""
    with opened(settings) as workspace, workspace.database.connection() as cursor:
        cursor.execute(_STATUS)
        rows = cursor.fetchall()
        cursor.execute("SELECT count(*) FROM rejected WHERE status = 'open'")
        (refused,) = cursor.fetchone() or (0,)
    columns = ("programme", "#journal", "#position", "recorded_at", "#not_projected")
    if as_json:
        for row in rows:
            show_json(dict(zip((column.lstrip("#") for column in columns), row, strict=True)))
        return
    if rows:
        show_table(columns, rows)
    else:
        note("There is no programme yet: loyalty programme create.")
    say(f"{count(refused, 'refused message')} open" + (": loyalty rejected list" if refused else ""))


_STATUS: Final = """
SELECT name, journal, position, CASE WHEN position > 0 THEN recorded_at END, position - coalesce(
    (SELECT min(checkpoint.position) FROM projections checkpoint WHERE checkpoint.journal = journals.journal), 0)
FROM journals WHERE kind = 'programme' ORDER BY name, ordinal
"""

COMMANDS: Final = (programme_group, terms_group, status)
