"""Where messages come from: partitions of numbered messages, each taken exactly once, by one owner at a time.

The order of a partition's life is the correctness argument:

1. `claim` raises the partition's epoch. It waits for transactions that hold the epoch before (they share a lock on the
   row), so that what they commit is seen by whoever reads on; whoever comes later with the old epoch is `Fenced`.
2. `lock_places`, in the transaction of a journal, checks the epoch, keeps it until the commit, and tells how far this
   journal has taken the partition: what is below was taken, whatever the connection said about the commit then.
3. `record_taken`, in the same transaction as the events, moves the journal on and counts what became of the messages.
4. `complete`, when every journal has committed its part of a read, moves the partition on.

A crash between the commits of two journals leaves them at different offsets. Whoever reads again from the partition's
offset hands both the same messages, and each skips what it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import Struct
from psycopg2.extras import execute_values

from ledger.store.database import PgCursor

TopicPartition: TypeAlias = tuple[str, int]
"""topic, partition."""

NO_JOURNAL: Final = 0
"""Stands for the journal of what has none: messages that are no command, or of no programme."""


class Fenced(RuntimeError):
    """Somebody else has taken partitions over: nothing was recorded. `partitions` are those that were lost."""

    def __init__(self, partitions: Sequence[TopicPartition]) -> None:
        super().__init__(f"taken over by another consumer: {', '.join(f'{t}-{p}' for t, p in sorted(partitions))}")
        self.partitions = frozenset(partitions)


class Behind(RuntimeError):
    """The database does not know of reads that were completed: it crashed, and forgot them. Claim the partitions again,
    and read them from there: what their journals have taken is known to those.
    """

    def __init__(self, partitions: Sequence[TopicPartition], what: str) -> None:
        super().__init__(what)
        self.partitions = frozenset(partitions)


class NoGap(LookupError):
    """The partition does not wait for a gap to be accepted."""


class Claim(Struct, frozen=True, kw_only=True):
    """The right to take from a partition, as long as nobody raises the epoch; and where to go on.

    `topic_id` is that of the topic whose messages were taken, None where it is not known; `leader_epoch` that of the
    leader that wrote the last of them, -1 where it is not known. `stopped` says why nothing may be taken until a gap is
    accepted; "" where that is not so.
    """

    topic: str
    partition: int
    epoch: int
    next_offset: int
    topic_id: UUID | None
    leader_epoch: int
    stopped: str


class Progress(Struct, frozen=True):
    """How far a journal has taken a partition: everything of its own below `next_offset`. `homeless` are the offsets of
    messages taken as none of any journal, which with other settings might look like this one's now.
    """

    next_offset: int
    homeless: frozenset[int]


class Taken(Struct, kw_only=True):
    """What one transaction takes of a partition. `offsets` are kept for messages of no journal only; `amounts` are
    those that messages name, by currency: [posted, duplicate, rejected].
    """

    topic: str
    partition: int
    epoch: int
    first_offset: int
    last_offset: int
    posted: int = 0
    duplicate: int = 0
    rejected: int = 0
    offsets: list[int] = []
    amounts: dict[str, list[int]] = {}


class Read(Struct, frozen=True, kw_only=True):
    """What was read of a partition at once: `messages`, from `first_offset` to before `next_offset`, the last of them
    written by the leader of `leader_epoch`; -1 where that is not known.
    """

    topic: str
    partition: int
    epoch: int
    first_offset: int
    next_offset: int
    messages: int
    leader_epoch: int = -1


# --- taking over --------------------------------------------------------------------------------------------------


def claim(
    cur: PgCursor, topic: str, partition: int, *, owner: str, begin_offset: int, topic_id: UUID | None = None
) -> Claim:
    """Take a partition over, waiting for what is under way under the epoch before.

    `begin_offset` is where to begin with a partition that nobody took from, `owner` a name for people to read. The
    statement commits by itself.
    """
    cur.execute(
        "INSERT INTO source_partitions AS p (topic, partition, topic_id, epoch, owner, next_offset)"
        " VALUES (%s, %s, %s::uuid, 1, %s, %s) ON CONFLICT (topic, partition) DO UPDATE SET epoch = p.epoch + 1,"
        " owner = excluded.owner, topic_id = coalesce(p.topic_id, excluded.topic_id), updated_at = clock_timestamp()"
        " RETURNING epoch, next_offset, topic_id::text, leader_epoch, coalesce(stopped, '')",
        (topic, partition, topic_id and str(topic_id), owner, begin_offset),
    )
    ((epoch, next_offset, known_id, leader_epoch, stopped),) = cur.fetchall()
    return Claim(
        topic=topic,
        partition=partition,
        epoch=epoch,
        next_offset=next_offset,
        topic_id=known_id and UUID(known_id),
        leader_epoch=leader_epoch,
        stopped=stopped,
    )


# --- taking -------------------------------------------------------------------------------------------------------


def lock_places(
    cur: PgCursor, journal: int, claims: Mapping[TopicPartition, int], partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, Progress]:
    """Hold the epochs of partitions until the transaction ends; how far the journal has taken each.

    `claims` has the epoch of each partition. Without a journal there is no head whose lock keeps writers apart, so the
    partition's own lock does.

    Raises Fenced where an epoch is not that of the claim.
    """
    strength = "UPDATE" if journal == NO_JOURNAL else "SHARE"
    wanted = tuple(sorted(partitions))
    cur.execute(  # two statements: the second sees what was committed while the first waited
        "SELECT FROM source_partitions WHERE (topic, partition) IN %s ORDER BY topic, partition"
        f" FOR {strength};"
        "SELECT p.topic, p.partition, p.epoch, p.next_offset, coalesce(own.next_offset, 0), homeless.offsets"
        " FROM source_partitions p"
        " LEFT JOIN source_offsets own ON (own.topic, own.partition, own.journal) = (p.topic, p.partition, %s)"
        " LEFT JOIN source_offsets homeless ON homeless.next_offset > p.next_offset AND"
        " (homeless.topic, homeless.partition, homeless.journal) = (p.topic, p.partition, %s)"
        " WHERE (p.topic, p.partition) IN %s",
        (wanted, journal, NO_JOURNAL, wanted),
    )
    found = {(topic, partition): rest for topic, partition, *rest in cur.fetchall()}
    lost = [name for name in wanted if name not in found or found[name][0] != claims[name]]
    if lost:
        raise Fenced(lost)
    return {
        name: Progress(
            # A message that made the ledger fail comes to no journal after those that follow it: only its offset tells.
            complete if journal == NO_JOURNAL else max(complete, own),
            frozenset(offset for offset in homeless or () if offset >= complete),
        )
        for name, (_, complete, own, homeless) in found.items()
    }


def record_taken(cur: PgCursor, journal: int, taken: Sequence[Taken]) -> None:
    """Move a journal on in partitions that are locked, and add to what was counted under the epoch."""
    execute_values(
        cur,
        "WITH taken (topic, partition, epoch, first_offset, last_offset, posted, duplicate, rejected, offsets) AS"
        " (VALUES %s), moved AS (INSERT INTO source_offsets (journal, topic, partition, next_offset, offsets)"
        f" SELECT {int(journal)}, topic, partition, last_offset + 1, offsets FROM taken"
        " ON CONFLICT (topic, partition, journal) DO UPDATE SET offsets = excluded.offsets,"
        " next_offset = greatest(source_offsets.next_offset, excluded.next_offset))"
        " INSERT INTO source_ranges AS r"
        " (journal, topic, partition, epoch, first_offset, last_offset, posted, duplicate, rejected)"
        f" SELECT {int(journal)}, topic, partition, epoch, first_offset, last_offset, posted, duplicate, rejected"
        " FROM taken ON CONFLICT (topic, partition, epoch, journal) DO UPDATE SET"
        " first_offset = least(r.first_offset, excluded.first_offset),"
        " last_offset = greatest(r.last_offset, excluded.last_offset),"
        " posted = r.posted + excluded.posted, duplicate = r.duplicate + excluded.duplicate,"
        " rejected = r.rejected + excluded.rejected, transactions = r.transactions + 1,"
        " updated_at = clock_timestamp()",
        [
            (t.topic, t.partition, t.epoch, t.first_offset, t.last_offset, t.posted, t.duplicate, t.rejected, t.offsets)
            for t in taken
        ],
        template="(%s, %s, %s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::bigint[])",
    )
    amounts = [
        (t.topic, t.partition, t.epoch, journal, currency, *sums) for t in taken for currency, sums in t.amounts.items()
    ]
    if amounts:
        execute_values(
            cur,
            "INSERT INTO source_amounts AS a VALUES %s ON CONFLICT (topic, partition, epoch, journal, currency)"
            " DO UPDATE SET posted_minor = a.posted_minor + excluded.posted_minor,"
            " duplicate_minor = a.duplicate_minor + excluded.duplicate_minor,"
            " rejected_minor = a.rejected_minor + excluded.rejected_minor",
            amounts,
            page_size=len(amounts),
        )


def complete(cur: PgCursor, reads: Sequence[Read]) -> None:
    """Move partitions on over what was read, now that every journal has it. Call it outside a transaction.

    It commits without waiting for the disk: after a crash of the server a read may have to be done again, which each
    journal then finds taken. Doing it twice does nothing, as after a connection that broke at its commit.

    Raises Fenced where an epoch is not that of the read, Behind where what lies before it was not completed.
    """
    if not reads:
        return
    cur.execute("BEGIN; SET LOCAL synchronous_commit = off")
    execute_values(
        cur,
        "WITH done (topic, partition, epoch, first_offset, next_offset, messages, leader_epoch) AS (VALUES %s),"
        " moved AS (UPDATE source_partitions p SET next_offset = done.next_offset,"
        " leader_epoch = CASE done.leader_epoch WHEN -1 THEN p.leader_epoch ELSE done.leader_epoch END,"
        " updated_at = clock_timestamp()"
        " FROM done WHERE (p.topic, p.partition, p.epoch, p.next_offset)"
        " = (done.topic, done.partition, done.epoch, done.first_offset) RETURNING p.topic, p.partition)"
        " INSERT INTO source_reads AS r (topic, partition, epoch, first_offset, next_offset, messages)"
        " SELECT topic, partition, epoch, first_offset, done.next_offset, messages"
        " FROM done JOIN moved USING (topic, partition)"
        " ON CONFLICT (topic, partition, epoch) DO UPDATE SET next_offset = excluded.next_offset,"
        " messages = r.messages + excluded.messages, batches = r.batches + 1, updated_at = clock_timestamp()",
        [(r.topic, r.partition, r.epoch, r.first_offset, r.next_offset, r.messages, r.leader_epoch) for r in reads],
        template="(%s, %s, %s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::integer)",
        page_size=len(reads),
    )
    moved = cur.rowcount
    cur.execute("COMMIT")
    if moved < len(reads):
        _check_completed(cur, reads)


def _check_completed(cur: PgCursor, reads: Sequence[Read]) -> None:
    cur.execute(
        "SELECT topic, partition, epoch, next_offset FROM source_partitions WHERE (topic, partition) IN %s",
        (tuple((read.topic, read.partition) for read in reads),),
    )
    found = {(topic, partition): (epoch, next_offset) for topic, partition, epoch, next_offset in cur.fetchall()}
    lost, behind = [], {}
    for read in reads:
        name = (read.topic, read.partition)
        epoch, next_offset = found.get(name, (0, 0))
        if epoch != read.epoch:
            lost.append(name)
        elif next_offset < read.next_offset:
            behind[name] = (
                f"{read.topic}-{read.partition}: offsets {read.first_offset} to {read.next_offset - 1} were read, but"
                f" only what is before {next_offset} is completed"
            )
    if lost:
        raise Fenced(lost)
    if behind:
        raise Behind(list(behind), "; ".join(behind.values()))


# --- gaps ---------------------------------------------------------------------------------------------------------


def stop_partition(cur: PgCursor, held: Claim, reason: str, *, lost_from: int, lost_to: int) -> None:
    """Take no more of a partition until `accept_gap`; does nothing where the claim does not stand any more."""
    cur.execute(
        "UPDATE source_partitions SET stopped = %s, lost_from = %s, lost_to = %s, updated_at = clock_timestamp()"
        " WHERE (topic, partition, epoch) = (%s, %s, %s)",
        (reason, lost_from, lost_to, held.topic, held.partition, held.epoch),
    )


def accept_gap(cur: PgCursor, topic: str, partition: int) -> tuple[int, int]:
    """Give up the lost offsets of a stopped partition, so that it goes on after them; from where, and where it goes on.

    Call it inside a transaction. Raises NoGap where nothing is to be accepted.
    """
    cur.execute(
        "SELECT stopped, lost_from, lost_to FROM source_partitions WHERE (topic, partition) = (%s, %s) FOR UPDATE",
        (topic, partition),
    )
    row = cur.fetchone()
    if row is None or row[0] is None:
        known = "is not stopped" if row else "was never taken from"
        raise NoGap(f"partition {partition} of topic {topic!r} {known}: there is no gap to accept")
    reason, lost_from, lost_to = row
    cur.execute(
        "UPDATE source_partitions SET stopped = NULL, lost_from = NULL, lost_to = NULL, topic_id = NULL,"
        " leader_epoch = -1, next_offset = %s, epoch = epoch + 1, updated_at = clock_timestamp()"
        " WHERE (topic, partition) = (%s, %s) RETURNING epoch",
        (lost_to, topic, partition),
    )
    ((epoch,),) = cur.fetchall()
    if lost_to < lost_from:  # the topic was made again, or cut short: its numbers come again
        cur.execute("DELETE FROM source_offsets WHERE (topic, partition) = (%s, %s)", (topic, partition))
    cur.execute(
        "INSERT INTO source_gaps (topic, partition, epoch, first_offset, next_offset, reason)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (topic, partition, epoch, lost_from, lost_to, reason),
    )
    return lost_from, lost_to


# --- what is there ------------------------------------------------------------------------------------------------


class Partition(Struct, frozen=True):
    """A partition as it stands."""

    topic: str
    partition: int
    epoch: int
    owner: str
    next_offset: int
    stopped: str
    updated_at: datetime


class Stretch(Struct, frozen=True):
    """What was read of a partition under one epoch, and what became of it in all journals.

    `taken` = posted + duplicate + rejected; it is above `messages` while a read is under way, or was broken off. The
    offsets of it that are no messages are control records, or were aborted or compacted away.
    """

    topic: str
    partition: int
    epoch: int
    first_offset: int
    next_offset: int
    messages: int
    taken: int
    posted: int
    duplicate: int
    rejected: int
    began_at: datetime
    updated_at: datetime


class Gap(Struct, frozen=True):
    """Offsets that were not read, from `first_offset` to before `next_offset`. `accepted_at` is None where nobody
    accepted it. Where the topic was made again `next_offset` is below `first_offset`.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    reason: str
    accepted_at: datetime | None


def partitions(cur: PgCursor, topic: str = "") -> list[Partition]:
    """All partitions that were taken from, or those of a topic."""
    cur.execute(
        "SELECT topic, partition, epoch, owner, next_offset, coalesce(stopped, ''), updated_at FROM source_partitions"
        " WHERE %s IN ('', topic) ORDER BY topic, partition",
        (topic,),
    )
    return [Partition(*row) for row in cur.fetchall()]


def stretches(cur: PgCursor, topic: str = "") -> list[Stretch]:
    """What was read and what became of it, in order of topic, partition and time."""
    cur.execute(
        "SELECT topic, partition, epoch, coalesce(d.first_offset, t.first_offset), coalesce(d.next_offset,"
        " t.first_offset), coalesce(messages, 0), coalesce(posted + duplicate + rejected, 0), coalesce(posted, 0),"
        " coalesce(duplicate, 0), coalesce(rejected, 0), least(d.began_at, t.began_at),"
        " greatest(d.updated_at, t.updated_at) FROM source_reads d FULL JOIN ("
        " SELECT topic, partition, epoch, min(first_offset) AS first_offset, sum(posted)::bigint AS posted,"
        " sum(duplicate)::bigint AS duplicate, sum(rejected)::bigint AS rejected, min(began_at) AS began_at,"
        " max(updated_at) AS updated_at FROM source_ranges GROUP BY topic, partition, epoch"
        ") t USING (topic, partition, epoch) WHERE %s IN ('', topic) ORDER BY topic, partition, epoch",
        (topic,),
    )
    return [Stretch(*row) for row in cur.fetchall()]


def gaps(cur: PgCursor, topic: str = "") -> list[Gap]:
    """Offsets that nobody read: accepted ones, those that a stopped partition waits with, and any that the reads leave
    between them without a word, which would be a defect.
    """
    cur.execute(
        "SELECT topic, partition, first_offset, next_offset, reason, accepted_at FROM source_gaps"
        " WHERE %(topic)s IN ('', topic)"
        " UNION ALL SELECT topic, partition, lost_from, lost_to, stopped, NULL FROM source_partitions"
        " WHERE stopped IS NOT NULL AND %(topic)s IN ('', topic)"
        " UNION ALL SELECT topic, partition, was, first_offset, 'nobody read them', NULL FROM ("
        " SELECT topic, partition, epoch, first_offset,"
        " lag(next_offset) OVER w AS was, lag(epoch) OVER w AS was_epoch FROM source_reads"
        " WINDOW w AS (PARTITION BY topic, partition ORDER BY epoch)) r WHERE was <> first_offset"
        " AND %(topic)s IN ('', topic) AND NOT EXISTS (SELECT FROM source_gaps g WHERE"
        " (g.topic, g.partition) = (r.topic, r.partition) AND g.epoch > was_epoch AND g.epoch <= r.epoch)"
        " ORDER BY 1, 2, 3",
        {"topic": topic},
    )
    return [Gap(*row) for row in cur.fetchall()]
