"""Options of several commands, whose value may stand in the settings instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from service.settings import Settings, variables

F = TypeVar("F", bound=Callable[..., Any])

_NAMES: Final = {each.field: each.name for each in variables()}


def setting_option(*declarations: str, field: str, help: str, required: bool = False, **attributes: Any) -> Any:
    """An option whose value is that field of the settings where it is not given."""

    def value_or_setting(context: click.Context, param: click.Parameter, value: Any) -> Any:
        if value not in (None, ()):
            return value
        settings = context.find_object(Settings)
        found = None if settings is None else getattr(settings, field)
        if found in (None, ()):
            if required:
                raise click.MissingParameter(ctx=context, param=param)
            return value
        return param.type_cast_value(context, found)

    words = f"{help.removesuffix('.')} (default: {_NAMES[field]})."
    return click.option(*declarations, callback=value_or_setting, help=words, **attributes)


def bootstrap_option(function: F) -> F:
    """Add the option of the Kafka to talk to."""
    option = setting_option(
        "--bootstrap",
        field="kafka_bootstrap",
        required=True,
        metavar="HOST:PORT",
        help="A broker of the Kafka cluster.",
    )
    return option(function)


def metrics_port_option(function: F) -> F:
    """Add the option of the port for metrics and health."""
    option = setting_option(
        "--metrics-port",
        field="metrics_port",
        type=click.IntRange(1, 65_535),
        help="Serve /metrics, /health/live and /health/ready here.",
    )
    return option(function)
