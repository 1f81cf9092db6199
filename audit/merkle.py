"""Proofs of RFC 9162: which subtrees a proof consists of, and their hashes from those of perfect subtrees.

A tree is over the leaves 0, 1, 2 …; position p of a journal is the leaf p - 1. A range of leaves [start, end) that
occurs in a proof begins where a perfect subtree of at least its length does, so its hash follows from the perfect
subtrees in it: one for each bit set in its length. A node (level, number) is the perfect subtree over the 2**level
leaves from number * 2**level on.

Source: RFC 9162, sections 2.1.1, 2.1.3.1 and 2.1.4.1. Proofs are checked by `audit.verify_proof`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ledger.hashing import EMPTY_ROOT, node_hash

Range = tuple[int, int]
Node = tuple[int, int]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges of leaves whose hashes are the inclusion path of a leaf, from the leaf up.

    Raises ValueError when there is no such leaf in a tree of this size.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size} leaves")
    start, end, ranges = 0, size, list[Range]()
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The ranges of leaves whose hashes are the consistency proof between trees of two sizes.

    Raises ValueError unless 0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError(f"a tree of {second} leaves cannot continue one of {first}")
    start, end, ranges = 0, second, list[Range]()
    while end != first:
        middle = _middle(start, end)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:  # else it is the tree of the first size itself, whose root the verifier has
        ranges.append((start, end))
    return ranges[::-1]


def _middle(start: int, end: int) -> int:
    """Where a range is split: its first part is as long as the largest power of two below its length."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def perfect_subtrees(start: int, end: int) -> Iterator[Node]:
    """The perfect subtrees that a range of leaves of a proof consists of, widest first."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def nodes_of(ranges: Iterable[Range]) -> list[Node]:
    """The perfect subtrees in all of these ranges."""
    return [node for start, end in ranges for node in perfect_subtrees(start, end)]


def range_hashes(ranges: Iterable[Range], hashes: Mapping[Node, bytes]) -> list[bytes]:
    """The hash of each range, from those of the perfect subtrees in it."""
    return [joined([hashes[node] for node in perfect_subtrees(start, end)]) for start, end in ranges]


def joined(subtrees: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees side by side, widest first; that of the empty tree for none."""
    if not subtrees:
        return EMPTY_ROOT
    root = subtrees[-1]
    for subtree in reversed(subtrees[:-1]):
        root = node_hash(subtree, root)
    return root
