"""`loyalty config check`: each thing that can be wrong is found, and told apart from the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import make_dsn

from audit.notes import SigningKey, write_key
from service.settings import PREFIX
from tests.broker import Kafka
from tests.cli.running import Loyalty
from tests.conftest import execute_on
from tests.operations.documented import block


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    write_key(path, SigningKey.generate("loyalty.example"))
    return path


@pytest.fixture(autouse=True)
def nothing_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def found(exit_code: int = 0, **settings: str) -> dict[str, list[tuple[str, str]]]:
    """What `config check` says: status and words, by what was checked."""
    told = Loyalty(**settings).json("config", "check", exit_code=exit_code)
    assert told["ok"] is (exit_code == 0)
    result: dict[str, list[tuple[str, str]]] = {}
    for each in told["checks"]:
        result.setdefault(each["check"], []).append((each["status"], each["found"]))
    return result


def only(checks: dict[str, list[tuple[str, str]]], name: str) -> tuple[str, str]:
    (one,) = checks[name]
    return one


def test_all_is_well(database_dsn: str, key_file: Path) -> None:
    """The tests log in as who owns the tables: that is told, and is no failure."""
    verifier = str(SigningKey.parse(key_file.read_text().strip()).verifier_key)
    checks = found(
        LOYALTY_DATABASE_URL=database_dsn,
        LOYALTY_CHECKPOINT_KEY_FILE=str(key_file),
        LOYALTY_VERIFIER_KEYS=verifier,
    )
    assert {name: only(checks, name)[0] for name in checks} == {
        "settings": "ok",
        "database": "ok",
        "migrations": "ok",
        "rights": "ok",
        "login": "warning",
        "checkpoint key": "ok",
        "verifier keys": "ok",
    }
    assert "loyalty.example" in only(checks, "checkpoint key")[1]


def test_in_words(database_dsn: str) -> None:
    """Settings with where they come from, then the checks, a line each."""
    told = Loyalty(LOYALTY_DATABASE_URL=make_dsn(database_dsn, password="hunter2"))("config", "check").output
    assert "LOYALTY_LOG_FORMAT\ttext\tdefault" in told
    assert "ok       migrations: as this program needs them" in told
    assert "hunter2" not in told


def test_every_wrong_setting_is_named(database_dsn: str) -> None:
    checks = found(
        1,
        LOYALTY_DATABASE_URL=database_dsn,
        LOYALTY_METRICS_PORT="0",
        LOYALTY_LOG_FORMAT="xml",
        LOYALTY_DATABSE_URL="x",
    )
    words = [told for status, told in checks["settings"] if status == "failed"]
    assert len(words) == 3
    assert any("LOYALTY_DATABSE_URL is no setting: LOYALTY_DATABASE_URL may have been meant" in told for told in words)
    assert only(checks, "database")[0] == "ok"


def test_a_wrong_setting_stops_other_commands() -> None:
    told = Loyalty(LOYALTY_LOG_FORMAT="xml")("status", exit_code=2)
    assert "LOYALTY_LOG_FORMAT: must be text or json" in told.output


def test_a_database_that_is_away() -> None:
    status, words = only(found(1, LOYALTY_DATABASE_URL="postgresql://u:hunter2@localhost:1/none"), "database")
    assert status == "failed"
    assert "Connection refused" in words
    assert "hunter2" not in words


def test_a_database_that_was_not_migrated(empty_database_dsn: str) -> None:
    checks = found(1, LOYALTY_DATABASE_URL=empty_database_dsn)
    assert only(checks, "migrations")[0] == "failed"
    assert "run: loyalty migrate" in only(checks, "migrations")[1]
    assert only(checks, "rights")[0] == "skipped"


def test_rights_that_are_missing_or_too_many(database_dsn: str) -> None:
    """Somebody granted by hand what the log must not have, and took what it needs."""
    execute_on(database_dsn, "GRANT UPDATE ON events TO loyalty_writer; REVOKE SELECT ON events FROM loyalty_reader")
    status, words = only(found(1, LOYALTY_DATABASE_URL=database_dsn), "rights")
    assert status == "failed"
    assert words.split("; ") == [
        "loyalty_writer may not UPDATE events, but has the right to",
        "loyalty_reader must SELECT events, but has no right to",
    ]


@pytest.mark.skipif("LOYALTY_TEST_DATABASE_URL" in os.environ, reason="a new login role needs a server that trusts it")
def test_a_login_of_its_own_is_well(database_dsn: str, login: str) -> None:
    """With the statements of the documentation."""
    create, *others = block("A login for the services", "sql").replace("loyalty_service", login).split(";\n")
    assert create.startswith(f"CREATE ROLE {login} LOGIN")
    execute_on(database_dsn, ";".join(others))
    checks = found(LOYALTY_DATABASE_URL=make_dsn(database_dsn, user=login))
    assert only(checks, "login") == ("ok", "is neither a superuser nor an owner of the tables")


@pytest.mark.skipif("LOYALTY_TEST_DATABASE_URL" in os.environ, reason="a new login role needs a server that trusts it")
def test_a_login_that_may_not_act_as_a_writer(database_dsn: str, login: str) -> None:
    execute_on(database_dsn, f"GRANT loyalty_reader TO {login}; GRANT USAGE ON SCHEMA loyalty TO {login};"
               f" GRANT SELECT ON loyalty.schema_migrations TO {login}")  # fmt: skip
    status, words = only(found(1, LOYALTY_DATABASE_URL=make_dsn(database_dsn, user=login)), "rights")
    assert status == "failed"
    assert "loyalty_writer" in words


@pytest.fixture
def login(database_dsn: str) -> Iterator[str]:
    name = f"service_{os.getpid()}"
    execute_on(database_dsn, f"CREATE ROLE {name} LOGIN")
    yield name
    execute_on(database_dsn, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_without_a_server_nothing_is_made(tmp_path: Path) -> None:
    """Looking makes no directory."""
    data = tmp_path / "not" / "there"
    status, words = only(found(LOYALTY_DATA_DIR=str(data)), "database")
    assert status == "ok"
    assert str(data) in words
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert only(found(1, LOYALTY_DATA_DIR=str(tmp_path / "file" / "data")), "database")[0] == "failed"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.chmod(0o640), "chmod 600"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_text("PRIVATE+KEY+hunter2"), "not a private key"),
    ],
)
def test_a_key_file_that_is_open_missing_or_none(harm: Any, words: str, key_file: Path, tmp_path: Path) -> None:
    harm(key_file)
    checks = found(1, LOYALTY_CHECKPOINT_KEY_FILE=str(key_file), LOYALTY_DATA_DIR=str(tmp_path / "data"))
    status, told = only(checks, "checkpoint key")
    assert status == "failed"
    assert words in told
    assert "hunter2" not in told


def test_kafka_there_and_away(kafka: Kafka, tmp_path: Path) -> None:
    data = {"LOYALTY_DATA_DIR": str(tmp_path / "data")}
    assert only(found(LOYALTY_KAFKA_BOOTSTRAP=kafka.bootstrap, **data), "kafka")[0] == "ok"
    assert only(found(1, LOYALTY_KAFKA_BOOTSTRAP="localhost:1", **data), "kafka")[0] == "failed"
