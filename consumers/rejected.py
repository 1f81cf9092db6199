"""Refused input: seen, tried again as it came, and closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct, msgpack

from consumers.cloud_events import decode_message
from ledger.engine import Ledger
from ledger.store.database import Database, PgCursor
from ledger.submissions import Outcome, Place, Submission

RETRY_BATCH_MESSAGES: Final = 200
LIST_MAX: Final = 10_000

_COLUMNS: Final = (
    "rejected_id, status, programme, code, coalesce(field, ''), reason, coalesce(value, ''), coalesce(type, ''),"
    " coalesce(source, ''), coalesce(message_id, ''), coalesce(member, ''), coalesce(origin, ''), attempts, first_seen,"
    " last_seen, resolved_at"
)
"""In the order of the fields of `Rejected`."""
_PLACE: Final = 'topic, partition, "offset", timestamp_ms, key, headers'
"""In the order of the fields of `Place`."""


class Rejected(Struct, frozen=True, kw_only=True):
    """A refused message. Texts are "" where they could not be read; `body` is None where the member was erased, where
    it was null, and where it was not asked for. `place` is that of a message of Kafka, None if its member was erased.
    """

    number: int
    status: Literal["open", "resolved"]
    programme: str
    code: str
    field: str
    rule: str
    value: str
    type: str
    source: str
    id: str
    member: str
    origin: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None
    body: bytes | None = None
    place: Place | None = None


_FIELDS: Final = len(Rejected.__struct_fields__) - len(("body", "place"))


class Retried(Struct, frozen=True):
    """What became of a refused message when it was tried again; `outcome` is None where it could not be."""

    number: int
    outcome: Outcome | None
    why_not: str = ""


def list_rejected(
    database: Database, *, programme: str = "", status: str = "open", code: str = "", limit: int = 100
) -> list[Rejected]:
    """Refused messages without their bodies, newest first.

    `programme`, `status` ("open", "resolved") and `code` narrow the list, "" does not; `limit` is 1 to LIST_MAX.
    """
    with database.connection() as cursor:
        return read_rejected(cursor, programme=programme, status=status, code=code, limit=min(max(limit, 1), LIST_MAX))


def read_rejected(
    cursor: PgCursor, *, programme: str, status: str, code: str, limit: int, before: int = 2**63 - 1
) -> list[Rejected]:
    """As `list_rejected`, of the numbers below `before`."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM rejected WHERE (%s = '' OR programme = %s) AND (%s = '' OR status = %s)"
        " AND (%s = '' OR code = %s) AND rejected_id < %s ORDER BY rejected_id DESC LIMIT %s",
        (programme, programme, status, status, code, code, before, limit),
    )
    return [_rejected(row) for row in cursor.fetchall()]


def find_rejected(database: Database, number: int) -> Rejected | None:
    """One refused message with its body; None if there is none of that number."""
    with database.connection() as cursor:
        cursor.execute(f"SELECT {_COLUMNS}, body, {_PLACE} FROM rejected WHERE rejected_id = %s", (number,))
        row = cursor.fetchone()
    return None if row is None else _rejected(row)


def open_numbers(database: Database, *, programme: str = "", code: str = "", limit: int | None = None) -> list[int]:
    """The numbers of open refused messages, oldest first: the order in which they came. All of them without `limit`."""
    with database.connection() as cursor:
        cursor.execute(
            "SELECT rejected_id FROM rejected WHERE status = 'open' AND (%s = '' OR programme = %s)"
            " AND (%s = '' OR code = %s) ORDER BY rejected_id LIMIT %s",
            (programme, programme, code, code, limit),
        )
        return [number for (number,) in cursor.fetchall()]


def retry(
    ledger: Ledger, numbers: Sequence[int], *, programme: str = "", auto_enrol: bool = False
) -> Iterator[Retried]:
    """Try refused messages again in the order given, as they came, and tell what became of each.

    What is now posted, or had been recorded meanwhile, becomes resolved; the rest stays open, with one attempt more.
    `programme` is for messages that name none and whose way in named none.
    """
    for start in range(0, len(numbers), RETRY_BATCH_MESSAGES):
        batch = numbers[start : start + RETRY_BATCH_MESSAGES]
        found = [(number, find_rejected(ledger.database, number)) for number in batch]
        yield from _retry_batch(ledger, found, programme, auto_enrol)


def _retry_batch(
    ledger: Ledger, found: list[tuple[int, Rejected | None]], programme: str, auto_enrol: bool
) -> Iterator[Retried]:
    tried: list[tuple[int, Submission]] = []
    for number, rejected in found:
        why_not = _why_not(rejected)
        if why_not or rejected is None:
            yield Retried(number, None, why_not)
            continue
        body, place = rejected.body, rejected.place
        command = decode_message(body, place.headers if place else (), programme=rejected.programme or programme)
        tried.append((number, Submission(command, body, rejected.origin, place)))
    if not tried:
        return
    outcomes = ledger.handle([submission for _, submission in tried], auto_enrol=auto_enrol)
    # Only after the commit: if the process ends between the two, the next retry finds a duplicate and resolves it.
    retried = [Retried(number, outcome) for (number, _), outcome in zip(tried, outcomes, strict=True)]
    close(ledger.database, [r.number for r in retried if r.outcome and r.outcome.status != "rejected"])
    yield from retried


def _why_not(rejected: Rejected | None) -> str:
    if rejected is None:
        return "there is no refused message of that number"
    if rejected.body is None and rejected.place is None:
        return "its content was erased with its member"
    if rejected.code == "MESSAGE_TOO_LARGE":
        return "it is too large for any way in: send it in parts"
    return ""


def close(database: Database, numbers: Sequence[int]) -> list[int]:
    """Make refused messages resolved, which changes nothing else; the numbers of those that were open."""
    with database.connection() as cursor:
        cursor.execute(
            "UPDATE rejected SET status = 'resolved', resolved_at = clock_timestamp()"
            " WHERE rejected_id = ANY (%s) AND status = 'open' RETURNING rejected_id",
            (list(numbers),),
        )
        return sorted(number for (number,) in cursor.fetchall())


def _rejected(row: tuple[Any, ...]) -> Rejected:
    found = dict(zip(Rejected.__struct_fields__, row[:_FIELDS], strict=False))
    body, *place = row[_FIELDS:] or (None, None)
    return Rejected(**found, body=None if body is None else bytes(body), place=_place(place))


def _place(columns: Sequence[Any]) -> Place | None:
    if columns[0] is None or columns[-1] is None:
        return None
    topic, partition, offset, timestamp_ms, key, headers = columns
    decoded = msgpack.decode(bytes(headers), type=tuple[tuple[Any, bytes | None], ...])
    return Place(topic, partition, offset, timestamp_ms, None if key is None else bytes(key), decoded)
