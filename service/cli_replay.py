"""`loyalty audit replay` and `restate`: figures of the past from the log, and why they are others than they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from ledger.programmes import ProgrammeInfo
from ledger.store.database import Database, PgCursor
from projections.member_fold import Tier, add_figures
from projections.replay import MemberReplay, ProgrammeReplay, replay_member, replay_programme, snapshot
from projections.restatement import Effect, difference, restate
from service.console import EXIT_FAILURE, count, instant, say, show_json, show_table, stop
from service.instants import INSTANT
from service.settings import Settings
from service.submitting import programme_info
from service.workspace import opened

PROGRAMME: Final = click.option(
    "--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one)."
)
MEMBER: Final = click.option("--member", default=None, help="This member only (default: the whole programme).")


@contextmanager
def _reading(settings: Settings, programme: str) -> Iterator[tuple[ProgrammeInfo, PgCursor]]:
    """A programme, and a cursor in a read-only transaction as the role that may only read."""
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        reader = Database(workspace.database.dsn, "loyalty_reader", pool_size=1)
        try:
            with snapshot(reader) as cur:
                yield info, cur
        finally:
            reader.close()


@click.command("replay")
@MEMBER
@PROGRAMME
@click.option("--as-of", type=INSTANT, default=None, help="What had happened by then, as it stood then (default: now).")
@click.option("--as-known-at", type=INSTANT, default=None, help="Only what had been recorded by then (default: now).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def replay(
    settings: Settings,
    member: str | None,
    programme: str,
    as_of: datetime | None,
    as_known_at: datetime | None,
    as_json: bool,
) -> None:
    """Compute balances, tiers of lots, lifetime and satisfaction figures of a past instant; from the log alone."""
    now = datetime.now(UTC)
    at, known_at = as_of or now, as_known_at or now
    found: MemberReplay | ProgrammeReplay
    with _reading(settings, programme) as (info, cur):
        if member is None:
            found = replay_programme(cur, info.journals, at, known_at)
        else:
            found = replay_member(cur, info.journals, member, at, known_at)
    if as_json:
        show_json(found)
        return
    name = info.programme.programme
    if isinstance(found, MemberReplay):
        balance = found.balance
        say(f"{balance.member} of {name} ({balance.status}) {_when(at, known_at)}: {count(balance.version, 'event')}")
    else:
        members, events = count(found.members, "member"), count(found.events, "event")
        say(f"{name} {_when(at, known_at)}: {members}, {events}")
    say("")
    _say_figures(found.figures)
    _say_tiers(found.tiers)
    say("")
    if isinstance(found, MemberReplay):
        lifetime = msgspec.to_builtins(found.lifetime)
        show_table(["lifetime", "value"], [(key, _text(value)) for key, value in lifetime.items()])
        if found.latest_answers:
            say("")
            show_table(
                ["latest answer", "score", "scale", "satisfied", "at", "by"],
                [
                    (
                        one.instrument,
                        one.score,
                        f"{one.lowest} to {one.highest}",
                        one.satisfied,
                        instant(one.occurred_at),
                        one.member,
                    )
                    for one in found.latest_answers
                ],
            )
    else:
        value = msgspec.to_builtins(found.value)
        del value["whale_curve"]
        show_table(["value of persons", "value"], [(key, _text(one)) for key, one in value.items()])


def _when(as_of: datetime, as_known_at: datetime) -> str:
    return f"as of {instant(as_of)} as known at {instant(as_known_at)}"


def _text(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _say_figures(figures: dict[str, int]) -> None:
    show_table(["figure", "#value"], sorted(figures.items()))


def _say_tiers(tiers: list[Tier]) -> None:
    if tiers:
        say("")
        show_table(
            ["lots expiring on", "#active", "#pending", "#held"],
            [(tier.expires_on or "never", tier.active, tier.pending, tier.held) for tier in tiers],
        )


@click.command("restate")
@MEMBER
@PROGRAMME
@click.option("--as-of", type=INSTANT, required=True, help="The instant whose figures are restated.")
@click.option("--known-at", type=INSTANT, required=True, help="When they were known first.")
@click.option("--and", "again_at", type=INSTANT, help="When they were known again (default: now).")
@click.option("--json", "as_json", is_flag=True, help="An object a line: the effects, then the difference.")
@click.pass_obj
def restate_command(
    settings: Settings,
    member: str | None,
    programme: str,
    as_of: datetime,
    known_at: datetime,
    again_at: datetime | None,
    as_json: bool,
) -> None:
    """Explain why figures as of an instant are others at a later time of knowing: by each event that came in between.

    The effects must come to the difference of two replays, figure by figure; exit code 1 if they do not.
    """
    known_again_at = again_at or datetime.now(UTC)
    if known_again_at < known_at:
        raise click.UsageError("--and must not be before --known-at")
    explained: dict[str, int] = {}
    number = late = corrections = 0
    with _reading(settings, programme) as (info, cur):
        before, after = (_figures(cur, info, member, as_of, at) for at in (known_at, known_again_at))
        for effect in restate(cur, info.journals, member, as_of, known_at, known_again_at):
            number += 1
            late += effect.late
            corrections += effect.correction
            add_figures(explained, effect.changes.items())
            if as_json:
                show_json(effect)
            else:
                _say_effect(effect)
    changed = difference(before, after)
    if as_json:
        show_json({"events": number, "difference": changed, "explained": explained, "ok": changed == explained})
    else:
        about = member or info.programme.programme
        say(
            f"{about} as of {instant(as_of)}: {count(number, 'event')} recorded between {instant(known_at)} and"
            f" {instant(known_again_at)}, of them {late:,} late and {count(corrections, 'correction')}"
        )
        show_table(
            ["figure", "#known first", "#known again", "#difference", "#explained"],
            [
                (name, before.get(name, 0), after.get(name, 0), change, explained.get(name, 0))
                for name, change in sorted((explained | changed).items())
            ],
        )
    if changed != explained:
        stop(EXIT_FAILURE, "" if as_json else "The events do NOT come to the difference.")


def _figures(
    cur: PgCursor, info: ProgrammeInfo, member: str | None, as_of: datetime, as_known_at: datetime
) -> dict[str, int]:
    if member is None:
        return replay_programme(cur, info.journals, as_of, as_known_at).figures
    return replay_member(cur, info.journals, member, as_of, as_known_at).figures


def _say_effect(effect: Effect) -> None:
    marks = [mark for mark, holds in (("late", effect.late), ("correction", effect.correction)) if holds]
    topic = effect.topic.partition(".")[0]
    say(
        f"{effect.journal}:{effect.position}  {effect.member}  {topic}  occurred {instant(effect.occurred_at)}"
        f"  recorded {instant(effect.recorded_at)}" + (f"  ({', '.join(marks)})" if marks else "")
    )
    changes = ", ".join(f"{name} {change:+,}" for name, change in sorted(effect.changes.items()))
    say(f"    {changes or 'changes no figure'}")


COMMANDS: Final = (replay, restate_command)
