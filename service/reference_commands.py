"""The reference of the command line: every command of `loyalty` with its options, from the program itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

_EVERYWHERE: Final = """\
`--help` shows the same of each. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused in part or whole, 130 stopped by
Ctrl-C.
"""


def commands_page(program: click.Group, made: str) -> str:
    """The page, in Markdown."""
    return "\n".join(
        ["# Commands\n", made, _EVERYWHERE, *(_command(*found) for found in _commands(program, "loyalty"))]
    )


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if not isinstance(command, click.Group):
            yield f"{path} {name}", command
            continue
        if command.invoke_without_command:
            yield f"{path} {name}", command
        yield from _commands(command, f"{path} {name}")


def _command(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    rows = [f"| {_names(each)} | {_words(each, context)} |" for each in options]
    table = ["| option | |", "| --- | --- |", *rows]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *arguments])
    words = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return "\n".join([f"## {path}\n", "```usage", usage, "```\n", f"{words}\n", *(table if options else []), ""])


def _names(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} {_kind(option)}"


def _kind(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    if isinstance(option.type, click.IntRange | click.FloatRange):
        low, high = option.type.min, option.type.max
        return f"{low if low is not None else '…'} to {high:,}" if high is not None else f"{low} or more"
    return option.type.name.upper()


def _words(option: click.Option, context: click.Context) -> str:
    words = (option.help or "").replace("|", "\\|")
    if option.required:
        words += " Required."
    default = option.get_default(context, call=False)
    if option.show_default and default not in (None, False) and isinstance(default, int | float | str):
        words += f" Default: `{default}`."
    return words.strip()
