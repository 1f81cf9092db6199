"""Stored nodes of a journal of several blocks: they give the proofs of the recursion, and a changed one is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import psycopg2
import pytest

from audit import checkpoints, nodes
from audit.checkpoints import newest_checkpoint, sign_heads
from audit.merkle import inclusion_ranges, joined, nodes_of, perfect_subtrees
from audit.nodes import BLOCK, STORED_LEVEL, NodeProblem, extend, first_difference, read_nodes
from audit.notes import SigningKey
from audit.proofs import ProofError, prove_consistency, prove_event
from audit.verify import verify
from audit.verify_proof import Refused, check_proof, leaf_hash
from benchmarks.proofs import fill
from ledger.hashing import Frontier
from ledger.store.database import Database, PgCursor, connect
from ledger.store.journal import append, create_journals, lock_head, store_head
from ledger.store.migrations import migrate
from tests.conftest import create_database, drop_database

BLOCKS = 7
EVENTS = BLOCKS * BLOCK + 300
FIRST = 3 * BLOCK + 5
KEY = SigningKey.generate("loyalty.example")
KEYS = [KEY.verifier_key]


@pytest.fixture(scope="module")
def filled(server_dsn: str) -> Iterator[str]:
    """A journal with a checkpoint of EVENTS events, another of 300 more, and one of an application with few."""
    name = f"loyalty_test_{os.getpid()}_nodes"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    connection = connect(dsn)
    with connection.cursor() as cur:
        create_journals(cur, "application", "counter", 1)
        fill(cur, 1, EVENTS)
    connection.close()
    database = Database(dsn)
    (first,) = sign_heads(database, KEY)
    with database.transaction() as cur:
        head = lock_head(cur, 1)
        append(cur, head, [("more", version, "counted.v1", b"\xff", None, None, None) for version in range(1, 901)])
        store_head(cur, head)
    (second,) = sign_heads(database, KEY)
    assert (first.signed, first.size, second.signed, second.size) == (True, EVENTS, True, EVENTS + 900)
    database.close()
    yield dsn
    drop_database(server_dsn, name)


@pytest.fixture
def reader(filled: str) -> Iterator[PgCursor]:
    """Everything that reads does so as the role that may only read."""
    connection = connect(filled, "loyalty_reader")
    yield connection.cursor()
    connection.close()


@pytest.fixture
def forger(filled: str) -> Iterator[PgCursor]:
    """A superuser whose changes are undone."""
    connection = connect(filled)
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute("ALTER TABLE merkle_nodes DISABLE TRIGGER ALL; ALTER TABLE events DISABLE TRIGGER ALL")
    yield cursor
    connection.close()


def leaves_of(cur: PgCursor) -> list[bytes]:
    cur.execute("SELECT leaf_hash FROM events WHERE journal = 1 ORDER BY position")
    return [bytes(leaf) for (leaf,) in cur.fetchall()]


def root_of(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def test_every_perfect_subtree_of_blocks_is_stored_once(reader: PgCursor) -> None:
    leaves = leaves_of(reader)
    reader.execute("SELECT level, number, hash FROM merkle_nodes WHERE journal = 1")
    stored = {(level, number): bytes(hash) for level, number, hash in reader.fetchall()}
    expected = {(level, number) for level in range(STORED_LEVEL, 13 + 1) for number in range(len(leaves) >> level)}
    assert stored.keys() == expected
    for (level, number), hash in stored.items():
        assert hash == root_of(leaves[number << level : number + 1 << level])


def test_nodes_below_and_above_are_those_of_the_leaves(reader: PgCursor) -> None:
    leaves = leaves_of(reader)
    random = Random(5)
    wanted = [(level, random.randrange(len(leaves) >> level)) for level in range(13) for _ in range(3)]
    assert read_nodes(reader, 1, wanted) == {
        (level, number): root_of(leaves[number << level : number + 1 << level]) for level, number in wanted
    }


def test_every_kind_of_event_is_proven(reader: PgCursor) -> None:
    """At the ends of the journal and its blocks, at random, and one whose state is no text."""
    random = Random(6)
    edges = [1, 2, BLOCK, BLOCK + 1, BLOCKS * BLOCK, BLOCKS * BLOCK + 1, EVENTS, EVENTS + 1, EVENTS + 900]
    for position in [*edges, *(random.randint(1, EVENTS) for _ in range(20))]:
        proof = prove_event(reader, 1, position)
        assert ("state_base64" in proof["event"]) == (position > EVENTS)
        assert check_proof(proof, KEYS)[1] == f"is one of the {EVENTS + 900} entries of loyalty.example/counter/1."


def test_a_proof_reads_a_bounded_number_of_hashes() -> None:
    """In a journal of ten million: at most two blocks of leaves, and two stored nodes a level."""
    size = 10_000_000
    for index in (0, 1, 5_000_000, 9_765 * BLOCK - 1, size - 1):
        wanted = nodes_of(inclusion_ranges(index, size))
        low = {number << level >> STORED_LEVEL for level, number in wanted if level < STORED_LEVEL}
        assert len(low) <= 2
        assert len([node for node in wanted if node[0] >= STORED_LEVEL]) <= 2 * 14


def test_the_later_checkpoint_continues_the_earlier(reader: PgCursor) -> None:
    (sentence, *_) = check_proof(prove_consistency(reader, 1, EVENTS, EVENTS + 900), KEYS)
    assert sentence.startswith(f"The {EVENTS + 900} entries of loyalty.example/counter/1 begin with the {EVENTS}")
    check_proof(prove_consistency(reader, 1, EVENTS, EVENTS), KEYS)
    with pytest.raises(ProofError, match="no checkpoint of 5 events"):
        prove_consistency(reader, 1, 5, EVENTS)
    with pytest.raises(ProofError, match="cannot continue"):
        prove_consistency(reader, 1, EVENTS + 900, EVENTS)


def test_what_does_not_exist_is_not_proven(reader: PgCursor) -> None:
    for journal, position in ((1, EVENTS + 901), (2, 1)):
        with pytest.raises(ProofError, match=f"journal {journal} has no position {position}"):
            prove_event(reader, journal, position)


def test_batches_make_no_difference(forger: PgCursor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored a few blocks at a time, and from wherever it stopped, the nodes are the same."""
    forger.execute("SELECT level, number, hash FROM merkle_nodes WHERE journal = 1 ORDER BY 1, 2")
    whole = forger.fetchall()
    forger.execute("DELETE FROM merkle_nodes")
    monkeypatch.setattr(nodes, "BLOCKS_AT_ONCE", 3)
    for size in (0, BLOCK - 1, BLOCK, 4 * BLOCK + 1, 6 * BLOCK, EVENTS, EVENTS, EVENTS + 900):
        extend(forger, 1, size)
        roots = list(perfect_subtrees(0, size))
        hashes = read_nodes(forger, 1, roots)
        assert joined([hashes[node] for node in roots]) == root_of(leaves_of(forger)[:size])
    forger.execute("SELECT level, number, hash FROM merkle_nodes WHERE journal = 1 ORDER BY 1, 2")
    assert [[level, number, bytes(hash)] for level, number, hash in forger.fetchall()] == [
        [level, number, bytes(hash)] for level, number, hash in whole
    ]
    assert first_difference(forger, 1, EVENTS + 900) is None


@pytest.mark.parametrize("level", [10, 11, 12])
def test_a_changed_node_is_named_and_yields_no_wrong_proof(level: int, forger: PgCursor) -> None:
    """Every proof that uses it is refused with its name; the others stay good."""
    forger.execute(
        "UPDATE merkle_nodes SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) WHERE level = %s AND number = 1",
        (level,),
    )
    assert forger.rowcount == 1
    named = f"the stored node 1 of level {level} (positions {(1 << level) + 1} to {2 << level})"
    outcomes = [outcome(forger, position) for position in range(7, EVENTS, 500)]
    assert {"", named} == {text[: len(named)] for text in outcomes}


def outcome(cur: PgCursor, position: int) -> str:
    """Why a proof is refused; "" where it is given, and checks."""
    try:
        proof = prove_event(cur, 1, position)
    except ProofError as error:
        return str(error)
    check_proof(proof, KEYS)
    return ""


def test_a_missing_node_is_named(forger: PgCursor) -> None:
    forger.execute("DELETE FROM merkle_nodes WHERE level = 12 AND number = 0")
    with pytest.raises(ProofError, match=r"stored node 0 of level 12 \(positions 1 to 4096\) is missing"):
        prove_event(forger, 1, 5000)
    assert first_difference(forger, 1, EVENTS) == "the stored node 0 of level 12 (positions 1 to 4096) is missing"


def test_a_row_changed_with_its_hash_is_not_proven(forger: PgCursor) -> None:
    """Neither itself nor another of its block: the stored node over the block, and the leaf hashes, do not agree."""
    forger.execute("UPDATE events SET leaf_hash = %s WHERE position = 2000", (leaf_hash(b"forged"),))
    with pytest.raises(ProofError, match="position 2000 differs from its leaf_hash"):
        prove_event(forger, 1, 2000)
    with pytest.raises(ProofError, match=r"node 1 of level 10 .* and the leaf hashes below it do not agree"):
        prove_event(forger, 1, 2001)


def test_missing_leaves_are_named(forger: PgCursor) -> None:
    forger.execute("DELETE FROM events WHERE position = 2000")
    with pytest.raises(ProofError, match="do not have a leaf_hash of 32 bytes each"):
        prove_event(forger, 1, 2001)
    assert first_difference(forger, 1, EVENTS) == "positions 1 to 7168 do not have a leaf_hash of 32 bytes each"
    with pytest.raises(NodeProblem, match="positions 1025 to 2048"):
        read_nodes(forger, 1, [(9, 3)])


def test_a_row_missing_below_stored_nodes_is_not_signed_over(forger: PgCursor) -> None:
    """The head was moved with it: the signer says what it found, and does not fail."""
    forger.execute("DELETE FROM events WHERE position = 2000; UPDATE journals SET root = sha256('')")
    with pytest.raises(Refused, match="do not have a leaf_hash of 32 bytes each"):
        checkpoints._check_tree(forger, newest_checkpoint(forger, 1), checkpoints._head(forger, 1))


def test_a_rewritten_tail_of_less_than_a_block_is_not_proven(forger: PgCursor) -> None:
    """No stored node covers it, so the root that was signed is what does not agree."""
    forger.execute("UPDATE events SET leaf_hash = %s WHERE position = %s", (leaf_hash(b"forged"), EVENTS + 850))
    with pytest.raises(ProofError, match=f"positions 1 to {EVENTS + 900} are not what the checkpoint of"):
        prove_event(forger, 1, EVENTS + 851)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE merkle_nodes SET hash = sha256('') WHERE level = 13", "node 0 of level 13 .* it was changed"),
        ("DELETE FROM merkle_nodes WHERE level = 13", "node 0 of level 13 .* is missing"),
        ("UPDATE journals SET root = sha256('')", "the leaf hashes do not give the root of the head"),
        ("UPDATE events SET leaf_hash = sha256('') WHERE position = 8300", "the history was rewritten"),
        (
            "UPDATE events SET leaf_hash = sha256('') WHERE position = 2000; UPDATE journals SET root = sha256('x')",
            "node 1 of level 10 .* do not agree",
        ),
    ],
)
def test_a_head_is_not_signed_over_changed_hashes(statement: str, words: str, forger: PgCursor) -> None:
    forger.execute(statement)
    with pytest.raises(Refused, match=words):
        checkpoints._check_tree(forger, newest_checkpoint(forger, 1), checkpoints._head(forger, 1))


def test_nodes_and_checkpoints_are_never_changed(filled: str) -> None:
    connection = connect(filled)
    with connection.cursor() as cur:
        for table in ("merkle_nodes", "checkpoints", "cosignatures"):
            for statement in (
                f"DELETE FROM {table}",
                f"TRUNCATE {table} CASCADE",
                f"UPDATE {table} SET {'journal = 9' if table != 'cosignatures' else 'line = 1'}",
            ):
                with pytest.raises(psycopg2.Error, match="never changed or removed"):
                    cur.execute(statement)
    connection.close()


def test_the_journal_is_good(filled: str) -> None:
    assert verify(filled, keys=KEYS).problems == []
