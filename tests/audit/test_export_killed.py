"""kill -9 in the middle of an export or an import, again and again; then the same command to its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit import export as exporting
from audit.export import export
from audit.export_check import check_export
from audit.import_ledger import import_ledger
from audit.manifest import MANIFEST, ExportError, read_manifest
from ledger.engine import Ledger
from ledger.store.database import Database
from ledger.store.migrations import migrate
from tests.audit.ledgers import build
from tests.audit.test_export import SEGMENT, assert_same_ledger, grow

KILLS_MAX = 30


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    writer = Ledger(database)
    build(writer)
    yield writer
    writer.close()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def export_and_die(dsn: str, folder: Path, events: int) -> None:
    """Die when so many events are hashed, most likely in the middle of a segment."""
    export(dsn, folder, segment_events=SEGMENT, on_progress=lambda done, total: die() if done >= events else None)


def export_and_die_between_files(dsn: str, folder: Path, files: int) -> None:
    """Die after a file has its name, before anything else knows of it."""
    settle, settled = exporting.settle, 0

    def settle_and_die(part: Path, path: Path) -> None:
        nonlocal settled
        settle(part, path)
        settled += 1
        if settled == files:
            die()

    exporting.settle = settle_and_die
    export(dsn, folder, segment_events=SEGMENT)


def import_and_die(dsn: str, folder: Path, events: int) -> None:
    """Die when so many events are copied in, before the commit of their segment."""
    import_ledger(dsn, folder, on_progress=lambda done, total: die() if done >= events else None)


def killed(work: Callable[[str, Path, int], None], *arguments: object) -> bool:
    """Whether a process that does the work was killed, and did not end by itself."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


def test_an_export_that_is_killed_goes_on(ledger: Ledger, database: Database, tmp_path: Path) -> None:
    """It ends as one that was not, and every try that got through a segment or more brought it further."""
    folder = tmp_path / "export"
    kills = 0
    while killed(export_and_die, database.dsn, folder, 4 * SEGMENT):
        kills += 1
        assert kills < KILLS_MAX
        with pytest.raises(ExportError, match=f"{MANIFEST} is missing: the export was not finished"):
            check_export(folder)
    assert kills >= 3
    undisturbed = export(database.dsn, tmp_path / "undisturbed", segment_events=SEGMENT).manifest
    assert check_export(folder).programmes == undisturbed.programmes
    assert not list(folder.rglob("*.part"))


def test_a_later_export_that_is_killed_leaves_the_one_before(
    ledger: Ledger, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    before = export(database.dsn, folder, segment_events=SEGMENT).manifest
    grow(ledger, 1)
    assert killed(export_and_die_between_files, database.dsn, folder, 1)
    assert read_manifest(folder) == before
    assert all((folder / path).exists() for path in before.paths)
    with pytest.raises(ExportError, match="is of a later export that was not finished"):
        check_export(folder)
    grow(ledger, 2)  # the head moved on: the last segment of the killed export is of no use
    after = export(database.dsn, folder).manifest
    assert check_export(folder) == after
    assert after.events > before.events


def test_an_import_that_is_killed_goes_on(
    ledger: Ledger, database: Database, empty_database_dsn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    export(database.dsn, folder, segment_events=SEGMENT)
    migrate(empty_database_dsn)
    kills = 0
    while killed(import_and_die, empty_database_dsn, folder, 5 * SEGMENT):
        kills += 1
        assert kills < KILLS_MAX
    assert kills >= 3
    assert_same_ledger(database.dsn, empty_database_dsn)


def test_an_import_goes_on_from_this_export_only(
    ledger: Ledger, database: Database, empty_database_dsn: str, tmp_path: Path
) -> None:
    """What is there already must be of the export that is imported now; a later export of the same ledger is fine."""
    folder = tmp_path / "export"
    export(database.dsn, folder, segment_events=SEGMENT)
    migrate(empty_database_dsn)
    assert killed(import_and_die, empty_database_dsn, folder, 5 * SEGMENT)
    other = tmp_path / "other"
    export(database.dsn, other, segment_events=SEGMENT + 1)
    with pytest.raises(ExportError, match=r"has journal 1 \(programme 'coffee', .* which is not of this export"):
        import_ledger(empty_database_dsn, other)
    grow(ledger, 1)
    export(database.dsn, folder)
    import_ledger(empty_database_dsn, folder)
    assert_same_ledger(database.dsn, empty_database_dsn)
