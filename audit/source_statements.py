"""Statements of producers, what they say they sent, against what was taken; control totals of count and amount.

A statement is an object (JSON, alone or in a list) or a line (CSV with a header) with the fields of `Statement`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from audit.sources import Amounts, FileSource, PartitionSource, Sources, Taken, summed
from ledger.store.database import PgCursor

Whole = Annotated[int, Meta(ge=0)]


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a producer says it sent.

    `source` is the topic, with its `partition`; or the name of the file, without one. `first` and `last` are offsets,
    or lines from 1 on. `count` is the number of messages among them; `amount_minor` the amounts of purchases less those
    that returns name, in minor units of `currency`: both or neither.
    """

    source: Annotated[str, Meta(min_length=1)]
    partition: Whole | None = None
    first: Whole
    last: Whole
    count: Whole
    amount_minor: int | None = None
    currency: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """What a statement comes to. `agrees` None: part of it could not be compared; `words` say which, and the rest."""

    statement: Statement
    agrees: bool | None
    words: list[str]


def parse_statements(text: str) -> list[Statement]:
    """The statements of a file, JSON or CSV.

    Raises ValueError with the statement, the field and the rule where one is not as it must be.
    """
    documents: Any
    if text.lstrip()[:1] in ("[", "{"):
        try:
            documents = msgspec.json.decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError(f"statement: {error}") from error
        documents = documents if isinstance(documents, list) else [documents]
    else:
        rows = csv.DictReader(io.StringIO(text))
        documents = [{name: value for name, value in row.items() if value not in ("", None)} for row in rows]
    found = []
    for number, document in enumerate(documents, start=1):
        try:
            statement = msgspec.convert(document, Statement, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"statement {number}: {error}") from error
        if statement.last < statement.first:
            raise ValueError(
                f"statement {number}: last: must not be before first ({statement.first}), is {statement.last}"
            )
        if (statement.amount_minor is None) != (statement.currency == ""):
            raise ValueError(f"statement {number}: amount_minor and currency: must be given together")
        found.append(statement)
    if not found:
        raise ValueError("there is no statement in the file")
    return found


def compare(cur: PgCursor, sources: Sources, statements: Sequence[Statement]) -> list[Finding]:
    """Every statement against what was taken."""
    partitions = {(each.topic, each.partition): each for each in sources.partitions}
    refused = _refused_between(cur, statements)
    found = []
    for number, statement in enumerate(statements):
        if statement.partition is None:
            found.append(_of_file(statement, [each for each in sources.files if each.file == statement.source]))
        else:
            partition = partitions.get((statement.source, statement.partition))
            found.append(_of_partition(statement, partition, refused.get(number, 0)))
    return found


def _refused_between(cur: PgCursor, statements: Sequence[Statement]) -> dict[int, int]:
    """How many messages between the offsets of each statement were refused."""
    wanted = [(number, each) for number, each in enumerate(statements) if each.partition is not None]
    cur.execute(
        "SELECT number, count(*) FROM unnest(%s::int[], %s::text[], %s::int[], %s::bigint[], %s::bigint[])"
        " stated (number, topic, partition, first, last) JOIN rejected"
        " ON (rejected.topic, rejected.partition) = (stated.topic, stated.partition)"
        ' AND "offset" BETWEEN first AND last GROUP BY number',
        (
            [number for number, _ in wanted],
            [each.source for _, each in wanted],
            [each.partition for _, each in wanted],
            [each.first for _, each in wanted],
            [each.last for _, each in wanted],
        ),
    )
    return dict(cur.fetchall())


class _Words:
    """What is found of a statement, point by point."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._words: list[str] = []
        self._agrees: bool | None = True

    def differs(self, words: str) -> None:
        """Something is not as stated."""
        self._words.append(words)
        self._agrees = False

    def unknown(self, words: str) -> None:
        """Something cannot be compared."""
        self._words.append(words)
        self._agrees = None if self._agrees else self._agrees

    def compare(self, what: str, stated: int, taken: int, how: str) -> None:
        """One number against another."""
        if stated == taken:
            self._words.append(f"{what}: {stated:,} stated, {taken:,} taken ({how}): agrees")
        else:
            more = f"{abs(taken - stated):,} {'more' if taken > stated else 'less'} than stated"
            self.differs(f"{what}: {stated:,} stated, {taken:,} taken ({how}): {more}")

    def compare_amounts(self, amounts: dict[str, Amounts]) -> None:
        """The amount stated, if one is, against those of all currencies."""
        stated = self._statement
        if stated.amount_minor is None:
            return
        found = amounts.get(stated.currency, Amounts())
        how = f"{found.posted:,} posted, {found.duplicate:,} duplicate, {found.rejected:,} rejected"
        self.compare(f"amount in {stated.currency}", stated.amount_minor, found.all, how)
        for other in sorted(amounts.keys() - {stated.currency}):
            self.differs(f"amount in {other}: none stated, {amounts[other].all:,} taken")

    def finding(self) -> Finding:
        """All of it."""
        return Finding(statement=self._statement, agrees=self._agrees, words=self._words)


def _of_file(statement: Statement, runs: Sequence[FileSource]) -> Finding:
    """Against the newest run that took a file of that name to its end."""
    words = _Words(statement)
    whole = [each for each in runs if each.sha256]
    if not whole:
        last = max((each.lines for each in runs), default=0)
        words.differs(
            f"not taken to its end: known to be taken are lines 1 to {last:,}"
            if runs
            else "no file of this name was taken"
        )
        return words.finding()
    found = whole[-1]
    if (statement.first, statement.last) != (1, found.lines):
        words.differs(
            f"lines {statement.first:,} to {statement.last:,} stated; the file has lines 1 to {found.lines:,}"
        )
    taken = found.posted + found.duplicate + found.rejected
    words.compare("count", statement.count, taken, _counts(found.posted, found.duplicate, found.rejected))
    words.compare_amounts(found.amounts)
    return words.finding()


def _of_partition(statement: Statement, partition: PartitionSource | None, refused: int) -> Finding:
    words = _Words(statement)
    if partition is None:
        words.differs("nothing was taken of this partition")
        return words.finding()
    first, last = statement.first, statement.last
    touched = [each for each in partition.taken if each.first <= last and each.last >= first]
    for begin, end in _not_taken(first, last, touched):
        words.differs(f"offsets {begin:,} to {end:,} were not taken")
    if all(each.first >= first and each.last <= last for each in touched):
        # What was broken off counts where it was taken, and as a message where it was read again: whole sums only.
        parts = [partition] if len(touched) == len(partition.taken) else touched
        counted = [sum(getattr(each, name) for each in parts) for name in ("posted", "duplicate", "rejected")]
        messages = sum(each.messages for each in touched)
        if sum(counted) == messages:
            words.compare("count", statement.count, messages, _counts(*counted))
            words.compare_amounts(summed(each.amounts for each in parts))
            return words.finding()
    if all(each.messages == each.last - each.first + 1 for each in touched):
        messages = sum(min(each.last, last) - max(each.first, first) + 1 for each in touched)
        words.compare("count", statement.count, messages, f"{messages - refused:,} recorded, {refused:,} rejected")
    else:
        words.unknown(
            "count: not comparable, for not every offset is a message, and they were read together with others"
        )
    if statement.amount_minor is not None:
        ends = ", ".join(f"{each.first:,} to {each.last:,}" for each in touched)
        words.unknown(f"amount: not comparable, for amounts are counted by what was read in one go: offsets {ends}")
    return words.finding()


def _not_taken(first: int, last: int, taken: Iterable[Taken]) -> list[tuple[int, int]]:
    """The offsets from `first` to `last` that none of what was taken has."""
    missing, at = [], first
    for each in sorted(taken, key=lambda one: one.first):
        if each.first > at:
            missing.append((at, each.first - 1))
        at = max(at, each.last + 1)
    if at <= last:
        missing.append((at, last))
    return missing


def _counts(posted: int, duplicate: int, rejected: int) -> str:
    return f"{posted:,} posted, {duplicate:,} duplicate, {rejected:,} rejected"
