"""Developments: what became of the points of each vintage, month by month of its age."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import accumulate

from msgspec import Struct

from ledger.store.database import PgCursor
from projections.liability_reads import UNKNOWN_VINTAGE, check_range, read_flows
from projections.trading import month_of

REDEEMING = frozenset({"redeemed", "reversed"})
LAPSING = frozenset({"expired", "forfeited"})


class Development(Struct, frozen=True, kw_only=True):
    """A vintage by age: index 0 is the end of its own month, the last one the end of the months that were read.

    `issued` is what came less what was taken back (clawed back, adjusted down, used up by arrears), `redeemed` is less
    reversals, `lapsed` expired or was forfeited; each up to that age. All of it is in points.
    """

    vintage: date
    issued: list[int]
    redeemed: list[int]
    lapsed: list[int]

    @property
    def open(self) -> int:
        """What is left to redeem: open and held."""
        return self.issued[-1] - self.redeemed[-1] - self.lapsed[-1]

    @property
    def not_redeemed(self) -> list[int]:
        """Its row of the triangle: what was issued, then what of that was not redeemed at each age."""
        issued = self.issued[-1]
        return [issued, *(issued - redeemed for redeemed in self.redeemed)]


def read_developments(cur: PgCursor, journals: Sequence[int], until_month: date) -> list[Development]:
    """Every vintage before a month, as it developed until then, oldest first; without those of unknown month."""
    check_range(None, until_month)
    changes: dict[date, tuple[list[int], list[int], list[int]]] = {}
    for vintage, month, flow, points in read_flows(cur, journals):
        if vintage == UNKNOWN_VINTAGE or vintage >= until_month or month >= until_month:
            continue
        ages = months_between(vintage, until_month)
        issued, redeemed, lapsed = changes.setdefault(vintage, ([0] * ages, [0] * ages, [0] * ages))
        age = max(months_between(vintage, month), 0)  # what came back to a vintage may be dated before it
        if flow in REDEEMING:
            redeemed[age] -= points
        elif flow in LAPSING:
            lapsed[age] -= points
        else:
            issued[age] += points
    return [
        Development(
            vintage=vintage,
            issued=list(accumulate(issued)),
            redeemed=list(accumulate(redeemed)),
            lapsed=list(accumulate(lapsed)),
        )
        for vintage, (issued, redeemed, lapsed) in sorted(changes.items())
    ]


def as_of(developments: Sequence[Development], until_month: date) -> list[Development]:
    """The same as they had developed before an earlier month."""
    return [
        Development(
            vintage=each.vintage, issued=each.issued[:ages], redeemed=each.redeemed[:ages], lapsed=each.lapsed[:ages]
        )
        for each in developments
        if (ages := months_between(each.vintage, until_month)) > 0
    ]


def months_between(first: date, last: date) -> int:
    """Months from the one of a day to the one of another; negative where that is earlier."""
    return month_of(last.toordinal()) - month_of(first.toordinal())
