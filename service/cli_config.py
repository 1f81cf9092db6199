"""`loyalty config`: what is configured, and whether it works."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from service.config_check import check_all
from service.console import EXIT_FAILURE, count, say, show_json, show_table, stop
from service.settings import read_environment, shown, variables

NAME: Final = "config"


@click.group(NAME)
def config_group() -> None:
    """What the environment says, and whether it works."""


@config_group.command("check")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check_command(as_json: bool) -> None:
    """Read every setting, and look at what they name: the database, its migrations and rights, Kafka, key files.

    Nothing is changed; an embedded database that is there is started for as long as it takes. Secrets are not shown.
    Exit code 1 if anything is wrong.
    """
    reading = read_environment()
    settings = [
        {"name": each.name, "value": shown(each) or each.default, "given": bool(shown(each))} for each in variables()
    ]
    checks = list(check_all(reading))
    failed = sum(each.status == "failed" for each in checks)
    if as_json:
        show_json({"ok": not failed, "settings": settings, "checks": [msgspec.to_builtins(each) for each in checks]})
    else:
        show_table(
            ("setting", "value", "from"),
            ((each["name"], each["value"], "environment" if each["given"] else "default") for each in settings),
        )
        say("")
        for each in checks:
            say(f"{each.status:<8} {each.check}: {each.found}")
    if failed:
        stop(EXIT_FAILURE, f"{count(failed, 'check')} failed." if not as_json else "")


COMMANDS: Final = (config_group,)
