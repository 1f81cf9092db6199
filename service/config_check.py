"""Does what is configured work? Each check by itself, so that one failure does not hide the next."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, get_args

import psycopg2
from eventsourcing.persistence import PersistenceError
from kafka.errors import KafkaError
from msgspec import Struct
from psycopg2.extensions import make_dsn

from audit.notes import read_key
from audit.verify_proof import Refused, parse_key
from consumers.kafka_client import LogReader
from ledger.store.database import PgConnection, PgCursor, Role, connect, sentence
from ledger.store.embedded import EmbeddedPostgresError
from ledger.store.migrations import MigrationError
from service.settings import Reading, Settings
from service.workspace import check_migrated, database_url

Status = Literal["ok", "warning", "failed", "skipped"]

CONNECT_SECONDS_MAX: Final = 5
OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

# Of what the migrations grant, that on which the promises rest: who writes may append, and nobody may change the log.
_RIGHTS: Final = """
SELECT format(
    CASE WHEN wanted THEN '%s must %s %s, but has no right to' ELSE '%s may not %s %s, but has the right to' END,
    role, privilege, relation)
FROM (VALUES
    ('loyalty_writer', 'events', 'SELECT', true),
    ('loyalty_writer', 'events', 'INSERT', true),
    ('loyalty_writer', 'events', 'UPDATE', false),
    ('loyalty_writer', 'events', 'DELETE', false),
    ('loyalty_writer', 'events', 'TRUNCATE', false),
    ('loyalty_writer', 'journals', 'INSERT', true),
    ('loyalty_writer', 'journals', 'DELETE', false),
    ('loyalty_writer', 'journals', 'TRUNCATE', false),
    ('loyalty_writer', 'projections', 'UPDATE', true),
    ('loyalty_writer', 'rejected', 'INSERT', true),
    ('loyalty_reader', 'events', 'SELECT', true),
    ('loyalty_reader', 'events', 'INSERT', false),
    ('loyalty_reader', 'events', 'UPDATE', false),
    ('loyalty_reader', 'events', 'DELETE', false),
    ('loyalty_reader', 'journals', 'UPDATE', false),
    ('loyalty_reader', 'member_keys', 'SELECT', false)
) AS right_of (role, relation, privilege, wanted)
WHERE has_table_privilege(role, relation, privilege) <> wanted
"""
_OWNERSHIP: Final = """
SELECT rolsuper, pg_has_role(current_user, relowner, 'MEMBER')
FROM pg_roles, pg_class WHERE rolname = current_user AND pg_class.oid = 'events'::regclass
"""


class Check(Struct, frozen=True, kw_only=True):
    """What was looked at and what was found."""

    check: str
    status: Status
    found: str


def check_all(reading: Reading) -> Iterator[Check]:
    """Check what an environment says, and that what it names is there and as it must be."""
    for problem in reading.problems.values():
        yield Check(check="settings", status="failed", found=problem)
    for name, meant in reading.unknown.items():
        hint = f": {meant} may have been meant" if meant else ": nothing reads it"
        yield Check(check="settings", status="failed", found=f"{name} is no setting{hint}")
    if not reading.problems and not reading.unknown:
        yield Check(check="settings", status="ok", found="all can be read, and there are no others")
    settings = Settings(**reading.values)
    if "LOYALTY_DATABASE_URL" not in reading.problems:
        yield from check_database(settings)
    if settings.kafka_bootstrap is not None:
        yield _checked("kafka", lambda: _kafka(settings.kafka_bootstrap or ""))
    if settings.checkpoint_key_file is not None:
        yield check_key_file(settings.checkpoint_key_file)
    if settings.verifier_keys:
        yield _checked("verifier keys", lambda: _verifier_keys(settings.verifier_keys))


# --- the database -------------------------------------------------------------------------------------------------


def check_database(settings: Settings) -> Iterator[Check]:
    """Whether it is reached, its migrations are this program's, and its roles may what they must and no more."""
    if settings.database_url is None and not (settings.data_directory / "postgres" / "PG_VERSION").exists():
        yield _checked("database", lambda: _place_for_data(settings.data_directory))
        return
    try:
        with database_url(settings) as dsn, closing(_connected(dsn)) as connection:
            yield Check(check="database", status="ok", found=_server(connection))
            migrations = _checked("migrations", lambda: _migrations(dsn))
            yield migrations
            if migrations.status != "ok":
                yield Check(check="rights", status="skipped", found="the tables are not all there")
                return
            yield _checked("rights", lambda: _rights(dsn, connection))
            yield _login(connection)
    except (PersistenceError, EmbeddedPostgresError, OSError) as error:
        yield Check(check="database", status="failed", found=sentence(error))


def _connected(dsn: str) -> PgConnection:
    return connect(make_dsn(dsn, connect_timeout=CONNECT_SECONDS_MAX))


def _server(connection: PgConnection) -> str:
    info = connection.info
    version = info.server_version
    return f"{info.dbname} at {info.host}:{info.port} as {info.user}, PostgreSQL {version // 10_000}.{version % 10_000}"


def _place_for_data(directory: Path) -> str:
    """Nothing is made by looking: the first command that needs the embedded server makes it."""
    above = next(each for each in (directory.absolute(), *directory.absolute().parents) if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{above}: not a directory that can be written to")
    return f"the embedded one, which is not there yet: the first command makes it in {directory}"


def _migrations(dsn: str) -> str:
    check_migrated(dsn)
    return "as this program needs them"


def _rights(dsn: str, connection: PgConnection) -> str:
    for role in get_args(Role):
        connect(dsn, role).close()
    with connection.cursor() as cur:
        wrong = _wrong_rights(cur)
    if wrong:
        raise ValueError("; ".join(wrong))
    return "who writes may append and not change, who reads may not write"


def _wrong_rights(cur: PgCursor) -> list[str]:
    cur.execute(_RIGHTS)
    return [words for (words,) in cur.fetchall()]


def _login(connection: PgConnection) -> Check:
    with connection.cursor() as cur:
        cur.execute(_OWNERSHIP)
        (is_superuser, is_owner) = cur.fetchone() or (False, False)
    if not (is_superuser or is_owner):
        return Check(check="login", status="ok", found="is neither a superuser nor an owner of the tables")
    what = "a superuser" if is_superuser else "an owner of the tables"
    advice = "services should log in as a role that only may act as loyalty_writer and loyalty_reader"
    return Check(check="login", status="warning", found=f"{connection.info.user} is {what}: {advice}")


# --- what else is named -------------------------------------------------------------------------------------------


def _kafka(bootstrap: str) -> str:
    with LogReader(bootstrap) as reader:
        topics = reader.topics()
    return f"{bootstrap} answers and has {len(topics)} topics"


def check_key_file(path: Path) -> Check:
    """Whether there is a private key that only its owner can read."""
    return _checked("checkpoint key", lambda: _key_file(path))


def _key_file(path: Path) -> str:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path}: not a file")
    if mode & OPEN_TO_OTHERS:
        raise ValueError(f"{path}: others may use it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
    return f"{path}: the key of {read_key(path).verifier_key.name}"


def _verifier_keys(keys: tuple[str, ...]) -> str:
    return ", ".join(parse_key(key).name for key in keys)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(check=name, status="ok", found=look())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Check(check=name, status="failed", found=f"{where}{error.strerror or error}")
    except (ValueError, LookupError, Refused, MigrationError, KafkaError, PersistenceError, psycopg2.Error) as error:
        return Check(check=name, status="failed", found=sentence(error))
