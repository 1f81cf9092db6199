"""`loyalty schemas`: the published contracts, and whether the current ones still fit them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from service.console import EXIT_REJECTED, count, say, show_json, stop

if TYPE_CHECKING:
    from service.compatibility import Problem, Verdict


@click.group("schemas")
def schemas_group() -> None:
    """The published contracts."""


@schemas_group.command("generate")
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory; the files go into it, and into inbound/ and events/ below it.",
)
def schemas_generate(directory: Path) -> None:
    """Write the JSON Schemas of all messages, events and terms, and the AsyncAPI document, made from the types."""
    from service.contracts import contract_files, write_contracts

    changed = write_contracts(directory)
    say(f"{count(len(contract_files()), 'contract')}, {len(changed)} of them changed.")


@schemas_group.command("docs")
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory of the pages, docs/reference in the source.",
)
@click.option(
    "--examples",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory with a payload of each type, tests/contracts in the source (default: no examples).",
)
@click.pass_context
def schemas_docs(context: click.Context, directory: Path, examples: Path | None) -> None:
    """Write the reference of messages, events, terms, codes and commands as Markdown, made from the types and this
    program.
    """
    from service.reference import reference_files, write_reference

    pages = reference_files(cast(click.Group, context.find_root().command), examples)
    changed = write_reference(directory, pages)
    say(f"{count(len(pages), 'page')}, {len(changed)} of them changed.")


@schemas_group.command("check")
@click.option(
    "--against",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Directory with the published contracts, as `generate` wrote them.",
)
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
def schemas_check(directory: Path, as_json: bool) -> None:
    """Say whether the contracts of this program still fit those published: who wrote by those is still understood.

    Backward: this program reads what was written by the published ones. Forward: who knows the published ones reads
    what this program writes. What comes in must be backward compatible, what goes out both. Exit code 3 if it is not.
    """
    from service.compatibility import compare
    from service.contracts import contract_files, read_contracts

    published = read_contracts(directory)
    if not published:
        raise click.UsageError(f"--against: {directory} has no contracts; loyalty schemas generate --to writes them")
    current = contract_files()
    try:
        verdicts = compare(published, current)
    except ValueError as error:
        raise click.UsageError(f"--against: {directory}: {error}") from error
    broken = [verdict for verdict in verdicts if not verdict.compatible]
    compared = len({*published, *current})
    if as_json:
        show_json({"compatible": not broken, "compared": compared, "changed": [_as_json(each) for each in verdicts]})
    else:
        for verdict in verdicts:
            _say_verdict(verdict)
        outcome = f"{len(broken):,} incompatible" if broken else "compatible"
        say(f"{count(compared, 'contract')} compared, {len(verdicts):,} changed: {outcome}.")
    if broken:
        stop(EXIT_REJECTED)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    found = {"backward": verdict.backward, "forward": verdict.forward}
    directions = {name: {"compatible": not problems, "problems": problems} for name, problems in found.items()}
    return {"file": verdict.file, "compatible": verdict.compatible, "needed": verdict.needed, **directions}


def _say_verdict(verdict: Verdict) -> None:
    directions = {"backward": verdict.backward, "forward": verdict.forward}
    if not any(directions.values()):
        say(f"{verdict.file}: changed, backward and forward compatible")
    for direction, problems in directions.items():
        if problems:
            needed = "" if direction in verdict.needed else ", which it need not be"
            say(f"{verdict.file}: not {direction} compatible{needed}")
            for problem in problems:
                say(f"    {_sentence(problem)}")


def _sentence(problem: Problem) -> str:
    return f"{problem.path or 'the contract'}: {problem.words} [{problem.rule}]"


COMMANDS: Final = (schemas_group,)
