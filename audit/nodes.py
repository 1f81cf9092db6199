"""The inner nodes of journals' trees: those stored in `merkle_nodes`, and those below from the leaf hashes of a block.

Stored are the perfect subtrees over 2**10 leaves (a block) and more, two for every 1,024 events. Whoever signs a
checkpoint extends them; a proof needs at most one of each level of them, and the leaf hashes of one block at each of
its ends. A node that is used is checked by the root it leads to; `first_difference` finds the one that was changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from audit.merkle import Node, perfect_subtrees
from ledger.hashing import HASH_SIZE_BYTES, Frontier, node_hash
from ledger.store.database import PgCursor

STORED_LEVEL = 10
"""The lowest level that is stored."""
BLOCK = 1 << STORED_LEVEL
BLOCKS_AT_ONCE = 64
"""Blocks whose leaf hashes are in memory at a time: 2 MiB of hashes."""

StoredNode = tuple[int, int, bytes]
"""level, number, hash"""


class NodeProblem(Exception):
    """Hashes are missing or do not agree with each other; the message names them."""


def read_nodes(cur: PgCursor, journal: int, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """The hashes of perfect subtrees, each from `merkle_nodes` or from the leaf hashes in its block.

    Raises NodeProblem when one of them is missing.
    """
    wanted = set(nodes)
    stored = sorted(node for node in wanted if node[0] >= STORED_LEVEL)
    return _read_stored(cur, journal, stored) | _read_below(cur, journal, wanted.difference(stored))


def _read_stored(cur: PgCursor, journal: int, nodes: Sequence[Node]) -> dict[Node, bytes]:
    cur.execute(
        "SELECT level, number, hash FROM unnest(%s::smallint[], %s::bigint[]) AS wanted (level, number)"
        " JOIN merkle_nodes USING (level, number) WHERE journal = %s",
        ([level for level, _ in nodes], [number for _, number in nodes], journal),
    )
    found = {(level, number): bytes(hash) for level, number, hash in cur.fetchall()}
    for node in nodes:
        if node not in found:
            raise NodeProblem(f"{named(node)} is missing")
    return found


def _read_below(cur: PgCursor, journal: int, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """Nodes below the stored ones, all in a few blocks: from the leaf hashes of those blocks, as far as needed."""
    ends: dict[int, int] = {}
    for level, number in nodes:
        block = number << level >> STORED_LEVEL
        ends[block] = max(ends.get(block, 0), number + 1 << level)
    leaves = {block: _leaves(cur, journal, block * BLOCK, end) for block, end in ends.items()}
    found = {}
    for level, number in nodes:
        block = number << level >> STORED_LEVEL
        start = (number << level) - block * BLOCK
        found[level, number] = _root(leaves[block][start : start + (1 << level)])
    return found


def _leaves(cur: PgCursor, journal: int, start: int, end: int) -> list[bytes]:
    """The leaf hashes of the leaves [start, end)."""
    cur.execute(
        "SELECT coalesce(string_agg(leaf_hash, ''::bytea ORDER BY position), '') FROM events"
        " WHERE journal = %s AND position > %s AND position <= %s",
        (journal, start, end),
    )
    ((hashes,),) = cur.fetchall()
    return _split(bytes(hashes), start, end)


def _split(hashes: bytes, start: int, end: int) -> list[bytes]:
    if len(hashes) != (end - start) * HASH_SIZE_BYTES:
        raise NodeProblem(f"positions {start + 1} to {end} do not have a leaf_hash of 32 bytes each")
    return [hashes[at : at + HASH_SIZE_BYTES] for at in range(0, len(hashes), HASH_SIZE_BYTES)]


def _root(leaves: Sequence[bytes]) -> bytes:
    frontier = Frontier()
    frontier.append_all(leaves)
    return frontier.root()


# --- storing --------------------------------------------------------------------------------------------------------


def extend(cur: PgCursor, journal: int, size: int) -> None:
    """Store the nodes over the first `size` leaves that are not stored yet. Memory does not grow with the journal.

    Only one transaction at a time may do this for a journal. Raises NodeProblem when leaf hashes are missing.
    """
    cur.execute(
        "SELECT coalesce(max(number) + 1, 0) FROM merkle_nodes WHERE journal = %s AND level = %s",
        (journal, STORED_LEVEL),
    )
    ((blocks,),) = cur.fetchall()
    frontier = list(perfect_subtrees(0, blocks * BLOCK))
    hashes = read_nodes(cur, journal, frontier)
    for nodes in _computed(cur, journal, blocks, size // BLOCK, [hashes[node] for node in frontier]):
        cur.execute(
            "INSERT INTO merkle_nodes (journal, level, number, hash)"
            " SELECT %s, * FROM unnest(%s::smallint[], %s::bigint[], %s::bytea[])",
            (journal, *map(list, zip(*nodes, strict=True))),
        )


def first_difference(cur: PgCursor, journal: int, size: int) -> str | None:
    """The first stored node over the first `size` leaves that differs from what is below it, in words; None: all agree.

    Reads the leaf hashes of all these leaves; where some are missing, that is said instead.
    """
    try:
        for nodes in _computed(cur, journal, 0, size // BLOCK, []):
            if (difference := _difference(cur, journal, nodes)) is not None:
                return difference
    except NodeProblem as error:
        return str(error)
    return None


def _difference(cur: PgCursor, journal: int, nodes: Sequence[StoredNode]) -> str | None:
    cur.execute(
        "SELECT level, number, stored.hash IS NULL"
        " FROM unnest(%s::smallint[], %s::bigint[], %s::bytea[]) AS computed (level, number, hash)"
        " LEFT JOIN (SELECT * FROM merkle_nodes WHERE journal = %s) AS stored USING (level, number)"
        " WHERE stored.hash IS DISTINCT FROM computed.hash ORDER BY level, number LIMIT 1",
        (*map(list, zip(*nodes, strict=True)), journal),
    )
    row = cur.fetchone()
    if row is None:
        return None
    level, number, missing = row
    if missing:
        return f"{named((level, number))} is missing"
    if level > STORED_LEVEL:
        return f"{named((level, number))} is not the hash of the two nodes below it: it was changed"
    return f"{named((level, number))} and the leaf hashes below it do not agree: one or the other was changed"


def _computed(cur: PgCursor, journal: int, first: int, end: int, frontier: list[bytes]) -> Iterator[list[StoredNode]]:
    """The nodes that the blocks [first, end) complete, some blocks at a time, after the frontier of those before."""
    pending = list(frontier)
    for start in range(first, end, BLOCKS_AT_ONCE):
        nodes: list[StoredNode] = []
        for block, root in enumerate(_block_roots(cur, journal, start, min(start + BLOCKS_AT_ONCE, end)), start):
            level, number, hash = STORED_LEVEL, block, root
            nodes.append((level, number, hash))
            while number & 1:
                level, number, hash = level + 1, number >> 1, node_hash(pending.pop(), hash)
                nodes.append((level, number, hash))
            pending.append(hash)
        yield nodes


def _block_roots(cur: PgCursor, journal: int, first: int, end: int) -> list[bytes]:
    """The roots of the blocks [first, end)."""
    leaves = _leaves(cur, journal, first * BLOCK, end * BLOCK)
    return [_root(leaves[at : at + BLOCK]) for at in range(0, len(leaves), BLOCK)]


def named(node: Node) -> str:
    """A stored node and the positions below it, in words."""
    level, number = node
    first, last = (number << level) + 1, number + 1 << level
    return f"the stored node {number} of level {level} (positions {first} to {last})"
