"""Two small programmes in one database, and a superuser who tampers with it past the triggers."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger.commands import (
    AccruePoints,
    AnyCommand,
    ChangeProfile,
    CreateProgramme,
    DefineObjective,
    DefineSurvey,
    EnrolMember,
    MeasureObjective,
    PublishTerms,
    PurchaseLine,
    RecordPurchase,
    RedeemPoints,
    TransferPoints,
)
from ledger.engine import Ledger, Submission
from ledger.hashing import Frontier, canonical_bytes, leaf_hash
from ledger.store.database import PgCursor

TERMS = Path(__file__).parent.parent.parent / "examples" / "terms"
AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
COLUMNS = "journal, position, originator_id, originator_version, topic"
PROGRAMMES = {"coffee": ("CNY", "Asia/Shanghai", 1), "grocery": ("USD", "America/New_York", 2)}
"""Name of the programme and of its terms → currency, time zone, number of journals: 1, and 2 and 3."""


def build(ledger: Ledger) -> None:
    """Members with purchases, redemptions, a transfer and personal data; what steers the programme; fewer than 64
    events a journal.
    """
    for programme, (currency, time_zone, journals) in PROGRAMMES.items():
        named: dict[str, Any] = {"source": "test", "programme": programme}
        commands: list[AnyCommand] = [
            CreateProgramme(
                id="create", occurred_at=AT, currency=currency, time_zone=time_zone, journals=journals, **named
            ),
            PublishTerms(id="terms-1", occurred_at=AT, document=terms(programme, "First"), **named),
            PublishTerms(id="terms-2", occurred_at=AT, document=terms(programme, "Second"), **named),
        ]
        for number in range(8):
            commands += history(f"M{number:04d}", currency, named)
        commands.append(
            TransferPoints(id="t", occurred_at=AT + timedelta(days=40), member="M0001", to="M0002", points=50, **named)
        )
        handle(ledger, [*commands, *steering(named)])


def steering(named: dict[str, Any]) -> list[AnyCommand]:
    """A survey defined twice, and an objective that is missed."""
    return [
        survey("survey-1", ["overall"], named),
        survey("survey-2", ["overall", "expected"], named),
        DefineObjective(
            id="objective", occurred_at=AT, objective="answer-time", comparator="<=", target="10", unit="s",
            direction="down", period="day", owner="lee", **named,
        ),
        MeasureObjective(
            id="measured", occurred_at=AT, objective="answer-time", period_on=date(2026, 1, 4), value="12", **named
        ),
    ]  # fmt: skip


def survey(id: str, questions: list[str], named: dict[str, Any]) -> DefineSurvey:
    """The definition of the survey `delivery`."""
    return DefineSurvey(
        id=id, occurred_at=AT, survey="delivery", instrument="ACSI", scale=(1, 10), questions=questions, **named
    )


def terms(programme: str, name: str) -> dict[str, Any]:
    """The shipped terms of a programme under another name."""
    return {**json.loads((TERMS / f"{programme}.json").read_text()), "name": name}


def history(member: str, currency: str, named: dict[str, Any]) -> list[AnyCommand]:
    """The commands of one member's life so far."""
    later = AT + timedelta(days=30)
    return [
        EnrolMember(id=f"enrol-{member}", occurred_at=AT, member=member, **named),
        ChangeProfile(
            id=f"profile-{member}", occurred_at=AT, member=member, personal={"name": f"Name of {member}"}, **named
        ),
        purchase(f"order-{member}", member, currency, named),
        AccruePoints(id=f"gift-{member}", occurred_at=AT, member=member, points=1_000, reason="welcome", **named),
        RedeemPoints(id=f"redeem-{member}", occurred_at=later, member=member, points=500, **named),
    ]


def purchase(id: str, member: str, currency: str, named: dict[str, Any]) -> RecordPurchase:
    """A purchase of one line that earns."""
    line = PurchaseLine(sku="A1", quantity=2, amount_minor=12_850, category="coffee")
    return RecordPurchase(id=id, occurred_at=AT, member=member, currency=currency, lines=[line], store="S-1", **named)


def handle(ledger: Ledger, commands: list[AnyCommand]) -> None:
    """Handle commands, all of which must be posted."""
    outcomes = ledger.handle([Submission(command) for command in commands])
    assert {outcome.status for outcome in outcomes} == {"posted"}, outcomes


class Superuser:
    """Whoever owns the server. Nothing stops it: the triggers are disabled, and `restore` undoes what it did."""

    TABLES = ("events", "journals", "programmes", "terms", "surveys")
    """A referenced table before the one that refers to it."""

    def __init__(self, cur: PgCursor) -> None:
        self.cur = cur
        cur.execute("SET synchronous_commit = off")
        cur.execute("CREATE SCHEMA untouched")
        for table in self.TABLES:
            cur.execute(f"CREATE TABLE untouched.{table} AS TABLE loyalty.{table}")
            cur.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")

    def restore(self) -> None:
        """Make all tables what they were."""
        self.cur.execute("".join(f"DELETE FROM {table}; " for table in reversed(self.TABLES)))
        self.cur.execute("".join(f"INSERT INTO {table} SELECT * FROM untouched.{table}; " for table in self.TABLES))

    def execute(self, statement: str, *values: object) -> None:
        """Run a statement that changes something."""
        self.cur.execute(statement, values or None)
        assert self.cur.rowcount > 0, statement

    def value(self, statement: str, *values: object) -> Any:
        """The one value that a query gives."""
        self.cur.execute(statement, values or None)
        ((value,),) = self.cur.fetchall()
        return bytes(value) if isinstance(value, memoryview) else value

    def head(self, journal: int) -> int:
        """The position of a journal's head."""
        return int(self.value("SELECT position FROM journals WHERE journal = %s", journal))

    def frontier(self, journal: int) -> Frontier:
        """The frontier over the leaf hashes that a journal's rows now have."""
        self.cur.execute("SELECT leaf_hash FROM events WHERE journal = %s ORDER BY position", (journal,))
        frontier = Frontier()
        frontier.append_all([bytes(leaf) for (leaf,) in self.cur.fetchall()])
        return frontier

    def rehash(self, journal: int, position: int) -> None:
        """Give a row the leaf hash of what it now holds."""
        self.cur.execute(
            f"SELECT {COLUMNS}, (extract(epoch FROM recorded_at) * 1000000)::bigint, uuid_send(command_key),"
            " uuid_send(command_hash), command_events, state FROM events WHERE journal = %s AND position = %s",
            (journal, position),
        )
        ((_, _, stream, version, topic, time, key, digest, count, state),) = self.cur.fetchall()
        data = canonical_bytes(
            journal, position, stream, version, topic, time, key and bytes(key), digest and bytes(digest), count,
            bytes(state),
        )  # fmt: skip
        self.execute(
            "UPDATE events SET leaf_hash = %s WHERE journal = %s AND position = %s", leaf_hash(data), journal, position
        )

    def recommit(self, journal: int) -> None:
        """Give every row its leaf hash and the head what follows from them: a forger who thought of everything."""
        self.cur.execute("SELECT position FROM events WHERE journal = %s ORDER BY 1", (journal,))
        for (position,) in self.cur.fetchall():
            self.rehash(journal, position)
        frontier = self.frontier(journal)
        self.execute(
            "UPDATE journals SET position = %s, root = %s, frontier = %s WHERE journal = %s",
            frontier.size, frontier.root(), frontier.to_bytes(), journal,
        )  # fmt: skip
