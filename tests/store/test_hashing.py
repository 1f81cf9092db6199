"""Merkle hashing against the published vectors of Certificate Transparency and an independent recursion."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.hashing import EMPTY_ROOT, Frontier, canonical_bytes, leaf_hash, node_hash

# The eight inputs and roots used by the certificate-transparency project and its descendants.
INPUTS = [
    bytes.fromhex(data)
    for data in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def merkle_tree_hash(entries: list[bytes]) -> bytes:
    """MTH as RFC 9162 section 2.1.1 defines it, by recursion, sharing no code with the product."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\x01" + merkle_tree_hash(entries[:split]) + merkle_tree_hash(entries[split:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_root_is_the_published_one(size: int) -> None:
    """The published root of every size from 1 to 8, from the frontier and from the recursion."""
    frontier = Frontier()
    frontier.append_all([leaf_hash(data) for data in INPUTS[:size]])
    assert frontier.root().hex() == ROOTS[size - 1]
    assert merkle_tree_hash(INPUTS[:size]).hex() == ROOTS[size - 1]


def test_root_of_nothing_is_the_hash_of_nothing() -> None:
    """RFC 9162: the hash of an empty list is the hash of an empty string."""
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


def test_leaf_and_node_hashes_are_told_apart() -> None:
    """A node's hash is never that of a leaf holding the same bytes: the second-preimage defence of RFC 9162."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)


@given(st.lists(st.integers(0, 70), max_size=6))
def test_any_split_into_batches_gives_the_recursive_root(batch_sizes: list[int]) -> None:
    """However leaves are batched, and stored and restored between batches, the root is that of the recursion."""
    entries: list[bytes] = []
    frontier = Frontier()
    for size in batch_sizes:
        batch = [str(len(entries) + number).encode() for number in range(size)]
        entries += batch
        frontier.append_all([leaf_hash(entry) for entry in batch])
        frontier = Frontier.from_bytes(frontier.size, frontier.to_bytes())
    assert frontier.size == len(entries)
    assert frontier.root() == merkle_tree_hash(entries)


@given(st.integers(0, 200))
def test_one_by_one_equals_at_once(size: int) -> None:
    """`append` and `append_all` leave the same frontier."""
    leaves = [leaf_hash(bytes([number % 256, number // 256])) for number in range(size)]
    single, batch = Frontier(), Frontier()
    for leaf in leaves:
        single.append(leaf)
    batch.append_all(leaves)
    assert (single.size, single.to_bytes()) == (batch.size, batch.to_bytes())


def test_a_copy_does_not_follow_the_original() -> None:
    """Appending to a copy leaves the original as it was."""
    original = Frontier()
    original.append(leaf_hash(b"a"))
    before = original.root()
    twin = original.copy()
    twin.append(leaf_hash(b"b"))
    assert (original.size, original.root()) == (1, before)
    assert (twin.size, twin.root()) == (2, merkle_tree_hash([b"a", b"b"]))


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    """Three leaves have two perfect subtrees; one hash cannot be their frontier."""
    with pytest.raises(ValueError, match="3 leaves"):
        Frontier.from_bytes(3, bytes(32))


FIELDS = st.tuples(
    st.integers(0, 2**31 - 1),
    st.integers(1, 2**63 - 1),
    st.text(max_size=4),
    st.integers(0, 3),
    st.text(max_size=4),
    st.integers(0, 3),
    st.none() | st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(0, 2)),
    st.binary(max_size=4),
)


def encoded(fields: tuple[int, int, str, int, str, int, tuple[bytes, bytes, int] | None, bytes]) -> bytes:
    *first, command, state = fields
    return canonical_bytes(*first, *(command or (None, None, None)), state)  # type: ignore[arg-type]


@given(FIELDS, FIELDS)
def test_different_events_have_different_bytes(first: tuple, second: tuple) -> None:  # type: ignore[type-arg]
    """Two events share canonical bytes only if every field is equal."""
    assert (encoded(first) == encoded(second)) == (first == second)


def test_bytes_move_with_field_boundaries() -> None:
    """Text moved from one field to the next changes the bytes, and an absent command is not an empty one."""
    assert canonical_bytes(1, 1, "ab", 1, "c", 0, None, None, None, b"") != canonical_bytes(
        1, 1, "a", 1, "bc", 0, None, None, None, b""
    )
    with pytest.raises(ValueError, match="go together"):
        canonical_bytes(1, 1, "a", 1, "b", 0, bytes(16), None, None, b"")
    with pytest.raises(ValueError, match="16 bytes"):
        canonical_bytes(1, 1, "a", 1, "b", 0, b"", b"", 0, b"")


def test_canonical_bytes_of_an_event_are_frozen() -> None:
    """The layout is recorded for ever in the hashes: this golden value never changes."""
    data = canonical_bytes(7, 9, "member-1", 2, "points-accrued.v1", 1_700_000_000_000_000, None, None, None, b"{}")
    assert data.hex() == (
        "01" "00000004" "00000007" "00000008" "00060a24181e4000" "00000008" "0000000000000009"
        "00000008" "0000000000000002" "00000008" "6d656d6265722d31"
        "00000011" "706f696e74732d616363727565642e7631" "ffffffff" "ffffffff" "ffffffff" "00000002" "7b7d"
    )  # fmt: skip
