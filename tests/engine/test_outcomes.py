"""What becomes of commands: posted, duplicate or rejected; in order, once, and with their positions."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from ledger.engine import Ledger
from ledger.rejections import Rejection
from ledger.store.database import Database
from ledger.submissions import Malformed, Outcome, Submission
from tests.engine.clubs import Club, at, statuses, submissions


def test_positions_are_those_of_the_commands_events(club: Club, ledger: Ledger) -> None:
    """An outcome names the journal of the member and the first and last event of its command."""
    outcomes = ledger.handle(submissions([club.enrol("a"), club.buy("a", "b1"), club.redeem("a", "r1", 30)]))
    assert statuses(outcomes) == ["posted"] * 3
    rows = club.rows()[club.ordinal_of("a")]
    for outcome, topics in zip(
        outcomes,
        (["member-enrolled.v1"], ["purchase-recorded.v1", "points-accrued.v1"], ["points-redeemed.v1"]),
        strict=True,
    ):
        assert outcome.journal == club.journal_of("a")
        own = rows[outcome.first - 1 : outcome.last]
        assert [row.topic for row in own] == topics
        assert [row.command_events for row in own] == [len(topics)] + [None] * (len(topics) - 1)


def test_order_is_kept_for_every_member(club: Club, ledger: Ledger) -> None:
    """Members interleaved in one batch: each one's events lie in the order in which its commands came."""
    names = [f"m{n}" for n in range(12)]
    commands = [club.enrol(name) for name in names]
    commands += [club.accrue(name, f"{name}-{step}", step + 1) for step in range(5) for name in names]
    assert set(statuses(ledger.handle(submissions(commands)))) == {"posted"}
    for name in names:
        rows = [row for row in club.rows()[club.ordinal_of(name)] if row.originator_id == f"member-{name}"]
        ids = [msgspec.json.decode(row.state)["id"] for row in rows]
        assert ids == [f"enrol-{name}", *(f"{name}-{step}" for step in range(5))]


def test_each_command_sees_what_the_one_before_it_left(club: Club, ledger: Ledger) -> None:
    """Earning and spending within one batch: what is spent is not there again."""
    outcomes = ledger.handle(
        submissions([club.enrol("a"), club.redeem("a", "r0", 1), club.accrue("a", "w", 10),
                     club.redeem("a", "r1", 7), club.redeem("a", "r2", 7), club.redeem("a", "r3", 3)])
    )  # fmt: skip
    assert statuses(outcomes) == ["posted", "INSUFFICIENT_POINTS", "posted", "posted", "INSUFFICIENT_POINTS", "posted"]


def test_the_same_again_has_the_first_outcome(club: Club, ledger: Ledger, other: Ledger) -> None:
    """From the same writer, from another one, and long after: positions of the first time, and nothing new."""
    commands = submissions([club.enrol("a"), club.buy("a", "b1"), club.enrol("b"), club.transfer("a", "b", "t1", 40)])
    first = ledger.handle(commands)
    before = club.history()
    more = [club.accrue("a", f"w{n}", 1, minutes=60_000) for n in range(50)]
    for writer in (ledger, other):
        again = writer.handle(commands)
        assert again == [Outcome("duplicate", o.journal, o.first, o.last) for o in first]
    assert club.history() == before
    assert set(statuses(other.handle(submissions(more)))) == {"posted"}
    assert ledger.handle(commands) == again


def test_duplicates_inside_one_batch(club: Club, ledger: Ledger) -> None:
    """The second of two equal commands is the first's duplicate although neither is committed."""
    outcomes = ledger.handle(submissions([club.enrol("a"), club.buy("a", "b1"), club.enrol("a"), club.buy("a", "b1")]))
    assert statuses(outcomes) == ["posted", "posted", "duplicate", "duplicate"]
    assert [(o.first, o.last) for o in outcomes[:2]] == [(o.first, o.last) for o in outcomes[2:]]
    assert club.figures()["a"].active == 100


@pytest.mark.parametrize("at_once", [True, False], ids=["one-batch", "two-batches"])
def test_a_key_with_other_input_is_a_conflict(club: Club, ledger: Ledger, *, at_once: bool) -> None:
    """Refused in the same batch and in a later one; the first stands."""
    commands = submissions([club.enrol("a"), club.buy("a", "b1", 100), club.buy("a", "b1", 200)])
    outcomes = ledger.handle(commands) if at_once else [o for c in commands for o in ledger.handle([c])]
    assert statuses(outcomes) == ["posted", "posted", "IDEMPOTENCY_CONFLICT"]
    assert club.figures()["a"].active == 100


def test_a_refusal_does_not_burn_its_key(club: Club, ledger: Ledger) -> None:
    """The refused command is accepted as it came once what it lacked is there."""
    redemption = club.redeem("a", "r1", 50)
    assert statuses(ledger.handle(submissions([redemption]))) == ["MEMBER_UNKNOWN"]
    assert statuses(ledger.handle(submissions([club.enrol("a"), redemption]))) == ["posted", "INSUFFICIENT_POINTS"]
    assert statuses(ledger.handle(submissions([club.buy("a", "b1"), redemption]))) == ["posted", "posted"]
    assert statuses(ledger.handle(submissions([redemption]))) == ["duplicate"]


def test_refused_input_is_kept_with_body_origin_and_attempts(club: Club, ledger: Ledger) -> None:
    """Once a body, however often it comes; without a body nothing is kept."""
    refused = club.redeem("a", "r1", 50)
    (submission,) = submissions([refused])
    for _ in range(3):
        ledger.handle([submission])
    ledger.handle([Submission(club.redeem("a", "r2", 50))])
    assert club.refused() == [("MEMBER_UNKNOWN", "pos", "r1", "a", "file:1", submission.body, 3)]


def test_refused_input_is_kept_in_the_transaction_of_what_is_posted(
    club: Club, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the append fails, nothing is kept either."""
    ledger.handle(submissions([club.enrol("a")]))

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    batch = submissions([club.redeem("a", "r1", 50), club.accrue("a", "w", 5)])
    with monkeypatch.context() as patched:
        patched.setattr("ledger.transaction.append", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            ledger.handle(batch)
    assert club.refused() == []
    assert club.figures()["a"].balance == 0
    assert statuses(ledger.handle(batch)) == ["INSUFFICIENT_POINTS", "posted"]
    assert len(club.refused()) == 1


def test_a_message_that_is_no_command_is_kept_as_it_came(club: Club, ledger: Ledger) -> None:
    """Bytes that are no text and identities with NUL in them are kept, and what surrounds them is posted."""
    body = b"\xff\x00{"
    malformed = Malformed(rejection=Rejection("NOT_UTF8", "", "must be UTF-8"), programme=club.name, id="x\x00y")
    batch = [*submissions([club.enrol("a")]), Submission(malformed, body, "file:2"), *submissions([club.buy("a", "b")])]
    assert statuses(ledger.handle(batch)) == ["posted", "NOT_UTF8", "posted"]
    assert club.refused() == [("NOT_UTF8", "", "x\\u0000y", "", "file:2", body, 1)]


def test_an_unknown_member_is_enrolled_with_its_first_purchase(club: Club, ledger: Ledger) -> None:
    """Three events of one command: the enrolment says that it was automatic."""
    (outcome,) = ledger.handle(submissions([club.buy("a", "b1")]), auto_enrol=True)
    assert outcome.last - outcome.first == 2
    rows = club.rows()[club.ordinal_of("a")][outcome.first - 1 :]
    assert [row.topic for row in rows] == ["member-enrolled.v1", "purchase-recorded.v1", "points-accrued.v1"]
    assert msgspec.json.decode(rows[0].state)["automatic"] is True
    assert statuses(ledger.handle(submissions([club.buy("a", "b1")]), auto_enrol=True)) == ["duplicate"]
    assert statuses(ledger.handle(submissions([club.redeem("z", "r", 1)]), auto_enrol=True)) == ["MEMBER_UNKNOWN"]


def test_a_refused_purchase_enrols_nobody(club: Club, ledger: Ledger) -> None:
    """Nothing of the enrolment is left in the log, nor in what the writer has cached."""
    before = club.history()
    refused = club.buy("a", "b1", currency="EUR")
    assert statuses(ledger.handle(submissions([refused]), auto_enrol=True)) == ["CURRENCY_MISMATCH"]
    assert club.history() == before
    assert statuses(ledger.handle(submissions([club.redeem("a", "r", 1)]))) == ["MEMBER_UNKNOWN"]
    assert statuses(ledger.handle(submissions([club.buy("a", "b1")]), auto_enrol=True)) == ["posted"]


def test_business_times_outside_the_tolerance_are_refused(database: Database, club: Club) -> None:
    """Before 1970, and further ahead of the database's clock than the writer tolerates; at the edges accepted."""
    ledger = Ledger(database, clock_tolerance=timedelta(hours=1))
    with database.connection() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp() - %s)::float8 / 60", (at(0),))
        ((now,),) = cursor.fetchall()
    minutes_to_1970 = -(at(0).timestamp() / 60)
    commands = [
        club.enrol("a", minutes_to_1970 - 1, id="too-early"),
        club.enrol("a", now + 62, id="too-late"),
        club.enrol("a", now + 58, id="ahead"),
        club.enrol("b", minutes_to_1970, id="first"),
    ]
    outcomes = ledger.handle(submissions(commands))
    assert statuses(outcomes) == ["OCCURRED_AT_OUT_OF_RANGE", "OCCURRED_AT_OUT_OF_RANGE", "posted", "posted"]
    assert outcomes[1].rejection is not None
    assert outcomes[1].rejection.field == "occurred_at"
    ledger.close()


@pytest.mark.parametrize("club", [16], indirect=True)
def test_one_key_of_two_members_is_looked_up_where_it_belongs(club: Club, ledger: Ledger) -> None:
    """A transfer is its own duplicate also when its receiver's journal has the same key for something else."""
    a, b = (club.members_of(ordinal, 1)[0] for ordinal in (0, 1))
    transfer = club.transfer(a, b, "same", 10)
    ledger.handle(submissions([club.enrol(a), club.enrol(b), club.accrue(a, "w", 100)]))
    posted, _ = ledger.handle(submissions([transfer, club.redeem(b, "same", 5, minutes=4)]))
    (again,) = ledger.handle(submissions([transfer]))
    assert again == Outcome("duplicate", posted.journal, posted.first, posted.last)
