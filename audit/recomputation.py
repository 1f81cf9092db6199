"""Recomputing read models from an export, and comparing them with the live ones, at the position that these are at.

The read models are copied first, in one snapshot of the database; then what they must be is computed from the events up
to their position, of an export that reaches that far. So nothing has to stand still meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from msgspec import Struct

from audit.export import export
from audit.export_check import check_export
from audit.manifest import ExportError, JournalExport, Manifest
from audit.read_models import positions, snapshot, write_rows
from audit.recompute.differences import Difference, Finding, differences, findings
from audit.recompute.engine import Engine, recompute
from audit.recompute.models import MODELS
from audit.recompute.scripts import CHECKS, FIGURES

Open = Callable[[Path], AbstractContextManager[Engine]]
"""Opens an engine that may use a folder."""

POINTS: Final = ("active", "pending", "held", "spent", "expired", "arrears")


class PositionsDiffer(ValueError):
    """The read models, or the export, are not at a position where they can be compared."""


class RecomputeReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was recomputed and how it compares. `positions` has, by journal, how far read models were compared;
    `totals`, by programme, points of all members at `judged_at`; `rows_differing`, by read model, how many rows differ.
    """

    engine: str
    engine_version: str
    positions: dict[int, int]
    events: int
    judged_at: datetime
    totals: dict[str, dict[str, int]]
    rows_compared: dict[str, int]
    rows_differing: dict[str, int]
    differences: list[Difference]
    findings_count: int
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing differs and nothing was found."""
        return not self.findings_count and not any(self.rows_differing.values())


def recompute_and_compare(
    dsn: str, work: Path, engine: Open, *, folder: Path | None = None, programmes: Sequence[str] | None = None
) -> RecomputeReport:
    """Recompute the read models of programmes (None: all) and compare them with the live ones.

    `work` is an empty folder for files on the way, `folder` an export to use; without one, an export is made in `work`.

    Raises PositionsDiffer; ExportError where an export is not what it says, or cannot be made; OSError; errors of the
    engine, and of eventsourcing.persistence when the database fails.
    """
    given = None if folder is None else check_export(folder)
    if given is not None and programmes is None:
        programmes = [programme.programme for programme in given.programmes]
    with snapshot(dsn) as cur:
        reached = positions(cur, programmes)
        live = write_rows(cur, made(work / "live"), list(reached))
    folder = folder or work / "export"
    manifest = given or export(dsn, folder, programmes).manifest
    journals = journals_of(manifest, programmes)
    cuts = _cuts(journals, reached)
    if given is not None:
        _check_same_log(dsn, folder, journals, cuts)
    return report(
        work,
        engine,
        folder,
        journals,
        cuts,
        {name: [path] for name, path in live.items()},
        judged_at=manifest.cut_at,
        judged_upto={number: journal.size for number, journal in journals.items()},
    )


def report(
    work: Path,
    engine: Open,
    folder: Path,
    journals: Mapping[int, JournalExport],
    cuts: Mapping[int, int],
    live: Mapping[str, Sequence[Path]],
    *,
    judged_at: datetime,
    judged_upto: Mapping[int, int],
) -> RecomputeReport:
    """Recompute read models from journals of the export in `folder` up to the positions `cuts`, and compare them with
    the rows in the files `live`. The decisions of events up to `judged_upto` are judged by the whole export, because
    journals may be cut between the two sides of a transfer.
    """
    segments = [folder / segment.path for journal in journals.values() for segment in journal.segments]
    sizes = {number: journal.size for number, journal in journals.items()}
    is_whole = cuts == sizes
    with engine(made(work / "figures")) as one:
        recompute(one, segments, cuts, _without_zone(judged_at), (*FIGURES, *(CHECKS if is_whole else ())))
        compared = _compared(one, live)
        found = findings(one, judged_upto) if is_whole else None
        totals = _totals(one)
    if found is None:
        with engine(made(work / "checks")) as other:
            recompute(other, segments, sizes, _without_zone(judged_at), (*FIGURES, *CHECKS))
            found = findings(other, judged_upto)
    return RecomputeReport(
        engine=one.name,
        engine_version=one.version,
        positions=dict(cuts),
        events=sum(cuts.values()),
        judged_at=judged_at,
        totals=totals,
        rows_compared={name: rows for name, (rows, _, _) in compared.items()},
        rows_differing={name: rows for name, (_, rows, _) in compared.items()},
        differences=[one for _, _, named in compared.values() for one in named],
        findings_count=found[0],
        findings=found[1],
    )


def _compared(engine: Engine, live: Mapping[str, Sequence[Path]]) -> dict[str, tuple[int, int, list[Difference]]]:
    """Of each read model: how many rows it should have, how many differ, and the first of those."""
    compared = {}
    for model in MODELS:
        engine.view(f"live_{model.name}", live[model.name])
        ((rows,),) = engine.rows(f"SELECT count(*) FROM recomputed_{model.name}")
        compared[model.name] = (rows, *differences(engine, model))
    return compared


def _totals(engine: Engine) -> dict[str, dict[str, int]]:
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT)" for name in POINTS)
    rows = engine.rows(
        f"SELECT programme, count(*), {sums} FROM recomputed_points AS points"
        " JOIN (SELECT DISTINCT journal, programme FROM events) AS journals ON journals.journal = points.journal"
        " GROUP BY programme ORDER BY programme"
    )
    return {programme: dict(zip(("members", *POINTS), sums, strict=True)) for programme, *sums in rows}


def journals_of(manifest: Manifest, programmes: Sequence[str] | None) -> dict[int, JournalExport]:
    """The exported journals of programmes (None: all) by number."""
    known = [programme.programme for programme in manifest.programmes]
    if missing := set(programmes or ()) - set(known):
        raise ExportError(f"the export has no programme {min(missing)!r}; it has {', '.join(known)}")
    return {
        journal.journal: journal
        for programme in manifest.programmes
        if programmes is None or programme.programme in programmes
        for journal in programme.journals
    }


def _cuts(journals: dict[int, JournalExport], reached: dict[int, dict[str, int]]) -> dict[int, int]:
    """The position of each journal at which all its read models are."""
    cuts = {}
    for number, journal in journals.items():
        if number not in reached:
            raise PositionsDiffer(f"the export has journal {number}, which this ledger has not: it is of another one")
        at = reached[number]
        if len(set(at.values())) > 1:
            words = ", ".join(f"{name} at {position}" for name, position in sorted(at.items()))
            raise PositionsDiffer(
                f"the read models of journal {number} are not at one position ({words}): loyalty project --once"
            )
        cuts[number] = max(at.values())
        if cuts[number] > journal.size:
            raise PositionsDiffer(
                f"the read models of journal {number} are at {cuts[number]}, the export ends at {journal.size}:"
                " bring it up to date with loyalty export --to, or leave out --from"
            )
    return cuts


def _check_same_log(dsn: str, folder: Path, journals: dict[int, JournalExport], cuts: dict[int, int]) -> None:
    """The export must be of this ledger: the leaf hash of the event at each cut is the same. That those before it are
    too is what `loyalty audit verify` and the check of an export show.
    """
    with snapshot(dsn) as cur:
        cur.execute(
            "SELECT journal, leaf_hash FROM events JOIN unnest(%s::int[], %s::bigint[]) AS cut (number, at)"
            " ON journal = number AND position = at",
            (list(cuts), list(cuts.values())),
        )
        live = {journal: bytes(leaf_hash) for journal, leaf_hash in cur.fetchall()}
    for number, cut in cuts.items():
        for segment in journals[number].segments:
            if segment.first <= cut <= segment.last:
                exported = pq.read_table(
                    folder / segment.path, columns=["leaf_hash"], filters=[("position", "=", cut)], partitioning=None
                )
                if exported["leaf_hash"][0].as_py() != live.get(number):
                    raise PositionsDiffer(
                        f"the event {number}:{cut} of the export is not that of the ledger: it is of another ledger, or"
                        " this one was changed (loyalty audit verify)"
                    )


def _without_zone(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)


def made(folder: Path) -> Path:
    """A folder, made."""
    folder.mkdir(parents=True)
    return folder
