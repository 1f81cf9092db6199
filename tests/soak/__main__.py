"""make soak: `python -m tests.soak [--seed S] [--faults N]`."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import click

from tests.broker import KafkaBroker
from tests.soak.run import Result, run

ROUND_FAULTS_MAX = 50
"""Then everything settles and is checked, and the next round begins anew: a failure is replayed by its round alone."""


@click.command()
@click.option("--seed", type=int, help="Of an earlier run, to let the same faults happen in the same order.")
@click.option("--faults", type=click.IntRange(1), default=500, show_default=True, help="How many, in rounds of 50.")
@click.option("--only", default="", help="Only faults with this in their name, such as freeze_consumer.")
@click.option("--without-fence", is_flag=True, help="A control that must fail: consumers that go on when taken over.")
def main(seed: int | None, faults: int, only: str, without_fence: bool) -> None:
    """Let faults happen to consumers, relay, Kafka and PostgreSQL, and check that every message was taken once."""
    seed = random.randrange(1_000_000) if seed is None else seed
    results: list[Result] = []
    while left := faults - sum(each.faults.total() for each in results):
        results.append(_round(seed + len(results), min(left, ROUND_FAULTS_MAX), only, without_fence))
    counts = sum((each.faults for each in results), Counter[str]())
    messages = sum((each.messages for each in results), Counter[str]())
    click.echo(f"seed {seed}: {counts.total()} faults in {sum(each.seconds for each in results):,.0f} s")
    for kind, number in sorted(counts.items()):
        click.echo(f"  {number:4}  {kind}")
    told = ", ".join(f"{number:,} {name}" for name, number in sorted(messages.items()))
    click.echo(f"{messages.total():,} messages: {told}; each once.")
    fenced = sum(each.fenced for each in results)
    click.echo(f"{fenced} batches of consumers that had lost their partition were refused.")
    click.echo(
        f"{sum(each.ended_at_start for each in results)} processes found a server away as they started;"
        f" {sum(each.producer_failures for each in results)} sends of producers failed."
    )


def _round(seed: int, faults: int, only: str, without_fence: bool) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="loyalty-soak-logs-"))
    click.echo(f"seed {seed}, {faults} faults; what the processes say is in {folder}")
    try:
        with KafkaBroker() as broker:
            result = run(seed, faults, broker, folder, click.echo, only=only, fenced=not without_fence)
    except BaseException:  # noqa: BLE001 - Ctrl-C too: the seed is what one wants then
        traceback.print_exc()
        again = f"python -m tests.soak --seed {seed} --faults {faults}" + (f" --only {only}" if only else "")
        again += " --without-fence" if without_fence else ""
        click.echo(f"FAILED. The same faults again: {again}", err=True)
        click.echo(f"What the processes said: {folder}", err=True)
        sys.exit(1)
    shutil.rmtree(folder)
    return result


if __name__ == "__main__":
    main()
