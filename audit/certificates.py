"""Certificates: what a programme's read models are at a checkpoint, as hashes that anybody can compute again elsewhere.

A certificate is of a period. Of each journal it names the first checkpoint that was signed after the period and covers
everything recorded in it, and has the note itself. The projections are rebuilt from position 0 to just there, whatever
the live tables say, and digested (`projections.rebuilt`); the same events give the same hashes in any database. It is
JSON, signed as the text of a C2SP signed note by the key that signs checkpoints.

Source: https://c2sp.org/signed-note.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from audit.checkpoints import first_checkpoint_since, note_problem
from audit.notes import SigningKey
from audit.rows import COLUMNS, Scan
from audit.verify_proof import VerifierKey
from ledger.store.database import PgCursor
from ledger.store.migrations import published_migrations
from projections.protocol import Projection
from projections.rebuilt import LiveTables, Rebuilt, TableDigest, session

FORMAT: Final = "loyalty-ledger/certificate/v1"
ROWS_AT_ONCE: Final = 20_000
NO_RECOMPUTATION: Final = "none was given"
ENGINE: Final = ("engine", "engine_version")
"""Parts of the result of a recomputation that differ by engine."""

Progress = Callable[[int, int], None]
"""Called with the number of events folded so far, and of all that are to be."""


class CertificateRefused(Exception):
    """Nothing was certified, or what was given is no certificate. The message says why."""


class Period(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Business days from `from_on` until before `until_on`, in the time zone of the programme."""

    from_on: date
    until_on: date
    time_zone: str

    @property
    def ends_at(self) -> datetime:
        """The instant at which it is over."""
        return self._midnight(self.until_on)

    @property
    def begins_at(self) -> datetime:
        """The instant at which it begins."""
        return self._midnight(self.from_on)

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.time_zone)).astimezone(UTC)


class CertifiedJournal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A journal: the checkpoint that it is certified at, and which positions were recorded in the period, if any.

    A journal without events has no checkpoint: its `size` is 0.
    """

    journal: int
    ordinal: int
    size: int
    root: str
    checkpoint: str | None
    recorded_in_period: tuple[int, int] | None


class CertifiedProjection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A projection at those positions: by number of the journal and table, what `projections.rebuilt` digests.

    `sha256` is over the canonical JSON of `journals`.
    """

    name: str
    version: int
    sha256: str
    journals: dict[str, dict[str, TableDigest]]


class Recomputation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an independent recomputation came to; None where there was none, and why.

    `sha256` is over the canonical JSON of the result without the engine and its version, for every engine gives the
    same.
    """

    result: dict[str, Any] | None
    sha256: str | None
    reason: str | None


class Certificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed."""

    format: str
    programme: str
    period: Period
    issued_at: datetime
    journals: list[CertifiedJournal]
    projections: list[CertifiedProjection]
    recomputation: Recomputation
    tools: dict[str, str]


class Recomputing(Protocol):
    """An independent recomputation: told what is certified, given each journal rebuilt, it says what it came to."""

    def prepare(self, programme: str, positions: Mapping[int, int], judged_at: datetime) -> None:
        """Be told a programme, the positions of its journals, and the instant at which points are judged."""

    def take(self, cur: PgCursor, journal: int) -> None:
        """Be given a session with the tables of a journal, rebuilt to just its position. Called by several threads."""

    def result(self) -> dict[str, Any]:
        """Values of JSON: what was compared, and what was found."""


# --- making one -----------------------------------------------------------------------------------------------------


def certify(
    dsn: str,
    programme: str,
    from_on: date,
    until_on: date,
    projections: Sequence[Projection],
    key: SigningKey,
    *,
    trusted: Sequence[VerifierKey] = (),
    recomputing: Recomputing | None = None,
    no_recomputation: str = NO_RECOMPUTATION,
    threads: int = 2,
    on_progress: Progress = lambda done, total: None,
) -> str:
    """A signed certificate of a programme for the days from `from_on` until before `until_on`, as JSON.

    Reads as the role that may only read. Each checkpoint must be signed by `key` or one of `trusted`. Where there
    is nothing `recomputing`, `no_recomputation` says why. What a recomputation finds wrong is certified as found.

    Raises what `recomputing` does; CertificateRefused where a journal has no such checkpoint, its events are not those
    of the checkpoint, or live tables are behind or not what the log gives; errors of eventsourcing.persistence when the
    database fails.
    """
    with session(dsn) as cur:
        period = Period(from_on=from_on, until_on=until_on, time_zone=read_time_zone(cur, programme))
        journals = [
            _certified(cur, programme, *row, period, [key.verifier_key, *trusted])
            for row in read_journals(cur, programme)
        ]
        tools = _tools(cur)
    if recomputing is not None:
        recomputing.prepare(programme, sizes_of(journals), period.ends_at)
    digests, live = rebuilt_digests(dsn, journals, projections, threads, recomputing, on_progress)
    problems = [words for one in live for words in (*one.differences, *one.behind)]
    if problems:
        raise CertificateRefused(f"the live read models are not what would be certified: {'; '.join(problems)}")
    certificate = Certificate(
        format=FORMAT,
        programme=programme,
        period=period,
        issued_at=datetime.now(UTC),
        journals=journals,
        projections=[
            CertifiedProjection(
                name=projection.name,
                version=projection.version,
                sha256=sha256(canonical(digests[projection.name]).encode()).hexdigest(),
                journals=digests[projection.name],
            )
            for projection in projections
        ],
        recomputation=_recomputed(recomputing, no_recomputation),
        tools=tools,
    )
    return _signed(certificate, key)


def _recomputed(recomputing: Recomputing | None, reason: str) -> Recomputation:
    if recomputing is None:
        return Recomputation(result=None, sha256=None, reason=reason)
    result = recomputing.result()
    return Recomputation(result=result, sha256=result_sha256(result), reason=None)


def result_sha256(result: Mapping[str, Any]) -> str:
    """What `Recomputation.sha256` must be."""
    kept = {name: value for name, value in result.items() if name not in ENGINE}
    return sha256(canonical(kept).encode()).hexdigest()


def found_wrong(result: Mapping[str, Any]) -> list[str]:
    """What a recomputation found, in words; nothing where all is well."""
    words = [
        f"found {rows:,} of the rows of {name} to be other than their events give"
        for name, rows in result["rows_differing"].items()
        if rows
    ]
    if number := result["findings_count"]:
        words.append(f"made {number:,} findings in what was decided")
    return words


def sizes_of(journals: Sequence[CertifiedJournal]) -> dict[int, int]:
    """Position by journal."""
    return {journal.journal: journal.size for journal in journals}


def _signed(certificate: Certificate, key: SigningKey) -> str:
    said = msgspec.to_builtins(certificate)
    text = canonical(said) + "\n"
    signature = key.sign(text)[len(text) + 1 :]
    return json.dumps({"certificate": said, "signature": signature}, ensure_ascii=False, indent=1) + "\n"


def canonical(value: Any) -> str:
    """JSON in one spelling: keys in order, nothing between its parts."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_time_zone(cur: PgCursor, programme: str) -> str:
    """The time zone of a programme. Raises CertificateRefused where there is no such programme."""
    cur.execute("SELECT time_zone FROM programmes WHERE programme = %s", (programme,))
    row = cur.fetchone()
    if row is None:
        raise CertificateRefused(f"this ledger has no programme {programme!r}")
    return str(row[0])


def read_journals(cur: PgCursor, programme: str) -> list[tuple[int, int, int]]:
    """Number, ordinal and position of each journal of a programme, by ordinal."""
    cur.execute(
        "SELECT journal, ordinal, position FROM journals WHERE kind = 'programme' AND name = %s ORDER BY ordinal",
        (programme,),
    )
    return cur.fetchall()


def _certified(
    cur: PgCursor,
    programme: str,
    journal: int,
    ordinal: int,
    head: int,
    period: Period,
    keys: Sequence[VerifierKey],
) -> CertifiedJournal:
    """The checkpoint to certify a journal at. Raises CertificateRefused."""
    cur.execute(
        "SELECT coalesce(max(position), 0), min(position) FILTER (WHERE recorded_at >= %s)"
        " FROM events WHERE journal = %s AND recorded_at < %s",
        (period.begins_at, journal, period.ends_at),
    )
    last, first = cur.fetchone() or (0, None)
    stored = first_checkpoint_since(cur, journal, period.ends_at, max(1, last))
    if stored is None and head:
        wanted = f"signed after the period, which ends at {period.ends_at:%Y-%m-%dT%H:%M:%SZ}"
        raise CertificateRefused(f"journal {journal} has no checkpoint that was {wanted}: loyalty audit checkpoint")
    if stored is not None:
        if (problem := note_problem(stored, programme, keys)) is not None:
            raise CertificateRefused(f"journal {journal}: {problem}")
        check_root(cur, journal, stored.size, stored.root)
    return CertifiedJournal(
        journal=journal,
        ordinal=ordinal,
        size=0 if stored is None else stored.size,
        root="" if stored is None else stored.root.hex(),
        checkpoint=None if stored is None else stored.note,
        recorded_in_period=None if first is None else (first, last),
    )


def check_root(cur: PgCursor, journal: int, size: int, root: bytes) -> None:
    """Hash the events again up to a size. Raises CertificateRefused unless they give the root."""
    scan = Scan(journal, None)
    scan.want_roots([size])
    while scan.problem is None and scan.position < size:
        before = scan.position
        cur.copy_expert(
            f"COPY (SELECT {', '.join(COLUMNS)} FROM events WHERE journal = {journal} AND position > {before}"
            f" AND position <= {min(size, before + ROWS_AT_ONCE)} ORDER BY position) TO STDOUT (FORMAT binary)",
            scan,
        )
        if scan.position == before:
            break
    scan.flush()
    if scan.problem is not None:
        raise CertificateRefused(f"journal {journal}: {scan.problem.words}")
    if scan.position < size:
        raise CertificateRefused(
            f"journal {journal} ends at position {scan.position}, the checkpoint is of {size} events"
        )
    if scan.roots[size] != root:
        raise CertificateRefused(f"positions 1 to {size} of journal {journal} are not what the checkpoint committed to")


def _tools(cur: PgCursor) -> dict[str, str]:
    cur.execute("SHOW server_version")
    ((server,),) = cur.fetchall()
    try:
        ledger = version("loyalty-ledger")
    except PackageNotFoundError:
        ledger = "not installed"
    return {
        "loyalty-ledger": ledger,
        "migrations": str(len(published_migrations())),
        "postgresql": str(server),
        "python": platform.python_version(),
    }


def rebuilt_digests(
    dsn: str,
    journals: Sequence[CertifiedJournal],
    projections: Sequence[Projection],
    threads: int,
    recomputing: Recomputing | None,
    on_progress: Progress,
) -> tuple[dict[str, dict[str, dict[str, TableDigest]]], list[LiveTables]]:
    """Digests by projection, journal and table, and how the live tables of each journal compare; each journal is given
    to `recomputing` on the way.
    """
    total, done, lock = sum(journal.size for journal in journals), 0, Lock()

    def count(events: int) -> None:
        nonlocal done
        with lock:
            done += events
            on_progress(done, total)

    def rebuild(journal: CertifiedJournal) -> tuple[dict[str, dict[str, TableDigest]], LiveTables]:
        with session(dsn) as cur:
            rebuilt = Rebuilt(cur, journal.journal, projections)
            rebuilt.fold_to(journal.size, count)
            if recomputing is not None:
                recomputing.take(cur, journal.journal)
            return rebuilt.digests(), rebuilt.compare_live()

    with ThreadPoolExecutor(threads, thread_name_prefix="certify") as pool:
        found = list(pool.map(rebuild, journals))
    digests = {
        projection.name: {
            str(journal.journal): by_projection[projection.name]
            for journal, (by_projection, _) in zip(journals, found, strict=True)
        }
        for projection in projections
    }
    return digests, [live for _, live in found]
