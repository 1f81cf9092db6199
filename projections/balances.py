"""Balances: what a member has at any instant from now on, from its open layers and its running totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import mul
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from msgspec import Struct

from ledger.postings import ACCOUNTS
from ledger.store.database import PgConnection, PgCursor
from projections.batch import Batch
from projections.copying import NULL, copy_rows
from projections.movements import MOVEMENT_TOPICS, Movement, later, movements

_TOTALS = (
    "open",
    "held",
    "arrears",
    "earned",
    "spent",
    "expired",
    "forfeited",
    "clawed_back",
    "adjusted",
    "transferred",
    "merged",
    "written_off",
)
"""Columns of `balances`, in the order of the accounts of `ledger.postings`."""
_SIGNS = (1, 1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1)
"""Postings of these accounts are kept so that the usual case is positive: arrears owed, points earned."""
assert len(_TOTALS) == len(_SIGNS) == len(ACCOUNTS)

OPENING_TOPICS = frozenset({"points-accrued.v1"})
"""Events that open a lot of a name that the member's stream never had before."""
_NEVER_OPENED = "-infinity"
LayerKey = tuple[str, str, str, str]
"""member, lot, available_at, expires_at."""


class Balance(Struct, frozen=True, kw_only=True):
    """Points of a member at an instant; see `ledger.figures`. A member never heard of is `unknown` at version 0."""

    member: str
    status: str
    version: int
    position: int
    active: int
    pending: int
    held: int
    spent: int
    expired: int
    arrears: int
    balance: int
    next_expiry_at: datetime | None
    next_expiry_points: int


class LayerDelta(Struct, gc=False):
    """What a batch does to one layer, without knowing what was in it.

    A layer leaves when it is spent, and opens anew if points come back later. Whether it was spent on the way depends
    on what it held before the batch: it was if that is just what `lowest`, the lowest running sum of the batch, took
    from it. Then it was opened by what came after that low (`opened_since`), else by anything (`opened_ever`).

    `is_new`: its lot was opened in the batch, so that there was no such layer before.
    """

    points: int = 0
    lowest: int = 0
    opened_since: str = _NEVER_OPENED
    opened_ever: str = _NEVER_OPENED
    is_new: bool = False

    def change(self, points: int, opened_at: str) -> None:
        """Take points (negative), or give some that opened at an instant."""
        self.points += points
        if points < 0:
            if self.points <= self.lowest:
                self.lowest = self.points
                self.opened_since = _NEVER_OPENED
            return
        self.opened_since = _latest(self.opened_since, opened_at)
        self.opened_ever = _latest(self.opened_ever, opened_at)


def _latest(known: str, opened_at: str) -> str:
    return opened_at if known is _NEVER_OPENED else later(known, opened_at)


class MemberDelta(Struct, gc=False):
    """What a batch does to one member's row: postings by account, summed, and its status if it changed."""

    totals: list[int]
    status: str | None = None


class Changes(NamedTuple):
    """What a batch does: the newest row of each member it names, deltas of totals and of layers."""

    newest: dict[str, Any]
    members: dict[str, MemberDelta]
    layers: dict[LayerKey, LayerDelta]


class Balances:
    """The projection behind `read_balance`. It only ever adds to rows, so it reads none before a batch."""

    name = "balances"
    version = 1
    tables: tuple[str, ...] = ("balances", "lots")
    topics = MOVEMENT_TOPICS

    def prepare(self, cur: PgCursor) -> None:
        cur.execute(_STAGING)

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Any]) -> None:
        """Nothing: all changes are additions."""

    def apply(self, batch: Batch, memory: dict[str, Any]) -> Changes:
        newest = {row[1]: row for row in batch.rows}
        newest.pop("", None)
        changes = Changes(newest, {}, {})
        for movement in batch.view(movements):
            _add(changes, movement)
        return changes

    def write(self, cur: PgCursor, journal: int, changes: Changes) -> None:
        zeros = MemberDelta([0] * len(_TOTALS))
        members = [
            (member, row[2], row[0], delta.status or NULL, *map(mul, _SIGNS, delta.totals))
            for member, row in changes.newest.items()
            for delta in (changes.members.get(member, zeros),)
        ]
        layers = [
            (*key, delta.points, delta.lowest, delta.opened_since, delta.opened_ever)
            for key, delta in changes.layers.items()
            if not delta.is_new
        ]
        new_layers = [
            (*key, delta.opened_since, delta.points)
            for key, delta in changes.layers.items()
            if delta.is_new and delta.points
        ]
        copy_rows(cur, "staged_balances", f"member, version, position, status, {', '.join(_TOTALS)}", members)
        cur.execute(_MERGE_BALANCES, (journal, journal))
        copy_rows(
            cur,
            "staged_lots",
            "member, lot, available_at, expires_at, points, lowest, opened_since, opened_ever",
            layers,
        )
        cur.execute(_MERGE_LOTS, (journal, journal))
        columns = "member, lot, available_at, expires_at, opened_at, points"
        copy_rows(cur, "lots", columns, new_layers, journal=journal)


def _add(changes: Changes, movement: Movement) -> None:
    member = movement.row[1]
    delta = changes.members.get(member)
    if delta is None:
        delta = changes.members[member] = MemberDelta([0] * len(_TOTALS))
    totals = delta.totals
    for account, points in movement.booked:
        totals[account] += points
    if movement.status is not None:
        delta.status = movement.status
    layers = changes.layers
    for lot, points, opened_at, available_at, expires_at in movement.layers:
        key = (member, lot, available_at, expires_at)
        layer = layers.get(key)
        if layer is not None:
            layer.change(points, opened_at)
        elif points > 0:
            layers[key] = LayerDelta(points, 0, opened_at, opened_at, movement.row[3] in OPENING_TOPICS)
        else:
            layers[key] = LayerDelta(points, points)


_TOTALS_DEFINED = ", ".join(f"{total} bigint" for total in _TOTALS)
_STAGING = f"""
SET LOCAL client_min_messages = warning;  -- IF NOT EXISTS would tell in every batch but the first
CREATE TEMPORARY TABLE IF NOT EXISTS staged_balances (
    member text COLLATE "C", version bigint, position bigint, status text, {_TOTALS_DEFINED}
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS staged_lots (
    member text COLLATE "C", lot text COLLATE "C", available_at timestamptz, expires_at timestamptz,
    points bigint, lowest bigint, opened_since timestamptz, opened_ever timestamptz
) ON COMMIT DELETE ROWS;
DELETE FROM staged_balances;  -- of a batch before in the same transaction
DELETE FROM staged_lots
"""

_MERGE_BALANCES = f"""
MERGE INTO balances USING staged_balances staged
ON balances.journal = %s AND balances.member = staged.member
WHEN MATCHED THEN UPDATE SET
    version = staged.version, position = staged.position, status = coalesce(staged.status, balances.status),
    {", ".join(f"{total} = balances.{total} + staged.{total}" for total in _TOTALS)}
WHEN NOT MATCHED THEN INSERT (journal, member, status, version, position, {", ".join(_TOTALS)})
    VALUES (%s, staged.member, coalesce(staged.status, 'unknown'), staged.version, staged.position,
        {", ".join(f"staged.{total}" for total in _TOTALS)})
"""

_MERGE_LOTS = """
MERGE INTO lots USING staged_lots staged
ON lots.journal = %s AND lots.member = staged.member AND lots.lot = staged.lot
    AND lots.available_at = staged.available_at AND lots.expires_at = staged.expires_at
WHEN MATCHED AND lots.points + staged.points = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET
    points = lots.points + staged.points,
    opened_at = CASE WHEN lots.points + staged.lowest = 0 THEN staged.opened_since
        ELSE greatest(lots.opened_at, staged.opened_ever) END
WHEN NOT MATCHED AND staged.points <> 0 THEN INSERT VALUES (%s, staged.member, staged.lot, staged.available_at,
    staged.expires_at, staged.opened_since, staged.points)
"""

# Parsed and planned once a connection: that takes several times as long as running it.
PREPARE_BALANCES: Final = """
PREPARE read_balances (integer[], text[], timestamptz) AS
SELECT wanted.member, coalesce(status, 'unknown'), coalesce(version, 0), coalesce(position, 0),
    coalesce(held, 0), coalesce(spent, 0), coalesce(expired, 0), coalesce(arrears, 0), figures.*
FROM unnest($1, $2) WITH ORDINALITY AS wanted (journal, member, number)
LEFT JOIN balances USING (journal, member), LATERAL (
    SELECT coalesce(sum(points) FILTER (WHERE available_at <= $3 AND expires_at > $3), 0)::bigint,
        coalesce(sum(points) FILTER (WHERE available_at > $3 AND expires_at > $3), 0)::bigint,
        coalesce(sum(points) FILTER (WHERE expires_at <= $3), 0)::bigint,
        min(next_at),
        coalesce(sum(points) FILTER (WHERE expires_at = next_at), 0)::bigint
    FROM (
        SELECT points, available_at, expires_at,
            min(expires_at) FILTER (WHERE expires_at > $3 AND expires_at < 'infinity') OVER () AS next_at
        FROM lots WHERE lots.journal = wanted.journal AND lots.member = wanted.member
    ) layers
) figures
ORDER BY wanted.number
"""
_prepared: WeakSet[PgConnection] = WeakSet()
"""Connections that have it."""


def read_balance(cur: PgCursor, journal: int, member: str, at: datetime) -> Balance:
    """The balance of a member at an instant, by all that the projection has folded in: one round trip.

    An instant in the past gives the layers of today as pending, available or expired then, as `ledger.figures` does;
    what had happened or was known by then is in `projections.as_of`.
    """
    return read_balances(cur, [(journal, member)], at)[0]


def read_balances(cur: PgCursor, members: Sequence[tuple[int, str]], at: datetime) -> list[Balance]:
    """As `read_balance`, of members each in its journal, in their order: one round trip for all."""
    if cur.connection not in _prepared:
        cur.execute(PREPARE_BALANCES)
        _prepared.add(cur.connection)
    cur.execute(*balances_query(members, at))
    return balances_of(cur.fetchall())


def balances_query(members: Sequence[tuple[int, str]], at: datetime) -> tuple[str, tuple[Any, ...]]:
    """What `read_balances` runs, and its arguments: for a connection that has run `PREPARE_BALANCES`."""
    journals, names = [journal for journal, _ in members], [member for _, member in members]
    return "EXECUTE read_balances (%s, %s, %s)", (journals, names, at)


def balances_of(rows: Iterable[tuple[Any, ...]]) -> list[Balance]:
    """Its rows as balances."""
    return [_balance(*row) for row in rows]


def _balance(
    member: str,
    status: str,
    version: int,
    position: int,
    held: int,
    spent: int,
    expired: int,
    arrears: int,
    active: int,
    pending: int,
    overdue: int,
    next_at: datetime | None,
    next_points: int,
) -> Balance:
    return Balance(
        member=member,
        status=status,
        version=version,
        position=position,
        active=active,
        pending=pending,
        held=held,
        spent=spent,
        expired=expired + overdue,
        arrears=arrears,
        balance=active + pending + held,
        next_expiry_at=next_at,
        next_expiry_points=next_points,
    )


class OpenLot(Struct, frozen=True, kw_only=True):
    """Points of a lot that are neither spent nor held: from `available_at` until before `expires_at` (None: never)."""

    lot: str
    points: int
    opened_at: datetime
    available_at: datetime
    expires_at: datetime | None


def read_lots(cur: PgCursor, journal: int, member: str) -> list[OpenLot]:
    """The open lots of a member in the order in which a redemption takes them: soonest expiry, earliest available."""
    cur.execute(
        "SELECT lot, points, opened_at, available_at, nullif(expires_at, 'infinity') FROM lots"
        " WHERE journal = %s AND member = %s ORDER BY lots.expires_at, available_at, lot",
        (journal, member),
    )
    return [OpenLot(**dict(zip(OpenLot.__struct_fields__, row, strict=True))) for row in cur.fetchall()]
