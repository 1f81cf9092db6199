"""However a history is cut into batches, over two writers and any number of journals, it gives the same figures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.commands import AnyCommand
from ledger.engine import Ledger
from ledger.store.database import Database
from tests.conftest import create_database, drop_database
from tests.engine.clubs import Club, assert_sound, statuses, submissions

NAMES = ("m0", "m1", "m2", "m3")
EXAMPLES = 25
COMMANDS_MAX = 40
_DRAWN = st.tuples(
    st.sampled_from(["enrol", "buy", "accrue", "redeem", "transfer", "merge", "undo", "profile"]),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.integers(0, 60),
    st.integers(0, 12),
)


def commands_of(club: Club, drawn: list[tuple[str, str, str, int, int]]) -> list[AnyCommand]:
    """Commands over few ids, so that some come twice and some conflict; a key is one member's."""
    return [_command(club, *each) for each in drawn]


def _command(club: Club, verb: str, member: str, other: str, points: int, number: int) -> AnyCommand:
    id = f"{member}-{number}"
    match verb:
        case "enrol":
            return club.enrol(member)
        case "buy":
            return club.buy(member, id, points)
        case "accrue":
            return club.accrue(member, id, points + 1)
        case "redeem":
            return club.redeem(member, id, points + 1)
        case "transfer":
            return club.transfer(member, other, id, points + 1)
        case "merge":
            return club.merge(member, other, id)
        case "undo":
            return club.undo(member, id)
        case _:
            return club.profile(member, id, name=str(points))


@pytest.fixture(scope="module")
def shared(server_dsn: str, template_database: str) -> Iterator[tuple[Ledger, Ledger]]:
    """Two writers on a database that all examples share; each example has programmes of its own."""
    dsn = create_database(server_dsn, f"{template_database}_batches", template=template_database)
    databases = Database(dsn), Database(dsn)
    ledgers = Ledger(databases[0]), Ledger(databases[1])
    yield ledgers
    for ledger, database in zip(ledgers, databases, strict=True):
        ledger.close()
        database.close()
    drop_database(server_dsn, f"{template_database}_batches")


@settings(max_examples=EXAMPLES, print_blob=True)
@given(
    drawn=st.lists(_DRAWN, min_size=1, max_size=COMMANDS_MAX),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    journals=st.sampled_from([1, 16]),
    auto_enrol=st.booleans(),
)
def test_batches_do_not_matter(
    shared: tuple[Ledger, Ledger],
    drawn: list[tuple[str, str, str, int, int]],
    sizes: list[int],
    journals: int,
    auto_enrol: bool,
) -> None:
    """The same outcomes, figures and refusals as in one batch by one writer with one journal."""
    database = shared[0].database
    one, many = Club(database, 1).open(shared[0]), Club(database, journals).open(shared[0])
    expected = statuses(shared[0].handle(submissions(commands_of(one, drawn)), auto_enrol=auto_enrol))
    batch, outcomes, turn = submissions(commands_of(many, drawn)), [], 0
    while batch:
        size = sizes[turn % len(sizes)]
        outcomes += statuses(shared[turn % 2].handle(batch[:size], auto_enrol=auto_enrol))
        batch, turn = batch[size:], turn + 1
    assert outcomes == expected
    assert many.figures() == one.figures()
    assert many.commands() == one.commands()
    assert_sound(many, *shared)
    assert_sound(one, *shared)
