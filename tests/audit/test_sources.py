"""Completeness of sources: every line and offset accounted for, and what is missing named."""

from __future__ import annotations

import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.source_statements import Statement, compare, parse_statements
from audit.sources import Sources, read_sources
from consumers.files import ingest
from ledger.codec import encode
from ledger.commands import PurchaseLine, RecordPurchase, RecordReturn
from ledger.engine import Ledger
from ledger.rejections import Rejection
from ledger.store import sources
from ledger.store.database import Database, PgCursor, connect
from ledger.store.source_files import FileRun
from ledger.store.sources import Read
from ledger.submissions import Malformed, Place, Submission
from service.file_trace import trace_file
from tests.engine.clubs import Club, at

NAME = ("sales", 3)


@contextmanager
def reading(database: Database) -> Iterator[PgCursor]:
    connection = connect(database.dsn, "loyalty_reader")
    try:
        with connection.cursor() as cur:
            yield cur
    finally:
        connection.close()


def seen(database: Database) -> Sources:
    with reading(database) as cur:
        return read_sources(cur)


def stated(database: Database, **fields: Any) -> tuple[bool | None, list[str]]:
    statement = Statement(**fields)
    with reading(database) as cur:
        (finding,) = compare(cur, read_sources(cur), [statement])
    return finding.agrees, finding.words


def purchase(club: Club, member: str, id: str, amount: int, currency: str = "USD") -> RecordPurchase:
    return club.buy(member, id, currency=currency, lines=[PurchaseLine(sku="A1", quantity=1, amount_minor=amount)])


# --- files ----------------------------------------------------------------------------------------------------------


def line(club: Club, kind: str, member: str, amount: int) -> bytes:
    """A line of a kind: bad ones are refused, blank ones no messages."""
    if kind == "blank":
        return b"  "
    if kind == "not json":
        return b"{"
    return encode(purchase(club, member, f"p-{amount}", amount, "EUR" if kind == "currency" else "USD"))


KINDS = st.sampled_from(["good", "good", "good", "blank", "not json", "currency"])


@settings(max_examples=15)
@given(
    files=st.lists(st.lists(st.tuples(KINDS, st.integers(1, 9)), max_size=9), min_size=1, max_size=4),
    batch=st.integers(1, 7),
    ends=st.booleans(),
)
def test_every_line_of_a_file_is_accounted_for(
    database: Database, ledger: Ledger, tmp_path: Path, files: list[list[tuple[str, int]]], batch: int, ends: bool
) -> None:
    """However files are cut into batches; twice the same message in one file is a duplicate."""
    club = Club(database, 3).open(ledger)
    for member in ("m1", "m2"):
        ledger.handle([Submission(club.enrol(member))])
    recorded: set[int] = set()
    expected, paths = [], []
    for number, kinds in enumerate(files):
        content = b"\n".join(line(club, kind, f"m{amount % 2 + 1}", amount) for kind, amount in kinds)
        content += b"\n" if ends and kinds else b""
        path = tmp_path / f"{club.name}-{number}.jsonl"
        path.write_bytes(content)
        paths.append(str(path))
        counts: Counter = Counter()
        amounts: Counter = Counter()
        for kind, amount in kinds:
            if kind == "good":
                status = "duplicate" if amount in recorded else "posted"
                recorded.add(amount)
                amounts["USD", status] += amount
            else:
                status = {"blank": "blank", "not json": "NOT_JSON", "currency": "CURRENCY_MISMATCH"}[kind]
                if kind == "currency" and amount in recorded:
                    status = "IDEMPOTENCY_CONFLICT"
                if kind == "currency":
                    amounts["EUR", "rejected"] += amount
            counts[status] += 1
        expected.append((path.name, sha256(content).hexdigest(), counts, amounts))
    ingest(ledger, paths, batch_messages=batch, record=FileRun(database).record)
    shown = {each.file: each for each in seen(database).files}
    for name, digest, counts, amounts in expected:
        found = shown[name]
        assert (found.sha256, found.problems) == (digest, [])
        assert found.lines == counts.total() == found.blank + found.posted + found.duplicate + found.rejected
        assert (
            Counter(posted=found.posted, duplicate=found.duplicate, blank=found.blank) + Counter(found.codes) == counts
        )
        of_currencies = Counter(
            {(currency, status): getattr(each, status) for currency, each in found.amounts.items()
             for status in ("posted", "duplicate", "rejected")}
        )  # fmt: skip
        assert +of_currencies == +amounts


def test_a_run_that_breaks_off_is_named_until_the_file_is_taken_whole(
    database: Database, ledger: Ledger, tmp_path: Path
) -> None:
    club = Club(database, 1).open(ledger)
    path = tmp_path / "enrolments.jsonl"
    path.write_bytes(b"\n".join(encode(club.enrol(f"m{number}")) for number in range(9)))
    stopped = threading.Event()
    ingest(
        ledger, [str(path)], batch_messages=4, stopped=stopped, record=FileRun(database).record,
        on_batch=lambda *_: stopped.set(),
    )  # fmt: skip
    (broken,) = seen(database).files
    assert (broken.lines, broken.posted, broken.sha256) == (4, 4, "")
    assert broken.problems == ["not taken to its end: known to be taken are lines 1 to 4"]
    says = stated(database, source="enrolments.jsonl", first=1, last=9, count=9)
    assert says == (False, ["not taken to its end: known to be taken are lines 1 to 4"])
    for _ in range(2):
        ingest(ledger, [str(path)], batch_messages=4, record=FileRun(database).record)
    broken, whole, again = seen(database).files
    assert seen(database).problems == []
    assert broken.notes == ["broke off after line 4; a file of this name was taken whole later"]
    assert (whole.posted, whole.duplicate, whole.notes) == (5, 4, [])
    assert (again.posted, again.duplicate) == (0, 9)
    assert again.notes[0].startswith("the same bytes were taken before, as enrolments.jsonl on ")
    assert stated(database, source="enrolments.jsonl", first=1, last=9, count=9) == (
        True, ["count: 9 stated, 9 taken (0 posted, 9 duplicate, 0 rejected): agrees"],
    )  # fmt: skip


def test_every_line_is_found_again(database: Database, ledger: Ledger, tmp_path: Path) -> None:
    """In the log or among the refused, at the very events; a line that was put in afterwards is missing."""
    club = Club(database, 3).open(ledger)
    commands = [club.enrol("m1"), club.enrol("m2"), purchase(club, "m1", "p1", 700), club.redeem("m2", "r1", 5)]
    lines = [encode(command) for command in commands]
    conflict = encode(purchase(club, "m1", "p1", 701))
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"\n".join([*lines[:2], b"", *lines[2:], b"{", conflict, lines[0]]) + b"\n")
    ingest(ledger, [str(path)], batch_messages=2, record=FileRun(database).record)
    added = encode(purchase(club, "m2", "p9", 1))
    with reading(database) as cur, io.BytesIO(path.read_bytes() + added) as file:
        found = list(trace_file(cur, file, ""))
        assert [(each.became, each.code) for each in found] == [
            ("recorded", ""), ("recorded", ""), ("blank", ""), ("recorded", ""), ("refused", "INSUFFICIENT_POINTS"),
            ("refused", "NOT_JSON"), ("refused", "IDEMPOTENCY_CONFLICT"), ("recorded", ""), ("missing", ""),
        ]  # fmt: skip
        assert (found[-1].line, found[-1].id) == (9, "p9")
        bought = found[3]
        cur.execute(
            "SELECT topic FROM events WHERE journal = %s AND position BETWEEN %s AND %s ORDER BY position",
            (bought.journal, bought.first, bought.last),
        )
        assert [topic for (topic,) in cur.fetchall()] == ["purchase-recorded.v1", "points-accrued.v1"]


# --- partitions -----------------------------------------------------------------------------------------------------


def take(
    ledger: Ledger, database: Database, commands: list[Any], first: int, *, gap: int = 0, read: bool = True
) -> None:
    """Take commands of a partition under a new claim, as a consumer does; `gap` offsets before them are no messages."""
    with database.connection() as cur:
        epoch = sources.claim(cur, *NAME, owner="test", begin_offset=first).epoch
        places = [Place(*NAME, offset) for offset in range(first + gap, first + gap + len(commands))]
        batch = [
            Submission(command, b"{}" if isinstance(command, Malformed) else encode(command), "", place)
            for command, place in zip(commands, places, strict=True)
        ]
        ledger.handle(batch, claims={NAME: epoch})
        if read:
            end = first + gap + len(commands)
            done = Read(
                topic=NAME[0],
                partition=NAME[1],
                epoch=epoch,
                first_offset=first,
                next_offset=end,
                messages=len(commands),
            )
            sources.complete(cur, [done])


@pytest.fixture
def club(database: Database, ledger: Ledger) -> Club:
    """A club with offsets 0 to 3 taken (two purchases, one of them twice, and no JSON), then 4 to 6: no message,
    a return, an enrolment.
    """
    club = Club(database, 2).open(ledger)
    for member in ("m1", "m2"):
        ledger.handle([Submission(club.enrol(member))])
    bad = Malformed(rejection=Rejection("NOT_JSON", "message", "must be JSON"), programme=club.name)
    first = purchase(club, "m1", "p1", 700)
    take(ledger, database, [first, purchase(club, "m2", "p2", 500), first, bad], 0)
    back = RecordReturn(
        id="r1", source="pos", programme=club.name, member="m1", occurred_at=at(2), currency="USD", purchase="p1",
        amount_minor=100,
    )  # fmt: skip
    take(ledger, database, [back, club.enrol("m3")], 4, gap=1)
    return club


def test_every_offset_is_accounted_for(database: Database, club: Club) -> None:
    (found,) = seen(database).partitions
    assert (found.first, found.last, found.messages) == (0, 6, 6)
    assert (found.posted, found.duplicate, found.rejected, found.codes) == (4, 1, 1, {"NOT_JSON": 1})
    assert (found.gaps, found.overlaps, found.problems, found.notes) == ([], [], [], [])
    amounts = found.amounts["USD"]
    assert (amounts.posted, amounts.duplicate, amounts.rejected) == (1_100, 700, 0)


@pytest.mark.parametrize(
    ("statement", "agrees", "words"),
    [
        ((0, 6, 6, 1_800), True, [
            "count: 6 stated, 6 taken (4 posted, 1 duplicate, 1 rejected): agrees",
            "amount in USD: 1,800 stated, 1,800 taken (1,100 posted, 700 duplicate, 0 rejected): agrees",
        ]),
        ((0, 3, 4, 1_950), False, [
            "count: 4 stated, 4 taken (2 posted, 1 duplicate, 1 rejected): agrees",
            "amount in USD: 1,950 stated, 1,900 taken (1,200 posted, 700 duplicate, 0 rejected): 50 less than stated",
        ]),
        ((1, 3, 3, None), True, ["count: 3 stated, 3 taken (2 recorded, 1 rejected): agrees"]),
        ((0, 2, 3, 1_900), None, [
            "count: 3 stated, 3 taken (3 recorded, 0 rejected): agrees",
            "amount: not comparable, for amounts are counted by what was read in one go: offsets 0 to 3",
        ]),
        ((5, 8, 3, None), False, [
            "offsets 7 to 8 were not taken",
            "count: not comparable, for not every offset is a message, and they were read together with others",
        ]),
    ],
)  # fmt: skip
def test_a_statement_of_a_partition(
    database: Database, club: Club, statement: tuple[int, int, int, int | None], agrees: bool | None, words: list[str]
) -> None:
    first, last, count, amount = statement
    fields = {"amount_minor": amount, "currency": "USD"} if amount is not None else {}
    assert stated(database, source=NAME[0], partition=NAME[1], first=first, last=last, count=count, **fields) == (
        agrees,
        words,
    )


def test_what_is_missing_or_taken_twice_is_named(database: Database, ledger: Ledger, club: Club) -> None:
    with database.connection() as cur:
        cur.execute("UPDATE source_reads SET next_offset = 3, messages = 3 WHERE first_offset = 0")
    assert seen(database).problems == ["sales-3: offsets 3 to 3 were not taken: nobody read them"]
    with database.connection() as cur:
        cur.execute("UPDATE source_reads SET next_offset = 6, messages = 6 WHERE first_offset = 0")
    assert seen(database).problems == [
        "sales-3: offsets 4 to 5 were read twice",
        "sales-3: of 8 messages read only 6 are counted as posted, duplicate or rejected",
    ]
    with database.connection() as cur:
        cur.execute("UPDATE source_reads SET next_offset = 4, messages = 4 WHERE first_offset = 0")
        cur.execute("DELETE FROM rejected")
    assert seen(database).problems == ["sales-3: 1 messages were rejected, and 0 are kept with a code"]


def test_a_gap_that_was_given_up_is_named_and_no_problem(database: Database, ledger: Ledger, club: Club) -> None:
    with database.connection() as cur:
        held = sources.claim(cur, *NAME, owner="test", begin_offset=0)
        sources.stop_partition(cur, held, "offsets 7 to 9 are gone", lost_from=7, lost_to=10)
    assert "sales-3: it is stopped: offsets 7 to 9 are gone" in seen(database).problems
    with database.transaction() as cur:
        sources.accept_gap(cur, *NAME)
    take(ledger, database, [club.enrol("m9")], 10)
    (found,) = seen(database).partitions
    assert found.problems == []
    ((first, last, words),) = [(each.first, each.last, each.words) for each in found.gaps]
    assert (first, last) == (7, 9)
    assert words.startswith("offsets 7 to 9 are gone; given up by an operator on ")


def test_a_read_under_way_is_a_note(database: Database, ledger: Ledger, club: Club) -> None:
    take(ledger, database, [club.enrol("m9")], 7, read=False)
    (found,) = seen(database).partitions
    assert found.problems == []
    assert found.notes[0].startswith("1 messages more are taken than were read to the end")


# --- statements -----------------------------------------------------------------------------------------------------


def test_statements_in_json_and_csv_are_the_same() -> None:
    fields = {"source": "a.jsonl", "first": 1, "last": 3, "count": 2, "amount_minor": -5, "currency": "CNY"}
    header = "source,partition,first,last,count,amount_minor,currency\n"
    wanted = [Statement(**fields)]
    assert parse_statements(json.dumps(fields)) == wanted
    assert parse_statements(json.dumps([fields])) == wanted
    assert parse_statements(header + "a.jsonl,,1,3,2,-5,CNY\n") == wanted
    assert parse_statements(header + "t,7,1,3,2,,\n") == [Statement(source="t", partition=7, first=1, last=3, count=2)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "no statement in the file"),
        ("[", "statement: "),
        ('{"source":"a","first":1,"last":3}', "statement 1: Object missing required field `count`"),
        ("source,first,last,count\na,1,3,x\n", "statement 1: Expected `int`, got `str` - at `$.count`"),
        ("source,first,last,count,colour\na,1,3,3,red\n", "statement 1: Object contains unknown field `colour`"),
        ("source,first,last,count\na,1,3,3\na,3,1,3\n", "statement 2: last: must not be before first"),
        ("source,first,last,count,amount_minor\na,1,3,3,5\n", "statement 1: amount_minor and currency"),
    ],
)
def test_statements_that_are_none(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        parse_statements(text)
