"""Single commands to members: `loyalty enrol`, `redeem`, `return`, `hold` and the others, and `loyalty expire`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from ledger.events import PointsClawedBack
from service.console import EXIT_REJECTED, count, instant, say, show_json, stop
from service.expiring import expire
from service.instants import INSTANT
from service.read_models import catch_up
from service.settings import Settings
from service.submitting import Given, command_options, events_of, hand_over, programme_info, show_outcome, submit
from service.workspace import Workspace, opened

MEMBER = click.argument("member")
POINTS = click.argument("points", type=int)
LABEL = click.option("--reason", default=None, help="Why; kept with the event.")
REASON = click.option("--reason", required=True, help="Why; kept with the event.")


def points_of(points: int) -> str:
    """The points that a sentence is about."""
    return count(points, "point")


@click.command("enrol")
@MEMBER
@click.option("--channel", default=None)
@click.option("--store", default=None)
@click.option("--referrer", default=None, help="The member who referred this one.")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="Not personal; may be repeated.")
@command_options
def enrol(given: Given, member: str, attributes: tuple[str, ...], **fields: Any) -> None:
    """Enrol MEMBER."""
    pairs = dict(_pair(attribute) for attribute in attributes)
    submit(given, "enrolment.v1", f"Enrolled {member}.", member=member, attributes=pairs or None, **fields)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"--attribute {text!r}: must be NAME=VALUE")
    return name, value


@click.command("redeem")
@MEMBER
@POINTS
@LABEL
@command_options
def redeem(given: Given, member: str, points: int, reason: str | None) -> None:
    """Spend POINTS of MEMBER, soonest expiry first."""
    did = f"Redeemed {points_of(points)} of {member}."
    submit(given, "redemption.v1", did, member=member, points=points, reason=reason)


@click.command("reverse")
@MEMBER
@click.argument("redemption")
@click.option("--redemption-source", default=None, help="Where two sources use the same id.")
@click.option("--points", type=int, default=None, help="Only so many (default: all that is left).")
@LABEL
@command_options
def reverse(given: Given, member: str, redemption: str, points: int | None, **fields: Any) -> None:
    """Give back the points of REDEMPTION (its key, or that of a capture) to MEMBER."""
    did = f"Reversed {points_of(points) if points else 'what was left'} of {redemption} to {member}."
    submit(given, "reversal.v1", did, member=member, redemption=redemption, points=points, **fields)


@click.command("return")
@MEMBER
@click.option("--purchase", default=None, help="The id of the purchase (default: the newest that match the lines).")
@click.option("--purchase-source", default=None, help="Where two sources use the same id.")
@click.option("--line", "lines", multiple=True, metavar="SKU:QUANTITY:AMOUNT_MINOR", help="May be repeated.")
@click.option("--amount", "amount_minor", type=int, default=None, help="An amount in minor units, instead of lines.")
@click.option("--currency", default=None, help="ISO 4217 code (default: the programme's).")
@LABEL
@command_options
def return_(given: Given, member: str, lines: tuple[str, ...], currency: str | None, **fields: Any) -> None:
    """Return goods of MEMBER: all of a purchase, some lines, or an amount."""
    parsed = [_line(line) for line in lines] or None
    with opened(given.settings) as workspace:
        info = programme_info(workspace, given.programme, given.settings)
        _take_back(
            workspace,
            given,
            "return.v1",
            f"Recorded the return of {member}",
            programme=info.programme.programme,
            member=member,
            currency=currency or info.programme.currency,
            lines=parsed,
            **fields,
        )


def _take_back(workspace: Workspace, given: Given, type_: str, did: str, **fields: Any) -> None:
    """Hand over a command that takes points back, and say how many were there to take."""
    message, outcome = hand_over(workspace, given, type_, **fields)
    said = f"{did}."
    if outcome.status == "posted":
        found = [event for event in events_of(workspace, outcome) if isinstance(event, PointsClawedBack)]
        owed, waived = sum(event.arrears for event in found), sum(event.waived for event in found)
        taken = sum(event.due for event in found) - owed - waived
        parts = [
            f"{points_of(taken)} taken back",
            f"{owed:,} owed" if owed else "",
            f"{waived:,} waived" if waived else "",
        ]
        said = f"{did}: {', '.join(part for part in parts if part)}."
    show_outcome(given, message, outcome, said)


def _line(text: str) -> dict[str, Any]:
    sku, quantity, amount = [*text.rsplit(":", 2), "", ""][:3]
    if not (sku and quantity.isdecimal() and amount.isdecimal()):
        raise click.UsageError(f"--line {text!r}: must be SKU:QUANTITY:AMOUNT_MINOR, such as A1:1:2800")
    return {"sku": sku, "quantity": int(quantity), "amount_minor": int(amount)}


@click.command("accrue")
@MEMBER
@POINTS
@REASON
@command_options
def accrue(given: Given, member: str, points: int, reason: str) -> None:
    """Give MEMBER POINTS that no purchase earned, under the terms' activation and expiry."""
    did = f"Accrued {points_of(points)} to {member}."
    submit(given, "accrual.v1", did, member=member, points=points, reason=reason)


@click.command("hold")
@MEMBER
@POINTS
@LABEL
@command_options
def hold(given: Given, member: str, points: int, reason: str | None) -> None:
    """Set POINTS of MEMBER aside; capture or release them by the key of this command."""
    did = f"Held {points_of(points)} of {member}."
    submit(given, "hold.v1", did, member=member, points=points, reason=reason)


HOLD_SOURCE = click.option("--hold-source", default=None, help="Where two sources use the same id.")


@click.command("capture")
@MEMBER
@click.argument("hold")
@HOLD_SOURCE
@click.option("--points", type=int, default=None, help="Only so many (default: all that is left).")
@click.option("--release-rest", is_flag=True, help="Release what then remains.")
@LABEL
@command_options
def capture(given: Given, member: str, hold: str, points: int | None, **fields: Any) -> None:
    """Spend HOLD (its key) of MEMBER."""
    did = f"Captured {points_of(points) if points else 'what was left'} of {hold} of {member}."
    submit(given, "capture.v1", did, member=member, hold=hold, points=points, **fields)


@click.command("release")
@MEMBER
@click.argument("hold")
@HOLD_SOURCE
@LABEL
@command_options
def release(given: Given, member: str, hold: str, **fields: Any) -> None:
    """Void HOLD (its key) of MEMBER: what is left of it goes back."""
    submit(given, "release.v1", f"Released {hold} of {member}.", member=member, hold=hold, **fields)


@click.command("clawback")
@MEMBER
@POINTS
@REASON
@command_options
def clawback(given: Given, member: str, points: int, reason: str) -> None:
    """Take POINTS back from MEMBER for a reason other than a return, under the terms' return policy."""
    with opened(given.settings) as workspace:
        did = f"Clawed back points of {member}"
        _take_back(workspace, given, "clawback.v1", did, member=member, points=points, reason=reason)


@click.command("adjust", context_settings={"ignore_unknown_options": True})
@MEMBER
@POINTS
@REASON
@click.option("--approver", required=True, help="Who approved it.")
@command_options
def adjust(given: Given, member: str, points: int, reason: str, approver: str) -> None:
    """Correct the balance of MEMBER by POINTS, up or down (such as -50)."""
    did = f"Adjusted {member} by {points:+,}."
    submit(given, "adjustment.v1", did, member=member, points=points, reason=reason, approver=approver)


@click.command("transfer")
@MEMBER
@click.argument("to")
@POINTS
@LABEL
@command_options
def transfer(given: Given, member: str, to: str, points: int, reason: str | None) -> None:
    """Move POINTS from MEMBER to the member TO, with their expiry."""
    did = f"Transferred {points_of(points)} from {member} to {to}."
    submit(given, "transfer.v1", did, member=member, to=to, points=points, reason=reason)


@click.command("merge")
@MEMBER
@click.argument("into")
@LABEL
@command_options
def merge(given: Given, member: str, into: str, reason: str | None) -> None:
    """Merge MEMBER into the member INTO, which keeps everything of both."""
    submit(given, "merge.v1", f"Merged {member} into {into}.", member=member, into=into, reason=reason)


@click.command("unmerge")
@MEMBER
@LABEL
@command_options
def unmerge(given: Given, member: str, reason: str | None) -> None:
    """Undo the merge of MEMBER: what is left of what it brought goes back to it."""
    submit(given, "merge-undo.v1", f"Undid the merge of {member}.", member=member, reason=reason)


@click.command("close")
@MEMBER
@LABEL
@command_options
def close(given: Given, member: str, reason: str | None) -> None:
    """Close the membership of MEMBER; what points remain are forfeited."""
    submit(given, "closure.v1", f"Closed the membership of {member}.", member=member, reason=reason)


@click.command("erase")
@MEMBER
@LABEL
@click.option("--yes", is_flag=True, help="Do not ask.")
@command_options
def erase(given: Given, member: str, reason: str | None, yes: bool) -> None:
    """Erase the personal data of MEMBER for ever, and end the membership."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: give --yes")
        click.confirm(f"Erase the personal data of {member} for ever?", abort=True, err=True)
    submit(given, "erasure.v1", f"Erased {member}.", member=member, reason=reason)


@click.command("expire")
@click.option("--programme", default="", help="The programme (default: LOYALTY_PROGRAMME, or the only one).")
@click.option("--as-of", "as_of", type=INSTANT, default=None, help="Business time (default: now).")
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON.")
@click.pass_obj
def expire_command(settings: Settings, programme: str, as_of: datetime | None, as_json: bool) -> None:
    """Recognise in the ledger what has expired or timed out by an instant, of all members."""
    at = as_of or datetime.now(UTC)
    with opened(settings) as workspace:
        info = programme_info(workspace, programme, settings)
        catch_up(workspace.database)
        swept = expire(workspace, info, at)
    if as_json:
        show_json({"as_of": at, **msgspec.structs.asdict(swept)})
    else:
        say(f"Expired what was due by {instant(at)} of {count(swept.members, 'member')}.")
    if swept.refused:
        stop(EXIT_REJECTED, f"Refused for {count(swept.refused, 'member')}, the first: {swept.first_refusal}")


COMMANDS: Final = (
    enrol,
    redeem,
    reverse,
    return_,
    accrue,
    hold,
    capture,
    release,
    clawback,
    adjust,
    transfer,
    merge,
    unmerge,
    close,
    erase,
    expire_command,
)
