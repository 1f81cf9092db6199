"""Is this process alive, and is what it needs there? Asked from outside, so the answer is looked up, not remembered."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from threading import Lock
from typing import Final

from eventsourcing.persistence import PersistenceError
from msgspec import Struct
from psycopg2.extensions import make_dsn

from ledger.store.database import Database, sentence
from ledger.store.migrations import published_migrations
from service.read_models import ProjectionLag, projection_lags

OK: Final = "ok"
LOOK_AGAIN_SECONDS: Final = 1.0
CONNECT_SECONDS_MAX: Final = 3
READ_SECONDS_MAX: Final = 3
TURN_SECONDS_MAX: Final = 300.0
"""A process whose work has not moved for so long hangs. Waiting for a database that is away is work: it tries again."""


class DatabaseState(Struct, frozen=True, kw_only=True):
    """What was seen of the database. `trouble` is why nothing was, "" where all was."""

    trouble: str = ""
    migrations: int = 0
    projections: tuple[ProjectionLag, ...] = ()


class Probe:
    """Looks at the database, on a connection of its own, at most once a second; safe to share between threads."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(
            make_dsn(dsn, connect_timeout=CONNECT_SECONDS_MAX),
            pool_size=1,
            max_overflow=0,
            pool_timeout=5.0,
            seconds_max=READ_SECONDS_MAX,
        )
        self._looking = Lock()
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._state = DatabaseState()

    def state(self) -> DatabaseState:
        """What is there now; an answer takes a few seconds at most."""
        with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
                self._state = self._look()
                self._looked_at = time.monotonic()
            return self._state

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _look(self) -> DatabaseState:
        try:
            with self._database.connection() as cur:
                cur.execute("SELECT count(*) FROM schema_migrations")
                (migrations,) = cur.fetchone() or (0,)
                return DatabaseState(migrations=migrations, projections=tuple(projection_lags(cur)))
        except PersistenceError as error:
            return DatabaseState(trouble=f"the database does not answer: {sentence(error)}")


class Trouble(Struct, frozen=True):
    """The last warning or error of the log."""

    at: datetime
    message: str


class Answer(Struct, frozen=True, kw_only=True):
    """`ok`, and for each thing that was looked at "ok" or what is wrong with it."""

    ok: bool
    checks: dict[str, str]
    last_error: Trouble | None = None


class Health:
    """Answers for one process.

    `lag_max` is how many events a read model may be behind for it to be ready; None where that is not its concern.
    `trouble` says what its work waits out, "" where nothing; `idle_seconds` how long its work has not moved, 0 where it
    has none; `last_error` what it last warned of.
    """

    def __init__(
        self,
        probe: Probe,
        *,
        lag_max: int | None = None,
        trouble: Callable[[], str] = lambda: "",
        idle_seconds: Callable[[], float] = lambda: 0.0,
        last_error: Callable[[], Trouble | None] = lambda: None,
    ) -> None:
        self._probe = probe
        self._lag_max = lag_max
        self._trouble = trouble
        self._idle_seconds = idle_seconds
        self._last_error = last_error
        self._migrations = len(published_migrations())

    def live(self) -> Answer:
        """Whether its work moves; if not, only a new start helps. Without a database it is alive."""
        idle = self._idle_seconds()
        return self._answer({"work": OK if idle <= TURN_SECONDS_MAX else f"nothing moved for {idle:.0f} s"})

    def ready(self) -> Answer:
        """Whether it does what it is for, now."""
        state = self._probe.state()
        checks = {"database": state.trouble or OK, "work": self._trouble() or OK}
        if not state.trouble:
            checks["migrations"] = self._migrated(state.migrations)
            if self._lag_max is not None:
                checks |= self._lags(state.projections, self._lag_max)
        return self._answer(checks)

    def _migrated(self, found: int) -> str:
        wanted = self._migrations
        return OK if found == wanted else f"the database is at migration {found}, this code at {wanted}"

    def _lags(self, projections: tuple[ProjectionLag, ...], most: int) -> dict[str, str]:
        return {
            f"read model {each.projection}": OK if each.lag <= most else f"{each.lag} events behind, more than {most}"
            for each in projections
        }

    def _answer(self, checks: dict[str, str]) -> Answer:
        return Answer(ok=all(found == OK for found in checks.values()), checks=checks, last_error=self._last_error())
