"""Given what happened, when a command comes, then these events or this refusal.

    given(accrue(30), terms=terms(minimum=10)).when(redeem(5)).then("POINTS_BELOW_MINIMUM")
    given(accrue(30)).when(redeem(5, day=2)).then(happened(PointsRedeemed, points=5)).leaves(active=25)

Members `ann` and `bob` are enrolled to begin with. Days count from 1 January 2026. A command's id is its verb unless it
is given, so `hold(5)` is captured by `capture("hold")`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ledger import commands as c
from ledger.decider import Programme
from ledger.events import Allocation, OpenedLot
from ledger.figures import figures
from ledger.rejections import CODES, Rejection
from ledger.values import FAR
from tests.streams import PROGRAMME, Streams

START = datetime(2026, 1, 1, tzinfo=UTC)


def on(day: float) -> datetime:
    """Midnight of a day, counted from 1 January 2026."""
    return START + timedelta(days=day)


# --- terms --------------------------------------------------------------------------------------------------------


def terms(
    *,
    rate: str = "0.1",
    activation: str = "0D",
    expiry: str | None = None,
    cap: int | None = None,
    minimum: int = 1,
    step: int = 1,
    hold_timeout: str = "2D",
    reversal_window: str = "20D",
    reversal_of_expired: Any = "forfeit",
    window: str = "20D",
    late_grace: str = "5D",
    policy: str = "within_balance",
    unmatched: str = "refuse",
    day: float = -100,
) -> dict[str, Any]:
    """A terms document; one point for ten minor units unless told otherwise, points that never expire."""
    return {
        "name": "club terms",
        "effective_from": on(day).isoformat(),
        "currency": "CNY",
        "time_zone": "UTC",
        "earning": {
            "rate": rate,
            "caps": {} if cap is None else {"purchase": cap},
            "activation": activation,
            "expiry": {"kind": "never"} if expiry is None else {"kind": "after", "period": expiry},
        },
        "redemption": {
            "minimum": minimum,
            "step": step,
            "hold_timeout": hold_timeout,
            "reversal_window": reversal_window,
            "reversal_of_expired": reversal_of_expired,
        },
        "returns": {"window": window, "late_grace": late_grace, "policy": policy, "unmatched": unmatched},
    }


# --- commands -----------------------------------------------------------------------------------------------------


def command(
    verb: type[Any], id: str, *, day: float = 0, member: str = "ann", source: str = "till", **fields: Any
) -> Any:
    """A command of a verb."""
    return verb(id=id, source=source, programme="club", occurred_at=on(day), member=member, **fields)


def enrol(member: str = "ann", id: str = "enrol", **more: Any) -> Any:
    return command(c.EnrolMember, id, member=member, **more)


def profile(id: str = "profile", **more: Any) -> Any:
    return command(c.ChangeProfile, id, **more)


def close(id: str = "close", **more: Any) -> Any:
    return command(c.CloseMember, id, **more)


def erase(id: str = "erase", **more: Any) -> Any:
    return command(c.EraseMember, id, **more)


def merge(into: str = "bob", id: str = "merge", **more: Any) -> Any:
    return command(c.MergeMembers, id, into=into, **more)


def undo_merge(id: str = "undo", **more: Any) -> Any:
    return command(c.UndoMerge, id, **more)


def line(sku: str, amount: int, quantity: int = 1, **more: Any) -> c.PurchaseLine:
    return c.PurchaseLine(sku=sku, quantity=quantity, amount_minor=amount, **more)


def back(sku: str, amount: int, quantity: int = 1) -> c.ReturnLine:
    return c.ReturnLine(sku=sku, quantity=quantity, amount_minor=amount)


def purchase(*lines: c.PurchaseLine, id: str = "purchase", currency: str = "CNY", **more: Any) -> Any:
    """A purchase; without lines, of tea for 100 (which earns 10 points)."""
    return command(c.RecordPurchase, id, currency=currency, lines=list(lines) or [line("tea", 100)], **more)


def bring_back(purchase: str | None = "purchase", *, id: str = "return", currency: str = "CNY", **more: Any) -> Any:
    return command(c.RecordReturn, id, purchase=purchase, currency=currency, **more)


def accrue(points: int, id: str = "accrue", **more: Any) -> Any:
    return command(c.AccruePoints, id, points=points, reason="welcome", **more)


def redeem(points: int, id: str = "redeem", **more: Any) -> Any:
    return command(c.RedeemPoints, id, points=points, **more)


def reverse(redemption: str = "redeem", id: str = "reverse", **more: Any) -> Any:
    return command(c.ReverseRedemption, id, redemption=redemption, **more)


def hold(points: int, id: str = "hold", **more: Any) -> Any:
    return command(c.HoldPoints, id, points=points, **more)


def capture(hold: str = "hold", id: str = "capture", **more: Any) -> Any:
    return command(c.CaptureHold, id, hold=hold, **more)


def release(hold: str = "hold", id: str = "release", **more: Any) -> Any:
    return command(c.ReleaseHold, id, hold=hold, **more)


def expire(id: str = "expire", **more: Any) -> Any:
    return command(c.ExpirePoints, id, **more)


def claw_back(points: int, id: str = "clawback", **more: Any) -> Any:
    return command(c.ClawBackPoints, id, points=points, reason="fraud", **more)


def adjust(points: int, id: str = "adjust", **more: Any) -> Any:
    return command(c.AdjustPoints, id, points=points, reason="by hand", approver="lee", **more)


def transfer(points: int, to: str = "bob", id: str = "transfer", **more: Any) -> Any:
    return command(c.TransferPoints, id, to=to, points=points, **more)


# --- what is expected ---------------------------------------------------------------------------------------------


def happened(event: type[Any], **fields: Any) -> tuple[type[Any], dict[str, Any]]:
    """An event of this type, with these values of these fields."""
    return event, fields


def part(
    number: int, points: int, available: float = 0, expires: float | None = None, member: str = "ann"
) -> Allocation:
    """Points of the layer of a member's lot."""
    return Allocation(
        lot=f"{member}.{number:06d}",
        points=points,
        available_at=on(available),
        expires_at=None if expires is None else on(expires),
    )


def layer(
    number: int,
    points: int,
    opened: float = 0,
    available: float | None = None,
    expires: float | None = None,
    member: str = "ann",
) -> OpenedLot:
    """A layer of a member's lot; available when it was opened unless told otherwise."""
    return OpenedLot(
        lot=f"{member}.{number:06d}",
        points=points,
        opened_at=on(opened),
        available_at=on(opened if available is None else available),
        expires_at=None if expires is None else on(expires),
    )


class Scenario:
    """What happened, and then what a command did."""

    def __init__(
        self, history: Iterable[Any], documents: list[dict[str, Any]], enrolled: Iterable[str], programme: Programme
    ) -> None:
        self.streams = Streams(documents, programme)
        self.command: Any = None
        self.outcome: Any = None
        for name in enrolled:
            self._must(enrol(name, day=-50))
        for step in history:
            if isinstance(step, c.Command):
                self._must(step)
            else:
                self.streams.record(step.member, step)

    def _must(self, step: Any) -> None:
        outcome = self.streams.handle(step)
        assert not isinstance(outcome, Rejection), f"given {step}: {outcome}"

    def when(self, command: Any) -> Scenario:
        """The command in question."""
        self.command, self.outcome = command, self.streams.handle(command)
        return self

    def then(self, *expected: Any, of: str | None = None) -> Scenario:
        """Exactly these events of the command's member (or of `of`), or one refusal's code."""
        if len(expected) == 1 and isinstance(expected[0], str):
            assert isinstance(self.outcome, Rejection), self.outcome
            assert self.outcome.code == expected[0], self.outcome
            assert self.outcome.field
            assert self.outcome.rule
            return self
        assert not isinstance(self.outcome, Rejection), self.outcome
        events = self.outcome[of or self.command.member]
        assert [type(event) for event in events] == [kind for kind, _ in expected]
        for event, (_, fields) in zip(events, expected, strict=True):
            shown = {name: getattr(event, name) for name in fields}
            assert shown == fields
            assert (event.id, event.source, event.occurred_at) == (
                self.command.id,
                self.command.source,
                self.command.occurred_at,
            )
        return self

    def leaves(self, member: str | None = None, *, day: float | None = None, **expected: Any) -> Scenario:
        """These figures of the command's member (or of another) at the command's time (or on another day)."""
        at = self.command.occurred_at if day is None else on(day)
        shown = figures(self.streams.member(member or self.command.member), at)
        assert {name: getattr(shown, name) for name in expected} == expected
        return self

    def layers(self, *expected: OpenedLot, of: str | None = None) -> Scenario:
        """Exactly these layers, in spending order."""
        state = self.streams.member(of or self.command.member)
        shown = [
            OpenedLot(
                lot=layer.lot,
                points=layer.points,
                opened_at=layer.opened_at,
                available_at=layer.available_at,
                expires_at=None if layer.expires_at == FAR else layer.expires_at,
            )
            for layer in state.layers()
        ]
        assert shown == list(expected)
        return self


PLAIN = terms()


def given(
    *history: Any,
    terms: dict[str, Any] | list[dict[str, Any]] = PLAIN,
    enrolled: Iterable[str] = ("ann", "bob"),
    programme: Programme = PROGRAMME,
) -> Scenario:
    """A history of events and commands, each of which must be accepted."""
    return Scenario(history, terms if isinstance(terms, list) else [terms], enrolled, programme)


# --- tables of refusals -------------------------------------------------------------------------------------------


def refusals(*rows: tuple[str, list[Any], Any] | tuple[str, list[Any], Any, Any]) -> Any:
    """Parametrize a test over refusals, in their order of precedence: (code, history, command[, terms]).

    Where a row's command breaks later rules as well, the row shows that its own is named.
    """
    order = list(CODES)
    codes = [order.index(row[0]) for row in rows]
    assert codes == sorted(codes), "a table of refusals is in the order of precedence"
    full = [(*row, PLAIN) if len(row) == 3 else row for row in rows]
    ids = [f"{number}-{row[0]}" for number, row in enumerate(rows, start=1)]
    return pytest.mark.parametrize(("code", "history", "refused", "under"), full, ids=ids)


NOT_YET = terms(day=1_000)
"""Terms that come into force after everything."""
ENDED = [
    ("MEMBER_MERGED", [merge(day=1)]),
    ("MEMBER_CLOSED", [close(day=1)]),
    ("MEMBER_ERASED", [erase(day=1)]),
]
"""How a membership ends, in the order of precedence."""


def unless_open(refused: Any) -> list[tuple[str, list[Any], Any]]:
    """The rows of a verb that needs an open member; the command is ann's."""
    stranger = msgspec.structs.replace(refused, member="nobody")
    return [("MEMBER_UNKNOWN", [], stranger), *((code, history, refused) for code, history in ENDED)]
