"""Personal data: recorded as ciphertext only, erased with its key, and not brought back by a message sent again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

import pytest

from ledger.codec import decode, encode
from ledger.engine import Ledger
from ledger.events import MemberProfileChanged
from ledger.sealing import Unsealable, new_key, unseal
from ledger.submissions import Submission
from tests.conftest import create_database, drop_database
from tests.engine.clubs import Club, statuses, submissions
from tests.waiting import PATIENCE_SECONDS

NAME = "Ada Lovelace-Byron"
MAIL = "ada@example.org"


@pytest.fixture
def database_dsn(server_dsn: str, template_database: str) -> Iterator[str]:
    """A database for each test: all of it is searched for what must not be there."""
    name = f"{template_database}_sealing"
    yield create_database(server_dsn, name, template=template_database)
    drop_database(server_dsn, name)


def key_of(club: Club, member: str) -> bytes | None:
    with club.database.connection() as cursor:
        cursor.execute(
            "SELECT key FROM member_keys WHERE journal = %s AND member = %s", (club.journal_of(member), member)
        )
        row = cursor.fetchone()
    return bytes(row[0]) if row else None


def sealed_of(club: Club, member: str) -> list[bytes]:
    events = [decode(row.topic, row.state) for row in club.rows()[club.ordinal_of(member)]]
    return [e.sealed for e in events if isinstance(e, MemberProfileChanged) and e.member == member]


def everything_stored(club: Club) -> bytes:
    """The rows of every table of the ledger, as text and as bytes."""
    found = []
    with club.database.connection() as cursor:
        for table in ("events", "journals", "member_snapshots", "rejected", "programmes", "terms", "aggregate_records"):
            cursor.execute(f"SELECT row_to_json(one)::text FROM {table} one")
            for (text,) in cursor.fetchall():
                found.append(text.encode())
        for column, table in (("state", "events"), ("state", "member_snapshots"), ("body", "rejected")):
            cursor.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")
            found += [bytes(value) for (value,) in cursor.fetchall()]
    return b"\n".join(found)


def assert_nowhere(club: Club, *plain: str) -> None:
    stored = everything_stored(club)
    for text in plain:
        assert text.encode() not in stored
        assert text.encode().hex().encode() not in stored


def test_only_ciphertext_is_recorded(club: Club, ledger: Ledger) -> None:
    """Neither the event nor the hash of the input says what was changed; with the key it can be read."""
    change = club.profile("a", "p1", name=NAME, mail=MAIL)
    assert statuses(ledger.handle(submissions([club.enrol("a"), change]))) == ["posted"] * 2
    assert_nowhere(club, NAME, MAIL)
    row = club.rows()[club.ordinal_of("a")][-1]
    assert row.command_hash != blake2b(encode(change), digest_size=16).digest(), "a guess could be checked"
    key = key_of(club, "a")
    assert key is not None
    (sealed,) = sealed_of(club, "a")
    assert unseal(key, club.name, "a", sealed) == {"name": NAME, "mail": MAIL}
    for wrong in ((new_key(), club.name, "a"), (key, club.name, "b"), (key, "another", "a")):
        with pytest.raises(Unsealable):
            unseal(*wrong, sealed)


def test_the_same_change_again_is_a_duplicate(club: Club, ledger: Ledger, other: Ledger) -> None:
    """Although each sealing has a nonce of its own; other data under the same key is a conflict."""
    change = club.profile("a", "p1", name=NAME)
    assert statuses(ledger.handle(submissions([club.enrol("a"), change, change]))) == ["posted", "posted", "duplicate"]
    for writer in (ledger, other):
        outcomes = writer.handle(submissions([change, club.profile("a", "p1", name="Bea")], with_body=False))
        assert statuses(outcomes) == ["duplicate", "IDEMPOTENCY_CONFLICT"]
    assert statuses(ledger.handle(submissions([club.profile("a", "p2", name=NAME)]))) == ["posted"]
    first, second = sealed_of(club, "a")
    assert first != second


def test_first_changes_of_one_member_at_once_share_one_key(club: Club, ledger: Ledger, other: Ledger) -> None:
    """Two writers that both find no key: what either sealed can be read."""
    ledger.handle(submissions([club.enrol("a")]))
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(writer.handle, submissions([club.profile("a", id, name=NAME)]))
            for id, writer in (("p1", ledger), ("p2", other))
        ]
        assert [statuses(future.result(PATIENCE_SECONDS)) for future in futures] == [["posted"], ["posted"]]
    key = key_of(club, "a")
    assert key is not None
    assert [unseal(key, club.name, "a", sealed) for sealed in sealed_of(club, "a")] == [{"name": NAME}] * 2


def test_a_refused_change_leaves_no_key(club: Club, ledger: Ledger) -> None:
    """A key without a member would be found by nobody who erases."""
    assert statuses(ledger.handle(submissions([club.profile("a", "p1", name=NAME)]))) == ["MEMBER_UNKNOWN"]
    assert key_of(club, "a") is None


def test_erasing_destroys_the_key_and_what_refused_messages_say(club: Club, ledger: Ledger) -> None:
    """The sealed data stays recorded and cannot be opened; bodies of refused messages of the member are gone, those of
    others stay.
    """
    refused = [club.profile("a", "p0", name=NAME), club.profile("b", "p0-b", name="Bea")]
    ledger.handle(submissions(refused))
    ledger.handle(submissions([club.enrol("a"), club.enrol("b"), club.profile("a", "p1", name=NAME)]))
    before = sealed_of(club, "a")
    assert statuses(ledger.handle(submissions([club.erase("a", "e")]))) == ["posted"]
    assert key_of(club, "a") is None
    assert sealed_of(club, "a") == before
    assert_nowhere(club, NAME)
    assert [(row[2], row[5] is None) for row in club.refused()] == [("p0", True), ("p0-b", False)]


def test_a_message_that_comes_again_after_the_erasure_is_not_kept(club: Club, ledger: Ledger, other: Ledger) -> None:
    """A change delivered once more, in the batch of the erasure or later, is refused without its personal data."""
    change, later = club.profile("a", "p1", name=NAME), club.profile("a", "p2", name=NAME, mail=MAIL)
    ledger.handle(submissions([club.enrol("a"), change]))
    batch = submissions([club.erase("a", "e"), later])
    assert statuses(ledger.handle(batch)) == ["posted", "MEMBER_ERASED"]
    for writer in (ledger, other):
        assert writer.handle(submissions([change]))[0].status == "rejected"
        assert statuses(writer.handle(submissions([later]))) == ["MEMBER_ERASED"]
    assert_nowhere(club, NAME, MAIL)
    assert key_of(club, "a") is None
    assert [(row[2], row[5]) for row in club.refused()] == [("p1", None), ("p2", None)]


def test_the_survivors_erasure_erases_whom_it_absorbed(club: Club, ledger: Ledger, other: Ledger) -> None:
    """Also those merged into the merged, whatever journals they are in; and a message about them is not kept."""
    names = [f"m{n}" for n in range(4)]
    ledger.handle(submissions([club.enrol(name) for name in names]))
    ledger.handle(submissions([club.profile(name, f"p-{name}", name=NAME) for name in names]))
    merges = [club.merge("m0", "m1", "a", 10), club.merge("m1", "m2", "b", 11), club.merge("m3", "m2", "c", 12)]
    assert statuses(other.handle(submissions(merges))) == ["posted"] * 3
    assert all(key_of(club, name) for name in names)
    late = club.profile("m0", "late", minutes=13, name=NAME)
    ledger.handle([Submission(late, encode(late))])
    assert statuses(ledger.handle(submissions([club.erase("m2", "e")]))) == ["posted"]
    assert [key_of(club, name) for name in names] == [None] * 4
    ledger.handle([Submission(late, encode(late)), Submission(late, encode(late) + b" ")])
    assert_nowhere(club, NAME)


def test_an_undone_merge_keeps_the_key_of_whom_it_gave_back(club: Club, ledger: Ledger) -> None:
    """Erasing the survivor of a merge that was undone concerns nobody else."""
    ledger.handle(submissions([club.enrol("m0"), club.enrol("m1"), club.profile("m0", "p", name=NAME)]))
    commands = [club.merge("m0", "m1", "merge"), club.undo("m0", "undo"), club.erase("m1", "e")]
    assert statuses(ledger.handle(submissions(commands))) == ["posted"] * 3
    assert key_of(club, "m0") is not None


def test_erasing_what_was_merged_leaves_the_survivor(club: Club, ledger: Ledger) -> None:
    """The merged member's key goes, the survivor's stays."""
    ledger.handle(submissions([club.enrol("m0"), club.enrol("m1")]))
    ledger.handle(submissions([club.profile(name, f"p-{name}", name=NAME) for name in ("m0", "m1")]))
    ledger.handle(submissions([club.merge("m0", "m1", "merge"), club.erase("m0", "e")]))
    assert key_of(club, "m0") is None
    assert key_of(club, "m1") is not None
