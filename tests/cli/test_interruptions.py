"""An ingest that is killed or stopped, and run again, leaves the ledger of one that was not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from ledger.store.database import connect
from tests.cli.running import COFFEE, Loyalty, position, recorded, rows
from tests.conftest import create_database, drop_database
from tests.waiting import PATIENCE_SECONDS, wait_for

MESSAGES = 4_000
MEMBERS = 150
HELD_UP_AT = 6_000
"""The position, of some 8,000, that no run passes before it is interrupted, however late that comes."""
HOLD_UP = f"""
CREATE OR REPLACE FUNCTION loyalty.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER hold_up BEFORE INSERT ON loyalty.events FOR EACH ROW
WHEN (NEW.position > {HELD_UP_AT}) EXECUTE FUNCTION loyalty.hold_up();
SELECT pg_advisory_lock(1)
"""
BATCH = ("--batch", "100")
_numbers = count(1)


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    """Purchases of some members, in turn; every hundredth is refused for its currency."""
    path = tmp_path / "messages.jsonl"
    with path.open("w") as file:
        for number in range(MESSAGES):
            document = {
                "type": "purchase.v1",
                "id": f"order-{number}",
                "source": "pos",
                "programme": "demo",
                "member": f"M{number * 7 % MEMBERS:04}",
                "occurred_at": f"2026-02-{1 + number // 200:02}T{number // 10 % 20:02}:{number % 60:02}:00Z",
                "currency": "USD" if number % 100 == 99 else "CNY",
                "lines": [{"sku": "A1", "category": "coffee", "quantity": 1, "amount_minor": 100 + number}],
            }
            file.write(json.dumps(document) + "\n")
    return path


@pytest.fixture
def another(server_dsn: str, template_database: str) -> Iterator[Loyalty]:
    """The program on one more database."""
    name = f"loyalty_test_{os.getpid()}_another_{next(_numbers)}"
    yield Loyalty(LOYALTY_DATABASE_URL=create_database(server_dsn, name, template=template_database))
    drop_database(server_dsn, name)


def prepared(loyalty: Loyalty) -> str:
    """Create the programme and its terms, the same each time; the address of the database."""
    key = ("--at", "2026-01-01T00:00:00Z", "--key")
    loyalty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai", *key, "p")
    loyalty("terms", "publish", str(COFFEE), *key, "t")
    return str(loyalty.settings["LOYALTY_DATABASE_URL"])


@contextmanager
def held_up(dsn: str) -> Iterator[None]:
    """Nothing is recorded beyond HELD_UP_AT meanwhile."""
    connection = connect(dsn)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(HOLD_UP)
        yield


def test_killed_and_run_again_it_is_the_same_ledger(empty: Loyalty, another: Loyalty, messages: Path) -> None:
    """Every event once, in the same order and with the same bytes, and the same balances and refused messages."""
    dsn, undisturbed = prepared(empty), prepared(another)
    command = ("ingest", str(messages), "--auto-enrol", *BATCH)
    another(*command, exit_code=3)

    for wanted in (500, 3_000):
        with held_up(dsn):
            process = empty.start(*command)
            wait_for(lambda wanted=wanted: position(dsn) > wanted)  # type: ignore[misc]
            process.kill()
            assert process.wait() == -signal.SIGKILL
            assert wanted < position(dsn) < position(undisturbed)
    summary = empty.json(*command, exit_code=3)

    assert summary["read"] == MESSAGES
    assert summary["rejected_by_code"] == {"CURRENCY_MISMATCH": MESSAGES // 100}
    assert summary["posted"] > 0
    assert summary["duplicate"] > 0
    assert recorded(dsn) == recorded(undisturbed)
    refused = "SELECT origin, code, body::text FROM rejected ORDER BY 1"
    assert rows(dsn, refused) == rows(undisturbed, refused)
    balances = "SELECT * FROM balances ORDER BY journal, member"
    for loyalty in (empty, another):
        loyalty("project", "--once")
    assert len(rows(dsn, balances)) == MEMBERS
    assert rows(dsn, balances) == rows(undisturbed, balances)


def test_stopped_by_ctrl_c_it_says_how_to_go_on(empty: Loyalty, another: Loyalty, messages: Path) -> None:
    dsn, undisturbed = prepared(empty), prepared(another)
    command = ("ingest", str(messages), "--auto-enrol", *BATCH)
    another(*command, exit_code=3)

    with held_up(dsn):
        process = empty.start(*command)
        wait_for(lambda: position(dsn) > 500)
        os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130, errors
    assert "messages read" in output
    assert "Run the same command again to go on: nothing is posted twice." in errors
    assert "Traceback" not in errors
    assert 500 < position(dsn) < position(undisturbed)
    empty(*command, exit_code=3)
    assert recorded(dsn) == recorded(undisturbed)


def embedded_dsn(postmaster: Path) -> str:
    """The database of the embedded server, as soon as it takes connections."""

    def socket_folder() -> str | None:
        lines = postmaster.read_text().splitlines() if postmaster.exists() else []
        return lines[4] if len(lines) > 7 and lines[7].strip() == "ready" else None

    wait_for(lambda: socket_folder() is not None)
    return f"host={socket_folder()} dbname=loyalty user=postgres"


@pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_interrupted_beside_an_embedded_database_it_goes_on(
    interruption: signal.Signals, tmp_path: Path, messages: Path
) -> None:
    """The embedded server is not interrupted with the program, and is taken over by the next that starts."""
    loyalty = Loyalty(LOYALTY_DATA_DIR=str(tmp_path / "data"))
    loyalty("programme", "create", "demo", "--currency", "CNY", "--time-zone", "Asia/Shanghai")
    loyalty("terms", "publish", str(COFFEE))
    command = ("ingest", str(messages), "--auto-enrol", *BATCH)

    process = loyalty.start(*command)
    dsn = embedded_dsn(tmp_path / "data" / "postgres" / "postmaster.pid")
    with held_up(dsn):
        wait_for(lambda: position(dsn) > 500)
        os.killpg(process.pid, interruption)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode != 0
    summary = loyalty.json(*command, exit_code=3)

    assert summary["posted"] + summary["duplicate"] + summary["rejected"] == MESSAGES
    again = loyalty.json(*command, exit_code=3)
    assert (again["posted"], again["duplicate"]) == (0, MESSAGES - MESSAGES // 100)
    assert loyalty.json("audit", "verify")["events"] == 2 + MEMBERS + 2 * (MESSAGES - MESSAGES // 100)
