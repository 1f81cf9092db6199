"""Inclusion and consistency proofs against published vectors and against the recursion of RFC 9162."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import Range, consistency_ranges, inclusion_ranges, joined, nodes_of, perfect_subtrees, range_hashes
from audit.verify_proof import Refused, check_consistency, leaf_hash, root_of_inclusion
from ledger.hashing import EMPTY_ROOT
from tests.store.test_hashing import INPUTS, ROOTS, merkle_tree_hash

SIZES = st.integers(1, 130)

# Of the certificate-transparency project and transparency-dev/merkle, over the eight inputs: index, size, path.
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        2,
        8,
        [
            "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        7,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        3,
        7,
        [
            "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
            "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "837dbb152e9b079010717e84e865da4ebc0fa198a806d59d31bf15accef22d0e",
        ],
    ),
]


def entries(size: int) -> list[bytes]:
    return [str(number).encode() for number in range(size)]


def proof_hashes(ranges: list[Range], data: list[bytes]) -> list[bytes]:
    """The hashes of a proof, those of perfect subtrees by recursion."""
    hashes = {
        (level, number): merkle_tree_hash(data[number << level : number + 1 << level])
        for level, number in nodes_of(ranges)
    }
    return range_hashes(ranges, hashes)


def path_of(index: int, data: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162 section 2.1.3.1, by recursion."""
    if len(data) == 1:
        return []
    split = split_of(len(data))
    if index < split:
        return [*path_of(index, data[:split]), merkle_tree_hash(data[split:])]
    return [*path_of(index - split, data[split:]), merkle_tree_hash(data[:split])]


def subproof(first: int, data: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162 section 2.1.4.1, by recursion."""
    if first == len(data):
        return [] if whole else [merkle_tree_hash(data)]
    split = split_of(len(data))
    if first <= split:
        return [*subproof(first, data[:split], whole), merkle_tree_hash(data[split:])]
    return [*subproof(first - split, data[split:], False), merkle_tree_hash(data[:split])]


def split_of(size: int) -> int:
    split = 1
    while split * 2 < size:
        split *= 2
    return split


def refused(check: Callable[[], object]) -> bool:
    try:
        check()
    except Refused:
        return True
    return False


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_inclusion_paths_are_the_published_ones(index: int, size: int, path: list[str]) -> None:
    hashes = [bytes.fromhex(hash) for hash in path]
    assert proof_hashes(inclusion_ranges(index, size), INPUTS[:size]) == hashes
    assert root_of_inclusion(index, size, leaf_hash(INPUTS[index]), hashes).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones(first: int, second: int, path: list[str]) -> None:
    hashes = [bytes.fromhex(hash) for hash in path]
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (first, second)]
    assert proof_hashes(consistency_ranges(first, second), INPUTS[:second]) == hashes
    check_consistency(first, second, *roots, hashes)


def test_every_inclusion_path_of_small_trees_is_that_of_the_recursion() -> None:
    for size in range(1, 40):
        data = entries(size)
        root = merkle_tree_hash(data)
        for index in range(size):
            path = proof_hashes(inclusion_ranges(index, size), data)
            assert path == path_of(index, data)
            assert root_of_inclusion(index, size, leaf_hash(data[index]), path) == root


def test_every_consistency_proof_of_small_trees_is_that_of_the_recursion() -> None:
    roots = [merkle_tree_hash(entries(size)) for size in range(40)]
    for second in range(1, 40):
        data = entries(second)
        for first in range(1, second + 1):
            path = proof_hashes(consistency_ranges(first, second), data)
            assert path == subproof(first, data, True)
            check_consistency(first, second, roots[first], roots[second], path)


@given(SIZES, st.data())
def test_an_inclusion_path_proves_nothing_else(size: int, data: st.DataObject) -> None:
    """With another index, size, leaf or hash, or a hash more or less, the root is another or there is none."""
    index = data.draw(st.integers(0, size - 1))
    tree = entries(size)
    path, root = path_of(index, tree), merkle_tree_hash(tree)
    other_index, other_size = data.draw(st.integers(0, 2 * size)), data.draw(st.integers(1, 2 * size))

    def fails(index: int, size: int, leaf: bytes, path: list[bytes]) -> bool:
        return refused(lambda: root_of_inclusion(index, size, leaf, path)) or (
            root_of_inclusion(index, size, leaf, path) != root
        )

    leaf = leaf_hash(tree[index])
    assert not fails(index, size, leaf, path)
    assert other_index == index or fails(other_index, size, leaf, path)
    assert fails(index, size, leaf_hash(b"other"), path)
    assert fails(index, size, leaf, [*path, bytes(32)])
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert fails(index, size, leaf, [*path[:at], bytes(32), *path[at + 1 :]])
        assert fails(index, size, leaf, path[:-1])
        assert fails(index, size, leaf, path[1:])
    if (other_size - 1).bit_length() != (size - 1).bit_length():
        assert fails(index, other_size, leaf, path)


@given(SIZES, st.data())
def test_a_consistency_proof_proves_nothing_else(second: int, data: st.DataObject) -> None:
    """With another root or hash, or a hash more or less, it is refused."""
    first = data.draw(st.integers(1, second))
    tree = entries(second)
    path = subproof(first, tree, True)
    roots = [merkle_tree_hash(tree[:first]), merkle_tree_hash(tree)]
    check_consistency(first, second, roots[0], roots[1], path)
    assert refused(lambda: check_consistency(first, second, bytes(32), roots[1], path))
    assert refused(lambda: check_consistency(first, second, roots[0], bytes(32), path))
    assert refused(lambda: check_consistency(first, second, roots[0], roots[1], [*path, bytes(32)]))
    assert refused(lambda: check_consistency(second + 1, second, roots[0], roots[1], path))
    assert refused(lambda: check_consistency(0, second, EMPTY_ROOT, roots[1], path))
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:at], bytes(32), *path[at + 1 :]]
        assert refused(lambda: check_consistency(first, second, roots[0], roots[1], changed))
        assert refused(lambda: check_consistency(first, second, roots[0], roots[1], path[:-1]))
        assert refused(lambda: check_consistency(first, second, roots[0], roots[1], []))


@given(st.integers(0, 300))
def test_perfect_subtrees_lie_side_by_side_and_give_the_root(size: int) -> None:
    nodes = list(perfect_subtrees(0, size))
    data = entries(size)
    assert [number << level for level, number in nodes] == [
        sum(1 << level for level, _ in nodes[:at]) for at in range(len(nodes))
    ]
    assert sum(1 << level for level, _ in nodes) == size
    parts = [merkle_tree_hash(data[number << level : number + 1 << level]) for level, number in nodes]
    assert joined(parts) == merkle_tree_hash(data)


def test_a_tree_of_ten_million_needs_few_nodes() -> None:
    size = 10_000_000
    assert len(inclusion_ranges(size // 3, size)) == 24
    assert len(nodes_of(inclusion_ranges(size // 3, size))) < 24 + 24
    assert joined([]) == EMPTY_ROOT == sha256().digest()


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 4), (4, 4)])
def test_a_leaf_that_does_not_exist_has_no_path(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_ranges(index, size)
    with pytest.raises(Refused):
        root_of_inclusion(index, size, bytes(32), [])


@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 1), (-1, 4)])
def test_a_tree_does_not_continue_a_larger_one(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="cannot continue"):
        consistency_ranges(first, second)
