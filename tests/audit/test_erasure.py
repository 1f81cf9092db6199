"""Erasure: what was personal of a member is planted by every way in, and after `erase` it can be read nowhere."""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from eventsourcing.persistence import PersistenceError
from msgspec.structs import replace

from audit.checkpoints import sign_heads
from audit.export import export
from audit.export_check import check_export
from audit.notes import SigningKey
from audit.proofs import prove_event
from audit.verify import verify
from audit.verify_proof import check_proof
from consumers import dead_letters
from consumers.inbound import decode
from consumers.relayed_events import EventLayout, read_events
from ledger.codec import decode as decode_event
from ledger.engine import Ledger
from ledger.events import MemberProfileChanged, SurveyAnswered
from ledger.member import freeze
from ledger.rejections import Rejection
from ledger.sealing import Unsealable, new_key, unseal
from ledger.store.database import Database, PgCursor, connect
from ledger.submissions import Malformed, Outcome, Place, Submission
from projections.rebuild import rebuild, table_digests
from service.read_models import catch_up, read_models
from tests.audit.ledgers import AT, build
from tests.conftest import create_database, drop_database

ERASED, ABSORBED, STAYS = "M0003", "M0004", "M0005"
NAME, MAIL, PHONE, WORDS = (
    "Zoë Wyvernholt-Quist",
    "zoe@wyvernholt.example",
    "+49 30 555 0142 77",
    "ring my sister Fenna",
)
NEEDLES = ("Wyvernholt", "zoe@wyvernholt.example", "555 0142 77", "my sister Fenna")
"""What is searched for: no other text in the ledger has any of it."""
OTHER = "Ada Lovelace-Byron"
KEY = SigningKey.generate("loyalty.example")
PROGRAMME = "grocery"


def message(type_: str, id: str, member: str, days: float = 1, **fields: Any) -> bytes:
    """A message as it comes on a wire."""
    at = (AT + timedelta(days=days)).isoformat()
    said = {"type": type_, "id": id, "source": "test", "programme": PROGRAMME, "member": member, "occurred_at": at}
    return json.dumps(said | fields).encode()


PERSONAL = {"name": NAME, "mail": MAIL, "phone": PHONE}
SURVEY = {"instrument": "NPS", "scale": [0, 10]}
ACCEPTED = [
    message("profile.v1", "profile-1", ERASED, personal=PERSONAL),
    message("profile.v1", "profile-2", ERASED, 2, personal={"phone": PHONE}),
    message("profile.v1", "profile-old", ABSORBED, personal=PERSONAL),
    message("survey.v1", "survey-1", ERASED, 3, answers={"recommend": 9, "why": f"{NAME}: {WORDS}"}, **SURVEY),
    message("profile.v1", "profile-other", STAYS, personal={"name": OTHER}),
]
UNREADABLE = [
    message("profile.v1", "r-cut", ERASED, personal=PERSONAL)[:-9],
    message("profile.v1", "r-latin", ERASED).decode().replace("1", NAME, 1).encode("latin-1"),
    json.dumps({"type": "profile.v1", "membr": ERASED, "personal": PERSONAL}).encode(),
]
"""Of which it cannot be told whose they are."""
REFUSED = [
    message("profile.v1", "r-late", ERASED, 10_000, personal=PERSONAL),
    message("profile.v1", "profile-1", ERASED, personal=PERSONAL | {"name": f"{NAME} junior"}),
    message("profile.v1", "r-type", ERASED, personal={"name": [NAME]}),
    message("profile.v1", "r-field", ERASED, personal={NAME: 5}),
    message("profile.v1", "r-unknown", ERASED, mail=MAIL),
    message("enrolment.v1", "r-enrol", ERASED, personal=PERSONAL),
    message("survey.v1", "r-scale", ERASED, answers={"recommend": 99, "why": WORDS}, **SURVEY),
    message("survey.v1", "survey-1", ERASED, 3, answers={"recommend": 9, "why": f"{WORDS}, {PHONE}"}, **SURVEY),
    message("profile.v1", "r-old", ABSORBED, 10_000, personal=PERSONAL),
    message("profile.v1", "r-elsewhere", ERASED, personal=PERSONAL).replace(b'"grocery"', b'"grocerry"'),
]
OF_OTHERS = [
    message("profile.v1", "r-other", STAYS, 10_000, personal={"name": OTHER}),
    message("profile.v1", "r-cut-other", STAYS, personal={"name": OTHER})[:-9],
]


class Erased(NamedTuple):
    """What there is once the member was erased."""

    dsn: str
    database: Database
    ledgers: Sequence[Ledger]
    keys: Sequence[bytes]
    """The keys of the erased members."""
    proofs: Sequence[dict[str, Any]]
    """Of their sealed events, from before."""
    found_before: set[str]
    """Where something was found before."""
    log: str
    errors: Sequence[str]
    folder: Path
    """An export from before, brought up to date after."""


def submissions(bodies: Sequence[bytes], first_offset: int | None = None) -> list[Submission]:
    """Messages as they come from a file, or out of Kafka with a key and headers of their own."""
    headers = (("ce_note", NAME.encode()), (MAIL.encode(), None))
    return [
        Submission(
            decode(body, programme=PROGRAMME),
            body,
            f"line:{number}",
            None if first_offset is None else Place("in", 0, first_offset + number, 1, PHONE.encode(), headers),
        )
        for number, body in enumerate(bodies)
    ]


def defective(body: bytes) -> Submission:
    """A message that the ledger failed on, with words of its own for it."""
    rejection = Rejection("UNPROCESSABLE", "message", f"ValueError: {NAME} <{MAIL}>")
    return Submission(Malformed(rejection=rejection, programme=PROGRAMME), body, "line:0")


@pytest.fixture(scope="module")
def erased(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    name = f"loyalty_test_{os.getpid()}_erasure"
    dsn = create_database(server_dsn, name, template=template_database)
    database = Database(dsn)
    ledger, other = Ledger(database), Ledger(database)
    logged, handler = [], logging.Handler(logging.DEBUG)
    handler.emit = lambda record: logged.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    build(ledger)
    assert statuses(ledger.handle(submissions(ACCEPTED))) == ["posted"] * len(ACCEPTED)
    merge = message("merge.v1", "merge", ABSORBED, 40, into=ERASED)
    assert statuses(other.handle(submissions([merge]))) == ["posted"]
    for refused in (
        submissions([*REFUSED, *UNREADABLE, *OF_OTHERS]),
        submissions([*REFUSED, *UNREADABLE], first_offset=100),
        [replace(one, place=Place("in", 1, number)) for number, one in enumerate(submissions(OF_OTHERS))],
    ):
        assert set(statuses(other.handle(refused))) == {"rejected"}
    ledger.handle([defective(message("profile.v1", "r-defect", ERASED, personal=PERSONAL))])
    errors = [failure(dsn, ledger, submissions(REFUSED, first_offset=500))]
    sign_heads(database, KEY)
    catch_up(database)
    folder = tmp_path_factory.mktemp("export") / "export"
    export(dsn, folder)
    with closing(connect(dsn)) as connection, connection.cursor() as cur:
        cur.execute("UPDATE rejected SET relayed_at = clock_timestamp() WHERE rejected_id % 2 = 0 AND topic = 'in'")
        cur.execute("ANALYZE")
        cur.execute("SELECT key FROM member_keys JOIN journals USING (journal) WHERE name = %s AND member IN %s",
                    (PROGRAMME, (ERASED, ABSORBED)))  # fmt: skip
        keys = [bytes(key) for (key,) in cur.fetchall()]
        assert len(keys) == 2
        found_before = {where for where, _ in everything(cur, NEEDLES)}
        proofs = [prove_event(cur, journal, position) for journal, position, _ in sealed_events(cur)]
    erasure = message("erasure.v1", "erasure", ERASED, 50)
    assert statuses(ledger.handle(submissions([erasure]))) == ["posted"]
    again = [*ACCEPTED[:4], *REFUSED]
    for writer, offset in ((ledger, None), (other, None), (other, 900)):
        assert set(statuses(writer.handle(submissions(again, offset)))) == {"rejected"}
    catch_up(database)
    with closing(connect(dsn)) as connection:
        connection.cursor().execute("ANALYZE")
    root.removeHandler(handler)
    root.setLevel(level)
    yield Erased(dsn, database, [ledger, other], keys, proofs, found_before, "\n".join(logged), errors, folder)
    for writer in (ledger, other):
        writer.close()
    database.close()
    drop_database(server_dsn, name)


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def failure(dsn: str, ledger: Ledger, refused: list[Submission]) -> str:
    """What is said where the database refuses to keep refused messages: its own words quote the rows."""
    with closing(connect(dsn)) as connection, connection.cursor() as cur:
        cur.execute("ALTER TABLE rejected ADD CONSTRAINT none CHECK (false) NOT VALID")
        with pytest.raises(PersistenceError) as error:
            ledger.handle(refused)
        assert holds(str(error.value.__cause__).encode(), NEEDLES), "else this proves nothing"
        cur.execute("ALTER TABLE rejected DROP CONSTRAINT none")
    return str(error.value)


def sealed_events(cur: PgCursor) -> list[tuple[int, int, MemberProfileChanged | SurveyAnswered]]:
    """Journal, position and event of what was sealed of the members who are erased."""
    cur.execute(
        "SELECT journal, position, topic, state FROM events WHERE originator_id IN %s AND topic IN %s ORDER BY 1, 2",
        ((f"member-{ERASED}", f"member-{ABSORBED}"), (MemberProfileChanged.topic, SurveyAnswered.topic)),
    )
    events = [(journal, position, decode_event(topic, bytes(state))) for journal, position, topic, state in cur]
    return [
        (journal, position, event)
        for journal, position, event in events
        if isinstance(event, MemberProfileChanged | SurveyAnswered) and event.programme == PROGRAMME
    ]


# --- searching -------------------------------------------------------------------------------------------------------


@cache
def spellings(needle: str | bytes) -> set[bytes]:
    """A text as it may stand in a column, a file or a dump: itself, in hexadecimal, in base64 at each offset."""
    plain = needle.encode() if isinstance(needle, str) else needle
    encoded = {base64.b64encode(bytes(shift) + plain)[shift + 2 : -4] for shift in range(3)}
    return {spelt.lower() for spelt in (plain, plain.hex().encode(), *encoded)}


def holds(data: bytes, needles: Sequence[str | bytes]) -> list[str | bytes]:
    """The needles that are in some bytes, in small letters or large."""
    lower = data.lower()
    return [needle for needle in needles if any(spelt in lower for spelt in spellings(needle))]


def everything(cur: PgCursor, needles: Sequence[str | bytes]) -> list[tuple[str, str | bytes]]:
    """Where in the database a needle is: every column of every table and view but the server's own, as text and, if it
    is bytes, as bytes; and what the server keeps of their values to plan by.
    """
    cur.execute(
        "SELECT table_schema, table_name, column_name, data_type = 'bytea' FROM information_schema.columns"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        " UNION ALL SELECT 'pg_catalog', 'pg_stats', column_name, false FROM information_schema.columns"
        " WHERE table_schema = 'pg_catalog' AND table_name = 'pg_stats'"
    )
    found = []
    for schema, table, column, is_bytes in cur.fetchall():
        cur.execute(f'SELECT "{column}"{"" if is_bytes else "::text"} FROM "{schema}"."{table}"')
        for (value,) in cur:
            data = b"" if value is None else bytes(value) if is_bytes else value.encode()
            found += [(f"{table}.{column}", needle) for needle in holds(data, needles)]
    return found


def test_what_was_planted_is_found_where_it_was(erased: Erased) -> None:
    """Before the erasure the search finds it in every column that may have it, and in no other."""
    assert erased.found_before == {
        f"rejected.{name}" for name in ("body", "field", "headers", "key", "reason", "value")
    }


def test_nothing_is_left_in_any_table(erased: Erased) -> None:
    """Nor of the keys; what is of others stays."""
    with closing(connect(erased.dsn)) as connection, connection.cursor() as cur:
        assert everything(cur, [*NEEDLES, *erased.keys]) == []
        cur.execute(
            "SELECT count(*) FROM rejected WHERE member IN %s AND programme = %s", ((ERASED, ABSORBED), PROGRAMME)
        )
        assert cur.fetchone() >= (len(REFUSED),), "that they were refused is still known"
        assert {where for where, _ in everything(cur, [OTHER])} == {"rejected.body"}
        cur.execute("SELECT count(*) FROM member_keys WHERE member = %s AND length(key) = 32", (STAYS,))
        assert cur.fetchone() == (2,)


def test_messages_that_come_again_are_counted_once(erased: Erased) -> None:
    """Kept without what they say, they are told apart by their identity."""
    with closing(connect(erased.dsn)) as connection, connection.cursor() as cur:
        cur.execute(
            "SELECT attempts, count(*) FROM rejected WHERE message_id = 'r-late' AND topic IS NULL"
            " GROUP BY attempts ORDER BY attempts"
        )
        assert cur.fetchall() == [(1, 1), (2, 1)]


def test_no_dead_letter_is_published(erased: Erased) -> None:
    """Those of others wait to be published; those of the erased do not."""
    with erased.database.connection() as cur:
        cur.execute(dead_letters._SELECT, ([], 10_000, 1 << 30))
        letters = [dead_letters._letter(row) for row in cur.fetchall()]
    assert letters
    assert dead_letters.waiting(erased.database) == len(letters)
    assert {letter.value for letter in letters} <= set(OF_OTHERS)


def test_a_backup_taken_later_has_nothing(erased: Erased) -> None:
    with closing(connect(erased.dsn)) as connection, connection.cursor() as cur:
        cur.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        ((folder,),) = cur.fetchall()
    program = shutil.which("pg_dump", path=folder)
    if program is None:
        pytest.skip("the server's pg_dump is not on this machine")
    dumped = subprocess.run([program, "--dbname", erased.dsn], check=True, capture_output=True).stdout
    assert b"COPY loyalty.member_keys" in dumped
    assert holds(dumped, [*NEEDLES, *erased.keys]) == []


def test_no_file_of_an_export_has_anything(erased: Erased) -> None:
    """Neither that from before the erasure, brought up to date, nor a new one: files as they are, and every column."""
    fresh = erased.folder.with_name("fresh")
    for folder in (erased.folder, fresh):
        export(erased.dsn, folder)
        check_export(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        segments = [path for path in files if path.suffix == ".parquet"]
        assert len(segments) == 3
        for path in files:
            assert holds(path.read_bytes(), [*NEEDLES, *erased.keys]) == []
        for path in segments:
            rows = json.dumps(pq.read_table(path).to_pylist(), default=lambda value: getattr(value, "hex", str)())
            assert "member-profile-changed.v1" in rows
            assert holds(rows.encode(), [*NEEDLES, *erased.keys]) == []


def test_the_events_topic_is_given_only_what_is_sealed(erased: Erased) -> None:
    """Before the erasure as after it: the log is what is relayed."""
    with erased.database.connection() as cur:
        events = {
            journal: (PROGRAMME, read_events(cur, journal, after=0, limit=10_000, bytes_max=1 << 30))
            for journal in (2, 3)
        }
    batches = [batch for batches in EventLayout("events", 2).lay_out(events, {}).values() for batch in batches]
    published = b"".join(batch.body() for batch in batches)
    assert b"member-profile-changed.v1" in published
    assert holds(published, [*NEEDLES, *erased.keys]) == []


def test_no_log_has_anything(erased: Erased) -> None:
    """Ours with everything that is ever logged, the words of errors, and the server's own log."""
    assert holds(erased.log.encode(), [*NEEDLES, *erased.keys]) == []
    assert erased.errors
    assert holds("\n".join(erased.errors).encode(), [*NEEDLES, *erased.keys]) == []
    with closing(connect(erased.dsn)) as connection, connection.cursor() as cur:
        cur.execute("SHOW data_directory")
        ((directory,),) = cur.fetchall()
    log = Path(directory) / "log"
    if log.exists():
        text = log.read_bytes()
        assert b'violates check constraint "none"' in text
        assert holds(text, [*NEEDLES, *erased.keys]) == []


def test_no_writer_remembers_anything(erased: Erased) -> None:
    """Both had the member's state in their cache, and one the key at hand."""
    for ledger in erased.ledgers:
        members = [member for cache in ledger._caches.values() for member in cache.members.values()]
        assert ERASED in {member.member for member in members}
        for member in members:
            assert holds(freeze(member), [*NEEDLES, *erased.keys]) == []
        assert holds(repr(vars(ledger)).encode(), [*NEEDLES, *erased.keys]) == []


def test_what_is_sealed_stays_and_cannot_be_read(erased: Erased) -> None:
    """The keys from before show that it is there; without them, nothing reads it."""
    with erased.database.connection() as cur:
        events = sealed_events(cur)
    assert [len(event.sealed) > 28 for _, _, event in events] == [True] * len(events) == [True] * 6
    opened = []
    for _, _, event in events:
        with pytest.raises(Unsealable):
            unseal(new_key(), PROGRAMME, event.member, event.sealed)
        for key in erased.keys:
            try:
                opened.append(unseal(key, PROGRAMME, event.member, event.sealed))
            except Unsealable:
                continue
    assert PERSONAL in opened
    assert {"why": f"{NAME}: {WORDS}"} in opened
    assert [event.answers for _, _, event in events if isinstance(event, SurveyAnswered)] == [{"recommend": 9}]


def test_the_ledger_stays_good_and_proven(erased: Erased) -> None:
    """Hashes, checkpoints, proofs from before and read models rebuilt from the log."""
    assert verify(erased.dsn, keys=[KEY.verifier_key]).problems == []
    assert len(erased.proofs) == 6
    for proof in erased.proofs:
        check_proof(proof, [KEY.verifier_key])
    assert {one.refusal for one in sign_heads(erased.database, KEY)} == {None}
    with erased.database.connection() as cur:
        for journal, position, _ in sealed_events(cur):
            check_proof(prove_event(cur, journal, position), [KEY.verifier_key])
        live = table_digests(cur, read_models())
    rebuild(erased.dsn, read_models())
    with erased.database.connection() as cur:
        assert table_digests(cur, read_models()) == live


def test_vacuum_rewrites_the_files_of_the_tables(erased: Erased) -> None:
    """Until then the rows that were deleted are still in the server's files."""
    with closing(connect(erased.dsn)) as connection, connection.cursor() as cur:
        cur.execute("VACUUM FULL member_keys")
        cur.execute("VACUUM FULL rejected")
        for table in ("member_keys", "rejected"):
            cur.execute(
                "SELECT pg_read_binary_file(pg_relation_filepath(oid)),"
                " pg_read_binary_file(pg_relation_filepath(reltoastrelid)) FROM pg_class WHERE oid = %s::regclass",
                (table,),
            )
            for file in cur.fetchone() or ():
                assert holds(bytes(file or b""), [*NEEDLES, *erased.keys]) == []
