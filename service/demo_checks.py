"""What must hold when the demo has run: the log against the data, balances against the log, a rebuild against both.

What was recorded is summed from the events as they stand in the log, with types of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from ledger.codec import decode
from ledger.postings import postings
from ledger.store.database import Database
from ledger.store.journal import find_journals, read_light
from service.journey import PROGRAMME, Totals
from service.read_models import read_models

EVENTS_AT_ONCE = 5_000
PURCHASE_TOPIC = "purchase-recorded.v1"
BALANCE_ACCOUNTS = ("open", "held", "arrears")


class _Line(Struct):
    amount_minor: int


class _Purchase(Struct):
    member: str
    lines: list[_Line]


def recorded_totals(database: Database) -> Totals:
    """What the purchases in the log add up to."""
    decode_purchase = msgspec.json.Decoder(_Purchase).decode
    members: set[str] = set()
    baskets = lines = amount_minor = 0
    for _, state in stored(database, (PURCHASE_TOPIC,)):
        purchase = decode_purchase(state)
        members.add(purchase.member)
        baskets += 1
        lines += len(purchase.lines)
        amount_minor += sum(line.amount_minor for line in purchase.lines)
    return Totals(members=len(members), baskets=baskets, lines=lines, amount_minor=amount_minor)


def trial_balance(database: Database) -> Counter[str]:
    """Account → points, from the postings of every event in the log that moves points."""
    accounts: Counter[str] = Counter()
    topics = tuple(event_counts(database).keys() - {PURCHASE_TOPIC})  # the bulk of the log, and no points in it
    for topic, state in stored(database, topics):
        for account, points in postings(decode(topic, state)):
            accounts[account] += points
    return accounts


def event_counts(database: Database) -> Counter[str]:
    """Topic → events in the log."""
    with database.connection() as cur:
        cur.execute("SELECT topic, count(*) FROM events GROUP BY topic")
        return Counter(dict(cur.fetchall()))


def stored(database: Database, topics: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Topic and content of the events of some topics, in each journal in order."""
    with database.connection() as cur:
        for journal in find_journals(cur, "programme", PROGRAMME):
            after = 0
            while rows := read_light(cur, journal, after=after, limit=EVENTS_AT_ONCE, topics=topics):
                after = rows[-1][0]
                yield from ((row[3], row[4]) for row in rows)


def balances_by_account(database: Database) -> dict[str, int]:
    """The accounts of members as the balances projection has them: what is owed is negative."""
    with database.connection() as cur:
        cur.execute("SELECT sum(open)::bigint, sum(held)::bigint, -sum(arrears)::bigint FROM balances")
        return dict(zip(BALANCE_ACCOUNTS, cur.fetchone() or (0, 0, 0), strict=True))


def fingerprints(database: Database) -> dict[str, tuple[int, str]]:
    """Table of a read model → its rows, and a sum over the hashes of all of them, whatever their order."""
    found = {}
    with database.connection() as cur:
        for table in (table for model in read_models() for table in model.tables):
            cur.execute(f"SELECT count(*), sum(hashtextextended(t::text, 0))::text FROM {table} t")
            found[table] = cur.fetchone() or (0, "")
    return found
