"""The environment is read in one place, and the table in the documentation is what that place reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from service.settings import ELSEWHERE, Settings, SettingsError, read_environment, shown, table, variables

ROOT = Path(__file__).parent.parent.parent
CODE = [path for package in ("ledger", "projections", "consumers", "audit", "schemas", "service")
        for path in sorted((ROOT / package).rglob("*.py"))]  # fmt: skip
NAMES = {each.name for each in variables()}


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    assert table() in (ROOT / "docs" / "operating.md").read_text("utf-8")


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_reads_the_environment(path: Path) -> None:
    """No os.environ, os.getenv or envvar= of click but in service/settings.py."""
    if path == ROOT / "service" / "settings.py":
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")), node.lineno
        assert not (isinstance(node, ast.keyword) and node.arg in ("envvar", "auto_envvar_prefix")), node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {"environ", "getenv"} & {alias.name for alias in node.names}


def test_every_name_in_the_project_is_known() -> None:
    """Code, documentation, compose.yaml and tests name no variable that neither the table nor its exceptions have."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "compose.yaml", ROOT / "Makefile", *CODE]
    found = {name for path in files for name in re.findall(r"\bLOYALTY_[A-Z_]+[A-Z]\b", path.read_text("utf-8"))}
    assert found - NAMES - ELSEWHERE == set()
    assert len(found & NAMES) == len(NAMES)


def test_values_are_read_as_what_they_are() -> None:
    given = Settings.from_environment(
        {
            "LOYALTY_DATABASE_URL": "",
            "LOYALTY_DATA_DIR": "~/ledger",
            "LOYALTY_VERIFIER_KEYS": "one two",
            "LOYALTY_METRICS_PORT": "9400",
            "LOYALTY_KAFKA_BOOTSTRAP": "a:9092,[::1]:9093",
        }
    )
    assert given == Settings(
        data_directory=Path.home() / "ledger",
        verifier_keys=("one", "two"),
        metrics_port=9400,
        kafka_bootstrap="a:9092,[::1]:9093",
    )


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LOYALTY_METRICS_PORT", "70000", "LOYALTY_METRICS_PORT: must be a port, 1 to 65535, not '70000'"),
        ("LOYALTY_METRICS_PORT", "http", "LOYALTY_METRICS_PORT: must be a port, 1 to 65535, not 'http'"),
        ("LOYALTY_LOG_FORMAT", "xml", "LOYALTY_LOG_FORMAT: must be text or json, not 'xml'"),
        ("LOYALTY_KAFKA_BOOTSTRAP", "broker", "LOYALTY_KAFKA_BOOTSTRAP: must be host:port of one or more brokers"),
        ("LOYALTY_READY_LAG_MAX", "-1", "LOYALTY_READY_LAG_MAX: must be a number of events, 0 or more, not '-1'"),
    ],
)
def test_a_wrong_value_is_told_with_its_rule(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)):
        Settings.from_environment({name: value})


def test_a_connection_string_that_cannot_be_read_is_not_shown() -> None:
    """libpq would quote it, with the password."""
    environment = {"LOYALTY_DATABASE_URL": "postgres//me:hunter2@host/db"}
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(environment)
    assert "hunter2" not in str(raised.value)
    assert all("hunter2" not in shown(each, environment) for each in variables())


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://me:hunter2@host:5432/db?sslmode=require", "host=host user=me password=hunter2 sslpassword=hunter2"],
)
def test_a_password_is_masked(dsn: str) -> None:
    told = shown(variables()[0], {"LOYALTY_DATABASE_URL": dsn})
    assert "hunter2" not in told
    assert "***" in told
    assert "host=host" in told


def test_an_unknown_name_is_told_with_what_was_meant() -> None:
    unknown = read_environment({"LOYALTY_DATABSE_URL": "x", "LOYALTY_COLOUR": "x", "PATH": "x"}).unknown
    assert unknown == {"LOYALTY_COLOUR": "", "LOYALTY_DATABSE_URL": "LOYALTY_DATABASE_URL"}
