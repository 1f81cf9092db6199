"""The recomputation that a certificate holds: of the read models as they are rebuilt for it, at its positions.

Points are judged at the end of the period, and decisions are those of the certified events. So the same certificate,
made again elsewhere from the same events, holds the same result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from audit.export import export
from audit.read_models import write_rows
from audit.recomputation import Open, PositionsDiffer, RecomputeReport, journals_of, made, report
from ledger.store.database import PgCursor


class RebuiltRecomputation:
    """Recomputes what is rebuilt, from an export that it makes in `work`, an empty folder."""

    def __init__(self, dsn: str, work: Path, engine: Open) -> None:
        self._dsn = dsn
        self._work = work
        self._engine = engine
        self._lock = Lock()
        self._rebuilt: dict[str, list[Path]] = {}

    def prepare(self, programme: str, positions: Mapping[int, int], judged_at: datetime) -> None:
        """Be told what is certified: a programme, its journals up to positions, and when points are judged."""
        self._programme, self._positions, self._judged_at = programme, dict(positions), judged_at

    def take(self, cur: PgCursor, journal: int) -> None:
        """Copy the rebuilt tables of a journal, which the cursor finds by the names of the live ones."""
        files = write_rows(cur, made(self._work / f"rebuilt-{journal}"), [journal])
        with self._lock:
            for name, path in files.items():
                self._rebuilt.setdefault(name, []).append(path)

    def result(self) -> dict[str, Any]:
        """Recompute and compare, after all journals were taken. Raises as `audit.recomputation.report`."""
        folder = self._work / "export"
        manifest = export(self._dsn, folder, [self._programme]).manifest
        return as_json(
            report(
                self._work,
                self._engine,
                folder,
                journals_of(manifest, [self._programme]),
                self._positions,
                self._rebuilt,
                judged_at=self._judged_at,
                judged_upto=self._positions,
            )
        )


class GivenRecomputation:
    """The result of an earlier `loyalty audit recompute --json`, which must be at the positions of the certificate."""

    def __init__(self, text: str) -> None:
        """Raises ValueError where the text is no such result."""
        document = json.loads(text)
        if not isinstance(document, dict) or "ok" not in document:
            raise ValueError("it is not the output of loyalty audit recompute --json")
        said = {name: value for name, value in document.items() if name != "ok"}
        self._report = msgspec.convert(said, RecomputeReport, str_keys=True)

    def prepare(self, programme: str, positions: Mapping[int, int], judged_at: datetime) -> None:
        """Raises PositionsDiffer unless it is of these journals at these positions."""
        if self._report.positions != dict(positions):
            here, there = (
                ", ".join(f"{journal}:{position}" for journal, position in sorted(one.items()))
                for one in (self._report.positions, positions)
            )
            raise PositionsDiffer(
                f"the recomputation given is of {here}, the certificate of {there} (journal:position): run"
                f" loyalty audit recompute --programme {programme} --json when the read models are there"
            )

    def take(self, cur: PgCursor, journal: int) -> None:
        """It was compared with the live tables."""

    def result(self) -> dict[str, Any]:
        """What was given."""
        return as_json(self._report)


def as_json(one: RecomputeReport) -> dict[str, Any]:
    """A report as values of JSON."""
    values: dict[str, Any] = msgspec.to_builtins(one, str_keys=True)
    return values
