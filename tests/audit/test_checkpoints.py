"""Checkpoints of ledgers: what was recorded before one cannot be changed after it, however thorough the forger."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoints import add_cosignatures, newest_checkpoint, sign_heads
from audit.notes import SigningKey
from audit.verify import JournalResult, verify
from audit.verify_proof import COSIGNATURE_V1, Refused, VerifierKey, open_checkpoint, parse_note
from ledger.commands import PublishTerms
from ledger.engine import Ledger
from ledger.hashing import Frontier
from ledger.store.database import Database, connect
from ledger.store.journal import lock_head
from ledger.store.migrations import migrate
from tests.audit.ledgers import AT, Superuser, build, handle, purchase, terms
from tests.conftest import create_database, drop_database

KEY, OTHER = SigningKey.generate("loyalty.example"), SigningKey.generate("loyalty.example")
KEYS = [KEY.verifier_key]
FAR = 1_000_000
"""No journal has this position."""
TABLES = ("events", "journals", "programmes", "terms", "merkle_nodes", "checkpoints", "cosignatures")


class Forger(Superuser):
    """One who restores checkpoints too."""

    TABLES = TABLES

    def restore(self) -> None:
        self.cur.execute("".join(f"DELETE FROM {table}; " for table in reversed(self.TABLES)))
        for table in self.TABLES:
            self.cur.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM untouched.{table}")

    def frontier_of(self, journal: int, size: int) -> Frontier:
        """The frontier over the first leaf hashes."""
        self.cur.execute(
            "SELECT leaf_hash FROM events WHERE journal = %s AND position <= %s ORDER BY position", (journal, size)
        )
        frontier = Frontier()
        frontier.append_all([bytes(leaf) for (leaf,) in self.cur.fetchall()])
        return frontier

    def pair(self) -> tuple[int, int]:
        """Two neighbouring events of journal 1, of one time and of two members."""
        self.cur.execute(
            "SELECT one.position, two.position FROM events one JOIN events two ON two.journal = one.journal"
            " AND two.position = one.position + 1 AND two.recorded_at = one.recorded_at"
            " AND two.originator_id <> one.originator_id AND one.originator_id LIKE 'member-%'"
            " AND two.originator_id LIKE 'member-%' WHERE one.journal = 1 ORDER BY 1 LIMIT 1"
        )
        ((one, two),) = self.cur.fetchall()
        return one, two

    def rewrite(self, journal: int, position: int) -> None:
        """Change an event that stays readable, and all hashes that follow."""
        self.execute(
            "UPDATE events SET state = replace(convert_from(state, 'UTF8'), '2026-01-', '2025-01-')::bytea"
            " WHERE journal = %s AND position = %s",
            journal,
            position,
        )
        self.recommit(journal)

    def remove(self, journal: int, position: int) -> None:
        """Remove an event, move what follows down, in its stream too, and compute all hashes again."""
        stream = self.value(
            "DELETE FROM events WHERE journal = %s AND position = %s RETURNING originator_id", journal, position
        )
        self.move(journal, f"position > {position}", "position - 1")
        self.renumber(journal, stream)
        self.recommit(journal)

    def move(self, journal: int, which: str, to: str) -> None:
        """Give some rows other positions, all at once."""
        self.execute(f"UPDATE events SET position = {FAR} + {to} WHERE journal = %s AND {which}", journal)
        self.execute(f"UPDATE events SET position = position - {FAR} WHERE journal = %s AND position > {FAR}", journal)

    def renumber(self, journal: int, stream: str) -> None:
        """Give the events of a stream the versions 1, 2, 3 … and no command columns, which count events."""
        for offset in (FAR, 0):
            self.execute(
                f"UPDATE events SET originator_version = {offset} + number FROM (SELECT position AS at,"
                " row_number() OVER (ORDER BY position) AS number FROM events"
                " WHERE journal = %s AND originator_id = %s) AS counted WHERE journal = %s AND position = at",
                journal,
                stream,
                journal,
            )
        self.execute(
            "UPDATE events SET command_key = NULL, command_hash = NULL, command_events = NULL WHERE journal = %s",
            journal,
        )


@pytest.fixture(scope="module")
def built(server_dsn: str) -> Iterator[tuple[str, Forger]]:
    """Two programmes with a checkpoint a journal, and events after them."""
    name = f"loyalty_test_{os.getpid()}_checkpoints"
    dsn = create_database(server_dsn, name)
    migrate(dsn)
    database = Database(dsn)
    ledger = Ledger(database)
    build(ledger)
    assert [one.refusal for one in sign_heads(database, KEY)] == [None, None, None]
    for programme in ("coffee", "grocery"):
        document = terms(programme, "Third")
        handle(
            ledger, [PublishTerms(id="third", source="test", programme=programme, occurred_at=AT, document=document)]
        )
    ledger.close()
    database.close()
    connection = connect(dsn)
    yield dsn, Forger(connection.cursor())
    connection.close()
    drop_database(server_dsn, name)


@pytest.fixture
def forger(built: tuple[str, Forger]) -> Iterator[Forger]:
    yield built[1]
    built[1].restore()


@pytest.fixture
def dsn(built: tuple[str, Forger]) -> str:
    return built[0]


@pytest.fixture
def signer(dsn: str) -> Iterator[Database]:
    database = Database(dsn)
    yield database
    database.close()


def result(dsn: str, journal: int = 1, keys: list[VerifierKey] = KEYS) -> JournalResult:
    return next(one for one in verify(dsn, keys=keys, processes=1).journals if one.journal == journal)


def size(forger: Forger, journal: int = 1) -> int:
    return int(forger.value("SELECT max(size) FROM checkpoints WHERE journal = %s", journal))


def test_good_checkpoints_are_good(dsn: str, forger: Forger) -> None:
    assert verify(dsn, keys=KEYS).problems == []
    assert verify(dsn, keys=KEYS, processes=2).problems == []
    assert verify(dsn).problems == []
    for journal, programme in ((1, "coffee"), (2, "grocery"), (3, "grocery")):
        stored = newest_checkpoint(forger.cur, journal)
        assert stored is not None
        checkpoint, _ = open_checkpoint(stored.note, KEYS)
        assert checkpoint.origin == f"loyalty.example/{programme}/{journal}"
        assert checkpoint.root == forger.frontier_of(journal, checkpoint.size).root()


def test_a_head_is_signed_once_and_then_again_when_it_moved(dsn: str, forger: Forger, signer: Database) -> None:
    assert [(one.journal, one.signed) for one in sign_heads(signer, KEY)] == [(1, True), (2, True), (3, False)]
    assert [one.signed for one in sign_heads(signer, KEY)] == [False, False, False]
    assert verify(dsn, keys=KEYS).problems == []
    assert forger.value("SELECT count(*) FROM checkpoints WHERE journal = 1") == 2


def test_another_key_continues_only_from_one_it_trusts(dsn: str, forger: Forger, signer: Database) -> None:
    """A key is replaced by trusting the one before; what both signed verifies with both."""
    (refused,) = sign_heads(signer, OTHER, [3])
    assert not refused.signed
    assert "no key that you trust signed the checkpoint" in str(refused.refusal)
    assert [one.signed for one in sign_heads(signer, OTHER, [3], KEYS)] == [True]
    assert verify(dsn, keys=[*KEYS, OTHER.verifier_key]).problems == []
    assert "no key that you trust" in str(result(dsn, 3).problem)


def test_signers_at_once_sign_once(forger: Forger, signer: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: sign_heads(signer, KEY, [1]), range(4)))
    assert sorted(one.signed for (one,) in results) == [False, False, False, True]


def test_signing_does_not_wait_for_writers(forger: Forger, signer: Database) -> None:
    """A writer that holds the head's lock is not waited for; what it has not committed is not signed."""
    with signer.transaction() as cur:
        head = lock_head(cur, 2)
        assert [one.size for one in sign_heads(signer, KEY, [2])] == [head.position]


def test_it_is_good_while_heads_are_signed_and_written(database: Database) -> None:
    """Checkpoints of heads that moved on in the middle of a verification are not taken for cut tails."""
    ledger = Ledger(database)
    build(ledger)
    stop = Event()

    def write() -> int:
        number = 0
        while number == 0 or not stop.is_set():
            number += 1
            handle(ledger, [purchase(f"more-{number}", "M0001", "CNY", {"source": "test", "programme": "coffee"})])
            assert [one.refusal for one in sign_heads(database, KEY)] == [None, None, None]
        return number

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        try:
            for _ in range(5):
                assert verify(database, keys=KEYS, processes=1).problems == []
        finally:
            stop.set()
        assert writing.result() > 0
    ledger.close()


# --- tampering after a checkpoint -----------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", [1, 2, 3])
def test_a_history_chained_again_is_caught_by_the_checkpoint(
    journal: int, dsn: str, forger: Forger, signer: Database
) -> None:
    """Without the checkpoint nothing could be seen: every hash and the head fit what was changed."""
    forger.rewrite(journal, 9)
    found = result(dsn, journal)
    assert found.first_bad_position == 1
    assert f"positions 1 to {size(forger, journal)} are not what the checkpoint of" in str(found.problem)
    (head,) = sign_heads(signer, KEY, [journal])
    assert not head.signed
    assert "the history was rewritten" in str(head.refusal)
    forger.execute("DELETE FROM checkpoints")
    assert result(dsn, journal).problem is None


def test_a_removed_event_is_caught(dsn: str, forger: Forger, signer: Database) -> None:
    forger.remove(1, 12)
    assert "are not what the checkpoint of" in str(result(dsn).problem)
    assert "rewritten" in str(sign_heads(signer, KEY, [1])[0].refusal)
    forger.execute("DELETE FROM checkpoints")
    assert result(dsn).problem is None


def test_an_inserted_event_is_caught(dsn: str, forger: Forger, signer: Database) -> None:
    forger.move(1, "position > 12", "position + 1")
    forger.execute(
        "INSERT INTO events SELECT journal, 13, originator_id, 1000, topic, state, recorded_at, leaf_hash,"
        " NULL, NULL, NULL FROM events WHERE journal = 1 AND position = 12"
    )
    forger.renumber(1, forger.value("SELECT originator_id FROM events WHERE journal = 1 AND position = 13"))
    forger.recommit(1)
    assert "are not what the checkpoint of" in str(result(dsn).problem)
    assert "rewritten" in str(sign_heads(signer, KEY, [1])[0].refusal)
    forger.execute("DELETE FROM checkpoints")
    assert result(dsn).problem is None


def test_swapped_events_are_caught(dsn: str, forger: Forger, signer: Database) -> None:
    """Two events of one time and of different streams, so that nothing else gives them away."""
    first, second = forger.pair()
    forger.move(1, f"position IN ({first}, {second})", f"{first + second} - position")
    forger.execute("UPDATE events SET command_key = NULL, command_hash = NULL, command_events = NULL WHERE journal = 1")
    forger.recommit(1)
    assert "are not what the checkpoint of" in str(result(dsn).problem)
    assert "rewritten" in str(sign_heads(signer, KEY, [1])[0].refusal)
    forger.execute("DELETE FROM checkpoints")
    assert result(dsn).problem is None


def test_a_truncated_tail_is_caught(dsn: str, forger: Forger, signer: Database) -> None:
    """The rows of the last members are gone, and the head was put back."""
    signed = size(forger, 3)
    forger.execute("DELETE FROM events WHERE journal = 3 AND position > %s", signed - 4)
    forger.execute("UPDATE events SET command_key = NULL, command_hash = NULL, command_events = NULL WHERE journal = 3")
    forger.execute(
        "UPDATE journals SET recorded_at = (SELECT max(recorded_at) FROM events WHERE journal = 3) WHERE journal = 3"
    )
    forger.recommit(3)
    found = result(dsn, 3)
    assert found.first_bad_position == signed - 3
    assert f"the journal ends at position {signed - 4}, but there is the checkpoint of {signed} events" in str(
        found.problem
    )
    assert "its tail was cut off" in str(sign_heads(signer, KEY, [3])[0].refusal)
    forger.execute("DELETE FROM checkpoints")
    assert result(dsn, 3).problem is None


def test_the_stretch_between_two_checkpoints_is_named(dsn: str, forger: Forger, signer: Database) -> None:
    sign_heads(signer, KEY)
    first, head = int(forger.value("SELECT min(size) FROM checkpoints WHERE journal = 1")), forger.head(1)
    assert head == first + 1
    forger.execute("UPDATE events SET command_hash = command_key WHERE journal = 1 AND position = %s", head)
    forger.recommit(1)
    found = result(dsn)
    assert found.first_bad_position == head
    assert f"position {head} is not what the checkpoint of {head} events" in str(found.problem)


def test_what_was_changed_without_its_hash_is_named_exactly(dsn: str, forger: Forger) -> None:
    """A checkpoint takes nothing from what is found without it."""
    forger.execute("UPDATE events SET state = 'x' WHERE journal = 1 AND position = 6")
    assert result(dsn).first_bad_position == 6
    assert "differs from its leaf_hash" in str(result(dsn).problem)


# --- forged checkpoints ---------------------------------------------------------------------------------------------


def replace_note(forger: Forger, note: str, root: bytes | None = None) -> None:
    forger.execute("UPDATE checkpoints SET note = %s, root = coalesce(%s, root) WHERE journal = 1", note, root)


def test_a_checkpoint_forged_with_the_history_is_caught_by_its_signature(
    dsn: str, forger: Forger, signer: Database
) -> None:
    """The forger rewrites history and the checkpoint, but cannot sign it."""
    forger.rewrite(1, 9)
    signed = size(forger)
    root = forger.frontier_of(1, signed).root()
    stored = newest_checkpoint(forger.cur, 1)
    assert stored is not None
    body = f"loyalty.example/coffee/1\n{signed}\n{base64.b64encode(root).decode()}\n"
    replace_note(forger, f"{body}\n{parse_note(stored.note).signatures[0]}", root)
    problem = str(result(dsn).problem)
    assert "it is forged, or the text was changed" in problem
    assert "it is forged, or the text was changed" in str(sign_heads(signer, KEY, [1])[0].refusal)
    replace_note(forger, OTHER.sign(body), root)
    assert "no key that you trust signed the checkpoint" in str(result(dsn).problem)
    assert f"loyalty.example+{OTHER.verifier_key.key_id.hex()}" in str(result(dsn).problem)
    assert result(dsn, keys=[]).problem is None, "without a key nobody can tell"


def test_a_checkpoint_of_another_journal_or_size_is_named(dsn: str, forger: Forger) -> None:
    stored = newest_checkpoint(forger.cur, 1)
    other = newest_checkpoint(forger.cur, 2)
    assert stored is not None
    assert other is not None
    replace_note(forger, other.note)
    assert "does not say what its row says" in str(result(dsn).problem)
    text = parse_note(stored.note).text.replace("/coffee/1", "/grocery/2")
    replace_note(forger, KEY.sign(text))
    assert "it was signed for another journal" in str(result(dsn).problem)
    replace_note(forger, "nonsense")
    assert "the note is not a text, a blank line" in str(result(dsn).problem)


# --- witnesses ------------------------------------------------------------------------------------------------------


class Witness:
    """One who cosigns what it is shown."""

    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.key = VerifierKey(name, COSIGNATURE_V1, self._private.public_key().public_bytes_raw())

    def cosigned(self, note: str, time: int = 1_790_000_000) -> str:
        message = f"cosignature/v1\ntime {time}\n{parse_note(note).text}"
        blob = self.key.key_id + time.to_bytes(8) + self._private.sign(message.encode())
        return f"{note}— {self.key.name} {base64.b64encode(blob).decode()}\n"


def test_cosignatures_are_checked_stored_and_shown(dsn: str, forger: Forger, signer: Database) -> None:
    first, second, stranger = Witness("one.example/w"), Witness("two.example/w"), Witness("three.example/w")
    stored = newest_checkpoint(forger.cur, 1)
    assert stored is not None
    note = stranger.cosigned(second.cosigned(first.cosigned(stored.note)))
    for _ in range(2):
        with signer.transaction() as cur:
            _, found = add_cosignatures(cur, note, [first.key, second.key])
        assert [one.key for one in found] == [first.key, second.key]
    again = newest_checkpoint(forger.cur, 1)
    assert again is not None
    assert again.note == second.cosigned(first.cosigned(stored.note))
    assert verify(dsn, keys=[*KEYS, first.key, second.key]).problems == []
    forger.execute("UPDATE cosignatures SET line = replace(line, 'one.example/w ', 'two.example/w ')")
    forger.execute(
        "UPDATE cosignatures SET line = %s WHERE name = 'one.example/w'",
        first.cosigned(stored.note.replace("coffee", "coffer")).splitlines(keepends=True)[-1],
    )
    assert "the signature of one.example/w" in str(result(dsn, keys=[*KEYS, first.key]).problem)


def test_cosignatures_that_prove_nothing_are_refused(forger: Forger, signer: Database) -> None:
    witness, stranger = Witness("one.example/w"), Witness("one.example/w")
    stored = newest_checkpoint(forger.cur, 1)
    assert stored is not None
    unknown = KEY.sign(parse_note(stored.note).text.replace("/coffee/1", "/coffee/7"))
    for note, words in (
        (stored.note, "no cosignature of a witness"),
        (stranger.cosigned(stored.note), "no cosignature of a witness"),
        (witness.cosigned(stored.note).replace("/coffee/1", "/coffee/2"), "did not sign a checkpoint"),
        (witness.cosigned(unknown), "did not sign a checkpoint"),
        ("nonsense", "not a text, a blank line"),
    ):
        with pytest.raises(Refused, match=words), signer.transaction() as cur:
            add_cosignatures(cur, note, [witness.key])
    spoilt = witness.cosigned(stored.note)
    spoilt = witness.cosigned(stored.note, 5) + spoilt.splitlines(keepends=True)[-1].replace("one", "two")
    with signer.transaction() as cur:
        assert len(add_cosignatures(cur, spoilt, [witness.key])[1]) == 1
