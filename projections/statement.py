"""The statement: every movement of a member's points, with the balance after it and where each point came from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from ledger.events import Allocation, Part
from ledger.store.database import PgCursor
from projections.batch import Batch
from projections.copying import NULL, copy_rows
from projections.movements import ARREARS, HELD, MOVEMENT_TOPICS, OPEN, Movement, movements

Running: TypeAlias = tuple[int, int]
"""Balance (open and held) and arrears of a member after its newest movement."""

MEMBERS_REMEMBERED_MAX = 50_000
"""Members of a journal whose running balance is kept from batch to batch, about 0.2 KiB each."""
ENTRIES_PER_PAGE_MAX = 1_000

_NOTHING: Running = (0, 0)
_COLUMNS = (
    "member, position, version, topic, occurred_at, recorded_at, points, held, owed, balance, arrears,"
    " terms, reference, reason, source, id, lots, parts"
)


class StatementEntry(Struct, frozen=True, kw_only=True):
    """One movement.

    `points` changes the balance (open and held together), `held` what of it is held, `owed` the arrears; `balance` and
    `arrears` are those after it, in the order of recording. `reference` is the purchase, redemption, hold or other
    member that the topic is about. `lots` are the layers that gave or got the points; `parts` and `rules` say by which
    rules of terms version `terms` an accrual was earned.
    """

    member: str
    position: int
    version: int
    topic: str
    occurred_at: datetime
    recorded_at: datetime
    points: int
    held: int
    owed: int
    balance: int
    arrears: int
    terms: int | None
    reference: str | None
    reason: str
    source: str
    id: str
    lots: list[Allocation]
    parts: list[Part]

    @property
    def rules(self) -> list[str]:
        """The earning rules of an accrual, each once, in the order of its parts."""
        return list(dict.fromkeys(rule for part in self.parts for rule in part.rules))


class Statement:
    """The projection behind `read_statement`; it reads the newest row of members that it does not remember."""

    name = "statement"
    version = 1
    tables: tuple[str, ...] = ("statement",)
    topics = MOVEMENT_TOPICS

    def __init__(self, members_remembered_max: int = MEMBERS_REMEMBERED_MAX) -> None:
        self._members_remembered_max = members_remembered_max

    def prepare(self, cur: PgCursor) -> None:
        """Nothing: rows are only ever added."""

    def load(self, cur: PgCursor, batch: Batch, memory: dict[str, Running]) -> None:
        if len(memory) > self._members_remembered_max:
            memory.clear()
        new = {row[1] for row in batch.rows if row[2] == 1}  # their streams begin here: there is nothing before
        wanted = {movement.row[1] for movement in batch.view(movements)}.difference(new, memory)
        memory.update(dict.fromkeys(wanted, _NOTHING))
        if wanted and batch.after:
            cur.execute(_SELECT_RUNNING, (list(wanted), batch.journal))
            memory.update((member, (balance, arrears)) for member, balance, arrears in cur.fetchall())

    def apply(self, batch: Batch, memory: dict[str, Running]) -> list[tuple[Any, ...]]:
        """The rows to add, in the order of `_COLUMNS`."""
        return fold_statement(batch.view(movements), memory)

    def write(self, cur: PgCursor, journal: int, changes: list[tuple[Any, ...]]) -> None:
        copy_rows(cur, "statement", _COLUMNS, changes, journal=journal)


def fold_statement(found: Iterable[Movement], running: dict[str, Running]) -> list[tuple[Any, ...]]:
    """The rows of movements that book anything, given the running balances before them, which are moved on."""
    rows = []
    for movement in found:
        if not movement.booked:
            continue
        opened = held = owed = 0
        for account, points in movement.booked:
            if account == OPEN:
                opened = points
            elif account == HELD:
                held = points
            elif account == ARREARS:
                owed = -points
        position, member, version, topic, _, recorded_at = movement.row
        balance, arrears = running.get(member, _NOTHING)
        balance += opened + held
        arrears += owed
        running[member] = (balance, arrears)
        terms, reference, parts = movement.terms, movement.reference, movement.parts
        rows.append(
            (
                member,
                position,
                version,
                topic,
                movement.occurred_at,
                recorded_at,
                opened + held,
                held,
                owed,
                balance,
                arrears,
                NULL if terms is None else terms,
                NULL if reference is None else reference,
                movement.reason,
                movement.source,
                movement.id,
                movement.lots,
                NULL if parts is None else parts,
            )
        )
    return rows


# LIMIT inside LATERAL: one descent of the primary key a member, whatever the length of its statement.
_SELECT_RUNNING = """
SELECT wanted.member, newest.balance, newest.arrears
FROM unnest(%s::text[]) AS wanted (member), LATERAL (
    SELECT balance, arrears FROM statement
    WHERE journal = %s AND statement.member = wanted.member ORDER BY position DESC LIMIT 1
) newest
"""

_decode_lots = msgspec.json.Decoder(list[Allocation]).decode
_decode_parts = msgspec.json.Decoder(list[Part]).decode


def read_statement(
    cur: PgCursor, journal: int, member: str, *, after: int = 0, limit: int = 100, newest_first: bool = False
) -> list[StatementEntry]:
    """A page of a member's statement in the order of recording: at most `limit` entries beyond position `after`.

    The next page starts after the position of the last entry of this one. With `newest_first`, entries below `after`
    come, newest first; 0 starts at the newest.

    Raises ValueError for a limit outside 1..1000.
    """
    if not 1 <= limit <= ENTRIES_PER_PAGE_MAX:
        raise ValueError(f"limit: must be 1 to {ENTRIES_PER_PAGE_MAX}, got {limit}")
    side, order = ("<", "DESC") if newest_first else (">", "ASC")
    bound = after if after or not newest_first else 2**63 - 1
    cur.execute(
        f"SELECT {_COLUMNS.replace('lots, parts', 'lots::text, parts::text')} FROM statement"
        f" WHERE journal = %s AND member = %s AND position {side} %s ORDER BY position {order} LIMIT %s",
        (journal, member, bound, limit),
    )
    return [_entry(row) for row in cur.fetchall()]


def folded_entries(found: Iterable[Movement]) -> list[StatementEntry]:
    """The entries of one member's movements from its first on, without a database."""
    return [
        _entry(
            (
                *row[:4],
                _instant(row[4]),
                _instant(row[5]),
                *row[6:11],
                *(None if value is NULL else value for value in row[11:]),
            )
        )
        for row in fold_statement(found, {})
    ]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _entry(row: tuple[Any, ...]) -> StatementEntry:
    names = StatementEntry.__struct_fields__
    values = dict(zip(names, row, strict=True))
    return StatementEntry(
        **values | {"lots": _decode_lots(row[-2]), "parts": [] if row[-1] is None else _decode_parts(row[-1])}
    )
