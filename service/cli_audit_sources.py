"""`loyalty audit sources` and `file`: was everything taken that was sent?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import click

from audit.source_statements import Finding, compare, parse_statements
from audit.sources import Amounts, Sources, read_sources
from ledger.store.database import Database
from service.console import EXIT_FAILURE, count, instant, note, say, show_json, show_table, stop
from service.file_trace import LineTrace, trace_file
from service.settings import Settings
from service.workspace import opened

MISSING_SHOWN_MAX: Final = 20


@click.command("sources")
@click.option("--topic", default="", help="Only the partitions of a topic.")
@click.option(
    "--statement",
    type=click.File("r", encoding="utf-8-sig"),
    default=None,
    help="What producers say they sent: JSON or CSV.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def sources_command(settings: Settings, topic: str, statement: Any, as_json: bool) -> None:
    """Account for every offset and line: posted, duplicate or rejected with its code; gaps and overlaps by name.

    Exit code 1 if something is missing or was taken twice, or a producer's statement says otherwise.
    """
    try:
        statements = parse_statements(statement.read()) if statement else []
    except ValueError as error:
        raise click.UsageError(f"{statement.name}: {error}") from error
    with opened(settings) as workspace:
        reader = Database(workspace.database.dsn, "loyalty_reader", pool_size=1)
        try:
            with reader.connection() as cur:
                cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                found = read_sources(cur, topic)
                findings = compare(cur, found, statements)
                cur.execute("COMMIT")
        finally:
            reader.close()
    complete = not found.problems and all(each.agrees is not False for each in findings)
    if as_json:
        show_json({"complete": complete, "partitions": found.partitions, "files": found.files, "statements": findings})
    else:
        _say(found, findings)
    if not complete:
        stop(EXIT_FAILURE)


_COUNTED: Final = ("messages", "posted", "duplicate", "rejected")


def _say(found: Sources, findings: list[Finding]) -> None:
    if found.partitions:
        show_table(
            (
                "topic",
                "#partition",
                "#from",
                "#to",
                "#messages",
                "#posted",
                "#duplicate",
                "#rejected",
                "codes",
                "amounts",
            ),
            (
                (
                    each.topic,
                    each.partition,
                    each.first,
                    each.last,
                    each.messages,
                    each.posted,
                    each.duplicate,
                    each.rejected,
                    _codes(each.codes),
                    _amounts(each.amounts),
                )
                for each in found.partitions
            ),
        )
    if found.files:
        show_table(
            ("file", "began", "#lines", "#blank", "#posted", "#duplicate", "#rejected", "codes", "amounts", "sha256"),
            (
                (
                    each.file,
                    instant(each.began_at.replace(microsecond=0)),
                    each.lines,
                    each.blank,
                    each.posted,
                    each.duplicate,
                    each.rejected,
                    _codes(each.codes),
                    _amounts(each.amounts),
                    each.sha256[:12],
                )
                for each in found.files
            ),
        )
    for partition in found.partitions:
        for gap in partition.gaps:
            say(f"Gap: {partition.topic}-{partition.partition}: offsets {gap.first:,} to {gap.last:,}: {gap.words}.")
        for words in partition.notes:
            note(f"{partition.topic}-{partition.partition}: {words}.")
    for file in found.files:
        for words in file.notes:
            note(f"{file.file}: {words}.")
    for words in found.problems:
        say(f"PROBLEM: {words}.")
    for finding in findings:
        _say_finding(finding)
    if not found.partitions and not found.files:
        say("Nothing was taken from any topic or file.")
    elif not found.problems:
        say("Everything that was read was posted, duplicate or rejected with its code.")


def _say_finding(finding: Finding) -> None:
    stated = finding.statement
    where = stated.source if stated.partition is None else f"{stated.source}-{stated.partition}"
    verdict = {True: "agrees", False: "DIFFERS", None: "is compared in part"}[finding.agrees]
    say(f"The statement of {where}, {stated.first:,} to {stated.last:,}, {verdict}:")
    for words in finding.words:
        say(f"  {words}")


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} × {code}" for code, number in sorted(codes.items()))


def _amounts(amounts: dict[str, Amounts]) -> str:
    return ", ".join(f"{each.all:,} {currency}" for currency, each in sorted(amounts.items()))


@click.command("file")
@click.argument("file", type=click.File("rb"))
@click.option("--programme", default="", help="For messages that name none (default: LOYALTY_PROGRAMME).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line of the file.")
@click.pass_obj
def file_command(settings: Settings, file: Any, programme: str, as_json: bool) -> None:
    """Find every line of FILE again: recorded, with its positions, or refused, with its code.

    It does not look at what was counted when the file was taken. Exit code 1 if a line is neither.
    """
    became: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    missing: list[LineTrace] = []
    with opened(settings) as workspace:
        reader = Database(workspace.database.dsn, "loyalty_reader", pool_size=1)
        try:
            with reader.connection() as cur:
                for line in trace_file(cur, file, programme or settings.programme):
                    became[line.became] += 1
                    if as_json:
                        show_json(line)
                    elif line.became == "refused":
                        codes[line.code] += 1
                    elif line.became == "missing":
                        missing = [*missing, line] if len(missing) < MISSING_SHOWN_MAX else missing
        finally:
            reader.close()
    if not as_json:
        of_codes = f" ({_codes(codes)})" if codes else ""
        say(
            f"{count(became.total(), 'line')}: {became['blank']:,} blank, {became['recorded']:,} recorded,"
            f" {became['refused']:,} refused{of_codes}, {became['missing']:,} missing."
        )
        for line in missing:
            say(f"  line {line.line:,} is missing: source {line.source!r}, id {line.id!r}")
    if became["missing"]:
        stop(EXIT_FAILURE)


COMMANDS: Final = (sources_command, file_command)
