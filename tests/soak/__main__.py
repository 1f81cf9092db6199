"""make soak: `python -m tests.soak [--seed S] [--faults N]`."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import click

from tests.broker import KafkaBroker
from tests.soak.run import run


@click.command()
@click.option("--seed", type=int, help="Of an earlier run, to let the same faults happen in the same order.")
@click.option("--faults", type=click.IntRange(1), default=500, show_default=True, help="How many.")
@click.option("--only", default="", help="Only faults with this in their name, such as freeze_consumer.")
@click.option("--without-fence", is_flag=True, help="A control that must fail: consumers that go on when taken over.")
def main(seed: int | None, faults: int, only: str, without_fence: bool) -> None:
    """Let faults happen to consumers, relay, Kafka and PostgreSQL, and check that every message was taken once."""
    seed = random.randrange(1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="loyalty-soak-logs-"))
    click.echo(f"seed {seed}, {faults} faults; what the processes say is in {folder}")
    try:
        with KafkaBroker() as broker:
            result = run(seed, faults, broker, folder, click.echo, only=only, fenced=not without_fence)
    except BaseException:  # noqa: BLE001 - Ctrl-C too: the seed is what one wants then
        traceback.print_exc()
        again = f"python -m tests.soak --seed {seed} --faults {faults}" + (f" --only {only}" if only else "")
        click.echo(f"FAILED. The same faults again: {again}", err=True)
        click.echo(f"What the processes said: {folder}", err=True)
        sys.exit(1)
    shutil.rmtree(folder)
    click.echo(f"seed {seed}: {result.faults.total()} faults in {result.seconds:,.0f} s")
    for kind, number in sorted(result.faults.items()):
        click.echo(f"  {number:4}  {kind}")
    told = ", ".join(f"{number:,} {name}" for name, number in sorted(result.messages.items()))
    click.echo(f"{result.messages.total():,} messages: {told}; each once.")
    click.echo(f"{result.fenced} batches of consumers that had lost their partition were refused.")
    click.echo(
        f"{result.ended_at_start} processes found a server away as they started; {result.producer_failures} sends of"
        " producers failed."
    )


if __name__ == "__main__":
    main()
