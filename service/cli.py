"""The program `loyalty`: the command line of the ledger.

Settings come from the environment (`service.settings`); exit codes are those of `service.console`.
"""

from __future__ import annotations

from typing import Any

import click
import psycopg2
from eventsourcing.persistence import PersistenceError

from ledger.store.embedded import EmbeddedPostgresError
from ledger.store.migrations import MigrationError, migrate
from service import (
    cli_audit,
    cli_config,
    cli_events,
    cli_expected,
    cli_export,
    cli_ingest,
    cli_kafka,
    cli_keys,
    cli_liability,
    cli_members,
    cli_programmes,
    cli_project,
    cli_reads,
    cli_relay,
    cli_satisfaction,
    cli_schemas,
    cli_serve,
    cli_steering,
    cli_value,
    runtime,
)
from service.console import EXIT_INTERRUPTED, count, say, stop
from service.settings import Settings, SettingsError
from service.workspace import database_url


class LoyaltyGroup(click.Group):
    """Tells what went wrong in one sentence. A defect of the program itself still ends with its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            stop(EXIT_INTERRUPTED, "Stopped. What was committed stays, and nothing else was recorded.")
        except (EmbeddedPostgresError, MigrationError) as error:
            raise click.ClickException(_sentence(error)) from error
        except (PersistenceError, psycopg2.Error) as error:
            raise click.ClickException(f"the database failed: {_sentence(error)}") from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@click.group(
    cls=LoyaltyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused in part or whole, 130 stopped by Ctrl-C.",
)
@click.version_option(package_name="loyalty-ledger", prog_name="loyalty")
@click.pass_context
def cli(context: click.Context) -> None:
    """An event-sourced ledger of loyalty points.

    LOYALTY_DATABASE_URL names a PostgreSQL server; unset, an embedded one runs in LOYALTY_DATA_DIR (./loyalty-data).
    LOYALTY_PROGRAMME is the programme where none is named.
    """
    if context.invoked_subcommand == cli_config.NAME:
        return  # it says itself what is wrong with them
    try:
        context.obj = Settings.from_environment()
    except SettingsError as error:
        raise click.UsageError(f"{error} (loyalty config check says more)") from error


@cli.command("migrate")
@click.pass_obj
def migrate_command(settings: Settings) -> None:
    """Bring the database to the version of this program; as the owner of its tables."""
    with database_url(settings) as dsn:
        applied = migrate(dsn)
    say(f"Applied {count(len(applied), 'migration')}." if applied else "The database was up to date.")


for module in (
    cli_programmes,
    cli_ingest,
    cli_kafka,
    cli_liability,
    cli_members,
    cli_project,
    cli_reads,
    cli_events,
    cli_satisfaction,
    cli_audit,
    cli_relay,
    cli_schemas,
    cli_value,
    cli_expected,
    cli_steering,
    cli_export,
    cli_config,
    cli_serve,
    cli_keys,
):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the program; the entry point `loyalty`."""
    runtime.settle()
    cli.main(prog_name="loyalty")


if __name__ == "__main__":
    main()
