"""Movements: what events do to points, as read models need it. The one place where projections read point events.

Decoding is narrow (only these fields) and instants stay the text they were stored as, because most of them only pass
from the event to a row. They are made UTC where two of them are compared or name a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from ledger.postings import ACCOUNTS
from projections.batch import Batch, Row

NEVER = "infinity"
LayerChange: TypeAlias = tuple[str, int, str, str, str]
"""lot, points (negative: taken), opened_at, available_at, expires_at (NEVER: never)."""

(
    OPEN,
    HELD,
    ARREARS,
    ISSUED,
    REDEEMED,
    EXPIRED,
    FORFEITED,
    CLAWED_BACK,
    ADJUSTED,
    TRANSFERRED,
    MERGED,
    WRITTEN_OFF,
) = range(len(ACCOUNTS))
"""Accounts of `ledger.postings` by their index."""


class Movement(Struct, gc=False):
    """What one event does. `booked` are its postings as (account, points), `layers` what it does to layers.

    `lots` is the provenance as the event has it (JSON), `parts` the earning rules of an accrual (JSON). `reference` is
    the purchase, redemption, hold or other member that it is about. `status` is the member's new one or None.
    """

    row: Row
    occurred_at: str
    source: str
    id: str
    booked: tuple[tuple[int, int], ...]
    layers: Sequence[LayerChange] = ()
    lots: str = "[]"
    parts: str | None = None
    terms: int | None = None
    reference: str | None = None
    reason: str = ""
    status: str | None = None


def movements(batch: Batch) -> list[Movement]:
    """The movements of a batch, in order; events that change neither points nor the member's status have none."""
    reader_of = _READERS.get
    found = []
    for row in batch.rows:
        reader = reader_of(row[3])
        if reader is not None:
            decode, read = reader
            found.append(read(row, decode(row[4])))
    return found


# --- the fields that are read ---------------------------------------------------------------------------------------


class _Event(Struct, gc=False):
    occurred_at: str
    source: str
    id: str


class _Allocation(Struct, gc=False):
    lot: str
    points: int
    available_at: str
    expires_at: str | None = None


class _OpenedLot(Struct, gc=False):
    lot: str
    points: int
    opened_at: str
    available_at: str
    expires_at: str | None = None


_NONE = Raw(b"[]")
_allocations = msgspec.json.Decoder(list[_Allocation]).decode
_opened_lots = msgspec.json.Decoder(list[_OpenedLot]).decode
_quoted = msgspec.json.Encoder().encode


class _Accrued(_Event, gc=False, kw_only=True):
    lot: str
    points: int
    available_at: str
    expires_at: str | None = None
    terms: int
    repaid: int = 0
    purchase: str | None = None
    reason: str = ""
    parts: Raw = _NONE


class _Taken(_Event, gc=False, kw_only=True):
    """Redemptions, holds, expiries and transfers out."""

    points: int
    allocations: Raw
    terms: int | None = None
    to: str | None = None
    reason: str = ""


class _Reversed(_Event, gc=False, kw_only=True):
    redemption: str
    points: int
    restored: Raw = _NONE
    forfeited: list[_Allocation] = []
    terms: int
    reason: str = ""


class _HoldEnded(_Event, gc=False, kw_only=True):
    """Captures and releases."""

    hold: str
    points: int
    allocations: Raw
    reason: str = ""


class _ClawedBack(_Event, gc=False, kw_only=True):
    allocations: Raw = _NONE
    arrears: int = 0
    terms: int
    purchase: str | None = None
    reason: str = ""


class _Adjusted(_Event, gc=False, kw_only=True):
    points: int
    reason: str
    lot: Raw = Raw(b"null")
    repaid: int = 0
    allocations: Raw = _NONE
    terms: int


class _TransferredIn(_Event, gc=False, kw_only=True):
    sender: str
    points: int
    lots: Raw = _NONE
    repaid: int = 0
    reason: str = ""


class _Ended(_Event, gc=False, kw_only=True):
    """Closures and erasures."""

    reason: str = ""
    forfeited: Raw = _NONE
    arrears_written_off: int = 0


class _Merged(_Event, gc=False, kw_only=True):
    """Merges and their undoing."""

    side: str
    other: str
    reason: str = ""
    lots: Raw = _NONE
    arrears: int = 0


# --- what each does -------------------------------------------------------------------------------------------------


def _accrued(row: Row, event: _Accrued) -> Movement:
    points, repaid, lot = event.points, event.repaid, event.lot
    opened, available_at, expires_at = points - repaid, utc(event.available_at), event.expires_at
    layers: Sequence[LayerChange] = ()
    lots = "[]"
    if opened:
        expires_at = NEVER if expires_at is None else utc(expires_at)
        layers = ((lot, opened, utc(event.occurred_at), available_at, expires_at),)
        expiry = "" if expires_at is NEVER else f',"expires_at":"{expires_at}"'
        lots = f'[{{"lot":{_quoted(lot).decode()},"points":{opened},"available_at":"{available_at}"{expiry}}}]'
    booked: tuple[tuple[int, int], ...] = ((ISSUED, -points), (OPEN, points))
    if repaid:
        booked = ((ISSUED, -points), (ARREARS, repaid), *(((OPEN, opened),) if opened else ()))
    return Movement(
        row,
        event.occurred_at,
        event.source,
        event.id,
        booked,
        layers,
        lots,
        _text(event.parts),
        event.terms,
        event.purchase,
        event.reason,
    )


def _taken_to(account: int) -> Callable[[Row, _Taken], Movement]:
    def taken(row: Row, event: _Taken) -> Movement:
        points, allocations = event.points, _text(event.allocations)
        return Movement(
            row,
            event.occurred_at,
            event.source,
            event.id,
            ((OPEN, -points), (account, points)),
            _taking(allocations),
            allocations,
            None,
            event.terms,
            event.to,
            event.reason,
        )

    return taken


def _reversed(row: Row, event: _Reversed) -> Movement:
    restored, at = _text(event.restored), utc(event.occurred_at)
    forfeited = sum(allocation.points for allocation in event.forfeited)
    booked = ((REDEEMED, -event.points), (OPEN, event.points - forfeited), (EXPIRED, forfeited))
    layers = [
        (part.lot, part.points, at, utc(part.available_at), _expiry(part.expires_at)) for part in _allocations(restored)
    ]
    return _movement(
        row,
        event,
        booked,
        layers,
        restored,
        terms=event.terms,
        reference=event.redemption,
        reason=event.reason,
    )


def _captured(row: Row, event: _HoldEnded) -> Movement:
    booked = ((HELD, -event.points), (REDEEMED, event.points))
    allocations = _text(event.allocations)
    return _movement(row, event, booked, (), allocations, reference=event.hold, reason=event.reason)


def _released(row: Row, event: _HoldEnded) -> Movement:
    allocations, at = _text(event.allocations), utc(event.occurred_at)
    layers = [
        (part.lot, part.points, at, later(utc(part.available_at), at), _expiry(part.expires_at))
        for part in _allocations(allocations)
    ]
    booked = ((HELD, -event.points), (OPEN, event.points))
    return _movement(row, event, booked, layers, allocations, reference=event.hold, reason=event.reason)


def _clawed_back(row: Row, event: _ClawedBack) -> Movement:
    allocations = _text(event.allocations)
    layers = _taking(allocations)
    taken = _sum(layers)
    booked = ((OPEN, taken), (ARREARS, -event.arrears), (CLAWED_BACK, event.arrears - taken))
    return _movement(
        row, event, booked, layers, allocations, terms=event.terms, reference=event.purchase, reason=event.reason
    )


def _adjusted(row: Row, event: _Adjusted) -> Movement:
    up = bytes(event.lot) != b"null"
    lots = f"[{_text(event.lot)}]" if up else _text(event.allocations)
    layers = _receiving(lots) if up else _taking(lots)
    booked = ((ADJUSTED, -event.points), (ARREARS, event.repaid), (OPEN, event.points - event.repaid))
    return _movement(row, event, booked, layers, lots, terms=event.terms, reason=event.reason)


def _transferred_in(row: Row, event: _TransferredIn) -> Movement:
    lots = _text(event.lots)
    booked = ((TRANSFERRED, -event.points), (ARREARS, event.repaid), (OPEN, event.points - event.repaid))
    return _movement(row, event, booked, _receiving(lots), lots, reference=event.sender, reason=event.reason)


def _ended_as(status: str) -> Callable[[Row, _Ended], Movement]:
    def ended(row: Row, event: _Ended) -> Movement:
        forfeited, arrears = _text(event.forfeited), event.arrears_written_off
        layers = _taking(forfeited)
        taken = _sum(layers)
        booked = ((OPEN, taken), (FORFEITED, -taken), (ARREARS, arrears), (WRITTEN_OFF, -arrears))
        return _movement(row, event, booked, layers, forfeited, reason=event.reason, status=status)

    return ended


def _merged_as(status_out: str | None, status_in: str | None) -> Callable[[Row, _Merged], Movement]:
    def merged(row: Row, event: _Merged) -> Movement:
        lots, arriving = _text(event.lots), event.side == "in"
        layers = _receiving(lots) if arriving else _taking(lots)
        points, arrears = _sum(layers), event.arrears if arriving else -event.arrears
        return _movement(
            row,
            event,
            ((OPEN, points), (ARREARS, -arrears), (MERGED, arrears - points)),
            layers,
            lots,
            reference=event.other,
            reason=event.reason,
            status=status_in if arriving else status_out,
        )

    return merged


def _enrolled(row: Row, event: _Event) -> Movement:
    return _movement(row, event, (), (), "[]", status="open")


def _movement(
    row: Row, event: _Event, booked: tuple[tuple[int, int], ...], layers: Sequence[LayerChange], lots: str, **more: Any
) -> Movement:
    booked = tuple(posting for posting in booked if posting[1])
    return Movement(row, event.occurred_at, event.source, event.id, booked, layers, lots, **more)


def _text(raw: Raw) -> str:
    return str(raw, "utf-8")


def _taking(allocations: str) -> list[LayerChange]:
    return [
        (part.lot, -part.points, "", utc(part.available_at), _expiry(part.expires_at))
        for part in _allocations(allocations)
    ]


def _receiving(lots: str) -> list[LayerChange]:
    return [
        (lot.lot, lot.points, utc(lot.opened_at), utc(lot.available_at), _expiry(lot.expires_at))
        for lot in _opened_lots(lots)
    ]


def _sum(layers: Sequence[LayerChange]) -> int:
    return sum(layer[1] for layer in layers)


def _expiry(expires_at: str | None) -> str:
    return NEVER if expires_at is None else utc(expires_at)


def utc(instant: str) -> str:
    """The same instant in UTC, ending in Z; so that one instant has one spelling."""
    if instant[-1] == "Z":
        return instant
    return datetime.fromisoformat(instant).astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def later(one: str, other: str) -> str:
    """The later of two instants in UTC (without the Z, a fraction of a second sorts after the whole second)."""
    return one if one[:-1] >= other[:-1] else other


_READERS: dict[str, tuple[Callable[[Any], Any], Callable[[Row, Any], Movement]]] = {
    topic: (msgspec.json.Decoder(fields).decode, read)
    for topic, fields, read in (
        ("points-accrued.v1", _Accrued, _accrued),
        ("points-redeemed.v1", _Taken, _taken_to(REDEEMED)),
        ("redemption-reversed.v1", _Reversed, _reversed),
        ("points-held.v1", _Taken, _taken_to(HELD)),
        ("hold-captured.v1", _HoldEnded, _captured),
        ("hold-released.v1", _HoldEnded, _released),
        ("points-expired.v1", _Taken, _taken_to(EXPIRED)),
        ("points-clawed-back.v1", _ClawedBack, _clawed_back),
        ("points-adjusted.v1", _Adjusted, _adjusted),
        ("points-transferred-out.v1", _Taken, _taken_to(TRANSFERRED)),
        ("points-transferred-in.v1", _TransferredIn, _transferred_in),
        ("members-merged.v1", _Merged, _merged_as("merged", None)),
        ("merge-undone.v1", _Merged, _merged_as(None, "open")),
        ("member-enrolled.v1", _Event, _enrolled),
        ("member-closed.v1", _Ended, _ended_as("closed")),
        ("member-erased.v1", _Ended, _ended_as("erased")),
    )
}

MOVEMENT_TOPICS = frozenset(_READERS)
"""The events that move points or change a member's status."""
