"""Completeness of sources: every offset and line posted, duplicate or rejected with its code; gaps and overlaps named.

Of a Kafka partition that is what its journals wrote down in the transactions of the events, against what was read of
it; of a file what `loyalty ingest` wrote down after each commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from ledger.store.database import PgCursor
from ledger.store.sources import Gap, gaps, partitions, stretches


class Amounts(Struct, kw_only=True):
    """Amounts that messages name, purchases less returns, in minor units, by what became of the messages."""

    posted: int = 0
    duplicate: int = 0
    rejected: int = 0

    @property
    def all(self) -> int:
        """Of all messages."""
        return self.posted + self.duplicate + self.rejected


class Offsets(Struct, frozen=True, kw_only=True):
    """Offsets from `first` to `last`, and what is to be said of them."""

    first: int
    last: int
    words: str


class Taken(Struct, frozen=True, kw_only=True):
    """Offsets of a partition that were read in one go, and what became of the messages among them."""

    first: int
    last: int
    messages: int
    posted: int
    duplicate: int
    rejected: int
    amounts: dict[str, Amounts]


class PartitionSource(Struct, frozen=True, kw_only=True):
    """A partition: `first` to `last` were read, but for `gaps`. messages = posted + duplicate + rejected.

    `codes` counts the rejected by code. `problems` says in words what is not as it must be; `notes` what is, and worth
    knowing. Offsets that are no message are control records, or were aborted or compacted away.
    """

    topic: str
    partition: int
    first: int
    last: int
    messages: int
    posted: int
    duplicate: int
    rejected: int
    codes: dict[str, int]
    amounts: dict[str, Amounts]
    taken: list[Taken]
    gaps: list[Offsets]
    overlaps: list[Offsets]
    problems: list[str]
    notes: list[str]


class FileSource(Struct, frozen=True, kw_only=True):
    """A file as one run took it: lines = blank + posted + duplicate + rejected. `sha256` "": not taken to its end."""

    file: str
    run: str
    began_at: datetime
    lines: int
    blank: int
    posted: int
    duplicate: int
    rejected: int
    codes: dict[str, int]
    amounts: dict[str, Amounts]
    sha256: str
    problems: list[str]
    notes: list[str]


class Sources(Struct, frozen=True, kw_only=True):
    """All sources."""

    partitions: list[PartitionSource]
    files: list[FileSource]

    @property
    def problems(self) -> list[str]:
        """What is not as it must be, of all of them."""
        found = [f"{each.topic}-{each.partition}: {words}" for each in self.partitions for words in each.problems]
        return found + [f"{each.file}: {words}" for each in self.files for words in each.problems]


def read_sources(cur: PgCursor, topic: str = "") -> Sources:
    """All sources, or the partitions of a topic. Call it in a transaction that sees one state."""
    return Sources(partitions=_partitions(cur, topic), files=[] if topic else _files(cur))


# --- partitions -----------------------------------------------------------------------------------------------------


def _partitions(cur: PgCursor, topic: str) -> list[PartitionSource]:
    amounts, codes = _amounts(cur, topic), _codes(cur, topic)
    taken: dict[tuple[str, int], list[Taken]] = defaultdict(list)
    counted: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    under_way: dict[tuple[str, int], dict[str, Amounts]] = defaultdict(dict)
    for each in stretches(cur, topic):
        name = (each.topic, each.partition)
        of_messages = amounts.get((*name, each.epoch), {})
        for index, number in enumerate((each.posted, each.duplicate, each.rejected)):
            counted[name][index] += number
        _add(under_way[name], of_messages)
        if each.next_offset > each.first_offset:
            taken[name].append(
                Taken(
                    first=each.first_offset,
                    last=each.next_offset - 1,
                    messages=each.messages,
                    posted=each.posted,
                    duplicate=each.duplicate,
                    rejected=each.rejected,
                    amounts=of_messages,
                )
            )
    missing: dict[tuple[str, int], list[Offsets]] = defaultdict(list)
    problems: dict[tuple[str, int], list[str]] = defaultdict(list)
    remade = set()
    for gap in gaps(cur, topic):
        name = (gap.topic, gap.partition)
        if gap.next_offset < gap.first_offset and gap.accepted_at is not None:
            remade.add(name)
            continue
        if gap.next_offset <= gap.first_offset:
            continue  # reads that overlap are found below
        last = gap.next_offset - 1
        missing[name].append(Offsets(first=gap.first_offset, last=last, words=_gap_words(gap)))
        if gap.accepted_at is None:
            problems[name].append(f"offsets {gap.first_offset:,} to {last:,} were not taken: {gap.reason}")
    for stopped in partitions(cur, topic):
        if stopped.stopped:
            problems[stopped.topic, stopped.partition].append(f"it is stopped: {stopped.stopped}")
    return [
        _partition(
            name,
            taken[name],
            counted[name],
            codes.get(name, {}),
            under_way[name],
            missing[name],
            problems[name],
            name in remade,
        )
        for name in sorted({*counted, *missing, *problems})
    ]


def _partition(
    name: tuple[str, int],
    taken: list[Taken],
    counted: list[int],
    codes: dict[str, int],
    amounts: dict[str, Amounts],
    missing: list[Offsets],
    problems: list[str],
    remade: bool,
) -> PartitionSource:
    messages, notes = sum(each.messages for each in taken), []
    posted, duplicate, rejected = counted
    overlaps = [] if remade else _overlaps(taken)
    problems += [f"offsets {each.first:,} to {each.last:,} were read twice" for each in overlaps]
    if sum(counted) < messages:
        problems.append(
            f"of {messages:,} messages read only {sum(counted):,} are counted as posted, duplicate or rejected"
        )
    elif sum(counted) > messages:
        notes.append(
            f"{sum(counted) - messages:,} messages more are taken than were read to the end: a read is under way, or"
            " was broken off and is read again"
        )
    if remade:
        notes.append("the topic was made again: offsets of the one before are counted in too")
    elif sum(codes.values()) != rejected:
        problems.append(f"{rejected:,} messages were rejected, and {sum(codes.values()):,} are kept with a code")
    return PartitionSource(
        topic=name[0],
        partition=name[1],
        first=min((each.first for each in taken), default=0),
        last=max((each.last for each in taken), default=-1),
        messages=messages,
        posted=posted,
        duplicate=duplicate,
        rejected=rejected,
        codes=codes,
        amounts=amounts,
        taken=taken,
        gaps=missing,
        overlaps=overlaps,
        problems=problems,
        notes=notes,
    )


def _gap_words(gap: Gap) -> str:
    return (
        gap.reason
        if gap.accepted_at is None
        else f"{gap.reason}; given up by an operator on {gap.accepted_at:%Y-%m-%d}"
    )


def _overlaps(taken: Iterable[Taken]) -> list[Offsets]:
    found, until = [], -1
    for each in sorted(taken, key=lambda one: one.first):
        if each.first <= until:
            found.append(Offsets(first=each.first, last=min(until, each.last), words="read twice"))
        until = max(until, each.last)
    return found


def _amounts(cur: PgCursor, topic: str) -> dict[tuple[str, int, int], dict[str, Amounts]]:
    """Amounts by currency of every stretch (topic, partition, epoch)."""
    cur.execute(
        "SELECT topic, partition, epoch, currency, sum(posted_minor)::bigint, sum(duplicate_minor)::bigint,"
        " sum(rejected_minor)::bigint FROM source_amounts WHERE %s IN ('', topic) GROUP BY 1, 2, 3, 4 ORDER BY 4",
        (topic,),
    )
    found: dict[tuple[str, int, int], dict[str, Amounts]] = defaultdict(dict)
    for name, partition, epoch, currency, posted, duplicate, rejected in cur.fetchall():
        found[name, partition, epoch][currency] = Amounts(posted=posted, duplicate=duplicate, rejected=rejected)
    return found


def _codes(cur: PgCursor, topic: str) -> dict[tuple[str, int], dict[str, int]]:
    """Refused messages of every partition by code."""
    cur.execute(
        "SELECT topic, partition, code, count(*) FROM rejected WHERE topic IS NOT NULL AND %s IN ('', topic)"
        " GROUP BY 1, 2, 3 ORDER BY 3",
        (topic,),
    )
    found: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for name, partition, code, number in cur.fetchall():
        found[name, partition][code] = number
    return found


def _add(total: dict[str, Amounts], part: dict[str, Amounts]) -> None:
    for currency, amounts in part.items():
        sums = total.setdefault(currency, Amounts())
        sums.posted += amounts.posted
        sums.duplicate += amounts.duplicate
        sums.rejected += amounts.rejected


def summed(parts: Iterable[dict[str, Amounts]]) -> dict[str, Amounts]:
    """Amounts by currency, added up."""
    total: dict[str, Amounts] = {}
    for part in parts:
        _add(total, part)
    return total


# --- files ----------------------------------------------------------------------------------------------------------


def _files(cur: PgCursor) -> list[FileSource]:
    cur.execute(
        "SELECT file, run::text, began_at, lines, blank, posted, duplicate, rejected, codes, amounts,"
        " coalesce(encode(sha256, 'hex'), '') FROM source_files ORDER BY began_at, run, ordinal"
    )
    rows = cur.fetchall()
    whole_until: dict[str, int] = {}
    seen: dict[str, tuple[str, datetime]] = {}
    for number, row in enumerate(rows):
        if row[-1]:
            whole_until[row[0]] = number
    found = []
    for number, (file, run, began_at, lines, blank, posted, duplicate, rejected, codes, amounts, sha256) in enumerate(
        rows
    ):
        problems, notes = [], []
        if not sha256 and whole_until.get(file, -1) > number:
            notes.append(f"broke off after line {lines:,}; a file of this name was taken whole later")
        elif not sha256:
            problems.append(f"not taken to its end: known to be taken are lines 1 to {lines:,}")
        elif sha256 in seen:
            earlier, at = seen[sha256]
            notes.append(f"the same bytes were taken before, as {earlier} on {at:%Y-%m-%d}")
        else:
            seen[sha256] = (file, began_at)
        if sum(codes.values()) != rejected:
            problems.append(f"{rejected:,} lines were rejected, and {sum(codes.values()):,} are counted with a code")
        found.append(
            FileSource(
                file=file,
                run=run,
                began_at=began_at,
                lines=lines,
                blank=blank,
                posted=posted,
                duplicate=duplicate,
                rejected=rejected,
                codes=codes,
                amounts={currency: Amounts(**sums) for currency, sums in amounts.items()},
                sha256=sha256,
                problems=problems,
                notes=notes,
            )
        )
    return found
