"""Blocks that are checked rather than run: JSON against its schema, usage against the program, text against dodging."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import click
from jsonschema import Draft202012Validator

from consumers.inbound import decode
from ledger.submissions import Malformed
from ledger.terms import TermsDocument, parse_terms
from service.cli import cli
from tests.docs.pages import ROOT, Block, Wrong

_RUNS = re.compile(r"^ *(?:\$ |loyalty |\S*/loyalty |curl |python3? |psql |pip |docker |SELECT )")
_MAKES = re.compile(r"^ *(?:\$ )?make(?: (\w+))?\b", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def check_json(block: Block) -> None:
    """Every value fits the schema that is named, or that of its `type`; messages and terms are understood too."""
    for value in _values(block):
        named = isinstance(value, dict) and value.get("type")
        name = block.comments.get("schema") or f"inbound/{named}"
        path = ROOT / "schemas" / f"{name}.json"
        if not path.is_file():
            raise Wrong(f"{block.place}: no schema {name}: say which, such as <!-- schema: terms.v1 -->")
        problem = next(_validator(path.read_text("utf-8")).iter_errors(value), None)
        if problem is not None:
            raise Wrong(f"{block.place}: {problem.json_path}: {problem.message}")
        body = json.dumps(value).encode()
        if name.startswith("inbound/") and isinstance(read := decode(body, programme="demo"), Malformed):
            raise Wrong(f"{block.place}: {read.rejection}")
        if name.startswith("terms.") and not isinstance(parsed := parse_terms(body), TermsDocument):
            raise Wrong(f"{block.place}: {parsed}")


def _values(block: Block) -> list[Any]:
    try:
        return [json.loads(block.text)]
    except json.JSONDecodeError:
        pass
    try:
        return [json.loads(line) for line in block.text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise Wrong(f"{block.place}: neither JSON nor JSON Lines: {error}") from error


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def check_usage(block: Block) -> None:
    """Every command is one of the program's and takes the options that stand there; indented lines go on."""
    for usage in re.split(r"\n(?=\S)", block.text.rstrip()):
        name, *words = re.sub(r" #.*", "", usage).split()
        if name != "loyalty":
            raise Wrong(f"{block.place}: not a usage of loyalty: {usage}")
        command: click.Command = cli
        path = name
        while isinstance(command, click.Group):
            word = words.pop(0) if words else ""
            if word not in command.commands:
                if command.invoke_without_command and not word.isalpha():
                    break
                raise Wrong(f"{block.place}: {path} has no command {word!r}: {usage}")
            command, path = command.commands[word], f"{path} {word}"
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        if unknown := [option for option in _OPTION.findall(usage) if option not in options | {"--help"}]:
            raise Wrong(f"{block.place}: {path} has no option {unknown[0]}: {usage}")


def check_text(block: Block) -> None:
    """No line looks like something to run; targets of make are there."""
    for line in block.text.splitlines():
        if _RUNS.match(line):
            raise Wrong(f"{block.place}: this is to be run, so not of kind `text`: {line}")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    if unknown := [name for name in _MAKES.findall(block.text) if name and name not in targets]:
        raise Wrong(f"{block.place}: the Makefile has no target {unknown[0]}")
